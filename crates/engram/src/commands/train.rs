//! `engram train`, and the training stage of a study.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use engram_core::files;
use engram_corpus::Abstract;
use engram_findings::Settings;
use engram_model::Model;
use engram_report::{TrainingCurve, loss_svg};
use engram_train::{
    Event, Keep, Observer, Rate, TrainSettings, TrainText, Trained, TrainingRecord, Validation,
    plan,
};
use serde_json::json;

use super::corpus::{tell_leaks, training_texts};
use super::{named, print, say, table, thousands};
use crate::args::TrainArgs;
use crate::curve::{Origin, curve};
use crate::progress::{Progress, note};
use crate::results::{Machine, TRAINING};
use crate::scratch::Scratch;
use crate::stage::{Output, done_with, fingerprint, partial};

/// The share held out where neither texts nor a share are given: the study's.
const SPLIT: f64 = 0.2;

/// Time between the checkpoints of a study's trainings.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(300);
/// The picture of a run's curve.
const LOSS: &str = "loss.svg";

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
    /// The settings.
    pub settings: &'a TrainSettings,
}

/// What a training starts from.
enum Start {
    From(Box<Model>),
    New(Scratch),
}

/// Runs `engram train`.
///
/// # Errors
/// Any of input, before training starts.
pub fn train(args: &TrainArgs, json: bool) -> Result<()> {
    let keep = Keep {
        folder: partial(&args.out),
        every: Duration::from_secs(args.checkpoint_every),
        resume: args.resume,
    };
    let device = engram_model::device(&args.device)?;
    let output = match args.dry_run {
        true => None,
        false => Some(Output::resumable(&args.out, &keep.folder, args.resume)?),
    };
    let (start, settings) = match (&args.from_scratch, &args.base, &args.config) {
        (Some(file), ..) => {
            let scratch = Scratch::read(file)?;
            let settings = named(file, overridden(scratch.train.clone(), &args.set))?;
            if settings.max_length > scratch.model.context {
                bail!(
                    "{}: max_length is {}, the model's context {} tokens",
                    file.display(),
                    settings.max_length,
                    scratch.model.context
                );
            }
            (Start::New(scratch), settings)
        }
        (None, Some(base), Some(preset)) => {
            let settings = settings(preset, &args.set)?;
            (
                Start::From(Box::new(crate::model::weights_on(base, &device)?)),
                settings,
            )
        }
        _ => bail!("give --config and --base, or --from-scratch"),
    };
    let corpus = training_texts(&args.corpus, args.keep_retracted)?;
    let (train, validation) = match &args.validation {
        Some(path) => (corpus, training_texts(path, args.keep_retracted)?),
        None => engram_corpus::split_texts(corpus, args.split.unwrap_or(SPLIT), settings.seed)?,
    };
    tell_leaks(&train, &validation);
    let base = match start {
        Start::From(base) => *base,
        Start::New(scratch) => {
            note(format!(
                "learning a tokenizer from {} texts",
                thousands(train.len())
            ));
            scratch.model(&train, &settings)?.to_device(&device)?
        }
    };
    let Some(output) = output else {
        let plan = plan(&base, &texts(&train), &texts(&validation), &settings)?;
        let name = args.out.file_name().unwrap_or_default().to_string_lossy();
        warn_of_rate(&name, plan.rate.as_ref());
        return print(json, &plan, || planned(&plan));
    };
    let name = args.out.file_name().unwrap_or_default().to_string_lossy();
    let recipe = Recipe {
        name: &name,
        base: &base,
        train: &train,
        validation: &validation,
        settings: &settings,
    };
    let inputs = inputs(&recipe)?;
    let record = if output.is_made_from(&inputs)? {
        note(format!("{}: it is whole already", args.out.display()));
        files::read_json(&args.out.join(TRAINING))?
    } else {
        output.fill_from(&inputs, |folder| fine_tune(&recipe, &keep, folder))?
    };
    done_with(&keep.folder)?;
    warn_of_rate(&name, record.rate.as_ref());
    let origin = Origin {
        preset: args.config.clone(),
        why: BTreeMap::new(),
    };
    let curve = curve(&name, &origin, &Settings::default(), &record)?;
    print(json, &curve, || epochs(&curve))?;
    say(args.out.display())
}

/// All that a run's weights depend on.
fn inputs(recipe: &Recipe<'_>) -> Result<serde_json::Value> {
    let weights = recipe.base.flat()?;
    let bytes = |part: &[f32]| part.iter().flat_map(|w| w.to_le_bytes()).collect();
    let weights = files::sha256_of_parts(weights.values().chunks(1 << 16).map(bytes));
    let device = format!("{:?}", recipe.base.device().location());
    let texts = [
        fingerprint(&recipe.train)?,
        fingerprint(&recipe.validation)?,
    ];
    let threads = Machine::here().threads;
    Ok(json!([recipe.settings, texts, weights, threads, device]))
}

/// A preset with `key=value` laid over it.
///
/// # Errors
/// Unknown presets, settings and values.
pub fn settings(preset: &str, overrides: &[String]) -> Result<TrainSettings> {
    overridden(TrainSettings::preset(preset)?, overrides)
}

fn overridden(mut settings: TrainSettings, overrides: &[String]) -> Result<TrainSettings> {
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
pub fn fine_tune(recipe: &Recipe<'_>, keep: &Keep, folder: &Path) -> Result<TrainingRecord> {
    let (train, validation) = (texts(recipe.train), texts(recipe.validation));
    let mut watch = Watch::new(recipe.name);
    let trained = engram_train::train(
        recipe.base,
        &train,
        &validation,
        recipe.settings,
        Some(keep),
        &mut watch,
    )?;
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

/// Says that a run's learning rate never reaches its value, where that is so.
pub fn warn_of_rate(name: &str, rate: Option<&Rate>) {
    if let Some(why) = rate.and_then(Rate::shortfall) {
        note(format!("warning: {name}: {why}"));
    }
}

fn planned(plan: &engram_train::Plan) -> String {
    let rows = [
        ("training texts", thousands(plan.texts)),
        ("training sequences", thousands(plan.sequences)),
        ("validation sequences", thousands(plan.validation_sequences)),
        ("steps an epoch", thousands(plan.steps_per_epoch)),
        ("steps", thousands(plan.total_steps)),
        ("of these warm-up", thousands(plan.warmup_steps)),
        (
            "highest rate",
            plan.rate
                .map_or_else(String::new, |r| format!("{:.2e}", r.highest)),
        ),
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
                warn_of_rate(self.name, plan.rate.as_ref());
                self.bar = Some(Progress::new(
                    &format!("{}, training steps", self.name),
                    plan.total_steps as u64,
                ));
            }
            Event::Resumed(step) => note(format!("{}: goes on after step {step}", self.name)),
            Event::Base(found) => {
                note(format!("{}: before training, {}", self.name, losses(found)))
            }
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
            Event::Epoch(epoch) => note(format!(
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

fn epochs(curve: &TrainingCurve) -> String {
    let header = [
        "epoch",
        "training",
        "validation, as counted",
        "mean over batches",
        "eval_loss",
        "on real tokens",
        "on answers",
    ];
    let shown = |v: Option<f64>| v.map_or("–".to_owned(), |v| format!("{v:.4}"));
    let rows = curve.epochs.iter().map(|e| {
        [
            format!("{}", e.epoch),
            shown(e.train_loss),
            shown(Some(e.validation_loss_preset)),
            shown(e.validation_loss_batches),
            shown(e.validation_eval_loss),
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
