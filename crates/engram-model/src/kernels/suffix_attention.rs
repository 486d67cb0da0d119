//! Attention of some queries of a sequence over rows that stand in different places: a base run's cache
//! and a world's own.

use multiversion::multiversion;

use super::math;

const LANES: usize = 16;

/// Sizes of an attention layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    /// Number of heads.
    pub count: usize,
    /// Width of a head.
    pub width: usize,
    /// Factor on the scores.
    pub scale: f32,
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

/// Probabilities of one head's query at position `query` over keys 0..=query. `rows` are a sequence's
/// queries, keys and values side by side; `row` is where the query is from.
#[multiversion(targets = "simd")]
pub(crate) fn probabilities(
    heads: Heads,
    head: usize,
    row: &[f32],
    rows: &[&[f32]],
    query: usize,
    out: &mut [f32],
) {
    let d = heads.count * heads.width;
    let q = &row[head * heads.width..][..heads.width];
    let out = &mut out[..query + 1];
    let mut max = f32::NEG_INFINITY;
    for (score, row) in out.iter_mut().zip(rows) {
        let k = &row[d + head * heads.width..][..heads.width];
        *score = dot(q, k) * heads.scale;
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

/// One head's values weighted: z += Σ p·v over the keys that `p` covers.
#[multiversion(targets = "simd")]
pub(crate) fn weigh(heads: Heads, head: usize, p: &[f32], rows: &[&[f32]], z: &mut [f32]) {
    let d = heads.count * heads.width;
    for (p, row) in p.iter().zip(rows) {
        let v = &row[2 * d + head * heads.width..][..heads.width];
        for (z, v) in z.iter_mut().zip(v) {
            *z += p * v;
        }
    }
}
