//! Logits of tiny random checkpoints, compared with the transformers library, and error messages of damaged ones.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use engram_model::checkpoint::{self, CONFIG, WEIGHTS};
use engram_model::{Gpt2Config, LanguageModel, ModelError, NoTap, Result, Tokenizer};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/gpt2")
}

fn read(folder: &Path) -> Result<LanguageModel> {
    let config = Gpt2Config::read(&folder.join(CONFIG))?;
    let parameters = checkpoint::read(folder, &config, &Device::Cpu)?;
    LanguageModel::from_parts(&config, parameters, Tokenizer::numbers(config.vocab_size)?)
}

fn expected(folder: &Path) -> (Vec<Vec<u32>>, Tensor) {
    let path = folder.join("expected.safetensors");
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let ids = tensors["ids"].to_vec2::<i64>().unwrap();
    let ids = ids
        .iter()
        .map(|r| r.iter().map(|i| *i as u32).collect())
        .collect();
    (ids, tensors["logits"].clone())
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    let difference = (a - b).unwrap().abs().unwrap();
    difference
        .flatten_all()
        .unwrap()
        .max(0)
        .unwrap()
        .to_scalar()
        .unwrap()
}

#[test]
fn logits_equal_the_transformers_library() {
    let mut cases: Vec<PathBuf> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    cases.sort();
    assert_eq!(cases.len(), 10);
    for folder in cases {
        let (ids, logits) = expected(&folder);
        let found = read(&folder).unwrap().forward(&ids, &mut NoTap).unwrap();
        let difference = largest_difference(&found, &logits);
        assert!(difference < 1e-4, "{}: {difference}", folder.display());
    }
}

#[test]
fn a_written_checkpoint_reads_back_the_same_and_twice_the_same_bytes() {
    for name in ["tied", "untied", "half", "bare"] {
        let model = read(&fixtures().join(name)).unwrap();
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        model.write(a.path()).unwrap();
        model.write(b.path()).unwrap();
        let again = LanguageModel::read(a.path(), &Device::Cpu).unwrap();
        let (ids, _) = expected(&fixtures().join(name));
        let logits = |m: &LanguageModel| m.forward(&ids, &mut NoTap).unwrap();
        assert_eq!(largest_difference(&logits(&model), &logits(&again)), 0.0);
        for file in [WEIGHTS, CONFIG, "tokenizer.json"] {
            let bytes = |f: &Path| std::fs::read(f.join(file)).unwrap();
            assert_eq!(bytes(a.path()), bytes(b.path()), "{file}");
        }
    }
}

fn copy_of(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in [CONFIG, WEIGHTS] {
        std::fs::copy(fixtures().join(name).join(file), folder.path().join(file)).unwrap();
    }
    folder
}

/// The error of a checkpoint whose config.json was edited.
fn edited(from: &str, to: &str) -> String {
    let folder = copy_of("untied");
    let path = folder.path().join(CONFIG);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    std::fs::write(&path, text.replace(from, to)).unwrap();
    read(folder.path()).unwrap_err().to_string()
}

#[test]
fn damaged_checkpoints_are_one_clear_error() {
    let folder = copy_of("tied");
    let weights = folder.path().join(WEIGHTS);
    let whole = std::fs::read(&weights).unwrap();
    for keep in [0, 4, 8, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&weights, &whole[..keep]).unwrap();
        let error = read(folder.path()).unwrap_err();
        assert!(
            matches!(error, ModelError::Weights { .. }),
            "{keep}: {error}"
        );
    }
    // A header that claims to be as long as the address space.
    let mut huge = whole.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(&weights, &huge).unwrap();
    assert!(matches!(
        read(folder.path()).unwrap_err(),
        ModelError::Weights { .. }
    ));
    // A NaN in the last tensor of the file.
    let mut nan = whole.clone();
    let end = nan.len();
    nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&weights, &nan).unwrap();
    let error = read(folder.path()).unwrap_err();
    assert!(matches!(error, ModelError::NotFinite { .. }), "{error}");
    std::fs::remove_file(&weights).unwrap();
    let error = read(folder.path()).unwrap_err();
    assert!(matches!(error, ModelError::Missing { .. }), "{error}");

    let error = edited("\"n_embd\": 24", "\"n_embd\": 27");
    assert!(
        error.contains("expected [61, 27], found [61, 24]"),
        "{error}"
    );
    let error = edited("\"n_layer\": 2", "\"n_layer\": 3");
    assert!(
        error.ends_with("tensor h.2.ln_1.weight is missing"),
        "{error}"
    );
    let error = edited("\"n_head\": 3", "\"n_head\": 5");
    assert!(
        error.contains("n_embd 24 is not a multiple of n_head 5"),
        "{error}"
    );
    let error = edited("\"vocab_size\": 61", "\"vocab_size\": 99999999999");
    assert!(error.contains("vocab_size is 99999999999"), "{error}");
    let error = edited("gelu_new", "tanhshrink");
    assert!(error.contains("\"tanhshrink\" is not supported"), "{error}");
    let error = edited("\"gpt2\"", "\"bert\"");
    assert!(error.contains("model_type is \"bert\""), "{error}");
    let error = edited("{", "[");
    assert!(error.contains("config.json"), "{error}");
}

#[test]
fn prompts_that_cannot_run_are_errors() {
    let model = read(&fixtures().join("tied")).unwrap();
    let run = |ids: &[Vec<u32>]| model.forward(ids, &mut NoTap).unwrap_err().to_string();
    assert_eq!(
        run(&[vec![61]]),
        "token id 61 is outside the vocabulary of 61"
    );
    assert_eq!(
        run(&[vec![1; 17]]),
        "17 tokens do not fit the model's context of 16"
    );
    assert!(run(&[vec![1, 2], vec![1]]).contains("found lengths [2, 1]"));
    assert!(run(&[]).contains("at least one token"));
    assert!(run(&[vec![]]).contains("at least one token"));
}

#[test]
fn a_tokenizer_that_does_not_fit_is_named() {
    let folder = copy_of("tied");
    Tokenizer::numbers(62)
        .unwrap()
        .write(folder.path())
        .unwrap();
    let error = LanguageModel::read(folder.path(), &Device::Cpu)
        .unwrap_err()
        .to_string();
    assert!(error.contains("ids up to 61; "), "{error}");
    std::fs::write(folder.path().join("tokenizer.json"), "{\"version\":").unwrap();
    let error = LanguageModel::read(folder.path(), &Device::Cpu).unwrap_err();
    assert!(matches!(error, ModelError::Tokenizer { .. }), "{error}");
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    let error = LanguageModel::read(folder.path(), &Device::Cpu).unwrap_err();
    assert!(matches!(error, ModelError::Missing { .. }), "{error}");
}

#[test]
fn vocab_and_merges_tokenise_like_tokenizer_json() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/models/pubmed-mini");
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(source.join("tokenizer.json")).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let vocab = serde_json::to_vec(&json["model"]["vocab"]).unwrap();
    std::fs::write(folder.path().join("vocab.json"), vocab).unwrap();
    let mut merges = "#version: 0.2\n".to_owned();
    for merge in json["model"]["merges"].as_array().unwrap() {
        match merge {
            serde_json::Value::String(text) => merges.push_str(text),
            pair => {
                let side = |i: usize| pair[i].as_str().unwrap();
                merges.push_str(&format!("{} {}", side(0), side(1)));
            }
        }
        merges.push('\n');
    }
    std::fs::write(folder.path().join("merges.txt"), merges).unwrap();
    let (a, b) = (
        Tokenizer::read(&source).unwrap(),
        Tokenizer::read(folder.path()).unwrap(),
    );
    for text in [
        "Dravet syndrome is most often caused by mutations in the gene SCN1A.",
        "  two  blanks, l'épilepsie; 3.5 µg/kg\n\t<|endoftext|>次 🙂",
    ] {
        let ids = a.encode(text).unwrap();
        assert_eq!(ids, b.encode(text).unwrap());
        assert_eq!(a.decode(&ids).unwrap(), text);
        let offsets = a.encode_with_offsets(text).unwrap();
        assert_eq!(offsets.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
        assert!(
            offsets
                .iter()
                .all(|(_, range)| text.get(range.clone()).is_some() || !text.is_ascii())
        );
    }
}

#[test]
fn gradients_reach_every_parameter() {
    let model = read(&fixtures().join("untied")).unwrap();
    let (trainable, variables) = model.trainable().unwrap();
    let (ids, _) = expected(&fixtures().join("untied"));
    let logits = trainable
        .forward_training(
            &ids,
            engram_model::TrainingPass {
                seed: Some(1),
                ..engram_model::TrainingPass::default()
            },
        )
        .unwrap();
    let rows = logits.reshape((22, 61)).unwrap();
    let loss = engram_model::kernels::cross_entropy(&rows, &[3; 22]).unwrap();
    let gradients = loss.mean_all().unwrap().backward().unwrap();
    for (name, variable) in &variables {
        let gradient = gradients
            .get(variable)
            .unwrap_or_else(|| panic!("{name} has no gradient"));
        let size: f32 = gradient
            .abs()
            .unwrap()
            .sum_all()
            .unwrap()
            .to_scalar()
            .unwrap();
        assert!(size > 0.0 && size.is_finite(), "{name}: {size}");
    }
    let config = model.gpt2("a test").unwrap();
    assert_eq!(variables.len(), config.parameters().len());
}
