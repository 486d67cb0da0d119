//! Parts of blocks: linear maps, norms, rotary embedding, soft caps.

use candle_core::{D, Tensor};
use engram_core::Site;

use super::{changed, see};
use crate::architecture::{Normalisation, Rotary};
use crate::error::Result;
use crate::families::{Linear, Norm};
use crate::kernels::{add_bias, layer_norm, layer_norm_scale, product};
use crate::tap::Tap;

impl Linear {
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, positions, width) = x.dims3()?;
        let out = self.weight.dim(1)?;
        let rows = product(&x.reshape((batch * positions, width))?, &self.weight)?;
        let rows = match &self.bias {
            Some(bias) => add_bias(&rows, bias)?,
            None => rows,
        };
        Ok(rows.reshape((batch, positions, out))?)
    }
}

/// Kind and ε of a norm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Normalise {
    pub(super) kind: Normalisation,
    pub(super) epsilon: f64,
}

impl Normalise {
    /// Normalises the last dimension.
    pub(super) fn rows(self, x: &Tensor, norm: &Norm) -> Result<Tensor> {
        match (self.kind, &norm.bias) {
            (Normalisation::LayerNorm, Some(bias)) => {
                Ok(layer_norm(x, &norm.weight, bias, self.epsilon)?)
            }
            _ => self.by_scale(x, &self.scale(x)?, norm),
        }
    }

    /// The divisor of each row: [..., n] to [..., 1].
    fn scale(self, x: &Tensor) -> Result<Tensor> {
        Ok(match self.kind {
            Normalisation::LayerNorm => layer_norm_scale(x, self.epsilon)?,
            Normalisation::Rms => (x.sqr()?.mean_keepdim(D::Minus1)? + self.epsilon)?.sqrt()?,
        })
    }

    fn by_scale(self, x: &Tensor, scale: &Tensor, norm: &Norm) -> Result<Tensor> {
        let centred = match self.kind {
            Normalisation::LayerNorm => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
            Normalisation::Rms => x.clone(),
        };
        let rows = centred.broadcast_div(scale)?.broadcast_mul(&norm.weight)?;
        Ok(match &norm.bias {
            Some(bias) => rows.broadcast_add(bias)?,
            None => rows,
        })
    }

    /// The normalised x. Its divisor and the result pass through the tap.
    pub(super) fn forward(
        self,
        x: &Tensor,
        norm: &Norm,
        (scale_site, site): (Site, Site),
        layer: Option<usize>,
        tap: &mut dyn Tap,
    ) -> Result<Tensor> {
        let mut out = self.rows(x, norm)?;
        if tap.wants(scale_site, layer) {
            let scale = self.scale(x)?;
            let seen = see(tap, scale_site, layer, scale.clone())?;
            if seen.id() != scale.id() {
                let by = |scale: &Tensor| self.by_scale(x, scale, norm);
                out = changed(&out, &by(&scale)?, &by(&seen)?)?;
            }
        }
        see(tap, site, layer, out)
    }
}

/// Rotary embedding of each head; x: [batch, pos, head, d_head].
pub(super) fn rotate(x: &Tensor, rotary: &Rotary) -> Result<Tensor> {
    let (_, positions, _, d_head) = x.dims4()?;
    let rotary = rotary.of_prompt(positions);
    let n = rotary.frequencies.len();
    let (mut cos, mut sin) = (
        vec![1f32; positions * d_head],
        vec![0f32; positions * d_head],
    );
    for position in 0..positions {
        for (i, turned) in rotary.at(position).enumerate() {
            let at = position * d_head + i;
            (cos[at], cos[at + n]) = (turned.cos, turned.cos);
            (sin[at], sin[at + n]) = (-turned.sin, turned.sin);
        }
    }
    let partner = |i: usize| match i {
        i if i < n => i + n,
        i if i < 2 * n => i - n,
        i => i,
    };
    let partners: Vec<u32> = (0..d_head).map(|i| partner(i) as u32).collect();
    let partners = Tensor::from_vec(partners, d_head, x.device())?;
    let rows = (1, positions, 1, d_head);
    let cos = Tensor::from_vec(cos, rows, x.device())?;
    let sin = Tensor::from_vec(sin, rows, x.device())?;
    let others = x.index_select(&partners, D::Minus1)?;
    Ok((x.broadcast_mul(&cos)? + others.broadcast_mul(&sin)?)?)
}

/// Soft cap c·tanh(x / c).
pub(super) fn capped(x: Tensor, cap: Option<f32>) -> Result<Tensor> {
    Ok(match cap {
        Some(cap) => ((x / f64::from(cap))?.tanh()? * f64::from(cap))?,
        None => x,
    })
}
