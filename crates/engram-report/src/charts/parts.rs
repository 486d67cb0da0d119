//! Single heads and neurons, as the page's script reads them.

use engram_findings::ConditionFindings;
use engram_findings::parts::{PartCell, PartGrid, PartKind};
use serde_json::{Value, json};

use super::{key, place, short, with};

/// What all kinds together are called where one kind is chosen.
pub(crate) const ALL_KINDS: &str = "all kinds";

/// Grids of heads.
pub(super) fn heads(condition: &ConditionFindings) -> Vec<Value> {
    grids(condition, PartKind::Head)
}

/// The neurons that matter most.
pub(super) fn neurons(condition: &ConditionFindings) -> Vec<Value> {
    grids(condition, PartKind::Neuron)
}

fn grids(condition: &ConditionFindings, part: PartKind) -> Vec<Value> {
    let found = condition.parts.iter().filter(|grid| grid.part == part);
    found.map(|grid| row(condition, grid)).collect()
}

fn row(condition: &ConditionFindings, grid: &PartGrid) -> Value {
    let cells: Vec<Value> = grid.cells.iter().map(cell).collect();
    let more = json!({
        "kind": grid.kind.as_deref().unwrap_or(ALL_KINDS),
        "over": grid.over.words(), "measured": grid.measured, "cells": cells,
    });
    with(key(condition, &grid.measure, place(&grid.measure)), more)
}

/// Layer, number, pairs, mean, interval, adjusted p, whether the graph fixes it, what the part is shown to do.
fn cell(cell: &PartCell) -> Value {
    let end = |f: fn(&engram_findings::Interval) -> f64| cell.interval.as_ref().map(f).map(short);
    json!([
        cell.layer,
        cell.index,
        cell.n,
        short(cell.mean),
        end(|i| i.lower),
        end(|i| i.upper),
        cell.p_bh.map(short),
        u8::from(cell.trivial),
        cell.effect,
    ])
}
