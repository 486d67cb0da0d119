//! The published protocol: every module by its name, whole outputs overwritten, no gate.

use std::collections::BTreeMap;

use engram_core::{Metric, Row};
use engram_stats::{Friedman, Interval, friedman, mean};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{Result, if_enough};
use crate::layers::stats;
use crate::profile::{mean_and_interval, ratio_of_means};
use crate::sheet::check_finite;

/// What the published protocol measures on one model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// The kinds of its pairs.
    pub kinds: Vec<String>,
    /// Each module and kind, modules in the order of the sweep.
    pub modules: Vec<ModuleRecovery>,
    /// The clean metric by kind.
    pub clean: Vec<CleanMetric>,
    /// Friedman over layers for each module that stands in every layer and is not trivial.
    pub tests: Vec<ModuleTest>,
}

/// Recovery from overwriting one module's output, for one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModuleRecovery {
    /// The module's name.
    pub module: String,
    /// Its name within its block (`mlp.c_fc`), or its whole name.
    pub part: String,
    /// The layer, where it has one.
    pub layer: Option<i64>,
    /// The kind.
    pub kind: String,
    /// Pairs with a recovery.
    pub n: usize,
    /// Pairs whose recovery is undefined.
    pub undefined: usize,
    /// Mean recovery over pairs.
    pub mean: Option<f64>,
    /// Bootstrap interval of the mean, clusters resampled; `None` with fewer than two clusters.
    #[serde(default)]
    pub interval: Option<Interval>,
    /// Ratio of means over pairs.
    pub headline: Option<f64>,
    /// Whether every row is trivial: the graph alone fixes the recovery.
    pub trivial: bool,
    /// Why.
    pub trivial_why: Option<String>,
}

/// The metric on clean inputs, for one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CleanMetric {
    /// The kind.
    pub kind: String,
    /// Pairs.
    pub n: usize,
    /// Mean over pairs.
    pub mean: f64,
}

/// Friedman over the layers of one module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModuleTest {
    /// The module's name within its block.
    pub part: String,
    /// Pairs in the test.
    pub pairs: usize,
    /// The test, on cluster means.
    pub friedman: Friedman,
}

/// Findings of the published protocol; `None` where it was not run. Only the published metric is
/// read where it is among several. `context` indexes the pairs of that protocol.
pub(crate) fn protocol(
    context: &Context<'_>,
    condition: &str,
    rows: &[Row],
) -> Result<Option<Protocol>> {
    let published = |r: &&Row| r.metric == Metric::LogitDiffMean;
    let rows: Vec<&Row> = rows.iter().filter(published).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let mut modules: indexmap::IndexMap<(&str, &str), Vec<&Row>> = indexmap::IndexMap::new();
    let mut clean: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    for &row in &rows {
        check_finite(condition, row)?;
        let key = (row.name.as_str(), row.kind.as_str());
        modules.entry(key).or_default().push(row);
        clean.insert((&row.kind, &row.pair), row.clean);
    }
    let kinds = context.kinds_of(rows.iter().map(|r| r.kind.as_str()));
    let recoveries: Vec<ModuleRecovery> = modules
        .into_iter()
        .map(|((module, kind), rows)| module_recovery(context, module, kind, &rows))
        .collect::<Result<_>>()?;
    let clean = kinds
        .iter()
        .map(|kind| {
            let values: Vec<f64> = clean
                .iter()
                .filter(|((k, _), _)| k == kind)
                .map(|(_, v)| *v)
                .collect();
            Ok(CleanMetric {
                kind: kind.clone(),
                n: values.len(),
                mean: mean(&values).map_err(|e| stats("clean metric".to_owned(), e))?,
            })
        })
        .collect::<Result<_>>()?;
    Ok(Some(Protocol {
        kinds,
        tests: tests(context, &rows)?,
        modules: recoveries,
        clean,
    }))
}

fn module_recovery(
    context: &Context<'_>,
    module: &str,
    kind: &str,
    rows: &[&Row],
) -> Result<ModuleRecovery> {
    let defined: Vec<(f64, &Row)> = rows
        .iter()
        .filter_map(|r| Some((r.recovery?, *r)))
        .collect();
    let part = |f: fn(&Row) -> f64| -> Vec<f64> { defined.iter().map(|(_, r)| f(r)).collect() };
    let by_pair = defined
        .iter()
        .filter_map(|(v, row)| Some((context.find(&row.pair)?, *v)));
    let (mean, interval) = mean_and_interval(context, by_pair)?;
    let trivial = rows.iter().all(|r| r.trivial);
    Ok(ModuleRecovery {
        module: module.to_owned(),
        part: part_name(module),
        layer: rows.first().and_then(|r| r.layer),
        kind: kind.to_owned(),
        n: defined.len(),
        undefined: rows.len() - defined.len(),
        mean,
        interval,
        headline: ratio_of_means(
            &part(|r| r.patched - r.corrupt),
            &part(|r| r.clean - r.corrupt),
        )?,
        trivial,
        trivial_why: if trivial {
            rows.iter().find_map(|r| r.trivial_why.clone())
        } else {
            None
        },
    })
}

/// `transformer.h.3.mlp.c_fc` is `mlp.c_fc`, `transformer.h.3` is `block`, any other is itself.
fn part_name(module: &str) -> String {
    let Some(rest) = module
        .strip_prefix("transformer.h.")
        .or_else(|| module.strip_prefix("h."))
    else {
        return module.to_owned();
    };
    match rest.split_once('.') {
        Some((_, part)) => part.to_owned(),
        None => "block".to_owned(),
    }
}

fn tests(context: &Context<'_>, rows: &[&Row]) -> Result<Vec<ModuleTest>> {
    // Part, then pair, then layer.
    let mut parts: indexmap::IndexMap<String, BTreeMap<usize, BTreeMap<i64, f64>>> =
        indexmap::IndexMap::new();
    let mut layers: BTreeMap<String, std::collections::BTreeSet<i64>> = BTreeMap::new();
    for row in rows.iter().filter(|r| !r.trivial) {
        let (Some(layer), Some(recovery)) = (row.layer, row.recovery) else {
            continue;
        };
        let Some(pair) = context.find(&row.pair) else {
            continue;
        };
        let part = part_name(&row.name);
        layers.entry(part.clone()).or_default().insert(layer);
        let pairs = parts.entry(part).or_default();
        pairs.entry(pair).or_default().insert(layer, recovery);
    }
    let mut found = Vec::new();
    for (part, pairs) in parts {
        let wanted = &layers[&part];
        let complete: Vec<_> = pairs
            .iter()
            .filter(|(_, values)| values.len() == wanted.len())
            .collect();
        if wanted.len() < 2 || complete.is_empty() {
            continue;
        }
        let columns: Vec<Vec<f64>> = wanted
            .iter()
            .map(|layer| context.cluster_means(complete.iter().map(|(pair, v)| (**pair, v[layer]))))
            .collect();
        let blocks: Vec<Vec<f64>> = (0..columns[0].len())
            .map(|c| columns.iter().map(|column| column[c]).collect())
            .collect();
        let test = if_enough(friedman(&blocks), || format!("Friedman over {part}"))?;
        if let Ok(friedman) = test {
            found.push(ModuleTest {
                part,
                pairs: complete.len(),
                friedman,
            });
        }
    }
    Ok(found)
}
