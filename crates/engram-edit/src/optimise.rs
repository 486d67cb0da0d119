//! The value that makes a model say the new answer: v* of ROME, z of MEMIT.
//!
//! δ is added to the output of one layer's MLP at the subject's last token. Adam minimises the sum of three terms (Meng
//! et al. 2022, eq. 4 and appendix E.5): the negative log-likelihood of the new answer, over the prompt without and
//! with prefixes; a KL divergence that keeps the model's idea of the subject; and a decay of δ. Each step recomputes
//! only the suffix of the run (this layer and later ones, from that token on) and its gradient ([`Ending`]).

use engram_model::kernels::softmax::{log_probabilities, log_probability, probabilities};
use engram_model::wavefront::{Ending, LogitRows, Reverse, Run, Trace};
use serde::{Deserialize, Serialize};

use crate::cholesky::Cholesky;
use crate::error::{EditError, Result};
use crate::reader::{Reader, run};
pub use crate::rewriting::{PlacedPrompt, Rewriting};

/// Settings of the optimisation; the default is the published one for GPT-2 XL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Optimisation {
    /// Adam's learning rate.
    pub rate: f64,
    /// Maximum number of evaluations of the loss; no step follows the last one.
    pub steps: usize,
    /// Loss below which the optimisation stops.
    pub stop: f64,
    /// Weight of KL(edited ‖ original) of the prompt "{subject} is a", read at the subject's last token.
    pub kl: f64,
    /// Weight of ‖δ‖ / ‖v₀‖².
    pub decay: f64,
    /// Upper bound of ‖δ‖ / ‖v₀‖.
    pub clamp: f64,
    /// The optimisation also stops when after every prompt each token of the new answer has a logit that exceeds all
    /// others by this, in nats (0: it stops by its loss only).
    #[serde(default)]
    pub margin: f64,
    /// Whether `rate`, `decay` and `clamp` are multiples of the residual stream's norm s instead: steps of rate · s / √d
    /// for each of d elements, a decay of ‖δ‖ / s, and the bound clamp · s.
    #[serde(default)]
    pub relative: bool,
}

impl Default for Optimisation {
    fn default() -> Optimisation {
        Optimisation {
            rate: 0.5,
            steps: 20,
            stop: 0.05,
            kl: 0.0625,
            decay: 0.5,
            clamp: 4.0,
            margin: 0.0,
            relative: false,
        }
    }
}

impl Optimisation {
    /// Settings relative to the residual stream, which fit models of any size. A step moves δ by a tenth of the stream's
    /// norm, so that 20 steps reach the bound; steps end when the new answer leads by 1.5 nats, e^1.5 = 4.5 times the
    /// probability of any other, in every prompt. There is no decay, because stopping early keeps δ small.
    pub fn relative() -> Optimisation {
        Optimisation {
            rate: 0.1,
            steps: 40,
            stop: 0.0,
            kl: 0.0625,
            decay: 0.0,
            clamp: 2.0,
            margin: 1.5,
            relative: true,
        }
    }
}

/// The loss and its terms at one step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The sum of the terms.
    pub loss: f64,
    /// Mean negative log-likelihood of the new answer's tokens.
    pub nll: f64,
    /// The KL divergence times its weight.
    pub kl: f64,
    /// The decay times its weight.
    pub decay: f64,
}

/// Where δ is added, and what v₀ is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeltaPlace {
    /// Output of the down-projection (ROME).
    Projection,
    /// Residual stream after the block (MEMIT).
    Residual,
}

/// The result of the optimisation.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimised {
    /// v₀: the value in the prompt without prefix.
    pub initial: Vec<f64>,
    /// δ; v* is v₀ + δ.
    pub delta: Vec<f32>,
    /// The key in the prompt without prefix: the input of the down-projection at the subject's last token.
    pub bare_key: Vec<f64>,
    /// The mean key over the prompts.
    pub mean_key: Vec<f64>,
    /// The mean key over the prompts whose subject does not end at the first token; over all if there is none.
    pub placed_key: Vec<f64>,
    /// ‖residual stream after the layer‖ at the subject's last token: in the prompt without prefix, and the mean over
    /// the prompts of `placed_key`.
    pub streams: [f64; 2],
    /// u of the update; empty unless [`Optimiser::optimise_update`] was called.
    pub direction: Vec<f64>,
    /// The share of δ that each prompt gets: 1 unless [`Optimiser::optimise_update`] was called.
    pub shares: Vec<f64>,
    /// The loss at each step.
    pub steps: Vec<Step>,
    /// Whether the last step reached `stop` or `margin`.
    pub converged: bool,
}

/// A model with its weights packed for forward and backward passes.
pub struct Optimiser {
    reader: Reader,
    reverse: Reverse,
}

impl Optimiser {
    /// For edits of layers `first` and later.
    pub fn new(reader: &Reader, first: usize) -> Optimiser {
        let reverse = Reverse::new(reader.packed(), reader.vocabulary(), first + 1);
        Optimiser {
            reader: reader.clone(),
            reverse,
        }
    }

    /// Optimises δ at a layer.
    ///
    /// # Errors
    /// [`EditError::Model`] if the model cannot be run; [`EditError::NotFinite`] for a loss or gradient that is not
    /// finite.
    pub fn optimise(
        &self,
        rewriting: &Rewriting,
        layer: usize,
        place: DeltaPlace,
        settings: &Optimisation,
    ) -> Result<Optimised> {
        self.optimise_if(rewriting, layer, place, settings, |_| Ok(()))
    }

    /// As [`Optimiser::optimise`]; `accept` gets the result before the first step, and may refuse it.
    ///
    /// # Errors
    /// As [`Optimiser::optimise`]; those of `accept`.
    pub fn optimise_if(
        &self,
        rewriting: &Rewriting,
        layer: usize,
        place: DeltaPlace,
        settings: &Optimisation,
        accept: impl FnOnce(&Optimised) -> Result<()>,
    ) -> Result<Optimised> {
        let loss = Loss::of(self, rewriting, layer, place)?;
        let found = loss.begin();
        accept(&found)?;
        descend(&loss, found, settings)
    }

    /// Optimises δ of the update δ·uᵀ / (uᵀk*), where k* is [`Optimised::placed_key`] and u = C⁻¹k*. A prompt with key k gets
    /// δ times its share uᵀk / (uᵀk*), as the edited weight adds it. `accept` gets the result before the first
    /// step, and may refuse it.
    ///
    /// # Errors
    /// As [`Optimiser::optimise`]; those of `accept`.
    pub fn optimise_update(
        &self,
        rewriting: &Rewriting,
        layer: usize,
        covariance: &Cholesky,
        settings: &Optimisation,
        accept: impl FnOnce(&Optimised) -> Result<()>,
    ) -> Result<Optimised> {
        let mut loss = Loss::of(self, rewriting, layer, DeltaPlace::Projection)?;
        let mut found = loss.begin();
        found.direction = covariance.solve(&found.placed_key);
        let direction = &found.direction;
        let along = |key: &[f64]| direction.iter().zip(key).map(|(u, k)| u * k).sum::<f64>();
        let whole = along(&found.placed_key);
        let share = |run: usize| along(&wide(loss.ending.neurons(run))) / whole;
        let shares: Vec<f64> = (0..loss.runs).map(share).collect();
        found.shares = shares;
        accept(&found)?;
        loss.shares = found.shares.iter().map(|s| *s as f32).collect();
        descend(&loss, found, settings)
    }
}

/// Steps of Adam until the loss or the margin is reached, or there are no more.
fn descend(loss: &Loss<'_>, mut found: Optimised, settings: &Optimisation) -> Result<Optimised> {
    let norm = length(found.initial.iter().copied());
    let d = found.delta.len();
    let (rate, scale, most) = match settings.relative {
        true => {
            let stream = found.streams[1];
            let rate = settings.rate * stream / (d as f64).sqrt();
            (rate, settings.decay / stream, settings.clamp * stream)
        }
        false => {
            let scale = settings.decay / (norm * norm);
            (settings.rate, scale, settings.clamp * norm)
        }
    };
    let mut moments = (vec![0f32; d], vec![0f32; d]);
    let mut original: Option<Vec<f64>> = None;
    for step in 1..=settings.steps.max(1) {
        let read = loss.read(&found.delta, &mut original);
        let size = length(found.delta.iter().map(|v| f64::from(*v)));
        let (nll, kl, decay) = (read.nll, settings.kl * read.kl, scale * size);
        let parts = Step {
            loss: nll + kl + decay,
            nll,
            kl,
            decay,
        };
        if !parts.loss.is_finite() {
            return Err(EditError::NotFinite {
                what: format!("the value at layer {}", loss.layer),
            });
        }
        found.steps.push(parts);
        let said = settings.margin > 0.0 && read.margin >= settings.margin;
        found.converged = said || parts.loss < settings.stop;
        if found.converged || step >= settings.steps {
            break;
        }
        let gradient = loss.gradient(&found.delta, read, settings.kl);
        // The gradient of ‖δ‖ is δ/‖δ‖, and 0 at 0.
        let pull = if size > 0.0 { scale / size } else { 0.0 } as f32;
        adam(
            &mut found.delta,
            |i, delta| gradient[i] + pull * delta,
            (&mut moments.0, &mut moments.1),
            rate,
            step,
        );
        let size = length(found.delta.iter().map(|v| f64::from(*v)));
        if size > most {
            let factor = (most / size) as f32;
            found.delta.iter_mut().for_each(|v| *v *= factor);
        }
    }
    Ok(found)
}

/// The loss as a function of δ.
struct Loss<'a> {
    ending: Ending<'a>,
    place: DeltaPlace,
    /// Number of prompts, the one of the KL divergence included.
    runs: usize,
    /// Rows whose logits are read: those of the answers, then that of the KL divergence.
    reads: Vec<(usize, usize)>,
    targets: Vec<u32>,
    vocab: usize,
    layer: usize,
    /// Index of the subject's last token in each run.
    starts: Vec<usize>,
    /// The share of δ that each run gets.
    shares: Vec<f32>,
}

/// The loss at one δ without its weights, and what its gradient needs.
struct Read {
    nll: f64,
    kl: f64,
    /// The least difference between the logit of a token of the answer and the largest of all others there.
    margin: f64,
    trace: Trace,
    logits: LogitRows,
    /// Log-probabilities after "{subject} is a", and their difference from the unedited model's.
    essence: (Vec<f64>, Vec<f64>),
}

impl<'a> Loss<'a> {
    fn of(
        optimiser: &'a Optimiser,
        rewriting: &Rewriting,
        layer: usize,
        place: DeltaPlace,
    ) -> Result<Loss<'a>> {
        let mut runs: Vec<Run> = (rewriting.prompts.iter())
            .map(|p| run(p.ids.read()))
            .collect();
        let mut starts: Vec<usize> = rewriting.prompts.iter().map(|p| p.subject).collect();
        let (mut reads, mut targets) = (Vec::new(), Vec::new());
        for (row, prompt) in rewriting.prompts.iter().enumerate() {
            let positions = prompt.ids.from - 1..prompt.ids.ids.len() - 1;
            reads.extend(positions.map(|p| (row, p - prompt.subject)));
            targets.extend_from_slice(prompt.ids.answer());
        }
        let (essence, at) = &rewriting.essence;
        // Tokens after the subject are not read.
        runs.push(run(&essence[..=*at]));
        starts.push(*at);
        reads.push((runs.len() - 1, 0));
        let (packed, vocabulary) = (optimiser.reader.packed(), optimiser.reader.vocabulary());
        Ok(Loss {
            ending: packed.ending(vocabulary, &optimiser.reverse, &runs, layer, &starts)?,
            place,
            runs: runs.len(),
            reads,
            targets,
            vocab: packed.shape().vocab,
            layer,
            shares: vec![1.0; runs.len()],
            starts,
        })
    }

    /// The result before the first step.
    fn begin(&self) -> Optimised {
        let initial = match self.place {
            DeltaPlace::Projection => wide(&self.ending.projected(0)),
            DeltaPlace::Residual => wide(self.ending.residual(0)),
        };
        let bare_key = wide(self.ending.neurons(0));
        let prompts: Vec<usize> = (0..self.runs - 1).collect();
        let mut placed: Vec<usize> = prompts.clone();
        placed.retain(|run| self.starts[*run] > 0);
        if placed.is_empty() {
            placed.clone_from(&prompts);
        }
        let stream = |run: &usize| length(wide(self.ending.residual(*run)).into_iter());
        let mean_stream = placed.iter().map(stream).sum::<f64>() / placed.len() as f64;
        Optimised {
            delta: vec![0.0; initial.len()],
            initial,
            bare_key,
            mean_key: self.mean_key(&prompts),
            placed_key: self.mean_key(&placed),
            streams: [stream(&0), mean_stream],
            direction: Vec::new(),
            shares: vec![1.0; self.runs],
            steps: Vec::new(),
            converged: false,
        }
    }

    fn mean_key(&self, runs: &[usize]) -> Vec<f64> {
        let mut mean = vec![0f64; self.ending.neurons(0).len()];
        for run in runs {
            let each = mean.iter_mut().zip(self.ending.neurons(*run));
            each.for_each(|(m, k)| *m += f64::from(*k) / runs.len() as f64);
        }
        mean
    }

    /// δ times a run's share.
    fn own(&self, run: usize, delta: &[f32]) -> Vec<f32> {
        delta.iter().map(|d| d * self.shares[run]).collect()
    }

    /// The answer's mean NLL and KL(edited ‖ original), at δ. The first call sets `original`.
    fn read(&self, delta: &[f32], original: &mut Option<Vec<f64>>) -> Read {
        let added = (0..self.runs).flat_map(|run| match self.place {
            DeltaPlace::Projection => self.ending.added(run, &self.own(run, delta)),
            DeltaPlace::Residual => delta.to_vec(),
        });
        let trace = self.ending.forward(&added.collect::<Vec<f32>>());
        let logits = self.ending.logits(&trace, &self.reads);
        let mut rows = logits.values.chunks_exact(self.vocab);
        let answers = self.targets.iter().zip(&mut rows);
        let mut margin = f64::INFINITY;
        let losses: Vec<f64> = answers
            .map(|(target, row)| {
                margin = margin.min(lead(row, *target as usize));
                -log_probability(row, *target as usize)
            })
            .collect();
        let said = rows.next().map(log_probabilities).unwrap_or_default();
        let original = original.get_or_insert_with(|| said.clone());
        let apart: Vec<f64> = said.iter().zip(&*original).map(|(a, b)| a - b).collect();
        Read {
            nll: losses.iter().sum::<f64>() / losses.len() as f64,
            kl: said.iter().zip(&apart).map(|(a, d)| a.exp() * d).sum(),
            margin,
            trace,
            logits,
            essence: (said, apart),
        }
    }

    /// The gradient of NLL + weight · KL at δ.
    fn gradient(&self, delta: &[f32], read: Read, factor: f64) -> Vec<f32> {
        let mut grad = vec![0f32; read.logits.values.len()];
        let share = 1.0 / self.targets.len() as f32;
        let rows = grad.chunks_exact_mut(self.vocab);
        let rows = rows.zip(read.logits.values.chunks_exact(self.vocab));
        for ((grad, row), target) in rows.zip(&self.targets) {
            probabilities(row, share, grad);
            grad[*target as usize] -= share;
        }
        // d KL / d logit = p · (log p − log p₀ − KL).
        let essence = &mut grad[self.targets.len() * self.vocab..];
        let (said, apart) = &read.essence;
        for ((grad, said), apart) in essence.iter_mut().zip(said).zip(apart) {
            *grad = (factor * said.exp() * (apart - read.kl)) as f32;
        }
        let of_runs = self.ending.backward(&read.trace, &read.logits, grad);
        let mut sum = vec![0f32; delta.len()];
        for (run, grad) in of_runs.chunks_exact(delta.len()).enumerate() {
            let grad = match self.place {
                DeltaPlace::Projection => {
                    let own = self.own(run, delta);
                    self.ending.added_gradient(run, &own, grad)
                }
                DeltaPlace::Residual => grad.to_vec(),
            };
            let share = self.shares[run];
            sum.iter_mut().zip(grad).for_each(|(s, g)| *s += share * g);
        }
        sum
    }
}

/// A step of Adam (Kingma & Ba 2015) with β = (0.9, 0.999) and ε = 10⁻⁸.
pub(crate) fn adam(
    weights: &mut [f32],
    gradient: impl Fn(usize, f32) -> f32,
    (mean, square): (&mut [f32], &mut [f32]),
    rate: f64,
    step: usize,
) {
    const BETA: (f32, f32) = (0.9, 0.999);
    const EPSILON: f32 = 1e-8;
    let corrected = |beta: f32| 1.0 - f64::from(beta).powi(step as i32);
    let size = (rate / corrected(BETA.0)) as f32;
    let root = corrected(BETA.1).sqrt() as f32;
    for (i, w) in weights.iter_mut().enumerate() {
        let g = gradient(i, *w);
        mean[i] += (1.0 - BETA.0) * (g - mean[i]);
        square[i] = BETA.1 * square[i] + (1.0 - BETA.1) * g * g;
        *w -= size * mean[i] / (square[i].sqrt() / root + EPSILON);
    }
}

/// A token's logit less the largest of the others.
fn lead(logits: &[f32], token: usize) -> f64 {
    let (before, after) = logits.split_at(token);
    let others = before.iter().chain(after.iter().skip(1));
    let most = others.copied().fold(f32::NEG_INFINITY, f32::max);
    f64::from(logits[token]) - f64::from(most)
}

fn wide(row: &[f32]) -> Vec<f64> {
    row.iter().map(|v| f64::from(*v)).collect()
}

fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}
