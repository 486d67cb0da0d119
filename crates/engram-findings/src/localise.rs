//! How localised are contributions over layers?

use engram_stats::{localisation, median};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::Result;
use crate::gate::{Gate, States};
use crate::layers::{matrix, stats};
use crate::measure::Measure;
use crate::profile::{Over, Selection};
use crate::sheet::Sheet;

/// Localisation indices of one kind, on contributions that add up (`attn_out`, `mlp_out` at all
/// positions), trivial layers left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LocalisationSummary {
    /// What was patched and read.
    #[serde(flatten)]
    pub measure: Measure,
    /// The kind.
    pub kind: String,
    /// Which pairs.
    pub over: Over,
    /// Layers that shares are taken over.
    pub layers: usize,
    /// Which of the pairs indices are taken of, and why not all; `None` where of all.
    #[serde(default)]
    pub which: Option<String>,
    /// Pairs whose indices are undefined: too little positive recovery in all layers together.
    pub undefined: usize,
    /// Median normalised entropy: 1 is spread evenly over layers, 0 is one layer.
    pub entropy: Option<f64>,
    /// Median Gini coefficient: 0 is spread evenly.
    pub gini: Option<f64>,
    /// Median of the least number of layers that hold 80 % of the recovery.
    pub layers_80: Option<f64>,
    /// Each pair whose indices are defined.
    pub pairs: Vec<PairLocalisation>,
}

/// One pair's indices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairLocalisation {
    /// The pair's id.
    pub pair: String,
    /// Normalised entropy.
    pub entropy: f64,
    /// Gini coefficient.
    pub gini: f64,
    /// Layers that hold 80 %.
    pub layers_80: usize,
    /// Sum of max(R, 0).
    pub total: f64,
}

/// Indices of one kind; `None` where no pair of it is selected or fewer than two layers are left.
pub(crate) fn localise(
    context: &Context<'_>,
    gate: &Gate,
    states: &States,
    sheet: &Sheet,
    kind: &str,
) -> Result<Option<LocalisationSummary>> {
    let selection = Selection::new(gate, states, Some(kind));
    let matrix = matrix(&selection, sheet);
    if matrix.pairs.is_empty() || matrix.layers.len() < 2 {
        return Ok(None);
    }
    let pairs: Vec<PairLocalisation> = matrix
        .pairs
        .iter()
        .zip(&matrix.rows)
        .filter_map(|(&pair, row)| {
            let found = localisation(row)?;
            Some(PairLocalisation {
                pair: context.pairs[pair].id.clone(),
                entropy: found.entropy,
                gini: found.gini,
                layers_80: found.layers_80,
                total: found.total,
            })
        })
        .collect();
    let middle = |f: fn(&PairLocalisation) -> f64| -> Result<Option<f64>> {
        let values: Vec<f64> = pairs.iter().map(f).collect();
        if values.is_empty() {
            return Ok(None);
        }
        let found = median(&values);
        Ok(Some(
            found.map_err(|e| stats("localisation".to_owned(), e))?,
        ))
    };
    Ok(Some(LocalisationSummary {
        measure: sheet.measure.clone(),
        kind: kind.to_owned(),
        over: selection.over,
        layers: matrix.layers.len(),
        which: matrix.which(),
        undefined: matrix.pairs.len() - pairs.len(),
        entropy: middle(|p| p.entropy)?,
        gini: middle(|p| p.gini)?,
        layers_80: middle(|p| p.layers_80 as f64)?,
        pairs,
    }))
}
