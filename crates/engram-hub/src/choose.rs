//! Selects the files of a checkpoint from the list of a repository's files. Works on names only.

use std::collections::{BTreeMap, BTreeSet};

use engram_core::PartName;
use serde::Deserialize;

use crate::reference::{Reference, is_gguf};

/// Weights in one file.
const WEIGHTS: &str = "model.safetensors";
/// The index: which file has which tensors.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// Files that are fetched if present.
const OPTIONAL: [&str; 3] = [
    "generation_config.json",
    "tokenizer_config.json",
    "tokenizer.model",
];
/// Maximum number of names in an error.
const LISTED: usize = 12;

/// The files of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    /// All files except the weights.
    pub beside: Vec<String>,
    /// The files with the weights.
    pub weights: Weights,
}

/// The files that hold a checkpoint's weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Weights {
    /// `model.safetensors`.
    One,
    /// The files listed in `model.safetensors.index.json`.
    Shards,
    /// This GGUF file, which holds everything; of a split model the first part, whose name gives the others.
    Gguf(String),
}

/// Selects files from `names`; otherwise returns a phrase that completes "the repository has …".
pub(crate) fn choose(names: &BTreeSet<String>, wanted: &Reference) -> Result<Choice, String> {
    let has = |name: &str| names.contains(name);
    if let Some(file) = wanted.file() {
        return match has(file) {
            true => gguf(names, file),
            false => Err(format!("no {file}{}", instead(names))),
        };
    }
    let weights = match (has(WEIGHTS), has(INDEX)) {
        (true, _) => Weights::One,
        (false, true) => Weights::Shards,
        (false, false) => return without_safetensors(names, wanted),
    };
    if !has("config.json") {
        return Err("no config.json, which says what model the weights are of".to_owned());
    }
    let mut beside = vec!["config.json".to_owned()];
    beside.extend(OPTIONAL.into_iter().filter(|n| has(n)).map(str::to_owned));
    if has("tokenizer.json") {
        beside.push("tokenizer.json".to_owned());
    } else if has("vocab.json") && has("merges.txt") {
        beside.extend(["vocab.json".to_owned(), "merges.txt".to_owned()]);
    } else if !has("tokenizer.model") {
        return Err("no tokenizer (tokenizer.json, or vocab.json with merges.txt)".to_owned());
    }
    Ok(Choice { beside, weights })
}

/// The files that an index lists, each once.
pub(crate) fn shards(index: &Index) -> Result<Vec<String>, String> {
    let files: BTreeSet<&String> = index.weight_map.values().collect();
    match files.is_empty() {
        true => Err(format!("an {INDEX} that lists no file")),
        false => Ok(files.into_iter().cloned().collect()),
    }
}

/// The index of weights.
#[derive(Debug, Deserialize)]
pub(crate) struct Index {
    weight_map: BTreeMap<String, String>,
}

/// A GGUF file, with the other parts of a split model.
fn gguf(names: &BTreeSet<String>, file: &str) -> Result<Choice, String> {
    let Some(name) = PartName::parse(file) else {
        return Ok(Choice {
            beside: Vec::new(),
            weights: Weights::Gguf(file.to_owned()),
        });
    };
    let mut beside: Vec<String> = (1..=name.count).map(|part| name.of_part(part)).collect();
    match beside.iter().find(|part| !names.contains(*part)) {
        Some(missing) => Err(format!(
            "no {missing}, which is needed with {file} (part {} of {})",
            name.number, name.count
        )),
        None => Ok(Choice {
            weights: Weights::Gguf(beside.remove(0)),
            beside,
        }),
    }
}

fn without_safetensors(names: &BTreeSet<String>, wanted: &Reference) -> Result<Choice, String> {
    let found: Vec<&str> = ggufs(names).collect();
    match found[..] {
        [] => Err(without_weights(names, wanted)),
        [one] => gguf(names, one),
        [first, ref others @ ..] if others.iter().all(|other| of_one_model(first, other)) => {
            gguf(names, first)
        }
        [first, ..] => {
            let repo = wanted.repo();
            let revision = wanted.to_string().split_off(repo.len());
            Err(format!(
                "several GGUF files: {}; name one, as {repo}/{first}{revision}",
                list(found.iter().copied())
            ))
        }
    }
}

fn of_one_model(file: &str, other: &str) -> bool {
    let model = |file| PartName::parse(file).map(|name| (name.stem, name.count));
    model(file).is_some() && model(file) == model(other)
}

fn without_weights(names: &BTreeSet<String>, wanted: &Reference) -> String {
    let pickled = |name: &str| {
        let endings = [".bin", ".pt", ".pth", ".ckpt", ".pkl"];
        endings.iter().any(|ending| name.ends_with(ending))
    };
    let pickles: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|n| pickled(n))
        .collect();
    let others = names
        .iter()
        .map(String::as_str)
        .filter(|n| n.ends_with(".safetensors"));
    let others: Vec<&str> = others.collect();
    match (&others[..], &pickles[..]) {
        ([], []) => format!("neither {WEIGHTS} nor a GGUF file"),
        ([], _) => format!(
            "its weights in pickle files only ({}), which are programs and are not opened; convert it: in Python AutoModelForCausalLM.from_pretrained({:?}).save_pretrained(\"folder\") and the same for AutoTokenizer, then name that folder; or let https://huggingface.co/spaces/safetensors/convert do it and name the pull request that it opens, as {}@refs/pr/1",
            list(pickles.iter().copied()),
            wanted.repo(),
            wanted.repo()
        ),
        _ => format!(
            "no {WEIGHTS}, but {}: parts of another kind of model, or of another form",
            list(others.iter().copied())
        ),
    }
}

fn ggufs(names: &BTreeSet<String>) -> impl Iterator<Item = &str> {
    names
        .iter()
        .map(String::as_str)
        .filter(|name| is_gguf(name))
}

/// The GGUF files present instead of the requested one, for an error.
fn instead(names: &BTreeSet<String>) -> String {
    match ggufs(names).next() {
        None => ", and no other GGUF file".to_owned(),
        Some(_) => format!("; of GGUF files it has {}", list(ggufs(names))),
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.len() {
        0..=LISTED => names.join(", "),
        all => format!("{} and {} more", names[..LISTED].join(", "), all - LISTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &str, wanted: &str) -> Result<Choice, String> {
        let names = names.split_whitespace().map(str::to_owned).collect();
        choose(&names, &Reference::parse(wanted).unwrap())
    }

    fn only(file: &str) -> Choice {
        Choice {
            beside: Vec::new(),
            weights: Weights::Gguf(file.to_owned()),
        }
    }

    #[test]
    fn a_split_gguf_is_taken_whole_whichever_part_is_named() {
        let parts = "x/m-00001-of-00003.gguf x/m-00002-of-00003.gguf x/m-00003-of-00003.gguf";
        let whole = Choice {
            beside: parts.split(' ').skip(1).map(str::to_owned).collect(),
            weights: Weights::Gguf("x/m-00001-of-00003.gguf".to_owned()),
        };
        assert_eq!(chosen(parts, "a/b"), Ok(whole.clone()));
        assert_eq!(chosen(parts, "a/b/x/m-00002-of-00003.gguf"), Ok(whole));
        let lacks = chosen("m-00002-of-00002.gguf", "a/b").unwrap_err();
        assert!(
            lacks.starts_with("no m-00001-of-00002.gguf, which is needed with"),
            "{lacks}"
        );
        let two = format!("{parts} y.gguf");
        assert!(
            chosen(&two, "a/b")
                .unwrap_err()
                .starts_with("several GGUF files")
        );
    }

    fn beside(names: &str) -> String {
        chosen(names, "a/b").unwrap().beside.join(" ")
    }

    #[test]
    fn a_checkpoint_is_its_configuration_tokenizer_and_weights() {
        let all = "README.md config.json flax_model.msgpack generation_config.json merges.txt model.safetensors onnx/model.onnx pytorch_model.bin tokenizer.json tokenizer_config.json vocab.json x.gguf";
        assert_eq!(
            beside(all),
            "config.json generation_config.json tokenizer_config.json tokenizer.json"
        );
        assert_eq!(chosen(all, "a/b").unwrap().weights, Weights::One);
        let old =
            "config.json merges.txt model.safetensors model.safetensors.index.json vocab.json";
        assert_eq!(beside(old), "config.json vocab.json merges.txt");
        assert_eq!(chosen(old, "a/b").unwrap().weights, Weights::One);
        let large = "config.json model-00001-of-00002.safetensors model.safetensors.index.json tokenizer.model";
        assert_eq!(beside(large), "config.json tokenizer.model");
        assert_eq!(chosen(large, "a/b").unwrap().weights, Weights::Shards);
    }

    #[test]
    fn one_gguf_file_is_taken_and_one_of_several_is_named() {
        let one = chosen("README.md config.json Q4/x.gguf", "a/b").unwrap();
        assert_eq!(one, only("Q4/x.gguf"));
        let several = chosen("x.Q4.gguf y.gguf", "a/b@v1").unwrap_err();
        assert_eq!(
            several,
            "several GGUF files: x.Q4.gguf, y.gguf; name one, as a/b/x.Q4.gguf@v1"
        );
        assert_eq!(chosen("x.gguf y.gguf", "a/b/y.gguf"), Ok(only("y.gguf")));
        let other = chosen("x.gguf", "a/b/y.gguf").unwrap_err();
        assert_eq!(other, "no y.gguf; of GGUF files it has x.gguf");
        let none = chosen("model.safetensors", "a/b/y.gguf").unwrap_err();
        assert_eq!(none, "no y.gguf, and no other GGUF file");
        let many: String = (10..40).map(|i| format!("{i}.gguf ")).collect();
        assert!(
            chosen(&many, "a/b")
                .unwrap_err()
                .contains("21.gguf and 18 more; name one")
        );
    }

    #[test]
    fn what_makes_no_checkpoint_is_said() {
        let lacks = |names| chosen(names, "a/b").unwrap_err();
        assert!(lacks("model.safetensors tokenizer.json").starts_with("no config.json"));
        assert!(lacks("model.safetensors config.json vocab.json").starts_with("no tokenizer"));
        assert!(lacks("README.md").starts_with("neither model.safetensors nor"));
        let pickle = lacks("config.json pytorch_model.bin tokenizer.json");
        assert!(
            pickle.contains("(pytorch_model.bin)")
                && pickle.contains("from_pretrained(\"a/b\").save_pretrained")
                && pickle.contains("a/b@refs/pr/1"),
            "{pickle}"
        );
        let adapter = lacks("adapter_model.safetensors config.json pytorch_model.bin");
        assert!(
            adapter.contains("but adapter_model.safetensors"),
            "{adapter}"
        );
    }

    #[test]
    fn shards_are_those_of_the_index() {
        let read = |text| shards(&serde_json::from_str::<Index>(text).unwrap());
        let two = r#"{"metadata":{"total_size":1},"weight_map":{"a":"2","b":"1","c":"2"}}"#;
        assert_eq!(read(two), Ok(vec!["1".to_owned(), "2".to_owned()]));
        assert!(
            read(r#"{"weight_map":{}}"#)
                .unwrap_err()
                .contains("lists no file")
        );
    }
}
