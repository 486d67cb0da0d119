//! What a run was and how it went: everything here is the same for the same input, seed and number of threads.

use std::path::Path;

use engram_core::files::{write_json, write_jsonl};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::schedule::Schedule;
use crate::settings::TrainSettings;

/// A run's size, known before it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Training texts.
    pub texts: usize,
    /// Training sequences.
    pub sequences: usize,
    /// Validation sequences.
    pub validation_sequences: usize,
    /// Sequences in an optimizer step: batch_size × accumulation.
    pub sequences_per_step: usize,
    /// Optimizer steps in an epoch.
    pub steps_per_epoch: usize,
    /// Optimizer steps in all epochs.
    pub total_steps: usize,
    /// Optimizer steps of warm-up.
    pub warmup_steps: usize,
    /// How high the learning rate is to come; null in older records.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// Tokens that are predicted in an epoch, counted padding included.
    pub tokens_per_epoch: usize,
    /// Of these, padding.
    pub padded_tokens: usize,
    /// Tokens of the texts that no sequence holds: cut off, or alone in their stretch.
    pub cut_tokens: usize,
    /// Parameters of the model.
    pub parameters: usize,
    /// Estimated peak memory of the run, in bytes.
    pub memory_bytes: u64,
}

/// How high the learning rate comes in a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// The settings' `learning_rate`.
    pub setting: f64,
    /// The highest of any step.
    pub highest: f64,
    /// Optimizer steps of warm-up.
    pub warmup_steps: usize,
    /// Optimizer steps.
    pub steps: usize,
    /// Whether a step was taken after warm-up, at the setting's full value (of a cosine, at its share of it).
    pub reached: bool,
}

impl Rate {
    /// Of a run's first `steps`.
    pub(crate) fn of(schedule: &Schedule, steps: usize) -> Rate {
        // It rises during warm-up alone.
        let rising = 0..steps.min(schedule.warmup + 1);
        Rate {
            setting: schedule.peak,
            highest: rising.map(|step| schedule.rate(step)).fold(0.0, f64::max),
            warmup_steps: schedule.warmup,
            steps,
            reached: steps > schedule.warmup,
        }
    }

    /// What to know of a rate that never reaches its value; none where it does.
    pub fn shortfall(&self) -> Option<String> {
        let Rate {
            setting,
            highest,
            warmup_steps,
            steps,
            ..
        } = self;
        (!self.reached).then(|| {
            format!(
                "the learning rate never reaches {setting:e}: warm-up takes {warmup_steps} steps and the run has {steps}; the highest is {highest:.2e} ({:.1} %); fewer warmup_steps, a warmup_fraction or more epochs mend it",
                100.0 * highest / setting
            )
        })
    }
}

/// One optimizer step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// From 1.
    pub step: usize,
    /// Tokens predicted so far, counted padding included.
    pub tokens: usize,
    /// Mean loss over the step's tokens, in nats.
    pub loss: f64,
    /// The step's learning rate.
    pub learning_rate: f64,
    /// The gradient's norm before clipping.
    pub grad_norm: f64,
}

/// Losses on the validation texts, in nats a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Mean over the tokens that the settings count (padding where `pad_loss` says so); what early stopping goes by.
    pub counted: f64,
    /// Mean over the texts' own tokens.
    pub real: f64,
    /// Mean over answer tokens; null where no text names an answer.
    pub answers: Option<f64>,
    /// The mean over batches of `batch_size` texts' sequences, in order, of each batch's mean over the tokens that count,
    /// weighted by its sequences: what transformers' Trainer reports as `eval_loss`. Null in older records.
    #[serde(default)]
    pub by_batch: Option<f64>,
    /// The same as Trainer of transformers 5.24 has it for a GPT-2: it divides a batch's sum by its labels, among which it
    /// counts the first token of each sequence, though nothing predicts that. Null in older records.
    #[serde(default)]
    pub eval_loss: Option<f64>,
}

/// One epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: usize,
    /// Optimizer steps so far.
    pub step: usize,
    /// Mean training loss over the epoch's tokens, as the settings count them.
    pub train: f64,
    /// Losses on the validation texts.
    pub validation: Validation,
    /// Whether this is the best so far.
    pub best: bool,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingRecord {
    /// The settings.
    pub settings: TrainSettings,
    /// The number format that was used: `fp32`.
    pub precision: String,
    /// Threads; another number may change the last bits.
    pub threads: usize,
    /// The plan.
    pub plan: Plan,
    /// The model before training, on the validation texts.
    pub base: Validation,
    /// Every optimizer step.
    pub steps: Vec<StepRecord>,
    /// Every epoch.
    pub epochs: Vec<EpochRecord>,
    /// The epoch whose weights were kept.
    pub best_epoch: usize,
    /// Whether patience ended the run.
    pub stopped_early: bool,
    /// How high the learning rate came; null in older records.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// The model before training: for each validation text the mean loss over its own tokens; null where it has
    /// fewer than two.
    pub base_texts: Vec<Option<f64>>,
    /// The same of the weights that were kept.
    pub best_texts: Vec<Option<f64>>,
}

/// How long a run took; not the same twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Seconds in optimizer steps.
    pub train_s: f64,
    /// Seconds in evaluations.
    pub evaluate_s: f64,
    /// Training tokens a second of optimizer steps, counted padding included.
    pub tokens_per_second: f64,
}

impl TrainingRecord {
    /// Losses of the weights that were kept.
    pub fn best(&self) -> Option<&EpochRecord> {
        self.epochs.iter().find(|e| e.epoch == self.best_epoch)
    }

    /// As [`Rate::shortfall`], of the steps that were taken.
    pub fn shortfall(&self) -> Option<String> {
        self.rate.as_ref().and_then(Rate::shortfall)
    }

    /// Writes `training.json` (the whole record) and `metrics.jsonl` into a folder, each atomically.
    ///
    /// # Errors
    /// As the file system's.
    pub fn write(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join("training.json"), self)?;
        let metrics = Metric::of(&self.base, &self.steps, &self.epochs);
        write_jsonl(&folder.join(METRICS), &metrics)?;
        Ok(())
    }
}

/// The name of the file of metrics: a flat JSON object a line, with the step on each, as dashboards read it.
pub const METRICS: &str = "metrics.jsonl";

/// A line of the metrics. Nothing in it is a time, so that the same run gives the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Metric {
    /// An optimizer step.
    Step {
        /// From 1.
        step: usize,
        /// Tokens predicted so far.
        #[serde(rename = "train/tokens")]
        tokens: usize,
        /// Mean loss over the step's tokens, in nats.
        #[serde(rename = "train/loss")]
        loss: f64,
        /// The step's learning rate.
        #[serde(rename = "train/learning_rate")]
        learning_rate: f64,
        /// The gradient's norm before clipping.
        #[serde(rename = "train/grad_norm")]
        grad_norm: f64,
    },
    /// An evaluation; of epoch 0 before training.
    Evaluation {
        /// Optimizer steps so far.
        step: usize,
        /// Epochs so far.
        epoch: usize,
        /// Mean loss as the settings count it.
        #[serde(rename = "validation/loss")]
        loss: f64,
        /// Mean loss over the texts' own tokens.
        #[serde(rename = "validation/loss_real")]
        real: f64,
        /// Mean loss over answer tokens.
        #[serde(
            rename = "validation/loss_answers",
            skip_serializing_if = "Option::is_none"
        )]
        answers: Option<f64>,
        /// Mean over batches.
        #[serde(
            rename = "validation/loss_by_batch",
            skip_serializing_if = "Option::is_none"
        )]
        by_batch: Option<f64>,
        /// As Trainer of transformers 5.24 has it.
        #[serde(
            rename = "validation/eval_loss",
            skip_serializing_if = "Option::is_none"
        )]
        eval_loss: Option<f64>,
    },
}

impl Metric {
    /// All of a run, in order.
    pub fn of(base: &Validation, steps: &[StepRecord], epochs: &[EpochRecord]) -> Vec<Metric> {
        let mut all = vec![Metric::evaluation(0, 0, base)];
        let mut left = epochs.iter().peekable();
        for step in steps {
            all.push(Metric::step(step));
            while let Some(epoch) = left.next_if(|e| e.step <= step.step) {
                all.push(Metric::evaluation(
                    epoch.step,
                    epoch.epoch,
                    &epoch.validation,
                ));
            }
        }
        all
    }

    /// Of a step.
    pub fn step(record: &StepRecord) -> Metric {
        Metric::Step {
            step: record.step,
            tokens: record.tokens,
            loss: record.loss,
            learning_rate: record.learning_rate,
            grad_norm: record.grad_norm,
        }
    }

    /// Of an evaluation.
    pub fn evaluation(step: usize, epoch: usize, found: &Validation) -> Metric {
        Metric::Evaluation {
            step,
            epoch,
            loss: found.counted,
            real: found.real,
            answers: found.answers,
            by_batch: found.by_batch,
            eval_loss: found.eval_loss,
        }
    }
}
