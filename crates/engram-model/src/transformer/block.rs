//! One block: attention and MLP with their norms.

use std::sync::Arc;

use candle_core::{IndexOp, Tensor};
use engram_core::Site;

use super::layers::{Normalise, capped, rotate};
use super::{TrainingPass, changed, see};
use crate::architecture::{Architecture, LayerAttention};
use crate::error::Result;
use crate::families::{BlockWeights, Norm, Qkv};
use crate::kernels::activation::Activation;
use crate::kernels::{
    AttentionWindow, Dropout, attention_probabilities, causal_attention, dropout, elementary,
    gelu_new,
};
use crate::tap::Tap;

#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) layer: usize,
    pub(super) architecture: Arc<Architecture>,
    pub(super) weights: BlockWeights,
}

impl Block {
    fn normalise(&self) -> Normalise {
        Normalise {
            kind: self.architecture.normalisation,
            epsilon: self.architecture.epsilon,
        }
    }

    fn attention(&self) -> &LayerAttention {
        &self.architecture.attention[self.layer]
    }

    /// Sequential: y = x + attention(ln_1 x), then y + mlp(ln_2 y). Parallel: x + attention(ln_1 x) + mlp(ln_2 x).
    pub(super) fn forward(
        &self,
        x: Tensor,
        tap: &mut dyn Tap,
        training: TrainingPass,
    ) -> Result<Tensor> {
        let seed = training.seed;
        let (layer, weights, rates) = (Some(self.layer), &self.weights, self.architecture.dropout);
        let normalise = self.normalise();
        let masks = 3 * self.layer as u64;
        let x = see(tap, Site::ResidPre, layer, x)?;

        let sites = (Site::Ln1Scale, Site::Ln1);
        let normal = normalise.forward(&x, &weights.ln_1, sites, layer, tap)?;
        let mask = Dropout::new(rates.attention, seed, masks + 1);
        let z = self.attend(&normal, tap, mask, training.attended)?;
        let attn_out = self.project_heads(&z, tap)?;
        let attn_out = self.after(attn_out, weights.post_attention.as_ref())?;
        let attn_out = see(tap, Site::AttnOut, layer, attn_out)?;
        let attn_out = dropout(&attn_out, Dropout::new(rates.residual, seed, masks + 2))?;
        let mut mid = (&x + attn_out)?;
        if !self.architecture.parallel {
            mid = see(tap, Site::ResidMid, layer, mid)?;
        }

        let read = if self.architecture.parallel { &x } else { &mid };
        let sites = (Site::Ln2Scale, Site::Ln2);
        let normal = normalise.forward(read, &weights.ln_2, sites, layer, tap)?;
        let mlp_out = weights.mlp_proj.forward(&self.neurons(&normal, tap)?)?;
        let mlp_out = self.after(mlp_out, weights.post_mlp.as_ref())?;
        let mlp_out = see(tap, Site::MlpOut, layer, mlp_out)?;
        let mlp_out = dropout(&mlp_out, Dropout::new(rates.residual, seed, masks + 3))?;
        see(tap, Site::ResidPost, layer, (mid + mlp_out)?)
    }

    /// What the block computes at a site from rows of the residual stream that it reads, [batch, pos, d_model]: `ln_1` and
    /// `ln_2` with d_model values, `q`, `k` and `v` with those of all heads side by side. `None` for other sites.
    pub(super) fn reading(&self, site: Site, stream: &Tensor) -> Result<Option<Tensor>> {
        let (weights, a) = (&self.weights, &*self.architecture);
        let normal = |norm: &Norm| self.normalise().rows(stream, norm);
        let projection = match site {
            Site::Ln1 => return Ok(Some(normal(&weights.ln_1)?)),
            Site::Ln2 => return Ok(Some(normal(&weights.ln_2)?)),
            Site::Q => 0,
            Site::K => 1,
            Site::V => 2,
            _ => return Ok(None),
        };
        let normal = normal(&weights.ln_1)?;
        let read = match &weights.qkv {
            Qkv::Separate(of_each) => of_each[projection].forward(&normal)?,
            Qkv::Fused(linear) => {
                let (q, k) = (a.d_queries(), a.d_keys());
                let columns = [0..q, q..q + k, q + k..q + 2 * k][projection].clone();
                linear.forward(&normal)?.i((.., .., columns))?
            }
        };
        Ok(Some(read.contiguous()?))
    }

    /// The output of a sublayer, after its post-norm if the family has one.
    fn after(&self, added: Tensor, norm: Option<&Norm>) -> Result<Tensor> {
        match norm {
            Some(norm) => self.normalise().rows(&added, norm),
            None => Ok(added),
        }
    }

    /// Attention-weighted values of all heads side by side, [batch, pos, heads · d_head], from normalised rows.
    fn attend(
        &self,
        normal: &Tensor,
        tap: &mut dyn Tap,
        mask: Dropout,
        attended: Option<&[usize]>,
    ) -> Result<Tensor> {
        let (layer, a) = (Some(self.layer), &*self.architecture);
        let (batch, positions, _) = normal.dims3()?;
        let by_head = |x: Tensor, heads| x.reshape((batch, positions, heads, a.d_head));
        let mut fused = None;
        let [q, k, v] = match &self.weights.qkv {
            Qkv::Fused(linear) => {
                let qkv = see(tap, Site::CAttn, layer, linear.forward(normal)?)?;
                if self.is_plain() {
                    let scale = self.attention().scale;
                    let z = match attended {
                        Some(_) => {
                            elementary::causal_attention(&qkv, a.heads, scale, mask, attended)?
                        }
                        None => causal_attention(&qkv, a.heads, scale, mask)?,
                    };
                    let parts = [Site::Q, Site::K, Site::V, Site::Pattern];
                    if !parts.into_iter().any(|site| tap.wants(site, layer)) {
                        return self.see_z(z, tap);
                    }
                    fused = Some(z);
                }
                let part = |columns| qkv.i((.., .., columns))?.contiguous();
                let (q, k) = (a.d_queries(), a.d_keys());
                [part(0..q)?, part(q..q + k)?, part(q + k..q + 2 * k)?]
            }
            Qkv::Separate([q, k, v]) => {
                [q.forward(normal)?, k.forward(normal)?, v.forward(normal)?]
            }
        };
        let made = [
            by_head(q, a.heads)?,
            by_head(k, a.kv_heads)?,
            by_head(v, a.kv_heads)?,
        ];
        let [q, k, v] = made.clone();
        let q = see(tap, Site::Q, layer, q)?;
        let k = see(tap, Site::K, layer, k)?;
        let v = see(tap, Site::V, layer, v)?;
        let pattern = self.pattern(q.clone(), k.clone())?;
        let seen = see(tap, Site::Pattern, layer, pattern.clone())?;
        let read = |pattern: &Tensor, v: &Tensor| -> Result<Tensor> {
            let values = self.for_queries(v)?.transpose(1, 2)?.contiguous()?;
            let z = pattern.contiguous()?.matmul(&values)?.transpose(1, 2)?;
            Ok(z.contiguous()?.reshape((batch, positions, a.d_queries()))?)
        };
        let z = match fused {
            None => read(&seen, &v)?,
            Some(fused) => {
                let pairs = made.iter().zip([&q, &k, &v]);
                let mut replaced = pairs.map(|(made, seen)| made.id() != seen.id());
                if replaced.any(|r| r) || seen.id() != pattern.id() {
                    let [q, k, of_made] = made;
                    let before = read(&self.pattern(q, k)?, &of_made)?;
                    changed(&fused, &before, &read(&seen, &v)?)?
                } else {
                    fused
                }
            }
        };
        self.see_z(z, tap)
    }

    /// Whether the fused kernel computes this block's attention.
    fn is_plain(&self) -> bool {
        let (a, attention) = (&self.architecture, self.attention());
        let whole = attention.window.is_none() && attention.rotary.is_none();
        whole && a.kv_heads == a.heads && !a.query_key_norms && a.score_cap.is_none()
    }

    /// Attention probabilities, [batch, head, query, key].
    fn pattern(&self, q: Tensor, k: Tensor) -> Result<Tensor> {
        let attention = self.attention();
        if self.is_plain() {
            return Ok(attention_probabilities(&q, &k, attention.scale)?);
        }
        let (mut q, mut k) = (q, k);
        if let Some((of_queries, of_keys)) = &self.weights.query_key_norms {
            q = self.normalise().rows(&q, of_queries)?;
            k = self.normalise().rows(&k, of_keys)?;
        }
        if let Some(rotary) = &attention.rotary {
            q = rotate(&q, rotary)?;
            k = rotate(&k, rotary)?;
        }
        let q = q.transpose(1, 2)?.contiguous()?;
        let k = self.for_queries(&k)?.transpose(1, 2)?.contiguous()?;
        let scores = (q.matmul(&k.t()?)? * f64::from(attention.scale))?;
        let scores = capped(scores, self.architecture.score_cap)?;
        Ok(elementary::softmax(
            &scores,
            AttentionWindow(attention.window),
        )?)
    }

    /// Repeats keys or values, [batch, pos, kv_head, d_head], for each query head that they serve.
    fn for_queries(&self, x: &Tensor) -> Result<Tensor> {
        let (heads, kv_heads) = (self.architecture.heads, self.architecture.kv_heads);
        if heads == kv_heads {
            return Ok(x.clone());
        }
        let served: Vec<u32> = (0..heads).map(|h| (h * kv_heads / heads) as u32).collect();
        Ok(x.index_select(&Tensor::from_vec(served, heads, x.device())?, 2)?)
    }

    fn see_z(&self, z: Tensor, tap: &mut dyn Tap) -> Result<Tensor> {
        let layer = Some(self.layer);
        if !tap.wants(Site::Z, layer) {
            return Ok(z);
        }
        let (batch, positions, width) = z.dims3()?;
        let (heads, d_head) = (self.architecture.heads, self.architecture.d_head);
        let z = z.reshape((batch, positions, heads, d_head))?;
        Ok(see(tap, Site::Z, layer, z)?.reshape((batch, positions, width))?)
    }

    /// The output projection W_O. A tap that replaces a head's contribution changes the output by the difference.
    fn project_heads(&self, z: &Tensor, tap: &mut dyn Tap) -> Result<Tensor> {
        let (layer, linear) = (Some(self.layer), &self.weights.attn_proj);
        let out = linear.forward(z)?;
        if !tap.wants(Site::HeadOut, layer) {
            return Ok(out);
        }
        let (heads, d_head) = (self.architecture.heads, self.architecture.d_head);
        let (batch, positions, _) = z.dims3()?;
        let d = linear.weight.dim(1)?;
        let z = z
            .reshape((batch * positions, heads, d_head))?
            .transpose(0, 1)?
            .contiguous()?;
        let weight = linear.weight.contiguous()?.reshape((heads, d_head, d))?;
        let each = z
            .matmul(&weight)?
            .transpose(0, 1)?
            .contiguous()?
            .reshape((batch, positions, heads, d))?;
        let seen = see(tap, Site::HeadOut, layer, each.clone())?;
        if seen.id() == each.id() {
            return Ok(out);
        }
        Ok((out + (seen - each)?.sum(2)?)?)
    }

    /// The neurons' activations, [batch, pos, d_mlp], from normalised rows.
    fn neurons(&self, normal: &Tensor, tap: &mut dyn Tap) -> Result<Tensor> {
        let (layer, weights) = (Some(self.layer), &self.weights);
        let pre = see(tap, Site::MlpPre, layer, weights.fc.forward(normal)?)?;
        let mut post = match self.architecture.activation {
            Activation::GeluNew => gelu_new(&pre)?,
            Activation::Gelu => pre.gelu_erf()?,
            Activation::Relu => pre.relu()?,
            Activation::Silu => pre.silu()?,
        };
        if let Some(up) = &weights.up {
            post = (post * see(tap, Site::MlpUp, layer, up.forward(normal)?)?)?;
        }
        see(tap, Site::MlpPost, layer, post)
    }
}
