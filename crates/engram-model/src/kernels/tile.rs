//! The innermost product: a few rows by one panel of columns, with sums in registers.
//!
//! Every element is a chain of fused multiply-adds over the inner dimension, from first to last, starting from the
//! value already there or from 0. The chain is the same for any number of rows and vector width.

/// Columns of a panel: two of the widest vector registers.
pub(crate) const PANEL: usize = 32;
/// Rows of a tile: 12 × 2 registers of sums, which leaves room for a row of the panel and a factor.
pub(crate) const TILE: usize = 12;

/// Layout of the left factor, [high, depth], in a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Left {
    /// Row-major, rows at this distance.
    ByRow(usize),
    /// Column-major, columns at this distance.
    ByColumn(usize),
}

impl Left {
    /// One past the index of the last element.
    fn end(self, high: usize, depth: usize) -> usize {
        match self {
            Left::ByRow(stride) => (high - 1) * stride + depth,
            Left::ByColumn(stride) => (depth - 1) * stride + high,
        }
    }
}

/// Sizes and distances of one product.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tile {
    /// Rows, 1 to [`TILE`].
    pub high: usize,
    /// Inner dimension, at least 1.
    pub depth: usize,
    /// Layout of the left factor.
    pub left: Left,
    /// Distance between rows of the right factor, [depth, PANEL].
    pub right: usize,
    /// Distance between rows of the product, [high, PANEL].
    pub out: usize,
    /// Whether the product is added to the value already there.
    pub add: bool,
}

/// out = left·right or out += left·right.
pub(crate) fn multiply(tile: Tile, left: &[f32], right: &[f32], out: &mut [f32]) {
    assert!((1..=TILE).contains(&tile.high) && tile.depth > 0);
    assert!(left.len() >= tile.left.end(tile.high, tile.depth));
    assert!(right.len() >= (tile.depth - 1) * tile.right + PANEL);
    assert!(out.len() >= (tile.high - 1) * tile.out + PANEL);
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512F; sizes are asserted above.
            return unsafe { x86::multiply_512(tile, left, right, out) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has AVX2 and FMA; sizes are asserted above.
            return unsafe { x86::multiply_256(tile, left, right, out) };
        }
    }
    plain(tile, left, right, out);
}

/// The same without processor-specific vector instructions.
fn plain(tile: Tile, left: &[f32], right: &[f32], out: &mut [f32]) {
    for r in 0..tile.high {
        let out = &mut out[r * tile.out..][..PANEL];
        if !tile.add {
            out.fill(0.0);
        }
        for l in 0..tile.depth {
            let a = match tile.left {
                Left::ByRow(stride) => left[r * stride + l],
                Left::ByColumn(stride) => left[l * stride + r],
            };
            for (o, b) in out.iter_mut().zip(&right[l * tile.right..]) {
                *o = a.mul_add(*b, *o);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Left, Tile};
    use std::arch::x86_64::*;

    macro_rules! by_height {
        ($name:ident, $high:expr, $args:tt, $($h:literal)+) => {
            match $high { $($h => $name::<$h> $args,)+ _ => {} }
        };
    }

    /// # Safety
    /// The processor has AVX-512F; the slices hold what `tile` says of them.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn multiply_512(tile: Tile, left: &[f32], right: &[f32], out: &mut [f32]) {
        let args = (left.as_ptr(), right.as_ptr(), out.as_mut_ptr());
        // SAFETY: as for this function.
        unsafe { by_height!(rows_512, tile.high, (tile, args), 1 2 3 4 5 6 7 8 9 10 11 12) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn rows_512<const H: usize>(
        tile: Tile,
        (mut a, mut b, out): (*const f32, *const f32, *mut f32),
    ) {
        // SAFETY: the caller's sizes keep every access inside the three slices.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); 2]; H];
            if tile.add {
                for (r, sums) in sums.iter_mut().enumerate() {
                    sums[0] = _mm512_loadu_ps(out.add(r * tile.out));
                    sums[1] = _mm512_loadu_ps(out.add(r * tile.out + 16));
                }
            }
            let (b_step, depth) = (tile.right, tile.depth);
            macro_rules! column {
                ($at:expr) => {
                    let (b0, b1) = (_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(16)));
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let factor = _mm512_set1_ps(*a.add($at(r)));
                        sums[0] = _mm512_fmadd_ps(factor, b0, sums[0]);
                        sums[1] = _mm512_fmadd_ps(factor, b1, sums[1]);
                    }
                    b = b.wrapping_add(b_step);
                };
            }
            match tile.left {
                Left::ByColumn(stride) => {
                    for _ in 0..depth {
                        column!(|r| r);
                        a = a.wrapping_add(stride);
                    }
                }
                Left::ByRow(stride) => {
                    for _ in 0..depth {
                        column!(|r| r * stride);
                        a = a.wrapping_add(1);
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                _mm512_storeu_ps(out.add(r * tile.out), sums[0]);
                _mm512_storeu_ps(out.add(r * tile.out + 16), sums[1]);
            }
        }
    }

    /// # Safety
    /// The processor has AVX2 and FMA; the slices hold what `tile` says of them.
    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn multiply_256(tile: Tile, left: &[f32], right: &[f32], out: &mut [f32]) {
        // Six rows by half a panel: 12 of the 16 registers hold sums.
        for first in (0..tile.high).step_by(6) {
            let from = match tile.left {
                Left::ByRow(stride) => first * stride,
                Left::ByColumn(_) => first,
            };
            for half in [0, super::PANEL / 2] {
                let rows = (tile.high - first).min(6);
                // SAFETY: as for this function.
                unsafe {
                    let args = (
                        left.as_ptr().add(from),
                        right.as_ptr().add(half),
                        out.as_mut_ptr().add(first * tile.out + half),
                    );
                    by_height!(rows_256, rows, (tile, args), 1 2 3 4 5 6)
                }
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn rows_256<const H: usize>(
        tile: Tile,
        (mut a, mut b, out): (*const f32, *const f32, *mut f32),
    ) {
        // SAFETY: the caller's sizes keep every access inside the three slices.
        unsafe {
            let mut sums = [[_mm256_setzero_ps(); 2]; H];
            if tile.add {
                for (r, sums) in sums.iter_mut().enumerate() {
                    sums[0] = _mm256_loadu_ps(out.add(r * tile.out));
                    sums[1] = _mm256_loadu_ps(out.add(r * tile.out + 8));
                }
            }
            let (row, step) = match tile.left {
                Left::ByRow(stride) => (stride, 1),
                Left::ByColumn(stride) => (1, stride),
            };
            for _ in 0..tile.depth {
                let (b0, b1) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let factor = _mm256_set1_ps(*a.add(r * row));
                    sums[0] = _mm256_fmadd_ps(factor, b0, sums[0]);
                    sums[1] = _mm256_fmadd_ps(factor, b1, sums[1]);
                }
                a = a.wrapping_add(step);
                b = b.wrapping_add(tile.right);
            }
            for (r, sums) in sums.iter().enumerate() {
                _mm256_storeu_ps(out.add(r * tile.out), sums[0]);
                _mm256_storeu_ps(out.add(r * tile.out + 8), sums[1]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        let value = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0;
        (0..n).map(value).collect()
    }

    /// All heights and layouts of the left factor, with and without `add`: the same bits at every vector width.
    #[test]
    fn every_vector_width_gives_the_same_bits() {
        let (depth, right, out) = (37, 40, 44);
        for high in 1..=TILE {
            for left in [Left::ByRow(41), Left::ByColumn(15)] {
                for add in [false, true] {
                    let tile = Tile {
                        high,
                        depth,
                        left,
                        right,
                        out,
                        add,
                    };
                    let a = values(left.end(high, depth), 1);
                    let b = values((depth - 1) * right + PANEL, 2);
                    let start = values((high - 1) * out + PANEL, 3);
                    let run = |f: &dyn Fn(&mut [f32])| {
                        let mut values = start.clone();
                        f(&mut values);
                        values
                    };
                    let expected = run(&|values| plain(tile, &a, &b, values));
                    assert_eq!(run(&|values| multiply(tile, &a, &b, values)), expected);
                    #[cfg(target_arch = "x86_64")]
                    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                        // SAFETY: the features were just found; sizes as allocated above.
                        let found =
                            run(&|values| unsafe { x86::multiply_256(tile, &a, &b, values) });
                        assert_eq!(found, expected);
                    }
                }
            }
        }
    }
}
