//! Recovery by layer.

use std::collections::{BTreeMap, BTreeSet};

use engram_stats::{Interval, bootstrap_cluster_mean, bootstrap_ratio_of_means, mean};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{FindingsError, Result, if_enough};
use crate::gate::{Gate, States};
use crate::measure::Measure;
use crate::sheet::{ByPair, Sheet, SheetCell};

/// Which pairs a figure is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// Eligible pairs of whose answer and foil the model prefers the right one.
    Prefers,
    /// All eligible pairs, because the model does not pass the gate: such figures say nothing about
    /// knowledge.
    Eligible,
}

impl Over {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Over::Prefers => "eligible pairs whose answer the model prefers",
            Over::Eligible => "all eligible pairs (the model does not pass the gate of knowing)",
        }
    }

    /// In words, where the gate was told of before.
    pub fn pairs(self) -> &'static str {
        match self {
            Over::Prefers => self.words(),
            Over::Eligible => "all eligible pairs",
        }
    }
}

/// Recovery of one measure by layer, for one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerProfile {
    /// What was patched and read.
    #[serde(flatten)]
    pub measure: Measure,
    /// The kind.
    pub kind: String,
    /// Which pairs.
    pub over: Over,
    /// One point a layer, ascending; a site outside layers has one point without a layer.
    pub layers: Vec<ProfilePoint>,
    /// The pairs behind the means, by id: those of the primary measures only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<String>,
}

/// Recovery at one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProfilePoint {
    /// The layer.
    pub layer: Option<i64>,
    /// Pairs with a recovery here that the graph does not fix; all with a recovery where it fixes every one.
    pub n: usize,
    /// Pairs of the whole profile, so that `n < of` says that this point is over fewer.
    #[serde(default)]
    pub of: usize,
    /// Their mean recovery.
    pub mean: Option<f64>,
    /// Bootstrap interval of the mean, clusters resampled; `None` with fewer than two clusters.
    pub interval: Option<Interval>,
    /// The headline: mean of what the patch changed over mean clean–corrupt gap.
    pub headline: Option<f64>,
    /// Bootstrap interval of the headline.
    pub headline_interval: Option<Interval>,
    /// Whether every row here is trivial: the graph alone fixes the recovery. Left out of tests.
    pub trivial: bool,
    /// Why.
    pub trivial_why: Option<String>,
    /// The recovery of each of [`LayerProfile::pairs`], to four decimals: for drawing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Option<f64>>,
}

/// The pairs of a kind (`None`: all) that figures are over, and which they are.
pub(crate) struct Selection<'a> {
    pub over: Over,
    kind: Option<&'a str>,
    states: &'a States,
}

impl<'a> Selection<'a> {
    pub fn new(gate: &Gate, states: &'a States, kind: Option<&'a str>) -> Selection<'a> {
        let over = if gate.passed {
            Over::Prefers
        } else {
            Over::Eligible
        };
        Selection { over, kind, states }
    }

    pub fn holds(&self, pair: usize) -> bool {
        self.states.get(&pair).is_some_and(|s| {
            s.eligible
                && (s.prefers || self.over == Over::Eligible)
                && self.kind.is_none_or(|k| s.kind == k)
        })
    }

    /// What every figure, table and test is over: the selected pairs that have a recovery, without those whose
    /// recovery the graph fixes. Where it fixes all of them, all are given, and [`Self::is_trivial`] says so.
    pub fn cells<'b>(
        &'b self,
        cells: &'b ByPair,
    ) -> impl Iterator<Item = (usize, &'b SheetCell, f64)> {
        let all_trivial = self.is_trivial(cells);
        cells
            .iter()
            .filter(move |(pair, cell)| self.holds(**pair) && (all_trivial || !cell.trivial))
            .filter_map(|(&pair, cell)| Some((pair, cell, cell.recovery()?)))
    }

    /// Whether the graph fixes the recovery of every selected pair; of every pair where none is selected.
    pub fn is_trivial(&self, cells: &ByPair) -> bool {
        let mut selected = cells
            .iter()
            .filter(|(pair, _)| self.holds(**pair))
            .peekable();
        match selected.peek() {
            Some(_) => selected.all(|(_, cell)| cell.trivial),
            None => cells.values().all(|c| c.trivial),
        }
    }
}

/// Profiles of a sheet, one a kind that has pairs.
pub(crate) fn profiles(
    context: &Context<'_>,
    gate: &Gate,
    states: &States,
    sheet: &Sheet,
) -> Result<Vec<LayerProfile>> {
    let mut profiles = Vec::new();
    for kind in &context.kinds {
        let selection = Selection::new(gate, states, Some(kind));
        if !sheet
            .layers
            .values()
            .flat_map(ByPair::keys)
            .any(|&p| context.pairs[p].kind == *kind)
        {
            continue;
        }
        let mut points: Vec<ProfilePoint> = sheet
            .layers
            .iter()
            .map(|(&layer, cells)| point(context, &selection, layer, cells))
            .collect::<Result<_>>()?;
        let mut pairs = spread(&selection, sheet, &mut points);
        if !sheet.measure.is_primary() {
            pairs.clear();
            points.iter_mut().for_each(|p| p.values.clear());
        }
        profiles.push(LayerProfile {
            measure: sheet.measure.clone(),
            kind: kind.clone(),
            over: selection.over,
            layers: points,
            pairs: (pairs.into_iter())
                .map(|pair| context.pairs[pair].id.clone())
                .collect(),
        });
    }
    Ok(profiles)
}

/// Gives each point the values that its mean is over and the number of pairs of all points, and says whose they are.
fn spread(selection: &Selection<'_>, sheet: &Sheet, points: &mut [ProfilePoint]) -> Vec<usize> {
    let layers: Vec<BTreeMap<usize, f64>> = (sheet.layers.values())
        .map(|cells| selection.cells(cells).map(|(p, _, r)| (p, r)).collect())
        .collect();
    let pairs: BTreeSet<usize> = layers.iter().flat_map(|l| l.keys().copied()).collect();
    for (point, layer) in points.iter_mut().zip(&layers) {
        let value = |pair| layer.get(pair).map(|r| (r * 1e4).round() / 1e4);
        point.values = pairs.iter().map(value).collect();
        point.of = pairs.len();
    }
    pairs.into_iter().collect()
}

fn point(
    context: &Context<'_>,
    selection: &Selection<'_>,
    layer: Option<i64>,
    cells: &ByPair,
) -> Result<ProfilePoint> {
    let found: Vec<_> = selection.cells(cells).collect();
    let values = found.iter().map(|&(pair, _, r)| (pair, r));
    let gains: Vec<f64> = found.iter().map(|(_, c, _)| c.gain()).collect();
    let gaps: Vec<f64> = found.iter().map(|(_, c, _)| c.gap()).collect();
    let pairs: Vec<usize> = found.iter().map(|(p, ..)| *p).collect();
    let (mean, interval) = mean_and_interval(context, values)?;
    let (headline, headline_interval) = ratio_and_interval(context, &gains, &gaps, &pairs)?;
    let trivial = selection.is_trivial(cells);
    Ok(ProfilePoint {
        layer,
        n: found.len(),
        of: found.len(),
        mean,
        interval,
        headline,
        headline_interval,
        trivial,
        trivial_why: if trivial {
            cells.values().find_map(|c| c.trivial_why.clone())
        } else {
            None
        },
        values: Vec::new(),
    })
}

/// Mean over pairs, with a bootstrap interval over clusters.
pub(crate) fn mean_and_interval(
    context: &Context<'_>,
    values: impl Iterator<Item = (usize, f64)>,
) -> Result<(Option<f64>, Option<Interval>)> {
    let settings = &context.settings;
    let what = || "mean recovery".to_owned();
    let values: Vec<(usize, f64)> = values.map(|(p, v)| (context.clusters[p], v)).collect();
    let plain: Vec<f64> = values.iter().map(|(_, v)| *v).collect();
    let interval =
        bootstrap_cluster_mean(&values, settings.resamples, settings.level, settings.seed);
    Ok((
        if_enough(mean(&plain), what)?.ok(),
        if_enough(interval, what)?.ok(),
    ))
}

/// Ratio of means over pairs, with a bootstrap interval over clusters.
fn ratio_and_interval(
    context: &Context<'_>,
    gains: &[f64],
    gaps: &[f64],
    pairs: &[usize],
) -> Result<(Option<f64>, Option<Interval>)> {
    let settings = &context.settings;
    let what = || "headline recovery".to_owned();
    let clusters: Vec<usize> = pairs.iter().map(|&p| context.clusters[p]).collect();
    let interval = if_enough(
        bootstrap_ratio_of_means(
            gains,
            gaps,
            &clusters,
            settings.resamples,
            settings.level,
            settings.seed,
        ),
        what,
    )?
    .ok();
    Ok((ratio_of_means(gains, gaps)?, interval))
}

/// Ratio of means; `None` of nothing, or where the denominator is 0.
pub(crate) fn ratio_of_means(gains: &[f64], gaps: &[f64]) -> Result<Option<f64>> {
    if gains.is_empty() {
        return Ok(None);
    }
    let part = |x: &[f64]| {
        mean(x).map_err(|source| FindingsError::Stats {
            what: "headline recovery".to_owned(),
            source,
        })
    };
    let (gain, gap) = (part(gains)?, part(gaps)?);
    Ok((gap != 0.0).then(|| gain / gap))
}
