//! ROME: rank-one model editing (Meng et al. 2022, "Locating and Editing Factual Associations in GPT").
//!
//! W' = W + Λ·(C⁻¹k*)ᵀ with Λ = (v* − Wk) / ((C⁻¹k*)ᵀk), where k* is the key averaged over prefixes and k the key in
//! the prompt without prefix. The edited layer then outputs v* for k exactly.
//!
//! R-ROME (Gupta et al. 2024, "Rebuilding ROME") has k* in the denominator too: Λ = δ / ((C⁻¹k*)ᵀk*).

use engram_core::Fit;
use engram_model::LanguageModel;

use crate::cholesky::Cholesky;
use crate::delta::{Change, LowRank, WeightChange, down_projection};
use crate::error::{EditError, Result};
use crate::optimise::{DeltaPlace, Optimisation, Optimised, Optimiser, Rewriting};
use crate::request::EditRequest;

/// The result of an edit.
#[derive(Debug, Clone)]
pub struct Rome {
    /// The change of the down-projection.
    pub change: WeightChange,
    /// The optimisation of v*.
    pub found: Optimised,
}

impl Optimised {
    /// The numbers of the optimisation.
    pub fn fit(&self) -> Fit {
        let norm = |square: f64| square.sqrt();
        let delta = norm(self.delta.iter().map(|v| f64::from(*v).powi(2)).sum());
        let initial = norm(self.initial.iter().map(|v| v * v).sum());
        Fit {
            steps: self.steps.len(),
            loss: self.steps.last().map_or(0.0, |s| s.loss),
            size: delta / initial,
            converged: Some(self.converged),
        }
    }
}

/// Edits the down-projection of one layer. `optimiser` holds the packed model; `covariance` is the factor of the
/// layer's C, `prefixes` as from [`crate::prefixes::prefixes`].
///
/// # Errors
/// As [`Rewriting::of`] and [`Optimiser::optimise`]; [`EditError::NotFinite`] if the keys do not determine the update.
pub fn rome(
    (model, optimiser): (&LanguageModel, &Optimiser),
    request: &EditRequest,
    layer: usize,
    covariance: &Cholesky,
    prefixes: &[String],
    settings: &Optimisation,
) -> Result<Rome> {
    crate::tokens::check_layer(model, layer)?;
    let rewriting = Rewriting::of(model, request, prefixes)?;
    let found = optimiser.optimise(&rewriting, layer, DeltaPlace::Projection, settings)?;
    let update = rank_one(&found, covariance);
    of_update((model, layer), request, update, found)
}

/// Edits the down-projection of one layer with R-ROME. Arguments as in [`rome`]; `most` is the upper bound of ‖ΔW‖ / ‖W‖
/// (Frobenius).
///
/// # Errors
/// As [`rome`]; [`EditError::Outlier`] for a subject at the prompt's first token that behaves as no other place;
/// [`EditError::Large`] for an update beyond the bound.
pub fn r_rome(
    (model, optimiser): (&LanguageModel, &Optimiser),
    request: &EditRequest,
    layer: usize,
    covariance: &Cholesky,
    prefixes: &[String],
    (settings, most): (&Optimisation, f64),
) -> Result<Rome> {
    crate::tokens::check_layer(model, layer)?;
    let rewriting = Rewriting::of(model, request, prefixes)?;
    let accept = |found: &Optimised| refuse_outlier(request, &rewriting, layer, found, covariance);
    let found = optimiser.optimise_update(&rewriting, layer, covariance, settings, accept)?;
    let update = product(&found.direction, &found.placed_key, &found.delta);
    let made = of_update((model, layer), request, update, found)?;
    let ratio = made.change.relative_norm(model)?;
    match ratio <= most {
        true => Ok(made),
        false => Err(EditError::Large {
            request: request.id.clone(),
            layer,
            ratio,
            most,
        }),
    }
}

fn of_update(
    (model, layer): (&LanguageModel, usize),
    request: &EditRequest,
    update: Option<LowRank>,
    found: Optimised,
) -> Result<Rome> {
    let update = update.ok_or_else(|| EditError::NotFinite {
        what: request.id.clone(),
    })?;
    let (weight, transposed) = down_projection(model, layer)?;
    let change = WeightChange {
        weight,
        layer,
        transposed,
        change: Change::LowRank(update),
    };
    Ok(Rome { change, found })
}

/// The first token of a text is an attention sink in many models: its residual stream is many times as long as that of
/// other tokens and nearly the same for every text (Xiao et al. 2024; Sun et al. 2024, "Massive activations"). An edit
/// of its key changes every text, and what is added there moves no answer.
pub(crate) fn refuse_outlier(
    request: &EditRequest,
    rewriting: &Rewriting,
    layer: usize,
    found: &Optimised,
    covariance: &Cholesky,
) -> Result<()> {
    let is_first = rewriting.prompts.first().is_some_and(|p| p.subject == 0);
    if !is_first {
        return Ok(());
    }
    let [bare, placed] = found.streams;
    let direction = covariance.solve(&found.placed_key);
    let along = |key: &[f64]| direction.iter().zip(key).map(|(u, k)| u * k).sum::<f64>();
    let share = along(&found.bare_key) / along(&found.placed_key);
    let alone = rewriting.prompts.len() < 2;
    if alone || bare > MOST_STREAM * placed || share.is_nan() || share < LEAST_SHARE {
        return Err(EditError::Outlier {
            request: request.id.clone(),
            layer,
            share: 100.0 * share,
        });
    }
    Ok(())
}

/// A residual stream this many times as long as after prefixes is an outlier: streams of other tokens differ by less than
/// a factor of two, those of attention sinks by one to two orders of magnitude.
const MOST_STREAM: f64 = 4.0;

/// The least share of δ that the prompt without prefix must get.
const LEAST_SHARE: f64 = 0.5;

/// ROME's rank-one update; `None` if the keys do not determine it.
pub fn rank_one(found: &Optimised, covariance: &Cholesky) -> Option<LowRank> {
    let direction = covariance.solve(&found.mean_key);
    product(&direction, &found.bare_key, &found.delta)
}

/// δ·uᵀ / (uᵀ`at`): at the key `at` it adds δ. `None` if that is not finite.
fn product(direction: &[f64], at: &[f64], delta: &[f32]) -> Option<LowRank> {
    let along: f64 = direction.iter().zip(at).map(|(u, k)| u * k).sum();
    // The scale of a rank-one product is divided between its factors, so that both have magnitudes that float32
    // represents well.
    let norm = direction.iter().map(|u| u * u).sum::<f64>().sqrt();
    let outputs = delta.iter().map(|d| f64::from(*d) * norm / along);
    let update = LowRank {
        rank: 1,
        inputs: direction.iter().map(|u| (u / norm) as f32).collect(),
        outputs: outputs.map(|v| v as f32).collect(),
        keys: Vec::new(),
    };
    let all = update.inputs.iter().chain(&update.outputs);
    all.into_iter().all(|v| v.is_finite()).then_some(update)
}
