//! Single heads and neurons: recovery of each, and which of them are shown to carry some.

use std::collections::BTreeMap;

use engram_stats::{Interval, benjamini_hochberg, bootstrap_cluster_mean, mean, sign_flip};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{Result, if_enough};
use crate::gate::{Gate, States};
use crate::layers::stats;
use crate::measure::Measure;
use crate::profile::{Over, Selection, is_trivial};
use crate::sheet::PartSheet;

/// The most neurons that are kept of a measure: those with the largest recovery, either way.
const MOST_NEURONS: usize = 60;

/// What the cells of a sweep are parts of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// Attention heads; key-value heads at `k` and `v` where queries are grouped.
    Head,
    /// MLP neurons; of a group, its first.
    Neuron,
}

/// Recovery of every head, or of the neurons that matter most, of one measure and kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartGrid {
    /// What was patched and read.
    #[serde(flatten)]
    pub measure: Measure,
    /// Heads or neurons.
    pub part: PartKind,
    /// The kind; `None` is all pairs together.
    pub kind: Option<String>,
    /// Which pairs.
    pub over: Over,
    /// How many were measured.
    pub measured: usize,
    /// Heads in the order of layers; neurons by size of the mean, the largest first.
    pub cells: Vec<PartCell>,
}

/// One head or neuron.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartCell {
    /// Its layer.
    pub layer: i64,
    /// Its number.
    pub index: i64,
    /// Pairs with a recovery.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Bootstrap interval of the mean, clusters resampled; `None` with fewer than two.
    pub interval: Option<Interval>,
    /// Sign flips of cluster means against 0, two-sided; `None` where the graph fixes the recovery.
    pub p_value: Option<f64>,
    /// Adjusted over all that were measured (Benjamini–Hochberg).
    pub p_bh: Option<f64>,
    /// Whether the graph alone fixes the recovery.
    pub trivial: bool,
}

/// Grids of one sheet: over all pairs, then by kind.
pub(crate) fn part_grids(
    context: &Context<'_>,
    gate: &Gate,
    states: &States,
    sheet: &PartSheet,
) -> Result<Vec<PartGrid>> {
    let named = context.kinds.iter().map(|k| Some(k.as_str()));
    let kinds = std::iter::once(None).chain(named.filter(|_| context.kinds.len() > 1));
    let mut grids = Vec::new();
    for kind in kinds {
        let selection = Selection::new(gate, states, kind);
        let mut cells = Vec::new();
        for (&(layer, index), by_pair) in &sheet.cells {
            let values: Vec<(usize, f64)> = selection
                .cells(by_pair)
                .map(|(pair, _, r)| (pair, r))
                .collect();
            if values.is_empty() {
                continue;
            }
            cells.push(cell(context, (layer, index), &values, is_trivial(by_pair))?);
        }
        if cells.is_empty() {
            continue;
        }
        adjust(&mut cells)?;
        let measured = cells.len();
        if sheet.part == PartKind::Neuron {
            cells.sort_by(|a, b| b.mean.abs().total_cmp(&a.mean.abs()));
            cells.truncate(MOST_NEURONS);
        }
        for cell in &mut cells {
            cell.interval = interval(context, &selection, sheet, cell)?;
        }
        grids.push(PartGrid {
            measure: sheet.measure.clone(),
            part: sheet.part,
            kind: kind.map(str::to_owned),
            over: selection.over,
            measured,
            cells,
        });
    }
    Ok(grids)
}

fn what() -> String {
    "recovery of heads and neurons".to_owned()
}

fn cell(
    context: &Context<'_>,
    (layer, index): (i64, i64),
    values: &[(usize, f64)],
    trivial: bool,
) -> Result<PartCell> {
    let plain: Vec<f64> = values.iter().map(|(_, v)| *v).collect();
    let clusters = context.cluster_means(values.iter().copied());
    let settings = &context.settings;
    let test = match trivial || clusters.len() < 2 {
        true => None,
        false => if_enough(
            sign_flip(&clusters, settings.permutations, settings.seed),
            what,
        )?
        .ok(),
    };
    Ok(PartCell {
        layer,
        index,
        n: plain.len(),
        mean: mean(&plain).map_err(|e| stats(what(), e))?,
        interval: None,
        p_value: test.map(|t| t.p_value),
        p_bh: None,
        trivial,
    })
}

fn adjust(cells: &mut [PartCell]) -> Result<()> {
    let p: Vec<f64> = cells.iter().filter_map(|c| c.p_value).collect();
    if p.is_empty() {
        return Ok(());
    }
    let adjusted = benjamini_hochberg(&p).map_err(|e| stats(what(), e))?;
    let tested = cells.iter_mut().filter(|c| c.p_value.is_some());
    for (cell, p) in tested.zip(adjusted) {
        cell.p_bh = Some(p);
    }
    Ok(())
}

fn interval(
    context: &Context<'_>,
    selection: &Selection<'_>,
    sheet: &PartSheet,
    cell: &PartCell,
) -> Result<Option<Interval>> {
    let settings = &context.settings;
    let empty = BTreeMap::new();
    let by_pair = sheet.cells.get(&(cell.layer, cell.index)).unwrap_or(&empty);
    let values: Vec<(usize, f64)> = selection
        .cells(by_pair)
        .map(|(pair, _, r)| (context.clusters[pair], r))
        .collect();
    let found = bootstrap_cluster_mean(&values, settings.resamples, settings.level, settings.seed);
    Ok(if_enough(found, what)?.ok())
}
