//! MEMIT: many edits at once, spread over several layers (Meng et al. 2023, "Mass-Editing Memory in a Transformer").
//!
//! For each fact, z is the target of the residual stream after the last of the layers, at the subject's last token. The
//! layers are changed in ascending order, each on the model edited so far: with the keys K of all facts and the
//! residual R = (z − h) / (number of layers left), Δ = R·Kᵀ(λC + K·Kᵀ)⁻¹, in float64, where C is the covariance of the
//! unedited model. AlphaEdit spreads its updates in the same way ([`crate::least_squares`] has both formulas).

use engram_core::Site;
use engram_model::{Capture, LanguageModel};
use serde::{Deserialize, Serialize};

use crate::covariance::values;
use crate::delta::{Change, Delta, LowRank, Meta, WeightChange, down_projection};
use crate::error::{EditError, Result};
use crate::least_squares::{Lambda, Preserved, directions};
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

/// The changes of the layers (ascending, each with what it leaves alone) that move the facts' residual streams to
/// their targets. `progress` gets the number of layers done.
///
/// # Errors
/// [`EditError::Model`] for a layer that the model does not have; [`EditError::NotFinite`]; [`EditError::Unsupported`] for families with a norm after the MLP.
pub fn spread(
    model: &LanguageModel,
    facts: &[Target],
    preserved: &[(usize, Preserved<'_>)],
    lambda: Lambda,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<WeightChange>> {
    if model.architecture().post_norms {
        return Err(EditError::Unsupported {
            what: "MEMIT and AlphaEdit",
            family: model.family().to_owned(),
            why: "what an MLP adds is normalised, and no linear image of its weight; use ROME",
        });
    }
    let Some(&(last, _)) = preserved.last() else {
        return Ok(Vec::new());
    };
    let mut edited = model.clone();
    let mut changes = Vec::with_capacity(preserved.len());
    for (done, &(layer, kept)) in preserved.iter().enumerate() {
        check_layer(model, layer)?;
        let keys = keys(&edited, facts, layer)?;
        let now = residuals(&edited, facts, last)?;
        let left = (preserved.len() - done) as f64;
        let directions = directions(kept, &keys, lambda).ok_or_else(|| EditError::NotFinite {
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
            keys: keys.iter().flatten().map(|v| *v as f32).collect(),
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
