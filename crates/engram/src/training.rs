//! A training from texts to a checkpoint with its record and its curve.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use engram_core::files;
use engram_corpus::Abstract;
use engram_findings::Settings;
use engram_report::loss_svg;
use engram_train::{
    CheckpointSettings, LearningRate, TrainError, TrainSettings, TrainText, Trained, TrainingEvent,
    TrainingRecord, Validation,
};
use serde_json::json;

use crate::curve::{Origin, curve};
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::results::Machine;
use crate::stage::fingerprint;

/// Time between the checkpoints of a study's trainings.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(300);
/// The picture of a run's curve.
const LOSS: &str = "loss.svg";

/// What a model is trained from and by.
pub struct Recipe<'a> {
    /// The model's name.
    pub name: &'a str,
    /// The model to start from.
    pub base: &'a engram_model::LanguageModel,
    /// The training texts.
    pub train: &'a [Abstract],
    /// The validation texts.
    pub validation: &'a [Abstract],
    /// The settings.
    pub settings: &'a TrainSettings,
}

/// All that the weights of a training depend on.
///
/// # Errors
/// Weights that cannot be read from their device.
pub fn inputs(recipe: &Recipe<'_>) -> Result<serde_json::Value> {
    let weights = recipe.base.flat()?;
    let bytes = |part: &[f32]| part.iter().flat_map(|w| w.to_le_bytes()).collect();
    let weights = files::sha256_of_parts(weights.values().chunks(1 << 16).map(bytes));
    let device = format!("{:?}", recipe.base.device().location());
    let texts = [
        fingerprint(&recipe.train)?,
        fingerprint(&recipe.validation)?,
    ];
    let threads = Machine::here().threads;
    let code = crate::code::of_training();
    Ok(json!([
        recipe.settings,
        texts,
        weights,
        threads,
        device,
        code
    ]))
}

/// A preset with `key=value` laid over it.
///
/// # Errors
/// [`Error::Train`] for presets, settings and values that are not known; [`Error::Asked`] where one is no `key=value`.
pub fn settings(preset: &str, overrides: &[String]) -> Result<TrainSettings> {
    overridden(TrainSettings::preset(preset)?, overrides)
}

/// Settings with `key=value` laid over them.
///
/// # Errors
/// As [`settings`].
pub fn overridden(mut settings: TrainSettings, overrides: &[String]) -> Result<TrainSettings> {
    for text in overrides {
        let Some((key, value)) = text.split_once('=') else {
            return Err(Error::asked(format!("--set {text}"), "expected key=value"));
        };
        settings.set(key.trim(), value.trim())?;
    }
    settings.check()?;
    Ok(settings)
}

/// Trains, and writes the checkpoint, the record of the run and its curve into `folder`.
///
/// # Errors
/// [`Error::Train`]; [`Error::Core`] for files that cannot be written; [`Error::Cancelled`].
pub fn fine_tune(
    recipe: &Recipe<'_>,
    keep: &CheckpointSettings,
    folder: &Path,
    observer: &mut dyn Observer,
) -> Result<TrainingRecord> {
    let (train, validation) = (texts(recipe.train), texts(recipe.validation));
    let mut watch = Watch {
        name: recipe.name,
        observer,
    };
    let trained = engram_train::train(
        recipe.base,
        &train,
        &validation,
        recipe.settings,
        Some(keep),
        &mut watch,
    );
    let trained = trained.map_err(|error| match error {
        TrainError::Cancelled => Error::Cancelled {
            kept: Some(keep.folder.clone()),
        },
        error => error.into(),
    })?;
    watch.finish(&trained);
    trained.model.write(folder)?;
    trained.curve.write(folder)?;
    let drawn = curve(
        recipe.name,
        &Origin::default(),
        &Settings::default(),
        &trained.curve,
    )?;
    let picture = loss_svg(&drawn)?;
    files::write_atomic(&folder.join(LOSS), |w| w.write_all(picture.as_bytes()))?;
    Ok(trained.curve)
}

/// Abstracts as texts to be trained on.
pub fn texts(abstracts: &[Abstract]) -> Vec<TrainText> {
    let one = |a: &Abstract| TrainText {
        text: a.text(),
        answers: a
            .answers
            .iter()
            .map(|[start, end]| (*start, *end))
            .collect(),
    };
    abstracts.iter().map(one).collect()
}

/// Tells that a run's learning rate never reaches its value, where that is so.
pub fn warn_of_rate(name: &str, rate: Option<&LearningRate>, observer: &mut dyn Observer) {
    if let Some(why) = rate.and_then(LearningRate::shortfall) {
        observer.note(format!("warning: {name}: {why}"));
    }
}

/// Tells of a training.
struct Watch<'a> {
    name: &'a str,
    observer: &'a mut dyn Observer,
}

impl Watch<'_> {
    fn finish(self, trained: &Trained) {
        let speed = trained.timing.tokens_per_second;
        self.observer.ends(&format!(
            "best epoch {} of {}, {speed:.0} tokens/s",
            trained.curve.best_epoch,
            trained.curve.epochs.len()
        ));
    }
}

impl engram_train::TrainingObserver for Watch<'_> {
    fn is_cancelled(&self) -> bool {
        self.observer.is_cancelled()
    }

    fn event(&mut self, event: &TrainingEvent) {
        match event {
            TrainingEvent::Planned(plan) => {
                warn_of_rate(self.name, plan.rate.as_ref(), self.observer);
                let work = format!("{}, training steps", self.name);
                self.observer.begins(&work, plan.total_steps as u64);
            }
            TrainingEvent::Resumed(step) => {
                self.observer
                    .note(format!("{}: goes on after step {step}", self.name));
            }
            TrainingEvent::Base(found) => {
                let found = losses(found);
                self.observer
                    .note(format!("{}: before training, {found}", self.name));
            }
            TrainingEvent::Step {
                record,
                tokens_per_second,
                eta_s,
                ..
            } => {
                let message = format!(
                    "loss {:.3}, rate {:.1e}, {tokens_per_second:.0} tokens/s, {eta_s:.0} s left",
                    record.loss, record.learning_rate
                );
                self.observer.at(record.step as u64, &message);
            }
            TrainingEvent::Epoch(epoch) => self.observer.note(format!(
                "{}: epoch {}, training loss {:.4}, {}{}",
                self.name,
                epoch.epoch,
                epoch.train,
                losses(&epoch.validation),
                if epoch.best { ", best so far" } else { "" }
            )),
            _ => {}
        }
    }
}

fn losses(found: &Validation) -> String {
    let answers = found
        .answers
        .map_or(String::new(), |a| format!(", on answers {a:.4}"));
    format!(
        "validation loss {:.4} as counted, {:.4} on real tokens{answers}",
        found.counted, found.real
    )
}
