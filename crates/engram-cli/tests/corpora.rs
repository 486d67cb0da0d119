//! Importing, splitting and training on corpora, as a person does it.

mod common;

use std::path::{Path, PathBuf};

use common::engram;

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/corpora_cases")
}

fn case(name: &str) -> String {
    cases().join(name).to_string_lossy().into_owned()
}

#[test]
fn an_import_says_what_records_lack_and_what_was_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let table = "nr,title,remark,mine\n1,A,x,B\n2,A,x,\n2,A,x,B\n,,,\n";
    std::fs::write(here.join("a.csv"), table).unwrap();
    let import = ["corpus", "import", "a.csv", "--out", "a.jsonl"];
    let (code, _, stderr) = engram(here, &import);
    assert_eq!(code, 1);
    assert!(
        stderr.contains("none of 3 records has an abstract"),
        "{stderr}"
    );
    assert!(stderr.contains("not used: mine, nr, remark"), "{stderr}");
    assert!(!here.join("a.jsonl").exists());
    let named = [
        &import[..],
        &["--column", "abstract=mine", "--column", "pmid=nr"],
    ]
    .concat();
    let (code, _, stderr) = engram(here, &named);
    assert_eq!(code, 0, "{stderr}");
    for line in [
        "a.jsonl: 1 record left out: PMID seen before",
        "a.jsonl: 1 record left out: no title and no abstract",
        "a.jsonl: columns not used: remark",
        "a.jsonl: 2 records; without an abstract 1, without a title 0, without a PMID 0",
    ] {
        assert!(stderr.lines().any(|l| l == line), "{line}: {stderr}");
    }
    let (code, _, stderr) = engram(here, &[&import[..], &["--column", "colour=mine"]].concat());
    assert_eq!(code, 2);
    assert!(
        stderr.contains("the fields are pmid, title, abstract"),
        "{stderr}"
    );
}

#[test]
fn a_column_named_by_hand_that_no_file_has_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let ris = "TY  - JOUR\nTI  - A title\nAB  - An abstract.\nER  - \n";
    std::fs::write(here.join("a.ris"), ris).unwrap();
    let lines = "{\"title\":\"A\",\"remark\":\"B\"}\n{\"title\":\"C\",\"mine\":\"D\"}\n";
    std::fs::write(here.join("b.jsonl"), lines).unwrap();
    let import = |files: &[&str], column| {
        let ends = ["--column", column, "--out", "o.jsonl"];
        engram(here, &[&["corpus", "import"], files, &ends].concat())
    };
    for (files, column, found) in [
        (
            ["a.ris"],
            "abstract=body",
            "no column except those of the format",
        ),
        (["b.jsonl"], "abstract=body", "mine, remark"),
    ] {
        let (code, _, stderr) = import(&files, column);
        assert_eq!(code, 1, "{stderr}");
        let wanted = format!("{}: no column is called body; found: {found}", files[0]);
        assert!(stderr.contains(&wanted), "{stderr}");
        assert!(!here.join("o.jsonl").exists());
    }
    // One file of several has it, or one record of a file.
    let (code, _, stderr) = import(&["a.ris", "b.jsonl"], "abstract=mine");
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stderr.contains("o.jsonl: 3 records; without an abstract 1"),
        "{stderr}"
    );
}

#[test]
fn of_a_folder_the_unreadable_file_is_named_and_the_exit_code_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::create_dir(here.join("all")).unwrap();
    for name in ["tight.nbib", "ris.ris"] {
        std::fs::copy(case(name), here.join("all").join(name)).unwrap();
    }
    std::fs::write(here.join("all/bad.csv"), "title,abstract\na,\"b\n").unwrap();
    let import = ["corpus", "import", "all", "--out", "a.jsonl"];
    let (code, _, stderr) = engram(here, &import);
    assert_eq!(code, 1);
    assert!(stderr.contains("bad.csv, line 2"), "{stderr}");
    assert!(
        stderr.contains("1 of 3 files could not be read"),
        "{stderr}"
    );
    let written = std::fs::read_to_string(here.join("a.jsonl")).unwrap();
    assert_eq!(written.lines().count(), 4);
    let (code, _, stderr) = engram(here, &[&import[..], &["--skip-unreadable"]].concat());
    assert_eq!(code, 1);
    assert!(
        stderr.contains("engram: a.jsonl exists; name another file with --out"),
        "{stderr}"
    );
    assert_eq!(
        std::fs::read_to_string(here.join("a.jsonl")).unwrap(),
        written
    );
    let skip = [
        "corpus",
        "import",
        "all",
        "--out",
        "c.jsonl",
        "--skip-unreadable",
    ];
    let (code, _, stderr) = engram(here, &skip);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("bad.csv, line 2"), "{stderr}");
    let (code, _, stderr) = engram(here, &["corpus", "stats", "all"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("bad.csv, line 2"), "{stderr}");
    // A pattern that the shell leaves alone.
    let (code, _, stderr) = engram(here, &["corpus", "import", "all/*i*s", "--out", "b.jsonl"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("b.jsonl: 2 records"), "{stderr}");
}

#[test]
fn a_split_keeps_equal_texts_together_and_leaves_out_what_was_retracted() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (code, _, stderr) = engram(
        here,
        &["corpus", "split", &case("duplicates.jsonl"), "--out", "s"],
    );
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stderr.contains("0 of 20 validation texts are equal or nearly equal"),
        "{stderr}"
    );
    let retracted = case("book-and-vernacular.xml");
    let split = ["corpus", "split", &retracted, "--out", "r"];
    let (code, _, stderr) = engram(here, &split);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("1 retracted article left out"), "{stderr}");
    assert!(
        stderr.contains("r: 4 texts for training, 1 text for validation"),
        "{stderr}"
    );
    let (code, _, stderr) = engram(here, &[&split[..4], &["k", "--keep-retracted"]].concat());
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stderr.contains("k: 5 texts for training, 1 text for validation"),
        "{stderr}"
    );
}

#[test]
fn train_says_how_many_validation_texts_are_in_its_training_file() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let text = |n: usize| {
        format!(
            "{{\"title\":\"T {n}\",\"abstract\":\"Number {n} of many seizures in cohort {n}.\"}}\n"
        )
    };
    std::fs::write(here.join("t.jsonl"), (0..8).map(text).collect::<String>()).unwrap();
    std::fs::write(here.join("v.jsonl"), (6..9).map(text).collect::<String>()).unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/models/pubmed-mini");
    let model = model.to_string_lossy().into_owned();
    let train = [
        "train",
        "--config",
        "config-1",
        "--base",
        &model,
        "--corpus",
        "t.jsonl",
        "--validation",
        "v.jsonl",
        "--out",
        "out",
        "--dry-run",
    ];
    let (code, _, stderr) = engram(here, &train);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stderr.contains("2 of 3 validation texts are equal or nearly equal to a training text"),
        "{stderr}"
    );
}
