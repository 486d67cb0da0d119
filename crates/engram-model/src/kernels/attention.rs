//! Causal self-attention over queries, keys and values stored side by side.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use multiversion::multiversion;
use rayon::prelude::*;

use super::dropout::apply_onto;
use super::tile::{self, Left, PANEL, TILE, Tile};
use super::{Dropout, elementary, math, scratch, slice, with_slice};

/// z = dropout(softmax(scale·QKᵀ + causal mask))·V for each head. qkv: [batch, pos, 3·d] with d = heads·d_head; result:
/// [batch, pos, d], heads side by side. The scores of a head are discarded after use.
///
/// # Errors
/// If a tensor is not float32.
pub fn causal_attention(qkv: &Tensor, heads: usize, scale: f32, mask: Dropout) -> Result<Tensor> {
    let (_, positions, width) = qkv.dims3()?;
    if width % (3 * heads) != 0 {
        bail!("causal_attention: width {width} is not 3 × {heads} heads × d_head");
    }
    if !qkv.device().is_cpu() {
        return elementary::causal_attention(qkv, heads, scale, mask, None);
    }
    qkv.contiguous()?.apply_op1(Attention {
        heads,
        positions,
        keys: positions,
        d_head: width / (3 * heads),
        scale,
        mask,
    })
}

/// softmax(scale·QKᵀ + causal mask). q, k: [batch, pos, head, d_head]; result: [batch, head, query, key]. An unfused
/// version, for taps on queries, keys or patterns and for families with separate projections. It has no backward pass
/// of its own; where a gradient is needed, it uses elementary operations.
///
/// # Errors
/// Those of the tensor library.
pub fn attention_probabilities(q: &Tensor, k: &Tensor, scale: f32) -> Result<Tensor> {
    if !q.device().is_cpu() || q.track_op() || k.track_op() {
        return elementary::attention_probabilities(q, k, scale);
    }
    let q = q.transpose(1, 2)?.contiguous()?;
    let k = k.transpose(1, 2)?.contiguous()?;
    let scores = (q.matmul(&k.t()?)? * f64::from(scale))?;
    let positions = scores.dim(3)?;
    let probabilities = with_slice(&scores, |scores| {
        let mut out = scores.to_vec();
        out.par_chunks_mut(positions * positions)
            .for_each(|table| causal_softmax(table, positions, positions, 0, positions, 1.0));
        Ok(out)
    })?;
    Tensor::from_vec(probabilities, scores.shape(), scores.device())
}

/// Causal attention, one sequence after another, each on one thread.
pub(crate) struct Attention {
    /// Number of heads.
    pub heads: usize,
    /// Length of a sequence.
    pub positions: usize,
    /// Number of positions whose keys are visible, at least 1: `positions`, or fewer if padding is masked.
    pub keys: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// Dropout on the probabilities.
    pub mask: Dropout,
}

/// Queries processed together: their scores stay in the second-level cache.
const BLOCK: usize = 8 * TILE;
/// Elements of the widest vector register.
const LANES: usize = 16;

/// The largest element, and the sum after `e^(factor·(x − largest))` in place. Sums are kept in lanes, so that the
/// order of addition is the same everywhere.
#[inline(always)]
fn exponentials(row: &mut [f32], factor: f32) -> f32 {
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
            *v = math::exp(factor * (*v - max));
            *lane += *v;
        }
    }
    for v in chunks.into_remainder() {
        *v = math::exp(factor * (*v - max));
        total += *v;
    }
    total + lanes.iter().sum::<f32>()
}

/// Softmax of factor times each row, up to its diagonal or the last of `keys`; zeros from there to `end`. The first row
/// is that of query `first`; rows are `stride` apart.
#[multiversion(targets = "simd")]
fn causal_softmax(
    rows: &mut [f32],
    stride: usize,
    keys: usize,
    first: usize,
    end: usize,
    factor: f32,
) {
    for (query, row) in rows.chunks_exact_mut(stride).enumerate() {
        let seen = (first + query + 1).min(keys);
        // Whole registers: elements beyond the diagonal become e^−∞.
        let full = seen.next_multiple_of(LANES).min(stride);
        row[seen..full].fill(f32::NEG_INFINITY);
        let inverse = 1.0 / exponentials(&mut row[..full], factor);
        for v in &mut row[..full] {
            *v *= inverse;
        }
        row[full.min(end)..end].fill(0.0);
    }
}

/// dP to scale·dS in place, for rows of queries from `first` on. Dropout needs no mask of its own: dP∘M∘P = dP∘A.
/// Beyond the diagonal P and A are 0, and so is dS, up to `end`.
#[multiversion(targets = "simd")]
fn score_gradient(
    (p, a): (&[f32], &[f32]),
    dp: &mut [f32],
    stride: usize,
    first: usize,
    end: usize,
    scale: f32,
) {
    let rows = p.chunks_exact(stride).zip(a.chunks_exact(stride));
    for (query, ((p, a), dp)) in rows.zip(dp.chunks_exact_mut(stride)).enumerate() {
        let full = (first + query + 1).next_multiple_of(LANES);
        let (p, a) = (&p[..full], &a[..full]);
        dp[full.min(end)..end].fill(0.0);
        let dp = &mut dp[..full];
        let mut lanes = [0f32; LANES];
        for (d, a) in dp.chunks_exact(LANES).zip(a.chunks_exact(LANES)) {
            for i in 0..LANES {
                lanes[i] += d[i] * a[i];
            }
        }
        let dot = lanes.iter().sum::<f32>() * scale;
        for ((d, a), p) in dp.iter_mut().zip(a).zip(p) {
            *d = *d * a * scale - p * dot;
        }
    }
}

/// Copies the rows of one head side by side, padded with zeros to whole panels.
fn lay_out(from: &[f32], distance: usize, d_head: usize, to: &mut [f32]) {
    let width = d_head.next_multiple_of(PANEL);
    for (from, to) in from.chunks(distance).zip(to.chunks_exact_mut(width)) {
        to[..d_head].copy_from_slice(&from[..d_head]);
        to[d_head..].fill(0.0);
    }
}

/// Copies the same rows as columns: panels of [`PANEL`] positions, each [d_head, PANEL], padded with zeros.
fn lay_out_transposed(from: &[f32], distance: usize, d_head: usize, to: &mut [f32]) {
    let panels = to.chunks_exact_mut(d_head * PANEL);
    for (rows, to) in from.chunks(distance * PANEL).zip(panels) {
        to.fill(0.0);
        for (column, row) in rows.chunks(distance).enumerate() {
            for (l, v) in row[..d_head].iter().enumerate() {
                to[l * PANEL + column] = *v;
            }
        }
    }
}

/// A block of queries. Its tables have a value for each query and key: [queries, keys], rows of `stride`.
struct Block {
    queries: Range<usize>,
    stride: usize,
}

impl Block {
    /// Number of keys visible to some query of the block, in whole panels.
    fn keys(&self) -> usize {
        self.queries.end.next_multiple_of(PANEL)
    }

    /// The block's queries in tiles, counted from its first.
    fn tiles(&self) -> impl Iterator<Item = Range<usize>> {
        tiles(0..self.queries.len())
    }

    fn len(&self) -> usize {
        self.queries.len() * self.stride
    }

    /// table = rows·columnsᵀ for the keys visible to a tile's queries; rows of the slice at a distance, `columns`
    /// transposed in panels.
    fn scores(
        &self,
        rows: &[f32],
        distance: usize,
        columns: &[f32],
        d_head: usize,
        to: &mut [f32],
    ) {
        for tile in self.tiles() {
            let first = self.queries.start + tile.start;
            let seen = self.queries.start + tile.end;
            let product = Tile {
                high: tile.len(),
                depth: d_head,
                left: Left::ByRow(distance),
                right: PANEL,
                out: self.stride,
                add: false,
            };
            let panels = columns.chunks_exact(d_head * PANEL);
            for (panel, columns) in panels.take(seen.div_ceil(PANEL)).enumerate() {
                let to = &mut to[tile.start * self.stride + panel * PANEL..];
                tile::multiply(product, &rows[first * distance..], columns, to);
            }
        }
    }

    /// For each row of the block: table·rows, [queries, d_head], passed to `put` with the position of its first query.
    fn weigh(
        &self,
        table: &[f32],
        rows: &[f32],
        d_head: usize,
        mut put: impl FnMut(usize, Range<usize>, &[f32]),
    ) {
        let width = d_head.next_multiple_of(PANEL);
        let mut sums = [0f32; TILE * PANEL];
        for tile in self.tiles() {
            let product = Tile {
                high: tile.len(),
                depth: self.queries.start + tile.end,
                left: Left::ByRow(self.stride),
                right: width,
                out: PANEL,
                add: false,
            };
            for column in (0..d_head).step_by(PANEL) {
                let table = &table[tile.start * self.stride..];
                tile::multiply(product, table, &rows[column..], &mut sums);
                let columns = column..d_head.min(column + PANEL);
                for (r, sums) in sums.chunks_exact(PANEL).take(tile.len()).enumerate() {
                    put(self.queries.start + tile.start + r, columns.clone(), sums);
                }
            }
        }
    }

    /// to += tableᵀ·rows, [keys, d_head] in whole panels; `rows` are those of all queries.
    fn gather(&self, table: &[f32], rows: &[f32], d_head: usize, to: &mut [f32]) {
        let width = d_head.next_multiple_of(PANEL);
        for tile in tiles(0..self.queries.end) {
            // Queries before a key do not see it.
            let first = tile.start.saturating_sub(self.queries.start);
            let product = Tile {
                high: tile.len(),
                depth: self.queries.len() - first,
                left: Left::ByColumn(self.stride),
                right: width,
                out: width,
                add: true,
            };
            let table = &table[first * self.stride + tile.start..];
            let rows = &rows[(self.queries.start + first) * width..];
            let to = &mut to[tile.start * width..];
            for column in (0..width).step_by(PANEL) {
                tile::multiply(product, table, &rows[column..], &mut to[column..]);
            }
        }
    }
}

fn tiles(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range
        .step_by(TILE)
        .map(move |start| start..(start + TILE).min(end))
}

impl Attention {
    fn width(&self) -> usize {
        self.heads * self.d_head
    }

    /// Queries (0), keys (1) or values (2) of a head; rows are 3·d apart.
    fn part<'a>(&self, qkv: &'a [f32], which: usize, head: usize) -> &'a [f32] {
        &qkv[which * self.width() + head * self.d_head..]
    }

    /// Size of a head's rows in whole panels.
    fn rows(&self) -> usize {
        self.positions * self.d_head.next_multiple_of(PANEL)
    }

    /// Size of a head's columns in panels of positions.
    fn columns(&self) -> usize {
        self.positions.next_multiple_of(PANEL) * self.d_head
    }

    fn blocks(&self) -> impl Iterator<Item = Block> {
        let positions = self.positions;
        // Slightly more than whole panels: rows a power of two apart would map to the same cache sets.
        let stride = positions.next_multiple_of(PANEL) + LANES;
        let starts = (0..positions).step_by(BLOCK);
        starts.map(move |start| Block {
            queries: start..(start + BLOCK).min(positions),
            stride,
        })
    }

    /// Size of a block's table.
    fn table(&self) -> usize {
        self.blocks().next().map_or(0, |block| block.len())
    }

    /// Probabilities of a block's queries over all keys visible to one of them; `keys` transposed in panels.
    fn probabilities(&self, qkv: &[f32], head: usize, keys: &[f32], block: &Block, to: &mut [f32]) {
        let queries = self.part(qkv, 0, head);
        block.scores(queries, 3 * self.width(), keys, self.d_head, to);
        let rows = &mut to[..block.len()];
        causal_softmax(
            rows,
            block.stride,
            self.keys,
            block.queries.start,
            block.keys(),
            self.scale,
        );
    }

    fn drop(&self, table: &mut [f32], block: &Block, batch: usize, head: usize) {
        if self.mask.probability > 0.0 {
            let t = self.positions;
            let first = (batch * self.heads + head) * t * t;
            let rows = table.chunks_exact_mut(block.stride);
            for (query, row) in block.queries.clone().zip(rows) {
                apply_onto(&mut row[..=query], self.mask, (first + query * t) as u64);
            }
        }
    }

    /// z of sequence `batch`; qkv: [pos, 3·d], out: [pos, d].
    pub fn forward(&self, qkv: &[f32], batch: usize, out: &mut [f32]) {
        let (d, d_head) = (self.width(), self.d_head);
        let mut table = scratch::zeros(self.table());
        let mut keys = scratch::zeros(self.columns());
        let mut values = scratch::zeros(self.rows());
        for head in 0..self.heads {
            lay_out_transposed(self.part(qkv, 1, head), 3 * d, d_head, &mut keys);
            lay_out(self.part(qkv, 2, head), 3 * d, d_head, &mut values);
            for block in self.blocks() {
                self.probabilities(qkv, head, &keys, &block, &mut table);
                self.drop(&mut table, &block, batch, head);
                block.weigh(&table, &values, d_head, |query, columns, sums| {
                    let to = &mut out[query * d + head * d_head..][columns.clone()];
                    to.copy_from_slice(&sums[..columns.len()]);
                });
            }
        }
        [table, keys, values].into_iter().for_each(scratch::give);
    }

    /// With P the probabilities, M the dropout factors, A = P∘M: dV = AᵀdZ, dP = (dZ Vᵀ)∘M,
    /// dS = P∘(dP − rowsum(dP∘P)), dQ = scale·dS K, dK = scale·dSᵀ Q.
    pub fn backward(&self, qkv: &[f32], grad: &[f32], batch: usize, out: &mut [f32]) {
        let (d, d_head) = (self.width(), self.d_head);
        let dropping = self.mask.probability > 0.0;
        let [mut p, mut ds] = [self.table(); 2].map(scratch::zeros);
        let mut dropped = scratch::zeros(if dropping { self.table() } else { 0 });
        let [mut keys_t, mut values_t] = [self.columns(); 2].map(scratch::zeros);
        let [mut queries, mut keys, mut g, mut d_keys, mut d_values] =
            [self.rows(); 5].map(scratch::zeros);
        for head in 0..self.heads {
            let [q, k, v] = [0, 1, 2].map(|which| self.part(qkv, which, head));
            let g_rows = &grad[head * d_head..];
            lay_out_transposed(k, 3 * d, d_head, &mut keys_t);
            lay_out_transposed(v, 3 * d, d_head, &mut values_t);
            lay_out(q, 3 * d, d_head, &mut queries);
            lay_out(k, 3 * d, d_head, &mut keys);
            lay_out(g_rows, d, d_head, &mut g);
            d_keys.fill(0.0);
            d_values.fill(0.0);
            for block in self.blocks() {
                self.probabilities(qkv, head, &keys_t, &block, &mut p);
                if dropping {
                    dropped[..block.len()].copy_from_slice(&p[..block.len()]);
                    self.drop(&mut dropped, &block, batch, head);
                }
                let a = if dropping { &dropped } else { &p };
                block.scores(g_rows, d, &values_t, d_head, &mut ds);
                let (first, end) = (block.queries.start, block.keys());
                let rows = ..block.len();
                let tables = (&p[rows], &a[rows]);
                score_gradient(tables, &mut ds[rows], block.stride, first, end, self.scale);
                block.weigh(&ds, &keys, d_head, |query, columns, sums| {
                    let to = &mut out[query * 3 * d + head * d_head..][columns.clone()];
                    to.copy_from_slice(&sums[..columns.len()]);
                });
                block.gather(a, &g, d_head, &mut d_values);
                block.gather(&ds, &queries, d_head, &mut d_keys);
            }
            let width = d_head.next_multiple_of(PANEL);
            for (which, rows) in [(1, &d_keys), (2, &d_values)] {
                for (to, from) in out.chunks_exact_mut(3 * d).zip(rows.chunks_exact(width)) {
                    to[which * d + head * d_head..][..d_head].copy_from_slice(&from[..d_head]);
                }
            }
        }
        [p, ds, dropped, keys_t, values_t]
            .into_iter()
            .for_each(scratch::give);
        [queries, keys, g, d_keys, d_values]
            .into_iter()
            .for_each(scratch::give);
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
