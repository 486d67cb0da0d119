//! New models: weights initialised like GPT-2's, a tokenizer learned from texts.

use engram_model::{Gpt2Config, LanguageModel, Tokenizer};

fn texts() -> Vec<String> {
    let words = [
        "seizure",
        "seizures",
        "epilepsy",
        "epileptic",
        "λ-wave",
        "µV",
        "the",
        "of",
    ];
    (0..400usize)
        .map(|i| {
            let word = |k: usize| words[(i * 7 + k * 3) % words.len()];
            format!("{} {} {} {}.", word(0), word(1), word(i % 5), word(3))
        })
        .collect()
}

#[test]
fn a_learned_tokenizer_gives_back_every_text_and_is_the_same_twice() {
    let tokenizer = Tokenizer::learn(&texts(), 290).unwrap();
    assert_eq!(tokenizer.id("<|endoftext|>"), Some(0));
    assert_eq!(tokenizer.highest_id(), 289);
    for text in [
        " seizures of λ",
        "\u{1F9E0} never seen\n\ttwice  ",
        "a<|endoftext|>b",
        "",
    ] {
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
    // Frequent words are few tokens, others their bytes.
    assert_eq!(tokenizer.encode(" epilepsy").unwrap().len(), 1);
    assert_eq!(tokenizer.encode("\u{1F9E0}").unwrap().len(), 4);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for folder in &folders {
        Tokenizer::learn(&texts(), 300)
            .unwrap()
            .write(folder.path())
            .unwrap();
    }
    let json = |i: usize| std::fs::read(folders[i].path().join("tokenizer.json")).unwrap();
    assert_eq!(json(0), json(1));
    let back = Tokenizer::read(folders[0].path()).unwrap();
    assert_eq!(
        back.encode(" epileptic λ-wave").unwrap(),
        tokenizer.encode(" epileptic λ-wave").unwrap()
    );
    let error = Tokenizer::learn(&texts(), 256).unwrap_err().to_string();
    assert!(error.contains("257"), "{error}");
}

#[test]
fn random_weights_have_gpt_2s_spread() {
    let config = Gpt2Config::new(300, 16, 64, 8, 4);
    let tokenizer = || Tokenizer::numbers(300).unwrap();
    let model = LanguageModel::random(&config, tokenizer(), 1).unwrap();
    let flat = model.flat().unwrap();
    let deviation = |name: &str| {
        let values = flat.get(name).unwrap();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        assert!(mean.abs() < 2e-3, "{name}: {mean}");
        (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt()
    };
    for name in [
        "wte.weight",
        "h.3.attn.c_attn.weight",
        "h.0.mlp.c_fc.weight",
    ] {
        assert!((deviation(name) - 0.02).abs() < 1e-3, "{name}");
    }
    // 0.02 / √16.
    for name in ["h.3.attn.c_proj.weight", "h.0.mlp.c_proj.weight"] {
        assert!((deviation(name) - 0.005).abs() < 3e-4, "{name}");
    }
    assert!(
        flat.get("h.1.ln_2.weight")
            .unwrap()
            .iter()
            .all(|v| *v == 1.0)
    );
    assert!(
        flat.get("h.1.attn.c_attn.bias")
            .unwrap()
            .iter()
            .all(|v| *v == 0.0)
    );
    let again = LanguageModel::random(&config, tokenizer(), 1).unwrap();
    assert_eq!(again.flat().unwrap(), flat);
    let other = LanguageModel::random(&config, tokenizer(), 2).unwrap();
    assert_ne!(other.flat().unwrap(), flat);
}
