//! Edits with a known answer, for calibrating tests and for looking at reports. Nothing here is a result: every row is
//! drawn from a seeded generator.

use engram_core::{
    Continuation, Direction, EditRow, FactChange, Fit, LanguageEffect, Method, Metric, Pair,
    ProbeEffect, Score, Site, WinRate,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::editing::EditResults;
use crate::study::Condition;

/// What the simulated edits are like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EditSimulation {
    /// Layers, each edited by itself.
    pub layers: usize,
    /// The planted layer.
    pub best: usize,
    /// How much better edits hold there, in probability; 0 is a null over layers.
    pub layer_effect: f64,
    /// How much better edits of the definitional kind hold at every layer; 0 is a null between kinds.
    pub kind_effect: f64,
    /// How much better an edit holds for each unit of recovery of `mlp_out` there; 0 is a null of Hase et al.'s.
    pub recovery_effect: f64,
    /// Standard deviation of a fact's own luck at a layer.
    pub spread: f64,
    /// Seed.
    pub seed: u64,
}

impl Default for EditSimulation {
    fn default() -> EditSimulation {
        EditSimulation {
            layers: 6,
            best: 2,
            layer_effect: 0.0,
            kind_effect: 0.0,
            recovery_effect: 0.0,
            spread: 0.3,
            seed: 0,
        }
    }
}

impl EditSimulation {
    /// Edits of every pair of a suite in a model whose sweep is `condition`.
    pub fn results(&self, suite: &[Pair], condition: &Condition) -> EditResults {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut results = EditResults {
            name: "each".to_owned(),
            model: condition.name.clone(),
            method: Method::Rome,
            facts: suite.len(),
            says: suite.len(),
            prefers: Some(suite.len()),
            ..EditResults::default()
        };
        let recovery = |pair: &Pair, layer: usize| {
            let found = condition.rows.iter().find(|r| {
                let cell = r.site == Site::MlpOut && r.layer == Some(layer as i64);
                r.pair == pair.id
                    && cell
                    && r.metric == Metric::LogitDiff
                    && r.direction == Direction::Denoise
            });
            found.and_then(|r| r.recovery).unwrap_or(0.0)
        };
        for layer in 0..self.layers {
            for (i, pair) in suite.iter().enumerate() {
                let mut held = 0.1 + self.recovery_effect * recovery(pair, layer);
                held += if layer == self.best {
                    self.layer_effect
                } else {
                    0.0
                };
                held += if pair.kind == "definitional" {
                    self.kind_effect
                } else {
                    0.0
                };
                // A mean of uniform draws is near enough to normal.
                let mut luck = || {
                    let sum: f64 = (0..12).map(|_| random.random::<f64>()).sum();
                    self.spread * (sum - 6.0)
                };
                let own = held + luck();
                let wordings = [own + 0.5 * luck(), own + 0.5 * luck()];
                let kept: Vec<f64> = (0..10).map(|_| 0.4 + luck()).collect();
                let before = Score {
                    efficacy: won(&[-0.4]),
                    paraphrase: won(&[-0.4, -0.3]),
                    neighbourhood: won(&[0.4; 10]),
                };
                results.rows.push(EditRow {
                    request: pair.id.clone(),
                    kind: Some(pair.kind.clone()),
                    relation: pair.relation.clone(),
                    method: Method::Rome,
                    layers: vec![layer],
                    position: 1,
                    says: Some(true),
                    prefers: Some(true),
                    before,
                    after: Score {
                        efficacy: won(&[own]),
                        paraphrase: won(&wordings),
                        neighbourhood: won(&kept),
                    },
                    fit: Fit {
                        steps: 20,
                        loss: 0.05,
                        size: 2.0,
                        converged: Some(true),
                    },
                });
                let perplexity = [20.0, 20.0 + luck().abs()];
                results.asides.push(LanguageEffect {
                    request: pair.id.clone(),
                    kind: Some(pair.kind.clone()),
                    layers: vec![layer],
                    perplexity: Some(perplexity),
                    fluency: Some([5.0, 5.0 - luck().abs()]),
                    probe: Some(ProbeEffect {
                        changed: luck().abs().min(1.0),
                        kl: luck().powi(2),
                    }),
                });
                results.said.push(Continuation {
                    request: pair.id.clone(),
                    kind: Some(pair.kind.clone()),
                    layers: vec![layer],
                    prompt: pair.clean.clone(),
                    target_true: Some(pair.answer.trim().to_owned()),
                    target_new: pair.foil.trim().to_owned(),
                    before: pair.answer.clone(),
                    after: if own > 0.0 {
                        pair.foil.clone()
                    } else {
                        pair.answer.clone()
                    },
                });
                for (j, other) in suite.iter().enumerate().filter(|(j, _)| *j != i) {
                    let near = pair.relation == other.relation;
                    let change = if near { -0.3 } else { -0.05 } + 0.3 * luck();
                    results.moved.push(FactChange {
                        request: pair.id.clone(),
                        fact: suite[j].id.clone(),
                        layers: vec![layer],
                        change,
                        lost: change < -0.45,
                    });
                }
            }
        }
        results
    }
}

/// Differences of probability as a score.
fn won(differences: &[f64]) -> Option<WinRate> {
    let n = differences.len() as f64;
    let within = differences.iter().map(|d| d.clamp(-1.0, 1.0));
    Some(WinRate {
        score: within.clone().filter(|d| *d > 0.0).count() as f64 / n,
        said: Some(within.clone().filter(|d| *d > 0.2).count() as f64 / n),
        probability: Some(within.clone().map(|d| 0.5 + d / 2.0).sum::<f64>() / n),
        magnitude: within.sum::<f64>() / n,
    })
}
