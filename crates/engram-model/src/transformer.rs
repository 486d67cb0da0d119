//! The forward pass of a decoder-only transformer, as stages with named sites.

use std::sync::Arc;

use candle_core::{D, Device, IndexOp, Tensor};
use engram_core::{NamedSite, Site};

use crate::architecture::{Architecture, LayerAttention, Normalisation, Rotary};
use crate::error::{ModelError, Result};
use crate::families::{BlockWeights, EndWeights, Family, Linear, Norm, Qkv, Source};
use crate::kernels::activation::Activation;
use crate::kernels::{
    Dropout, Seen, add_bias, attention_probabilities, causal_attention, dropout, elementary,
    gelu_new, layer_norm, layer_norm_scale, product,
};
use crate::tap::{NoTap, Tap};

impl Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
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

/// A normalisation's kind and its ε.
#[derive(Debug, Clone, Copy)]
struct Normalise {
    kind: Normalisation,
    epsilon: f64,
}

impl Normalise {
    /// Over the last dimension.
    fn rows(self, x: &Tensor, norm: &Norm) -> Result<Tensor> {
        match (self.kind, &norm.bias) {
            (Normalisation::LayerNorm, Some(bias)) => {
                Ok(layer_norm(x, &norm.weight, bias, self.epsilon)?)
            }
            _ => self.by_scale(x, &self.scale(x)?, norm),
        }
    }

    /// What rows are divided by: [..., n] to [..., 1].
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

    /// The normalised x, through the taps at the scale that it divides by and at its output.
    fn forward(
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

/// Shows a value to the tap where it asks for it, and takes what it gives back.
fn see(tap: &mut dyn Tap, site: Site, layer: Option<usize>, value: Tensor) -> Result<Tensor> {
    if !tap.wants(site, layer) {
        return Ok(value);
    }
    let expected = value.dims().to_vec();
    let seen = tap.at(site, layer, value)?;
    if seen.dims() != expected {
        return Err(ModelError::SiteShape {
            site: NamedSite::canonical(site, layer).name,
            expected,
            found: seen.dims().to_vec(),
        });
    }
    Ok(seen)
}

/// The result of a kernel whose parts a tap replaced. The parts give `before` as the network made them and `after` as the
/// tap left them; what they differ by is added to the kernel's own result. Rows that the tap left alone keep their bits
/// whatever else it looks at or replaces.
fn changed(plain: &Tensor, before: &Tensor, after: &Tensor) -> Result<Tensor> {
    Ok((plain + (after - before)?)?)
}

/// Each head's rows turned by their positions; x: [batch, pos, head, d_head].
fn turn(x: &Tensor, rotary: &Rotary) -> Result<Tensor> {
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

/// c·tanh(x / c).
fn capped(x: Tensor, cap: Option<f32>) -> Result<Tensor> {
    Ok(match cap {
        Some(cap) => ((x / f64::from(cap))?.tanh()? * f64::from(cap))?,
        None => x,
    })
}

#[derive(Debug, Clone)]
struct Block {
    layer: usize,
    architecture: Arc<Architecture>,
    weights: BlockWeights,
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

    /// x + attention(ln_1 x), then + mlp(ln_2 ·); side by side where the family has them so.
    fn forward(&self, x: Tensor, tap: &mut dyn Tap, training: TrainingPass) -> Result<Tensor> {
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

    /// What is added, normalised where the family does so.
    fn after(&self, added: Tensor, norm: Option<&Norm>) -> Result<Tensor> {
        match norm {
            Some(norm) => self.normalise().rows(&added, norm),
            None => Ok(added),
        }
    }

    /// Normalised rows to attention-weighted values, all heads side by side: [batch, pos, heads · d_head].
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
            Qkv::Apart([q, k, v]) => [q.forward(normal)?, k.forward(normal)?, v.forward(normal)?],
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
            q = turn(&q, rotary)?;
            k = turn(&k, rotary)?;
        }
        let q = q.transpose(1, 2)?.contiguous()?;
        let k = self.for_queries(&k)?.transpose(1, 2)?.contiguous()?;
        let scores = (q.matmul(&k.t()?)? * f64::from(attention.scale))?;
        let scores = capped(scores, self.architecture.score_cap)?;
        Ok(elementary::softmax(&scores, Seen(attention.window))?)
    }

    /// Keys or values, [batch, pos, kv_head, d_head], once for each query head that they serve.
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

    /// The output projection. A tap that replaces a head's contribution changes it by what the contribution changed by.
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

    /// Normalised rows to the neurons' activations: [batch, pos, d_mlp].
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

/// What training adds to a pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct TrainingPass<'a> {
    /// Turns dropout on, with masks drawn from it.
    pub seed: Option<u64>,
    /// For each sequence, how many of its positions from the first on are attended to; the rest is padding. Only
    /// through the fused attention of GPT-2's family, whose networks alone are trained.
    pub attended: Option<&'a [usize]>,
}

/// A decoder-only transformer with its weights.
#[derive(Debug, Clone)]
pub struct Transformer {
    architecture: Arc<Architecture>,
    blocks: Vec<Block>,
    ends: EndWeights,
}

impl Transformer {
    /// Builds a network from a source of parameters, asked by their names in [`Family::parameters`].
    ///
    /// # Errors
    /// Whatever the source says.
    pub fn new(family: &dyn Family, source: &mut Source<'_>) -> Result<Transformer> {
        let architecture = Arc::new(family.architecture());
        let block = |layer| {
            Ok(Block {
                layer,
                architecture: architecture.clone(),
                weights: family.block(layer, source)?,
            })
        };
        Ok(Transformer {
            blocks: (0..architecture.layers())
                .map(block)
                .collect::<Result<_>>()?,
            ends: family.ends(source)?,
            architecture,
        })
    }

    /// What the network is made of.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The weights of a block.
    pub fn block(&self, layer: usize) -> Option<&BlockWeights> {
        self.blocks.get(layer).map(|block| &block.weights)
    }

    /// The weights outside the blocks.
    pub fn ends(&self) -> &EndWeights {
        &self.ends
    }

    /// The device that the weights are on.
    pub fn device(&self) -> &Device {
        self.ends.embed.device()
    }

    /// Logits of a batch of prompts of one length: ids to [batch, pos, vocab], through the taps.
    ///
    /// # Errors
    /// Ids outside the vocabulary, prompts of unequal length or longer than the context.
    pub fn forward(
        &self,
        ids: &[Vec<u32>],
        tap: &mut dyn Tap,
        training: TrainingPass<'_>,
    ) -> Result<Tensor> {
        let x = self.through_blocks(ids, tap, training)?;
        self.unembed(&x, tap)
    }

    /// Logits from position `from` on: [batch, pos − from, vocab], through the taps. Positions before
    /// it are not unembedded, unless the tap asks for a site after the last block, which it sees whole.
    ///
    /// # Errors
    /// As [`Transformer::forward`]; also where `from` is beyond the last position.
    pub fn forward_from(&self, ids: &[Vec<u32>], from: usize, tap: &mut dyn Tap) -> Result<Tensor> {
        let x = self.through_blocks(ids, tap, TrainingPass::default())?;
        let positions = x.dim(1)?;
        let tail = |x: &Tensor| {
            x.narrow(1, from, positions.saturating_sub(from))?
                .contiguous()
        };
        let seen = [Site::LnFinalScale, Site::LnFinal, Site::Logits];
        if !seen.into_iter().any(|site| tap.wants(site, None)) {
            return self.unembed(&tail(&x)?, tap);
        }
        let normal = self.last_norm(&x, tap)?;
        let logits = self.head(&tail(&normal)?)?;
        if !tap.wants(Site::Logits, None) {
            return Ok(logits);
        }
        let whole = self.head(&normal)?;
        let seen = see(tap, Site::Logits, None, whole.clone())?;
        if seen.id() == whole.id() {
            return Ok(logits);
        }
        changed(&logits, &tail(&whole)?, &tail(&seen)?)
    }

    /// The residual stream after the last block, [batch, pos, d_model], through the taps: a run without its logits.
    ///
    /// # Errors
    /// As [`Transformer::forward`].
    pub fn residual(&self, ids: &[Vec<u32>], tap: &mut dyn Tap) -> Result<Tensor> {
        self.through_blocks(ids, tap, TrainingPass::default())
    }

    /// Logits of rows of the residual stream after the last block: [rows, d_model] to [rows, vocab].
    ///
    /// # Errors
    /// As the tensor library's.
    pub fn logits_of(&self, rows: &Tensor) -> Result<Tensor> {
        let logits = self.unembed(&rows.unsqueeze(0)?, &mut NoTap)?;
        Ok(logits.squeeze(0)?)
    }

    /// The residual stream after the last block: [batch, pos, d_model].
    fn through_blocks(
        &self,
        ids: &[Vec<u32>],
        tap: &mut dyn Tap,
        training: TrainingPass<'_>,
    ) -> Result<Tensor> {
        let mut x = self.embed(ids, tap, training.seed)?;
        for block in &self.blocks {
            x = block.forward(x, tap, training)?;
        }
        Ok(x)
    }

    /// The tokens' embeddings, with those of their positions: [batch, pos, d_model].
    fn embed(&self, ids: &[Vec<u32>], tap: &mut dyn Tap, seed: Option<u64>) -> Result<Tensor> {
        let (batch, positions) = self.check(ids)?;
        let d = self.architecture.d_model;
        let flat: Vec<u32> = ids.iter().flatten().copied().collect();
        let flat = Tensor::from_vec(flat, batch * positions, self.device())?;
        let mut tokens = (self.ends.embed)
            .index_select(&flat, 0)?
            .reshape((batch, positions, d))?;
        if self.architecture.embed_scale != 1.0 {
            tokens = (tokens * f64::from(self.architecture.embed_scale))?;
        }
        let tokens = see(tap, Site::Embed, None, tokens)?;
        let x = match &self.ends.positions {
            None => tokens,
            Some(of_all) => {
                let places = of_all.narrow(0, 0, positions)?.unsqueeze(0)?;
                if tap.wants(Site::PosEmbed, None) {
                    let places = places.broadcast_as((batch, positions, d))?.contiguous()?;
                    (tokens + see(tap, Site::PosEmbed, None, places)?)?
                } else {
                    tokens.broadcast_add(&places)?
                }
            }
        };
        let rate = self.architecture.dropout.embeddings;
        Ok(dropout(&x, Dropout::new(rate, seed, 0))?)
    }

    /// The last normalisation and the head: [batch, pos, vocab].
    fn unembed(&self, x: &Tensor, tap: &mut dyn Tap) -> Result<Tensor> {
        let logits = self.head(&self.last_norm(x, tap)?)?;
        see(tap, Site::Logits, None, logits)
    }

    /// The last normalisation: [batch, pos, d_model].
    fn last_norm(&self, x: &Tensor, tap: &mut dyn Tap) -> Result<Tensor> {
        let normalise = Normalise {
            kind: self.architecture.normalisation,
            epsilon: self.architecture.epsilon,
        };
        let sites = (Site::LnFinalScale, Site::LnFinal);
        normalise.forward(x, &self.ends.ln_final, sites, None, tap)
    }

    /// Normalised rows to logits: [batch, pos, vocab].
    fn head(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, positions, d) = x.dims3()?;
        let logits = product(&x.reshape((batch * positions, d))?, &self.ends.head.t()?)?;
        let logits = capped(logits, self.architecture.logit_cap)?;
        Ok(logits.reshape((batch, positions, self.architecture.vocab))?)
    }

    fn check(&self, ids: &[Vec<u32>]) -> Result<(usize, usize)> {
        let positions = ids.first().map_or(0, Vec::len);
        if positions == 0 || ids.iter().any(|row| row.len() != positions) {
            return Err(ModelError::Batch {
                lengths: ids.iter().map(Vec::len).collect(),
            });
        }
        let context = self.architecture.longest;
        if positions > context {
            return Err(ModelError::Context {
                length: positions,
                context,
            });
        }
        let vocab = self.architecture.vocab;
        match ids.iter().flatten().find(|id| **id as usize >= vocab) {
            Some(&id) => Err(ModelError::TokenId { id, vocab }),
            None => Ok((ids.len(), positions)),
        }
    }
}
