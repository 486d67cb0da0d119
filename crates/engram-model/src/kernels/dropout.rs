//! Dropout with a seeded, counter-based generator. The mask is a function of seed and element: it is the same on any
//! number of threads, and it is recomputed, not stored, for the backward pass.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use multiversion::multiversion;
use rayon::prelude::*;

use super::{elementary, slice};

const CHUNK: usize = 1 << 14;

/// A dropout mask: a probability and a seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Probability of dropping an element; 0 is the identity.
    pub probability: f32,
    /// Seed of the mask.
    pub seed: u64,
}

impl Dropout {
    /// No dropout.
    pub const NONE: Dropout = Dropout {
        probability: 0.0,
        seed: 0,
    };

    /// Mask `number` under `seed`; without a seed (not training) nothing is dropped.
    pub fn new(probability: f64, seed: Option<u64>, number: u64) -> Dropout {
        match seed {
            Some(seed) => Dropout {
                probability: probability as f32,
                seed: mix(seed ^ mix(number)),
            },
            None => Dropout::NONE,
        }
    }

    /// The factor of element `index`: 0 or 1/(1 − p).
    #[inline(always)]
    pub fn factor(self, index: u64) -> f32 {
        let uniform = (mix(self.seed.wrapping_add(index.wrapping_mul(GOLDEN))) >> 40) as f32
            * (1.0 / (1u64 << 24) as f32);
        if uniform < self.probability {
            0.0
        } else {
            1.0 / (1.0 - self.probability)
        }
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64 (Steele, Lea & Flood 2014).
#[inline(always)]
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Drops elements of x and scales the others by 1/(1 − p). Any shape.
///
/// # Errors
/// If a tensor is not float32.
pub fn dropout(x: &Tensor, mask: Dropout) -> Result<Tensor> {
    if mask.probability <= 0.0 {
        return Ok(x.clone());
    }
    if !x.device().is_cpu() {
        return elementary::dropout(x, mask);
    }
    x.contiguous()?.apply_op1(Mask(mask))
}

/// Multiplies by the mask's factors of elements `start`, `start + 1`, ….
#[multiversion(targets = "simd")]
pub(crate) fn apply_onto(x: &mut [f32], mask: Dropout, start: u64) {
    for (i, x) in x.iter_mut().enumerate() {
        *x *= mask.factor(start + i as u64);
    }
}

struct Mask(Dropout);

impl CustomOp1 for Mask {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(storage, layout)?;
        let mut out = x.to_vec();
        out.par_chunks_mut(CHUNK)
            .enumerate()
            .for_each(|(chunk, out)| apply_onto(out, self.0, (chunk * CHUNK) as u64));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        grad.contiguous()?.apply_op1_no_bwd(&Mask(self.0)).map(Some)
    }
}
