//! `engram train`, and the training stage of a study.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use candle_core::Device;
use engram::corpus::{leaks, training_texts};
use engram::curve::{Origin, curve};
use engram::results::TRAINING;
use engram::scratch::Scratch;
use engram::stage::{Output, done_with, partial};
use engram::training::{Recipe, fine_tune, inputs, overridden, settings, texts, warn_of_rate};
use engram::{Opening, Within};
use engram_core::files;
use engram_core::text::thousands;
use engram_corpus::Abstract;
use engram_findings::Settings;
use engram_model::LanguageModel;
use engram_report::TrainingCurve;
use engram_train::{CheckpointSettings, TrainSettings, TrainingRecord, plan};

use super::{print, say, table};
use crate::args::TrainArgs;
use crate::progress::{Terminal, note};

/// The share held out where neither texts nor a share are given: the study's.
const SPLIT: f64 = 0.2;

/// What a training starts from.
enum Start {
    From(Box<LanguageModel>),
    New(Scratch),
}

impl Start {
    /// What is trained from, and the settings.
    fn read(
        args: &TrainArgs,
        device: &Device,
        terminal: &mut Terminal,
    ) -> Result<(Start, TrainSettings)> {
        match (&args.from_scratch, &args.base, &args.config) {
            (Some(file), ..) => {
                let scratch = Scratch::read(file)?;
                let settings = overridden(scratch.train.clone(), &args.set).of_file(file)?;
                if settings.max_length > scratch.model.context {
                    bail!(
                        "{}: max_length is {}, the model's context {} tokens",
                        file.display(),
                        settings.max_length,
                        scratch.model.context
                    );
                }
                Ok((Start::New(scratch), settings))
            }
            (None, Some(base), Some(preset)) => {
                let settings = settings(preset, &args.set)?;
                let opening = Opening::default().device(device).for_weights();
                let base = opening.open(base, terminal)?.into_loaded();
                Ok((Start::From(Box::new(base)), settings))
            }
            _ => bail!("give --config and --base, or --from-scratch"),
        }
    }

    /// The model; a new one has a tokenizer of the training texts.
    fn model(
        self,
        train: &[Abstract],
        settings: &TrainSettings,
        device: &Device,
        terminal: &mut Terminal,
    ) -> Result<LanguageModel> {
        match self {
            Start::From(base) => Ok(*base),
            Start::New(scratch) => {
                let count = thousands(train.len());
                note(format!("learning a tokenizer from {count} texts"));
                let model = scratch.model(train, settings, terminal)?;
                Ok(model.to_device(device)?)
            }
        }
    }
}

/// Runs `engram train`.
///
/// # Errors
/// Any of input, before training starts.
pub fn train(args: &TrainArgs, json: bool) -> Result<()> {
    let mut terminal = Terminal::default();
    let keep = CheckpointSettings {
        folder: partial(&args.out),
        every: Duration::from_secs(args.checkpoint_every),
        resume: args.resume,
    };
    let device = engram_model::device(&args.device)?;
    let output = match args.dry_run {
        true => None,
        false => Some(Output::resumable(&args.out, &keep.folder, args.resume)?),
    };
    let (start, settings) = Start::read(args, &device, &mut terminal)?;
    let (train, validation) = read_texts(args, settings.seed, &mut terminal)?;
    let base = start.model(&train, &settings, &device, &mut terminal)?;
    let name = args.out.file_name().unwrap_or_default().to_string_lossy();
    let Some(output) = output else {
        let plan = plan(&base, &texts(&train), &texts(&validation), &settings)?;
        warn_of_rate(&name, plan.rate.as_ref(), &mut terminal);
        return print(json, &plan, || planned(&plan));
    };
    let recipe = Recipe {
        name: &name,
        base: &base,
        train: &train,
        validation: &validation,
        settings: &settings,
    };
    let record = made(&recipe, (args, &keep), &output, &mut terminal)?;
    done_with(&keep.folder)?;
    warn_of_rate(&name, record.rate.as_ref(), &mut terminal);
    let origin = Origin {
        preset: args.config.clone(),
        why: BTreeMap::new(),
    };
    let curve = curve(&name, &origin, &Settings::default(), &record)?;
    print(json, &curve, || epochs(&curve))?;
    say(args.out.display())
}

/// The texts to train and to validate on.
fn read_texts(
    args: &TrainArgs,
    seed: u64,
    terminal: &mut Terminal,
) -> Result<(Vec<Abstract>, Vec<Abstract>)> {
    let corpus = training_texts(&args.corpus, args.keep_retracted, terminal)?;
    let (train, validation) = match &args.validation {
        Some(path) => {
            let held_out = training_texts(path, args.keep_retracted, terminal)?;
            (corpus, held_out)
        }
        None => engram_corpus::split_texts(corpus, args.split.unwrap_or(SPLIT), seed)?,
    };
    leaks(&train, &validation, terminal);
    Ok((train, validation))
}

/// Trains, unless the output is there and was made from the same inputs.
fn made(
    recipe: &Recipe<'_>,
    (args, keep): (&TrainArgs, &CheckpointSettings),
    output: &Output,
    terminal: &mut Terminal,
) -> Result<TrainingRecord> {
    let inputs = inputs(recipe)?;
    if output.is_made_from(&inputs, terminal)? {
        note(format!("{}: it is whole already", args.out.display()));
        return Ok(files::read_json(&args.out.join(TRAINING))?);
    }
    let made = output.fill_from(&inputs, |folder| fine_tune(recipe, keep, folder, terminal));
    Ok(made?)
}

fn planned(plan: &engram_train::TrainingPlan) -> String {
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
