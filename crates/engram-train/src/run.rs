//! The training loop.

use std::time::Instant;

use engram_core::files::{sha256, sha256_of_parts};
use engram_model::Model;
use engram_model::training::{Flat, Pass, Sequence};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::adamw::{AdamW, decayed};
use crate::checkpoint::{Keep, Keeper, State, Vectors};
use crate::data::{Encoded, Texts, TrainText, prepare};
use crate::error::{Result, TrainError};
use crate::evaluate::{Mean, evaluate};
use crate::learner::Learner;
use crate::record::{
    EpochRecord, Metric, Plan, Rate, StepRecord, Timing, TrainingRecord, Validation,
};
use crate::schedule::{Schedule, Stopper, Verdict};
use crate::settings::TrainSettings;

/// Hears how a run goes, while it goes.
pub trait Observer {
    /// Something happened.
    fn event(&mut self, event: &Event);

    /// Whether the run is to stop. It is asked after each step; a run that stops writes a checkpoint first.
    fn is_cancelled(&self) -> bool {
        false
    }
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
    /// The run goes on from a checkpoint that was written after this optimizer step.
    Resumed(usize),
    /// The model before training was measured.
    Base(&'a Validation),
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
    let (texts, held_out) = prepare(model, train, validation, settings)?;
    plan_of(model, train, &texts, &held_out, settings)
}

fn plan_of(
    model: &Model,
    train: &[TrainText],
    texts: &Texts,
    held_out: &[Encoded],
    settings: &TrainSettings,
) -> Result<Plan> {
    let sequences_per_step = settings.batch_size * settings.accumulation;
    let drawn = settings.epoch_steps * sequences_per_step;
    // Sequences and predicted tokens of an epoch, padding among these, and tokens that no sequence holds.
    let (sequences, tokens_per_epoch, padded_tokens, cut_tokens) = match texts {
        Texts::Sequences(all) => {
            let predicted: usize = all.iter().map(Encoded::predicted).sum();
            let real: usize = all.iter().map(Encoded::real_predicted).sum();
            let mut text_tokens = 0usize;
            for text in train {
                text_tokens += model.tokenizer().encode_training(&text.text)?.len();
            }
            let kept: usize = all.iter().map(|s| s.real).sum();
            let count = match drawn {
                0 => all.len(),
                drawn => drawn,
            };
            let share =
                |tokens: usize| (tokens as f64 * count as f64 / all.len() as f64).round() as usize;
            let cut = text_tokens.saturating_sub(kept);
            (count, share(predicted), share(predicted - real), cut)
        }
        Texts::Stream { length, .. } => (drawn, drawn * (length - 1), 0, 0),
    };
    let steps_per_epoch = sequences.div_ceil(sequences_per_step);
    let total_steps = match settings.max_steps {
        0 => steps_per_epoch * settings.epochs,
        most => most.min(steps_per_epoch * settings.epochs),
    };
    let parameters = model.shape().parameters;
    let threads = rayon::current_num_threads() as u64;
    // The model, the weights, the best ones and two moments; a gradient and a workspace for each thread.
    let copies = 5 * parameters as u64 * 4;
    let of_thread = parameters as u64 * 4 + Pass::workspace_bytes(model, settings.max_length);
    Ok(Plan {
        texts: train.len(),
        sequences,
        validation_sequences: held_out.len(),
        sequences_per_step,
        steps_per_epoch,
        total_steps,
        warmup_steps: settings.warmup(total_steps),
        rate: Some(Rate::of(&schedule(settings, total_steps), total_steps)),
        tokens_per_epoch,
        padded_tokens,
        cut_tokens,
        parameters,
        memory_bytes: copies + threads * of_thread,
    })
}

fn schedule(settings: &TrainSettings, total: usize) -> Schedule {
    Schedule {
        peak: settings.learning_rate,
        warmup: settings.warmup(total),
        total,
        decay: settings.decay,
        last: settings.final_rate,
    }
}

/// Fine-tunes a model: AdamW with linear warm-up and decay, evaluated after every epoch, stopped when the
/// validation loss has not fallen for `patience` epochs; the best epoch's weights are kept.
///
/// An optimizer step takes batch_size × accumulation sequences, and its loss is the mean over all of their tokens,
/// so that accumulating equals one large batch. Shuffling and dropout draw from ChaCha8 under the settings' seed;
/// the same input on the same number of threads gives the same bits, in one run or, where `keep` names a folder
/// for checkpoints, in several that go on from each other.
///
/// # Errors
/// Settings that no run can have, texts without a token to predict, [`TrainError::Diverged`] with the step at
/// which a loss or a gradient was no number any more, and [`TrainError::Checkpoint`] where the folder's checkpoint is
/// damaged or of another run.
pub fn train(
    model: &Model,
    train: &[TrainText],
    validation: &[TrainText],
    settings: &TrainSettings,
    keep: Option<&Keep>,
    observer: &mut dyn Observer,
) -> Result<Trained> {
    let (texts, held_out) = prepare(model, train, validation, settings)?;
    let plan = plan_of(model, train, &texts, &held_out, settings)?;
    observer.event(&Event::Planned(&plan));
    let mut run = Run::start(
        model,
        settings,
        &plan,
        &texts,
        (&held_out, validation.len()),
        keep,
    )?;
    match run.state.steps.len() {
        0 => observer.event(&Event::Base(&run.state.base)),
        steps => observer.event(&Event::Resumed(steps)),
    }
    while !run.ended() {
        run.epoch(&texts, observer)?;
        run.assess(&held_out, validation.len(), observer)?;
    }
    let timing = run.timing();
    let total_steps = plan.total_steps;
    let Run {
        state,
        best,
        schedule,
        ..
    } = run;
    Ok(Trained {
        model: model.with_weights(&best)?,
        curve: TrainingRecord {
            settings: settings.clone(),
            precision: settings.precision.used().name().to_owned(),
            threads: rayon::current_num_threads(),
            plan,
            base: state.base,
            stopped_early: state.steps.len() < total_steps,
            rate: Some(Rate::of(&schedule, state.steps.len())),
            steps: state.steps,
            epochs: state.epochs,
            best_epoch: state.best_epoch,
            base_texts: state.base_texts,
            best_texts: state.best_texts,
        },
        timing,
    })
}

/// A run under way.
struct Run<'a> {
    settings: &'a TrainSettings,
    plan: &'a Plan,
    schedule: Schedule,
    weights: Flat,
    best: Flat,
    optimizer: AdamW,
    learner: Learner,
    state: State,
    keeper: Option<Keeper>,
}

impl<'a> Run<'a> {
    /// A new run, or one that goes on from a checkpoint.
    fn start(
        model: &Model,
        settings: &'a TrainSettings,
        plan: &'a Plan,
        trained_on: &Texts,
        (held_out, texts): (&[Encoded], usize),
        keep: Option<&Keep>,
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
        // Every step of the record was applied.
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
                    stopper: Stopper::new(settings.patience),
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

    /// What is left of an epoch: all sequences once, in a new order.
    fn epoch(&mut self, texts: &Texts, observer: &mut dyn Observer) -> Result<()> {
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
            observer.event(&Event::Step {
                record: &record,
                steps: self.plan.total_steps,
                tokens_per_second: self.timing().tokens_per_second,
                eta_s: left * self.state.train_s / record.step as f64,
            });
            if let Some(keeper) = &mut self.keeper {
                keeper.metric(&Metric::step(&record))?;
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

    /// Ends an epoch: measures the weights and keeps them where they are the best so far.
    fn assess(
        &mut self,
        held_out: &[Encoded],
        texts: usize,
        observer: &mut dyn Observer,
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
        observer.event(&Event::Epoch(&record));
        if let Some(keeper) = &mut self.keeper {
            let step = record.step;
            keeper.metric(&Metric::evaluation(step, epoch, &record.validation))?;
        }
        self.state.epochs.push(record);
        self.state.order.clear();
        self.state.taken = 0;
        self.state.epoch_loss = Mean::default();
        self.checkpoint(false)
    }

    /// Where one is due, or now.
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

    fn timing(&self) -> Timing {
        Timing {
            train_s: self.state.train_s,
            evaluate_s: self.state.evaluate_s,
            tokens_per_second: self.state.tokens() as f64 / self.state.train_s,
        }
    }
}

/// What is not finite though no step has changed a weight.
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

/// A hash of all that a run's weights depend on.
fn inputs(
    model: &Model,
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
