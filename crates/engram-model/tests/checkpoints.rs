//! Checkpoints whose configuration leaves much unsaid, compared with the transformers library: scaled rotary
//! embedding, stored unembeddings of tied models, split GGUF files. Also files that are truncated while they are read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use engram_model::checkpoint::{CONFIG, Stored, WEIGHTS};
use engram_model::gguf::Gguf;
use engram_model::shard::Shard;
use engram_model::wavefront::{Run, Wavefront};
use engram_model::{
    Family, LanguageModel, ModelError, NoTap, Result, Tokenizer, checkpoint, families,
};

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(name)
}

/// A checkpoint's model; the fixtures have no tokenizer.
fn read(folder: &Path) -> Result<LanguageModel> {
    let family = families::read(&folder.join(CONFIG))?;
    let stored = Stored::open(folder)?;
    let family = stored.family(family)?;
    let parameters = stored.parameters(&*family, &Device::Cpu)?;
    let tokenizer = Tokenizer::numbers(family.architecture().vocab)?;
    LanguageModel::of(family, parameters, tokenizer)
}

fn ids(tensor: &Tensor) -> Vec<Vec<u32>> {
    let rows = tensor.to_vec2::<i64>().unwrap().into_iter();
    rows.map(|row| row.into_iter().map(|id| id as u32).collect())
        .collect()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_close(what: &str, found: &[f32], expected: &Tensor) {
    let expected = values(expected);
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let bound = 1e-4 * b.abs().max(1.0);
        assert!((a - b).abs() <= bound, "{what}[{i}]: {a} for {b}");
    }
}

fn cases() -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(fixtures("checkpoints")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.sort();
    let named = |path: PathBuf| (path.file_name().unwrap().to_str().unwrap().to_owned(), path);
    paths.into_iter().map(named).collect()
}

fn expected(path: &Path) -> std::collections::HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

#[test]
fn scaled_rotary_embedding_and_stored_heads_are_the_transformers_librarys() {
    let cases = cases();
    assert!(cases.len() >= 16, "{}", cases.len());
    for (name, folder) in cases {
        let model = read(&folder).unwrap_or_else(|e| panic!("{name}: {e}"));
        let expected = expected(&folder.join("expected.safetensors"));
        let ids = ids(&expected["ids"]);
        let short: Vec<Vec<u32>> = ids.iter().map(|row| row[..6].to_vec()).collect();
        for (ids, logits) in [(&ids, "logits"), (&short, "short")] {
            let what = format!("{name}, {logits}");
            let found = model.forward(ids, &mut NoTap).unwrap();
            assert_close(&what, &values(&found), &expected[logits]);
            wavefront_is_close(&what, &model, ids, &expected[logits]);
        }
    }
}

/// Sweeps and edits give the same, or say that they do not take prompts of this length.
fn wavefront_is_close(what: &str, model: &LanguageModel, ids: &[Vec<u32>], expected: &Tensor) {
    let front = Wavefront::new(model).unwrap();
    let whole = |row: &Vec<u32>| Run {
        ids: row.clone(),
        noise: None,
    };
    let reads: Vec<_> = ids.iter().map(|row| (whole(row), 0..row.len())).collect();
    let (length, context) = (ids[0].len(), model.shape().context);
    match front.read(&reads) {
        Ok(rows) => {
            let vocabulary = front.vocabulary(None).unwrap();
            let found = front.logits(&rows, &vocabulary);
            assert_close(&format!("{what}, wavefront"), &found, expected);
        }
        Err(error) => {
            assert!(length > context, "{what}: {error}");
            assert!(matches!(error, ModelError::RotaryLength { .. }), "{error}");
            let error = error.to_string();
            assert!(
                error.contains("11 tokens") && error.contains("depend"),
                "{error}"
            );
        }
    }
}

#[test]
fn a_head_is_tied_only_where_the_file_has_no_other() {
    for (name, folder) in cases() {
        let Some((family, head)) = name.split_once("_tied_") else {
            continue;
        };
        let model = read(&folder).unwrap();
        let stored = if family == "gpt_neox" {
            "embed_out.weight"
        } else {
            "lm_head.weight"
        };
        assert_eq!(
            model.parameters().contains_key(stored),
            head == "other",
            "{name}"
        );
        // What is written has the head, and says so.
        let written = tempfile::tempdir().unwrap();
        model.write(written.path()).unwrap();
        let again = LanguageModel::read(written.path(), &Device::Cpu).unwrap();
        let ids = [vec![3, 1, 4, 1, 5, 9]];
        let logits = |m: &LanguageModel| values(&m.forward(&ids, &mut NoTap).unwrap());
        assert_eq!(logits(&model), logits(&again), "{name}");
        let config = std::fs::read(written.path().join(CONFIG)).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["tie_word_embeddings"], head != "other", "{name}");
    }
}

/// The weights of a fixture with tensors added, beside its configuration.
fn with_tensors(name: &str, added: &[(&str, &[usize])]) -> tempfile::TempDir {
    let from = fixtures("families").join(name);
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(from.join(CONFIG), folder.path().join(CONFIG)).unwrap();
    let mut tensors = expected(&from.join(WEIGHTS));
    for (name, shape) in added {
        let tensor = Tensor::ones(*shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        tensors.insert((*name).to_owned(), tensor);
    }
    candle_core::safetensors::save(&tensors, folder.path().join(WEIGHTS)).unwrap();
    folder
}

#[test]
fn tensors_that_have_no_part_are_named_and_those_that_contradict_refused() {
    let family =
        |folder: &Path| -> Arc<dyn Family> { families::read(&folder.join(CONFIG)).unwrap() };
    let folder = with_tensors(
        "llama",
        &[
            ("v_head.summary.weight", &[1, 24]),
            ("model.layers.0.self_attn.rotary_emb.inv_freq", &[3]),
        ],
    );
    let stored = Stored::open(folder.path()).unwrap();
    let unused = stored.unused(&*family(folder.path())).unwrap();
    assert_eq!(unused, ["v_head.summary.weight"]);
    assert!(read(folder.path()).is_ok());
    for (name, tensor) in [
        // A bias that the configuration does not have, a layer beyond the last, a second name.
        ("llama", "model.layers.0.self_attn.q_proj.bias"),
        ("llama", "model.layers.2.mlp.up_proj.weight"),
        ("llama", "embed_tokens.weight"),
        ("qwen2", "model.layers.1.self_attn.q_norm.weight"),
        ("gpt_neo", "transformer.h.0.attn.attention.q_proj.bias"),
        ("gpt_neox", "gpt_neox.layers.0.attention.rotary.weight"),
    ] {
        let folder = with_tensors(name, &[(tensor, &[24])]);
        let error = read(folder.path()).unwrap_err();
        assert!(matches!(error, ModelError::UnusedTensor { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains(tensor) && error.contains(WEIGHTS), "{error}");
        let error = checkpoint::read(folder.path(), &*family(folder.path()), &Device::Cpu);
        assert!(error.is_err());
    }
}

// GGUF.

fn gguf(name: &str) -> PathBuf {
    fixtures("checkpoints_gguf").join(name)
}

fn assert_reads_as(path: &Path, expected_at: &str) {
    let model = LanguageModel::read(path, &Device::Cpu).unwrap();
    let expected = expected(&gguf(expected_at));
    let logits = model.forward(&ids(&expected["ids"]), &mut NoTap).unwrap();
    assert_close(expected_at, &values(&logits), &expected["logits"]);
}

#[test]
fn metadata_of_rotary_embedding_are_used() {
    assert_reads_as(&gguf("qwen2_partial.gguf"), "qwen2_partial.safetensors");
    assert_reads_as(&gguf("qwen2_yarn.gguf"), "qwen2_yarn.safetensors");
    // No configuration of the transformers library says so.
    let model = LanguageModel::read(&gguf("qwen2_partial.gguf"), &Device::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = model.write(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("rotates 4 of a head's 6 dimensions"),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A GGUF file with a metadata entry before the others; a second one keeps the tensors aligned.
fn with_entry(path: &Path, key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    let entry = |key: &str, kind: u32, value: &[u8]| {
        let length = (key.len() as u64).to_le_bytes();
        [&length, key.as_bytes(), &kind.to_le_bytes(), value].concat()
    };
    let mut entries = entry(key, kind, value);
    let room = 32 - (entries.len() + 23) % 32;
    let text = [&(room as u64).to_le_bytes(), &b"x".repeat(room)[..]].concat();
    entries.extend(entry("pad", 8, &text));
    let mut bytes = std::fs::read(path).unwrap();
    let count = u64::from_le_bytes(bytes[16..24].try_into().unwrap()) + 2;
    bytes[16..24].copy_from_slice(&count.to_le_bytes());
    bytes.splice(24..24, entries);
    bytes
}

#[test]
fn metadata_that_are_not_read_are_refused_by_name_unless_they_are_off() {
    let path = fixtures("families_gguf/llama_grouped.gguf");
    let (f32_, u32_, bool_) = (6, 4, 7);
    let read = |key: &str, kind: u32, value: &[u8]| {
        let file = Gguf::parse(with_entry(&path, key, kind, value)).unwrap();
        families::gguf_family(&file).map(drop)
    };
    for (key, kind, value) in [
        (
            "llama.attention.scale",
            f32_,
            0.5f32.to_le_bytes().as_slice(),
        ),
        ("llama.logit_scale", f32_, &0.5f32.to_le_bytes()),
        ("llama.expert_count", u32_, &8u32.to_le_bytes()),
        ("llama.attention.clamp_kqv", f32_, &8f32.to_le_bytes()),
        (
            "llama.rope.scaling.attn_factor",
            f32_,
            &1.5f32.to_le_bytes(),
        ),
        ("llama.attention.causal", bool_, &[0]),
    ] {
        let error = read(key, kind, value).unwrap_err().to_string();
        assert!(error.contains(&format!("metadata {key} is ")), "{error}");
    }
    for (key, kind, value) in [
        ("llama.expert_count", u32_, 0u32.to_le_bytes().as_slice()),
        ("llama.logit_scale", f32_, &1f32.to_le_bytes()),
        ("llama.attention.causal", bool_, &[1]),
        ("llama.vocab_size", u32_, &61u32.to_le_bytes()),
        ("other.attention.scale", f32_, &0.5f32.to_le_bytes()),
    ] {
        read(key, kind, value).unwrap_or_else(|e| panic!("{key}: {e}"));
    }
}

#[test]
fn heads_of_which_llama_cpp_would_not_turn_a_part_are_refused() {
    let path = fixtures("families_gguf/llama_grouped.gguf");
    let mut bytes = std::fs::read(path).unwrap();
    let key = b"llama.rope.dimension_count";
    let at = bytes.windows(key.len()).position(|w| w == key).unwrap() + key.len() + 4;
    assert_eq!(bytes[at], 6);
    bytes[at] = 4;
    let file = Gguf::parse(bytes).unwrap();
    let error = families::gguf_family(&file)
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("llama.rope.dimension_count is 4; expected 6"),
        "{error}"
    );
}

#[test]
fn fields_that_change_the_computation_and_are_not_read_are_refused() {
    let yarn = serde_json::json!({"rope_type": "yarn", "factor": 2.0, "short_mscale": 1.1});
    for (name, field, value, off) in [
        ("llama", "partial_rotary_factor", 0.5.into(), 1.0.into()),
        ("qwen2", "partial_rotary_factor", 0.5.into(), 1.0.into()),
        ("llama", "logits_scaling", 8.0.into(), 1.0.into()),
        ("mistral", "num_local_experts", 8.into(), 0.into()),
        ("gpt_neo", "alibi", true.into(), false.into()),
        ("llama", "rope_scaling", yarn, serde_json::Value::Null),
    ] {
        let path = fixtures("families").join(name).join(CONFIG);
        let text = std::fs::read(path).unwrap();
        let mut config: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&text).unwrap();
        config.insert(field.to_owned(), value);
        let error = families::of(config.clone()).map(drop).unwrap_err();
        let named = if field == "rope_scaling" {
            "short_mscale"
        } else {
            field
        };
        assert!(error.contains(named), "{error}");
        config.insert(field.to_owned(), off);
        assert!(families::of(config).is_ok(), "{name}: {field}");
    }
}

/// A folder with the three parts of the split model.
fn parts() -> (tempfile::TempDir, [PathBuf; 3]) {
    let folder = tempfile::tempdir().unwrap();
    let paths = [1, 2, 3].map(|part| {
        let name = format!("llama_split-{part:05}-of-00003.gguf");
        let path = folder.path().join(&name);
        std::fs::copy(gguf(&name), &path).unwrap();
        path
    });
    (folder, paths)
}

#[test]
fn any_part_of_a_split_model_opens_the_whole() {
    let (folder, paths) = parts();
    for path in paths.iter().map(PathBuf::as_path).chain([folder.path()]) {
        assert_reads_as(path, "llama_split.safetensors");
        assert_eq!(checkpoint::files(path).unwrap(), paths);
    }
}

#[test]
fn a_split_model_that_is_not_whole_says_what_it_lacks() {
    let error = |path: &Path| {
        let error = Gguf::open(path).unwrap_err().to_string();
        assert!(error.starts_with(&path.display().to_string()), "{error}");
        error
    };
    let (folder, [first, second, third]) = parts();
    std::fs::remove_file(&second).unwrap();
    for (path, number) in [(&first, 1), (&third, 3)] {
        let error = error(path);
        let part = format!(
            "part {number} of 3 of a model; part 2, llama_split-00002-of-00003.gguf, is missing"
        );
        assert!(error.contains(&part), "{error}");
    }
    // Another part under its name.
    std::fs::copy(&third, &second).unwrap();
    let told = Gguf::open(&first).unwrap_err().to_string();
    assert!(
        told.contains("by its name it is part 2 of 3, and its metadata say that it is part 3"),
        "{told}"
    );
    assert!(told.starts_with(&second.display().to_string()), "{told}");
    // A whole model under its name.
    std::fs::copy(gguf("qwen2_yarn.gguf"), &second).unwrap();
    let told = Gguf::open(&first).unwrap_err().to_string();
    assert!(told.contains("that it is whole"), "{told}");
    let alone = folder.path().join("model.gguf");
    std::fs::copy(&first, &alone).unwrap();
    assert!(
        error(&alone)
            .contains("part 1 of 3 of a model; its name is to end in -00001-of-00003.gguf")
    );
}

// Files that change while they are open.

#[test]
fn a_file_cut_short_while_it_is_open_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    let cut = |length: u64| {
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(length).unwrap();
    };
    let told = |error: ModelError| {
        assert!(matches!(error, ModelError::CutShort { .. }), "{error}");
        let error = error.to_string();
        assert!(error.starts_with(&path.display().to_string()), "{error}");
    };
    std::fs::copy(fixtures("families/llama").join(WEIGHTS), &path).unwrap();
    let shard = Shard::open(&path).unwrap();
    let names = shard.names();
    assert!(shard.tensor(&names[0]).is_ok());
    let length = std::fs::metadata(&path).unwrap().len();
    cut(length / 2);
    told(shard.tensor(names.last().unwrap()).unwrap_err());
    cut(0);
    told(shard.tensor(&names[0]).unwrap_err());

    std::fs::copy(fixtures("families_gguf/llama_bf16.gguf"), &path).unwrap();
    let file = Gguf::open(&path).unwrap();
    let last = file
        .tensors()
        .iter()
        .max_by_key(|(_, t)| t.bytes.end)
        .unwrap()
        .0;
    assert!(file.tensor(last).is_ok());
    cut(file.tensors()[last].bytes.end as u64 - 1);
    told(file.tensor(last).unwrap_err());
    // Metadata were read with the header.
    assert!(file.tokenizer().is_ok());
    let family = families::gguf_family(&file).unwrap();
    told(families::gguf_parameters(&file, &*family, &Device::Cpu).unwrap_err());
}

#[test]
fn a_header_longer_than_the_first_read_is_read_whole() {
    // 300,000 texts of 8 bytes: a header of 4.8 MB.
    let texts = 300_000u64;
    let mut value = 8u32.to_le_bytes().to_vec();
    value.extend(texts.to_le_bytes());
    for i in 0..texts {
        value.extend(8u64.to_le_bytes());
        value.extend(format!("{i:08}").as_bytes());
    }
    let path = fixtures("families_gguf/llama_grouped.gguf");
    let bytes = with_entry(&path, "other.texts", 9, &value);
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("long.gguf");
    std::fs::write(&long, bytes).unwrap();
    let (long, short) = (Gguf::open(&long).unwrap(), Gguf::open(&path).unwrap());
    let found: Vec<&str> = long.require("other.texts").unwrap();
    assert_eq!((found.len(), found[299_999]), (300_000, "00299999"));
    for name in short.tensors().keys() {
        assert_eq!(
            long.tensor(name).unwrap(),
            short.tensor(name).unwrap(),
            "{name}"
        );
    }
}
