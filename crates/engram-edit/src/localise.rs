//! Whether finding a fact helps to edit it: edit scores joined to recovery, and Hase et al.'s regression (2023).

use std::collections::{BTreeMap, BTreeSet};

use engram_core::Row;
use engram_stats::{Column, RSquaredGain, Resampling, StatsError, dummies, r_squared_gain};
use serde::{Deserialize, Serialize};

use crate::editor::EditRow;

/// A fact at a layer: how well its edit did there, and how much of it patching brings back there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    /// The fact.
    pub fact: String,
    /// Its kind.
    pub kind: String,
    /// Its relation.
    pub relation: String,
    /// The layer.
    pub layer: usize,
    /// The edit's efficacy magnitude, p(new) − p(true): efficacy itself saturates.
    pub efficacy: f64,
    /// The same on the paraphrases.
    pub paraphrase: Option<f64>,
    /// Recovery of `mlp_out` at the subject's last token.
    pub recovery: f64,
}

/// Joins rows of single-layer edits to those of a sweep of `mlp_out` (denoise, logit difference). `subject` gives the
/// position of a pair's last subject token; a pair patched at all positions at once has its recovery there.
pub fn join(edits: &[EditRow], sweep: &[Row], subject: &BTreeMap<String, i64>) -> Vec<Joined> {
    let mut recovery: BTreeMap<(&str, i64), f64> = BTreeMap::new();
    for row in sweep {
        let place = row.position.is_none() || subject.get(&row.pair) == row.position.as_ref();
        if let (true, Some(layer), Some(value)) =
            (of_mlp_out(row) && place, row.layer, row.recovery)
        {
            // The subject's position goes before all positions together.
            let key = (row.pair.as_str(), layer);
            if row.position.is_some() || !recovery.contains_key(&key) {
                recovery.insert(key, value);
            }
        }
    }
    let joined = edits.iter().filter_map(|edit| {
        let [layer] = edit.layers[..] else {
            return None;
        };
        Some(Joined {
            fact: edit.request.clone(),
            kind: edit.kind.clone().unwrap_or_default(),
            relation: edit.relation.clone().unwrap_or_default(),
            layer,
            efficacy: edit.after.efficacy?.magnitude,
            paraphrase: edit.after.paraphrase.map(|w| w.magnitude),
            recovery: *recovery.get(&(edit.request.as_str(), layer as i64))?,
        })
    });
    joined.collect()
}

/// A row of a sweep that says what one layer's `mlp_out` recovers.
fn of_mlp_out(row: &Row) -> bool {
    let right = row.site == "mlp_out" && row.metric == "logit_diff" && row.direction == "denoise";
    right && row.window.is_none_or(|w| w == 1) && row.align != "overwrite" && !row.trivial
}

/// The layer at which `mlp_out` recovers most: the mean over pairs of the greatest recovery of any position, over the
/// pairs named where the sweep has them, over all otherwise. `None` where the sweep has no such recovery.
pub fn best_layer(sweep: &[Row], pairs: &[&str]) -> Option<usize> {
    let rows: Vec<&Row> = sweep.iter().filter(|r| of_mlp_out(r)).collect();
    let named = |r: &&&Row| pairs.contains(&r.pair.as_str());
    let own: Vec<&Row> = rows.iter().filter(named).copied().collect();
    let rows = if own.is_empty() { rows } else { own };
    let mut by_cell: BTreeMap<(i64, &str), f64> = BTreeMap::new();
    for row in rows {
        if let (Some(layer), Some(recovery)) = (row.layer, row.recovery) {
            let most = by_cell.entry((layer, &row.pair)).or_insert(recovery);
            *most = most.max(recovery);
        }
    }
    let mut sums: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for ((layer, _), recovery) in by_cell {
        let sum = sums.entry(layer).or_default();
        *sum = (sum.0 + recovery, sum.1 + 1.0);
    }
    let mean = |s: &(f64, f64)| s.0 / s.1;
    let best = sums.iter().max_by(|a, b| mean(a.1).total_cmp(&mean(b.1)))?;
    usize::try_from(*best.0).ok()
}

/// What recovery adds to the layer in explaining the edits' scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Helps {
    /// What is explained: `efficacy` or `paraphrase`.
    pub score: String,
    /// What is added to what, in words.
    pub added: String,
    /// Facts.
    pub facts: usize,
    /// R² and its gain, with an interval over facts.
    pub explained: RSquaredGain,
}

/// The nested regressions: score on layer (as categories); plus recovery; plus kind; plus recovery × kind and
/// layer × kind. Gains come with intervals from resampled facts, and an F test with errors clustered by fact. A step that
/// the data do not determine (a recovery that does not vary, more columns than facts) is left out.
///
/// # Errors
/// Those of [`r_squared_gain`] that are not for want of data.
pub fn regressions(rows: &[Joined], how: Resampling) -> Result<Vec<Helps>, StatsError> {
    let names: BTreeSet<&str> = rows.iter().map(|r| r.fact.as_str()).collect();
    let place: BTreeMap<&str, usize> = names.iter().enumerate().map(|(i, n)| (*n, i)).collect();
    let mut all = Vec::new();
    type Score = fn(&Joined) -> Option<f64>;
    let scores: [(&str, Score); 2] = [
        ("efficacy", |r| Some(r.efficacy)),
        ("paraphrase", |r| r.paraphrase),
    ];
    for (score, of) in scores {
        let rows: Vec<(&Joined, f64)> = rows.iter().filter_map(|r| Some((r, of(r)?))).collect();
        let y: Vec<f64> = rows.iter().map(|r| r.1).collect();
        let clusters: Vec<usize> = rows.iter().map(|r| place[r.0.fact.as_str()]).collect();
        let facts = clusters.iter().collect::<BTreeSet<_>>().len();
        let mut known: Vec<Column> = Vec::new();
        for (added, columns) in steps(&rows) {
            let gain = r_squared_gain(&y, &known, &columns, &clusters, how);
            match gain {
                Ok(explained) => all.push(Helps {
                    score: score.to_owned(),
                    added: added.to_owned(),
                    facts,
                    explained,
                }),
                Err(
                    StatsError::TooFew { .. }
                    | StatsError::NoVariation { .. }
                    | StatsError::Undefined { .. }
                    | StatsError::OneCluster { .. }
                    | StatsError::Collinear { .. },
                ) => continue,
                Err(error) => return Err(error),
            }
            known.extend(columns);
        }
    }
    Ok(all)
}

/// What is added in turn, in words and as columns. Categories are dummies against their first level.
fn steps(rows: &[(&Joined, f64)]) -> Vec<(&'static str, Vec<Column>)> {
    let column = |name: &str, f: &dyn Fn(&Joined) -> f64| {
        Column::new(name, rows.iter().map(|r| f(r.0)).collect())
    };
    let of = |name: &str, values: Vec<String>| {
        let reference = values.iter().min().cloned().unwrap_or_default();
        dummies(name, &values, &reference).unwrap_or_default()
    };
    let layers = of(
        "layer",
        rows.iter().map(|r| format!("{:03}", r.0.layer)).collect(),
    );
    let kinds = of("kind", rows.iter().map(|r| r.0.kind.clone()).collect());
    let recovery = column("recovery", &|r| r.recovery);
    let both = |a: &Column, b: &Column| {
        let values = a.values.iter().zip(&b.values).map(|(a, b)| a * b).collect();
        Column::new(format!("{} × {}", a.name, b.name), values)
    };
    let of_kind = kinds.iter().flat_map(|kind| {
        std::iter::once(both(&recovery, kind)).chain(layers.iter().map(|l| both(l, kind)))
    });
    let of_kind: Vec<Column> = of_kind.collect();
    let steps = [
        ("layer", layers),
        ("recovery to layer", vec![recovery.clone()]),
        ("kind to layer and recovery", kinds),
        (
            "recovery × kind and layer × kind to layer, recovery and kind",
            of_kind,
        ),
    ];
    steps
        .into_iter()
        .filter(|(_, columns)| !columns.is_empty())
        .collect()
}
