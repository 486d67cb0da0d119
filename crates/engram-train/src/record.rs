//! The record of a run. It is the same for the same input, seed and number of threads.

use std::path::Path;

use engram_core::files::{write_json, write_jsonl};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::schedule::LearningRateSchedule;
use crate::settings::TrainSettings;

/// A run's size, known before it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingPlan {
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
    /// The highest learning rate of the plan; null in older records.
    #[serde(default)]
    pub rate: Option<LearningRate>,
    /// Tokens predicted in an epoch, including padding that counts.
    pub tokens_per_epoch: usize,
    /// How many of these are padding.
    pub padded_tokens: usize,
    /// Tokens of the texts in no sequence: cut off, or alone in theirs.
    pub cut_tokens: usize,
    /// Parameters of the model.
    pub parameters: usize,
    /// Estimated peak memory of the run, in bytes.
    pub memory_bytes: u64,
}

/// The highest learning rate that a run reaches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LearningRate {
    /// The settings' `learning_rate`.
    pub setting: f64,
    /// The highest of any step.
    pub highest: f64,
    /// Optimizer steps of warm-up.
    pub warmup_steps: usize,
    /// Optimizer steps.
    pub steps: usize,
    /// Whether a step was taken after warm-up, at the full value of the setting (cosine decay: at its share of it).
    pub reached: bool,
}

impl LearningRate {
    /// The rate over the first `steps` steps.
    pub(crate) fn of(schedule: &LearningRateSchedule, steps: usize) -> LearningRate {
        // The rate rises during warm-up only.
        let rising = 0..steps.min(schedule.warmup + 1);
        LearningRate {
            setting: schedule.peak,
            highest: rising.map(|step| schedule.rate(step)).fold(0.0, f64::max),
            warmup_steps: schedule.warmup,
            steps,
            reached: steps > schedule.warmup,
        }
    }

    /// A message if the rate never reaches its setting; `None` if it does.
    pub fn shortfall(&self) -> Option<String> {
        let LearningRate {
            setting,
            highest,
            warmup_steps,
            steps,
            ..
        } = self;
        (!self.reached).then(|| {
            format!(
                "the learning rate never reaches {setting:e}: warm-up takes {warmup_steps} steps and the run has {steps}; the highest is {highest:.2e} ({:.1} %); fewer warmup_steps, a warmup_fraction or more epochs would help",
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
    /// Tokens predicted so far, including padding that counts.
    pub tokens: usize,
    /// Mean loss over the step's tokens, in nats.
    pub loss: f64,
    /// The step's learning rate.
    pub learning_rate: f64,
    /// The gradient's norm before clipping.
    pub grad_norm: f64,
}

/// Losses on the validation texts, in nats per token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Mean over the tokens that count under the settings (padding included if `pad_loss`); early stopping uses this
    /// one.
    pub counted: f64,
    /// Mean over the texts' own tokens.
    pub real: f64,
    /// Mean over answer tokens; null where no text names an answer.
    pub answers: Option<f64>,
    /// The mean over batches of `batch_size` sequences of each batch's mean over the tokens that count, weighted by its
    /// number of sequences: `eval_loss` as the transformers library's Trainer reports it. Null in older records.
    #[serde(default)]
    pub by_batch: Option<f64>,
    /// The same as the Trainer of transformers 5.24 computes it for GPT-2: it divides a batch's sum by its number of
    /// labels, including the first token of each sequence, which is never predicted. Null in older records.
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
    /// Mean training loss over the epoch's tokens that count.
    pub train: f64,
    /// Losses on the validation texts.
    pub validation: Validation,
    /// Whether this is the best epoch so far.
    pub best: bool,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingRecord {
    /// The settings.
    pub settings: TrainSettings,
    /// The number format used: `fp32`.
    pub precision: String,
    /// Number of threads; another number may change the last bits.
    pub threads: usize,
    /// The plan.
    pub plan: TrainingPlan,
    /// Losses of the model before training, on the validation texts.
    pub base: Validation,
    /// Every optimizer step.
    pub steps: Vec<StepRecord>,
    /// Every epoch.
    pub epochs: Vec<EpochRecord>,
    /// The epoch whose weights were kept.
    pub best_epoch: usize,
    /// Whether early stopping ended the run.
    pub stopped_early: bool,
    /// The highest learning rate reached; null in older records.
    #[serde(default)]
    pub rate: Option<LearningRate>,
    /// Before training: the mean loss of each validation text over its own tokens; null for a text of fewer than two.
    pub base_texts: Vec<Option<f64>>,
    /// The same for the kept weights.
    pub best_texts: Vec<Option<f64>>,
}

/// The duration of a run; it differs between repetitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Seconds in optimizer steps.
    pub train_s: f64,
    /// Seconds in evaluations.
    pub evaluate_s: f64,
    /// Training tokens per second of optimizer steps, including padding that counts.
    pub tokens_per_second: f64,
}

impl TrainingRecord {
    /// The epoch of the kept weights.
    pub fn best(&self) -> Option<&EpochRecord> {
        self.epochs.iter().find(|e| e.epoch == self.best_epoch)
    }

    /// As [`LearningRate::shortfall`], for the steps taken.
    pub fn shortfall(&self) -> Option<String> {
        self.rate.as_ref().and_then(LearningRate::shortfall)
    }

    /// Writes `training.json` (the whole record) and `metrics.jsonl` into a folder, each atomically.
    ///
    /// # Errors
    /// [`TrainError::Core`](crate::TrainError::Core) if a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join("training.json"), self)?;
        let metrics = MetricsLine::of(&self.base, &self.steps, &self.epochs);
        write_jsonl(&folder.join(METRICS), &metrics)?;
        Ok(())
    }
}

/// File name of the metrics: one flat JSON object a line, each with its step, as dashboards read them.
pub const METRICS: &str = "metrics.jsonl";

/// A line of the metrics. It has no time, so that repeated runs give the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum MetricsLine {
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
    /// An evaluation; epoch 0 is before training.
    Evaluation {
        /// Optimizer steps so far.
        step: usize,
        /// Epochs so far.
        epoch: usize,
        /// Mean loss over the tokens that count.
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
        /// As the Trainer of transformers 5.24 computes it.
        #[serde(
            rename = "validation/eval_loss",
            skip_serializing_if = "Option::is_none"
        )]
        eval_loss: Option<f64>,
    },
}

impl MetricsLine {
    /// All lines of a run, in order.
    pub fn of(base: &Validation, steps: &[StepRecord], epochs: &[EpochRecord]) -> Vec<MetricsLine> {
        let mut all = vec![MetricsLine::evaluation(0, 0, base)];
        let mut left = epochs.iter().peekable();
        for step in steps {
            all.push(MetricsLine::step(step));
            while let Some(epoch) = left.next_if(|e| e.step <= step.step) {
                all.push(MetricsLine::evaluation(
                    epoch.step,
                    epoch.epoch,
                    &epoch.validation,
                ));
            }
        }
        all
    }

    /// The line of a step.
    pub fn step(record: &StepRecord) -> MetricsLine {
        MetricsLine::Step {
            step: record.step,
            tokens: record.tokens,
            loss: record.loss,
            learning_rate: record.learning_rate,
            grad_norm: record.grad_norm,
        }
    }

    /// The line of an evaluation.
    pub fn evaluation(step: usize, epoch: usize, found: &Validation) -> MetricsLine {
        MetricsLine::Evaluation {
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
