//! All that a report shows beside the findings: training, corpus, what was left out, how to do it again.

use engram_findings::Findings;
use serde::{Deserialize, Serialize};

/// All that a report shows. Nothing in it says when or where it was made, so that the same study gives
/// the same report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportInput {
    /// The study's title.
    pub title: String,
    /// What was found.
    pub findings: Findings,
    /// How each model was trained; the base model has none.
    #[serde(default)]
    pub curves: Vec<TrainingCurve>,
    /// What the corpus holds: texts, words, tokens, mentions of terms, exposures.
    #[serde(default)]
    pub corpus: Vec<NamedValue>,
    /// Pairs that were not measured, and why.
    #[serde(default)]
    pub excluded: Vec<Excluded>,
    /// How to do it again.
    #[serde(default)]
    pub reproduction: Reproduction,
}

/// A name and a value, both shown as they stand.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NamedValue {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

impl NamedValue {
    /// A value from anything that can be shown.
    pub fn new(name: impl Into<String>, value: impl ToString) -> NamedValue {
        NamedValue {
            name: name.into(),
            value: value.to_string(),
        }
    }
}

/// How one model was trained.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingCurve {
    /// The model's name in the study.
    pub condition: String,
    /// Optimiser steps, ascending.
    pub steps: Vec<StepPoint>,
    /// Evaluations, ascending.
    pub epochs: Vec<EpochPoint>,
    /// The epoch whose weights were kept.
    pub best_epoch: Option<f64>,
    /// Whether patience ran out before the epochs did.
    pub stopped_early: bool,
    /// The base model's validation loss on real tokens (nats per token).
    pub base_validation_loss: Option<f64>,
    /// Where the settings differ from their preset.
    pub departures: Vec<ChangedSetting>,
    /// Validation loss per text, this model less the base model, with an interval over texts.
    pub validation_by_text: Option<ByText>,
    /// How high the learning rate came, where the record says so.
    #[serde(default)]
    pub rate: Option<RateReached>,
}

impl TrainingCurve {
    /// That the learning rate never reached its value, in words; `None` where it did or the record does not say.
    pub fn shortfall(&self) -> Option<String> {
        let rate = self.rate.filter(|rate| !rate.reached)?;
        Some(format!(
            "{} was trained at a learning rate that never reached its value of {:e}: the run ended after {} of {} warm-up steps, at {:.2e}.",
            self.condition, rate.setting, rate.steps, rate.warmup_steps, rate.highest
        ))
    }
}

/// How high the learning rate came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RateReached {
    /// The setting.
    pub setting: f64,
    /// The highest of any step.
    pub highest: f64,
    /// Steps of warm-up.
    pub warmup_steps: u64,
    /// Steps taken.
    pub steps: u64,
    /// Whether warm-up ended before the run did.
    pub reached: bool,
}

/// One optimiser step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct StepPoint {
    /// The step, from 1.
    pub step: u64,
    /// Tokens seen so far.
    pub tokens: u64,
    /// Training loss (nats per token).
    pub loss: f64,
    /// Learning rate.
    pub learning_rate: f64,
}

/// One evaluation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochPoint {
    /// The epoch; 0 is before training.
    pub epoch: f64,
    /// Optimizer steps so far.
    #[serde(default)]
    pub step: u64,
    /// Mean training loss over the epoch.
    pub train_loss: Option<f64>,
    /// Validation loss as the preset counts it (with or without padding).
    pub validation_loss_preset: f64,
    /// Validation loss on real tokens.
    pub validation_loss_tokens: f64,
    /// Validation loss on the tokens of answers, where they are marked.
    pub validation_loss_answers: Option<f64>,
    /// The mean over batches of what the preset counts, as transformers' Trainer reports it.
    #[serde(default)]
    pub validation_loss_batches: Option<f64>,
    /// The same with each batch's labels counted as Trainer of transformers 5.24 does for a GPT-2.
    #[serde(default)]
    pub validation_eval_loss: Option<f64>,
}

/// A setting that is not its preset's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChangedSetting {
    /// The setting.
    pub setting: String,
    /// The preset's value.
    pub preset: String,
    /// The value used.
    pub used: String,
    /// Why.
    pub why: String,
}

/// A mean over texts with its interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ByText {
    /// The mean difference (nats per token); below 0, the trained model is better.
    pub mean_difference: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// A pair that was not measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Excluded {
    /// The pair's id, or the fact that found no partner.
    pub pair: String,
    /// Its kind, where known.
    #[serde(default)]
    pub kind: Option<String>,
    /// Why.
    pub reason: String,
}

/// How to do it again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reproduction {
    /// The command line.
    pub command: String,
    /// Seeds by their use.
    pub seeds: Vec<NamedValue>,
    /// Versions of what computed it.
    pub versions: Vec<NamedValue>,
    /// SHA-256 of each input.
    pub inputs: Vec<NamedValue>,
}
