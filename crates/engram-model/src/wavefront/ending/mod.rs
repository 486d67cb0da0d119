//! The end of some runs, from a block and a position of each on, where nothing before them changes: forward as often as
//! asked with something else added there, and back to its gradient. Rows before the position are keys and values of the
//! unpatched runs; no weight has a gradient.

mod attention;

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::base::{LayerCache, ROWS, after, normalised};
use super::{Block, Caches, Norm, Run, Vocabulary, Wavefront};
use crate::error::{ModelError, Result};
use crate::kernels::packed::Packed;
use crate::kernels::suffix_attention::{probabilities, score_gradients, weigh};

/// The transposed weights of a network from a block on, and its head: what gradients go back through.
pub struct Reverse {
    first: usize,
    /// Of each block: queries, keys and values; heads; neurons; down-projection.
    blocks: Vec<[Packed; 4]>,
    /// [vocab, d_model].
    head: Packed,
}

/// Runs that are read from a position of each on, and from after a block.
pub struct Ending<'a> {
    front: &'a Wavefront,
    vocabulary: &'a Vocabulary,
    reverse: &'a Reverse,
    caches: Caches,
    layer: usize,
    /// The position of each run that something is added at.
    starts: Vec<usize>,
    /// Where each run's rows stand among all.
    rows: Vec<Range<usize>>,
}

/// What a way back needs of one block.
struct BlockTrace {
    x: Vec<f32>,
    qkv: Vec<f32>,
    /// Queries and keys normalised and turned; empty where that changes nothing.
    met: Vec<f32>,
    /// Of each run, [row, head, position].
    patterns: Vec<Vec<f32>>,
    /// What attention adds before it is normalised; empty where it is not.
    attn: Vec<f32>,
    mid: Vec<f32>,
    pre: Vec<f32>,
    /// What the MLP adds before it is normalised; empty where it is not.
    mlp: Vec<f32>,
}

/// One way forward.
pub struct Trace {
    blocks: Vec<BlockTrace>,
    /// After the last block.
    last: Vec<f32>,
}

/// Rows of logits, and what lies before the cap.
pub struct LogitRows {
    /// [reads, vocab].
    pub values: Vec<f32>,
    reads: Vec<usize>,
}

impl Reverse {
    /// Of the blocks from `first` on, and of the whole vocabulary.
    pub fn new(front: &Wavefront, vocabulary: &Vocabulary, first: usize) -> Reverse {
        let blocks = front.blocks.iter().skip(first);
        let of = |block: &Arc<Block>| {
            [
                block.c_attn.weight.transposed(),
                block.attn_proj.weight.transposed(),
                block.c_fc.weight.transposed(),
                block.mlp_proj.weight.transposed(),
            ]
        };
        Reverse {
            first,
            blocks: blocks.map(of).collect(),
            head: vocabulary.rows.transposed(),
        }
    }

    /// The first block that it has.
    pub fn first(&self) -> usize {
        self.first
    }
}

/// rows · weight on all threads.
fn times(rows: &[f32], weight: &Packed) -> Vec<f32> {
    let mut out = vec![0f32; rows.len() / weight.inner().max(1) * weight.columns()];
    weight.multiply_onto_in_parallel(rows, &mut out);
    out
}

/// dx += the gradient at x of a normalisation whose output has gradient `grad`.
fn normalised_back(norm: &Norm, x: &[f32], grad: &[f32], dx: &mut [f32]) {
    let width = norm.weight.len() * ROWS;
    let rows = dx.par_chunks_mut(width).zip(x.par_chunks(width));
    rows.zip(grad.par_chunks(width))
        .for_each(|((dx, x), grad)| norm.backward_onto(x, grad, dx));
}

/// The gradient at what is added, which is normalised where the family does so.
fn after_back(norm: Option<&Norm>, added: &[f32], grad: &[f32]) -> Vec<f32> {
    let Some(norm) = norm else {
        return grad.to_vec();
    };
    let mut dx = vec![0f32; grad.len()];
    normalised_back(norm, added, grad, &mut dx);
    dx
}

impl Wavefront {
    /// Runs sequences whole, and keeps what their ends after block `layer` need; something may be added at the position
    /// of each in `starts`. `vocabulary` is whole.
    ///
    /// # Errors
    /// As [`Wavefront::runs`]; [`ModelError::Layer`] for a layer that there is not, or that `reverse` does not reach.
    pub fn ending<'a>(
        &'a self,
        vocabulary: &'a Vocabulary,
        reverse: &'a Reverse,
        runs: &[Run],
        layer: usize,
        starts: &[usize],
    ) -> Result<Ending<'a>> {
        let layers = self.shape.layers;
        if layer >= layers || layer + 1 < reverse.first {
            return Err(ModelError::Layer { layer, layers });
        }
        let keep = |at: usize, cache: LayerCache| match at {
            at if at < layer => LayerCache::default(),
            at if at == layer => LayerCache {
                post: cache.post,
                ..LayerCache::default()
            },
            at => LayerCache {
                // The first has the rows that go on.
                resid_pre: match at == layer + 1 {
                    true => cache.resid_pre,
                    false => Vec::new(),
                },
                qkv: cache.qkv,
                met: cache.met,
                ..LayerCache::default()
            },
        };
        let caches = self.runs_keeping(runs, layers, &keep)?;
        let mut rows = Vec::with_capacity(starts.len());
        let mut from = 0;
        for (run, start) in starts.iter().enumerate() {
            let count = caches.positions(run).saturating_sub(*start);
            rows.push(from..from + count);
            from += count;
        }
        Ok(Ending {
            front: self,
            vocabulary,
            reverse,
            caches,
            layer,
            starts: starts.to_vec(),
            rows,
        })
    }
}

impl Ending<'_> {
    /// The activations of the block's neurons where a run starts: `[d_mlp]`.
    pub fn neurons(&self, run: usize) -> &[f32] {
        let m = self.front.shape.d_mlp;
        let row = self.caches.first_row(run) + self.starts[run];
        &self.caches.layers[self.layer].post[row * m..(row + 1) * m]
    }

    /// The down-projection's output, bias included, where a run starts: `[d_model]`.
    pub fn projected(&self, run: usize) -> Vec<f32> {
        let block = &self.front.blocks[self.layer];
        block.mlp_proj.forward(self.neurons(run))
    }

    /// The residual stream after the block where a run starts: `[d_model]`.
    pub fn residual(&self, run: usize) -> &[f32] {
        &self.rows_of_base(run)[..self.front.shape.d_model]
    }

    /// What the block's MLP adds more to the residual stream where a run starts, when δ is added to its
    /// down-projection's output: δ, but for families that normalise what it adds.
    pub fn added(&self, run: usize, delta: &[f32]) -> Vec<f32> {
        let Some(norm) = &self.front.blocks[self.layer].post_mlp else {
            return delta.to_vec();
        };
        let before = self.projected(run);
        let moved: Vec<f32> = before.iter().zip(delta).map(|(b, d)| b + d).collect();
        let [mut out, old] = [moved, before].map(|row| after(row, Some(norm)));
        out.iter_mut().zip(old).for_each(|(o, b)| *o -= b);
        out
    }

    /// The gradient at δ of [`Ending::added`].
    pub fn added_gradient(&self, run: usize, delta: &[f32], grad: &[f32]) -> Vec<f32> {
        let norm = self.front.blocks[self.layer].post_mlp.as_ref();
        let mut moved = self.projected(run);
        moved.iter_mut().zip(delta).for_each(|(m, d)| *m += d);
        after_back(norm, &moved, grad)
    }

    /// A run's rows after the block.
    fn rows_of_base(&self, run: usize) -> &[f32] {
        let d = self.front.shape.d_model;
        let all = match self.caches.layers.get(self.layer + 1) {
            Some(cache) => &cache.resid_pre,
            None => &self.caches.last,
        };
        let first = self.caches.first_row(run);
        let end = first + self.caches.positions(run);
        &all[(first + self.starts[run]) * d..end * d]
    }

    /// Forward with a row added where each run starts; added: [runs, d_model].
    pub fn forward(&self, added: &[f32]) -> Trace {
        let d = self.front.shape.d_model;
        let mut x = Vec::new();
        for (run, added) in added.chunks_exact(d).enumerate() {
            let start = x.len();
            x.extend_from_slice(self.rows_of_base(run));
            x[start..].iter_mut().zip(added).for_each(|(x, a)| *x += a);
        }
        let mut blocks = Vec::new();
        for layer in self.layer + 1..self.front.shape.layers {
            let (trace, out) = self.block(layer, x);
            blocks.push(trace);
            x = out;
        }
        Trace { blocks, last: x }
    }

    /// Logits at some places of a way forward: a run, and a row from its start on.
    pub fn logits(&self, trace: &Trace, reads: &[(usize, usize)]) -> LogitRows {
        let d = self.front.shape.d_model;
        let reads: Vec<usize> = (reads.iter())
            .map(|(run, row)| self.rows[*run].start + row)
            .collect();
        let rows: Vec<f32> = (reads.iter())
            .flat_map(|r| &trace.last[r * d..(r + 1) * d])
            .copied()
            .collect();
        let rows = normalised(&self.front.ln_final, &rows);
        LogitRows {
            values: self.front.logits(&rows, self.vocabulary),
            reads,
        }
    }

    /// The gradient at what is added where each run starts, [runs, d_model], from one at the logits.
    pub fn backward(&self, trace: &Trace, logits: &LogitRows, mut grad: Vec<f32>) -> Vec<f32> {
        let d = self.front.shape.d_model;
        if let Some(cap) = self.front.logit_cap {
            // d/dx c·tanh(x / c) = 1 − tanh².
            let each = grad.iter_mut().zip(&logits.values);
            each.for_each(|(g, y)| *g *= 1.0 - (y / cap).powi(2));
        }
        let of_rows = times(&grad, &self.reverse.head);
        let mut grad = vec![0f32; trace.last.len()];
        for (row, of_row) in logits.reads.iter().zip(of_rows.chunks_exact(d)) {
            let at = row * d..(row + 1) * d;
            let norm = &self.front.ln_final;
            norm.backward_onto(&trace.last[at.clone()], of_row, &mut grad[at]);
        }
        for (i, of_block) in trace.blocks.iter().enumerate().rev() {
            grad = self.block_back(self.layer + 1 + i, of_block, grad);
        }
        let first = |rows: &Range<usize>| grad[rows.start * d..(rows.start + 1) * d].to_vec();
        self.rows.iter().flat_map(first).collect()
    }

    /// One block, as the transformer's forward pass has it.
    fn block(&self, layer: usize, x: Vec<f32>) -> (BlockTrace, Vec<f32>) {
        let (shape, block) = (&self.front.shape, &self.front.blocks[layer]);
        let qkv = (block.c_attn).forward_in_parallel(&normalised(&block.ln_1, &x));
        let met = self.met(block, &qkv);
        let (z, patterns) = self.attend(layer, &qkv, &met);
        let attn = block.attn_proj.forward_in_parallel(&z);
        let (attn, attn_out) = with_after(attn, block.post_attention.as_ref());
        let mid: Vec<f32> = x.iter().zip(&attn_out).map(|(x, a)| x + a).collect();
        let read = if shape.parallel { &x } else { &mid };
        let pre = (block.c_fc).forward_in_parallel(&normalised(&block.ln_2, read));
        let mut post = vec![0f32; pre.len() / shape.d_hidden() * shape.d_mlp];
        post.par_chunks_mut(shape.d_mlp * ROWS)
            .zip(pre.par_chunks(shape.d_hidden() * ROWS))
            .for_each(|(post, pre)| block.activate_rows(pre, shape.d_mlp, post));
        let mlp = block.mlp_proj.forward_in_parallel(&post);
        let (mlp, mlp_out) = with_after(mlp, block.post_mlp.as_ref());
        let out = mid.iter().zip(&mlp_out).map(|(x, m)| x + m).collect();
        let trace = BlockTrace {
            x,
            qkv,
            met,
            patterns,
            attn,
            mid,
            pre,
            mlp,
        };
        (trace, out)
    }

    /// The gradient at a block's input from that at its output.
    fn block_back(&self, layer: usize, trace: &BlockTrace, grad: Vec<f32>) -> Vec<f32> {
        let (shape, block) = (&self.front.shape, &self.front.blocks[layer]);
        let [c_attn, attn_proj, c_fc, mlp_proj] = &self.reverse.blocks[layer - self.reverse.first];
        let of_mlp = after_back(block.post_mlp.as_ref(), &trace.mlp, &grad);
        let of_post = times(&of_mlp, mlp_proj);
        let mut of_pre = vec![0f32; trace.pre.len()];
        of_pre
            .par_chunks_mut(shape.d_hidden())
            .zip(trace.pre.par_chunks(shape.d_hidden()))
            .zip(of_post.par_chunks(shape.d_mlp))
            .for_each(|((of_pre, pre), of_post)| block.activate_back(pre, of_post, of_pre));
        let of_normal = times(&of_pre, c_fc);
        let mut dx = grad;
        if !shape.parallel {
            normalised_back(&block.ln_2, &trace.mid, &of_normal, &mut dx);
        }
        let of_attn = after_back(block.post_attention.as_ref(), &trace.attn, &dx);
        if shape.parallel {
            normalised_back(&block.ln_2, &trace.x, &of_normal, &mut dx);
        }
        let of_qkv = self.attend_back(layer, trace, &times(&of_attn, attn_proj));
        normalised_back(&block.ln_1, &trace.x, &times(&of_qkv, c_attn), &mut dx);
        dx
    }
}

/// What is added as it is and as it is added; the first is kept only where the two differ.
fn with_after(added: Vec<f32>, norm: Option<&Norm>) -> (Vec<f32>, Vec<f32>) {
    match norm {
        None => (Vec::new(), added),
        Some(norm) => {
            let out = normalised(norm, &added);
            (added, out)
        }
    }
}

impl Block {
    /// The gradient at a row of the first projections from that at the neurons' activations.
    fn activate_back(&self, pre: &[f32], of_post: &[f32], of_pre: &mut [f32]) {
        let (pre, up) = pre.split_at(of_post.len());
        let (of_pre, of_up) = of_pre.split_at_mut(of_post.len());
        of_pre.copy_from_slice(of_post);
        if !up.is_empty() {
            self.activation.forward(pre, of_up);
            of_up.iter_mut().zip(of_post).for_each(|(o, g)| *o *= g);
            of_pre.iter_mut().zip(up).for_each(|(o, u)| *o *= u);
        }
        self.activation.backward(pre, of_pre);
    }
}
