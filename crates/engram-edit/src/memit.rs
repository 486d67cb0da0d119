//! MEMIT: many edits at once, spread over several layers (Meng et al. 2023, "Mass-Editing Memory in a Transformer").
//!
//! For each fact, z is the target of the residual stream after the last of the layers, at the subject's last token. The
//! layers are changed in ascending order, each on the model edited so far: with the keys K of all facts and the
//! residual R = (z − h) / (number of layers left), Δ = R·Kᵀ(λC + K·Kᵀ)⁻¹, in float64, where C is the covariance of the
//! unedited model.

use engram_core::Site;
use engram_model::{Capture, LanguageModel};
use serde::{Deserialize, Serialize};

use crate::cholesky::Cholesky;
use crate::covariance::values;
use crate::delta::{Change, Delta, LowRank, Meta, WeightChange, down_projection};
use crate::error::{EditError, Result};
use crate::optimise::{DeltaPlace, Optimisation, Optimised, Optimiser, Rewriting};
use crate::tokens::{check_layer, padded, pick};

/// Maximum number of tokens in a batch.
const BATCH: usize = 2048;

/// Settings of MEMIT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemitSettings {
    /// Settings of the optimisation of z.
    pub optimisation: Optimisation,
    /// λ: weight of the covariance, in tokens; 0: chosen by `share`.
    pub lambda: f64,
    /// See [`Lambda::Share`].
    pub share: f64,
}

impl Default for MemitSettings {
    fn default() -> MemitSettings {
        MemitSettings {
            optimisation: Optimisation::relative(),
            lambda: 0.0,
            share: 0.8,
        }
    }
}

/// How λ, the weight of the covariance against the facts' keys, is chosen at a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lambda {
    /// λ itself, in tokens. The published 15,000 is for GPT-J's 16,384 neurons.
    Tokens(f64),
    /// λ at which the update gives the facts' own keys this share of their residuals in the mean: with
    /// G = KᵀC⁻¹K, tr(G(λI + G)⁻¹)/n. A single fact's share is h/(λ + h), h = kᵀC⁻¹k.
    Share(f64),
}

/// A fact's prompts and its target z. The first prompt has no prefix; each has the index of its subject's last token.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Token ids, and index of the subject's last token.
    pub prompts: Vec<(Vec<u32>, usize)>,
    /// z.
    pub value: Vec<f64>,
}

impl Target {
    /// Optimises z of a fact. `accept` gets the result before the first step, and may refuse it.
    ///
    /// # Errors
    /// As [`Optimiser::optimise`]; those of `accept`.
    pub fn of(
        optimiser: &Optimiser,
        rewriting: &Rewriting,
        last: usize,
        settings: &Optimisation,
        accept: impl FnOnce(&Optimised) -> Result<()>,
    ) -> Result<(Target, Optimised)> {
        let place = DeltaPlace::Residual;
        let found = optimiser.optimise_if(rewriting, last, place, settings, accept)?;
        let value = found.initial.iter().zip(&found.delta);
        let wanted = Target {
            prompts: (rewriting.prompts.iter())
                .map(|p| (p.ids.read().to_vec(), p.subject))
                .collect(),
            value: value.map(|(v, d)| v + f64::from(*d)).collect(),
        };
        Ok((wanted, found))
    }
}

/// The changes of the layers (ascending, each with the factor of its covariance) that move the facts' residual streams to
/// their targets. `progress` gets the number of layers done.
///
/// # Errors
/// [`EditError::Model`] for a layer that the model does not have; [`EditError::NotFinite`]; [`EditError::Unsupported`] for families with a norm after the MLP.
pub fn spread(
    model: &LanguageModel,
    facts: &[Target],
    factors: &[(usize, &Cholesky)],
    lambda: Lambda,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<WeightChange>> {
    if model.architecture().post_norms {
        return Err(EditError::Unsupported {
            what: "MEMIT",
            family: model.family().to_owned(),
            why: "what an MLP adds is normalised, and no linear image of its weight; use ROME",
        });
    }
    let Some(&(last, _)) = factors.last() else {
        return Ok(Vec::new());
    };
    let mut edited = model.clone();
    let mut changes = Vec::with_capacity(factors.len());
    for (done, &(layer, factor)) in factors.iter().enumerate() {
        check_layer(model, layer)?;
        let keys = keys(&edited, facts, layer)?;
        let now = residuals(&edited, facts, last)?;
        let left = (factors.len() - done) as f64;
        let directions = directions(factor, &keys, lambda).ok_or_else(|| EditError::NotFinite {
            what: format!("layer {layer}"),
        })?;
        let outputs = facts.iter().zip(&now).flat_map(|(fact, now)| {
            let pairs = fact.value.iter().zip(now);
            pairs.map(|(z, h)| ((z - h) / left) as f32)
        });
        let update = LowRank {
            rank: facts.len(),
            outputs: outputs.collect(),
            inputs: directions.iter().flatten().map(|v| *v as f32).collect(),
        };
        if update
            .inputs
            .iter()
            .chain(&update.outputs)
            .any(|v| !v.is_finite())
        {
            return Err(EditError::NotFinite {
                what: format!("layer {layer}"),
            });
        }
        let (weight, transposed) = down_projection(model, layer)?;
        let change = WeightChange {
            weight,
            layer,
            transposed,
            change: Change::LowRank(update),
        };
        let only = Delta {
            meta: Meta::default(),
            changes: vec![change],
        };
        edited = only.lay_over(&edited)?;
        changes.extend(only.changes);
        progress(done + 1);
    }
    Ok(changes)
}

/// (λC + KKᵀ)⁻¹K = C⁻¹K(λI + G)⁻¹ with G = KᵀC⁻¹K, a row for each key: one factor of C serves every λ. `None` if the keys do
/// not determine it.
fn directions(factor: &Cholesky, keys: &[Vec<f64>], lambda: Lambda) -> Option<Vec<Vec<f64>>> {
    let n = keys.len();
    let solved = factor.solve_all(keys);
    let gram: Vec<f64> = (solved.iter())
        .flat_map(|u| {
            keys.iter()
                .map(|k| u.iter().zip(k).map(|(u, k)| u * k).sum())
        })
        .collect();
    let lambda = match lambda {
        Lambda::Tokens(tokens) => tokens,
        Lambda::Share(share) => lambda_of(&gram, n, share)?,
    };
    let inner = shifted(&gram, n, lambda)?;
    let width = keys.first().map_or(0, Vec::len);
    let columns: Vec<Vec<f64>> = (0..width)
        .map(|i| solved.iter().map(|u| u[i]).collect())
        .collect();
    let columns = inner.solve_all(&columns);
    let row = |fact: usize| columns.iter().map(|c| c[fact]).collect();
    Some((0..n).map(row).collect())
}

/// The factor of λI + G.
fn shifted(gram: &[f64], n: usize, lambda: f64) -> Option<Cholesky> {
    let mut matrix = gram.to_vec();
    for i in 0..n {
        matrix[i * n + i] += lambda;
    }
    Cholesky::of(matrix, n)
}

/// λ at which the mean share of G is `share`, by bisection of log λ: the share falls with λ.
fn lambda_of(gram: &[f64], n: usize, share: f64) -> Option<f64> {
    let mean = (0..n).map(|i| gram[i * n + i]).sum::<f64>() / n.max(1) as f64;
    let found = |lambda: f64| -> Option<f64> {
        let inner = shifted(gram, n, lambda)?;
        let unit = |i: usize| (0..n).map(|j| f64::from(u8::from(i == j))).collect();
        let units: Vec<Vec<f64>> = (0..n).map(unit).collect();
        let inverse = inner.solve_all(&units);
        let trace: f64 = inverse.iter().enumerate().map(|(i, row)| row[i]).sum();
        Some(1.0 - lambda * trace / n.max(1) as f64)
    };
    let (mut low, mut high) = (1e-9f64.ln(), 1e9f64.ln());
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        // A matrix that has no factor is one with too small a λ.
        match found(mean * middle.exp()) {
            Some(now) if now < share => high = middle,
            _ => low = middle,
        }
    }
    let lambda = mean * high.exp();
    (lambda.is_finite() && lambda > 0.0).then_some(lambda)
}

/// Each fact's key at a layer: the mean over its prompts.
fn keys(model: &LanguageModel, facts: &[Target], layer: usize) -> Result<Vec<Vec<f64>>> {
    let prompts: Vec<&(Vec<u32>, usize)> = facts.iter().flat_map(|f| &f.prompts).collect();
    let all = at_subjects(model, &prompts, Site::MlpPost, layer)?;
    let mut rest = &all[..];
    let mut means = Vec::with_capacity(facts.len());
    for fact in facts {
        let (own, after) = rest.split_at(fact.prompts.len());
        rest = after;
        let mut mean = vec![0f64; own.first().map_or(0, Vec::len)];
        for key in own {
            for (m, k) in mean.iter_mut().zip(key) {
                *m += k / own.len() as f64;
            }
        }
        means.push(mean);
    }
    Ok(means)
}

/// The residual stream after a layer at the subject's last token of each prompt without prefix.
fn residuals(model: &LanguageModel, facts: &[Target], layer: usize) -> Result<Vec<Vec<f64>>> {
    let bare: Vec<&(Vec<u32>, usize)> = facts.iter().filter_map(|f| f.prompts.first()).collect();
    at_subjects(model, &bare, Site::ResidPost, layer)
}

fn at_subjects(
    model: &LanguageModel,
    prompts: &[&(Vec<u32>, usize)],
    site: Site,
    layer: usize,
) -> Result<Vec<Vec<f64>>> {
    let mut all = Vec::with_capacity(prompts.len());
    let longest = prompts.iter().map(|p| p.0.len()).max().unwrap_or(1);
    for batch in prompts.chunks((BATCH / longest).max(1)) {
        let rows: Vec<&[u32]> = batch.iter().map(|p| p.0.as_slice()).collect();
        let mut run = Capture::of([(site, Some(layer))]);
        model.network().residual(&padded(&rows), &mut run)?;
        let places: Vec<(usize, usize)> = batch.iter().map(|p| p.1).enumerate().collect();
        if let Some(value) = run.get(site, Some(layer)) {
            let picked = pick(value, &places)?;
            let width = picked.dim(1)?;
            all.extend(values(&picked)?.chunks(width).map(<[f64]>::to_vec));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::covariance::Covariance;

    fn value(i: usize, j: usize) -> f64 {
        ((i * 31 + j * 17 + i * j) % 23) as f64 / 23.0 - 0.5
    }

    fn covariance(n: usize) -> Covariance {
        let element = |i: usize, j: usize| {
            let sum: f64 = (0..20).map(|t| value(i, t) * value(j, t)).sum();
            sum + f64::from(u8::from(i == j))
        };
        Covariance {
            layer: 0,
            tokens: 20,
            width: n,
            values: (0..n * n).map(|at| element(at / n, at % n)).collect(),
        }
    }

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn directions_are_those_of_the_whole_matrix() {
        let (n, lambda) = (8, 2.5);
        let covariance = covariance(n);
        let keys: Vec<Vec<f64>> = (0..3)
            .map(|k| (0..n).map(|i| value(i + 3, k * 5 + 1)).collect())
            .collect();
        let factor = covariance.factor(0.0).unwrap();
        let found = directions(&factor, &keys, Lambda::Tokens(lambda)).unwrap();
        let mut whole: Vec<f64> = covariance.values.iter().map(|v| lambda * v).collect();
        for key in &keys {
            for (at, value) in whole.iter_mut().enumerate() {
                *value += key[at / n] * key[at % n];
            }
        }
        let expected = Cholesky::of(whole, n).unwrap().solve_all(&keys);
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 1e-10, "{found} for {expected}");
        }
    }

    #[test]
    fn a_share_is_what_the_facts_own_keys_get_in_the_mean() {
        let n = 8;
        let keys: Vec<Vec<f64>> = (0..3)
            .map(|k| (0..n).map(|i| value(i + 3, k * 5 + 1)).collect())
            .collect();
        let factor = covariance(n).factor(0.0).unwrap();
        for share in [0.2, 0.6, 0.95] {
            let found = directions(&factor, &keys, Lambda::Share(share)).unwrap();
            let own: f64 = found.iter().zip(&keys).map(|(u, k)| dot(u, k)).sum();
            assert!((own / 3.0 - share).abs() < 1e-6, "{own} for {share}");
        }
    }
}
