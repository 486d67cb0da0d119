//! `engram train`, and the training stage of a study.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::Device;
use engram_core::files;
use engram_corpus::Abstract;
use engram_findings::Settings;
use engram_model::Model;
use engram_report::{ByText, Departure, EpochPoint, StepPoint, TrainingCurve};
use engram_stats::bootstrap_mean;
use engram_train::{
    Event, Observer, TrainSettings, TrainText, Trained, TrainingRecord, Validation, plan,
};

use super::corpus::read_corpus;
use super::{print, say, table, thousands};
use crate::args::TrainArgs;
use crate::progress::Progress;
use crate::results::TRAINING;

/// The share held out where neither texts nor a share are given: the study's.
const SPLIT: f64 = 0.2;

/// What a run is trained from and by.
pub struct Recipe<'a> {
    /// The model's name.
    pub name: &'a str,
    /// The model to start from.
    pub base: &'a Model,
    /// The training texts.
    pub train: &'a [Abstract],
    /// The validation texts.
    pub validation: &'a [Abstract],
    /// The preset that the settings are compared with.
    pub preset: &'a str,
    /// The settings.
    pub settings: &'a TrainSettings,
    /// Why settings depart from the preset.
    pub why: &'a BTreeMap<String, String>,
    /// How the interval over texts is computed.
    pub stats: &'a Settings,
}

/// Runs `engram train`.
///
/// # Errors
/// Any of input, before training starts.
pub fn train(args: &TrainArgs, json: bool) -> Result<()> {
    let settings = settings(&args.config, &args.set)?;
    let base = Model::read(&args.base, &Device::Cpu)?;
    let corpus = read_corpus(&args.corpus)?;
    let (train, validation) = match &args.validation {
        Some(path) => (corpus, read_corpus(path)?),
        None => engram_corpus::split(corpus, args.split.unwrap_or(SPLIT), settings.seed)?,
    };
    if args.dry_run {
        let plan = plan(&base, &texts(&train), &texts(&validation), &settings)?;
        return print(json, &plan, || planned(&plan));
    }
    if args.out.join("config.json").exists() {
        bail!(
            "{} holds a checkpoint already; name another folder with --out",
            args.out.display()
        );
    }
    std::fs::create_dir_all(&args.out).with_context(|| format!("{}", args.out.display()))?;
    let name = args.out.file_name().unwrap_or_default().to_string_lossy();
    let recipe = Recipe {
        name: &name,
        base: &base,
        train: &train,
        validation: &validation,
        preset: &args.config,
        settings: &settings,
        why: &BTreeMap::new(),
        stats: &Settings::default(),
    };
    let curve = fine_tune(&recipe, &args.out)?;
    print(json, &curve, || epochs(&curve))?;
    say(args.out.display())
}

/// A preset with `key=value` laid over it.
///
/// # Errors
/// Unknown presets, settings and values.
pub fn settings(preset: &str, overrides: &[String]) -> Result<TrainSettings> {
    let mut settings = TrainSettings::preset(preset)?;
    for text in overrides {
        let Some((key, value)) = text.split_once('=') else {
            bail!("--set {text}: expected key=value");
        };
        settings.set(key.trim(), value.trim())?;
    }
    settings.check()?;
    Ok(settings)
}

/// Trains, and writes the checkpoint, the record of the run and its curve into `folder`.
///
/// # Errors
/// The trainer's or the file system's.
pub fn fine_tune(recipe: &Recipe<'_>, folder: &Path) -> Result<TrainingCurve> {
    let (train, validation) = (texts(recipe.train), texts(recipe.validation));
    let mut watch = Watch::new(recipe.name);
    let trained = engram_train::train(
        recipe.base,
        &train,
        &validation,
        recipe.settings,
        &mut watch,
    )?;
    watch.finish(&trained);
    trained.model.write(folder)?;
    trained.curve.write(folder)?;
    let curve = curve(recipe, &trained.curve)?;
    files::write_json(&folder.join(TRAINING), &curve)?;
    Ok(curve)
}

fn texts(abstracts: &[Abstract]) -> Vec<TrainText> {
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

fn planned(plan: &engram_train::Plan) -> String {
    let rows = [
        ("training texts", thousands(plan.texts)),
        ("training sequences", thousands(plan.sequences)),
        ("validation sequences", thousands(plan.validation_sequences)),
        ("steps an epoch", thousands(plan.steps_per_epoch)),
        ("steps", thousands(plan.total_steps)),
        ("of these warm-up", thousands(plan.warmup_steps)),
        ("tokens an epoch", thousands(plan.tokens_per_epoch)),
        ("of these padding", thousands(plan.padded_tokens)),
        ("tokens cut off", thousands(plan.cut_tokens)),
        ("parameters", thousands(plan.parameters)),
        ("memory (MB)", thousands(plan.memory_bytes >> 20)),
    ];
    rows.map(|(name, value)| format!("{name:<22} {value:>12}\n"))
        .concat()
}

/// Progress while training.
struct Watch<'a> {
    name: &'a str,
    bar: Option<Progress>,
}

impl Watch<'_> {
    fn new(name: &str) -> Watch<'_> {
        Watch { name, bar: None }
    }

    fn finish(self, trained: &Trained) {
        if let Some(bar) = self.bar {
            let speed = trained.timing.tokens_per_second;
            bar.finish(&format!(
                "best epoch {} of {}, {speed:.0} tokens/s",
                trained.curve.best_epoch,
                trained.curve.epochs.len()
            ));
        }
    }
}

impl Observer for Watch<'_> {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Planned(plan) => {
                self.bar = Some(Progress::new(
                    &format!("{}, training steps", self.name),
                    plan.total_steps as u64,
                ));
            }
            Event::Base(found) => eprintln!("{}: before training, {}", self.name, losses(found)),
            Event::Step {
                record,
                tokens_per_second,
                eta_s,
                ..
            } => {
                if let Some(bar) = &mut self.bar {
                    let message = format!(
                        "loss {:.3}, rate {:.1e}, {tokens_per_second:.0} tokens/s, {eta_s:.0} s left",
                        record.loss, record.learning_rate
                    );
                    bar.at(record.step as u64, &message);
                }
            }
            Event::Epoch(epoch) => eprintln!(
                "{}: epoch {}, training loss {:.4}, {}{}",
                self.name,
                epoch.epoch,
                epoch.train,
                losses(&epoch.validation),
                if epoch.best { ", best so far" } else { "" }
            ),
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

/// The record as the report shows it.
fn curve(recipe: &Recipe<'_>, record: &TrainingRecord) -> Result<TrainingCurve> {
    let preset = TrainSettings::preset(recipe.preset)?;
    let departures = recipe
        .settings
        .departures(&preset)
        .into_iter()
        .map(|d| Departure {
            why: recipe
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
        train_loss: None,
        validation_loss_preset: record.base.counted,
        validation_loss_tokens: record.base.real,
        validation_loss_answers: record.base.answers,
    };
    let epochs = record.epochs.iter().map(|e| EpochPoint {
        epoch: e.epoch as f64,
        train_loss: Some(e.train),
        validation_loss_preset: e.validation.counted,
        validation_loss_tokens: e.validation.real,
        validation_loss_answers: e.validation.answers,
    });
    let steps = record.steps.iter().map(|s| StepPoint {
        step: s.step as u64,
        tokens: s.tokens as u64,
        loss: s.loss,
        learning_rate: s.learning_rate,
    });
    Ok(TrainingCurve {
        condition: recipe.name.to_owned(),
        steps: steps.collect(),
        epochs: std::iter::once(before).chain(epochs).collect(),
        best_epoch: Some(record.best_epoch as f64),
        stopped_early: record.stopped_early,
        base_validation_loss: Some(record.base.real),
        departures: departures.collect(),
        validation_by_text: by_text(record, recipe.stats)?,
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

fn epochs(curve: &TrainingCurve) -> String {
    let header = [
        "epoch",
        "training",
        "validation, as counted",
        "on real tokens",
        "on answers",
    ];
    let shown = |v: Option<f64>| v.map_or("–".to_owned(), |v| format!("{v:.4}"));
    let rows = curve.epochs.iter().map(|e| {
        [
            format!("{}", e.epoch),
            shown(e.train_loss),
            shown(Some(e.validation_loss_preset)),
            shown(Some(e.validation_loss_tokens)),
            shown(e.validation_loss_answers),
        ]
    });
    let mut text = table(header, rows);
    if let Some(d) = curve.validation_by_text {
        text += &format!(
            "\nvalidation loss by text, less the base model's: {:.4} ({:.4} to {:.4})",
            d.mean_difference, d.low, d.high
        );
    }
    text
}
