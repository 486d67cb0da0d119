//! Training as a person runs it: from nothing, killed, with a full disk.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::engram;

const RECIPE: &str = r#"
[model]
layers = 2
heads = 2
d_model = 32
context = 32
[tokenizer]
vocabulary = 300
[train]
epochs = 6
patience = 6
learning_rate = 1e-3
warmup_steps = 5
weight_decay = 0.1
batch_size = 2
accumulation = 2
max_length = 24
precision = "fp32"
max_grad_norm = 1.0
dropout = 0.1
seed = 3
sequences = "chunk"
pad_loss = false
"#;

/// A folder with a recipe and a corpus of small texts.
fn study() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("new.toml"), RECIPE).unwrap();
    let words = [
        "seizure", "epilepsy", "the", "of", "drug", "gene", "wave", "focal",
    ];
    let mut corpus = String::new();
    for i in 0..60usize {
        let text: Vec<&str> = (0..30)
            .map(|k| words[(i * 5 + k * k * 3 + k) % 8])
            .collect();
        corpus += &format!(
            "{{\"title\": \"Text {i}.\", \"abstract\": \"{}\"}}\n",
            text.join(" ")
        );
    }
    std::fs::write(folder.path().join("corpus.jsonl"), corpus).unwrap();
    folder
}

fn arguments<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec![
        "--threads",
        "2",
        "train",
        "--from-scratch",
        "new.toml",
        "--corpus",
        "corpus.jsonl",
        "--out",
        out,
    ];
    all.extend(more);
    all
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn killed_again_and_again_and_resumed_it_ends_with_the_same_files() {
    let folder = study();
    let here = folder.path();
    let (code, _, stderr) = engram(here, &arguments("out", &[]));
    assert_eq!(code, 0, "{stderr}");
    let whole = files(&here.join("out"));
    let names: Vec<&str> = whole.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(
        names,
        [
            "config.json",
            "loss.svg",
            "metrics.jsonl",
            "model.safetensors",
            "stage.json",
            "tokenizer.json",
            "training.json"
        ]
    );
    std::fs::rename(here.join("out"), here.join("whole")).unwrap();
    let mut kills = 0;
    loop {
        let mut child = Command::new(env!("CARGO_BIN_EXE_engram"))
            .current_dir(here)
            .args(arguments("out", &["--resume", "--checkpoint-every", "0"]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Killed as soon as there is more than there was, so that it gets on.
        let metrics = here.join("out.partial/metrics.jsonl");
        let lines = || std::fs::read_to_string(&metrics).map_or(0, |t| t.lines().count());
        let before = lines();
        let start = Instant::now();
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if kills < 6 && lines() > before + 8 || start.elapsed() > Duration::from_secs(120) {
                break None;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        match ended {
            Some(status) => {
                assert!(status.success());
                break;
            }
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
            }
        }
        assert!(kills < 20, "it never ends");
    }
    assert!(kills > 0);
    assert_eq!(files(&here.join("out")), whole);
    assert!(!here.join("out.partial").exists());
}

#[test]
fn without_resume_a_run_that_was_broken_off_is_not_written_over() {
    let folder = study();
    let partial = folder.path().join("out.partial");
    std::fs::create_dir(&partial).unwrap();
    let (code, _, stderr) = engram(folder.path(), &arguments("out", &[]));
    assert_eq!(code, 1);
    assert!(stderr.contains("--resume goes on with it"), "{stderr}");
}

/// A limit on the size of files stands for a full disk: the write fails in the middle.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_and_leaves_nothing_half_written() {
    let folder = study();
    let here = folder.path();
    let run = |blocks: &str| {
        let line = format!(
            "trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" {}",
            arguments("out", &["--resume", "--checkpoint-every", "0"]).join(" ")
        );
        let out = Command::new("bash")
            .current_dir(here)
            .args(["-c", &line, env!("CARGO_BIN_EXE_engram")])
            .output()
            .unwrap();
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    // The metrics fit, a checkpoint does not.
    let (code, stderr) = run("100");
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("out.partial/checkpoint.safetensors"),
        "{stderr}"
    );
    assert!(stderr.contains("File too large"), "{stderr}");
    let left: Vec<String> = files(&here.join("out.partial"))
        .into_iter()
        .map(|(n, _)| n)
        .collect();
    assert_eq!(left, ["metrics.jsonl"], "nothing half-written");
    // With a good checkpoint there, it stays: a run killed early is gone on from under the limit.
    let mut child = Command::new(env!("CARGO_BIN_EXE_engram"))
        .current_dir(here)
        .args(arguments("out", &["--resume", "--checkpoint-every", "0"]))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let checkpoint = here.join("out.partial/checkpoint.safetensors");
    while !checkpoint.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let good = std::fs::read(&checkpoint).unwrap();
    let (code, stderr) = run("100");
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(std::fs::read(&checkpoint).unwrap(), good);
    let (code, stderr) = run("unlimited");
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn a_recipe_that_cannot_be_is_refused_before_any_work() {
    let folder = study();
    let with = |from: &str, to: &str| {
        let recipe = RECIPE.replace(from, to);
        std::fs::write(folder.path().join("new.toml"), recipe).unwrap();
        let (code, _, stderr) = engram(folder.path(), &arguments("out", &[]));
        assert_eq!(code, 1, "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        stderr
    };
    assert!(with("heads = 2", "heads = 3").contains("no multiple of model.heads, 3"));
    assert!(with("layers = 2", "layers = 0").contains("model.layers is 0"));
    assert!(with("seed = 3", "sed = 3").contains("sed"));
    assert!(with("dropout = 0.1", "dropout = 1.5").contains("dropout"));
    let stderr = with("max_length = 24", "max_length = 64");
    assert!(
        stderr.contains("new.toml: max_length is 64, the model's context 32 tokens"),
        "{stderr}"
    );
}

/// Warm-up longer than the run: said by dry run, training and a study, and in the record.
#[test]
fn a_rate_that_never_reaches_its_value_is_said_everywhere() {
    let folder = study();
    let here = folder.path();
    let recipe = RECIPE.replace("warmup_steps = 5", "warmup_steps = 500");
    std::fs::write(here.join("new.toml"), recipe).unwrap();
    let warning = "the learning rate never reaches 1e-3: warm-up takes 500 steps and the run has";
    let (code, stdout, stderr) = engram(here, &arguments("out", &["--dry-run"]));
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stderr.contains(&format!("warning: out: {warning}")),
        "{stderr}"
    );
    assert!(stdout.contains("highest rate"), "{stdout}");
    let (code, _, stderr) = engram(here, &arguments("out", &[]));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains(warning), "{stderr}");
    let read = |path: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(here.join(path)).unwrap()).unwrap()
    };
    let record = read("out/training.json");
    let steps = record["steps"].as_array().unwrap().len() as f64;
    assert_eq!(record["rate"]["reached"], false);
    let highest = record["rate"]["highest"].as_f64().unwrap();
    assert!((highest - 1e-3 * (steps - 1.0) / 500.0).abs() < 1e-12);

    // Configuration II as it stands, on a small corpus.
    let ids = "\"clean_ids\": [3, 4, 5], \"corrupt_ids\": [3, 6, 5], \"answer_ids\": [7], \"foil_ids\": [8]";
    let pairs: Vec<String> = (0..4)
        .map(|i| format!("{{\"id\": \"p{i}\", \"kind\": \"associative\", {ids}}}\n"))
        .collect();
    std::fs::write(here.join("suite.jsonl"), pairs.concat()).unwrap();
    let text = r#"
title = "Too short"
seed = 1
base = "out"
[corpus]
file = "corpus.jsonl"
[suite]
file = "suite.jsonl"
[train.config-2]
preset = "config-2"
[train.config-2.set]
epochs = 1
max_length = 32
[sweep.residual]
models = ["config-2"]
sites = ["resid_pre"]
"#;
    std::fs::write(here.join("study.toml"), text).unwrap();
    let warning =
        "warning: config-2: the learning rate never reaches 2e-5: warm-up takes 500 steps";
    // The second run trains nothing, and says so again.
    for _ in 0..2 {
        let (code, _, stderr) = engram(here, &["run", "study.toml", "--out", "run"]);
        assert_eq!(code, 0, "{stderr}");
        assert!(stderr.contains(warning), "{stderr}");
    }
    let record = read("run/models/config-2/training.json");
    assert_eq!(record["plan"]["rate"], record["rate"]);
    // A setting that cannot be is told with the study's name.
    std::fs::write(
        here.join("study.toml"),
        text.replace("epochs = 1", "epochs = -1"),
    )
    .unwrap();
    let (code, _, stderr) = engram(here, &["run", "study.toml", "--out", "run"]);
    assert_eq!(code, 1);
    let expected = "engram: study.toml, line 12: train.config-2.set.epochs is -1;";
    assert!(stderr.starts_with(expected), "{stderr}");
}
