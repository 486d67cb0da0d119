//! What a sweep measured, cell by cell, averaged over pairs: every row counts, whatever its site, part and position.

use std::collections::BTreeMap;

use engram_core::{Direction, Metric, Pair, Row};
use engram_stats::{Interval, bootstrap_cluster_mean};
use indexmap::IndexMap;

use crate::context::Context;
use crate::error::{Result, if_enough};
use crate::layout::{Layout, PositionClass, layout};
use crate::measure::Scope;
use crate::sheet::check_finite;
use crate::study::Settings;

/// Where in the prompts of several pairs a cell is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CellPosition {
    /// One patch over several positions.
    Span(Scope),
    /// One position; its role, since prompts differ in length.
    Role(PositionClass),
}

impl CellPosition {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            CellPosition::Span(scope) => scope.words(),
            CellPosition::Role(class) => class.words(),
        }
    }
}

/// Mean recovery of a cell over the pairs that have one.
#[derive(Debug, Clone, PartialEq)]
pub struct CellMean {
    /// The site as it was asked for, layer included.
    pub name: String,
    /// The layer.
    pub layer: Option<i64>,
    /// The head.
    pub head: Option<i64>,
    /// The neuron; of a group, the first.
    pub unit: Option<i64>,
    /// The place in the prompts.
    pub place: CellPosition,
    /// The metric.
    pub metric: Metric,
    /// Each pair's cluster and recovery: the mean over its noise samples, and over its positions of this role. Trivial
    /// rows are left out, unless all are.
    pub values: Vec<(usize, f64)>,
    /// Whether the graph alone fixes the recovery of every pair.
    pub trivial: bool,
}

impl CellMean {
    /// Mean over pairs; `None` where no pair has a recovery.
    pub fn mean(&self) -> Option<f64> {
        let n = self.values.len();
        (n > 0).then(|| self.values.iter().map(|(_, r)| r).sum::<f64>() / n as f64)
    }

    /// Bootstrap interval of the mean, clusters resampled: as in [`crate::profile::ProfilePoint::interval`]. `None` with
    /// fewer than two clusters.
    ///
    /// # Errors
    /// Settings outside their range.
    pub fn interval(&self, settings: &Settings) -> Result<Option<Interval>> {
        let found = bootstrap_cluster_mean(
            &self.values,
            settings.resamples,
            settings.level,
            settings.seed,
        );
        Ok(if_enough(found, || "mean recovery of a cell".to_owned())?.ok())
    }
}

/// The recoveries of one pair at one cell.
#[derive(Default)]
struct OfPair {
    sum: f64,
    count: usize,
}

/// One cell over all pairs: open rows apart from trivial ones.
#[derive(Default)]
struct Gathered {
    open: BTreeMap<usize, OfPair>,
    trivial: BTreeMap<usize, OfPair>,
}

/// Mean recovery of every cell of a sweep, in the order of its rows.
///
/// # Errors
/// A value that is not finite; a row of a pair that the suite does not have; two pairs of one name.
pub fn cell_means(pairs: &[Pair], rows: &[Row], settings: Settings) -> Result<Vec<CellMean>> {
    let context = Context::new(pairs, settings)?;
    let layouts = layouts(&context, rows)?;
    let mut cells: IndexMap<_, Gathered> = IndexMap::new();
    for row in rows {
        check_finite("sweep", row)?;
        let pair = context.pair(&row.pair, "sweep")?;
        let place = match (row.position, &row.token) {
            (Some(position), _) => CellPosition::Role(layouts[&pair].classes[&position]),
            (None, Some(_)) => CellPosition::Span(Scope::Subject),
            (None, None) => CellPosition::Span(Scope::All),
        };
        let key = (&row.name, row.layer, row.head, row.unit, place, row.metric);
        let cell = cells.entry(key).or_default();
        let rows = match row.trivial {
            true => &mut cell.trivial,
            false => &mut cell.open,
        };
        if let Some(recovery) = row.recovery {
            let of_pair = rows.entry(pair).or_default();
            of_pair.sum += recovery;
            of_pair.count += 1;
        }
    }
    let means = cells.into_iter();
    Ok(means
        .map(|((name, layer, head, unit, place, metric), cell)| {
            let trivial = cell.open.is_empty() && !cell.trivial.is_empty();
            let values = if trivial { cell.trivial } else { cell.open };
            let mean =
                |(pair, of): (usize, OfPair)| (context.clusters[pair], of.sum / of.count as f64);
            CellMean {
                name: name.clone(),
                layer,
                head,
                unit,
                place,
                metric,
                values: values.into_iter().map(mean).collect(),
                trivial,
            }
        })
        .collect())
}

/// The roles of each pair's positions.
fn layouts(context: &Context<'_>, rows: &[Row]) -> Result<BTreeMap<usize, Layout>> {
    let mut tokens: BTreeMap<usize, (Direction, BTreeMap<i64, Option<String>>)> = BTreeMap::new();
    for row in rows {
        let Some(position) = row.position else {
            continue;
        };
        let pair = context.pair(&row.pair, "sweep")?;
        let (_, tokens) = tokens
            .entry(pair)
            .or_insert_with(|| (row.direction, BTreeMap::new()));
        tokens.entry(position).or_insert_with(|| row.token.clone());
    }
    let layouts = tokens.into_iter();
    Ok(layouts
        .map(|(pair, (direction, tokens))| (pair, layout(&context.pairs[pair], direction, &tokens)))
        .collect())
}
