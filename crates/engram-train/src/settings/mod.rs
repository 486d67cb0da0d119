//! Training settings, the two presets, and departures from a preset.

mod choices;
mod text;

use engram_core::{OutOfRange, Range};
use serde::{Deserialize, Serialize};

pub use self::choices::{Decay, Precision, Sequences};
use crate::adamw::BETA_2;
use crate::error::{Result, TrainError};
use crate::published;

/// All settings of a training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSettings {
    /// Maximum number of epochs.
    pub epochs: usize,
    /// Number of evaluations without a lower validation loss after which the run stops.
    pub patience: usize,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Optimizer steps of linear warm-up.
    pub warmup_steps: usize,
    /// Warm-up as a share of the planned steps; replaces `warmup_steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_fraction: Option<f64>,
    /// How the learning rate decays.
    #[serde(default)]
    pub decay: Decay,
    /// The learning rate at the last step, as a share of the highest.
    #[serde(default)]
    pub final_rate: f64,
    /// β₂, the decay rate of AdamW's second moments.
    #[serde(default = "beta_2")]
    pub beta_2: f64,
    /// Optimizer steps of an epoch; 0: each sequence once. Crops require a number.
    #[serde(default)]
    pub epoch_steps: usize,
    /// Maximum number of optimizer steps; 0: those of all epochs.
    #[serde(default)]
    pub max_steps: usize,
    /// Decoupled weight decay, on all parameters but biases and LayerNorm weights.
    pub weight_decay: f64,
    /// Sequences in a batch.
    pub batch_size: usize,
    /// Batches in an optimizer step.
    pub accumulation: usize,
    /// Maximum number of tokens in a sequence.
    pub max_length: usize,
    /// Number format.
    pub precision: Precision,
    /// Maximum norm of the gradient, which is scaled down to it; 0: no limit.
    pub max_grad_norm: f64,
    /// Dropout probability of embeddings, attention and residual connections.
    pub dropout: f64,
    /// Random seed of shuffling and dropout.
    pub seed: u64,
    /// How texts become sequences.
    pub sequences: Sequences,
    /// Whether padding up to `max_length` counts in the loss.
    pub pad_loss: bool,
    /// Whether attention sees padding that counts. If false, no position attends to padding, as with the attention mask
    /// of the transformers library's tokenizer.
    #[serde(default)]
    pub pad_attention: bool,
}

/// A setting that differs from the preset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Departure {
    /// The setting.
    pub setting: String,
    /// The preset's value.
    pub preset: String,
    /// The value used.
    pub used: String,
    /// The reason, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl TrainSettings {
    /// The presets' names.
    pub const PRESETS: [&'static str; 2] = published::PRESETS;

    /// The settings' names.
    pub const NAMES: [&'static str; 21] = [
        "epochs",
        "patience",
        "learning_rate",
        "warmup_steps",
        "warmup_fraction",
        "weight_decay",
        "batch_size",
        "accumulation",
        "max_length",
        "precision",
        "max_grad_norm",
        "dropout",
        "seed",
        "sequences",
        "pad_loss",
        "decay",
        "final_rate",
        "beta_2",
        "epoch_steps",
        "max_steps",
        "pad_attention",
    ];

    /// Allowed values of the numeric settings; any seed is allowed. [`TrainSettings::check`] also checks products of
    /// settings.
    pub const RANGES: [(&'static str, Range); 15] = [
        ("epochs", Range::whole(1, 100_000)),
        ("patience", Range::whole(1, 100_000)),
        ("learning_rate", Range::real(0.0, 10.0).above()),
        ("warmup_steps", Range::whole(0, 100_000_000)),
        ("warmup_fraction", Range::real(0.0, 1.0)),
        ("weight_decay", Range::real(0.0, 10.0)),
        ("batch_size", Range::whole(1, 4096)),
        ("accumulation", Range::whole(1, 65_536)),
        ("max_length", Range::whole(2, 1 << 20)),
        ("max_grad_norm", Range::real(0.0, 1e6)),
        ("dropout", Range::real(0.0, 1.0).below()),
        ("final_rate", Range::real(0.0, 1.0)),
        ("beta_2", Range::real(0.0, 1.0).below()),
        ("epoch_steps", Range::whole(0, 10_000_000)),
        ("max_steps", Range::whole(0, 1_000_000_000)),
    ];

    /// A configuration of the published study: `config-1` or `config-2`.
    ///
    /// # Errors
    /// [`TrainError::UnknownPreset`] for any other name.
    pub fn preset(name: &str) -> Result<TrainSettings> {
        published::preset(name).ok_or_else(|| TrainError::UnknownPreset {
            name: name.to_owned(),
            known: TrainSettings::PRESETS.join(", "),
        })
    }

    /// Checks the values of all settings: [`TrainSettings::RANGES`], at most 65,536 sequences and 2^26 tokens in an
    /// optimizer step, and at most 2^26 sequences in an epoch.
    ///
    /// # Errors
    /// [`TrainError::Value`] with the first setting outside its range.
    pub fn check(&self) -> Result<()> {
        self.in_range()?;
        self.check_products()?;
        if self.sequences == Sequences::Crop {
            if self.epoch_steps == 0 {
                return Err(wrong(
                    "epoch_steps",
                    "at least 1, as crops have no end",
                    "0",
                ));
            }
            if self.pad_loss {
                return Err(wrong("pad_loss", "false, as crops have no padding", "true"));
            }
        }
        Ok(())
    }

    fn in_range(&self) -> Result<()> {
        let values = [
            self.epochs as f64,
            self.patience as f64,
            self.learning_rate,
            self.warmup_steps as f64,
            self.warmup_fraction.unwrap_or(0.0),
            self.weight_decay,
            self.batch_size as f64,
            self.accumulation as f64,
            self.max_length as f64,
            self.max_grad_norm,
            self.dropout,
            self.final_rate,
            self.beta_2,
            self.epoch_steps as f64,
            self.max_steps as f64,
        ];
        for ((name, range), value) in TrainSettings::RANGES.into_iter().zip(values) {
            range.check(name, value).map_err(refused)?;
        }
        Ok(())
    }

    /// Checks products of settings: the sequences of an epoch, and those of a step, are in memory together.
    fn check_products(&self) -> Result<()> {
        let step = (self.batch_size as u128) * (self.accumulation as u128);
        let products = [
            ("batch_size × accumulation", step, STEP_SEQUENCES),
            (
                "batch_size × accumulation × max_length",
                step * self.max_length as u128,
                STEP_TOKENS,
            ),
            (
                "epoch_steps × batch_size × accumulation",
                step * self.epoch_steps as u128,
                EPOCH_SEQUENCES,
            ),
        ];
        for (name, product, range) in products {
            let product = u64::try_from(product).unwrap_or(u64::MAX);
            range.check(name, product).map_err(refused)?;
        }
        Ok(())
    }

    /// Warm-up steps of a run with `planned` optimizer steps.
    pub fn warmup(&self, planned: usize) -> usize {
        match self.warmup_fraction {
            Some(share) => (share * planned as f64).round() as usize,
            None => self.warmup_steps,
        }
    }
}

/// Sequences of an optimizer step.
const STEP_SEQUENCES: Range = Range::whole(1, 65_536);
/// Tokens of an optimizer step; the largest published models use 2^24.
const STEP_TOKENS: Range = Range::whole(1, 1 << 26);
/// Sequences of an epoch; their order takes 8 bytes each.
const EPOCH_SEQUENCES: Range = Range::whole(0, 1 << 26);

fn refused(error: OutOfRange) -> TrainError {
    wrong(&error.key, &error.range, &error.value)
}

fn beta_2() -> f64 {
    BETA_2
}

fn wrong(name: &str, expected: &str, found: &str) -> TrainError {
    TrainError::Value {
        name: name.to_owned(),
        expected: expected.to_owned(),
        found: format!("\"{found}\""),
    }
}
