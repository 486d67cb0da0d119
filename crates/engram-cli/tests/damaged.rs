//! Checkpoints, edits and statistics that are not what they were: one line that names the file and what is wrong
//! with it.

mod common;

use std::path::{Path, PathBuf};

use common::engram;

const WEIGHTS: &str = "model.safetensors";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["config.json", WEIGHTS, "tokenizer.json"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

/// A folder with a copy of the bundled model and a few texts.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(
        &root().join("assets/models/pubmed-mini"),
        &folder.path().join("model"),
    );
    let line = |i: usize| {
        format!(
            "{{\"title\":\"\",\"abstract\":\"Case {i}: seizures, drug {i}, EEG of the brain.\"}}\n"
        )
    };
    let texts: String = (0..30).map(line).collect();
    std::fs::write(folder.path().join("texts.jsonl"), texts).unwrap();
    folder
}

fn done(here: &Path, args: &[&str]) -> String {
    let (code, stdout, stderr) = engram(here, args);
    assert_eq!(code, 0, "{args:?}: {stderr}");
    stdout
}

/// The last line of what is said.
fn refused(here: &Path, args: &[&str], parts: &[&str]) {
    let (code, stdout, stderr) = engram(here, args);
    assert_eq!((code, stdout.as_str()), (1, ""), "{args:?}: {stderr}");
    let last = stderr.trim_end().lines().last().unwrap_or_default();
    for part in parts {
        assert!(last.contains(part), "{args:?}: no \"{part}\" in: {last}");
    }
}

/// Writes float32 values into a parameter of a checkpoint.
fn overwrite(folder: &Path, tensor: &str, values: impl Fn(usize) -> Option<f32>) {
    let path = folder.join(WEIGHTS);
    let mut bytes = std::fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let info = &header[tensor];
    assert_eq!(info["dtype"], "F32", "{tensor}");
    let at = |i: usize| 8 + length + info["data_offsets"][i].as_u64().unwrap() as usize;
    for (element, place) in bytes[at(0)..at(1)].chunks_exact_mut(4).enumerate() {
        if let Some(value) = values(element) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    }
    std::fs::write(&path, bytes).unwrap();
}

fn edit<'a>(model: &'a str, out: &'a str) -> Vec<&'a str> {
    let mut args = vec![
        "edit",
        "request",
        "--model",
        model,
        "--texts",
        "texts.jsonl",
    ];
    args.extend(["--statistics", "statistics", "--out", out]);
    for setting in ["prefixes=1", "steps=2", "sample_tokens=300", "ridge=0.01"] {
        args.extend(["--set", setting]);
    }
    let prompt = "In pharmacology, phenytoin belongs to the class of drugs called";
    args.extend(["--prompt", prompt, "--subject", "phenytoin"]);
    args.extend(["--to", "acids", "--layer", "3", "--force"]);
    args
}

#[test]
fn edits_over_another_checkpoint_name_the_file_and_both_checkpoints() {
    let folder = workplace();
    let here = folder.path();
    done(here, &edit("model", "first.safetensors"));
    // The same weights in float32: another checkpoint.
    done(
        here,
        &["model", "convert", "--model", "model", "--out", "other"],
    );
    let mut apply = [
        "edit",
        "apply",
        "--model",
        "other",
        "--out",
        "x",
        "first.safetensors",
    ];
    let parts = [
        "first.safetensors: edit ",
        "was made for the checkpoint model (",
        "other (",
    ];
    refused(here, &apply, &parts);
    assert!(!here.join("x").exists());

    apply[3] = "model";
    done(here, &apply);
    let list = here.join("x/edits.json");
    let text = std::fs::read_to_string(&list).unwrap();
    let base = |named: &str| {
        let mut edits: serde_json::Value = serde_json::from_str(&text).unwrap();
        edits["base"] = named.into();
        std::fs::write(&list, edits.to_string()).unwrap();
    };
    let ask = ["model", "ask", "--model", "x", "--prompt", "the"];
    base("gone");
    refused(here, &ask, &["x/edits.json: its base, gone", WEIGHTS]);
    base(here.join("other").to_str().unwrap());
    refused(
        here,
        &ask,
        &[
            "x/edits.json: its edits were made for the checkpoint",
            "other",
        ],
    );
}

#[test]
fn a_damaged_covariance_is_named() {
    let folder = workplace();
    let here = folder.path();
    done(here, &edit("model", "first.safetensors"));
    let mut kept = std::fs::read_dir(here.join("statistics")).unwrap();
    let kept = kept.next().unwrap().unwrap().path();
    let whole = std::fs::read(&kept).unwrap();
    let name = kept.file_name().unwrap().to_str().unwrap();
    let second = edit("model", "second.safetensors");
    let broken = |bytes: &[u8]| std::fs::write(&kept, bytes).unwrap();
    for at in [whole.len() - 1, whole.len() / 2, whole.len() / 2 + 7] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        broken(&bytes);
        refused(
            here,
            &second,
            &[
                name,
                "this stored covariance is damaged",
                "checksum",
                "remove the file",
            ],
        );
    }
    broken(&whole[..whole.len() - 3]);
    refused(here, &second, &[name, "this stored covariance is damaged"]);
    std::fs::remove_file(&kept).unwrap();
    done(here, &second);
    assert!(std::fs::read(&kept).unwrap() == whole);
    let edits =
        ["first.safetensors", "second.safetensors"].map(|f| std::fs::read(here.join(f)).unwrap());
    assert!(edits[0] == edits[1]);
}

#[test]
fn values_beyond_float32_are_refused_by_site_and_position() {
    let folder = workplace();
    let here = folder.path();
    done(
        here,
        &["model", "convert", "--model", "model", "--out", "f32"],
    );
    let model = here.join("f32");
    let config = std::fs::read(model.join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let d = config["n_embd"].as_u64().unwrap() as usize;
    // The embeddings of token 9 and of position 2 are finite, and their sum is not.
    overwrite(&model, "transformer.wte.weight", |i| {
        (i == 9 * d + 3).then_some(3e38)
    });
    overwrite(&model, "transformer.wpe.weight", |i| {
        (i == 2 * d + 3).then_some(3e38)
    });
    let logits = ["model", "logits", "--model", "f32", "--out", "out", "--ids"];
    let with = |ids| [&logits[..], &[ids]].concat();
    let parts = ["resid_pre.0 holds inf at position 2", "too large"];
    refused(here, &with("5,9,9,5"), &parts);
    assert!(!here.join("out").exists());
    done(here, &with("5,6"));
    // Every prompt.
    overwrite(&model, "transformer.h.1.mlp.c_fc.weight", |_| Some(3e38));
    refused(
        here,
        &["model", "ask", "--model", "f32", "--prompt", "the brain"],
        &["mlp_pre.1 holds", "position 0"],
    );
    let cache = [
        "cache",
        "--model",
        "f32",
        "--prompt",
        "the brain",
        "--sites",
        "resid_post.7",
        "--out",
        "c.safetensors",
    ];
    refused(here, &cache, &["mlp_pre.1 holds", "position 0"]);
    assert!(!here.join("c.safetensors").exists());
}

#[test]
fn tensors_beside_the_network_are_named() {
    let folder = workplace();
    let here = folder.path();
    let model = here.join("model").join(WEIGHTS);
    let bytes = std::fs::read(&model).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let end = bytes.len() - 8 - length;
    header["v_head.weight"] =
        serde_json::json!({"dtype": "F32", "shape": [2], "data_offsets": [end, end + 8]});
    let header = header.to_string().into_bytes();
    let mut more = (header.len() as u64).to_le_bytes().to_vec();
    more.extend(header);
    more.extend(&bytes[8 + length..]);
    more.extend([0; 8]);
    std::fs::write(&model, more).unwrap();
    let (code, _, stderr) = engram(here, &["model", "info", "--model", "model"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stderr.contains("model: not used, no part of the network: v_head.weight"),
        "{stderr}"
    );
}

#[test]
fn a_tokenizer_on_which_its_library_panics_is_one_line_that_names_it() {
    let folder = workplace();
    let here = folder.path();
    let path = here.join("model/tokenizer.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    let ask = ["model", "ask", "--model", "model", "--prompt", "The brain"];
    // No JSON within the decoder: the library unwraps what it cannot read.
    let at = whole.find("\"decoder\"").unwrap() + "\"decoder\"".len();
    let text = format!("{}: {{\"type\" 5}}, {}", &whole[..at], &whole[at + 1..]);
    std::fs::write(&path, text).unwrap();
    let (code, stdout, stderr) = engram(here, &ask);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        stderr.starts_with("engram: model/tokenizer.json: the tokenizers library fails on it"),
        "{stderr}"
    );
    // One that deletes every text.
    let mut value: serde_json::Value = serde_json::from_str(&whole).unwrap();
    value["normalizer"] =
        serde_json::json!({"type": "Replace", "pattern": {"Regex": ".*"}, "content": ""});
    std::fs::write(&path, value.to_string()).unwrap();
    refused(
        here,
        &ask,
        &["model/tokenizer.json: this tokenizer makes no token of the prompt \"The brain\""],
    );
}

#[test]
fn a_fact_that_fits_no_text_is_named_with_its_table() {
    let folder = workplace();
    let here = folder.path();
    let (code, _, stderr) = engram(here, &["run", "--new", "study"]);
    assert_eq!(code, 0, "{stderr}");
    let table = std::fs::read_to_string(here.join("study-facts.toml")).unwrap();
    let answer = table.find("answer = \"").unwrap() + "answer = \"".len();
    let long = format!(
        "{}{}{}",
        &table[..answer],
        "x".repeat(5000),
        &table[answer..]
    );
    std::fs::write(here.join("facts.toml"), long).unwrap();
    let write = [
        "corpus",
        "write",
        "--facts",
        "facts.toml",
        "--model",
        "model",
    ];
    let args = [&write[..], &["--out", "texts"]].concat();
    let (code, _, stderr) = engram(here, &args);
    assert_eq!(code, 1, "{stderr}");
    let last = stderr.trim_end().lines().last().unwrap();
    assert!(
        last.starts_with("engram: facts.toml: cannot write texts"),
        "{last}"
    );
    assert!(last.len() < 400, "{last}");
}
