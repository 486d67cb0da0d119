//! Attention of some queries of a sequence, over keys and values that are partly in a base run's cache and partly a
//! world's own.

use std::ops::Range;

use multiversion::multiversion;

use super::{AttentionWindow, math};

const LANES: usize = 16;

/// Sizes of an attention layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    /// Number of query heads.
    pub count: usize,
    /// Query heads per key-value head.
    pub group: usize,
    /// Width of a head.
    pub width: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// Soft cap c of scores: c·tanh(score / c).
    pub cap: Option<f32>,
    /// The attention window.
    pub seen: AttentionWindow,
}

impl Heads {
    /// Columns, in a row of keys or values, of the key-value head that serves a query head.
    pub fn serving(self, head: usize) -> Range<usize> {
        let first = head / self.group * self.width;
        first..first + self.width
    }
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let rest: f32 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0] + rest
}

/// Attention probabilities of one head's query at position `query` over keys 0..=query; 0 outside the window. `queries`
/// is the row of all heads' queries at that position, `keys` the rows of all key-value heads' keys.
#[multiversion(targets = "simd")]
pub(crate) fn probabilities(
    heads: Heads,
    head: usize,
    queries: &[f32],
    keys: &[&[f32]],
    query: usize,
    out: &mut [f32],
) {
    let q = &queries[head * heads.width..][..heads.width];
    let (seen, serving) = (heads.seen.by(query), heads.serving(head));
    out[..seen.start].fill(0.0);
    let (out, keys) = (&mut out[seen.clone()], &keys[seen]);
    let mut max = f32::NEG_INFINITY;
    for (score, row) in out.iter_mut().zip(keys) {
        *score = dot(q, &row[serving.clone()]) * heads.scale;
        if let Some(cap) = heads.cap {
            *score = cap * (*score / cap).tanh();
        }
        max = if *score > max { *score } else { max };
    }
    let mut total = 0f32;
    for score in out.iter_mut() {
        *score = math::exp(*score - max);
        total += *score;
    }
    let inverse = 1.0 / total;
    for score in out.iter_mut() {
        *score *= inverse;
    }
}

/// One head's weighted values: z += Σ p·v over the keys of `p`; `values` are the rows of all key-value heads' values.
#[multiversion(targets = "simd")]
pub(crate) fn weigh(heads: Heads, head: usize, p: &[f32], values: &[&[f32]], z: &mut [f32]) {
    let serving = heads.serving(head);
    for (p, row) in p.iter().zip(values) {
        for (z, v) in z.iter_mut().zip(&row[serving.clone()]) {
            *z += p * v;
        }
    }
}

/// The gradient at one head's products q·k of the query that `p` are the probabilities of, from that at its weighted
/// values: with ḡ = dz·v, out = p·(ḡ − Σ p·ḡ)·scale, through the cap where there is one.
#[allow(clippy::too_many_arguments, reason = "plain slices, for vectorisation")]
#[multiversion(targets = "simd")]
pub(crate) fn score_gradients(
    heads: Heads,
    head: usize,
    queries: &[f32],
    keys: &[&[f32]],
    values: &[&[f32]],
    p: &[f32],
    dz: &[f32],
    out: &mut [f32],
) {
    let serving = heads.serving(head);
    let mut mean = 0f32;
    for ((out, p), row) in out.iter_mut().zip(p).zip(values) {
        *out = dot(dz, &row[serving.clone()]);
        mean += p * *out;
    }
    for (out, p) in out.iter_mut().zip(p) {
        *out = p * (*out - mean) * heads.scale;
    }
    if let Some(cap) = heads.cap {
        let q = &queries[head * heads.width..][..heads.width];
        for (out, row) in out.iter_mut().zip(keys) {
            let tanh = (dot(q, &row[serving.clone()]) * heads.scale / cap).tanh();
            *out *= 1.0 - tanh * tanh;
        }
    }
}
