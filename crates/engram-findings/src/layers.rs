//! Do layers differ, and which stand out?

use std::collections::BTreeSet;

use engram_stats::{
    Friedman, LayerStatistic, Wilcoxon, benjamini_hochberg, cohen_d_paired, friedman, holm,
    least_p_sign_flip, max_t_sign_flip, mean, wilcoxon_signed_rank,
};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{FindingsError, Result, if_enough};
use crate::gate::{Gate, States};
use crate::measure::Measure;
use crate::profile::{Over, Selection};
use crate::sheet::Sheet;
use crate::words::{layers, least_p, list, plural};

/// Tests over the layers of one measure, trivial layers left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerTests {
    /// What was patched and read.
    #[serde(flatten)]
    pub measure: Measure,
    /// The kind; `None` is all pairs together.
    pub kind: Option<String>,
    /// Which pairs.
    pub over: Over,
    /// Pairs with a recovery in every layer tested.
    pub pairs: usize,
    /// Their clusters, the blocks of the tests.
    pub clusters: usize,
    /// Friedman over layers, on cluster means; `None` where there is too little to test.
    pub friedman: Option<Friedman>,
    /// Each layer against the pair's own mean over layers.
    pub layers: Vec<LayerTest>,
    /// Which of the pairs are in the test, and why not all; `None` where all are.
    #[serde(default)]
    pub which: Option<String>,
    /// Why a test is missing.
    pub note: Option<String>,
}

impl LayerTests {
    /// The least p that a layer can have after Holm, with so many clusters and layers.
    pub fn least_p(&self) -> f64 {
        (least_p_sign_flip(self.clusters) * self.layers.len() as f64).min(1.0)
    }

    /// That so few clusters cannot show which layers stand out, at a level; `None` where they can.
    pub fn too_few(&self, alpha: f64) -> Option<String> {
        let least = self.least_p();
        (least >= alpha && !self.layers.is_empty()).then(|| {
            format!(
                "too few clusters to show it: {} allow no p below {} after Holm over {}",
                self.clusters,
                least_p(least),
                plural(self.layers.len(), "layer")
            )
        })
    }

    /// Layers that stand out, above (`true`) or below the pairs' own means, after Holm.
    pub fn standing_out(&self, above: bool, alpha: f64) -> Vec<Option<i64>> {
        self.layers
            .iter()
            .filter(|l| l.p_holm < alpha && (l.excess > 0.0) == above)
            .map(|l| l.layer)
            .collect()
    }
}

/// One layer: R less the pair's mean over layers, on cluster means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerTest {
    /// The layer.
    pub layer: Option<i64>,
    /// Mean over pairs of R less the pair's mean over layers.
    pub excess: f64,
    /// Signed-rank test of that, with its effect size.
    pub wilcoxon: Wilcoxon,
    /// Adjusted over layers: no false call at all.
    pub p_holm: f64,
    /// Adjusted over layers: share of false calls.
    pub p_bh: f64,
    /// Westfall and Young's max-T: no false call at all, through the correlation of layers; signs of whole clusters
    /// flipped. `None` with too few clusters.
    #[serde(default)]
    pub p_max_t: Option<f64>,
    /// Mean over standard deviation of the cluster means; `None` where they do not vary.
    pub cohen_d: Option<f64>,
}

/// Pairs × layers without a hole.
pub(crate) struct Matrix {
    pub layers: Vec<Option<i64>>,
    pub pairs: Vec<usize>,
    /// One row a pair.
    pub rows: Vec<Vec<f64>>,
    /// The selected pairs that have a recovery at some layer tested, and are not in `pairs`.
    left_out: Vec<LeftOut>,
}

/// Pairs that a test leaves out for one reason.
struct LeftOut {
    pairs: BTreeSet<usize>,
    /// Why the graph fixes their recovery at some layer; `None` where there is none at some layer.
    why: Option<String>,
    layers: BTreeSet<Option<i64>>,
}

impl Matrix {
    /// Which of the pairs a test over layers is over, and why not all: `None` where it is over all.
    pub fn which(&self) -> Option<String> {
        if self.left_out.is_empty() {
            return None;
        }
        let out: usize = self.left_out.iter().map(|l| l.pairs.len()).sum();
        let reasons: Vec<String> = (self.left_out.iter())
            .map(|left| {
                let at = layers(&left.layers.iter().copied().collect::<Vec<_>>());
                let n = left.pairs.len();
                match &left.why {
                    Some(why) => {
                        format!("{n} because the graph alone fixes recovery at {at} ({why})")
                    }
                    None => format!("{n} because there is no recovery at {at}"),
                }
            })
            .collect();
        Some(format!(
            "{} of {} are in the test, which takes pairs with a recovery of their own at every layer tested; left out are {}",
            self.pairs.len(),
            plural(self.pairs.len() + out, "pair"),
            list(&reasons)
        ))
    }
}

/// The recoveries of selected pairs in all layers that the graph does not fix for every one of them.
pub(crate) fn matrix(selection: &Selection<'_>, sheet: &Sheet) -> Matrix {
    let kept: Vec<_> = (sheet.layers.iter())
        .filter(|(_, cells)| !selection.is_trivial(cells))
        .collect();
    let mut found = Matrix {
        layers: kept.iter().map(|(layer, _)| **layer).collect(),
        pairs: Vec::new(),
        rows: Vec::new(),
        left_out: Vec::new(),
    };
    let pairs: BTreeSet<usize> = (kept.iter())
        .flat_map(|(_, cells)| cells.iter())
        .filter(|(pair, cell)| selection.holds(**pair) && cell.recovery().is_some())
        .map(|(pair, _)| *pair)
        .collect();
    for pair in pairs {
        let mut row = Vec::with_capacity(kept.len());
        let mut fixed = (None, BTreeSet::new());
        let mut missing = BTreeSet::new();
        for (layer, cells) in &kept {
            match cells.get(&pair).map(|c| (c, c.recovery())) {
                Some((cell, Some(recovery))) if !cell.trivial => row.push(recovery),
                Some((cell, Some(_))) => {
                    fixed.0 = fixed.0.or_else(|| cell.trivial_why.clone());
                    fixed.1.insert(**layer);
                }
                _ => drop(missing.insert(**layer)),
            }
        }
        if row.len() == kept.len() {
            found.pairs.push(pair);
            found.rows.push(row);
            continue;
        }
        let (why, layers) = match fixed.1.is_empty() {
            true => (None, missing),
            false => (
                Some(fixed.0.unwrap_or_else(|| "for reasons of reach".to_owned())),
                fixed.1,
            ),
        };
        match found.left_out.iter_mut().find(|l| l.why == why) {
            Some(left) => {
                left.pairs.insert(pair);
                left.layers.extend(layers);
            }
            None => found.left_out.push(LeftOut {
                pairs: BTreeSet::from([pair]),
                why,
                layers,
            }),
        }
    }
    found
}

/// Tests of one sheet for one kind (`None`: all pairs).
pub(crate) fn layer_tests(
    context: &Context<'_>,
    gate: &Gate,
    states: &States,
    sheet: &Sheet,
    kind: Option<&str>,
) -> Result<LayerTests> {
    let selection = Selection::new(gate, states, kind);
    let matrix = matrix(&selection, sheet);
    let mut tests = LayerTests {
        measure: sheet.measure.clone(),
        kind: kind.map(str::to_owned),
        over: selection.over,
        pairs: matrix.pairs.len(),
        clusters: 0,
        friedman: None,
        layers: Vec::new(),
        which: matrix.which(),
        note: None,
    };
    if matrix.layers.len() < 2 {
        tests.note = Some(match matrix.layers.len() {
            0 => "every layer is trivial: nothing to test".to_owned(),
            _ => "a single layer that is not trivial: nothing to compare".to_owned(),
        });
        return Ok(tests);
    }
    if matrix.pairs.is_empty() {
        tests.note = Some("no pair to test".to_owned());
        return Ok(tests);
    }
    let what = || format!("tests over layers of {}", sheet.measure.label);
    let column = |f: &dyn Fn(usize, usize) -> f64, layer: usize| -> Vec<(usize, f64)> {
        let pairs = matrix.pairs.iter().enumerate();
        pairs.map(|(i, &pair)| (pair, f(i, layer))).collect()
    };
    let own_means: Vec<f64> = matrix
        .rows
        .iter()
        .map(|row| mean(row).map_err(|source| stats(what(), source)))
        .collect::<Result<_>>()?;
    let by_layer: Vec<Vec<f64>> = (0..matrix.layers.len())
        .map(|l| context.cluster_means(column(&|i, l| matrix.rows[i][l], l)))
        .collect();
    tests.clusters = by_layer[0].len();
    let blocks: Vec<Vec<f64>> = (0..tests.clusters)
        .map(|c| by_layer.iter().map(|layer| layer[c]).collect())
        .collect();
    match if_enough(friedman(&blocks), what)? {
        Ok(result) => tests.friedman = Some(result),
        Err(why) => tests.note = Some(why),
    }
    let mut found = Vec::new();
    let mut of_clusters: Vec<Vec<f64>> = vec![Vec::new(); tests.clusters];
    for (l, &layer) in matrix.layers.iter().enumerate() {
        let excess = column(&|i, l| matrix.rows[i][l] - own_means[i], l);
        let plain: Vec<f64> = excess.iter().map(|(_, v)| *v).collect();
        let clusters = context.cluster_means(excess);
        of_clusters
            .iter_mut()
            .zip(&clusters)
            .for_each(|(row, v)| row.push(*v));
        found.push(LayerTest {
            layer,
            excess: mean(&plain).map_err(|source| stats(what(), source))?,
            wilcoxon: wilcoxon_signed_rank(&clusters).map_err(|source| stats(what(), source))?,
            p_holm: 1.0,
            p_bh: 1.0,
            p_max_t: None,
            cohen_d: if_enough(cohen_d_paired(&clusters), what)?.ok(),
        });
    }
    let settings = &context.settings;
    let max_t = max_t_sign_flip(
        &of_clusters,
        LayerStatistic::T,
        settings.permutations,
        settings.seed,
    );
    if let Ok(max_t) = if_enough(max_t, what)? {
        for (layer, p) in found.iter_mut().zip(max_t.adjusted) {
            layer.p_max_t = Some(p);
        }
    }
    let p: Vec<f64> = found.iter().map(|l| l.wilcoxon.p_value).collect();
    let (by_holm, by_bh) = corrected(&p, what)?;
    for ((layer, holm), bh) in found.iter_mut().zip(by_holm).zip(by_bh) {
        (layer.p_holm, layer.p_bh) = (holm, bh);
    }
    tests.layers = found;
    Ok(tests)
}

/// Holm's and Benjamini–Hochberg's adjusted p values.
pub(crate) fn corrected(p: &[f64], what: impl Fn() -> String) -> Result<(Vec<f64>, Vec<f64>)> {
    Ok((
        holm(p).map_err(|source| stats(what(), source))?,
        benjamini_hochberg(p).map_err(|source| stats(what(), source))?,
    ))
}

pub(crate) fn stats(what: String, source: engram_stats::StatsError) -> FindingsError {
    FindingsError::Stats { what, source }
}
