//! Single heads and neurons: recovery of each, and which of them are shown to matter.

use std::collections::BTreeMap;

use engram_stats::{Interval, benjamini_hochberg, bootstrap_cluster_mean, mean, sign_flip};
use indexmap::IndexSet;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{Result, if_enough};
use crate::gate::{Gate, States};
use crate::layers::stats;
use crate::measure::{Measure, Scope};
use crate::profile::{Over, Selection};
use crate::sheet::PartSheet;

/// The least mean recovery, either way, of a part that is called one that matters: a fiftieth of the clean–corrupt gap.
/// With enough pairs a test against 0 finds effects of any size.
pub const LEAST_EFFECT: f64 = 0.02;

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

impl PartKind {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            PartKind::Head => "heads",
            PartKind::Neuron => "neurons",
        }
    }
}

/// What a part is shown to do: its p value, adjusted over all parts measured, is below the threshold, and its mean is at
/// least [`LEAST_EFFECT`] from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartEffect {
    /// Nothing is shown, or next to nothing.
    NotShown,
    /// It restores.
    Restores,
    /// It works against the answer.
    Opposes,
}

/// Recovery of every head, or of the neurons that matter most, of one measure, kind and role of the position.
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
    /// Adjusted over all that were measured, at all roles of the position (Benjamini–Hochberg).
    pub p_bh: Option<f64>,
    /// What it is shown to do.
    pub effect: PartEffect,
    /// Whether the graph alone fixes the recovery.
    pub trivial: bool,
}

/// Grids of all sheets, in their order: over all pairs, then by kind. p values are adjusted over the roles of the
/// position together.
pub(crate) fn part_grids(
    context: &Context<'_>,
    gate: &Gate,
    states: &States,
    sheets: &[PartSheet],
) -> Result<Vec<PartGrid>> {
    let named = context.kinds.iter().map(|k| Some(k.as_str()));
    let kinds = std::iter::once(None).chain(named.filter(|_| context.kinds.len() > 1));
    let kinds: Vec<Option<&str>> = kinds.collect();
    let mut grids = Vec::new();
    for sheet in sheets {
        for kind in &kinds {
            let selection = Selection::new(gate, states, *kind);
            let cells = of_sheet(context, &selection, sheet)?;
            if !cells.is_empty() {
                grids.push(PartGrid {
                    measure: sheet.measure.clone(),
                    part: sheet.part,
                    kind: kind.map(str::to_owned),
                    over: selection.over,
                    measured: cells.len(),
                    cells,
                });
            }
        }
    }
    adjust(&mut grids, context.settings.alpha())?;
    for grid in grids.iter_mut().filter(|g| g.part == PartKind::Neuron) {
        let cells = &mut grid.cells;
        cells.sort_by(|a, b| b.mean.abs().total_cmp(&a.mean.abs()));
        cells.truncate(MOST_NEURONS);
    }
    for grid in &mut grids {
        let sheet = (sheets.iter()).find(|s| s.measure == grid.measure && s.part == grid.part);
        let Some(sheet) = sheet else { continue };
        let selection = Selection::new(gate, states, grid.kind.as_deref());
        for cell in &mut grid.cells {
            cell.interval = interval(context, &selection, sheet, cell)?;
        }
    }
    Ok(grids)
}

fn of_sheet(
    context: &Context<'_>,
    selection: &Selection<'_>,
    sheet: &PartSheet,
) -> Result<Vec<PartCell>> {
    let mut cells = Vec::new();
    for (&place, by_pair) in &sheet.cells {
        let values: Vec<(usize, f64)> = (selection.cells(by_pair))
            .map(|(pair, _, r)| (pair, r))
            .collect();
        if !values.is_empty() {
            let trivial = selection.is_trivial(by_pair);
            cells.push(cell(context, place, &values, trivial)?);
        }
    }
    Ok(cells)
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
        effect: PartEffect::NotShown,
        trivial,
    })
}

/// Adjusts the p values of the grids that differ in the role of the position alone, and says what is shown.
fn adjust(grids: &mut [PartGrid], alpha: f64) -> Result<()> {
    let family = |g: &PartGrid| (g.measure.at(Scope::All), g.part, g.kind.clone());
    let families: IndexSet<_> = grids.iter().map(family).collect();
    for of in families {
        let mut cells: Vec<&mut PartCell> = (grids.iter_mut())
            .filter(|g| family(g) == of)
            .flat_map(|g| &mut g.cells)
            .filter(|c| c.p_value.is_some())
            .collect();
        let p: Vec<f64> = cells.iter().filter_map(|c| c.p_value).collect();
        if p.is_empty() {
            continue;
        }
        let adjusted = benjamini_hochberg(&p).map_err(|e| stats(what(), e))?;
        for (cell, p) in cells.iter_mut().zip(adjusted) {
            cell.p_bh = Some(p);
            cell.effect = match p < alpha && cell.mean.abs() >= LEAST_EFFECT {
                false => PartEffect::NotShown,
                true if cell.mean > 0.0 => PartEffect::Restores,
                true => PartEffect::Opposes,
            };
        }
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
