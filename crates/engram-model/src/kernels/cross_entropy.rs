//! Cross-entropy from logits.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use multiversion::multiversion;
use rayon::prelude::*;

use super::{elementary, math, slice, with_slice};

/// −ln softmax(logits) at the targets, in nats. logits: `[n, vocab]`, targets: n ids; result: `[n]`.
///
/// # Errors
/// If a target is outside the vocabulary, or a tensor is not float32.
pub fn cross_entropy(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let (n, vocab) = logits.dims2()?;
    if n != targets.len() {
        bail!("cross_entropy: {n} rows against {} targets", targets.len());
    }
    if let Some(bad) = targets.iter().find(|t| **t as usize >= vocab) {
        bail!("cross_entropy: target {bad} is outside the vocabulary of {vocab}");
    }
    if !logits.device().is_cpu() {
        return elementary::cross_entropy(logits, targets);
    }
    logits.contiguous()?.apply_op1(CrossEntropy {
        targets: targets.to_vec(),
        vocab,
    })
}

struct CrossEntropy {
    targets: Vec<u32>,
    vocab: usize,
}

/// max x and Σ e^(x − max). The sum is kept in lanes, so that it compiles to vector code with one order of addition.
#[multiversion(targets = "simd")]
pub(crate) fn log_sum_exp(x: &[f32]) -> (f32, f32) {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let chunks = x.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (m, &v) in lanes.iter_mut().zip(chunk) {
            *m = if v > *m { v } else { *m };
        }
    }
    let max = lanes
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m });
    let mut sums = [0f32; 16];
    for chunk in x.chunks_exact(16) {
        for (s, &v) in sums.iter_mut().zip(chunk) {
            *s += math::exp(v - max);
        }
    }
    let mut sum: f32 = sums.iter().sum();
    for &v in rest {
        sum += math::exp(v - max);
    }
    (max, sum)
}

/// x ← factor·e^(x − max).
#[multiversion(targets = "simd")]
pub(crate) fn gradient(x: &mut [f32], max: f32, factor: f32) {
    for v in x {
        *v = math::exp(*v - max) * factor;
    }
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(storage, layout)?;
        let losses: Vec<f32> = x
            .par_chunks(self.vocab)
            .zip(&self.targets)
            .map(|(row, &target)| {
                let (max, sum) = log_sum_exp(row);
                max + sum.ln() - row[target as usize]
            })
            .collect();
        let n = losses.len();
        Ok((CpuStorage::F32(losses), Shape::from(n)))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let out = with_slice(logits, |x| {
            with_slice(grad, |grad| {
                let mut out = vec![0f32; x.len()];
                out.par_chunks_mut(self.vocab)
                    .zip(x.par_chunks(self.vocab))
                    .zip(self.targets.par_iter().zip(grad))
                    .for_each(|((out, row), (&target, &g))| {
                        if g != 0.0 {
                            let (max, sum) = log_sum_exp(row);
                            out.copy_from_slice(row);
                            gradient(out, max, g / sum);
                            out[target as usize] -= g;
                        }
                    });
                Ok(out)
            })
        })?;
        Tensor::from_vec(out, logits.shape(), logits.device()).map(Some)
    }
}
