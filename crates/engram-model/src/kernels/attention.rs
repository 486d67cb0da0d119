//! Causal self-attention over queries, keys and values that stand side by side.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use multiversion::multiversion;
use rayon::prelude::*;

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
            .for_each(|table| causal_softmax(table, positions));
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

/// Softmax of each row up to its diagonal; zeros after it.
#[multiversion(targets = "simd")]
fn causal_softmax(table: &mut [f32], positions: usize) {
    for (query, row) in table.chunks_exact_mut(positions).enumerate() {
        let (seen, hidden) = row.split_at_mut(query + 1);
        let max = seen
            .iter()
            .fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m });
        for v in seen.iter_mut() {
            *v = math::exp(*v - max);
        }
        let mut lanes = [0f32; 16];
        let mut total = 0f32;
        let chunks = seen.chunks_exact(16);
        for v in chunks.remainder() {
            total += v;
        }
        for chunk in chunks {
            for (lane, v) in lanes.iter_mut().zip(chunk) {
                *lane += v;
            }
        }
        total += lanes.iter().sum::<f32>();
        let inverse = 1.0 / total;
        for v in seen.iter_mut() {
            *v *= inverse;
        }
        hidden.fill(0.0);
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

    fn table(&self) -> View {
        View {
            start: 0,
            row: self.positions,
            column: 1,
        }
    }

    fn output(&self, head: usize) -> View {
        View {
            start: head * self.d_head,
            row: self.width(),
            column: 1,
        }
    }

    fn probabilities(&self, qkv: &[f32], head: usize, table: &mut [f32]) {
        let (t, d) = (self.positions, self.d_head);
        let (q, k) = (self.part(0, head), self.part(1, head));
        multiply(
            (t, d, t),
            qkv,
            q,
            qkv,
            k.t(),
            table,
            self.table(),
            (self.scale, false),
        );
        causal_softmax(table, t);
    }

    fn drop(&self, table: &mut [f32], batch: usize, head: usize) {
        if self.mask.probability > 0.0 {
            let first = ((batch * self.heads + head) * table.len()) as u64;
            for (i, v) in table.iter_mut().enumerate() {
                if *v != 0.0 {
                    *v *= self.mask.factor(first + i as u64);
                }
            }
        }
    }

    /// z of sequence number `batch`; qkv: [pos, 3·d], out: [pos, d].
    pub fn forward(&self, qkv: &[f32], batch: usize, out: &mut [f32]) {
        let (t, d) = (self.positions, self.d_head);
        let mut table = vec![0f32; t * t];
        for head in 0..self.heads {
            self.probabilities(qkv, head, &mut table);
            self.drop(&mut table, batch, head);
            let v = self.part(2, head);
            multiply(
                (t, t, d),
                &table,
                self.table(),
                qkv,
                v,
                out,
                self.output(head),
                (1.0, false),
            );
        }
    }

    /// With P the probabilities, M the dropout factors, A = P∘M: dV = AᵀdZ, dP = (dZ Vᵀ)∘M,
    /// dS = P∘(dP − rowsum(dP∘P)), dQ = scale·dS K, dK = scale·dSᵀ Q.
    pub fn backward(&self, qkv: &[f32], grad: &[f32], batch: usize, out: &mut [f32]) {
        let (t, d) = (self.positions, self.d_head);
        let mut p = vec![0f32; t * t];
        let mut dropped = vec![0f32; t * t];
        let mut dp = vec![0f32; t * t];
        for head in 0..self.heads {
            let (q, k, v) = (self.part(0, head), self.part(1, head), self.part(2, head));
            let (table, g) = (self.table(), self.output(head));
            self.probabilities(qkv, head, &mut p);
            dropped.copy_from_slice(&p);
            self.drop(&mut dropped, batch, head);
            multiply(
                (t, t, d),
                &dropped,
                table.t(),
                grad,
                g,
                out,
                v,
                (1.0, false),
            );
            multiply((t, d, t), grad, g, qkv, v.t(), &mut dp, table, (1.0, false));
            score_gradient(&p, &dropped, &mut dp, t);
            multiply((t, t, d), &dp, table, qkv, k, out, q, (self.scale, false));
            multiply(
                (t, t, d),
                &dp,
                table.t(),
                qkv,
                q,
                out,
                k,
                (self.scale, false),
            );
        }
    }
}

/// dP to dS in place. Dropped and kept elements need no mask of their own: dP∘M∘P = dP∘A.
#[multiversion(targets = "simd")]
fn score_gradient(p: &[f32], dropped: &[f32], dp: &mut [f32], positions: usize) {
    for query in 0..positions {
        let row = query * positions..query * positions + query + 1;
        let (p, a, dp_row) = (&p[row.clone()], &dropped[row.clone()], &mut dp[row]);
        let mut lanes = [0f32; 16];
        let whole = dp_row.len() / 16 * 16;
        for (d, a) in dp_row[..whole]
            .chunks_exact(16)
            .zip(a[..whole].chunks_exact(16))
        {
            for i in 0..16 {
                lanes[i] += d[i] * a[i];
            }
        }
        let mut dot: f32 = lanes.iter().sum();
        for (d, a) in dp_row[whole..].iter().zip(&a[whole..]) {
            dot += d * a;
        }
        for ((d, a), p) in dp_row.iter_mut().zip(a).zip(p) {
            *d = *d * a - p * dot;
        }
        dp[query * positions + query + 1..(query + 1) * positions].fill(0.0);
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
