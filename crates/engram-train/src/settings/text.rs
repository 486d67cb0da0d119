//! Settings by name, and their values as text.

use super::{Decay, Departure, Precision, Sequences, TrainSettings, refused, wrong};
use crate::error::{Result, TrainError};

impl TrainSettings {
    /// Sets a value by name, from text. Settings that depend on each other are checked by [`TrainSettings::check`], so
    /// that they can be set in any order.
    ///
    /// # Errors
    /// [`TrainError::UnknownSetting`] for a name that does not exist, [`TrainError::Value`] for a value that the
    /// setting does not allow. The settings are then unchanged.
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

    /// The settings that differ from `preset`'s, including a precision that falls back to float32.
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

const WHOLE: &str = "a whole number";
const NUMBER: &str = "a number";

fn parse<T: std::str::FromStr>(name: &str, text: &str, expected: &str) -> Result<T> {
    text.parse().map_err(|_| wrong(name, expected, text))
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
