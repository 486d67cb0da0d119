//! Matrix products with weights packed for the processor's registers.
//!
//! Every element of the product is a chain of fused multiply-adds over the inner dimension, from first to last, added
//! to the value already there. The chain is the same for any number of rows, threads and vector width. A row's result
//! therefore does not depend, to the last bit, on the rows computed with it.

use std::ops::Range;

use rayon::prelude::*;

pub(crate) use super::tile::PANEL;
use super::tile::{self, Left, TILE, Tile};

/// Inner dimension processed at a time: a tile and a panel of it stay in the second-level cache.
pub(crate) const DEPTH: usize = 1024;

/// A weight matrix [inner, columns] in panels of [`PANEL`] columns, each panel row-major and padded with zeros.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    inner: usize,
    columns: usize,
    panels: Vec<f32>,
}

impl Packed {
    /// Packs row-major values [inner, columns].
    pub fn of(values: &[f32], inner: usize, columns: usize) -> Packed {
        Packed::from_fn(inner, columns, |row, column| values[row * columns + column])
    }

    /// Packs the transpose: column c of the matrix is `row(c)`, of `inner` values.
    pub fn of_columns<'a>(
        inner: usize,
        columns: usize,
        column: impl Fn(usize) -> &'a [f32] + Sync,
    ) -> Packed {
        Packed::from_fn(inner, columns, |row, c| column(c)[row])
    }

    /// Packs a matrix given by a function of row and column.
    pub fn from_fn(
        inner: usize,
        columns: usize,
        value: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Packed {
        let mut panels = vec![0f32; columns.div_ceil(PANEL) * inner * PANEL];
        let panel_size = (inner * PANEL).max(1);
        panels
            .par_chunks_mut(panel_size)
            .enumerate()
            .for_each(|(panel, to)| {
                let first = panel * PANEL;
                let width = PANEL.min(columns - first);
                for (row, to) in to.chunks_exact_mut(PANEL).enumerate() {
                    for (c, to) in to[..width].iter_mut().enumerate() {
                        *to = value(row, first + c);
                    }
                }
            });
        Packed {
            inner,
            columns,
            panels,
        }
    }

    /// The transposed matrix.
    pub fn transposed(&self) -> Packed {
        Packed::from_fn(self.columns, self.inner, |column, row| {
            self.panels[(column / PANEL * self.inner + row) * PANEL + column % PANEL]
        })
    }

    /// Number of rows of the matrix.
    pub fn inner(&self) -> usize {
        self.inner
    }

    /// Number of columns of the matrix.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// out += a·W; a: [rows, inner], out: [rows, columns], on one thread.
    pub fn multiply_onto(&self, a: &[f32], out: &mut [f32]) {
        self.multiply_columns_onto(a, 0..self.columns, out, self.columns, 0);
    }

    /// out[.., at..] += a·W[.., columns], where out has rows of `stride`. `columns` starts at a multiple of [`PANEL`]
    /// and ends at one or at the last column.
    pub fn multiply_columns_onto(
        &self,
        a: &[f32],
        columns: Range<usize>,
        out: &mut [f32],
        stride: usize,
        at: usize,
    ) {
        let k = self.inner;
        let rows = a.len() / k.max(1);
        if rows == 0 || columns.is_empty() {
            return;
        }
        assert!(a.len() == rows * k && columns.end <= self.columns);
        assert!(columns.start.is_multiple_of(PANEL));
        assert!(columns.end.is_multiple_of(PANEL) || columns.end == self.columns);
        assert!(
            at + columns.len() <= stride && out.len() >= (rows - 1) * stride + at + columns.len()
        );
        let mut tiles = super::scratch::zeros(rows * DEPTH.min(k));
        let mut edge = [0f32; TILE * PANEL];
        for first in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - first);
            pack_tiles(a, k, first..first + depth, &mut tiles);
            for panel in columns.start / PANEL..columns.end.div_ceil(PANEL) {
                let from = (panel * k + first) * PANEL;
                let weights = &self.panels[from..from + depth * PANEL];
                let width = PANEL.min(columns.end - panel * PANEL);
                let left = at + panel * PANEL - columns.start;
                for row in (0..rows).step_by(TILE) {
                    let high = TILE.min(rows - row);
                    let tile = &tiles[row * depth..(row + high) * depth];
                    let corner = row * stride + left;
                    if width == PANEL {
                        onto(high, tile, weights, &mut out[corner..], stride);
                        continue;
                    }
                    for r in 0..high {
                        let from = &out[corner + r * stride..][..width];
                        edge[r * PANEL..][..width].copy_from_slice(from);
                    }
                    onto(high, tile, weights, &mut edge, PANEL);
                    for r in 0..high {
                        let to = &mut out[corner + r * stride..][..width];
                        to.copy_from_slice(&edge[r * PANEL..][..width]);
                    }
                }
            }
        }
        super::scratch::give(tiles);
    }

    /// out += factor · row `row` of the matrix.
    pub fn add_row(&self, row: usize, factor: f32, out: &mut [f32]) {
        for (panel, out) in out[..self.columns].chunks_mut(PANEL).enumerate() {
            let from = &self.panels[(panel * self.inner + row) * PANEL..][..PANEL];
            for (o, w) in out.iter_mut().zip(from) {
                *o += factor * w;
            }
        }
    }

    /// [`Packed::multiply_onto`], rows divided among threads.
    pub fn multiply_onto_in_parallel(&self, a: &[f32], out: &mut [f32]) {
        let rows = a.len() / self.inner.max(1);
        let share = rows.div_ceil(rayon::current_num_threads()).clamp(1, 252);
        out.par_chunks_mut((share * self.columns).max(1))
            .zip(a.par_chunks((share * self.inner).max(1)))
            .for_each(|(out, a)| self.multiply_onto(a, out));
    }
}

/// Packs rows of a as tiles: for each column the values of the tile's rows side by side.
fn pack_tiles(a: &[f32], k: usize, columns: Range<usize>, tiles: &mut [f32]) {
    let depth = columns.len();
    for (rows, tile) in a.chunks(TILE * k).zip(tiles.chunks_mut(TILE * depth)) {
        let high = rows.len() / k;
        for (r, row) in rows.chunks_exact(k).enumerate() {
            let to = tile[r..].iter_mut().step_by(high);
            for (to, from) in to.zip(&row[columns.clone()]) {
                *to = *from;
            }
        }
    }
}

/// out[high, PANEL] += tile·weights; tile: [depth, high], weights: [depth, PANEL].
fn onto(high: usize, tile: &[f32], weights: &[f32], out: &mut [f32], stride: usize) {
    let product = Tile {
        high,
        depth: weights.len() / PANEL,
        left: Left::ByColumn(high),
        right: PANEL,
        out: stride,
        add: true,
    };
    tile::multiply(product, tile, weights, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        let value = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0;
        (0..n).map(value).collect()
    }

    /// Compared with the chain written out, for sizes around tiles, panels and depth: equal to the last bit.
    #[test]
    fn equals_the_chain_of_multiply_adds() {
        for (m, k, n) in [
            (1, 1, 1),
            (5, 3, 33),
            (12, 64, 32),
            (25, 1030, 70),
            (13, 2049, 31),
        ] {
            let (a, w, start) = (values(m * k, 1), values(k * n, 2), values(m * n, 3));
            let mut out = start.clone();
            Packed::of(&w, k, n).multiply_onto(&a, &mut out);
            for i in 0..m {
                for j in 0..n {
                    let chain = (0..k).fold(start[i * n + j], |sum, l| {
                        a[i * k + l].mul_add(w[l * n + j], sum)
                    });
                    assert_eq!(out[i * n + j], chain, "{m} {k} {n} at {i} {j}");
                }
            }
        }
    }

    #[test]
    fn parts_of_the_columns_and_rows() {
        let (m, k, n) = (7, 20, 96);
        let (a, w) = (values(m * k, 1), values(k * n, 2));
        let packed = Packed::of(&w, k, n);
        let mut whole = vec![0f32; m * n];
        packed.multiply_onto_in_parallel(&a, &mut whole);
        let mut part = vec![0f32; m * 64];
        packed.multiply_columns_onto(&a, 32..96, &mut part, 64, 0);
        for i in 0..m {
            assert_eq!(part[i * 64..(i + 1) * 64], whole[i * n + 32..(i + 1) * n]);
        }
        let mut row = vec![1f32; n];
        packed.add_row(3, 2.0, &mut row);
        for (j, r) in row.iter().enumerate() {
            assert_eq!(*r, 1.0 + 2.0 * w[3 * n + j]);
        }
        assert_eq!(packed.transposed().transposed().panels, packed.panels);
        let columns = Packed::of_columns(n, k, |c| &w[c * n..(c + 1) * n]);
        let mut product = vec![0f32; k];
        columns.multiply_onto(&whole[..n], &mut product);
        let mut by_transpose = vec![0f32; k];
        packed
            .transposed()
            .multiply_onto(&whole[..n], &mut by_transpose);
        assert_eq!(by_transpose, product);
        assert!((product[1] - (0..n).map(|i| whole[i] * w[n + i]).sum::<f32>()).abs() < 1e-3);
    }
}
