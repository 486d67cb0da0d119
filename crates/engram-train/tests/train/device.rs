//! Training through tensors, and in bfloat16, compared with the hand-written float32 pass.

use candle_core::Device;
use engram_model::kernels::{Products, bfloat16};
use engram_model::training::Sequence;
use engram_train::adamw::{AdamW, decayed};
use engram_train::on_device::OnDevice;
use engram_train::{Learner, NoObserver, Precision, TrainSettings, train};

use crate::{VOCAB, model, settings, texts, weights};

/// Tensors with automatic differentiation (on the CPU, or on what `ENGRAM_TEST_DEVICE` names) against the hand-written
/// pass: losses, gradient norms and weights over steps that clip and decay.
#[test]
fn a_device_learns_what_the_threads_learn() {
    let name = std::env::var("ENGRAM_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    let device = engram_model::device(&name).unwrap();
    let model = model(16);
    let ids: Vec<Vec<u32>> = [9, 17, 2, 13]
        .iter()
        .map(|n| (0..*n).map(|i| (i * 7 + n) % VOCAB as u32).collect())
        .collect();
    let batch: Vec<Sequence> = ids.iter().map(|ids| Sequence::new(ids)).collect();
    let start = model.flat().unwrap();
    let run = |there: bool| {
        let mut weights = start.clone();
        let mut optimizer = AdamW::new(&weights, 0.1, decayed).with_beta_2(0.95);
        let mut learner = match there {
            true => {
                let there = OnDevice::new(&model, &weights, &mut optimizer, 0.0, &device).unwrap();
                Learner::Device(Box::new(there))
            }
            false => {
                Learner::new(&model, &weights, &mut optimizer, 0.0, Products::Float32).unwrap()
            }
        };
        let mut numbers = learner.losses(&weights, &batch).unwrap().concat();
        for _ in 0..3 {
            let (losses, stepped) = learner
                .step(&mut weights, &mut optimizer, &batch, 1e-3, 0.5)
                .unwrap();
            numbers.extend(losses.concat());
            numbers.push(stepped.grad_norm as f32);
        }
        learner.fetch(&mut weights, &mut optimizer).unwrap();
        let (first, second, steps) = optimizer.state_mut();
        assert_eq!(*steps, 3);
        (numbers, weights, first.to_vec(), second.to_vec())
    };
    let (expected, found) = (run(false), run(true));
    let close = |what: &str, a: &[f32], b: &[f32], tolerance: f32| {
        assert_eq!(a.len(), b.len());
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            let error = (a - b).abs();
            assert!(
                error <= tolerance * b.abs().max(1.0),
                "{what} {i}: {a} for {b}"
            );
        }
    };
    close("losses", &found.0, &expected.0, 1e-4);
    // Adam divides by a gradient's size: where that is near 0, its sign is rounding's.
    close("weights", found.1.values(), expected.1.values(), 1e-4);
    close("first moments", &found.2, &expected.2, 1e-5);
    close("second moments", &found.3, &expected.3, 1e-5);
    assert_ne!(found.1.values(), start.values());
}

/// Masked padding: losses and the gradient's norm by tensors and by the hand-written pass.
#[test]
fn a_device_masks_padding_as_the_threads_do() {
    let model = model(16);
    let ids: Vec<Vec<u32>> = (0..3)
        .map(|n| (0..12).map(|i| (i * 7 + n) % VOCAB as u32).collect())
        .collect();
    let batch: Vec<Sequence> = ids
        .iter()
        .zip([4, 12, 9])
        .map(|(ids, attended)| Sequence {
            attended,
            ..Sequence::new(ids)
        })
        .collect();
    let run = |there: bool| {
        let mut weights = model.flat().unwrap();
        let mut optimizer = AdamW::new(&weights, 0.1, decayed);
        let mut learner = if there {
            let cpu = Device::Cpu;
            let there = OnDevice::new(&model, &weights, &mut optimizer, 0.0, &cpu).unwrap();
            Learner::Device(Box::new(there))
        } else {
            Learner::new(&model, &weights, &mut optimizer, 0.0, Products::Float32).unwrap()
        };
        let measured = learner.losses(&weights, &batch).unwrap().concat();
        let (losses, stepped) = learner
            .step(&mut weights, &mut optimizer, &batch, 1e-3, 0.5)
            .unwrap();
        let mut numbers = [measured, losses.concat()].concat();
        numbers.push(stepped.grad_norm as f32);
        numbers
    };
    let (expected, found) = (run(false), run(true));
    assert_eq!(expected.len(), 2 * 33 + 1);
    for (a, b) in found.iter().zip(&expected) {
        assert!((a - b).abs() < 1e-4, "{a} for {b}");
    }
}

/// Products in bfloat16 learn what those in float32 learn, nearly; the record says what was computed in.
#[test]
fn bfloat16_learns_nearly_the_same() {
    let model = model(8);
    let all = texts(24);
    let run = |precision| {
        let settings = TrainSettings {
            epochs: 6,
            precision,
            ..settings()
        };
        train(&model, &all, &all[..6], &settings, None, &mut NoObserver).unwrap()
    };
    let (full, half) = (run(Precision::Fp32), run(Precision::Bf16));
    assert_eq!(full.curve.precision, "fp32");
    let used = if bfloat16::available() {
        "bf16"
    } else {
        "fp32"
    };
    assert_eq!(half.curve.precision, used);
    let loss = |t: &engram_train::Trained| t.curve.best().unwrap().validation.real;
    assert!(
        (loss(&full) - loss(&half)).abs() < 0.02,
        "{} {}",
        loss(&full),
        loss(&half)
    );
    assert!(loss(&half) < half.curve.base.real - 0.1);
    assert_eq!(weights(&half.model), weights(&run(Precision::Bf16).model));
    if bfloat16::available() {
        assert_ne!(weights(&full.model), weights(&half.model));
    }
    let preset = TrainSettings::preset("config-2").unwrap();
    let departures = half.curve.settings.departures(&preset);
    let precision = departures.iter().find(|d| d.setting == "precision");
    assert_eq!(
        precision.is_some_and(|d| d.used == "bf16"),
        bfloat16::available()
    );
}
