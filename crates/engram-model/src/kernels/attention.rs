//! Causal self-attention over queries, keys and values that stand side by side.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use multiversion::multiversion;
use rayon::prelude::*;

use super::dropout::apply_onto;
use super::matrix::{View, multiply};
use super::{Dropout, math, slice, with_slice};

/// z = dropout(softmax(scale·QKᵀ + causal mask))·V for each head; qkv: [batch, pos, 3·d], d = heads·d_head.
/// Gives [batch, pos, d], heads side by side. No table of scores outlives its head.
///
/// # Errors
/// On tensors that are not float32 on the CPU.
pub fn causal_attention(qkv: &Tensor, heads: usize, scale: f32, mask: Dropout) -> Result<Tensor> {
    let (_, positions, width) = qkv.dims3()?;
    if width % (3 * heads) != 0 {
        bail!("causal_attention: width {width} is not 3 × {heads} heads × d_head");
    }
    qkv.contiguous()?.apply_op1(Attention {
        heads,
        positions,
        d_head: width / (3 * heads),
        scale,
        mask,
    })
}

/// softmax(scale·QKᵀ + causal mask) from q and k of shape [batch, pos, head, d_head]; gives
/// [batch, head, query, key]. The plain way, for taps that ask for queries, keys or patterns.
///
/// # Errors
/// As the tensor library's.
pub fn attention_probabilities(q: &Tensor, k: &Tensor, scale: f32) -> Result<Tensor> {
    let q = q.transpose(1, 2)?.contiguous()?;
    let k = k.transpose(1, 2)?.contiguous()?;
    let scores = (q.matmul(&k.t()?)? * f64::from(scale))?;
    let positions = scores.dim(3)?;
    let probabilities = with_slice(&scores, |scores| {
        let mut out = scores.to_vec();
        out.par_chunks_mut(positions * positions)
            .for_each(|table| causal_softmax(table, positions, 0));
        Ok(out)
    })?;
    Tensor::from_vec(probabilities, scores.shape(), scores.device())
}

/// Causal attention within one sequence after another, each on one thread.
pub(crate) struct Attention {
    /// Number of heads.
    pub heads: usize,
    /// Length of a sequence.
    pub positions: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// Dropout on the probabilities.
    pub mask: Dropout,
}

/// Rows of queries that are worked on together; keys after the last of them are left out.
const BLOCK: usize = 64;
/// Elements of a vector register at its widest; rows of a table are a multiple of it.
const LANES: usize = 16;

/// Largest element and, after `e^(x − largest)` in place, the sum; in lanes, which is one order of addition everywhere.
#[inline(always)]
fn exponentials(row: &mut [f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder().iter().copied();
    let mut max = rest.fold(f32::NEG_INFINITY, larger);
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *v);
        }
    }
    max = lanes.into_iter().fold(max, larger);
    let mut lanes = [0f32; LANES];
    let mut total = 0f32;
    let mut chunks = row.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *v = math::exp(*v - max);
            *lane += *v;
        }
    }
    for v in chunks.into_remainder() {
        *v = math::exp(*v - max);
        total += *v;
    }
    total + lanes.iter().sum::<f32>()
}

/// Softmax of each row up to its diagonal; zeros after it. The first row is that of query `first`, and a
/// row is `stride` long.
#[multiversion(targets = "simd")]
fn causal_softmax(rows: &mut [f32], stride: usize, first: usize) {
    for (query, row) in rows.chunks_exact_mut(stride).enumerate() {
        let seen = first + query + 1;
        // Whole registers: what lies beyond the diagonal becomes e^−∞.
        let end = seen.next_multiple_of(LANES).min(stride);
        row[seen..end].fill(f32::NEG_INFINITY);
        let inverse = 1.0 / exponentials(&mut row[..end]);
        for v in &mut row[..end] {
            *v *= inverse;
        }
        row[end..].fill(0.0);
    }
}

impl Attention {
    fn width(&self) -> usize {
        self.heads * self.d_head
    }

    /// Queries (0), keys (1) or values (2) of a head within one batch row of qkv.
    fn part(&self, which: usize, head: usize) -> View {
        View {
            start: which * self.width() + head * self.d_head,
            row: 3 * self.width(),
            column: 1,
        }
    }

    /// Length of a table's rows.
    fn stride(&self) -> usize {
        self.positions.next_multiple_of(LANES)
    }

    fn table(&self) -> View {
        View::rows(self.stride())
    }

    fn output(&self, head: usize) -> View {
        View {
            start: head * self.d_head,
            row: self.width(),
            column: 1,
        }
    }

    /// Positions by blocks.
    fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let positions = self.positions;
        let starts = (0..positions).step_by(BLOCK);
        starts.map(move |start| start..(start + BLOCK).min(positions))
    }

    /// The rows of a block of queries: probabilities on every key that one of them sees.
    fn probabilities(&self, qkv: &[f32], head: usize, block: &Range<usize>, table: &mut [f32]) {
        let (q, k) = (self.part(0, head), self.part(1, head));
        multiply(
            (block.len(), self.d_head, block.end),
            qkv,
            q.skip_rows(block.start),
            qkv,
            k.t(),
            table,
            self.table().skip_rows(block.start),
            (self.scale, false),
        );
        let stride = self.stride();
        let rows = &mut table[block.start * stride..block.end * stride];
        causal_softmax(rows, stride, block.start);
    }

    fn drop(&self, table: &mut [f32], block: &Range<usize>, batch: usize, head: usize) {
        if self.mask.probability > 0.0 {
            let t = self.positions;
            let first = (batch * self.heads + head) * t * t;
            for query in block.clone() {
                let row = &mut table[query * self.stride()..][..=query];
                apply_onto(row, self.mask, (first + query * t) as u64);
            }
        }
    }

    /// z of sequence number `batch`; qkv: [pos, 3·d], out: [pos, d].
    pub fn forward(&self, qkv: &[f32], batch: usize, out: &mut [f32]) {
        let mut table = vec![0f32; self.positions * self.stride()];
        for head in 0..self.heads {
            for block in self.blocks() {
                self.probabilities(qkv, head, &block, &mut table);
                self.drop(&mut table, &block, batch, head);
                multiply(
                    (block.len(), block.end, self.d_head),
                    &table,
                    self.table().skip_rows(block.start),
                    qkv,
                    self.part(2, head),
                    out,
                    self.output(head).skip_rows(block.start),
                    (1.0, false),
                );
            }
        }
    }

    /// With P the probabilities, M the dropout factors, A = P∘M: dV = AᵀdZ, dP = (dZ Vᵀ)∘M,
    /// dS = P∘(dP − rowsum(dP∘P)), dQ = scale·dS K, dK = scale·dSᵀ Q.
    pub fn backward(&self, qkv: &[f32], grad: &[f32], batch: usize, out: &mut [f32]) {
        let (t, d, stride) = (self.positions, self.d_head, self.stride());
        let mut p = vec![0f32; t * stride];
        let mut ds = vec![0f32; t * stride];
        let dropping = self.mask.probability > 0.0;
        let mut dropped = vec![0f32; if dropping { t * stride } else { 0 }];
        let table = self.table();
        for head in 0..self.heads {
            let (q, k, v) = (self.part(0, head), self.part(1, head), self.part(2, head));
            let g = self.output(head);
            for block in self.blocks() {
                let (first, n) = (block.start, block.len());
                let rows = first * stride..block.end * stride;
                self.probabilities(qkv, head, &block, &mut p);
                if dropping {
                    dropped[rows.clone()].copy_from_slice(&p[rows.clone()]);
                    self.drop(&mut dropped, &block, batch, head);
                }
                let to = table.skip_rows(first);
                let keys = (n, d, block.end);
                multiply(
                    keys,
                    grad,
                    g.skip_rows(first),
                    qkv,
                    v.t(),
                    &mut ds,
                    to,
                    (1.0, false),
                );
                let a = if dropping { &dropped } else { &p };
                let (p, a) = (&p[rows.clone()], &a[rows.clone()]);
                score_gradient(p, a, &mut ds[rows], stride, first);
                let keys = (n, block.end, d);
                let to = q.skip_rows(first);
                multiply(
                    keys,
                    &ds,
                    table.skip_rows(first),
                    qkv,
                    k,
                    out,
                    to,
                    (self.scale, false),
                );
            }
            let a = if dropping { &dropped } else { &p };
            for block in self.blocks() {
                // Queries before the block see none of its keys.
                let first = block.start;
                let seen = table.skip_rows(first).skip_columns(first).t();
                let queries = (block.len(), t - first, d);
                let (g, q) = (g.skip_rows(first), q.skip_rows(first));
                multiply(
                    queries,
                    a,
                    seen,
                    grad,
                    g,
                    out,
                    v.skip_rows(first),
                    (1.0, false),
                );
                multiply(
                    queries,
                    &ds,
                    seen,
                    qkv,
                    q,
                    out,
                    k.skip_rows(first),
                    (self.scale, false),
                );
            }
        }
    }
}

/// dP to dS in place, for rows of queries from `first` on. Dropped and kept elements need no mask of their own:
/// dP∘M∘P = dP∘A. Beyond the diagonal P and A are 0, and so is dS.
#[multiversion(targets = "simd")]
fn score_gradient(p: &[f32], a: &[f32], dp: &mut [f32], stride: usize, first: usize) {
    let rows = p.chunks_exact(stride).zip(a.chunks_exact(stride));
    for (query, ((p, a), dp)) in rows.zip(dp.chunks_exact_mut(stride)).enumerate() {
        let end = (first + query + 1).next_multiple_of(LANES);
        let (p, a, dp) = (&p[..end], &a[..end], &mut dp[..]);
        let (dp, beyond) = dp.split_at_mut(end);
        let mut lanes = [0f32; LANES];
        for (d, a) in dp.chunks_exact(LANES).zip(a.chunks_exact(LANES)) {
            for i in 0..LANES {
                lanes[i] += d[i] * a[i];
            }
        }
        let dot: f32 = lanes.iter().sum();
        for ((d, a), p) in dp.iter_mut().zip(a).zip(p) {
            *d = *d * a - p * dot;
        }
        beyond.fill(0.0);
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "causal_attention"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let qkv = slice(storage, layout)?;
        let (t, width) = (self.positions, self.width());
        let mut out = vec![0f32; qkv.len() / 3];
        out.par_chunks_mut(t * width)
            .zip(qkv.par_chunks(3 * t * width))
            .enumerate()
            .for_each(|(batch, (out, qkv))| self.forward(qkv, batch, out));
        let batch = out.len() / (t * width);
        Ok((CpuStorage::F32(out), Shape::from((batch, t, width))))
    }

    fn bwd(&self, qkv: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (t, width) = (self.positions, self.width());
        let out = with_slice(qkv, |qkv| {
            with_slice(grad, |grad| {
                let mut out = vec![0f32; qkv.len()];
                out.par_chunks_mut(3 * t * width)
                    .zip(
                        qkv.par_chunks(3 * t * width)
                            .zip(grad.par_chunks(t * width)),
                    )
                    .enumerate()
                    .for_each(|(batch, (out, (qkv, grad)))| self.backward(qkv, grad, batch, out));
                Ok(out)
            })
        })?;
        Tensor::from_vec(out, qkv.shape(), qkv.device()).map(Some)
    }
}
