//! Linear maps, LayerNorms and activations on slices, with backward passes.

use std::ops::Range;

use crate::error::Result;
use crate::families::Gpt2Config;
use crate::kernels::bias::column_sums;
use crate::kernels::layer_norm;
use crate::kernels::matrix::{Products, View};

use super::Flat;

/// Offsets of the parameters of x·W + b; W: [inputs, outputs].
#[derive(Debug, Clone)]
pub(super) struct LinearAt {
    weight: Range<usize>,
    bias: Range<usize>,
    inputs: usize,
    outputs: usize,
    /// Number format of its products.
    pub products: Products,
}

impl LinearAt {
    pub fn find(flat: &Flat, name: &str, inputs: usize, outputs: usize) -> Result<LinearAt> {
        Ok(LinearAt {
            weight: flat.range(&format!("{name}.weight"))?,
            bias: flat.range(&format!("{name}.bias"))?,
            inputs,
            outputs,
            products: Products::Float32,
        })
    }

    /// out = x·W + b + rest, or x·W + b without a rest.
    pub fn forward(&self, weights: &[f32], x: &[f32], rest: Option<&[f32]>, out: &mut [f32]) {
        let (weight, bias) = (&weights[self.weight.clone()], &weights[self.bias.clone()]);
        match rest {
            Some(rest) => crate::kernels::bias::add_rows(rest, bias, out),
            None => out
                .chunks_exact_mut(self.outputs)
                .for_each(|row| row.copy_from_slice(bias)),
        }
        self.products.multiply(
            (x.len() / self.inputs, self.inputs, self.outputs),
            x,
            View::rows(self.inputs),
            weight,
            View::rows(self.outputs),
            out,
            View::rows(self.outputs),
            (1.0, true),
        );
    }

    /// dW += xᵀ·g, db += Σ g, dx = g·Wᵀ.
    pub fn backward(
        &self,
        weights: &[f32],
        x: &[f32],
        g: &[f32],
        grads: &mut [f32],
        dx: &mut [f32],
    ) {
        let rows = x.len() / self.inputs;
        column_sums(g, &mut grads[self.bias.clone()]);
        self.products.multiply(
            (self.inputs, rows, self.outputs),
            x,
            View::rows(self.inputs).t(),
            g,
            View::rows(self.outputs),
            &mut grads[self.weight.clone()],
            View::rows(self.outputs),
            (1.0, true),
        );
        self.products.multiply(
            (rows, self.outputs, self.inputs),
            g,
            View::rows(self.outputs),
            &weights[self.weight.clone()],
            View::rows(self.outputs).t(),
            dx,
            View::rows(self.inputs),
            (1.0, false),
        );
    }
}

/// Offset of a LayerNorm's parameters: weight, then bias.
#[derive(Debug, Clone)]
pub(super) struct NormAt {
    both: Range<usize>,
    width: usize,
    epsilon: f32,
}

impl NormAt {
    pub fn find(flat: &Flat, name: &str, config: &Gpt2Config) -> Result<NormAt> {
        let weight = flat.range(&format!("{name}.weight"))?;
        let bias = flat.range(&format!("{name}.bias"))?;
        Ok(NormAt {
            both: weight.start..bias.end,
            width: config.n_embd,
            epsilon: config.layer_norm_epsilon as f32,
        })
    }

    pub fn forward(&self, weights: &[f32], x: &[f32], out: &mut [f32]) {
        let (weight, bias) = weights[self.both.clone()].split_at(self.width);
        layer_norm::forward(x, weight, bias, self.epsilon, out);
    }

    /// dx += the gradient of the input x, from the gradient g of the normalised rows.
    pub fn backward(
        &self,
        weights: &[f32],
        x: &[f32],
        g: &[f32],
        grads: &mut [f32],
        dx: &mut [f32],
    ) {
        let (weight, _) = weights[self.both.clone()].split_at(self.width);
        let sums = &mut grads[self.both.clone()];
        layer_norm::backward_onto(x, weight, g, self.epsilon, dx, sums);
    }
}
