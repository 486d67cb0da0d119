//! Every family against the transformers library: logits and what each part of a block computes, on tiny random
//! checkpoints of several configurations.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use engram_core::Site;
use engram_model::checkpoint::{self, CONFIG};
use engram_model::{Capture, Model, NoTap, Result, Tokenizer, families};

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

fn read(folder: &Path) -> Result<Model> {
    let family = families::read(&folder.join(CONFIG))?;
    let parameters = checkpoint::read(folder, &*family, &Device::Cpu)?;
    let tokenizer = Tokenizer::numbers(family.architecture().vocab)?;
    Model::of(family, parameters, tokenizer)
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
        let ids = expected["ids"].to_vec2::<i64>().unwrap();
        let ids: Vec<Vec<u32>> = ids
            .iter()
            .map(|row| row.iter().map(|id| *id as u32).collect())
            .collect();
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
fn a_checkpoint_of_any_family_is_written_and_read_back() {
    for folder in cases("families") {
        let model = read(&folder).unwrap();
        let written = tempfile::tempdir().unwrap();
        model.write(written.path()).unwrap();
        let again = Model::read(written.path(), &Device::Cpu).unwrap();
        let ids = [vec![3, 1, 4, 1, 5, 9, 2, 6]];
        let logits = |m: &Model| m.forward(&ids, &mut NoTap).unwrap();
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
    for (name, why) in [
        ("llama_dynamic", "\"dynamic\" is not supported"),
        ("llama_yarn", "\"yarn\" is not supported"),
        ("qwen2_yarn_older", "\"yarn\" is not supported"),
        ("gemma3_bidirectional", "use_bidirectional_attention"),
    ] {
        let path = fixtures("families_refused").join(name).join(CONFIG);
        let error = families::read(&path).unwrap_err().to_string();
        assert!(
            error.contains(why) && error.contains("config.json"),
            "{name}: {error}"
        );
    }
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
