//! What a wavefront costs, from sizes alone: floating-point operations (a multiply-add counts two) and
//! bytes.

use super::geometry::spans;
use super::world::World;
use super::write::{Placed, place};
use crate::architecture::Shape;

/// Operations of a run of `positions` tokens whose activations are kept, the unembedding left out.
pub fn run_flops(shape: &Shape, positions: usize) -> u64 {
    let n = positions as u64;
    let sizes = Sizes::of(shape);
    let (d, q) = (sizes.d, sizes.q);
    let products = n * (4 * d * q + 4 * d * sizes.k + 2 * d * (sizes.hidden + sizes.m));
    let attention = 4 * q * (n * (n + 1) / 2);
    shape.layers as u64 * (products + attention)
}

/// Widths of residual stream, queries, keys, the MLP's first products, and neurons.
struct Sizes {
    d: u64,
    q: u64,
    k: u64,
    hidden: u64,
    m: u64,
}

impl Sizes {
    fn of(shape: &Shape) -> Sizes {
        Sizes {
            d: shape.d_model as u64,
            q: shape.d_queries() as u64,
            k: shape.d_keys() as u64,
            hidden: shape.d_hidden() as u64,
            m: shape.d_mlp as u64,
        }
    }
}

/// Operations of a world of `positions` tokens, the unembedding left out.
pub fn world_flops(shape: &Shape, world: &World, positions: usize) -> u64 {
    let writes = place(&world.writes, shape);
    let Some(first) = writes.first() else {
        return 0;
    };
    let Sizes { d, q, k, hidden, m } = Sizes::of(shape);
    let mut range = 0..0;
    let mut total = 0;
    for layer in first.layer..shape.layers {
        let entry = range.clone();
        let spans = spans(&writes, layer, shape, entry, positions, world.read);
        let rows = |r: &std::ops::Range<usize>| r.len() as u64;
        let last = layer + 1 == shape.layers;
        let queries = match last {
            true => {
                let read = spans.attended.start.max(spans.normal_1.start);
                spans
                    .normal_1
                    .end
                    .min(spans.attended.end)
                    .saturating_sub(read) as u64
            }
            false => rows(&spans.normal_1),
        };
        let keys: u64 = spans.attended.clone().map(|q| q as u64 + 1).sum();
        total += 2 * d * q * queries + 4 * d * k * rows(&spans.normal_1);
        total += 4 * q * keys + 2 * d * q * rows(&spans.z);
        total += 2 * d * hidden * rows(&spans.normal_2) + 2 * d * m * rows(&spans.post);
        total += differences(shape, &writes, layer);
        range = spans.out;
    }
    total
}

/// Operations of heads and neurons written as differences.
fn differences(shape: &Shape, writes: &[Placed], layer: usize) -> u64 {
    let here = writes.iter().filter(|w| w.layer == layer && w.difference);
    here.map(|w| {
        let part = w.part.as_ref().map_or(0, |p| p.len()) as u64;
        let unit = match w.site {
            engram_core::Site::Z => shape.d_head as u64,
            _ => 1,
        };
        2 * part * unit * shape.d_model as u64 * w.positions.len() as u64
    })
    .sum()
}

/// Bytes of the activations of a run of `positions` tokens.
pub fn cache_bytes(shape: &Shape, positions: usize) -> u64 {
    // The residual stream three times, attention's and the MLP's outputs; queries, keys and values as projected,
    // queries and keys as they meet; weighted values; the MLP's first products and its neurons.
    let (q, k) = (shape.d_queries(), shape.d_keys());
    let a_layer = 4 * shape.d_model + 3 * q + 3 * k + shape.d_hidden() + shape.d_mlp;
    4 * (positions * (shape.layers * a_layer + 3 * shape.d_model)) as u64
}

/// Bytes that a world under way takes: its rows of the residual stream, twice for what is read at the
/// end, and its writes. The activations of a block are [`task_bytes`].
pub fn world_bytes(shape: &Shape, world: &World, positions: usize) -> u64 {
    let first = world.writes.iter().map(|w| w.positions.start).min();
    let rows = positions - first.unwrap_or(positions).min(positions);
    4 * (2 * rows * shape.d_model) as u64 + 512
}

/// Bytes of the activations of the tasks that `threads` threads work on.
pub fn task_bytes(shape: &Shape, positions: usize, threads: usize) -> u64 {
    let rows = super::world::ROWS_PER_TASK + positions;
    let width = 10 * shape.d_model
        + 2 * (shape.d_queries() + shape.d_keys())
        + 2 * (shape.d_hidden() + shape.d_mlp);
    4 * (threads * rows * width) as u64
}
