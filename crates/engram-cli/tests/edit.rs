//! `engram edit`: what cannot be edited is one clear line and leaves the checkpoint as it is; edits are laid over it,
//! listed, merged and taken off to the byte.

mod common;

use std::path::{Path, PathBuf};

use common::engram;

const PROMPT: &str = "In pharmacology, phenytoin belongs to the class of drugs called";
const WEIGHTS: &str = "model.safetensors";

fn base() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::canonicalize(root.join("assets/models/pubmed-mini")).unwrap()
}

/// A folder with a checkpoint of its own and a corpus.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    copy(&base(), &here.join("model"));
    let line = |i: usize| {
        let text = format!(
            "Case {i}: seizures were treated with drug {i}, and the brain was seen by EEG."
        );
        format!("{{\"title\":\"\",\"abstract\":\"{text}\"}}\n")
    };
    let texts: String = (0..30).map(line).collect();
    std::fs::write(here.join("texts.jsonl"), texts).unwrap();
    folder
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["config.json", WEIGHTS, "tokenizer.json"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

fn request<'a>(model: &'a str, out: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
    let quick = ["prefixes=1", "steps=3", "sample_tokens=600", "ridge=0.01"];
    let mut args = vec![
        "edit",
        "request",
        "--model",
        model,
        "--texts",
        "texts.jsonl",
    ];
    args.extend(["--statistics", "statistics", "--out", out]);
    args.extend(quick.iter().flat_map(|s| ["--set", s]));
    args.extend(extra);
    args
}

fn fact<'a>(subject: &'a str, to: &'a str, layer: &'a str) -> Vec<&'a str> {
    vec![
        "--prompt",
        PROMPT,
        "--subject",
        subject,
        "--to",
        to,
        "--layer",
        layer,
    ]
}

fn done(here: &Path, args: &[&str]) -> String {
    let (code, stdout, stderr) = engram(here, args);
    assert_eq!(code, 0, "{args:?}: {stderr}");
    stdout
}

fn refused(here: &Path, args: &[&str], parts: &[&str], gone: &str) {
    let (code, stdout, stderr) = engram(here, args);
    assert_eq!(code, 1, "{args:?}: {stderr}");
    assert_eq!(stdout, "", "{args:?}");
    let last = stderr.trim_end().lines().last().unwrap_or_default();
    assert!(last.starts_with("engram: "), "{args:?}: {stderr}");
    for part in parts {
        assert!(last.contains(part), "{args:?}: no \"{part}\" in: {last}");
    }
    assert!(!here.join(gone).exists(), "{args:?} left {gone}");
}

#[test]
fn what_cannot_be_edited_is_refused() {
    let folder = workplace();
    let here = folder.path();
    let no = |extra: &[&str], parts: &[&str]| {
        refused(
            here,
            &request("model", "a.safetensors", extra),
            parts,
            "a.safetensors",
        );
    };
    no(
        &fact("carbamazepine", "acids", "3"),
        &["subject \"carbamazepine\"", "does not occur"],
    );
    let mut same = fact("phenytoin", "hydantoins", "3");
    same.extend(["--from", "hydantoins"]);
    no(&same, &["the new answer \"hydantoins\" is the present one"]);
    no(
        &fact("phenytoin", "acids", "8"),
        &["--layer 8", "layers 0 to 7"],
    );
    no(&fact("phenytoin", "acids", "0-1"), &["one layer"]);
    no(&fact("phenytoin", "acids", "auto"), &["--recovery"]);
    let mut singular = fact("phenytoin", "acids", "3");
    singular.extend(["--set", "ridge=0"]);
    no(&singular, &["layer 3", "singular", "ridge"]);
    let mut unknown = fact("phenytoin", "acids", "3");
    unknown.extend(["--set", "speed=1"]);
    no(&unknown, &["speed", "no such setting", "clamp"]);
    let mut unread = fact("phenytoin", "acids", "3");
    unread.extend(["--set", "energy=0.5"]);
    no(&unread, &["energy", "r-rome does not read it", "clamp"]);
    let mut negative = fact("phenytoin", "acids", "3");
    negative.extend(["--set", "rate=-1"]);
    no(&negative, &["rate", "above 0"]);
    let mut args = vec![
        "edit",
        "request",
        "--model",
        "model",
        "--out",
        "a.safetensors",
    ];
    args.extend(fact("phenytoin", "acids", "3"));
    refused(here, &args, &["--texts"], "a.safetensors");

    std::fs::write(here.join("rubbish"), b"rubbish").unwrap();
    let apply = [
        "edit", "apply", "--model", "model", "--out", "edited", "rubbish",
    ];
    refused(here, &apply, &["rubbish", "not a readable edit"], "edited");
    refused(
        here,
        &["edit", "list", "model"],
        &["no edits in this folder"],
        "edited",
    );
    let before = std::fs::read(base().join(WEIGHTS)).unwrap();
    assert_eq!(
        before,
        std::fs::read(here.join("model").join(WEIGHTS)).unwrap()
    );
}

/// Three steps of the optimisation are too few: nothing is written, and the reason is told.
#[test]
fn an_edit_that_is_not_said_is_not_written() {
    let folder = workplace();
    let here = folder.path();
    let facts = fact("phenytoin", "sulfonamides", "3");
    let mut args = request("model", "a.safetensors", &facts);
    let (code, stdout, stderr) = engram(here, &args);
    assert_eq!(code, 1, "{stderr}");
    assert!(stdout.contains("not written"), "{stdout}");
    assert!(stdout.contains("0 % → 0 %"), "{stdout}");
    assert!(
        stderr.contains("does not say the new answer of 1 of 1 facts: of request it says"),
        "{stderr}"
    );
    let last = stderr.trim_end().lines().last().unwrap();
    assert!(last.starts_with("engram: a.safetensors is not written"));
    assert!(!here.join("a.safetensors").exists());
    args.extend(["--force", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&done(here, &args)).unwrap();
    assert_eq!(found["facts"][0]["says"], serde_json::json!([false, false]));
    assert_eq!(found["faults"].as_array().unwrap().len(), 1);
    assert!(found["edit"].is_string() && here.join("a.safetensors").exists());

    // What is applied is scored as it was when it was made.
    let apply = ["edit", "apply", "--model", "model", "--out", "edited"];
    done(here, &[&apply[..], &["a.safetensors"]].concat());
    let scored = done(here, &["edit", "score", "edited", "--json"]);
    let scored: serde_json::Value = serde_json::from_str(&scored).unwrap();
    for part in ["facts", "faults", "probe", "sampled", "before", "after"] {
        assert_eq!(scored[part], found[part], "{part}");
    }
    let list = format!(
        "{{\"prompt\":\"{PROMPT}\",\"subject\":\"phenytoin\",\"to\":\"acids\",\"from\":\"hydantoins\"}}\n"
    );
    std::fs::write(here.join("list.jsonl"), &list).unwrap();
    let shown = done(here, &["edit", "score", "edited", "--file", "list.jsonl"]);
    assert!(shown.contains("efficacy"), "{shown}");
}

/// Without a layer, a few are tried on the request's own fact.
#[test]
fn a_layer_is_recommended() {
    let folder = workplace();
    let here = folder.path();
    let mut args = request("model", "a.safetensors", &["--json", "--force"]);
    args.extend([
        "--prompt",
        PROMPT,
        "--subject",
        "phenytoin",
        "--to",
        "acids",
    ]);
    let (code, stdout, stderr) = engram(here, &args);
    assert_eq!(code, 0, "{stderr}");
    let said = "of layers 0, 1, 2, 3, 5, tried on 1 of the request's facts";
    assert!(stderr.contains(said), "{stderr}");
    let found: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let layer = found["layers"][0].as_u64().unwrap();
    assert!(
        stderr.contains(&format!("layer {layer}: of layers")),
        "{stderr}"
    );
}

/// A list's faults are told together, and one fact at a time is all that ROME takes.
#[test]
fn a_list_of_edits_is_checked_before_any_work() {
    let folder = workplace();
    let here = folder.path();
    let of = |to: &str| {
        format!("{{\"prompt\":\"{PROMPT}\",\"subject\":\"phenytoin\",\"to\":\"{to}\"}}\n")
    };
    std::fs::write(here.join("list.jsonl"), of("acids") + &of("salts")).unwrap();
    let args = request(
        "model",
        "a.safetensors",
        &["--file", "list.jsonl", "--layer", "3"],
    );
    let (code, _, stderr) = engram(here, &args);
    assert_eq!(code, 1);
    assert!(stderr.contains("line 2: it contradicts line 1"), "{stderr}");
    let other = of("salts").replace("In pharmacology", "In medicine");
    std::fs::write(here.join("list.jsonl"), of("acids") + &other).unwrap();
    refused(
        here,
        &args,
        &["edits one fact, and 2 facts", "memit"],
        "a.safetensors",
    );
}

#[test]
fn edits_are_laid_over_merged_and_taken_off_to_the_byte() {
    let folder = workplace();
    let here = folder.path();
    let make = |model: &str, out: &str, to: &str| {
        let facts = fact("phenytoin", to, "3");
        let mut args = request(model, out, &facts);
        // Three steps are too few for the model to say it.
        args.extend(["--json", "--force"]);
        let said: serde_json::Value = serde_json::from_str(&done(here, &args)).unwrap();
        said["edit"].as_str().unwrap().to_owned()
    };
    let first = make("model", "first.safetensors", "benzodiazepines");
    let again = make("model", "again.safetensors", "benzodiazepines");
    assert_eq!(first, again, "twice the same edit");
    make("model", "beside.safetensors", "sulfonamides");
    let apply = |edit: &'static str| ["edit", "apply", "--model", "model", "--out", "edited", edit];
    done(here, &apply("first.safetensors"));
    refused(
        here,
        &apply("again.safetensors"),
        &["applied here already"],
        "nothing",
    );
    refused(
        here,
        &apply("beside.safetensors"),
        &["both change h.3.mlp.c_proj.weight", "revert"],
        "nothing",
    );
    let second = make("edited", "second.safetensors", "sulfonamides");
    let lone = [
        "edit",
        "apply",
        "--model",
        "model",
        "--out",
        "lone",
        "second.safetensors",
    ];
    refused(here, &lone, &["was made on top of", &first], "lone");
    done(here, &apply("second.safetensors"));
    let listed = done(here, &["edit", "list", "edited"]);
    assert!(
        listed.contains(&first) && listed.contains(&second),
        "{listed}"
    );
    let shown = done(here, &["edit", "show", "second.safetensors"]);
    assert!(
        shown.contains(&first) && shown.contains("rank 1"),
        "{shown}"
    );

    // A checkpoint of another hash.
    copy(&base(), &here.join("other"));
    let config = std::fs::read_to_string(here.join("other/config.json")).unwrap();
    std::fs::write(here.join("other/config.json"), config + "\n").unwrap();
    let foreign = [
        "edit",
        "apply",
        "--model",
        "other",
        "--out",
        "x",
        "first.safetensors",
    ];
    refused(here, &foreign, &["made for the checkpoint"], "x");

    done(
        here,
        &["edit", "merge", "--model", "edited", "--out", "merged"],
    );
    let ask = |model: &str| {
        done(
            here,
            &["model", "ask", "--model", model, "--prompt", PROMPT],
        )
    };
    assert_eq!(ask("edited"), ask("merged"));
    assert_ne!(ask("edited"), ask("model"));

    let error = ["edit", "revert", "edited", &first];
    refused(here, &error, &["cannot be taken off", &second], "nothing");
    done(here, &["edit", "revert", "edited", &second]);
    done(here, &["edit", "revert", "edited", &first[..6]]);
    done(
        here,
        &["edit", "merge", "--model", "edited", "--out", "reverted"],
    );
    done(
        here,
        &["model", "convert", "--model", "model", "--out", "plain"],
    );
    for name in [WEIGHTS, "config.json", "tokenizer.json"] {
        let bytes = |folder: &str| std::fs::read(here.join(folder).join(name)).unwrap();
        assert!(bytes("reverted") == bytes("plain"), "{name}");
        assert!(
            bytes("model") == std::fs::read(base().join(name)).unwrap(),
            "{name}"
        );
    }
}
