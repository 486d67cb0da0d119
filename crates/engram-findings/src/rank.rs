//! Which parts of a model restore most: heads, neurons or whole sites, by layer and role of the position.

use std::collections::BTreeMap;

use engram_core::{Pair, Row};
use engram_stats::{Interval, bootstrap_cluster_mean, mean};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{Result, if_enough};
use crate::layers::stats;
use crate::measure::{Measure, Scope};
use crate::parts::PartKind;
use crate::sheet::{ByPair, Sheets, gather};
use crate::study::Settings;

/// The places of one measure, the largest mean recovery first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// What was patched and read. Its scope says nothing where positions were patched one at a time: places have theirs.
    #[serde(flatten)]
    pub measure: Measure,
    /// Heads or neurons; `None` is whole sites.
    pub part: Option<PartKind>,
    /// Pairs with a recovery in any row.
    pub pairs: usize,
    /// Places whose recovery the graph does not fix for every pair: those that are ranked.
    pub measured: usize,
    /// Places whose recovery the graph fixes for every pair.
    pub trivial: usize,
    /// The first of them.
    pub places: Vec<RankedPlace>,
}

/// A head, a neuron or a whole site at one layer and role of the position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankedPlace {
    /// The layer; `None` for a site that stands once in the model.
    pub layer: Option<i64>,
    /// The head, or the (first) neuron.
    pub index: Option<i64>,
    /// The positions.
    pub scope: Scope,
    /// Pairs with a recovery here that the graph does not fix.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Its bootstrap interval, clusters resampled; `None` with fewer than two.
    pub interval: Option<Interval>,
}

impl RankedPlace {
    /// Layer and number: `3.11`, `layer 3`; the site's own name says where one without layers is.
    pub fn name(&self) -> String {
        match (self.layer, self.index) {
            (Some(layer), Some(index)) => format!("{layer}.{index}"),
            (Some(layer), None) => format!("layer {layer}"),
            (None, _) => "–".to_owned(),
        }
    }
}

/// Ranks the places of each measure by mean recovery, over the rows of eligible pairs (those with a recovery) whose
/// recovery the graph does not fix; the first `top` with their intervals, which are too narrow for places chosen by the
/// same means. All kinds together, whatever the model prefers. Measures in the order of reports.
///
/// # Errors
/// As [`crate::findings`].
pub fn rank(pairs: &[Pair], rows: &[Row], top: usize, settings: Settings) -> Result<Vec<Ranking>> {
    let context = Context::new(pairs, settings)?;
    rankings(&context, &gather(&context, "sweep", rows)?, top)
}

/// Places with their values, and how many pairs have any.
#[derive(Default)]
struct Group<'a> {
    places: Vec<((Option<i64>, Option<i64>, Scope), &'a ByPair)>,
}

fn rankings(context: &Context<'_>, sheets: &Sheets, top: usize) -> Result<Vec<Ranking>> {
    let mut groups: indexmap::IndexMap<(Measure, Option<PartKind>), Group<'_>> =
        indexmap::IndexMap::new();
    let alone = |scope| ![Scope::All, Scope::Subject].contains(&scope);
    // Places that were patched one position at a time are ranked together.
    let of = |measure: &Measure| match alone(measure.scope) {
        true => measure.at(Scope::All),
        false => measure.clone(),
    };
    for sheet in sheets.whole.iter().filter(|s| !alone(s.measure.scope)) {
        let group = groups.entry((of(&sheet.measure), None)).or_default();
        let cells = sheet.layers.iter();
        group
            .places
            .extend(cells.map(|(layer, c)| ((*layer, None, sheet.measure.scope), c)));
    }
    for sheet in &sheets.by_position {
        let group = groups.entry((of(&sheet.measure), None)).or_default();
        let roles = sheet.roles.iter();
        group
            .places
            .extend(roles.map(|((layer, class), c)| ((*layer, None, Scope::from(*class)), c)));
    }
    for sheet in &sheets.parts {
        let key = (of(&sheet.measure), Some(sheet.part));
        let group = groups.entry(key).or_default();
        let cells = sheet.cells.iter();
        group.places.extend(
            cells.map(|((layer, index), c)| ((Some(*layer), Some(*index), sheet.measure.scope), c)),
        );
    }
    let mut found = Vec::new();
    for ((measure, part), group) in groups {
        found.push(ranking(context, measure, part, &group, top)?);
    }
    found.sort_by_cached_key(|r| (r.measure.order(), r.part));
    Ok(found)
}

fn ranking(
    context: &Context<'_>,
    measure: Measure,
    part: Option<PartKind>,
    group: &Group<'_>,
    top: usize,
) -> Result<Ranking> {
    let what = || format!("the ranking at {}", measure.label);
    let mut pairs = BTreeMap::new();
    let mut means = Vec::new();
    let mut trivial = 0;
    for (place, by_pair) in &group.places {
        let with_recovery = by_pair
            .iter()
            .filter_map(|(p, c)| Some((*p, c, c.recovery()?)));
        let mut values = Vec::new();
        for (pair, cell, recovery) in with_recovery {
            pairs.insert(pair, ());
            if !cell.trivial {
                values.push((pair, recovery));
            }
        }
        let plain: Vec<f64> = values.iter().map(|(_, v)| *v).collect();
        if plain.is_empty() {
            trivial += usize::from(by_pair.values().any(|c| c.trivial));
            continue;
        }
        let mean = mean(&plain).map_err(|e| stats(what(), e))?;
        means.push((*place, mean, values));
    }
    // Equal means keep the order of the places.
    means.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let measured = means.len();
    let settings = &context.settings;
    let mut places = Vec::new();
    for ((layer, index, scope), mean, values) in means.into_iter().take(top) {
        let values: Vec<(usize, f64)> = (values.into_iter())
            .map(|(p, v)| (context.clusters[p], v))
            .collect();
        let interval =
            bootstrap_cluster_mean(&values, settings.resamples, settings.level, settings.seed);
        places.push(RankedPlace {
            layer,
            index,
            scope,
            n: values.len(),
            mean,
            interval: if_enough(interval, what)?.ok(),
        });
    }
    Ok(Ranking {
        pairs: pairs.len(),
        measure,
        part,
        measured,
        trivial,
        places,
    })
}
