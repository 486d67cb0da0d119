//! From a training's record to what the report shows of it.

use std::collections::BTreeMap;

use engram_findings::Settings;
use engram_report::{ByText, ChangedSetting, EpochPoint, RateReached, StepPoint, TrainingCurve};
use engram_stats::bootstrap_mean;
use engram_train::{TrainSettings, TrainingRecord};
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// What a training's settings are compared with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The preset, where there is one.
    pub preset: Option<String>,
    /// Why settings depart from it.
    pub why: BTreeMap<String, String>,
}

/// The record as the report shows it.
///
/// # Errors
/// An unknown preset; statistics' own.
pub fn curve(
    name: &str,
    origin: &Origin,
    stats: &Settings,
    record: &TrainingRecord,
) -> Result<TrainingCurve> {
    let departures = match &origin.preset {
        Some(preset) => record.settings.departures(&TrainSettings::preset(preset)?),
        None => Vec::new(),
    };
    let departures = departures.into_iter().map(|d| ChangedSetting {
        why: origin
            .why
            .get(&d.setting)
            .cloned()
            .or(d.why)
            .unwrap_or_default(),
        setting: d.setting,
        preset: d.preset,
        used: d.used,
    });
    let before = EpochPoint {
        epoch: 0.0,
        step: 0,
        train_loss: None,
        validation_loss_preset: record.base.counted,
        validation_loss_tokens: record.base.real,
        validation_loss_answers: record.base.answers,
        validation_loss_batches: record.base.by_batch,
        validation_eval_loss: record.base.eval_loss,
    };
    let epochs = record.epochs.iter().map(|e| EpochPoint {
        epoch: e.epoch as f64,
        step: e.step as u64,
        train_loss: Some(e.train),
        validation_loss_preset: e.validation.counted,
        validation_loss_tokens: e.validation.real,
        validation_loss_answers: e.validation.answers,
        validation_loss_batches: e.validation.by_batch,
        validation_eval_loss: e.validation.eval_loss,
    });
    let steps = record.steps.iter().map(|s| StepPoint {
        step: s.step as u64,
        tokens: s.tokens as u64,
        loss: s.loss,
        learning_rate: s.learning_rate,
    });
    Ok(TrainingCurve {
        condition: name.to_owned(),
        steps: steps.collect(),
        epochs: std::iter::once(before).chain(epochs).collect(),
        best_epoch: Some(record.best_epoch as f64),
        stopped_early: record.stopped_early,
        base_validation_loss: Some(record.base.real),
        departures: departures.collect(),
        validation_by_text: by_text(record, stats)?,
        rate: record.rate.map(|rate| RateReached {
            setting: rate.setting,
            highest: rate.highest,
            warmup_steps: rate.warmup_steps as u64,
            steps: rate.steps as u64,
            reached: rate.reached,
        }),
    })
}

/// The mean over validation texts of the trained model's loss less the base model's, with its interval.
fn by_text(record: &TrainingRecord, stats: &Settings) -> Result<Option<ByText>> {
    let pairs = record.best_texts.iter().zip(&record.base_texts);
    let differences: Vec<f64> = pairs
        .filter_map(|(best, base)| Some((*best)? - (*base)?))
        .collect();
    if differences.len() < 2 {
        return Ok(None);
    }
    let interval = bootstrap_mean(&differences, stats.resamples, stats.level, stats.seed)?;
    Ok(Some(ByText {
        mean_difference: interval.estimate,
        low: interval.lower,
        high: interval.upper,
    }))
}
