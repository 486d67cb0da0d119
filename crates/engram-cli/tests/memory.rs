//! `--memory` is a bound, and the plan says what a sweep takes; a little is left for what a busy machine's allocator does. Memory is read where the system tells it (`/proc`);
//! `bench/memory.py` holds more settings and larger models to the same.
#![cfg(target_os = "linux")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::engram;
use serde_json::{Value, json};

const MODEL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../assets/models/pubmed-mini"
);
const MIB: f64 = (1 << 20) as f64;

/// Twenty-four pairs of 15 tokens that differ from the fourth on.
fn suite(folder: &Path) {
    let ids = |seed: u64| (0..15u64).map(move |i| (seed * 7919 + i * 104_729) % 8000);
    let pair = |index: u64| {
        let clean: Vec<u64> = ids(2 * index).collect();
        let corrupt: Vec<u64> = (clean[..3].iter().copied())
            .chain(ids(2 * index + 1).skip(3))
            .collect();
        json!({
            "id": format!("p{index}"), "kind": "random", "clean_ids": clean, "corrupt_ids": corrupt,
            "answer_ids": [index + 1], "foil_ids": [index + 100],
        })
        .to_string()
    };
    let lines: Vec<String> = (0..24).map(pair).collect();
    std::fs::write(folder.join("suite.jsonl"), lines.join("\n")).unwrap();
}

const SWEEP: [&str; 10] = [
    "--threads",
    "2",
    "patch",
    "--model",
    MODEL,
    "--suite",
    "suite.jsonl",
    "--sites",
    "resid_pre,z",
    "--memory",
];

fn planned(folder: &Path, memory: &str) -> Value {
    let plan = [&SWEEP[..], &[memory, "--plan-only", "--json"]].concat();
    let (code, stdout, stderr) = engram(folder, &plan);
    assert_eq!(code, 0, "{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

/// The most anonymous memory that a sweep takes, in MiB, as it is sampled.
fn taken(folder: &Path, memory: &str, out: &str) -> f64 {
    let mut sweep = Command::new(env!("CARGO_BIN_EXE_engram"));
    sweep
        .current_dir(folder)
        .args(SWEEP)
        .args([memory, "--out", out]);
    let mut sweep = sweep
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", sweep.id());
    let mut most = 0.0f64;
    let ended = loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("RssAnon:"));
        let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<f64>().ok());
        most = most.max(kib.unwrap_or(0.0) / 1024.0);
        if let Some(ended) = sweep.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(ended.success());
    most
}

#[test]
fn a_sweep_takes_what_its_plan_says_and_no_more_than_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    suite(folder);
    let refused = |memory: &str| {
        let (code, _, stderr) = engram(folder, &[&SWEEP[..], &[memory, "--out", "none"]].concat());
        assert_ne!(code, 0, "{memory} is enough?");
        assert!(!folder.join("none").exists());
        stderr
    };
    let weights = refused("20MiB");
    assert!(
        weights.contains("its weights alone take 33.0 MiB"),
        "{weights}"
    );
    let least = refused("50MiB");
    let number = least
        .split("at least ")
        .nth(1)
        .and_then(|l| l.split(' ').next());
    let least: f64 = number.unwrap().parse().unwrap();
    // What stands differs a little between two runs of one command.
    for memory in ["2GiB".to_owned(), format!("{}MiB", least + 1.0)] {
        let plan = planned(folder, &memory);
        let bytes = |name: &str| plan[name].as_f64().unwrap() / MIB;
        let (said, may) = (bytes("bytes"), bytes("memory"));
        let took = taken(folder, &memory, &format!("out-{memory}"));
        assert!(
            took <= 1.02 * may,
            "{memory}: took {took:.1} of {may:.1} MiB"
        );
        assert!(
            (0.85..=1.1).contains(&(took / said)),
            "{memory}: took {took:.1}, said {said:.1} MiB"
        );
    }
}
