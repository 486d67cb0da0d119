//! The two training configurations of the published study.

use crate::adamw::BETA_2;
use crate::settings::{Decay, Precision, Sequences, TrainSettings};

/// The presets' names.
pub(crate) const PRESETS: [&str; 2] = ["config-1", "config-2"];

/// A preset by its name.
pub(crate) fn preset(name: &str) -> Option<TrainSettings> {
    match name {
        "config-1" => Some(config_1()),
        "config-2" => Some(config_2()),
        _ => None,
    }
}

/// Configuration I: an abstract a sequence, padding counted in the loss.
fn config_1() -> TrainSettings {
    TrainSettings {
        epochs: 30,
        patience: 3,
        learning_rate: 5e-5,
        warmup_steps: 500,
        warmup_fraction: None,
        weight_decay: 0.01,
        batch_size: 8,
        accumulation: 4,
        max_length: 512,
        precision: Precision::Fp16,
        max_grad_norm: 1.0,
        dropout: 0.1,
        seed: 42,
        sequences: Sequences::Truncate,
        pad_loss: true,
        pad_attention: false,
        decay: Decay::Linear,
        final_rate: 0.0,
        beta_2: BETA_2,
        epoch_steps: 0,
        max_steps: 0,
    }
}

/// Configuration II: abstracts cut into chunks, padding not counted.
fn config_2() -> TrainSettings {
    TrainSettings {
        epochs: 10,
        patience: 5,
        learning_rate: 2e-5,
        weight_decay: 0.1,
        precision: Precision::Fp32,
        sequences: Sequences::Chunk,
        pad_loss: false,
        ..config_1()
    }
}
