//! Whether finding a fact helps to edit it: edit scores joined to recovery, and Hase et al.'s regression (2023).

use std::collections::{BTreeMap, BTreeSet};

use engram_core::Row;
use engram_stats::{Explained, StatsError, r_squared_gain};
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
        let right = row.site == "mlp_out" && row.direction == "denoise";
        let single = row.window.is_none_or(|w| w == 1) && row.align != "overwrite";
        let place = row.position.is_none() || subject.get(&row.pair) == row.position.as_ref();
        if let (true, Some(layer), Some(value)) = (
            right && single && place && row.metric == "logit_diff" && !row.trivial,
            row.layer,
            row.recovery,
        ) {
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
    pub explained: Explained,
}

/// The nested regressions: score on layer (as categories); plus recovery; plus kind; plus recovery × kind and
/// layer × kind. Gains come with intervals from resampled facts.
///
/// # Errors
/// Fewer than two facts, and others of [`r_squared_gain`].
pub fn regressions(rows: &[Joined], how: (usize, f64, u64)) -> Result<Vec<Helps>, StatsError> {
    let names: BTreeSet<&str> = rows.iter().map(|r| r.fact.as_str()).collect();
    let place: BTreeMap<&str, usize> = names.iter().enumerate().map(|(i, n)| (*n, i)).collect();
    let mut all = Vec::new();
    for (score, of) in [
        (
            "efficacy",
            (|r: &Joined| Some(r.efficacy)) as fn(&Joined) -> Option<f64>,
        ),
        ("paraphrase", |r: &Joined| r.paraphrase),
    ] {
        let rows: Vec<(&Joined, f64)> = rows.iter().filter_map(|r| Some((r, of(r)?))).collect();
        if rows.is_empty() {
            continue;
        }
        let y: Vec<f64> = rows.iter().map(|r| r.1).collect();
        let clusters: Vec<usize> = rows.iter().map(|r| place[r.0.fact.as_str()]).collect();
        let facts = clusters.iter().collect::<BTreeSet<_>>().len();
        let column = |f: &dyn Fn(&Joined) -> f64| rows.iter().map(|r| f(r.0)).collect::<Vec<f64>>();
        let yes = f64::from;
        let layers: BTreeSet<usize> = rows.iter().map(|r| r.0.layer).collect();
        let kinds: BTreeSet<&str> = rows.iter().map(|r| r.0.kind.as_str()).collect();
        let mut columns: Vec<Vec<f64>> = (layers.iter())
            .map(|l| column(&|r| yes(u8::from(r.layer == *l))))
            .collect();
        let mut steps = vec![(columns.len(), "recovery to layer")];
        columns.push(column(&|r| r.recovery));
        if kinds.len() > 1 {
            steps.push((columns.len(), "kind to layer and recovery"));
            for kind in &kinds {
                columns.push(column(&|r| yes(u8::from(r.kind == *kind))));
            }
            let added = "recovery × kind and layer × kind to layer, recovery and kind";
            steps.push((columns.len(), added));
            for kind in &kinds {
                let is = |r: &Joined| yes(u8::from(r.kind == *kind));
                columns.push(column(&|r| is(r) * r.recovery));
                for layer in &layers {
                    columns.push(column(&|r| is(r) * yes(u8::from(r.layer == *layer))));
                }
            }
        }
        for (i, (base, added)) in steps.iter().enumerate() {
            let end = steps.get(i + 1).map_or(columns.len(), |next| next.0);
            all.push(Helps {
                score: score.to_owned(),
                added: (*added).to_owned(),
                facts,
                explained: r_squared_gain(&y, &columns[..end], *base, &clusters, how)?,
            });
        }
    }
    Ok(all)
}
