//! Corrupted runs that no suite writes down: noise on the subject, another pair's prompt.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::{PatchError, Result};
use crate::place::Tokens;
use crate::plan::Plan;
use crate::prepare::PreparedPair;
use crate::spec::SweepSpec;

/// Gaussian noise on the subject's token embeddings (Meng et al. 2022, causal tracing).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// Number of the sample.
    pub sample: usize,
    /// What it is drawn from.
    pub seed: u64,
    /// In standard deviations of the suite's subject embeddings.
    pub factor: f64,
    /// The subject's tokens.
    pub span: Tokens,
}

impl Noise {
    /// The samples of one pair.
    pub(crate) fn samples(
        spec: &SweepSpec,
        pair: &PreparedPair,
        factor: f64,
        index: usize,
    ) -> Result<Vec<Noise>> {
        let span = pair.subject.as_ref().filter(|s| !s.is_empty());
        let span = span.ok_or_else(|| PatchError::Pair {
            pair: pair.id.clone(),
            why: "gaussian noise falls on the subject, and the pair names none".to_owned(),
        })?;
        let mut rng = ChaCha8Rng::seed_from_u64(spec.seed);
        rng.set_stream(index as u64);
        let noise = |sample| Noise {
            sample,
            seed: rng.random(),
            factor,
            span: Tokens {
                start: span.start,
                end: span.end,
            },
        };
        Ok((0..spec.samples).map(noise).collect())
    }

    /// The noise itself, [tokens, d_model], `sigma` being the embeddings' standard deviation. Normal
    /// deviates by Box and Muller's transformation.
    pub fn draw(&self, sigma: f64, d_model: usize) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let scale = self.factor * sigma;
        let count = (self.span.end - self.span.start) * d_model;
        let mut values = Vec::with_capacity(count + 1);
        while values.len() < count {
            let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
            let angle = std::f64::consts::TAU * rng.random::<f64>();
            values.push((scale * radius * angle.cos()) as f32);
            values.push((scale * radius * angle.sin()) as f32);
        }
        values.truncate(count);
        values
    }
}

/// The tokens of all subjects of a plan, each pair counted once.
pub(crate) fn subject_tokens(plan: &Plan) -> Vec<u32> {
    let first = plan
        .pairs
        .iter()
        .filter(|p| p.noise.is_some_and(|n| n.sample == 0));
    let span = |p: &crate::plan::PairPlan| p.noise.map(|n| n.span.start..n.span.end);
    first
        .flat_map(|p| {
            span(p)
                .map(|s| p.pair.clean[s].to_vec())
                .unwrap_or_default()
        })
        .collect()
}

/// Standard deviation of all values.
pub(crate) fn deviation(values: &[f32]) -> f64 {
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let squares = values.iter().map(|v| (f64::from(*v) - mean).powi(2));
    (squares.sum::<f64>() / n).sqrt()
}

/// Each pair with another pair's clean prompt of equal length, drawn at random, for a corrupted one; the reason where
/// there is none.
pub(crate) fn resampled(
    pairs: &[PreparedPair],
    seed: u64,
) -> impl Iterator<Item = Result<PreparedPair>> {
    pairs.iter().enumerate().map(move |(index, pair)| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index as u64);
        let mut others: Vec<&PreparedPair> = (pairs.iter())
            .filter(|o| o.clean.len() == pair.clean.len() && o.clean != pair.clean)
            .collect();
        others.shuffle(&mut rng);
        let other = others.first().ok_or_else(|| PatchError::Pair {
            pair: pair.id.clone(),
            why: format!(
                "no other clean prompt of the suite has {} tokens to resample from",
                pair.clean.len()
            ),
        })?;
        Ok(PreparedPair {
            corrupt: other.clean.clone(),
            corrupt_tokens: other.clean_tokens.clone(),
            corrupt_subject: other.subject.clone(),
            ..pair.clone()
        })
    })
}
