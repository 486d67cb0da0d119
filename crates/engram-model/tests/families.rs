//! Every family, compared with the transformers library: logits and the intermediate values of a block, on tiny random
//! checkpoints of several configurations.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use engram_core::Site;
use engram_model::checkpoint::{self, CONFIG};
use engram_model::{Capture, LanguageModel, NoTap, Result, Tap, Tokenizer, families};

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(name)
}

fn cases(name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(fixtures(name)).unwrap();
    let mut cases: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    cases.sort();
    cases
}

fn read(folder: &Path) -> Result<LanguageModel> {
    let family = families::read(&folder.join(CONFIG))?;
    let parameters = checkpoint::read(folder, &*family, &Device::Cpu)?;
    let tokenizer = Tokenizer::numbers(family.architecture().vocab)?;
    LanguageModel::of(family, parameters, tokenizer)
}

fn ids(tensor: &Tensor) -> Vec<Vec<u32>> {
    let rows = tensor.to_vec2::<i64>().unwrap().into_iter();
    rows.map(|row| row.into_iter().map(|id| id as u32).collect())
        .collect()
}

fn assert_close(what: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (i, (a, b)) in values(found).iter().zip(values(expected)).enumerate() {
        let bound = 1e-4 * b.abs().max(1.0);
        assert!((a - b).abs() <= bound, "{what}[{i}]: {a} for {b}");
    }
}

#[test]
fn every_family_is_the_transformers_librarys() {
    let cases = cases("families");
    assert!(cases.len() >= 30, "{}", cases.len());
    for folder in cases {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let model = read(&folder).unwrap_or_else(|e| panic!("{name}: {e}"));
        let path = folder.join("expected.safetensors");
        let expected = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let ids = ids(&expected["ids"]);
        let plain = model.forward(&ids, &mut NoTap).unwrap();
        assert_close(&format!("{name}, logits"), &plain, &expected["logits"]);
        for (key, expected) in &expected {
            if ["ids", "logits"].contains(&key.as_str()) {
                continue;
            }
            let (site, layer) = key.rsplit_once('.').unwrap();
            let site = Site::ALL.iter().find(|s| s.name() == site).unwrap();
            let at = (*site, Some(layer.parse().unwrap()));
            let mut capture = Capture::of([at]);
            let logits = model.forward(&ids, &mut capture).unwrap();
            let found = capture.get(at.0, at.1).unwrap();
            assert_close(&format!("{name}, {key}"), found, expected);
            assert_close(&format!("{name}, logits with {key}"), &logits, &plain);
        }
    }
}

#[test]
fn a_gguf_of_any_family_is_the_transformers_librarys() {
    let files = cases("families_gguf").into_iter();
    let files: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|e| e == "gguf"))
        .collect();
    assert!(files.len() >= 13, "{}", files.len());
    for path in files {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let model =
            LanguageModel::read(&path, &Device::Cpu).unwrap_or_else(|e| panic!("{name}: {e}"));
        let expected = path.with_extension("safetensors");
        let expected = candle_core::safetensors::load(expected, &Device::Cpu).unwrap();
        let ids = ids(&expected["ids"]);
        let last = expected["logits"].dim(1).unwrap();
        let from = ids[0].len() - last;
        let logits = model.forward_from(&ids, from, &mut NoTap).unwrap();
        assert_close(&name, &logits, &expected["logits"]);
    }
}

/// A GGUF of the fixtures in which a name is another of the same length.
fn renamed(file: &str, name: &str, other: &str) -> tempfile::NamedTempFile {
    assert_eq!(name.len(), other.len());
    let path = fixtures("families_gguf").join(format!("{file}.gguf"));
    let mut bytes = std::fs::read(path).unwrap();
    let found = bytes.windows(name.len()).position(|w| w == name.as_bytes());
    let at = found.unwrap_or_else(|| panic!("no {name} in {file}"));
    bytes[at..at + name.len()].copy_from_slice(other.as_bytes());
    let changed = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(changed.path(), bytes).unwrap();
    changed
}

#[test]
fn what_a_gguf_leaves_out_is_what_llama_cpp_takes() {
    // Without a key: under the name of another architecture.
    let architecture = |file: &str, key: &str| {
        let name = file.split('_').next().unwrap();
        let other = format!("{}.{key}", "x".repeat(name.len()));
        let file = renamed(file, &format!("{name}.{key}"), &other);
        families::open_gguf(file.path()).unwrap().1.architecture()
    };
    let windows = |a: &engram_model::Architecture| -> Vec<Option<usize>> {
        a.attention.iter().map(|layer| layer.window).collect()
    };
    let gemma2 = architecture("gemma2", "attention.sliding_window_pattern");
    assert_eq!(windows(&gemma2), [Some(4), None, Some(4), None]);
    let gemma3 = architecture("gemma3", "attention.sliding_window_pattern");
    assert_eq!(windows(&gemma3), [Some(4); 4]);
    let gemma3 = architecture("gemma3", "attention.sliding_window");
    assert_eq!(windows(&gemma3), [None; 4]);
    let gemma3 = architecture("gemma3", "rope.freq_base_swa");
    let rotary = gemma3.attention[0].rotary.clone().unwrap();
    assert_eq!(rotary.frequencies[1], 0.01);
    let capped = architecture("gemma2", "final_logit_softcapping");
    assert_eq!(
        (capped.score_cap, capped.logit_cap),
        (Some(5.0), Some(30.0))
    );
    let linear = architecture("llama_linear", "rope.scaling.type");
    assert_eq!(
        linear.attention[0].rotary.clone().unwrap().frequencies[0],
        0.25
    );
    let plain = architecture("llama_linear", "rope.scaling.factor");
    assert_eq!(
        plain.attention[0].rotary.clone().unwrap().frequencies[0],
        1.0
    );
}

#[test]
fn what_engram_does_not_compute_of_a_gguf_is_refused_in_words() {
    for (file, name, other, why) in [
        (
            "gpt2",
            "\u{4}\0\0\0\0\0\0\0gpt2",
            "\u{4}\0\0\0\0\0\0\0gpt3",
            "architecture is \"gpt3\"; of GGUF files engram reads gpt2, gptneox",
        ),
        (
            "llama_grouped",
            "blk.1.ffn_up.weight",
            "blk.1.ffn_on.weight",
            "tensor blk.1.ffn_on.weight is no part of a llama",
        ),
        (
            "llama_biased",
            "blk.0.ffn_up.bias",
            "blk.0.ffn_on.bias",
            "is no part of a llama",
        ),
        (
            "llama_31",
            "llama.rope.freq_base",
            "llama.rope.freq_boss",
            "rope_freqs.weight are not those of Llama 3's scaling",
        ),
        (
            "llama_linear",
            "\u{6}\0\0\0\0\0\0\0linear",
            "\u{6}\0\0\0\0\0\0\0linnet",
            "\"linnet\" is not supported",
        ),
        (
            "gemma",
            "gemma.context_length",
            "gemma.context_lenght",
            "gemma.context_length is missing",
        ),
    ] {
        let file = renamed(file, name, other);
        let error = LanguageModel::read(file.path(), &Device::Cpu)
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{error}");
        assert!(
            error.starts_with(&file.path().display().to_string()),
            "{error}"
        );
    }
}

#[test]
fn a_checkpoint_of_any_family_is_written_and_read_back() {
    for folder in cases("families") {
        let model = read(&folder).unwrap();
        let written = tempfile::tempdir().unwrap();
        model.write(written.path()).unwrap();
        let again = LanguageModel::read(written.path(), &Device::Cpu).unwrap();
        let ids = [vec![3, 1, 4, 1, 5, 9, 2, 6]];
        let logits = |m: &LanguageModel| m.forward(&ids, &mut NoTap).unwrap();
        let values = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(
            values(logits(&model)),
            values(logits(&again)),
            "{}",
            folder.display()
        );
        assert_eq!(model.shape(), again.shape());
    }
}

#[test]
fn what_engram_does_not_compute_is_refused_in_words() {
    let path = fixtures("families_refused/gemma3_bidirectional").join(CONFIG);
    let error = families::read(&path).unwrap_err().to_string();
    assert!(
        error.contains("use_bidirectional_attention") && error.contains("config.json"),
        "{error}"
    );
    let of = |text: &str| {
        let fields = serde_json::from_str(text).unwrap();
        families::of(fields).map(drop).unwrap_err()
    };
    let error = of(r#"{"model_type": "mamba"}"#);
    assert!(
        error.contains("mamba") && error.contains("gpt_neox"),
        "{error}"
    );
    for (field, value, why) in [
        ("num_attention_heads", "0", "num_attention_heads is 0"),
        (
            "num_attention_heads",
            "3",
            "3 attention heads are not a multiple of 2",
        ),
        (
            "num_hidden_layers",
            "1000000",
            "num_hidden_layers is 1000000",
        ),
        ("hidden_size", "-4", "hidden_size is -4"),
        ("vocab_size", "1e300", "vocab_size is 1e"),
        ("rms_norm_eps", "2", "rms_norm_eps is 2"),
        ("head_dim", "5", "rotary embedding of 5 dimensions"),
        ("rope_theta", "0", "rope_theta is 0"),
        ("hidden_act", "\"tanhshrink\"", "tanhshrink"),
        (
            "rope_scaling",
            r#"{"rope_type": "linear"}"#,
            "without factor",
        ),
        (
            "rope_scaling",
            r#"{"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1, "original_max_position_embeddings": 8}"#,
            "low_freq_factor 4",
        ),
        ("intermediate_size", "null", "intermediate_size is missing"),
    ] {
        let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(
            r#"{"model_type": "llama", "hidden_size": 12, "num_attention_heads": 4, "num_key_value_heads": 2,
                "num_hidden_layers": 1, "vocab_size": 9, "max_position_embeddings": 8, "intermediate_size": 5,
                "head_dim": 4}"#,
        )
        .unwrap();
        assert!(families::of(fields.clone()).is_ok());
        fields.insert(field.to_owned(), serde_json::from_str(value).unwrap());
        let error = families::of(fields).map(drop).unwrap_err();
        assert!(error.contains(why), "{field}: {error}");
    }
}

/// Gives back what it sees as another tensor with the same values, or as it is.
struct Look {
    at: (Site, Option<usize>),
    copies: bool,
}

impl Tap for Look {
    fn wants(&self, site: Site, layer: Option<usize>) -> bool {
        (site, layer) == self.at
    }

    fn at(&mut self, _: Site, _: Option<usize>, value: Tensor) -> Result<Tensor> {
        Ok(if self.copies { value.copy()? } else { value })
    }
}

/// A run's values do not depend on what is looked at, to the last bit.
#[test]
fn looking_at_a_site_moves_no_bit() {
    for folder in cases("families").into_iter().chain(cases("gpt2")) {
        if !folder.join(CONFIG).exists() {
            continue;
        }
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let model = read(&folder).unwrap_or_else(|e| panic!("{name}: {e}"));
        let ids: Vec<Vec<u32>> = vec![vec![1, 5, 2, 9, 3, 7], vec![4, 4, 8, 0, 6, 1]];
        let values = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let whole = values(model.forward(&ids, &mut NoTap).unwrap());
        let last = values(model.forward_from(&ids, 4, &mut NoTap).unwrap());
        let table = model.sites();
        for site in table.sites() {
            for named in table.everywhere(*site) {
                for copies in [false, true] {
                    let mut look = Look {
                        at: (named.site, named.layer),
                        copies,
                    };
                    let found = values(model.forward(&ids, &mut look).unwrap());
                    assert!(found == whole, "{name}, {}, {copies}", named.name);
                    let found = values(model.forward_from(&ids, 4, &mut look).unwrap());
                    assert!(found == last, "{name}, {}, {copies}, the end", named.name);
                }
            }
        }
    }
}
