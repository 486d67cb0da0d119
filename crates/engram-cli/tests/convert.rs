//! `engram model convert`: what it writes is one safetensors checkpoint that computes the same, to the last bit.

mod common;

use std::path::{Path, PathBuf};

use common::engram;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn succeeds(args: &[&str]) {
    let (code, stdout, stderr) = engram(Path::new("."), args);
    assert_eq!((code, stdout.as_str()), (0, ""), "{args:?}: {stderr}");
}

/// The file that `engram model logits` writes: nothing but the logits.
fn logits(model: &Path, out: &Path) -> Vec<u8> {
    let (model, out) = (model.to_str().unwrap(), out.to_str().unwrap());
    let ids = "3,1,4,1,5,9,2,6";
    succeeds(&[
        "model", "logits", "--model", model, "--ids", ids, "--out", out,
    ]);
    std::fs::read(out).unwrap()
}

/// Converts a model and compares the two; gives the folder that was written.
fn converted(model: &Path, work: &Path) -> PathBuf {
    let folder = work.join("converted");
    let (from, to) = (model.to_str().unwrap(), folder.to_str().unwrap());
    succeeds(&["model", "convert", "--model", from, "--out", to]);
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
    names.sort();
    // What a tokenizer's own file cannot say (a begin-of-text token, a chat template) has a file where there is any.
    names.retain(|name| name != "tokenizer_config.json");
    assert_eq!(
        names,
        ["config.json", "model.safetensors", "tokenizer.json"]
    );
    let before = logits(model, &work.join("before.safetensors"));
    let after = logits(&folder, &work.join("after.safetensors"));
    assert!(before == after, "{}", model.display());
    folder
}

#[test]
fn gguf_files() {
    let files = std::fs::read_dir(fixtures().join("families_gguf")).unwrap();
    let files = files.map(|e| e.unwrap().path());
    let files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|e| e == "gguf"))
        .collect();
    assert!(files.len() >= 13);
    for file in files {
        converted(&file, tempfile::tempdir().unwrap().path());
    }
}

#[test]
fn a_checkpoint_in_shards() {
    let work = tempfile::tempdir().unwrap();
    let sharded = work.path().join("sharded");
    std::fs::create_dir(&sharded).unwrap();
    for entry in std::fs::read_dir(fixtures().join("families/llama_sharded")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, sharded.join(path.file_name().unwrap())).unwrap();
    }
    // The fixture has no tokenizer of its own; it is the same model.
    let gguf = fixtures().join("families_gguf/llama_grouped.gguf");
    let whole = tempfile::tempdir().unwrap();
    let whole = converted(&gguf, whole.path());
    std::fs::copy(whole.join("tokenizer.json"), sharded.join("tokenizer.json")).unwrap();
    converted(&sharded, work.path());
}

#[test]
fn never_onto_itself() {
    let folder = tempfile::tempdir().unwrap();
    let gguf = fixtures().join("families_gguf/llama_grouped.gguf");
    let folder = converted(&gguf, folder.path());
    let named = folder.to_str().unwrap();
    let args = ["model", "convert", "--model", named, "--out", named];
    let (code, _, stderr) = engram(Path::new("."), &args);
    assert_eq!(code, 1);
    assert!(stderr.contains("the checkpoint itself"), "{stderr}");
}
