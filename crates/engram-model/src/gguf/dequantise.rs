//! Converts blocks of quantised bytes to float32, for each tensor type. A block's scales are multiplied first and
//! products are exact in float32, so that the results equal llama.cpp's bit for bit.

use half::{bf16, f16};
use multiversion::multiversion;
use rayon::prelude::*;

/// Converts whole blocks to float32.
pub(super) type Decode = fn(&[u8], &mut [f32]);

/// Elements of one task.
const TASK: usize = 1 << 14;

/// The first element that is NaN or infinite.
pub(super) fn not_finite(values: &[f32]) -> Option<usize> {
    let task = values.par_chunks(TASK).position_first(|v| !all_finite(v))?;
    let start = task * TASK;
    let within = values[start..].iter().position(|v| !v.is_finite())?;
    Some(start + within)
}

/// Branch-free, so that it compiles to vector code: an exponent of all ones carries into the top bit.
#[multiversion(targets = "simd")]
fn all_finite(values: &[f32]) -> bool {
    let carry = |v: &f32| (v.to_bits() & 0x7fff_ffff) + 0x0080_0000;
    values.iter().fold(0, |all, v| all | carry(v)) >> 31 == 0
}

/// Converts consecutive blocks of `B` bytes and `N` elements.
#[inline(always)]
fn blocks<const B: usize, const N: usize>(
    data: &[u8],
    out: &mut [f32],
    one: impl Fn(&[u8; B], &mut [f32; N]),
) {
    let (data, out) = (data.as_chunks().0, out.as_chunks_mut().0);
    for (block, out) in data.iter().zip(out) {
        one(block, out);
    }
}

#[inline(always)]
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

#[inline(always)]
fn signed(byte: u8) -> f32 {
    f32::from(byte as i8)
}

pub(super) fn f32(data: &[u8], out: &mut [f32]) {
    blocks::<4, 1>(data, out, |b, o| o[0] = f32::from_le_bytes(*b));
}

pub(super) fn f16(data: &[u8], out: &mut [f32]) {
    blocks::<2, 1>(data, out, |b, o| o[0] = half(b, 0));
}

pub(super) fn bf16(data: &[u8], out: &mut [f32]) {
    blocks::<2, 1>(data, out, |b, o| o[0] = bf16::from_le_bytes(*b).to_f32());
}

// Simple types: a scale, a minimum in types that end in 1, and 32 elements. With 4 bits, the low halves of 16 bytes
// come first, then their high halves. The fifth bits of all 32 elements are in one separate word.

#[multiversion(targets = "simd")]
pub(super) fn q4_0(data: &[u8], out: &mut [f32]) {
    blocks::<18, 32>(data, out, |b, o| {
        let d = half(b, 0);
        for j in 0..16 {
            o[j] = d * (f32::from(b[2 + j] & 15) - 8.0);
            o[j + 16] = d * (f32::from(b[2 + j] >> 4) - 8.0);
        }
    });
}

#[multiversion(targets = "simd")]
pub(super) fn q4_1(data: &[u8], out: &mut [f32]) {
    blocks::<20, 32>(data, out, |b, o| {
        let (d, m) = (half(b, 0), half(b, 2));
        for j in 0..16 {
            o[j] = d * f32::from(b[4 + j] & 15) + m;
            o[j + 16] = d * f32::from(b[4 + j] >> 4) + m;
        }
    });
}

#[multiversion(targets = "simd")]
pub(super) fn q5_0(data: &[u8], out: &mut [f32]) {
    blocks::<22, 32>(data, out, |b, o| {
        let d = half(b, 0);
        let high = u32::from_le_bytes([b[2], b[3], b[4], b[5]]);
        for j in 0..16 {
            let (low, up) = five_bits(b[6 + j], high, j);
            o[j] = d * (low - 16.0);
            o[j + 16] = d * (up - 16.0);
        }
    });
}

#[multiversion(targets = "simd")]
pub(super) fn q5_1(data: &[u8], out: &mut [f32]) {
    blocks::<24, 32>(data, out, |b, o| {
        let (d, m) = (half(b, 0), half(b, 2));
        let high = u32::from_le_bytes([b[4], b[5], b[6], b[7]]);
        for j in 0..16 {
            let (low, up) = five_bits(b[8 + j], high, j);
            o[j] = d * low + m;
            o[j + 16] = d * up + m;
        }
    });
}

/// Elements `j` and `j` + 16, from the byte with their low bits and the word with their fifth bits.
#[inline(always)]
fn five_bits(byte: u8, high: u32, j: usize) -> (f32, f32) {
    let bit = |i: usize| (high >> i & 1) << 4;
    let (low, up) = (u32::from(byte & 15), u32::from(byte >> 4));
    ((low | bit(j)) as f32, (up | bit(j + 16)) as f32)
}

#[multiversion(targets = "simd")]
pub(super) fn q8_0(data: &[u8], out: &mut [f32]) {
    blocks::<34, 32>(data, out, |b, o| {
        let d = half(b, 0);
        for j in 0..32 {
            o[j] = d * signed(b[2 + j]);
        }
    });
}

// K types: 256 elements under one scale of scales. Groups of 16 or 32 elements have a small scale each. Four groups of
// 32 (2 bits) or two groups (4 bits) share the same bytes, at different bit positions.

/// 4-bit scale and minimum in one byte; 2 bits per element.
#[multiversion(targets = "simd")]
pub(super) fn q2_k(data: &[u8], out: &mut [f32]) {
    blocks::<84, 256>(data, out, |b, o| {
        let (d, m) = (half(b, 80), half(b, 82));
        for (group, o) in o.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = d * f32::from(b[group] & 15);
            let least = m * f32::from(b[group] >> 4);
            let (at, shift) = two_bits(group);
            for (o, q) in o.iter_mut().zip(&b[16 + at..]) {
                *o = scale * f32::from(q >> shift & 3) - least;
            }
        }
    });
}

/// Byte and shift of the two bits of a group of 16 among 64 bytes.
#[inline(always)]
fn two_bits(group: usize) -> (usize, usize) {
    (group / 8 * 32 + group % 2 * 16, group % 8 / 2 * 2)
}

/// 6-bit scales minus 32; 2 bits per element, and a separate third bit that subtracts 4 if it is 0.
#[multiversion(targets = "simd")]
pub(super) fn q3_k(data: &[u8], out: &mut [f32]) {
    blocks::<110, 256>(data, out, |b, o| {
        let d = half(b, 108);
        for (group, o) in o.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let low = b[96 + group % 8] >> (group / 8 * 4) & 15;
            let high = b[104 + group % 4] >> (group / 4 * 2) & 3;
            let scale = d * (f32::from(low | high << 4) - 32.0);
            let (at, shift) = two_bits(group);
            let (top, bit) = (&b[group % 2 * 16..], group / 2);
            for ((o, q), top) in o.iter_mut().zip(&b[32 + at..]).zip(top) {
                let q = q >> shift & 3 | (top >> bit & 1) << 2;
                *o = scale * (f32::from(q) - 4.0);
            }
        }
    });
}

/// 6-bit scale and minimum of one of eight groups. The first four groups use the low bits of bytes 0 to 7; the others
/// have four bits in bytes 8 to 11 and their upper two bits above those of the first four.
#[inline(always)]
fn scale_and_least(packed: &[u8], group: usize) -> (f32, f32) {
    let (scale, least) = if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        let (low, up) = (packed[group + 4] & 15, packed[group + 4] >> 4);
        (
            low | packed[group - 4] >> 6 << 4,
            up | packed[group] >> 6 << 4,
        )
    };
    (f32::from(scale), f32::from(least))
}

/// 4 bits per element.
#[multiversion(targets = "simd")]
pub(super) fn q4_k(data: &[u8], out: &mut [f32]) {
    blocks::<144, 256>(data, out, |b, o| {
        let (d, m) = (half(b, 0), half(b, 2));
        for (group, o) in o.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (scale, least) = scale_and_least(&b[4..16], group);
            let (scale, least) = (d * scale, m * least);
            let shift = group % 2 * 4;
            for (o, q) in o.iter_mut().zip(&b[16 + group / 2 * 32..]) {
                *o = scale * f32::from(q >> shift & 15) - least;
            }
        }
    });
}

/// 4 bits per element and a separate fifth.
#[multiversion(targets = "simd")]
pub(super) fn q5_k(data: &[u8], out: &mut [f32]) {
    blocks::<176, 256>(data, out, |b, o| {
        let (d, m) = (half(b, 0), half(b, 2));
        for (group, o) in o.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (scale, least) = scale_and_least(&b[4..16], group);
            let (scale, least) = (d * scale, m * least);
            let shift = group % 2 * 4;
            let low = &b[48 + group / 2 * 32..];
            for ((o, q), top) in o.iter_mut().zip(low).zip(&b[16..48]) {
                let q = q >> shift & 15 | (top >> group & 1) << 4;
                *o = scale * f32::from(q) - least;
            }
        }
    });
}

/// Signed 8-bit scales; 4 bits per element and two separate ones, minus 32.
#[multiversion(targets = "simd")]
pub(super) fn q6_k(data: &[u8], out: &mut [f32]) {
    blocks::<210, 256>(data, out, |b, o| {
        let d = half(b, 208);
        for (group, o) in o.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = d * signed(b[192 + group]);
            let (at, up) = two_bits(group);
            let low = &b[group / 8 * 64 + group % 4 * 16..];
            let shift = group % 8 / 4 * 4;
            for ((o, q), top) in o.iter_mut().zip(low).zip(&b[128 + at..]) {
                let q = q >> shift & 15 | (top >> up & 3) << 4;
                *o = scale * (f32::from(q) - 32.0);
            }
        }
    });
}

/// float32 scale and 8 bits per element; the sums at the end serve products only.
#[multiversion(targets = "simd")]
pub(super) fn q8_k(data: &[u8], out: &mut [f32]) {
    blocks::<292, 256>(data, out, |b, o| {
        let d = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        for (o, q) in o.iter_mut().zip(&b[4..260]) {
            *o = d * signed(*q);
        }
    });
}
