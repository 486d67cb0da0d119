//! Padding and means over batches, compared with the transformers library's Trainer (fixtures/padding.py).

use std::path::Path;

use candle_core::Device;
use engram_model::{Gpt2Config, LanguageModel, Tokenizer};
use engram_train::{NoObserver, Sequences, TrainSettings, TrainText, train};

/// The validation losses that Trainer.evaluate() gives for padded texts, before a step is taken.
#[test]
fn means_over_batches_are_those_of_trainer() {
    for name in ["tied", "scaled"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fixtures/gpt2")
            .join(name);
        let config = Gpt2Config::read(&folder.join("config.json")).unwrap();
        let parameters = engram_model::checkpoint::read(&folder, &config, &Device::Cpu).unwrap();
        let tokenizer = Tokenizer::numbers(config.vocab_size).unwrap();
        let model = LanguageModel::from_parts(&config, parameters, tokenizer).unwrap();
        let file = folder.join("padding.safetensors");
        let theirs = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
        let texts: Vec<TrainText> = theirs["ids"]
            .to_vec2::<i64>()
            .unwrap()
            .iter()
            .zip(theirs["lengths"].to_vec1::<i64>().unwrap())
            .map(|(ids, length)| TrainText {
                text: ids[..length as usize]
                    .iter()
                    .map(i64::to_string)
                    .collect::<Vec<_>>()
                    .join(" "),
                answers: Vec::new(),
            })
            .collect();
        for (case, pad_loss, pad_attention) in [
            ("masked", true, false),
            ("unmasked", true, true),
            ("ignored", false, false),
        ] {
            let settings = TrainSettings {
                epochs: 1,
                batch_size: 4,
                accumulation: 1,
                max_length: 12,
                sequences: Sequences::Truncate,
                pad_loss,
                pad_attention,
                ..TrainSettings::preset("config-1").unwrap()
            };
            let record = train(&model, &texts, &texts, &settings, None, &mut NoObserver)
                .unwrap()
                .curve;
            let held = |what: &str, ours: Option<f64>| {
                let theirs = theirs[&format!("{case}.{what}")]
                    .to_scalar::<f64>()
                    .unwrap();
                let ours = ours.unwrap();
                assert!(
                    (ours - theirs).abs() < 1e-5,
                    "{name}, {case}.{what}: {ours} for {theirs}"
                );
            };
            held("batch_loss", record.base.by_batch);
            held("eval_loss", record.base.eval_loss);
            // Where texts are filled up, every batch has as many tokens a sequence; elsewhere the means differ.
            let apart = (record.base.by_batch.unwrap() - record.base.counted).abs();
            assert_eq!(apart > 1e-3, !pad_loss, "{case}: {apart}");
        }
    }
}
