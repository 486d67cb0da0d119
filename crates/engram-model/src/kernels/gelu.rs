//! GELU in its tanh form (Hendrycks & Gimpel 2016), GPT-2's `gelu_new`.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use multiversion::multiversion;
use rayon::prelude::*;

use super::{elementary, math, slice, with_slice};

/// √(2/π).
const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;
const CHUNK: usize = 1 << 14;

/// gelu_new(x) = x·σ(2u), u = √(2/π)(x + 0.044715 x³), which equals ½x(1 + tanh u). Any shape.
///
/// # Errors
/// If a tensor is not float32.
pub fn gelu_new(x: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return elementary::gelu_new(x);
    }
    x.contiguous()?.apply_op1(Gelu)
}

struct Gelu;

#[multiversion(targets = "simd")]
pub(crate) fn forward(x: &[f32], out: &mut [f32]) {
    for (o, &x) in out.iter_mut().zip(x) {
        let u = SQRT_2_OVER_PI * (x + CUBIC * x * x * x);
        *o = x / (1.0 + math::exp(-2.0 * u));
    }
}

/// g times d/dx x·σ(2u) = σ + x·σ(1 − σ)·2u', in place.
#[multiversion(targets = "simd")]
pub(crate) fn backward_onto(x: &[f32], grad: &mut [f32]) {
    for (g, &x) in grad.iter_mut().zip(x) {
        let u = SQRT_2_OVER_PI * (x + CUBIC * x * x * x);
        let slope = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
        let s = 1.0 / (1.0 + math::exp(-2.0 * u));
        *g *= s + x * s * (1.0 - s) * 2.0 * slope;
    }
}

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu_new"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(storage, layout)?;
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(CHUNK)
            .zip(x.par_chunks(CHUNK))
            .for_each(|(o, x)| forward(x, o));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let out = with_slice(x, |x| {
            with_slice(grad, |grad| {
                let mut out = grad.to_vec();
                out.par_chunks_mut(CHUNK)
                    .zip(x.par_chunks(CHUNK))
                    .for_each(|(g, x)| backward_onto(x, g));
                Ok(out)
            })
        })?;
        Tensor::from_vec(out, x.shape(), x.device()).map(Some)
    }
}
