//! AdamW (Loshchilov & Hutter 2019), one pass over all parameters stored as one vector.

use std::ops::Range;

use engram_model::training::Flat;
use rayon::prelude::*;

/// β₁ of every preset.
pub const BETA_1: f64 = 0.9;
/// β₂ of every preset; the setting `beta_2` replaces it.
pub const BETA_2: f64 = 0.999;
/// ε of every preset.
pub const EPSILON: f64 = 1e-8;

/// Elements of one task: fixed, so that the partial sums of the norm are added in the same order for any number of
/// threads.
const CHUNK: usize = 1 << 15;

/// Whether weight decay applies to a parameter: not to biases and LayerNorm weights, as in the transformers library.
/// Embeddings are decayed.
pub fn decayed(name: &str) -> bool {
    !name.ends_with(".bias") && !name.split('.').any(|part| part.starts_with("ln_"))
}

/// The optimizer's state: first and second moments, and the number of steps.
pub struct AdamW {
    first: Vec<f32>,
    second: Vec<f32>,
    /// Ranges of at most [`CHUNK`] elements of one parameter, with their weight decay.
    stretches: Vec<(Range<usize>, f64)>,
    steps: i32,
    beta_2: f64,
}

/// The result of an optimizer step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepResult {
    /// The gradient's norm over all parameters, before clipping.
    pub grad_norm: f64,
    /// Whether the weights were updated; they are not if the norm is not finite.
    pub applied: bool,
}

impl AdamW {
    /// Moments of zero. `decays` tells by a parameter's name whether `weight_decay` applies to it.
    pub fn new(weights: &Flat, weight_decay: f64, decays: impl Fn(&str) -> bool) -> AdamW {
        let mut stretches = Vec::new();
        for (name, range) in weights.ranges() {
            let decay = if decays(name) { weight_decay } else { 0.0 };
            for start in range.clone().step_by(CHUNK) {
                stretches.push((start..(start + CHUNK).min(range.end), decay));
            }
        }
        AdamW {
            first: vec![0.0; weights.values().len()],
            second: vec![0.0; weights.values().len()],
            stretches,
            steps: 0,
            beta_2: BETA_2,
        }
    }

    /// The same optimizer with another β₂.
    pub fn with_beta_2(self, beta_2: f64) -> AdamW {
        AdamW { beta_2, ..self }
    }

    /// β₂, the decay rate of the second moments.
    pub fn beta_2(&self) -> f64 {
        self.beta_2
    }

    /// Weight decay of the parameter that begins at element `start`.
    pub(crate) fn decay_at(&self, start: usize) -> f64 {
        let found = self
            .stretches
            .iter()
            .find(|(range, _)| range.start == start);
        found.map_or(0.0, |(_, decay)| *decay)
    }

    /// The factor that scales a gradient of norm `norm` down to `max_norm` (0: no limit); 1 if it is not longer.
    pub(crate) fn clip(norm: f64, max_norm: f64) -> f64 {
        // The 1e-6 is PyTorch's, in clip_grad_norm_.
        match max_norm > 0.0 {
            true => (max_norm / (norm + 1e-6)).min(1.0),
            false => 1.0,
        }
    }

    /// First and second moments, and the number of steps.
    pub fn state_mut(&mut self) -> (&mut [f32], &mut [f32], &mut i32) {
        (&mut self.first, &mut self.second, &mut self.steps)
    }

    /// One step with the gradient g = Σ `parts`, scaled down if its norm exceeds `max_norm` (0: no limit):
    ///
    /// m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², w ← w − lr·decay·w − lr·m̂/(√v̂ + ε)
    ///
    /// with the bias-corrected moments m̂ and v̂. Sets `parts` to zero.
    pub fn step(
        &mut self,
        weights: &mut Flat,
        parts: &mut [Flat],
        rate: f64,
        max_norm: f64,
    ) -> StepResult {
        let Some((total, rest)) = parts.split_first_mut() else {
            return StepResult {
                grad_norm: 0.0,
                applied: false,
            };
        };
        let total = total.values_mut();
        let rest: Vec<&mut [f32]> = rest.iter_mut().map(Flat::values_mut).collect();
        let grad_norm = gather(total, rest);
        if !grad_norm.is_finite() {
            total.fill(0.0);
            return StepResult {
                grad_norm,
                applied: false,
            };
        }
        self.steps += 1;
        let clip = AdamW::clip(grad_norm, max_norm);
        let corrected = rate / (1.0 - BETA_1.powi(self.steps));
        let root = (1.0 - self.beta_2.powi(self.steps)).sqrt();
        let beta_2 = self.beta_2;
        let (mut w, mut g) = (weights.values_mut(), total);
        let (mut m, mut v) = (self.first.as_mut_slice(), self.second.as_mut_slice());
        let mut tasks = Vec::with_capacity(self.stretches.len());
        for (range, decay) in &self.stretches {
            let n = range.len();
            let keep = (1.0 - rate * decay) as f32;
            tasks.push((
                take(&mut w, n),
                take(&mut g, n),
                take(&mut m, n),
                take(&mut v, n),
                keep,
            ));
        }
        tasks.into_par_iter().for_each(|(w, g, m, v, keep)| {
            update(
                w,
                g,
                m,
                v,
                [keep, clip as f32, corrected as f32, root as f32],
                beta_2,
            );
        });
        StepResult {
            grad_norm,
            applied: true,
        }
    }
}

/// Splits off the first `n` elements.
fn take<'a>(slice: &mut &'a mut [f32], n: usize) -> &'a mut [f32] {
    let (head, tail) = std::mem::take(slice).split_at_mut(n);
    *slice = tail;
    head
}

/// Adds the other parts to the first, sets them to zero and returns the norm of the sum.
fn gather(total: &mut [f32], rest: Vec<&mut [f32]>) -> f64 {
    let mut chunks: Vec<Vec<&mut [f32]>> = total.chunks_mut(CHUNK).map(|c| vec![c]).collect();
    for part in rest {
        for (chunk, other) in chunks.iter_mut().zip(part.chunks_mut(CHUNK)) {
            chunk.push(other);
        }
    }
    let squares: Vec<f64> = chunks
        .into_par_iter()
        .map(|mut chunk| {
            let (total, rest) = chunk.split_at_mut(1);
            for other in rest {
                for (t, o) in total[0].iter_mut().zip(other.iter_mut()) {
                    *t += *o;
                    *o = 0.0;
                }
            }
            square_sum(total[0])
        })
        .collect();
    squares.iter().sum::<f64>().sqrt()
}

/// Σ x² in float64, in several running sums so that it compiles to vector code.
fn square_sum(x: &[f32]) -> f64 {
    let mut lanes = [0f64; 8];
    let chunks = x.chunks_exact(8);
    let rest: f64 = chunks.remainder().iter().map(|v| f64::from(v * v)).sum();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(*v) * f64::from(*v);
        }
    }
    rest + lanes.iter().sum::<f64>()
}

fn update(
    w: &mut [f32],
    g: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
    factors: [f32; 4],
    beta_2: f64,
) {
    let [keep, clip, rate, root] = factors;
    let (b1, b2, epsilon) = (BETA_1 as f32, beta_2 as f32, EPSILON as f32);
    let (c1, c2) = ((1.0 - BETA_1) as f32, (1.0 - beta_2) as f32);
    for (((w, g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
        let grad = *g * clip;
        *g = 0.0;
        *m = b1 * *m + c1 * grad;
        *v = b2 * *v + c2 * grad * grad;
        *w = keep * *w - rate * *m / (v.sqrt() / root + epsilon);
    }
}
