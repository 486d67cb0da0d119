//! One writer at a time, left-overs of killed ones, and checks that come before any work.

mod common;

use std::path::{Path, PathBuf};

use common::engram;
use engram_core::Lock;

const MODEL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../assets/models/pubmed-mini"
);
const FACTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../assets/facts/epilepsy.toml"
);

fn pair(id: &str, subject: &str, other: &str) -> String {
    format!(
        r#"{{"id":"{id}","kind":"associative","relation":"class","subject":"{subject}","corrupt_subject":"{other}","clean":"The drug {subject} is a","corrupt":"The drug {other} is a","answer":" {id}","foil":" drug"}}"#
    )
}

/// A folder with a corpus, a suite and a study.
fn inputs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    let text = |i: u32| {
        format!("{{\"title\":\"T {i}\",\"abstract\":\"Patients with seizures had {i} EEG.\"}}\n")
    };
    write("corpus.jsonl", (0..20).map(text).collect());
    let pairs = [
        pair("one", "phenytoin", "valproate"),
        pair("two", "valproate", "phenytoin"),
    ];
    write("suite.jsonl", pairs.join("\n"));
    write(
        "twice.jsonl",
        [&pairs[0], &pairs[1], &pairs[0]]
            .map(String::as_str)
            .join("\n"),
    );
    let study = format!(
        "title = 'T'\nbase = '{MODEL}'\nfacts = '{FACTS}'\n[corpus.write]\nexposures = 5\nwordings = 5\n\
         [suite]\nmax_pairs_per_kind = 4\n[train.tuned]\npreset = 'config-1'\n[train.tuned.set]\nmax_length = 512\n\
         [sweep.one]\nmodels = ['base', 'tuned']\nsites = ['attn_out']\nmetrics = ['logit_diff']\n\
         [sweep.two]\nmodels = ['tuned']\nsites = ['resid_pre', 'attn_out']\nmetrics = ['logit_diff']\n"
    );
    write("study.toml", study);
    folder
}

/// The commands that write results, by what they write.
fn commands() -> Vec<(&'static str, Vec<&'static str>)> {
    let patch = [
        "patch",
        "--model",
        MODEL,
        "--suite",
        "suite.jsonl",
        "--sites",
        "mlp_out",
        "--skip-unfit",
    ];
    let train = [
        "train",
        "--config",
        "config-1",
        "--base",
        MODEL,
        "--corpus",
        "corpus.jsonl",
        "--set",
        "max_length=16",
    ];
    let edit = [
        "edit",
        "sweep",
        "--model",
        MODEL,
        "--suite",
        "suite.jsonl",
        "--method",
        "ft-l",
        "--layer",
        "0",
    ];
    let import = ["corpus", "import", "corpus.jsonl"];
    let run = ["run", "study.toml"];
    let with_out = |words: &[&'static str], out| {
        let mut words = words.to_vec();
        words.extend(["--out", out]);
        words
    };
    vec![
        ("a", with_out(&patch, "a")),
        ("b", with_out(&train, "b")),
        ("c", with_out(&edit, "c")),
        ("d.jsonl", with_out(&import, "d.jsonl")),
        ("e", with_out(&run, "e")),
    ]
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_second_writer_is_refused_and_nothing_of_the_first_is_touched() {
    let folder = inputs();
    let before = names(folder.path());
    for (out, mut words) in commands() {
        let path = folder.path().join(out);
        let held = match out {
            "e" => Lock::within(&path).unwrap(),
            _ => Lock::beside(&path).unwrap(),
        };
        let own = names(folder.path());
        for resume in [false, true] {
            if resume && !matches!(out, "a" | "b") {
                continue;
            }
            if resume {
                words.push("--resume");
            }
            let (code, _, stderr) = engram(folder.path(), &words);
            let said = format!("{out}: process {} is writing to it", std::process::id());
            assert!(code == 1 && stderr.contains(&said), "{out}: {stderr}");
            assert_eq!(names(folder.path()), own);
        }
        drop(held);
        assert_eq!(names(folder.path()), before, "{out}");
    }
}

#[cfg(unix)]
#[test]
fn what_a_killed_command_left_is_removed_by_the_next() {
    let folder = inputs();
    let here = |name: &str| -> PathBuf { folder.path().join(name) };
    let before = names(folder.path());
    std::fs::write(here(".engram-d.jsonl-Ab12xY.tmp"), "{").unwrap();
    std::fs::write(here(".engram-d.jsonl.lock"), "4194304").unwrap();
    let (code, _, stderr) = engram(
        folder.path(),
        &["corpus", "import", "corpus.jsonl", "--out", "d.jsonl"],
    );
    assert_eq!(code, 0, "{stderr}");
    std::fs::create_dir(here(".engram-a.new")).unwrap();
    std::fs::write(here(".engram-a.new/patch.parquet"), "PAR1").unwrap();
    std::fs::write(here(".engram-a.lock"), "4194304").unwrap();
    let patch = [
        "patch",
        "--model",
        MODEL,
        "--clean",
        "The drug phenytoin is a",
        "--corrupt",
        "The drug valproate is a",
        "--answer",
        " drug",
        "--foil",
        " patient",
        "--sites",
        "mlp_out",
        "--out",
        "a",
    ];
    let (code, _, stderr) = engram(folder.path(), &patch);
    assert_eq!(code, 0, "{stderr}");
    let mut expected = before;
    expected.extend(["a".to_owned(), "d.jsonl".to_owned()]);
    expected.sort();
    assert_eq!(names(folder.path()), expected);

    // Resumed once more it is whole already; another sweep is refused.
    let whole = std::fs::read(here("a/patch.parquet")).unwrap();
    let again = [&patch[..], &["--resume"]].concat();
    let (code, first, stderr) = engram(folder.path(), &again);
    assert!(code == 0 && stderr.contains("whole already"), "{stderr}");
    assert!(first.contains("mlp_out.0"));
    let (code, _, stderr) = engram(
        folder.path(),
        &[&again[..], &["--direction", "noise"]].concat(),
    );
    assert!(code == 1 && stderr.contains("other inputs"), "{stderr}");
    assert_eq!(std::fs::read(here("a/patch.parquet")).unwrap(), whole);
}

#[test]
fn what_can_be_checked_first_is_checked_first() {
    let folder = inputs();
    let before = names(folder.path());
    let refused = |words: &[&str]| {
        let (code, _, stderr) = engram(folder.path(), words);
        assert_eq!(code, 1, "{words:?}: {stderr}");
        assert_eq!(names(folder.path()), before, "{words:?}");
        assert_eq!(stderr.trim().lines().count(), 1, "{words:?}: {stderr}");
        stderr
    };
    let edit = |more: &[&str]| {
        let words = [
            "edit",
            "sweep",
            "--model",
            MODEL,
            "--method",
            "ft-l",
            "--all-facts",
            "--out",
            "o",
        ];
        refused(&[&words[..], more].concat())
    };
    let twice = edit(&["--suite", "twice.jsonl", "--layer", "0"]);
    assert!(
        twice.contains("twice.jsonl: pair 3 is called \"one\" as one before it"),
        "{twice}"
    );
    let patch = [
        "patch",
        "--model",
        MODEL,
        "--suite",
        "twice.jsonl",
        "--sites",
        "mlp_out",
        "--out",
        "o",
    ];
    assert!(refused(&patch).contains("pair 3"));
    let layer = edit(&["--suite", "suite.jsonl", "--layer", "9"]);
    assert!(
        layer.contains("--layer 9: the model has layers 0 to"),
        "{layer}"
    );
    let none = edit(&[
        "--suite",
        "suite.jsonl",
        "--layer",
        "auto",
        "--recovery",
        "none",
    ]);
    assert!(none.contains("none"), "{none}");
    let unwritable = ["corpus", "import", "corpus.jsonl", "--out", "suite.jsonl/o"];
    assert!(refused(&unwritable).contains("suite.jsonl/o"));
    let long = [
        "run",
        "study.toml",
        "--set",
        "train.tuned.set.max_length=4096",
        "--out",
        "o",
    ];
    assert!(refused(&long).contains("train.tuned"));
}

#[test]
fn a_study_that_measures_a_cell_twice_is_refused_before_training() {
    let folder = inputs();
    let (code, _, stderr) = engram(folder.path(), &["run", "study.toml", "--out", "o"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("sweep.one, sweep.two"), "{stderr}");
    assert!(stderr.contains("two rows for attn_out.0"), "{stderr}");
    assert_eq!(
        names(&folder.path().join("o")),
        ["corpus", "study.json", "suite"]
    );
}
