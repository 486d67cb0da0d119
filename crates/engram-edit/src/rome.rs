//! ROME: rank-one model editing (Meng et al. 2022, "Locating and Editing Factual Associations in GPT").
//!
//! W' = W + Λ·(C⁻¹k*)ᵀ with Λ = (v* − Wk) / ((C⁻¹k*)ᵀk), where k* is the key averaged over prefixes and k the key in
//! the prompt without prefix. The edited layer then outputs v* for k exactly.

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
    let update = rank_one(&found, covariance).ok_or_else(|| EditError::NotFinite {
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

/// The rank-one update; `None` if the keys do not determine it.
pub fn rank_one(found: &Optimised, covariance: &Cholesky) -> Option<LowRank> {
    let direction = covariance.solve(&found.mean_key);
    let along: f64 = direction
        .iter()
        .zip(&found.bare_key)
        .map(|(u, k)| u * k)
        .sum();
    // The scale of a rank-one product is divided between its factors, so that both have magnitudes that float32
    // represents well.
    let norm = direction.iter().map(|u| u * u).sum::<f64>().sqrt();
    let outputs = found.delta.iter().map(|d| f64::from(*d) * norm / along);
    let update = LowRank {
        rank: 1,
        inputs: direction.iter().map(|u| (u / norm) as f32).collect(),
        outputs: outputs.map(|v| v as f32).collect(),
    };
    let all = update.inputs.iter().chain(&update.outputs);
    all.into_iter().all(|v| v.is_finite()).then_some(update)
}
