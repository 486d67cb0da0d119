//! What people write: files to start from run as they are, every fault of a file is told at once, tables are read.

mod common;

use std::path::{Path, PathBuf};

use common::engram;

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::canonicalize(root).unwrap()
}

fn model() -> String {
    root()
        .join("assets/models/pubmed-mini")
        .to_string_lossy()
        .into_owned()
}

#[test]
fn a_new_suite_is_fit_and_can_be_patched() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let model = model();
    for name in ["own.jsonl", "own.csv"] {
        let (code, stdout, stderr) = engram(here, &["suite", "new", name]);
        assert_eq!((code, stdout.trim()), (0, name), "{stderr}");
        let check = ["suite", "check", name, "--model", &model];
        let (code, stdout, stderr) = engram(here, &check);
        assert_eq!(
            (code, stdout.as_str()),
            (
                0,
                "12 of 12 pairs are fit\n12 pairs in 12 clusters: no two share a prompt, or a fact and its foil\n"
            ),
            "{stderr}"
        );
        let out = format!("{name}-out");
        let patch = [
            "patch",
            "--suite",
            name,
            "--model",
            &model,
            "--sites",
            "resid_pre.1",
            "--out",
            &out,
        ];
        let (code, _, stderr) = engram(here, &patch);
        assert_eq!(code, 0, "{stderr}");
    }
    // Both are the same pairs.
    let read = |name: &str| engram_corpus::read_suite(&here.join(name)).unwrap();
    assert_eq!(read("own.jsonl"), read("own.csv"));
    let (code, _, stderr) = engram(here, &["suite", "new", "own.jsonl"]);
    assert_eq!(code, 1);
    assert!(
        stderr.contains("own.jsonl: it is there already"),
        "{stderr}"
    );
}

#[test]
fn a_new_study_runs_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (code, stdout, stderr) = engram(here, &["run", "--new", "mine", "--base", &model()]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stdout, "mine-suite.jsonl\nmine-facts.toml\nmine.toml\n");
    assert!(stderr.contains("next: engram run mine.toml"), "{stderr}");
    let (code, _, stderr) = engram(here, &["run", "mine.toml", "--set", "stats.resamples=50"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(here.join("runs/mine/report.html").exists());
    // The fact table is a table, and pairs are built from it.
    let build = [
        "suite",
        "build",
        "--facts",
        "mine-facts.toml",
        "--model",
        &model(),
        "--out",
        "built.jsonl",
    ];
    let (code, _, stderr) = engram(here, &build);
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = engram(here, &["run", "--new", "mine"]);
    assert_eq!(code, 1);
    assert!(
        stderr.contains("mine.toml: it is there already"),
        "{stderr}"
    );
}

#[test]
fn every_fault_is_a_line_and_the_last_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let model = model();
    std::fs::write(
        here.join("own.toml"),
        "[[relation]]\nname = \"A\"\nkind = \"k\"\n",
    )
    .unwrap();
    let build = [
        "suite", "build", "--facts", "own.toml", "--model", &model, "--out", "s.jsonl",
    ];
    let (code, stdout, stderr) = engram(here, &build);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    let faults = lines.iter().filter(|l| l.starts_with("  line ")).count();
    assert_eq!(faults, 6, "{stderr}");
    assert_eq!(
        lines.last(),
        Some(&"engram: own.toml: 6 faults, listed above")
    );

    let texts = "{\"id\":\"a\"}\n{\"id\":\"b\nno\n";
    std::fs::write(here.join("s.jsonl"), texts).unwrap();
    let check = ["suite", "check", "s.jsonl", "--model", &model];
    let (code, _, stderr) = engram(here, &check);
    assert_eq!(code, 1);
    for part in [
        "  line 1: missing field `kind`",
        "  line 2: not JSON",
        "  line 3: not JSON",
    ] {
        assert!(stderr.contains(part), "{part}\n{stderr}");
    }

    let (code, _, _) = engram(here, &["run", "--new", "mine", "--base", &model]);
    assert_eq!(code, 0);
    let set = [
        "run",
        "mine.toml",
        "--set",
        "bogus=1",
        "--set",
        "stats.level=7",
    ];
    let (code, _, stderr) = engram(here, &set);
    assert_eq!(code, 1);
    assert!(
        stderr.contains(
            "  --set bogus=1: unknown setting `bogus`; settings of a study: title, seed,"
        ),
        "{stderr}"
    );
    assert!(
        stderr.contains("  --set stats.level=7: stats.level is 7; expected"),
        "{stderr}"
    );
    let (_, _, stderr) = engram(here, &["run", "mine.toml", "--set", "sweep.outputs.site=1"]);
    assert!(
        stderr.trim_end().lines().last().unwrap().contains(
            "--set sweep.outputs.site=1: unknown setting `sweep.outputs.site` (did you mean `sites`?); settings of [sweep.NAME]: models, sites,"
        ),
        "{stderr}"
    );
}

fn pair(id: &str, kind: &str, clean: &str, corrupt: &str) -> String {
    format!(
        "{{\"id\":\"{id}\",\"kind\":\"{kind}\",\"clean\":\"{clean}\",\"corrupt\":\"{corrupt}\",\"answer\":\" liquid\",\"foil\":\" gas\"}}\n"
    )
}

#[test]
fn prompts_of_unequal_lengths_are_a_table_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let model = model();
    let suite = pair("even", "k", "The rat ate", "The dog ate")
        + &pair("long", "k", "The rat ate", "The old dog ate")
        + &pair("short", "k", "In the end the rat ate", "The dog ate");
    std::fs::write(here.join("s.jsonl"), suite).unwrap();
    let patch = [
        "patch",
        "--suite",
        "s.jsonl",
        "--model",
        &model,
        "--sites",
        "resid_pre.1",
        "--out",
        "out",
    ];
    let (code, _, stderr) = engram(here, &patch);
    assert_eq!(code, 1);
    let last = stderr.trim_end().lines().last().unwrap();
    let parts = [
        "engram: s.jsonl: 2 of 3 pairs cannot be patched: long (the clean prompt has 4 tokens, the corrupted one 5), short (",
        "; 2 with prompts of unequal lengths: ",
    ];
    for part in parts {
        assert!(last.contains(part), "{stderr}");
    }
    for part in ["--align last", "--skip-unfit", "engram suite build"] {
        assert!(last.contains(part), "{last}");
    }
    let row = stderr
        .lines()
        .find(|l| l.contains("long") && !l.contains("engram:"))
        .unwrap();
    assert!(row.contains("+1"), "{stderr}");

    // What patch does with each pair: refused as it is, patched where the last tokens are brought together.
    let check = ["suite", "check", "s.jsonl", "--model", &model];
    let (code, stdout, stderr) = engram(here, &check);
    assert_eq!(code, 1);
    assert!(stdout.contains("engram patch --align strict"), "{stdout}");
    assert_eq!(
        stdout.matches("refuses it, with the suite").count(),
        2,
        "{stdout}"
    );
    assert!(stderr.contains("--align last"), "{stderr}");
    let (code, stdout, stderr) = engram(here, &[&check[..], &["--align", "last"]].concat());
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("3 of 3 pairs are fit"), "{stdout}");
    assert_eq!(stdout.matches("patches it at").count(), 3, "{stdout}");
    assert!(
        stdout.contains("1 tokens earlier") && stdout.contains("3 tokens later"),
        "{stdout}"
    );
    let (code, _, stderr) = engram(here, &[&patch[..], &["--align", "last"]].concat());
    assert_eq!(code, 0, "{stderr}");
    // No subject is given.
    let (code, stdout, _) = engram(here, &[&check[..], &["--align", "subject"]].concat());
    assert_eq!(code, 1);
    assert!(
        stdout.contains("no subject is given for the clean prompt"),
        "{stdout}"
    );
}

#[test]
fn a_kind_that_occurs_once_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let suite = pair("a", "associative", "The rat ate", "The dog ate")
        + &pair("b", "associative", "The rat ran", "The dog ran")
        + &pair("c", "asociative", "The rat fell", "The dog fell");
    std::fs::write(here.join("s.jsonl"), suite).unwrap();
    let (code, stdout, stderr) = engram(here, &["suite", "check", "s.jsonl", "--model", &model()]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(
        stdout,
        "c: notice: no other pair is of the kind \"asociative\"; a typing error for \"associative\"?\n3 of 3 pairs are fit; 1 with a notice\n3 pairs in 3 clusters: no two share a prompt, or a fact and its foil\n"
    );
}
