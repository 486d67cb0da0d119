//! Which rows of a world each stage of a block computes: no tensors.

use std::ops::{Index, Range};

use engram_core::Site;

use super::write::Placed;
use crate::architecture::Shape;
use crate::block::{Graph, Stage};

/// Positions of the rows that stand after each stage of a block; all others equal the base run's.
/// A stage's rows that the stages before it have are computed from these, the rest are the base run's with a
/// write upon them. `spans[Stage::Pattern]` are the queries that attend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Spans {
    stages: [Range<usize>; Stage::ALL.len()],
    /// Residual stream after the block.
    pub out: Range<usize>,
}

impl Index<Stage> for Spans {
    type Output = Range<usize>;

    fn index(&self, stage: Stage) -> &Range<usize> {
        &self.stages[stage as usize]
    }
}

impl Spans {
    /// The most rows that a stage has.
    pub fn rows(&self) -> usize {
        let widest = self.stages.iter().chain([&self.out]).map(Range::len);
        widest.max().unwrap_or(0)
    }
}

/// Which stages a stage's rows are computed from, for all blocks of a network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    reads: [u16; Stage::ALL.len() + 1],
    layers: usize,
}

impl Flow {
    pub fn of(shape: &Shape) -> Flow {
        Flow {
            reads: Graph::of(shape).reads(),
            layers: shape.layers,
        }
    }
}

/// The smallest range that holds both.
fn hull(a: Range<usize>, b: Range<usize>) -> Range<usize> {
    if a.is_empty() {
        return if b.is_empty() { 0..0 } else { b };
    }
    if b.is_empty() {
        return a;
    }
    a.start.min(b.start)..a.end.max(b.end)
}

fn within(a: Range<usize>, read: &Range<usize>) -> Range<usize> {
    let both = a.start.max(read.start)..a.end.min(read.end);
    if both.is_empty() { 0..0 } else { both }
}

/// The spans of block `layer` for a world of `len` positions whose residual stream differs from the
/// base run's at `entry`. Of the last block only rows from position `read` on are needed, keys and values excepted; block
/// number `layers` stands for the last LayerNorm ([`Stage::Residual`] and [`Stage::Ln1`] of its spans).
pub(crate) fn spans(
    writes: &[Placed],
    layer: usize,
    flow: &Flow,
    entry: Range<usize>,
    len: usize,
    read: usize,
) -> Spans {
    let is_last = layer + 1 >= flow.layers;
    let needed = if is_last { read..len } else { 0..len };
    let here = |stage: Stage| {
        let all = writes.iter();
        all.filter(move |w| w.layer == layer && w.stage == stage)
    };
    let mut spans = Spans::default();
    // What a stage reads, as far as it is needed.
    let read_by = |spans: &Spans, index: usize, needed: &Range<usize>| {
        let read = Stage::ALL.iter();
        let read = read.filter(|s| flow.reads[index] & (1 << **s as usize) != 0);
        read.fold(0..0, |all, s| hull(all, within(spans[*s].clone(), needed)))
    };
    for stage in Stage::ALL {
        let is_after = layer >= flow.layers;
        if is_after && stage > Stage::Ln1 {
            break;
        }
        // Every position's keys and values may be attended to.
        let needed = match stage {
            Stage::Residual | Stage::Ln1 | Stage::Qkv if !is_after => 0..len,
            _ => needed.clone(),
        };
        let written = here(stage).fold(0..0, |all, w| hull(all, w.positions.clone()));
        let computed = match stage {
            Stage::Residual => within(entry.clone(), &needed),
            Stage::Pattern => {
                let changed = spans[Stage::Qkv].clone();
                let only_queries =
                    spans[Stage::Ln1].is_empty() && here(Stage::Qkv).all(|w| w.site == Site::Q);
                let attending = match changed.is_empty() || only_queries {
                    true => changed,
                    false => changed.start..len,
                };
                within(attending, &needed)
            }
            _ => read_by(&spans, stage as usize, &needed),
        };
        spans.stages[stage as usize] = hull(computed, within(written, &needed));
    }
    spans.out = read_by(&spans, Stage::ALL.len(), &needed);
    spans
}
