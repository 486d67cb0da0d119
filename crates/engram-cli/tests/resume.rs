//! A sweep that is broken off goes on where it stopped and ends with the same rows.

mod common;

use std::path::Path;
use std::process::Command;

use common::engram;
use engram_core::Row;

const MODEL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../assets/models/pubmed-mini"
);

const SWEEP: [&str; 15] = [
    "patch",
    "--model",
    MODEL,
    "--clean",
    "In pharmacology, phenytoin belongs to the class of drugs called",
    "--corrupt",
    "In pharmacology, acetazolamide belongs to the class of drugs called",
    "--answer",
    " hydantoins",
    "--foil",
    " sulfonamides",
    "--sites",
    "resid_pre,head_out",
    "--positions",
    "each",
];

fn sweep(folder: &Path, extra: &[&str]) -> (i32, String) {
    let (code, _, stderr) = engram(folder, &[&SWEEP[..], extra].concat());
    (code, stderr)
}

#[test]
fn a_broken_off_sweep_is_recognised_mended_and_finished() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (code, stderr) = sweep(here, &["--out", "whole"]);
    assert_eq!(code, 0, "{stderr}");
    let whole = std::fs::read(here.join("whole/patch.parquet")).unwrap();
    assert!(!here.join("whole.partial.jsonl").exists());

    let journal = here.join("out.partial.jsonl");
    let (code, _) = sweep(here, &["--out", "out", "--resume"]);
    assert_eq!(code, 0, "nothing to resume is a sweep from the start");
    assert_eq!(
        std::fs::read(here.join("out/patch.parquet")).unwrap(),
        whole
    );
    std::fs::remove_dir_all(here.join("out")).unwrap();

    // What a kill leaves: a part of the journal, mostly with the last line torn.
    let lines = journal_of(here);
    for keep in [
        0,
        10,
        lines.len() / 3,
        lines.len() / 2,
        lines.len() - 1,
        lines.len(),
    ] {
        std::fs::write(&journal, &lines[..keep]).unwrap();
        let (code, stderr) = sweep(here, &["--out", "out"]);
        assert_eq!(code, 1, "a journal is not overwritten");
        assert!(stderr.contains("--resume"), "{stderr}");
        let (code, stderr) = sweep(here, &["--out", "out", "--resume"]);
        assert_eq!(code, 0, "{keep}: {stderr}");
        assert_eq!(
            std::fs::read(here.join("out/patch.parquet")).unwrap(),
            whole,
            "{keep}"
        );
        assert!(!journal.exists());
        std::fs::remove_dir_all(here.join("out")).unwrap();
    }

    // Damage in the middle: what stands before it is kept, what follows is computed again.
    let mut damaged = lines.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 20].fill(b'#');
    std::fs::write(&journal, &damaged).unwrap();
    let (code, stderr) = sweep(here, &["--out", "out", "--resume"]);
    assert!(code == 0 && stderr.contains("computed again"), "{stderr}");
    assert_eq!(
        std::fs::read(here.join("out/patch.parquet")).unwrap(),
        whole
    );
    std::fs::remove_dir_all(here.join("out")).unwrap();

    // Another sweep's journal is refused and left alone.
    std::fs::write(&journal, &lines).unwrap();
    let (code, stderr) = sweep(here, &["--out", "out", "--resume", "--direction", "noise"]);
    assert!(code == 1 && stderr.contains("another sweep"), "{stderr}");
    assert_eq!(std::fs::read(&journal).unwrap(), lines);
    let rows = Row::read_parquet(&here.join("whole/patch.parquet")).unwrap();
    assert!(rows.iter().any(|r| r.head == Some(3) && r.layer == Some(2)));
}

/// The journal of the sweep as it stands before the results are whole: it is read again and again while
/// the sweep goes on.
fn journal_of(here: &Path) -> Vec<u8> {
    let journal = here.join("out.partial.jsonl");
    let mut child = Command::new(env!("CARGO_BIN_EXE_engram"))
        .current_dir(here)
        .args(SWEEP)
        .args(["--out", "out"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut seen = Vec::new();
    loop {
        if let Ok(bytes) = std::fs::read(&journal)
            && bytes.len() >= seen.len()
        {
            seen = bytes;
        }
        if child.try_wait().unwrap().is_some() {
            break;
        }
    }
    std::fs::remove_dir_all(here.join("out")).unwrap();
    assert!(
        seen.iter().filter(|b| **b == b'\n').count() >= 2,
        "a header and batches"
    );
    seen
}
