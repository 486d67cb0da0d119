//! Edits by layer, over the layers that carry the facts, as the page's script reads them.

use engram_findings::editing::EditFindings;
use engram_findings::words::layer_set;
use engram_findings::{Findings, Interval};
use serde_json::{Value, json};

use super::{ends, short, with};
use crate::editing::{carrying, middle, shares, shown_as};

/// What the page calls recovery beside the scores.
const RECOVERY: &str = "recovery";

/// One row for each edits, panel, kind and set of layers.
pub(super) fn edits(findings: &Findings) -> Vec<Value> {
    let rows = |of| [recovery(findings, of), scores(of)].concat();
    findings.editing.iter().flat_map(rows).collect()
}

/// What edits are chosen by.
pub(super) fn key(of: &EditFindings) -> Value {
    json!({"condition": of.model, "method": of.method, "name": of.name})
}

fn scores(of: &EditFindings) -> Vec<Value> {
    let mut rows = Vec::new();
    for scores in &of.scores {
        let Some(kind) = shown_as(of, scores) else {
            continue;
        };
        let best = of.best_of(scores.kind.as_deref());
        for (panel, share) in shares(scores) {
            let row = json!({
                "panel": panel, "kind": kind, "layer": middle(&scores.layers),
                "layers": layer_set(&scores.layers), "n": share.facts,
                "before": short(share.before),
                "best": best.is_some_and(|b| b.layers == scores.layers),
            });
            let row = with(row, mean(share.after, share.interval));
            rows.push(with(key(of), row));
        }
    }
    rows
}

/// The same model's recovery.
fn recovery(findings: &Findings, of: &EditFindings) -> Vec<Value> {
    let mut rows = Vec::new();
    for profile in carrying(findings, &of.model) {
        for point in &profile.layers {
            let (Some(layer), Some(value)) = (point.layer, point.mean) else {
                continue;
            };
            let row = json!({
                "panel": RECOVERY, "kind": profile.kind, "layer": layer, "layers": layer.to_string(),
                "n": point.n, "of": point.of, "corruption": profile.measure.corruption, "trivial": point.trivial,
            });
            rows.push(with(with(key(of), row), mean(value, point.interval)));
        }
    }
    rows
}

/// A mean with the ends of its interval; itself twice where it has none.
fn mean(mean: f64, interval: Option<Interval>) -> Value {
    let none = json!({"mean": short(mean), "lower": short(mean), "upper": short(mean)});
    with(none, ends(interval))
}
