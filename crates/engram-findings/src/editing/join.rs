//! Edit scores joined to what patching recovers.

use std::collections::BTreeMap;

use engram_core::{Corruption, Direction, EditRow, Metric, Row, RowAlign, Site};
use serde::{Deserialize, Serialize};

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

/// Joins rows of single-layer edits to those of a sweep of `mlp_out` (denoise, logit difference) at the subject's last
/// token; a pair patched at all positions at once has its recovery there. A corruption other than the swapped prompt
/// counts only where a pair has no other.
pub fn join(edits: &[EditRow], sweep: &[Row]) -> Vec<Joined> {
    let subject: BTreeMap<&str, i64> = edits
        .iter()
        .map(|e| (e.request.as_str(), e.position))
        .collect();
    // The subject's position goes before all positions together; noise samples of one cell are averaged.
    #[derive(Default)]
    struct Found {
        rank: (bool, bool),
        sum: f64,
        samples: usize,
    }
    let mut recovery: BTreeMap<(&str, i64), Found> = BTreeMap::new();
    for row in sweep {
        let place =
            row.position.is_none() || subject.get(row.pair.as_str()) == row.position.as_ref();
        if let (true, Some(layer), Some(value)) =
            (of_mlp_out(row) && place, row.layer, row.recovery)
        {
            let rank = (row.position.is_some(), row.corruption == Corruption::Swap);
            let found = recovery.entry((row.pair.as_str(), layer)).or_default();
            if rank > found.rank {
                *found = Found {
                    rank,
                    ..Found::default()
                };
            }
            if rank == found.rank {
                found.sum += value;
                found.samples += 1;
            }
        }
    }
    let joined = edits.iter().filter_map(|edit| {
        let [layer] = edit.layers[..] else {
            return None;
        };
        let found = recovery.get(&(edit.request.as_str(), layer as i64))?;
        Some(Joined {
            fact: edit.request.clone(),
            kind: edit.kind.clone().unwrap_or_default(),
            relation: edit.relation.clone().unwrap_or_default(),
            layer,
            efficacy: edit.after.efficacy?.magnitude,
            paraphrase: edit.after.paraphrase.map(|w| w.magnitude),
            recovery: found.sum / found.samples as f64,
        })
    });
    joined.collect()
}

/// A row of a sweep that says what one layer's `mlp_out` recovers.
fn of_mlp_out(row: &Row) -> bool {
    let right = row.site == Site::MlpOut
        && row.metric == Metric::LogitDiff
        && row.direction == Direction::Denoise;
    let whole = row.unit.is_none() && row.window.is_none_or(|w| w == 1);
    right && whole && row.align != RowAlign::Overwrite && !row.trivial
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
