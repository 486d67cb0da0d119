//! The pairs behind each mean of a profile, as the page's script reads them.

use engram_findings::ConditionFindings;
use engram_findings::profile::{LayerProfile, ProfilePoint};
use serde_json::{Value, json};

use super::{key, place, with};

/// One row a profile whose pairs are known; values stand by layer, then by pair.
pub(super) fn spread(condition: &ConditionFindings) -> Vec<Value> {
    let shown = condition.profiles.iter().filter(|p| !p.pairs.is_empty());
    shown.filter_map(|p| row(condition, p)).collect()
}

fn row(condition: &ConditionFindings, profile: &LayerProfile) -> Option<Value> {
    let points: Vec<&ProfilePoint> = (profile.layers.iter())
        .filter(|p| p.layer.is_some() && !p.trivial)
        .collect();
    if points.is_empty() {
        return None;
    }
    let layers: Vec<Option<i64>> = points.iter().map(|p| p.layer).collect();
    let values: Vec<&[Option<f64>]> = points.iter().map(|p| p.values.as_slice()).collect();
    let more = json!({
        "kind": profile.kind, "over": profile.over.words(), "pairs": profile.pairs,
        "layers": layers, "values": values,
    });
    Some(with(
        key(condition, &profile.measure, place(&profile.measure)),
        more,
    ))
}
