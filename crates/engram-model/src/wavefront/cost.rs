//! What a wavefront costs, from sizes alone: floating-point operations (a multiply-add counts two) and
//! bytes.

use super::geometry::spans;
use super::world::World;
use super::write::{Placed, Write, place};
use crate::architecture::Shape;
use crate::kernels::packed::{DEPTH, PANEL};

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
    let here = writes.iter().filter(|w| w.layer == layer);
    here.filter_map(|w| {
        let unit = w.difference?.unit(shape) as u64;
        let part = w.part.as_ref().map_or(0, |p| p.len()) as u64;
        Some(2 * part * unit * shape.d_model as u64 * w.positions.len() as u64)
    })
    .sum()
}

/// Bytes of the weights as [`super::Wavefront::new`] lays them out: panels of whole width, and biases. The embeddings
/// stay as they were read.
pub fn panel_bytes(shape: &Shape) -> u64 {
    let (d, q, k) = (shape.d_model, shape.d_queries(), shape.d_keys());
    let (hidden, m) = (shape.d_hidden(), shape.d_mlp);
    let panels = |inner: usize, columns: usize| inner * columns.next_multiple_of(PANEL) + columns;
    let a_layer = panels(d, q + 2 * k) + panels(q, d) + panels(d, hidden) + panels(m, d);
    let positions = if shape.learned_positions {
        shape.context * d
    } else {
        0
    };
    4 * (shape.layers * a_layer + positions) as u64
}

/// Bytes of the head's rows for so many tokens.
pub fn head_bytes(shape: &Shape, tokens: usize) -> u64 {
    4 * (shape.d_model * tokens.next_multiple_of(PANEL)) as u64
}

/// Bytes of the activations of a run of `positions` tokens.
pub fn cache_bytes(shape: &Shape, positions: usize) -> u64 {
    // The residual stream twice, attention's and the MLP's outputs; queries, keys and values as projected, and queries
    // and keys as they meet, where they turn; weighted values; the MLP's first products and its neurons.
    let (q, k) = (shape.d_queries(), shape.d_keys());
    let met = if shape.learned_positions { 0 } else { q + k };
    let a_layer = 4 * shape.d_model + 2 * q + 2 * k + met + shape.d_hidden() + shape.d_mlp;
    // Beside them embeddings, the last residual stream and its normalisation; two rows under way.
    4 * (positions * (shape.layers * a_layer + 5 * shape.d_model)) as u64
}

/// Bytes that a world under way takes: its rows of the residual stream, the rows that are read of it, and its writes and
/// spans. The activations of a block are [`task_bytes`].
pub fn world_bytes(shape: &Shape, world: &World, positions: usize) -> u64 {
    let first = world.writes.iter().map(|w| w.positions.start).min();
    let rows = positions - first.unwrap_or(positions).min(positions);
    let read = positions.saturating_sub(world.read);
    let writes = world.writes.len() * (size_of::<Write>() + size_of::<Placed>());
    // The world and its state, its values, and its ranges at each stage.
    4 * ((rows + read) * shape.d_model) as u64 + (writes + 800) as u64
}

/// Bytes of the activations of the tasks that `threads` threads work on, the longest world of `positions`.
pub fn task_bytes(shape: &Shape, positions: usize, threads: usize) -> u64 {
    let (d, q, k) = (shape.d_model, shape.d_queries(), shape.d_keys());
    let (hidden, m) = (shape.d_hidden(), shape.d_mlp);
    let rows = super::world::ROWS_PER_TASK + positions;
    // The most that stands at a time: the residual stream, the MLP's first products and its neurons, and a left side in
    // tiles or, before them, queries, keys and values.
    let width = d + hidden + m + (q + 2 * k).max(m.min(DEPTH));
    4 * (threads * rows * width) as u64
}
