//! Training settings, the two presets, and how a run departs from them.

use engram_core::{OutOfRange, Range};
use engram_model::kernels::{Products, bfloat16};
use serde::{Deserialize, Serialize};

use crate::adamw::BETA_2;
use crate::error::{Result, TrainError};
use crate::published;

/// How a text becomes sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sequences {
    /// One sequence a text, cut to the greatest length.
    Truncate,
    /// A text cut into stretches of the greatest length, the last one padded.
    Chunk,
    /// Stretches of the greatest length from anywhere in all texts joined, an end-of-text token before each.
    Crop,
}

/// How the learning rate falls after its warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// In a straight line from the end of warm-up to the last step.
    #[default]
    Linear,
    /// Along half a cosine from the first step to the last; the warm-up is a factor on it.
    Cosine,
}

/// Number format of the pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// float32.
    Fp32,
    /// float16 mixed with float32; on a CPU it falls back to float32.
    Fp16,
    /// Products with weights in bfloat16, sums and all else in float32; where the processor has no instruction for
    /// it, or on a GPU, it falls back to float32.
    Bf16,
}

impl Precision {
    /// The name that the settings have for it.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Fp16 => "fp16",
            Precision::Bf16 => "bf16",
        }
    }

    /// What this machine computes in where this is asked for.
    pub fn used(self) -> Precision {
        match self {
            Precision::Bf16 if bfloat16::available() => Precision::Bf16,
            _ => Precision::Fp32,
        }
    }

    /// The format of products with weights.
    pub fn products(self) -> Products {
        match self.used() {
            Precision::Bf16 => Products::Bfloat16,
            _ => Products::Float32,
        }
    }

    /// Why it is not what was asked for, where it is not.
    fn fallen(self) -> Option<&'static str> {
        match (self, self.used()) {
            (Precision::Fp16, _) => Some("float16 falls back to float32 on a CPU"),
            (Precision::Bf16, Precision::Fp32) => {
                Some("bfloat16 falls back to float32 on a processor without an instruction for it")
            }
            _ => None,
        }
    }
}

/// Every setting of a training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSettings {
    /// Epochs at most.
    pub epochs: usize,
    /// Evaluations without a better validation loss after which the run stops.
    pub patience: usize,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Optimizer steps of linear warm-up.
    pub warmup_steps: usize,
    /// Warm-up as a share of the planned steps; where given, it stands in for `warmup_steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_fraction: Option<f64>,
    /// How the learning rate falls.
    #[serde(default)]
    pub decay: Decay,
    /// The share of the highest learning rate that is left at the last step.
    #[serde(default)]
    pub final_rate: f64,
    /// Decay of AdamW's second moments.
    #[serde(default = "beta_2")]
    pub beta_2: f64,
    /// Optimizer steps of an epoch; 0: as many as take all sequences once. Crops have no other length.
    #[serde(default)]
    pub epoch_steps: usize,
    /// Optimizer steps at most; 0: those of all epochs.
    #[serde(default)]
    pub max_steps: usize,
    /// Decoupled weight decay, on all but biases and LayerNorm weights.
    pub weight_decay: f64,
    /// Sequences in a batch.
    pub batch_size: usize,
    /// Batches in an optimizer step.
    pub accumulation: usize,
    /// Tokens in a sequence at most.
    pub max_length: usize,
    /// Number format.
    pub precision: Precision,
    /// The norm that a longer gradient is cut to; 0 cuts none.
    pub max_grad_norm: f64,
    /// Dropout probability, on embeddings, attention and residuals alike.
    pub dropout: f64,
    /// Seed of shuffling and dropout.
    pub seed: u64,
    /// How a text becomes sequences.
    pub sequences: Sequences,
    /// Whether padding up to `max_length` counts in the loss.
    pub pad_loss: bool,
    /// Whether attention sees padding that counts. False: no position attends to it, as under the attention mask that
    /// transformers' tokenizer returns with padded texts.
    #[serde(default)]
    pub pad_attention: bool,
}

/// A setting that is not the preset's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Departure {
    /// The setting.
    pub setting: String,
    /// The preset's value.
    pub preset: String,
    /// The value used.
    pub used: String,
    /// The reason, where the program knows it.
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

    /// What the numbers among them may be; a seed may be any. With a product of settings, see
    /// [`TrainSettings::check`].
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
    /// [`TrainError::UnknownPreset`].
    pub fn preset(name: &str) -> Result<TrainSettings> {
        published::preset(name).ok_or_else(|| TrainError::UnknownPreset {
            name: name.to_owned(),
            known: TrainSettings::PRESETS.join(", "),
        })
    }

    /// Sets a value by name, from text. What the values are to each other is for [`TrainSettings::check`], so
    /// that they can be set in any order.
    ///
    /// # Errors
    /// [`TrainError::UnknownSetting`], [`TrainError::Value`]; the settings are then as they were.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        if let Some((_, range)) = TrainSettings::RANGES.iter().find(|(n, _)| *n == name) {
            range.parse::<f64>(name, value).map_err(refused)?;
        }
        let mut changed = self.clone();
        changed.assign(name, value)?;
        changed.in_range()?;
        *self = changed;
        Ok(())
    }

    fn assign(&mut self, name: &str, value: &str) -> Result<()> {
        let text = value.trim();
        match name {
            "epochs" => self.epochs = parse(name, text, WHOLE)?,
            "patience" => self.patience = parse(name, text, WHOLE)?,
            "learning_rate" => self.learning_rate = parse(name, text, NUMBER)?,
            "warmup_steps" => {
                self.warmup_steps = parse(name, text, WHOLE)?;
                self.warmup_fraction = None;
            }
            "warmup_fraction" => self.warmup_fraction = Some(parse(name, text, NUMBER)?),
            "weight_decay" => self.weight_decay = parse(name, text, NUMBER)?,
            "batch_size" => self.batch_size = parse(name, text, WHOLE)?,
            "accumulation" => self.accumulation = parse(name, text, WHOLE)?,
            "max_length" => self.max_length = parse(name, text, WHOLE)?,
            "precision" => {
                self.precision = match text {
                    "fp32" => Precision::Fp32,
                    "fp16" => Precision::Fp16,
                    "bf16" => Precision::Bf16,
                    _ => return Err(wrong(name, "fp32, fp16 or bf16", value)),
                }
            }
            "max_grad_norm" => self.max_grad_norm = parse(name, text, NUMBER)?,
            "dropout" => self.dropout = parse(name, text, NUMBER)?,
            "seed" => self.seed = parse(name, text, WHOLE)?,
            "sequences" => {
                self.sequences = match text {
                    "truncate" => Sequences::Truncate,
                    "chunk" => Sequences::Chunk,
                    "crop" => Sequences::Crop,
                    _ => return Err(wrong(name, "truncate, chunk or crop", value)),
                }
            }
            "pad_loss" => self.pad_loss = parse(name, text, "true or false")?,
            "pad_attention" => self.pad_attention = parse(name, text, "true or false")?,
            "decay" => {
                self.decay = match text {
                    "linear" => Decay::Linear,
                    "cosine" => Decay::Cosine,
                    _ => return Err(wrong(name, "linear or cosine", value)),
                }
            }
            "final_rate" => self.final_rate = parse(name, text, NUMBER)?,
            "beta_2" => self.beta_2 = parse(name, text, NUMBER)?,
            "epoch_steps" => self.epoch_steps = parse(name, text, WHOLE)?,
            "max_steps" => self.max_steps = parse(name, text, WHOLE)?,
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    /// Checks that every value is one that a run can have: those of [`TrainSettings::RANGES`], and at most 65,536
    /// sequences and 2^26 tokens in an optimizer step, and 2^26 sequences in an epoch.
    ///
    /// # Errors
    /// [`TrainError::Value`] with the first that is not.
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

    /// What the settings make together: an epoch's sequences are drawn, and a step's passed, all at once.
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

    /// Warm-up steps of a run of `planned` optimizer steps.
    pub fn warmup(&self, planned: usize) -> usize {
        match self.warmup_fraction {
            Some(share) => (share * planned as f64).round() as usize,
            None => self.warmup_steps,
        }
    }

    /// The settings that differ from `preset`'s, float16 fallen back to float32 among them.
    pub fn departures(&self, preset: &TrainSettings) -> Vec<Departure> {
        let (theirs, ours) = (preset.texts(), self.texts());
        let mut all = Vec::new();
        for ((name, theirs), ours) in TrainSettings::NAMES.into_iter().zip(theirs).zip(ours) {
            let fallen = self.precision.fallen().filter(|_| name == "precision");
            let used = match fallen {
                Some(_) => self.precision.used().name().to_owned(),
                None => ours,
            };
            if used != theirs {
                all.push(Departure {
                    setting: name.to_owned(),
                    preset: theirs,
                    used,
                    why: fallen.map(str::to_owned),
                });
            }
        }
        all
    }

    /// Every value as text, in the order of [`TrainSettings::NAMES`].
    fn texts(&self) -> [String; 21] {
        let sequences = match self.sequences {
            Sequences::Truncate => "truncate",
            Sequences::Chunk => "chunk",
            Sequences::Crop => "crop",
        };
        let decay = match self.decay {
            Decay::Linear => "linear",
            Decay::Cosine => "cosine",
        };
        let warmup_steps = match self.warmup_fraction {
            Some(_) => "by warmup_fraction".to_owned(),
            None => self.warmup_steps.to_string(),
        };
        let warmup_fraction = match self.warmup_fraction {
            Some(share) => share.to_string(),
            None => "none".to_owned(),
        };
        [
            self.epochs.to_string(),
            self.patience.to_string(),
            self.learning_rate.to_string(),
            warmup_steps,
            warmup_fraction,
            self.weight_decay.to_string(),
            self.batch_size.to_string(),
            self.accumulation.to_string(),
            self.max_length.to_string(),
            self.precision.name().to_owned(),
            self.max_grad_norm.to_string(),
            self.dropout.to_string(),
            self.seed.to_string(),
            sequences.to_owned(),
            self.pad_loss.to_string(),
            decay.to_owned(),
            self.final_rate.to_string(),
            self.beta_2.to_string(),
            self.epoch_steps.to_string(),
            self.max_steps.to_string(),
            self.pad_attention.to_string(),
        ]
    }
}

/// Sequences of an optimizer step.
const STEP_SEQUENCES: Range = Range::whole(1, 65_536);
/// Tokens of an optimizer step; the largest models take 2^24.
const STEP_TOKENS: Range = Range::whole(1, 1 << 26);
/// Sequences of an epoch, whose order takes 8 bytes for each.
const EPOCH_SEQUENCES: Range = Range::whole(0, 1 << 26);

fn refused(error: OutOfRange) -> TrainError {
    wrong(&error.key, &error.range, &error.value)
}

fn beta_2() -> f64 {
    BETA_2
}

const WHOLE: &str = "a whole number";
const NUMBER: &str = "a number";

fn parse<T: std::str::FromStr>(name: &str, text: &str, expected: &str) -> Result<T> {
    text.parse().map_err(|_| wrong(name, expected, text))
}

fn wrong(name: &str, expected: &str, found: &str) -> TrainError {
    TrainError::Value {
        name: name.to_owned(),
        expected: expected.to_owned(),
        found: format!("\"{found}\""),
    }
}

fn unknown(name: &str) -> TrainError {
    let mut near: Vec<(f64, &str)> = TrainSettings::NAMES
        .into_iter()
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(score, _)| *score > 0.7)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    TrainError::UnknownSetting {
        name: name.to_owned(),
        near: near
            .into_iter()
            .take(3)
            .map(|(_, n)| n.to_owned())
            .collect(),
    }
}
