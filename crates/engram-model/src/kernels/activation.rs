//! The MLP's activation function on slices, with its backward pass.

use super::gelu;
use crate::config::Gpt2Config;

/// The MLP's activation function.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Activation {
    GeluNew,
    Gelu,
    Relu,
}

impl Activation {
    pub fn of(config: &Gpt2Config) -> Activation {
        match config.activation_function.as_str() {
            "gelu" => Activation::Gelu,
            "relu" => Activation::Relu,
            _ => Activation::GeluNew,
        }
    }

    pub fn forward(self, x: &[f32], out: &mut [f32]) {
        let each = out.iter_mut().zip(x);
        match self {
            Activation::GeluNew => gelu::forward(x, out),
            Activation::Relu => each.for_each(|(o, x)| *o = x.max(0.0)),
            Activation::Gelu => each.for_each(|(o, &x)| *o = x * normal_below(x)),
        }
    }

    /// g becomes the gradient at x.
    pub fn backward(self, x: &[f32], g: &mut [f32]) {
        let each = g.iter_mut().zip(x);
        match self {
            Activation::GeluNew => gelu::backward_onto(x, g),
            Activation::Relu => each.for_each(|(g, x)| *g *= f32::from(u8::from(*x > 0.0))),
            Activation::Gelu => each.for_each(|(g, &x)| {
                let density = (-0.5 * x * x).exp() * INVERSE_SQRT_2PI;
                *g *= normal_below(x) + x * density;
            }),
        }
    }
}

/// 1/√(2π).
const INVERSE_SQRT_2PI: f32 = 0.398_942_3;

/// Φ(x), the standard normal distribution function.
fn normal_below(x: f32) -> f32 {
    let x = f64::from(x) * std::f64::consts::FRAC_1_SQRT_2;
    (0.5 * (1.0 + candle_core::cpu::erf::erf_f64(x))) as f32
}
