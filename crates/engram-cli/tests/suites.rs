//! Suites from the command line: where subjects are found, what is said of a suite, and suites without a pair.

mod common;

use std::path::{Path, PathBuf};

use common::engram;
use serde_json::json;

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::canonicalize(root).unwrap()
}

fn path(name: &str) -> String {
    root().join(name).to_string_lossy().into_owned()
}

fn pair(id: &str, clean: &str, corrupt: &str) -> serde_json::Value {
    json!({
        "id": id, "kind": "associative", "clean": clean, "corrupt": corrupt, "answer": " liquid", "foil": " gas",
        "subject": "rat", "corrupt_subject": "dog",
    })
}

fn write(folder: &Path, pairs: &[serde_json::Value]) {
    let lines: Vec<String> = pairs.iter().map(ToString::to_string).collect();
    std::fs::write(folder.join("suite.jsonl"), lines.join("\n")).unwrap();
}

/// "rat" stands in "separated" too, and later.
#[test]
fn a_subject_inside_another_word_is_not_patched() {
    let folder = tempfile::tempdir().unwrap();
    let (clean, corrupt) = (
        "In the rat the drug was separated by",
        "In the dog the drug was separated by",
    );
    write(folder.path(), &[pair("p", clean, corrupt)]);
    let model = path("assets/models/pubmed-mini");
    let args = [
        "patch",
        "--model",
        &model,
        "--suite",
        "suite.jsonl",
        "--sites",
        "resid_pre.1",
        "--positions",
        "subject",
        "--direction",
        "noise",
        "--out",
        "out",
    ];
    let (code, _, stderr) = engram(folder.path(), &args);
    assert_eq!(code, 0, "{stderr}");
    let rows = engram_core::Row::read_parquet(&folder.path().join("out/patch.parquet")).unwrap();
    let places: Vec<_> = rows
        .iter()
        .map(|r| (r.position, r.token.as_deref()))
        .collect();
    assert_eq!(places, [(None, Some(" rat"))]);
}

#[test]
fn a_subject_in_doubt_is_told_in_text_and_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let (clean, corrupt) = ("The rat and the rat ate", "The dog and the dog ate");
    write(folder.path(), &[pair("twice", clean, corrupt)]);
    let model = path("assets/models/pubmed-mini");
    let args = ["suite", "check", "suite.jsonl", "--model", &model];
    let (code, stdout, stderr) = engram(folder.path(), &args);
    assert_eq!(code, 0, "{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(
        lines[0].starts_with("twice: notice: the subject \"rat\" is ambiguous"),
        "{stdout}"
    );
    assert!(
        lines[1].starts_with("twice: notice: the subject \"dog\" is ambiguous"),
        "{stdout}"
    );
    assert_eq!(lines[2], "1 of 1 pairs are fit; 1 with a notice");
    let (_, stdout, _) = engram(folder.path(), &[&args[..], &["--json"]].concat());
    let found: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let notice = &found[0]["notices"][0];
    assert_eq!(
        (&notice["notice"], &notice["choices"]),
        (&json!("ambiguous"), &json!(2))
    );
}

/// The tokenizer puts a blank before a text.
#[test]
fn a_suite_for_a_sentencepiece_tokenizer_is_built_and_swept() {
    let folder = tempfile::tempdir().unwrap();
    let model = path("fixtures/sentencepiece_like/prepend");
    let facts = path("assets/facts/epilepsy.toml");
    let args = [
        "suite",
        "build",
        "--facts",
        &facts,
        "--model",
        &model,
        "--max-pairs-per-kind",
        "4",
        "--out",
        "suite.jsonl",
    ];
    let (code, _, stderr) = engram(folder.path(), &args);
    assert_eq!(code, 0, "{stderr}");
    let (code, stdout, stderr) = engram(
        folder.path(),
        &["suite", "check", "suite.jsonl", "--model", &model],
    );
    assert_eq!(
        (code, stdout.as_str()),
        (
            0,
            "8 of 8 pairs are fit\n8 pairs in 4 clusters, as the suite gives them\n"
        ),
        "{stderr}"
    );
    let sweep = [
        "patch",
        "--model",
        &model,
        "--suite",
        "suite.jsonl",
        "--sites",
        "resid_pre",
        "--out",
        "out",
    ];
    let (code, _, stderr) = engram(folder.path(), &sweep);
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn a_suite_without_a_pair_is_an_error_that_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let record = |case: u64, subject: &str| {
        json!({
            "case_id": case, "subject": subject, "prompt": format!("The {subject} is part of the"),
            "ground_truth": "body", "target_new": "head",
        })
    };
    let facts = json!([
        record(1, "heart"),
        record(2, "brain"),
        record(3, "electroencephalogram")
    ]);
    std::fs::write(folder.path().join("facts.json"), facts.to_string()).unwrap();
    let model = path("assets/models/pubmed-mini");
    let args = [
        "suite",
        "build",
        "--counterfact",
        "facts.json",
        "--model",
        &model,
        "--out",
        "suite.jsonl",
    ];
    let (code, stdout, stderr) = engram(folder.path(), &args);
    assert_eq!((code, stdout.as_str()), (1, ""));
    let start = "engram: no pair can be built from 3 facts: of 3 possible pairs 2 with ";
    assert!(
        stderr.trim_end().lines().last().unwrap().starts_with(start),
        "{stderr}"
    );
    assert!(stderr.contains("1 with the same answer"), "{stderr}");
    assert!(!folder.path().join("suite.jsonl").exists());
}
