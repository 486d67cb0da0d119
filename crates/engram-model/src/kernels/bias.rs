//! Adding a bias to every row.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use multiversion::multiversion;
use rayon::prelude::*;

use super::{ROWS_PER_TASK, elementary, slice, sum_in_order, with_slice};

/// x + bias. x: [..., n], bias: `[n]`.
///
/// # Errors
/// If a tensor is not float32.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return elementary::add_bias(x, bias);
    }
    x.contiguous()?.apply_op2(&bias.contiguous()?, AddBias)
}

struct AddBias;

#[multiversion(targets = "simd")]
pub(crate) fn add_rows(x: &[f32], bias: &[f32], out: &mut [f32]) {
    let n = bias.len();
    for (o, x) in out.chunks_exact_mut(n).zip(x.chunks_exact(n)) {
        for ((o, x), b) in o.iter_mut().zip(x).zip(bias) {
            *o = x + b;
        }
    }
}

#[multiversion(targets = "simd")]
pub(crate) fn column_sums(x: &[f32], sums: &mut [f32]) {
    for row in x.chunks_exact(sums.len()) {
        for (s, x) in sums.iter_mut().zip(row) {
            *s += x;
        }
    }
}

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add_bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, bias) = (slice(x, x_layout)?, slice(bias, bias_layout)?);
        let mut out = vec![0f32; x.len()];
        let task = ROWS_PER_TASK * bias.len();
        out.par_chunks_mut(task)
            .zip(x.par_chunks(task))
            .for_each(|(o, x)| add_rows(x, bias, o));
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let n = bias.elem_count();
        let sums = with_slice(grad, |grad| {
            let parts = grad
                .par_chunks(ROWS_PER_TASK * n)
                .map(|rows| {
                    let mut sums = vec![0f32; n];
                    column_sums(rows, &mut sums);
                    sums
                })
                .collect();
            Ok(sum_in_order(parts, n))
        })?;
        let bias_grad = Tensor::from_vec(sums, bias.shape(), bias.device())?;
        Ok((Some(grad.clone()), Some(bias_grad)))
    }
}
