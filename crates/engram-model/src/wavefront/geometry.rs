//! Which rows of a world each stage of a block computes: no tensors.

use std::ops::Range;

use engram_core::Site;

use super::write::{Placed, Stage};
use crate::architecture::Shape;

/// Positions of the rows that stand after each stage of a block; all others equal the base run's.
/// A stage's rows that the stage before has are computed from it, the rest are the base run's with a
/// write upon them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Spans {
    /// Residual stream before the block.
    pub x: Range<usize>,
    /// After the first LayerNorm.
    pub normal_1: Range<usize>,
    /// Queries, keys and values.
    pub qkv: Range<usize>,
    /// Queries that attend.
    pub attended: Range<usize>,
    /// Weighted values.
    pub z: Range<usize>,
    /// Attention's output.
    pub attn_out: Range<usize>,
    /// Residual stream between attention and MLP.
    pub mid: Range<usize>,
    /// After the second LayerNorm.
    pub normal_2: Range<usize>,
    /// Before the activation function.
    pub pre: Range<usize>,
    /// After it.
    pub post: Range<usize>,
    /// The MLP's output.
    pub mlp_out: Range<usize>,
    /// Residual stream after the block.
    pub out: Range<usize>,
}

impl Spans {
    /// The most rows that a stage has.
    pub fn rows(&self) -> usize {
        let most = [
            &self.qkv, &self.z, &self.mid, &self.pre, &self.post, &self.out,
        ];
        most.into_iter().map(Range::len).max().unwrap_or(0)
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
/// base run's at `entry`. Of the last block's output only positions from `read` on are needed; block
/// number `layers` stands for the last LayerNorm (`x` and `normal_1` of its spans).
pub(crate) fn spans(
    writes: &[Placed],
    layer: usize,
    shape: &Shape,
    entry: Range<usize>,
    len: usize,
    read: usize,
) -> Spans {
    let layers = shape.layers;
    let needed = if layer + 1 >= layers {
        read..len
    } else {
        0..len
    };
    let at = |stage: Stage| {
        let here = writes.iter();
        let here = here.filter(|w| w.layer == layer && w.stage == stage);
        here.fold(0..0, |all, w| hull(all, w.positions.clone()))
    };
    let read_at = |stage: Stage| within(at(stage), &needed);
    if layer >= layers {
        let x = hull(within(entry, &needed), read_at(Stage::Residual));
        let normal_1 = hull(x.clone(), read_at(Stage::Ln1));
        return Spans {
            x,
            normal_1,
            ..Spans::default()
        };
    }
    let x = hull(entry, at(Stage::Residual));
    let normal_1 = hull(x.clone(), at(Stage::Ln1));
    let qkv = hull(normal_1.clone(), at(Stage::Qkv));
    let only_queries = normal_1.is_empty()
        && writes
            .iter()
            .filter(|w| w.layer == layer && w.stage == Stage::Qkv)
            .all(|w| w.site == Site::Q);
    let attended = match qkv.is_empty() || only_queries {
        true => qkv.clone(),
        false => qkv.start..len,
    };
    let attended = within(hull(attended, at(Stage::Pattern)), &needed);
    let z = hull(attended.clone(), read_at(Stage::Z));
    let attn_out = hull(z.clone(), read_at(Stage::AttnOut));
    let mid = hull(attn_out.clone(), within(x.clone(), &needed));
    let mid = hull(mid, read_at(Stage::Mid));
    let read_by_mlp = match shape.parallel {
        true => within(x.clone(), &needed),
        false => mid.clone(),
    };
    let normal_2 = hull(read_by_mlp, read_at(Stage::Ln2));
    let pre = hull(normal_2.clone(), read_at(Stage::Pre));
    let post = hull(pre.clone(), read_at(Stage::Post));
    let mlp_out = hull(post.clone(), read_at(Stage::MlpOut));
    let out = hull(mlp_out.clone(), mid.clone());
    Spans {
        x,
        normal_1,
        qkv,
        attended,
        z,
        attn_out,
        mid,
        normal_2,
        pre,
        post,
        mlp_out,
        out,
    }
}
