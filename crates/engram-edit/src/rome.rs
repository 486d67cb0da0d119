//! ROME: rank-one model editing (Meng et al. 2022, "Locating and Editing Factual Associations in GPT").
//!
//! W' = W + Λ·(C⁻¹k*)ᵀ with Λ = (v* − Wk) / ((C⁻¹k*)ᵀk): k* is the key averaged over prefixes, k the key at the bare
//! prompt, so that the edited module gives v* there exactly.

use engram_core::Fit;
use engram_model::Model;

use crate::cholesky::Cholesky;
use crate::delta::{Change, LowRank, WeightChange, down_projection};
use crate::error::{EditError, Result};
use crate::optimise::{Optimisation, Optimised, Optimiser, Place, Rewriting};
use crate::request::EditRequest;

/// What an edit came to.
#[derive(Debug, Clone)]
pub struct Rome {
    /// The change of the down-projection.
    pub change: WeightChange,
    /// How v* was found.
    pub found: Optimised,
}

impl Optimised {
    /// Its numbers.
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

/// Edits one layer's down-projection, with the model laid out for the optimisation beside it; `covariance` is the factor of its C, `prefixes` as
/// [`crate::prefixes::prefixes`] gives them.
///
/// # Errors
/// As [`Rewriting::of`] and [`Optimiser::optimise`]; [`EditError::NotFinite`].
pub fn rome(
    (model, optimiser): (&Model, &Optimiser),
    request: &EditRequest,
    layer: usize,
    covariance: &Cholesky,
    prefixes: &[String],
    settings: &Optimisation,
) -> Result<Rome> {
    crate::tokens::check_layer(model, layer)?;
    let rewriting = Rewriting::of(model, request, prefixes)?;
    let found = optimiser.optimise(&rewriting, layer, Place::Projection, settings)?;
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

/// The update of the formula; `None` where the keys do not determine it.
pub fn rank_one(found: &Optimised, covariance: &Cholesky) -> Option<LowRank> {
    let direction = covariance.solve(&found.mean_key);
    let along: f64 = direction
        .iter()
        .zip(&found.bare_key)
        .map(|(u, k)| u * k)
        .sum();
    // The scale of a rank-one product is shared out so that both factors are of a size that float32 holds well.
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
