//! The MLP's activation function on slices, with its backward pass.

use multiversion::multiversion;

use super::{gelu, math};

/// The MLP's activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
    GeluNew,
    /// x·Φ(x), with Φ the normal distribution function (Hendrycks & Gimpel 2016).
    Gelu,
    /// max(x, 0).
    Relu,
    /// x / (1 + e^−x) (Elfwing et al. 2018).
    Silu,
}

impl Activation {
    /// out = f(x), element by element.
    pub fn forward(self, x: &[f32], out: &mut [f32]) {
        let each = out.iter_mut().zip(x);
        match self {
            Activation::GeluNew => gelu::forward(x, out),
            Activation::Relu => each.for_each(|(o, x)| *o = x.max(0.0)),
            Activation::Gelu => each.for_each(|(o, &x)| *o = x * normal_below(x)),
            Activation::Silu => silu(x, out),
        }
    }

    /// Multiplies the gradient `g` by f'(x), in place.
    pub(crate) fn backward(self, x: &[f32], g: &mut [f32]) {
        let each = g.iter_mut().zip(x);
        match self {
            Activation::GeluNew => gelu::backward_onto(x, g),
            Activation::Relu => each.for_each(|(g, x)| *g *= f32::from(u8::from(*x > 0.0))),
            Activation::Gelu => each.for_each(|(g, &x)| {
                let density = (-0.5 * x * x).exp() * INVERSE_SQRT_2PI;
                *g *= normal_below(x) + x * density;
            }),
            Activation::Silu => silu_backward(x, g),
        }
    }
}

#[multiversion(targets = "simd")]
fn silu(x: &[f32], out: &mut [f32]) {
    for (o, &x) in out.iter_mut().zip(x) {
        *o = x / (1.0 + math::exp(-x));
    }
}

#[multiversion(targets = "simd")]
fn silu_backward(x: &[f32], g: &mut [f32]) {
    for (g, &x) in g.iter_mut().zip(x) {
        let share = 1.0 / (1.0 + math::exp(-x));
        *g *= share * (1.0 + x * (1.0 - share));
    }
}

/// 1/√(2π).
const INVERSE_SQRT_2PI: f32 = 0.398_942_3;

/// Φ(x), the standard normal distribution function.
fn normal_below(x: f32) -> f32 {
    let x = f64::from(x) * std::f64::consts::FRAC_1_SQRT_2;
    (0.5 * (1.0 + candle_core::cpu::erf::erf_f64(x))) as f32
}
