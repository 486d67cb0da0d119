//! Training's hand-written pass, compared with automatic differentiation through the forward pass with taps.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use engram_model::checkpoint::Parameters;
use engram_model::kernels::cross_entropy;
use engram_model::training::{Flat, Pass, Sequence};
use engram_model::{Gpt2Config, LanguageModel, ModelError, Tokenizer, TrainingPass};

/// A number in (−1, 1) for each index: the fractional parts of multiples of an irrational.
fn noise(i: usize, seed: usize) -> f32 {
    let x = (i as f64 + 1.0) * 0.754_877_666 + (seed as f64) * 0.569_840_296;
    ((x.fract() * 1e4).fract() * 2.0 - 1.0) as f32
}

fn model(change: impl FnOnce(&mut Gpt2Config)) -> LanguageModel {
    let mut config = Gpt2Config::new(37, 24, 16, 2, 4);
    change(&mut config);
    let parameters: Parameters = config
        .parameters()
        .into_iter()
        .enumerate()
        .map(|(seed, (name, shape))| {
            let centre = if name.contains("ln_") && name.ends_with("weight") {
                1.0
            } else {
                0.0
            };
            let n = shape.iter().product();
            let values: Vec<f32> = (0..n).map(|i| centre + 0.3 * noise(i, seed)).collect();
            (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
        })
        .collect();
    LanguageModel::from_parts(&config, parameters, Tokenizer::numbers(37).unwrap()).unwrap()
}

fn ids(n: usize, seed: usize) -> Vec<u32> {
    (0..n)
        .map(|i| (noise(i, seed).abs() * 37.0) as u32)
        .collect()
}

/// Losses and gradients by automatic differentiation, sequence after sequence.
fn reference(model: &LanguageModel, sequences: &[Sequence], factor: f64) -> (Vec<f32>, Flat) {
    let (model, variables) = model.trainable().unwrap();
    let mut losses = Vec::new();
    let mut total = Flat::zeros(model.gpt2("a test").unwrap());
    for sequence in sequences {
        let n = sequence.ids.len() - 1;
        let prompt = [sequence.ids[..n].to_vec()];
        let masked = [sequence.attended.min(n)];
        let pass = TrainingPass {
            seed: sequence.seed,
            attended: (masked[0] < n).then_some(&masked[..]),
        };
        let logits = model.forward_training(&prompt, pass).unwrap();
        let vocab = model.shape().vocab;
        let loss = cross_entropy(&logits.reshape((n, vocab)).unwrap(), &sequence.ids[1..]).unwrap();
        losses.extend(loss.to_vec1::<f32>().unwrap());
        let grads = (loss.sum_all().unwrap() * factor)
            .unwrap()
            .backward()
            .unwrap();
        let parts: Parameters = variables
            .iter()
            .map(|(name, variable)| {
                let grad = grads.get(variable.as_tensor());
                (name.clone(), grad.expect(name).contiguous().unwrap())
            })
            .collect();
        let part = Flat::of(model.gpt2("a test").unwrap(), &parts).unwrap();
        for (t, p) in total.values_mut().iter_mut().zip(part.values()) {
            *t += p;
        }
    }
    (losses, total)
}

fn assert_same(model: &LanguageModel, sequences: &[Sequence]) {
    let (losses, expected) = reference(model, sequences, 0.25);
    let weights = model.flat().unwrap();
    let mut pass = Pass::new(model, None).unwrap();
    let mut found = Flat::zeros(model.gpt2("a test").unwrap());
    // Twice: what the first call leaves in the workspace must not show in the second.
    for _ in 0..2 {
        found.values_mut().fill(0.0);
        let again = pass
            .gradients(&weights, sequences, 0.25, &mut found)
            .unwrap();
        assert_eq!(again.len(), losses.len());
        for (a, b) in again.iter().zip(&losses) {
            assert!((a - b).abs() < 2e-5, "{a} {b}");
        }
    }
    for (name, range) in expected.ranges() {
        let (e, f) = (&expected.values()[range.clone()], &found.values()[range]);
        let size = e.iter().fold(0f32, |m, v| m.max(v.abs()));
        assert!(size > 0.0, "{name}: no gradient");
        for (e, f) in e.iter().zip(f) {
            assert!((e - f).abs() < 1e-4 * size.max(1e-2), "{name}: {e} {f}");
        }
    }
}

#[test]
fn gradients_equal_automatic_differentiation() {
    let (a, b, c) = (ids(25, 1), ids(7, 2), ids(2, 3));
    let batch = [&a, &b, &c].map(|ids| Sequence::new(ids));
    assert_same(&model(|_| {}), &batch);
    assert_same(&model(|c| c.tie_word_embeddings = false), &batch);
    assert_same(&model(|c| c.activation_function = "relu".into()), &batch);
    assert_same(&model(|c| c.activation_function = "gelu".into()), &batch);
    assert_same(&model(|c| c.scale_attn_by_inverse_layer_idx = true), &batch);
}

#[test]
fn padding_is_masked_as_by_elementary_operations() {
    let long = ids(25, 1);
    let model = model(|_| {});
    // One key alone, borders of the kernel's vectors and tiles, one key fewer than there are.
    for attended in [1, 3, 8, 15, 16, 17, 23] {
        let masked = Sequence {
            attended,
            ..Sequence::new(&long)
        };
        assert_same(&model, &[masked, Sequence::new(&long[..9])]);
    }
    // Nothing is masked where all is attended to, and what follows the text changes no loss of its own.
    let weights = model.flat().unwrap();
    let losses = |attended| {
        let sequence = Sequence {
            attended,
            ..Sequence::new(&long)
        };
        let mut pass = Pass::new(&model, None).unwrap();
        pass.losses(&weights, &[sequence]).unwrap()
    };
    let (all, masked) = (losses(25), losses(10));
    assert_eq!(all, losses(24));
    assert_eq!(all[..10], masked[..10]);
    assert!((10..24).all(|i| all[i] != masked[i]));
}

#[test]
fn dropout_draws_the_masks_of_the_tapped_pass() {
    let (a, b) = (ids(20, 4), ids(11, 5));
    let batch = [
        Sequence {
            seed: Some(9),
            ..Sequence::new(&a)
        },
        Sequence {
            seed: Some(10),
            attended: 5,
            ..Sequence::new(&b)
        },
    ];
    assert_same(&model(|_| {}), &batch);
    let model = model(|_| {});
    let weights = model.flat().unwrap();
    let with = Pass::new(&model, None).unwrap().losses(&weights, &batch);
    let without = Pass::new(&model, Some(0.0))
        .unwrap()
        .losses(&weights, &batch);
    assert_ne!(with.unwrap(), without.unwrap());
}

#[test]
fn many_sequences_are_the_sum_of_each() {
    // More rows than go through the network together, so that groups are formed.
    let all: Vec<Vec<u32>> = (0..120).map(|i| ids(2 + i % 23, i)).collect();
    let batch: Vec<Sequence> = all.iter().map(|ids| Sequence::new(ids)).collect();
    let model = model(|_| {});
    let weights = model.flat().unwrap();
    let mut pass = Pass::new(&model, None).unwrap();
    let (mut whole, mut sum) = (
        Flat::zeros(model.gpt2("a test").unwrap()),
        Flat::zeros(model.gpt2("a test").unwrap()),
    );
    let losses = pass.gradients(&weights, &batch, 1.0, &mut whole).unwrap();
    assert_eq!(losses, pass.losses(&weights, &batch).unwrap());
    let mut one_by_one = Vec::new();
    for sequence in &batch {
        one_by_one.extend(
            pass.gradients(&weights, &[*sequence], 1.0, &mut sum)
                .unwrap(),
        );
    }
    assert_eq!(losses.len(), one_by_one.len());
    for (a, b) in losses.iter().zip(&one_by_one) {
        assert!((a - b).abs() < 1e-5);
    }
    for (a, b) in whole.values().iter().zip(sum.values()) {
        assert!((a - b).abs() < 1e-3 * (1.0 + b.abs()), "{a} {b}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let model = model(|_| {});
    let weights = model.flat().unwrap();
    let mut pass = Pass::new(&model, None).unwrap();
    let mut losses = |ids: &[u32]| pass.losses(&weights, &[Sequence::new(ids)]);
    assert!(matches!(losses(&[1]), Err(ModelError::Batch { .. })));
    assert!(matches!(
        losses(&[1, 37]),
        Err(ModelError::TokenId { id: 37, vocab: 37 })
    ));
    assert!(matches!(
        losses(&[1; 26]),
        Err(ModelError::Context {
            length: 25,
            context: 24
        })
    ));
    assert_eq!(losses(&[1; 25]).unwrap().len(), 24);
    let other = Flat::zeros(&Gpt2Config::new(38, 24, 16, 2, 4));
    let wrong = pass.losses(&other, &[]);
    assert!(matches!(wrong, Err(ModelError::FlatLength { .. })));
}

/// A fixture's model, and a file of tensors beside it.
fn fixture(name: &str, file: &str) -> (LanguageModel, HashMap<String, Tensor>) {
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/gpt2");
    let folder = fixtures.join(name);
    let config = Gpt2Config::read(&folder.join("config.json")).unwrap();
    let parameters = engram_model::checkpoint::read(&folder, &config, &Device::Cpu).unwrap();
    let tokenizer = Tokenizer::numbers(config.vocab_size).unwrap();
    let model = LanguageModel::from_parts(&config, parameters, tokenizer).unwrap();
    let tensors = candle_core::safetensors::load(folder.join(file), &Device::Cpu).unwrap();
    (model, tensors)
}

fn rows_of(ids: &Tensor) -> Vec<Vec<u32>> {
    let ids = ids.to_dtype(candle_core::DType::U32).unwrap();
    ids.to_vec2::<u32>().unwrap()
}

/// The mean loss over all tokens and its gradients, held to the fixture's: `loss` and parameters under a prefix.
fn assert_as_torch(
    model: &LanguageModel,
    sequences: &[Sequence],
    theirs: &HashMap<String, Tensor>,
    prefix: &str,
) {
    let tokens: usize = sequences.iter().map(|s| s.ids.len() - 1).sum();
    let mut found = Flat::zeros(model.gpt2("a test").unwrap());
    let weights = model.flat().unwrap();
    let losses = Pass::new(model, Some(0.0))
        .unwrap()
        .gradients(&weights, sequences, 1.0 / tokens as f32, &mut found)
        .unwrap();
    let loss = losses.iter().sum::<f32>() / tokens as f32;
    let expected = theirs[&format!("{prefix}loss")].to_scalar::<f32>().unwrap();
    assert!(
        (loss - expected).abs() <= 1e-5 * expected,
        "{prefix}loss: {loss} for {expected}"
    );
    for (parameter, range) in found.ranges() {
        let ours = &found.values()[range];
        let name = format!("{prefix}{parameter}");
        let theirs = theirs[&name].flatten_all().unwrap();
        let theirs = theirs.to_vec1::<f32>().unwrap();
        let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|v| v * v).sum::<f32>().sqrt();
        let size = norm(&mut theirs.iter().copied());
        let off = norm(&mut ours.iter().zip(&theirs).map(|(a, b)| a - b));
        assert!(off <= 1e-4 * size, "{name}: off by {off} of {size}");
    }
}

/// Loss and every gradient of one step as transformers and torch have them (fixtures/gradients.py).
#[test]
fn a_steps_loss_and_gradients_are_those_of_torch() {
    for name in [
        "tied", "untied", "inner", "scaled", "unscaled", "gelu", "relu",
    ] {
        let (model, expected) = fixture(name, "gradients.safetensors");
        let (_, asked) = fixture(name, "expected.safetensors");
        let rows = rows_of(&asked["ids"]);
        let sequences: Vec<Sequence> = rows.iter().map(|ids| Sequence::new(ids)).collect();
        assert_as_torch(&model, &sequences, &expected, "");
        let parameters = model.flat().unwrap().ranges().count();
        assert_eq!(parameters + 1, expected.len(), "{name}");
    }
}

/// Padding that counts in the loss, with and without the attention mask of transformers' tokenizer
/// (fixtures/padding.py).
#[test]
fn padded_sequences_lose_and_learn_as_in_transformers() {
    for name in ["tied", "scaled"] {
        let (model, expected) = fixture(name, "padding.safetensors");
        let rows = rows_of(&expected["ids"]);
        let lengths = expected["lengths"].to_vec1::<i64>().unwrap();
        let batch = |masked: bool| -> Vec<Sequence> {
            let first = rows.iter().zip(&lengths).take(4);
            first
                .map(|(ids, &length)| Sequence {
                    attended: if masked { length as usize } else { ids.len() },
                    ..Sequence::new(ids)
                })
                .collect()
        };
        assert_as_torch(&model, &batch(true), &expected, "masked.");
        assert_as_torch(&model, &batch(false), &expected, "unmasked.");
    }
}
