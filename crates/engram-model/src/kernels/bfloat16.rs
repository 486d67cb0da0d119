//! Matrix products of float32 matrices whose elements are rounded to bfloat16 on the way in, with sums in float32:
//! twice the rate of float32 where the processor has the instruction (AVX-512 BF16).

use multiversion::multiversion;

use super::matrix::View;
use super::scratch;

/// Columns of a panel: two registers of sums.
const PANEL: usize = 32;
/// Rows of a tile: 12 × 2 registers of sums.
const TILE: usize = 12;
/// Pairs along the inner dimension that are worked on at once: a tile of them stays in the first-level cache.
const PAIRS: usize = 512;
/// Rows that are laid out at once: they stay in the second-level cache.
const ROWS: usize = 20 * TILE;

/// Whether this processor multiplies bfloat16 by an instruction of its own.
pub fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// As [`super::matrix::multiply`], on elements rounded to bfloat16.
#[allow(clippy::too_many_arguments)]
pub(crate) fn multiply(
    (m, k, n): (usize, usize, usize),
    a: &[f32],
    a_view: View,
    b: &[f32],
    b_view: View,
    out: &mut [f32],
    out_view: View,
    (factor, add): (f32, bool),
) {
    assert!(out_view.column == 1);
    let panels = n.div_ceil(PANEL);
    let mut right = scratch::take_words(panels * PANEL * PAIRS.min(k.div_ceil(2)));
    let mut left =
        scratch::take_words(ROWS.min(m.next_multiple_of(TILE)) * PAIRS.min(k.div_ceil(2)));
    for first in (0..k).step_by(2 * PAIRS) {
        let inner = (first, (first + 2 * PAIRS).min(k));
        let pairs = (inner.1 - inner.0).div_ceil(2);
        for panel in 0..panels {
            let columns = (panel * PANEL, (panel * PANEL + PANEL).min(n));
            let to = &mut right[panel * PANEL * pairs..][..PANEL * pairs];
            lay_out(b, b_view.t(), columns, inner, PANEL, to);
        }
        let add = add || first > 0;
        for row in (0..m).step_by(ROWS) {
            let rows = (row, (row + ROWS).min(m));
            for tile in (rows.0..rows.1).step_by(TILE) {
                let to = &mut left[(tile - rows.0) * pairs..][..TILE * pairs];
                lay_out(a, a_view, (tile, (tile + TILE).min(m)), inner, TILE, to);
            }
            for panel in 0..panels {
                let weights = &right[panel * PANEL * pairs..][..PANEL * pairs];
                for tile in (rows.0..rows.1).step_by(TILE) {
                    let high = TILE.min(m - tile);
                    let mut sums = [0f32; TILE * PANEL];
                    sums_of(
                        &left[(tile - rows.0) * pairs..][..TILE * pairs],
                        weights,
                        &mut sums,
                    );
                    let width = PANEL.min(n - panel * PANEL);
                    for (r, sums) in sums.chunks_exact(PANEL).take(high).enumerate() {
                        let start = out_view.start + (tile + r) * out_view.row + panel * PANEL;
                        put(&sums[..width], factor, add, &mut out[start..start + width]);
                    }
                }
            }
        }
    }
    scratch::give_words(right);
    scratch::give_words(left);
}

#[multiversion(targets = "simd")]
fn put(sums: &[f32], factor: f32, add: bool, out: &mut [f32]) {
    match add {
        true => out.iter_mut().zip(sums).for_each(|(o, s)| *o += factor * s),
        false => out.iter_mut().zip(sums).for_each(|(o, s)| *o = factor * s),
    }
}

/// The upper half of a float32 rounded to the nearest bfloat16, ties to even; NaN stays NaN.
#[inline(always)]
fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    let is_nan = bits & 0x7fff_ffff > 0x7f80_0000;
    let kept = if is_nan { bits | 0x0040_0000 } else { nearest };
    kept & 0xffff_0000
}

/// Two neighbours along the inner dimension in one word, the first in its lower half.
#[inline(always)]
fn pair(first: f32, second: f32) -> u32 {
    rounded(first) >> 16 | rounded(second)
}

/// Lines (rows of the left factor, columns of the right one) between `lines.0` and `lines.1`, pair after pair of
/// `inner`: [pairs, wide]; zeros beyond the last line and the last element. `view` has lines as its rows.
#[multiversion(targets = "simd")]
fn lay_out(
    from: &[f32],
    view: View,
    lines: (usize, usize),
    inner: (usize, usize),
    wide: usize,
    to: &mut [u32],
) {
    let count = lines.1 - lines.0;
    if count < wide {
        to.fill(0);
    }
    let start = view.start + lines.0 * view.row + inner.0 * view.column;
    let length = inner.1 - inner.0;
    if view.row == 1 {
        // Lines stand side by side.
        for (p, to) in to.chunks_exact_mut(wide).enumerate() {
            let at = start + 2 * p * view.column;
            let first = &from[at..at + count];
            match 2 * p + 1 < length {
                true => {
                    let second = &from[at + view.column..][..count];
                    let both = first.iter().zip(second);
                    (to.iter_mut().zip(both)).for_each(|(to, (a, b))| *to = pair(*a, *b));
                }
                false => (to.iter_mut().zip(first)).for_each(|(to, a)| *to = pair(*a, 0.0)),
            }
        }
        return;
    }
    for line in 0..count {
        let at = start + line * view.row;
        for p in 0..length / 2 {
            let at = at + 2 * p * view.column;
            to[p * wide + line] = pair(from[at], from[at + view.column]);
        }
        if length % 2 == 1 {
            to[length / 2 * wide + line] = pair(from[at + (length - 1) * view.column], 0.0);
        }
    }
}

/// sums[TILE, PANEL] = left·right; left: [pairs, TILE], right: [pairs, PANEL].
fn sums_of(left: &[u32], right: &[u32], sums: &mut [f32; TILE * PANEL]) {
    assert!(left.len() * PANEL == right.len() * TILE);
    #[cfg(target_arch = "x86_64")]
    if available() {
        // SAFETY: the processor has both features; sizes are asserted above.
        return unsafe { sums_512(left, right, sums) };
    }
    plain(left, right, sums);
}

/// The same without the instruction. It rounds sums where the instruction may not, and keeps subnormal numbers.
fn plain(left: &[u32], right: &[u32], sums: &mut [f32; TILE * PANEL]) {
    let halves = |word: u32| {
        [
            f32::from_bits(word << 16),
            f32::from_bits(word & 0xffff_0000),
        ]
    };
    for (left, right) in left.chunks_exact(TILE).zip(right.chunks_exact(PANEL)) {
        for (a, sums) in left.iter().zip(sums.chunks_exact_mut(PANEL)) {
            let [a0, a1] = halves(*a);
            for (b, sum) in right.iter().zip(sums) {
                let [b0, b1] = halves(*b);
                *sum += a0 * b0 + a1 * b1;
            }
        }
    }
}

/// # Safety
/// The processor has AVX-512F and AVX-512 BF16; left: [pairs, TILE], right: [pairs, PANEL].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn sums_512(left: &[u32], right: &[u32], out: &mut [f32; TILE * PANEL]) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's sizes keep every access inside the slices; a register of words and one of pairs of
    // bfloat16 are the same bits.
    unsafe {
        let as_pairs = |x: __m512i| std::mem::transmute::<__m512i, __m512bh>(x);
        let mut sums = [[_mm512_setzero_ps(); 2]; TILE];
        let (mut a, mut b) = (left.as_ptr(), right.as_ptr());
        for _ in 0..right.len() / PANEL {
            let b0 = as_pairs(_mm512_loadu_si512(b.cast()));
            let b1 = as_pairs(_mm512_loadu_si512(b.add(16).cast()));
            for (r, sums) in sums.iter_mut().enumerate() {
                let factor = as_pairs(_mm512_set1_epi32(*a.add(r) as i32));
                sums[0] = _mm512_dpbf16_ps(sums[0], factor, b0);
                sums[1] = _mm512_dpbf16_ps(sums[1], factor, b1);
            }
            a = a.add(TILE);
            b = b.add(PANEL);
        }
        for (r, sums) in sums.iter().enumerate() {
            _mm512_storeu_ps(out.as_mut_ptr().add(r * PANEL), sums[0]);
            _mm512_storeu_ps(out.as_mut_ptr().add(r * PANEL + 16), sums[1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::matrix;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        let value = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0;
        (0..n).map(value).collect()
    }

    /// Against float32 products of the rounded elements, for sizes around tiles, panels and pairs, and every layout.
    #[test]
    fn equals_the_product_of_rounded_elements() {
        let sizes = [
            (1, 1, 1),
            (12, 2, 32),
            (25, 33, 70),
            (13, 1027, 31),
            (250, 64, 96),
        ];
        for (m, k, n) in sizes {
            let (a, b, start) = (values(m * k, 1), values(k * n, 2), values(m * n, 3));
            let round =
                |x: &[f32]| -> Vec<f32> { x.iter().map(|x| f32::from_bits(rounded(*x))).collect() };
            let (ra, rb) = (round(&a), round(&b));
            for (transposed_a, transposed_b) in
                [(false, false), (true, false), (false, true), (true, true)]
            {
                let view = |rows: usize, columns: usize, transposed: bool| match transposed {
                    true => View::rows(rows).t(),
                    false => View::rows(columns),
                };
                let (a_view, b_view) = (view(m, k, transposed_a), view(k, n, transposed_b));
                for how in [(1.0, false), (0.5, true)] {
                    let (mut found, mut expected) = (start.clone(), start.clone());
                    let to = View::rows(n);
                    multiply((m, k, n), &a, a_view, &b, b_view, &mut found, to, how);
                    matrix::multiply((m, k, n), &ra, a_view, &rb, b_view, &mut expected, to, how);
                    for (a, b) in found.iter().zip(&expected) {
                        assert!((a - b).abs() < 1e-3, "{m} {k} {n}: {a} for {b}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_instruction_and_plain_code_agree() {
        let left: Vec<u32> = values(2 * 37 * TILE, 4)
            .chunks(2)
            .map(|p| pair(p[0], p[1]))
            .collect();
        let right: Vec<u32> = values(2 * 37 * PANEL, 5)
            .chunks(2)
            .map(|p| pair(p[0], p[1]))
            .collect();
        let (mut a, mut b) = ([0f32; TILE * PANEL], [0f32; TILE * PANEL]);
        sums_of(&left, &right, &mut a);
        plain(&left, &right, &mut b);
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4));
        assert!(a.iter().any(|a| *a != 0.0));
    }

    #[test]
    fn rounding_is_to_nearest_even_and_keeps_what_is_not_a_number() {
        for x in [
            0.0,
            -0.0,
            1.0,
            -2.5,
            1e-30,
            3e38,
            f32::INFINITY,
            f32::NEG_INFINITY,
        ] {
            assert_eq!(
                f32::from_bits(rounded(x)),
                half::bf16::from_f32(x).to_f32(),
                "{x}"
            );
        }
        for x in values(1000, 6) {
            assert_eq!(
                f32::from_bits(rounded(x)),
                half::bf16::from_f32(x).to_f32(),
                "{x}"
            );
        }
        for bits in [0x7fc0_0000u32, 0x7f80_0001, 0xffff_ffff] {
            assert!(f32::from_bits(rounded(f32::from_bits(bits))).is_nan());
        }
    }
}
