//! LayerNorm (Ba, Kiros & Hinton 2016).

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};
use multiversion::multiversion;
use rayon::prelude::*;

use super::{ROWS_PER_TASK, elementary, slice, sum_in_order, with_slice};

/// (x − mean) / √(var + ε) · weight + bias over the last dimension. x: [..., n], weight and bias: `[n]`.
///
/// # Errors
/// If a tensor is not float32.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return elementary::layer_norm(x, weight, bias, epsilon);
    }
    let op = LayerNorm {
        epsilon: epsilon as f32,
    };
    x.contiguous()?
        .apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

/// √(var + ε) over the last dimension, the divisor of LayerNorm: [..., n] to [..., 1]. Not fused, since only taps need
/// it.
///
/// # Errors
/// Those of the tensor library.
pub fn layer_norm_scale(x: &Tensor, epsilon: f64) -> Result<Tensor> {
    let x = x.to_dtype(DType::F32)?;
    let centred = x.broadcast_sub(&x.mean_keepdim(candle_core::D::Minus1)?)?;
    (centred.sqr()?.mean_keepdim(candle_core::D::Minus1)? + epsilon)?.sqrt()
}

struct LayerNorm {
    epsilon: f32,
}

/// Lanes of partial sums: enough for any vector unit, with one order of addition on all of them.
const LANES: usize = 16;

#[inline(always)]
fn lane_sum(values: impl Fn(usize) -> f32, n: usize) -> f32 {
    let mut lanes = [0f32; LANES];
    let whole = n / LANES * LANES;
    let mut i = 0;
    while i < whole {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += values(i + lane);
        }
        i += LANES;
    }
    let mut total: f32 = lanes.iter().sum();
    for i in whole..n {
        total += values(i);
    }
    total
}

/// Mean and 1/√(var + ε) of a row.
#[inline(always)]
pub(crate) fn moments(x: &[f32], epsilon: f32) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = lane_sum(|i| x[i], x.len()) / n;
    let variance = lane_sum(|i| (x[i] - mean) * (x[i] - mean), x.len()) / n;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

#[multiversion(targets = "simd")]
pub(crate) fn forward(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32]) {
    let n = weight.len();
    for (o, x) in out.chunks_exact_mut(n).zip(x.chunks_exact(n)) {
        let (mean, inverse) = moments(x, epsilon);
        for (((o, x), w), b) in o.iter_mut().zip(x).zip(weight).zip(bias) {
            *o = (x - mean) * inverse * w + b;
        }
    }
}

/// 1/√(mean(x²) + ε) of a row.
#[inline(always)]
pub(crate) fn inverse_root_mean_square(x: &[f32], epsilon: f32) -> f32 {
    let mean = lane_sum(|i| x[i] * x[i], x.len()) / x.len() as f32;
    1.0 / (mean + epsilon).sqrt()
}

/// x / √(mean(x²) + ε) · weight, row by row (Zhang & Sennrich 2019).
#[multiversion(targets = "simd")]
pub(crate) fn root_mean_square(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let n = weight.len();
    for (o, x) in out.chunks_exact_mut(n).zip(x.chunks_exact(n)) {
        let inverse = inverse_root_mean_square(x, epsilon);
        for ((o, x), w) in o.iter_mut().zip(x).zip(weight) {
            *o = x * inverse * w;
        }
    }
}

/// With x̂ the normalised row and ĝ = g·weight: dx += (ĝ − mean(ĝ) − x̂·mean(ĝ·x̂)) / √(var + ε). Also adds to `sums`,
/// the gradients of weight and bias side by side.
#[multiversion(targets = "simd")]
pub(crate) fn backward_onto(
    x: &[f32],
    weight: &[f32],
    grad: &[f32],
    epsilon: f32,
    dx: &mut [f32],
    sums: &mut [f32],
) {
    let n = weight.len();
    let (dweight, dbias) = sums.split_at_mut(n);
    for ((dx, x), g) in dx
        .chunks_exact_mut(n)
        .zip(x.chunks_exact(n))
        .zip(grad.chunks_exact(n))
    {
        let (mean, inverse) = moments(x, epsilon);
        let mean_g = lane_sum(|i| g[i] * weight[i], n) / n as f32;
        let mean_gx = lane_sum(|i| g[i] * weight[i] * (x[i] - mean) * inverse, n) / n as f32;
        for i in 0..n {
            let normal = (x[i] - mean) * inverse;
            dx[i] += (g[i] * weight[i] - mean_g - normal * mean_gx) * inverse;
            dweight[i] += g[i] * normal;
            dbias[i] += g[i];
        }
    }
}

/// With x̂ the normalised row and ĝ = g·weight: dx += (ĝ − x̂·mean(ĝ·x̂)) / √(mean(x²) + ε).
#[multiversion(targets = "simd")]
pub(crate) fn root_mean_square_backward_onto(
    x: &[f32],
    weight: &[f32],
    grad: &[f32],
    epsilon: f32,
    dx: &mut [f32],
) {
    let n = weight.len();
    for ((dx, x), g) in dx
        .chunks_exact_mut(n)
        .zip(x.chunks_exact(n))
        .zip(grad.chunks_exact(n))
    {
        let inverse = inverse_root_mean_square(x, epsilon);
        let mean_gx = lane_sum(|i| g[i] * weight[i] * x[i] * inverse, n) / n as f32;
        for i in 0..n {
            dx[i] += (g[i] * weight[i] - x[i] * inverse * mean_gx) * inverse;
        }
    }
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, x_layout)?;
        let (weight, bias) = (slice(weight, weight_layout)?, slice(bias, bias_layout)?);
        let n = weight.len();
        if bias.len() != n || x_layout.dims().last() != Some(&n) {
            bail!(
                "layer_norm: rows of {:?} against a weight of {n}",
                x_layout.dims()
            );
        }
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(ROWS_PER_TASK * n)
            .zip(x.par_chunks(ROWS_PER_TASK * n))
            .for_each(|(o, x)| forward(x, weight, bias, self.epsilon, o));
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let n = weight.elem_count();
        let (dx, sums) = with_slice(x, |x| {
            with_slice(weight, |weight| {
                with_slice(grad, |grad| {
                    let task = ROWS_PER_TASK * n;
                    let mut dx = vec![0f32; x.len()];
                    let parts = dx
                        .par_chunks_mut(task)
                        .zip(x.par_chunks(task).zip(grad.par_chunks(task)))
                        .map(|(dx, (x, grad))| {
                            let mut sums = vec![0f32; 2 * n];
                            backward_onto(x, weight, grad, self.epsilon, dx, &mut sums);
                            sums
                        })
                        .collect();
                    Ok((dx, sum_in_order(parts, 2 * n)))
                })
            })
        })?;
        let part = |s: &[f32]| Tensor::from_vec(s.to_vec(), bias.shape(), bias.device());
        Ok((
            Some(Tensor::from_vec(dx, x.shape(), x.device())?),
            Some(part(&sums[..n])?),
            Some(part(&sums[n..])?),
        ))
    }
}
