//! Heads and neurons of two sweeps, compared pair by pair.

use std::collections::BTreeMap;

use engram_stats::{Interval, benjamini_hochberg, bootstrap_cluster_mean, mean, sign_flip};
use indexmap::IndexSet;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{Result, if_enough};
use crate::layers::stats;
use crate::measure::{Measure, Scope};
use crate::parts::{LEAST_EFFECT, PartKind};
use crate::profile::{Over, Selection};
use crate::sheet::{ByPair, PartSheet};
use crate::words::{list, number};

/// The most parts that a sentence names.
const NAMED: usize = 10;

/// The heads or neurons of one measure and role of the position, in two conditions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartComparison {
    /// What was patched and read.
    #[serde(flatten)]
    pub measure: Measure,
    /// Heads or neurons.
    pub part: PartKind,
    /// Which pairs.
    pub over: Over,
    /// Parts that only one of the two has, or that have no pair of both: not compared.
    pub unmatched: usize,
    /// The parts, the largest difference first.
    pub cells: Vec<PartDifference>,
}

/// One head or neuron: recovery of `to` less that of `from`, pair by pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartDifference {
    /// Its layer.
    pub layer: i64,
    /// Its number.
    pub index: i64,
    /// Pairs with a recovery in both that the graph does not fix.
    pub n: usize,
    /// Mean recovery in `from`.
    pub mean_from: f64,
    /// Mean recovery in `to`.
    pub mean_to: f64,
    /// Mean difference over pairs.
    pub difference: f64,
    /// Its bootstrap interval, clusters resampled; `None` with fewer than two.
    pub interval: Option<Interval>,
    /// Sign flips of the cluster means of the difference, two-sided; `None` with fewer than two clusters.
    pub p_value: Option<f64>,
    /// Adjusted over all parts compared, at all roles of the position (Benjamini–Hochberg).
    pub p_bh: Option<f64>,
    /// Whether a difference is shown: the adjusted p is below the threshold, and the difference at least
    /// [`LEAST_EFFECT`], either way.
    pub shown: bool,
}

fn what() -> String {
    "the comparison of heads and neurons".to_owned()
}

/// Compares the parts that both sheets have; `None` where there is none with a pair of both.
pub(crate) fn compare_parts(
    context: &Context<'_>,
    selections: [&Selection<'_>; 2],
    [from, to]: [&PartSheet; 2],
) -> Result<Option<PartComparison>> {
    let mut cells = Vec::new();
    for (place, of_from) in &from.cells {
        if let Some(of_to) = to.cells.get(place) {
            cells.extend(of_part(context, selections, *place, [of_from, of_to])?);
        }
    }
    if cells.is_empty() {
        return Ok(None);
    }
    // Equal differences keep the order of the parts.
    cells.sort_by(|a, b| b.difference.abs().total_cmp(&a.difference.abs()));
    let both = from
        .cells
        .keys()
        .filter(|k| to.cells.contains_key(k))
        .count();
    Ok(Some(PartComparison {
        measure: from.measure.clone(),
        part: from.part,
        over: selections[0].over,
        unmatched: from.cells.len() + to.cells.len() - both - cells.len(),
        cells,
    }))
}

fn of_part(
    context: &Context<'_>,
    [select_from, select_to]: [&Selection<'_>; 2],
    (layer, index): (i64, i64),
    [from, to]: [&ByPair; 2],
) -> Result<Option<PartDifference>> {
    let open = |selection: &Selection<'_>, cells: &ByPair| -> BTreeMap<usize, f64> {
        match selection.is_trivial(cells) {
            true => BTreeMap::new(),
            false => selection.cells(cells).map(|(p, _, r)| (p, r)).collect(),
        }
    };
    let (from, to) = (open(select_from, from), open(select_to, to));
    let both: Vec<(usize, f64, f64)> = (from.iter())
        .filter_map(|(pair, from)| Some((*pair, *from, *to.get(pair)?)))
        .collect();
    if both.is_empty() {
        return Ok(None);
    }
    let average = |f: fn(&(usize, f64, f64)) -> f64| {
        let values: Vec<f64> = both.iter().map(f).collect();
        mean(&values).map_err(|e| stats(what(), e))
    };
    let settings = &context.settings;
    let clusters = context.cluster_means(both.iter().map(|(p, a, b)| (*p, b - a)));
    let test = match clusters.len() < 2 {
        true => None,
        false => if_enough(
            sign_flip(&clusters, settings.permutations, settings.seed),
            what,
        )?
        .ok(),
    };
    let differences: Vec<(usize, f64)> = (both.iter())
        .map(|(p, a, b)| (context.clusters[*p], b - a))
        .collect();
    let interval = bootstrap_cluster_mean(
        &differences,
        settings.resamples,
        settings.level,
        settings.seed,
    );
    Ok(Some(PartDifference {
        layer,
        index,
        n: both.len(),
        mean_from: average(|v| v.1)?,
        mean_to: average(|v| v.2)?,
        difference: average(|v| v.2 - v.1)?,
        interval: if_enough(interval, what)?.ok(),
        p_value: test.map(|t| t.p_value),
        p_bh: None,
        shown: false,
    }))
}

/// Adjusts p over the roles of the position together, and says what is shown.
pub(crate) fn correct(all: &mut [PartComparison], alpha: f64) -> Result<()> {
    let family = |c: &PartComparison| (c.measure.at(Scope::All), c.part);
    let families: IndexSet<_> = all.iter().map(family).collect();
    for of in families {
        let mut cells: Vec<&mut PartDifference> = (all.iter_mut())
            .filter(|c| family(c) == of)
            .flat_map(|c| &mut c.cells)
            .filter(|c| c.p_value.is_some())
            .collect();
        let p: Vec<f64> = cells.iter().filter_map(|c| c.p_value).collect();
        if p.is_empty() {
            continue;
        }
        let adjusted = benjamini_hochberg(&p).map_err(|e| stats(what(), e))?;
        for (cell, p) in cells.iter_mut().zip(adjusted) {
            cell.p_bh = Some(p);
            cell.shown = p < alpha && cell.difference.abs() >= LEAST_EFFECT;
        }
    }
    Ok(())
}

impl PartComparison {
    /// What differs, in words; `to` is the second condition's name.
    pub fn sentence(&self, to: &str) -> String {
        let named = |more: bool| -> Option<String> {
            let shown: Vec<&PartDifference> = (self.cells.iter())
                .filter(|c| c.shown && (c.difference > 0.0) == more)
                .collect();
            let mut names: Vec<String> = (shown.iter().take(NAMED))
                .map(|c| {
                    let interval = c.interval.map_or(String::new(), |i| {
                        format!(" [{}, {}]", number(i.lower), number(i.upper))
                    });
                    format!(
                        "{}.{} ({}{interval})",
                        c.layer,
                        c.index,
                        number(c.difference)
                    )
                })
                .collect();
            if shown.len() > NAMED {
                names.push(format!("{} others", shown.len() - NAMED));
            }
            let word = if more { "more" } else { "less" };
            (!names.is_empty()).then(|| format!("{word} in {to} when patched at {}", list(&names)))
        };
        let parts: Vec<String> = [true, false].into_iter().filter_map(named).collect();
        let says = match parts.is_empty() {
            true => "none is shown to differ".to_owned(),
            false => format!("the answer comes back {}", parts.join("; ")),
        };
        format!(
            "{}: of {} {} (layer.number) compared over {}, {says}.",
            self.measure.words(),
            self.cells.len(),
            self.part.words(),
            self.over.pairs(),
        )
    }
}
