//! The training loop.

mod observer;
mod plan;

use std::time::Instant;

use engram_core::files::{sha256, sha256_of_parts};
use engram_model::LanguageModel;
use engram_model::training::{Flat, Sequence};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use self::observer::{NoObserver, TrainingEvent, TrainingObserver};
pub use self::plan::plan;
use self::plan::{plan_of, schedule};
use crate::adamw::{AdamW, decayed};
use crate::checkpoint::{CheckpointSettings, Keeper, State, Vectors};
use crate::data::{Encoded, Texts, TrainText, prepare};
use crate::error::{Result, TrainError};
use crate::evaluate::{Mean, evaluate};
use crate::learner::Learner;
use crate::record::{
    EpochRecord, LearningRate, MetricsLine, StepRecord, Timing, TrainingPlan, TrainingRecord,
};
use crate::schedule::{EarlyStopping, LearningRateSchedule, Verdict};
use crate::settings::TrainSettings;

/// The result of a run.
pub struct Trained {
    /// The model with the weights of the best epoch.
    pub model: LanguageModel,
    /// How the run went.
    pub curve: TrainingRecord,
    /// How long it took.
    pub timing: Timing,
}

/// Fine-tunes a model with AdamW, linear warm-up and decay. The model is evaluated after every epoch; training stops
/// when the validation loss has not fallen for `patience` epochs. The weights of the best epoch are kept.
///
/// An optimizer step takes batch_size × accumulation sequences. Its loss is the mean over all of their tokens, so that
/// accumulation equals one large batch. Shuffling and dropout use ChaCha8 with the seed of the settings. The same input
/// on the same number of threads gives the same bits, in one run or, with checkpoints in the folder of `keep`, in
/// several resumed ones.
///
/// # Errors
/// As [`check`](crate::check) for the settings; [`TrainError::NoSequence`] for texts without a token to predict;
/// [`TrainError::Start`] and [`TrainError::Diverged`] for a loss or gradient that is not finite;
/// [`TrainError::Checkpoint`] if the folder's checkpoint is damaged or belongs to another run;
/// [`TrainError::Cancelled`] if the observer cancels.
pub fn train(
    model: &LanguageModel,
    train: &[TrainText],
    validation: &[TrainText],
    settings: &TrainSettings,
    keep: Option<&CheckpointSettings>,
    observer: &mut dyn TrainingObserver,
) -> Result<Trained> {
    let (texts, held_out) = prepare(model, train, validation, settings)?;
    let plan = plan_of(model, train, &texts, &held_out, settings)?;
    observer.event(&TrainingEvent::Planned(&plan));
    let mut run = Run::start(
        model,
        settings,
        &plan,
        &texts,
        (&held_out, validation.len()),
        keep,
    )?;
    match run.state.steps.len() {
        0 => observer.event(&TrainingEvent::Base(&run.state.base)),
        steps => observer.event(&TrainingEvent::Resumed(steps)),
    }
    while !run.ended() {
        run.epoch(&texts, observer)?;
        run.assess(&held_out, validation.len(), observer)?;
    }
    let timing = run.timing();
    let total_steps = plan.total_steps;
    // The model of the best weights takes the place of what only the training needs.
    let (state, best, schedule) = run.finished();
    Ok(Trained {
        model: model.with_weights(&best)?,
        curve: TrainingRecord {
            settings: settings.clone(),
            precision: settings.precision.used().name().to_owned(),
            threads: rayon::current_num_threads(),
            plan,
            base: state.base,
            stopped_early: state.steps.len() < total_steps,
            rate: Some(LearningRate::of(&schedule, state.steps.len())),
            steps: state.steps,
            epochs: state.epochs,
            best_epoch: state.best_epoch,
            base_texts: state.base_texts,
            best_texts: state.best_texts,
        },
        timing,
    })
}

/// A run in progress.
struct Run<'a> {
    settings: &'a TrainSettings,
    plan: &'a TrainingPlan,
    schedule: LearningRateSchedule,
    weights: Flat,
    best: Flat,
    optimizer: AdamW,
    learner: Learner,
    state: State,
    keeper: Option<Keeper>,
}

impl<'a> Run<'a> {
    /// Starts a new run, or resumes one from its checkpoint.
    fn start(
        model: &LanguageModel,
        settings: &'a TrainSettings,
        plan: &'a TrainingPlan,
        trained_on: &Texts,
        (held_out, texts): (&[Encoded], usize),
        keep: Option<&CheckpointSettings>,
    ) -> Result<Run<'a>> {
        let mut weights = model.flat()?;
        let mut best = weights.clone();
        let mut optimizer =
            AdamW::new(&weights, settings.weight_decay, decayed).with_beta_2(settings.beta_2);
        let mut keeper = keep.map(|keep| {
            Keeper::new(
                keep,
                inputs(model, settings, &weights, trained_on, held_out),
            )
        });
        let mut state = None;
        if let Some(keeper) = &keeper {
            state = keeper.resume(vectors(&mut weights, &mut best, &mut optimizer))?;
        }
        // Every recorded step was applied.
        *optimizer.state_mut().2 = state.as_ref().map_or(0, |s| s.steps.len()) as i32;
        let products = settings.precision.products();
        let mut learner =
            Learner::new(model, &weights, &mut optimizer, settings.dropout, products)?;
        let state = match state {
            Some(state) => state,
            None => {
                let start = Instant::now();
                let (base, base_texts) =
                    evaluate(&mut learner, &weights, held_out, texts, settings.batch_size)?;
                if !base.counted.is_finite() {
                    return Err(bad_start(&weights, "the validation loss", base.counted));
                }
                State {
                    random: ChaCha8Rng::seed_from_u64(settings.seed),
                    order: Vec::new(),
                    taken: 0,
                    epoch_loss: Mean::default(),
                    steps: Vec::new(),
                    epochs: Vec::new(),
                    stopper: EarlyStopping::new(settings.patience),
                    base,
                    best_texts: base_texts.clone(),
                    base_texts,
                    best_epoch: 0,
                    train_s: 0.0,
                    evaluate_s: start.elapsed().as_secs_f64(),
                }
            }
        };
        if let Some(keeper) = &mut keeper {
            keeper.open(&state)?;
        }
        Ok(Run {
            settings,
            plan,
            schedule: schedule(settings, plan.total_steps),
            weights,
            best,
            optimizer,
            learner,
            state,
            keeper,
        })
    }

    fn ended(&self) -> bool {
        let taken = self.state.steps.len() >= self.plan.total_steps;
        self.state.order.is_empty() && (taken || self.state.stopper.stopped())
    }

    /// The rest of an epoch: all sequences once, in a new order.
    fn epoch(&mut self, texts: &Texts, observer: &mut dyn TrainingObserver) -> Result<()> {
        if self.state.order.is_empty() {
            self.state.order = texts.order(self.plan.sequences, &mut self.state.random);
        }
        while self.state.taken < self.state.order.len()
            && self.state.steps.len() < self.plan.total_steps
        {
            let start = Instant::now();
            let end = self.state.taken + self.plan.sequences_per_step;
            let end = end.min(self.state.order.len());
            let random = &mut self.state.random;
            let batch: Vec<Sequence> = self.state.order[self.state.taken..end]
                .iter()
                .map(|&i| Sequence {
                    seed: (self.settings.dropout > 0.0).then(|| random.next_u64()),
                    ..texts.sequence(i)
                })
                .collect();
            let record = self.step(&batch)?;
            self.state.taken = end;
            self.state.train_s += start.elapsed().as_secs_f64();
            let left = self.plan.total_steps.saturating_sub(record.step) as f64;
            observer.event(&TrainingEvent::Step {
                record: &record,
                steps: self.plan.total_steps,
                tokens_per_second: self.timing().tokens_per_second,
                eta_s: left * self.state.train_s / record.step as f64,
            });
            if let Some(keeper) = &mut self.keeper {
                keeper.metric(&MetricsLine::step(&record))?;
            }
            self.state.steps.push(record);
            let cancelled = observer.is_cancelled();
            self.checkpoint(cancelled)?;
            if cancelled {
                return Err(TrainError::Cancelled);
            }
        }
        Ok(())
    }

    /// Ends an epoch: evaluates the weights and keeps them if they are the best so far.
    fn assess(
        &mut self,
        held_out: &[Encoded],
        texts: usize,
        observer: &mut dyn TrainingObserver,
    ) -> Result<()> {
        let start = Instant::now();
        let (validation, by_text) = evaluate(
            &mut self.learner,
            &self.weights,
            held_out,
            texts,
            self.settings.batch_size,
        )?;
        self.state.evaluate_s += start.elapsed().as_secs_f64();
        self.finite("the validation loss", validation.counted)?;
        let epoch = self.state.epochs.len() + 1;
        let best = self.state.stopper.next(validation.counted) == Verdict::Best;
        if best {
            self.learner.fetch(&mut self.weights, &mut self.optimizer)?;
            self.best
                .values_mut()
                .copy_from_slice(self.weights.values());
            self.state.best_texts = by_text;
            self.state.best_epoch = epoch;
        }
        let record = EpochRecord {
            epoch,
            step: self.state.steps.len(),
            train: self.state.epoch_loss.mean().unwrap_or(f64::NAN),
            validation,
            best,
        };
        observer.event(&TrainingEvent::Epoch(&record));
        if let Some(keeper) = &mut self.keeper {
            let step = record.step;
            keeper.metric(&MetricsLine::evaluation(step, epoch, &record.validation))?;
        }
        self.state.epochs.push(record);
        self.state.order.clear();
        self.state.taken = 0;
        self.state.epoch_loss = Mean::default();
        self.checkpoint(false)
    }

    /// Writes a checkpoint if one is due, or if `now`.
    fn checkpoint(&mut self, now: bool) -> Result<()> {
        match &mut self.keeper {
            Some(keeper) if now || keeper.is_due() => {
                self.learner.fetch(&mut self.weights, &mut self.optimizer)?;
                let vectors = vectors(&mut self.weights, &mut self.best, &mut self.optimizer);
                keeper.write(&self.state, vectors)
            }
            _ => Ok(()),
        }
    }

    fn step(&mut self, batch: &[Sequence]) -> Result<StepRecord> {
        let learning_rate = self.schedule.rate(self.state.steps.len());
        let (losses, stepped) = self.learner.step(
            &mut self.weights,
            &mut self.optimizer,
            batch,
            learning_rate,
            self.settings.max_grad_norm,
        )?;
        let mut mean = Mean::default();
        let mut tokens = self.state.tokens();
        for losses in &losses {
            mean.add(losses);
            self.state.epoch_loss.add(losses);
            tokens += losses.len();
        }
        let loss = mean.mean().unwrap_or(f64::NAN);
        self.finite("the loss", loss)?;
        self.finite("the gradient's norm", stepped.grad_norm)?;
        Ok(StepRecord {
            step: self.state.steps.len() + 1,
            tokens,
            loss,
            learning_rate,
            grad_norm: stepped.grad_norm,
        })
    }

    fn finite(&self, what: &'static str, value: f64) -> Result<()> {
        if value.is_finite() {
            return Ok(());
        }
        if self.state.steps.is_empty() {
            return Err(bad_start(&self.weights, what, value));
        }
        Err(TrainError::Diverged {
            step: self.state.steps.len() + 1,
            what,
            value,
        })
    }

    /// What the result is made of; the optimizer's memory is given back.
    fn finished(self) -> (State, Flat, LearningRateSchedule) {
        (self.state, self.best, self.schedule)
    }

    fn timing(&self) -> Timing {
        Timing {
            train_s: self.state.train_s,
            evaluate_s: self.state.evaluate_s,
            tokens_per_second: self.state.tokens() as f64 / self.state.train_s,
        }
    }
}

/// The error for a value that is not finite before any step has changed a weight.
fn bad_start(weights: &Flat, what: &'static str, value: f64) -> TrainError {
    let (name, largest) = weights.largest();
    TrainError::Start {
        what,
        value,
        name: name.to_owned(),
        largest,
    }
}

fn vectors<'a>(weights: &'a mut Flat, best: &'a mut Flat, optimizer: &'a mut AdamW) -> Vectors<'a> {
    let (first, second, _) = optimizer.state_mut();
    Vectors {
        weights: weights.values_mut(),
        first,
        second,
        best: best.values_mut(),
    }
}

/// A hash of everything that a run's weights depend on.
fn inputs(
    model: &LanguageModel,
    settings: &TrainSettings,
    weights: &Flat,
    texts: &Texts,
    held_out: &[Encoded],
) -> String {
    let bytes = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    let (stream, sequences) = match texts {
        Texts::Sequences(all) => (&[][..], all.as_slice()),
        Texts::Stream { ids, .. } => (ids.as_slice(), &[][..]),
    };
    let listed = sequences.iter().chain(held_out).flat_map(|s| {
        let sizes = [s.ids.len() as u32, s.real as u32];
        [bytes(&sizes), bytes(&s.ids)]
    });
    let texts = sha256_of_parts(stream.chunks(1 << 16).map(bytes).chain(listed));
    let weights = sha256_of_parts(
        weights
            .values()
            .chunks(1 << 16)
            .map(|part| part.iter().flat_map(|w| w.to_le_bytes()).collect()),
    );
    let threads = rayon::current_num_threads();
    let device = model.device().location();
    let code = [crate::SOURCE, engram_model::SOURCE];
    sha256(format!("{settings:?} {texts} {weights} {threads} {device:?} {code:?}").as_bytes())
}
