//! What a wavefront costs, from sizes alone: floating-point operations (a multiply-add counts two) and
//! bytes.

use engram_core::Site;

use super::geometry::{Flow, spans};
use super::world::World;
use super::write::{Placed, Write, WrittenValue, place};
use crate::architecture::Shape;
use crate::block::{ComputedFrom, Described, Graph, Stage};
use crate::kernels::packed::{DEPTH, PANEL};

/// A matrix product of a block: rows of a stage times a weight of [inputs, outputs].
struct Product {
    of: Site,
    /// The stage whose rows are multiplied.
    rows: Stage,
    inputs: u64,
    outputs: u64,
}

/// The matrix products of a block, attention's own apart.
fn products(shape: &Shape) -> Vec<Product> {
    let graph = Graph::of(shape);
    let block = graph.block.iter();
    let product = |d: &Described| {
        let (inputs, outputs) = d.inputs.zip(d.width)?;
        let ComputedFrom::Of(read) = &d.made else {
            return None;
        };
        let read = graph.block.iter().find(|other| read.contains(&other.site));
        Some(Product {
            of: d.site,
            rows: read?.stage,
            inputs: inputs as u64,
            outputs: outputs as u64,
        })
    };
    block.filter_map(product).collect()
}

/// What runs and worlds of a network cost in operations: its products and the stages that read each other, worked out once.
pub struct Work<'s> {
    shape: &'s Shape,
    flow: Flow,
    products: Vec<Product>,
}

impl<'s> Work<'s> {
    /// Of a network of given sizes.
    pub fn of(shape: &'s Shape) -> Work<'s> {
        Work {
            shape,
            flow: Flow::of(shape),
            products: products(shape),
        }
    }

    /// Operations of a run of `positions` tokens whose activations are kept, the unembedding left out.
    pub fn run(&self, positions: usize) -> u64 {
        let n = positions as u64;
        let products = self.products.iter().map(|p| 2 * p.inputs * p.outputs * n);
        let attention = 4 * self.shape.d_queries() as u64 * (n * (n + 1) / 2);
        self.shape.layers as u64 * (products.sum::<u64>() + attention)
    }

    /// Operations of a world of `positions` tokens, the unembedding left out.
    pub fn world(&self, world: &World, positions: usize) -> u64 {
        let shape = self.shape;
        let writes = place(&world.writes, shape);
        let Some(first) = writes.first() else {
            return 0;
        };
        let width = shape.d_queries() as u64;
        let mut range = 0..0;
        let mut total = 0;
        for layer in first.layer..shape.layers {
            let entry = range.clone();
            let spans = spans(&writes, layer, &self.flow, entry, positions, world.read);
            for product in &self.products {
                let rows = &spans[product.rows];
                total += 2 * product.inputs * product.outputs * rows.len() as u64;
                // In the last block only queries that attend are computed.
                if product.of == Site::CAttn && layer + 1 == shape.layers {
                    let attending = &spans[Stage::Pattern];
                    let read = attending.start.max(rows.start);
                    let queries = rows.end.min(attending.end).saturating_sub(read);
                    total -= 2 * product.inputs * width * (rows.len() - queries) as u64;
                }
            }
            let attending = spans[Stage::Pattern].clone();
            total += 4 * width * attending.map(|q| q as u64 + 1).sum::<u64>();
            total += differences(shape, &writes, layer) + readings(shape, &writes, layer);
            range = spans.out;
        }
        total
    }
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

/// Operations of destinations that read terms otherwise.
fn readings(shape: &Shape, writes: &[Placed], layer: usize) -> u64 {
    let here = writes.iter().filter(|w| w.layer == layer);
    here.filter_map(|write| {
        let WrittenValue::Reading(terms) = &write.value else {
            return None;
        };
        let columns = match (write.stage, &write.part) {
            (Stage::Qkv, Some(part)) => part.len() * shape.d_head,
            (Stage::Qkv, None) => shape.d_queries(),
            _ => 0,
        };
        let heads = terms.iter().filter(|t| t.site == Site::HeadOut);
        let heads = heads.map(|t| t.part.as_ref().map_or(shape.heads, |p| p.len()));
        let inputs = columns + heads.sum::<usize>() * shape.d_head;
        Some(2 * (inputs * shape.d_model * write.positions.len()) as u64)
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
    // The terms that a destination reads otherwise, and the run's own at each position.
    let readings = world.writes.iter().map(|write| match &write.value {
        WrittenValue::Reading(terms) => {
            let widest = shape.d_model.max(shape.d_queries());
            terms.len() * (size_of::<Write>() + write.positions.len() * (4 * widest + 100))
        }
        _ => 0,
    });
    let writes = writes + readings.sum::<usize>();
    // The world and its state, its values, and its ranges at each stage.
    4 * ((rows + read) * shape.d_model) as u64 + (writes + 900) as u64
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
