//! The training loop.

use std::time::Instant;

use engram_model::Model;
use engram_model::training::{Flat, Pass, Sequence};
use rand::seq::SliceRandom;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::adamw::{AdamW, decayed};
use crate::data::{Encoded, TrainText, encode};
use crate::error::{Result, TrainError};
use crate::evaluate::{Mean, evaluate};
use crate::record::{EpochRecord, Plan, StepRecord, Timing, TrainingRecord};
use crate::schedule::{Schedule, Stopper, Verdict};
use crate::settings::TrainSettings;
use crate::workers::Workers;

/// Hears how a run goes, while it goes.
pub trait Observer {
    /// Something happened.
    fn event(&mut self, event: &Event);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&mut self, _: &Event) {}
}

/// Something that happened in a run.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The run is about to start.
    Planned(&'a Plan),
    /// The model before training was measured.
    Base(&'a crate::record::Validation),
    /// An optimizer step was taken.
    Step {
        /// The step.
        record: &'a StepRecord,
        /// Planned steps.
        steps: usize,
        /// Training tokens a second since the run started, evaluations left out.
        tokens_per_second: f64,
        /// Seconds until the last planned step, evaluations left out.
        eta_s: f64,
    },
    /// An epoch was evaluated.
    Epoch(&'a EpochRecord),
}

/// What a run gives.
pub struct Trained {
    /// The model with the weights of the best epoch.
    pub model: Model,
    /// How the run went.
    pub curve: TrainingRecord,
    /// How long it took.
    pub timing: Timing,
}

/// The size of a run, without running it.
///
/// # Errors
/// As [`train`], as far as settings and texts go.
pub fn plan(
    model: &Model,
    train: &[TrainText],
    validation: &[TrainText],
    settings: &TrainSettings,
) -> Result<Plan> {
    let (sequences, held_out) = prepare(model, train, validation, settings)?;
    plan_of(model, train, &sequences, &held_out, settings)
}

fn prepare(
    model: &Model,
    train: &[TrainText],
    validation: &[TrainText],
    settings: &TrainSettings,
) -> Result<(Vec<Encoded>, Vec<Encoded>)> {
    settings.check()?;
    Ok((
        encode(model, train, settings, "training texts")?,
        encode(model, validation, settings, "validation texts")?,
    ))
}

fn plan_of(
    model: &Model,
    train: &[TrainText],
    sequences: &[Encoded],
    held_out: &[Encoded],
    settings: &TrainSettings,
) -> Result<Plan> {
    let sequences_per_step = settings.batch_size * settings.accumulation;
    let steps_per_epoch = sequences.len().div_ceil(sequences_per_step);
    let total_steps = steps_per_epoch * settings.epochs;
    let tokens_per_epoch = sequences.iter().map(Encoded::predicted).sum();
    let real: usize = sequences.iter().map(Encoded::real_predicted).sum();
    let mut text_tokens = 0;
    for text in train {
        text_tokens += model.tokenizer().encode(&text.text)?.len();
    }
    let kept: usize = sequences.iter().map(|s| s.real).sum();
    let parameters = model.shape().parameters;
    let threads = rayon::current_num_threads() as u64;
    // The model, the weights, the best ones and two moments; a gradient and a workspace for each thread.
    let copies = 5 * parameters as u64 * 4;
    let of_thread = parameters as u64 * 4 + Pass::workspace_bytes(model, settings.max_length);
    Ok(Plan {
        texts: train.len(),
        sequences: sequences.len(),
        validation_sequences: held_out.len(),
        sequences_per_step,
        steps_per_epoch,
        total_steps,
        warmup_steps: settings.warmup(total_steps),
        tokens_per_epoch,
        padded_tokens: tokens_per_epoch - real,
        cut_tokens: text_tokens.saturating_sub(kept),
        parameters,
        memory_bytes: copies + threads * of_thread,
    })
}

/// Fine-tunes a model: AdamW with linear warm-up and decay, evaluated after every epoch, stopped when the
/// validation loss has not fallen for `patience` epochs; the best epoch's weights are kept.
///
/// An optimizer step takes batch_size × accumulation sequences, and its loss is the mean over all of their tokens,
/// so that accumulating equals one large batch. Shuffling and dropout draw from ChaCha8 under the settings' seed;
/// the same input on the same number of threads gives the same bits.
///
/// # Errors
/// Settings that no run can have, texts without a token to predict, and [`TrainError::Diverged`] with the step at
/// which a loss or a gradient was no number any more.
pub fn train(
    model: &Model,
    train: &[TrainText],
    validation: &[TrainText],
    settings: &TrainSettings,
    observer: &mut dyn Observer,
) -> Result<Trained> {
    let (sequences, held_out) = prepare(model, train, validation, settings)?;
    let plan = plan_of(model, train, &sequences, &held_out, settings)?;
    observer.event(&Event::Planned(&plan));
    let mut run = Run::new(model, settings, &plan)?;
    let (base, base_texts) = run.evaluate(&held_out, validation.len())?;
    observer.event(&Event::Base(&base));

    let mut stopper = Stopper::new(settings.patience);
    let mut epochs: Vec<EpochRecord> = Vec::new();
    let mut best = (run.weights.clone(), base_texts.clone(), 0);
    let mut stopped_early = false;
    for epoch in 1..=settings.epochs {
        let train = run.epoch(&sequences, observer)?;
        let (validation, texts) = run.evaluate(&held_out, validation.len())?;
        run.finite("the validation loss", validation.counted)?;
        let verdict = stopper.next(validation.counted);
        let record = EpochRecord {
            epoch,
            step: run.steps.len(),
            train,
            validation,
            best: verdict == Verdict::Best,
        };
        observer.event(&Event::Epoch(&record));
        epochs.push(record);
        match verdict {
            Verdict::Best => {
                best.0.values_mut().copy_from_slice(run.weights.values());
                best.1 = texts;
                best.2 = epoch;
            }
            Verdict::Wait => {}
            Verdict::Stop => {
                stopped_early = epoch < settings.epochs;
                break;
            }
        }
    }
    let (weights, best_texts, best_epoch) = best;
    let (timing, steps) = (run.timing(), run.steps);
    Ok(Trained {
        model: model.with_weights(&weights)?,
        curve: TrainingRecord {
            settings: settings.clone(),
            precision: "fp32".to_owned(),
            threads: rayon::current_num_threads(),
            plan,
            base,
            steps,
            epochs,
            best_epoch,
            stopped_early,
            base_texts,
            best_texts,
        },
        timing,
    })
}

/// A run under way.
struct Run<'a> {
    settings: &'a TrainSettings,
    plan: &'a Plan,
    schedule: Schedule,
    random: ChaCha8Rng,
    weights: Flat,
    optimizer: AdamW,
    workers: Workers,
    steps: Vec<StepRecord>,
    tokens: usize,
    train_s: f64,
    evaluate_s: f64,
}

impl<'a> Run<'a> {
    fn new(model: &Model, settings: &'a TrainSettings, plan: &'a Plan) -> Result<Run<'a>> {
        let weights = model.flat()?;
        Ok(Run {
            settings,
            plan,
            schedule: Schedule {
                peak: settings.learning_rate,
                warmup: plan.warmup_steps,
                total: plan.total_steps,
            },
            random: ChaCha8Rng::seed_from_u64(settings.seed),
            optimizer: AdamW::new(&weights, settings.weight_decay, decayed),
            workers: Workers::new(model, settings.dropout)?,
            weights,
            steps: Vec::new(),
            tokens: 0,
            train_s: 0.0,
            evaluate_s: 0.0,
        })
    }

    fn evaluate(
        &mut self,
        sequences: &[Encoded],
        texts: usize,
    ) -> Result<(crate::record::Validation, Vec<Option<f64>>)> {
        let start = Instant::now();
        let found = evaluate(&mut self.workers, &self.weights, sequences, texts)?;
        self.evaluate_s += start.elapsed().as_secs_f64();
        Ok(found)
    }

    /// All sequences once, in a new order; gives the mean loss over their tokens.
    fn epoch(&mut self, sequences: &[Encoded], observer: &mut dyn Observer) -> Result<f64> {
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.shuffle(&mut self.random);
        let mut mean = Mean::default();
        for batch in order.chunks(self.plan.sequences_per_step) {
            let start = Instant::now();
            let batch: Vec<Sequence> = batch
                .iter()
                .map(|&i| Sequence {
                    ids: &sequences[i].ids,
                    seed: (self.settings.dropout > 0.0).then(|| self.random.next_u64()),
                })
                .collect();
            self.step(&batch, &mut mean)?;
            self.train_s += start.elapsed().as_secs_f64();
            if let Some(record) = self.steps.last() {
                let left = self.plan.total_steps.saturating_sub(record.step) as f64;
                observer.event(&Event::Step {
                    record,
                    steps: self.plan.total_steps,
                    tokens_per_second: self.tokens as f64 / self.train_s,
                    eta_s: left * self.train_s / record.step as f64,
                });
            }
        }
        Ok(mean.mean().unwrap_or(f64::NAN))
    }

    fn step(&mut self, batch: &[Sequence], epoch: &mut Mean) -> Result<()> {
        let losses = self.workers.gradients(&self.weights, batch)?;
        let mut mean = Mean::default();
        for losses in &losses {
            mean.add(losses);
            epoch.add(losses);
            self.tokens += losses.len();
        }
        let loss = mean.mean().unwrap_or(f64::NAN);
        self.finite("the loss", loss)?;
        let learning_rate = self.schedule.rate(self.steps.len());
        let stepped = self.optimizer.step(
            &mut self.weights,
            self.workers.parts_mut(),
            learning_rate,
            self.settings.max_grad_norm,
        );
        self.finite("the gradient's norm", stepped.grad_norm)?;
        self.steps.push(StepRecord {
            step: self.steps.len() + 1,
            tokens: self.tokens,
            loss,
            learning_rate,
            grad_norm: stepped.grad_norm,
        });
        Ok(())
    }

    fn finite(&self, what: &'static str, value: f64) -> Result<()> {
        if value.is_finite() {
            return Ok(());
        }
        Err(TrainError::Diverged {
            step: self.steps.len() + 1,
            what,
            value,
        })
    }

    fn timing(&self) -> Timing {
        Timing {
            train_s: self.train_s,
            evaluate_s: self.evaluate_s,
            tokens_per_second: self.tokens as f64 / self.train_s,
        }
    }
}
