//! What a wavefront costs, from sizes alone: floating-point operations (a multiply-add counts two) and
//! bytes.

use super::geometry::spans;
use super::world::World;
use super::write::{Placed, place};
use crate::model::Shape;

/// Operations of a run of `positions` tokens whose activations are kept, the unembedding left out.
pub fn run_flops(shape: &Shape, positions: usize) -> u64 {
    let (d, m, n) = (shape.d_model as u64, shape.d_mlp as u64, positions as u64);
    let products = n * (8 * d * d + 4 * d * m);
    let attention = 4 * d * (n * (n + 1) / 2);
    shape.layers as u64 * (products + attention)
}

/// Operations of a world of `positions` tokens, the unembedding left out.
pub fn world_flops(shape: &Shape, world: &World, positions: usize) -> u64 {
    let writes = place(&world.writes, shape.layers);
    let Some(first) = writes.first() else {
        return 0;
    };
    let (d, m) = (shape.d_model as u64, shape.d_mlp as u64);
    let mut range = 0..0;
    let mut total = 0;
    for layer in first.layer..shape.layers {
        let entry = range.clone();
        let spans = spans(&writes, layer, shape.layers, entry, positions, world.read);
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
        total += 2 * d * d * queries + 4 * d * d * rows(&spans.normal_1);
        total += 4 * d * keys + 2 * d * d * rows(&spans.z);
        total += 2 * d * m * rows(&spans.normal_2) + 2 * d * m * rows(&spans.post);
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
    let a_layer = 8 * shape.d_model + 2 * shape.d_mlp;
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
    let width = 14 * shape.d_model + 4 * shape.d_mlp;
    4 * (threads * rows * width) as u64
}
