//! GPT-2 (Radford et al. 2019) as stages with named sites.

use candle_core::{Device, IndexOp, Tensor};
use engram_core::{NamedSite, Site, SiteTable};

use crate::config::Gpt2Config;
use crate::error::{ModelError, Result};
use crate::kernels::activation::Activation;
use crate::kernels::{
    Dropout, add_bias, attention_probabilities, causal_attention, dropout, gelu_new, layer_norm,
    layer_norm_scale,
};
use crate::tap::Tap;

/// x·weight + bias; weight: [in, out] as GPT-2 stores it ("Conv1D").
#[derive(Debug, Clone)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, positions, width) = x.dims3()?;
        let out = self.weight.dim(1)?;
        let rows = x
            .reshape((batch * positions, width))?
            .matmul(&self.weight)?;
        Ok(add_bias(&rows, &self.bias)?.reshape((batch, positions, out))?)
    }
}

#[derive(Debug, Clone)]
struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl Norm {
    /// The normalised x, through the taps at the scale that it divides by and at its output.
    fn forward(
        &self,
        x: &Tensor,
        sites: (Site, Site),
        layer: Option<usize>,
        tap: &mut dyn Tap,
    ) -> Result<Tensor> {
        let (scale_site, site) = sites;
        let out = if tap.wants(scale_site, layer) {
            let scale = see(tap, scale_site, layer, layer_norm_scale(x, self.epsilon)?)?;
            let centred = x.broadcast_sub(&x.mean_keepdim(2)?)?;
            centred
                .broadcast_div(&scale)?
                .broadcast_mul(&self.weight)?
                .broadcast_add(&self.bias)?
        } else {
            layer_norm(x, &self.weight, &self.bias, self.epsilon)?
        };
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

#[derive(Debug, Clone)]
struct Block {
    layer: usize,
    heads: usize,
    scale: f32,
    activation: Activation,
    ln_1: Norm,
    c_attn: Linear,
    attn_proj: Linear,
    ln_2: Norm,
    c_fc: Linear,
    mlp_proj: Linear,
    attn_drop: f64,
    resid_drop: f64,
}

impl Block {
    /// x + attention(ln_1 x), then + mlp(ln_2 ·).
    fn forward(&self, x: Tensor, tap: &mut dyn Tap, seed: Option<u64>) -> Result<Tensor> {
        let layer = Some(self.layer);
        let masks = 3 * self.layer as u64;
        let x = see(tap, Site::ResidPre, layer, x)?;

        let normal = self
            .ln_1
            .forward(&x, (Site::Ln1Scale, Site::Ln1), layer, tap)?;
        let qkv = see(tap, Site::CAttn, layer, self.c_attn.forward(&normal)?)?;
        let z = self.attend(&qkv, tap, Dropout::new(self.attn_drop, seed, masks + 1))?;
        let attn_out = self.project_heads(&z, tap)?;
        let attn_out = see(tap, Site::AttnOut, layer, attn_out)?;
        let attn_out = dropout(&attn_out, Dropout::new(self.resid_drop, seed, masks + 2))?;
        let x = see(tap, Site::ResidMid, layer, (x + attn_out)?)?;

        let normal = self
            .ln_2
            .forward(&x, (Site::Ln2Scale, Site::Ln2), layer, tap)?;
        let pre = see(tap, Site::MlpPre, layer, self.c_fc.forward(&normal)?)?;
        let post = see(tap, Site::MlpPost, layer, self.activate(&pre)?)?;
        let mlp_out = see(tap, Site::MlpOut, layer, self.mlp_proj.forward(&post)?)?;
        let mlp_out = dropout(&mlp_out, Dropout::new(self.resid_drop, seed, masks + 3))?;
        see(tap, Site::ResidPost, layer, (x + mlp_out)?)
    }

    /// Queries, keys and values ([batch, pos, 3·d]) to attention-weighted values ([batch, pos, d]).
    fn attend(&self, qkv: &Tensor, tap: &mut dyn Tap, mask: Dropout) -> Result<Tensor> {
        let layer = Some(self.layer);
        let (batch, positions, width) = qkv.dims3()?;
        let d = width / 3;
        let apart = [Site::Q, Site::K, Site::V, Site::Pattern]
            .into_iter()
            .any(|site| tap.wants(site, layer));
        let z = if apart {
            let part = |which: usize| {
                qkv.i((.., .., which * d..(which + 1) * d))?
                    .contiguous()?
                    .reshape((batch, positions, self.heads, d / self.heads))
            };
            let q = see(tap, Site::Q, layer, part(0)?)?;
            let k = see(tap, Site::K, layer, part(1)?)?;
            let v = see(tap, Site::V, layer, part(2)?)?;
            let pattern = attention_probabilities(&q, &k, self.scale)?;
            let pattern = see(tap, Site::Pattern, layer, pattern)?;
            pattern
                .contiguous()?
                .matmul(&v.transpose(1, 2)?.contiguous()?)?
                .transpose(1, 2)?
                .contiguous()?
        } else {
            causal_attention(qkv, self.heads, self.scale, mask)?
        };
        if !apart && !tap.wants(Site::Z, layer) {
            return Ok(z);
        }
        let z = z.reshape((batch, positions, self.heads, d / self.heads))?;
        Ok(see(tap, Site::Z, layer, z)?.reshape((batch, positions, d))?)
    }

    /// The output projection; through each head's contribution where the tap asks for it.
    fn project_heads(&self, z: &Tensor, tap: &mut dyn Tap) -> Result<Tensor> {
        let layer = Some(self.layer);
        if !tap.wants(Site::HeadOut, layer) {
            return self.attn_proj.forward(z);
        }
        let (batch, positions, d) = z.dims3()?;
        let d_head = d / self.heads;
        let z = z
            .reshape((batch * positions, self.heads, d_head))?
            .transpose(0, 1)?
            .contiguous()?;
        let weight = self.attn_proj.weight.reshape((self.heads, d_head, d))?;
        let heads = z
            .matmul(&weight)?
            .transpose(0, 1)?
            .contiguous()?
            .reshape((batch, positions, self.heads, d))?;
        let heads = see(tap, Site::HeadOut, layer, heads)?;
        Ok(add_bias(&heads.sum(2)?, &self.attn_proj.bias)?)
    }

    fn activate(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self.activation {
            Activation::GeluNew => gelu_new(x)?,
            Activation::Gelu => x.gelu_erf()?,
            Activation::Relu => x.relu()?,
        })
    }
}

/// A GPT-2.
#[derive(Debug, Clone)]
pub struct Gpt2 {
    config: Gpt2Config,
    wte: Tensor,
    wpe: Tensor,
    blocks: Vec<Block>,
    ln_f: Norm,
    /// [vocab, d_model]; the token embedding where tied.
    head: Tensor,
}

impl Gpt2 {
    /// Builds the model from a source of parameters, asked by name without the `transformer.` prefix.
    ///
    /// # Errors
    /// Whatever the source says.
    pub fn new(
        config: &Gpt2Config,
        mut parameter: impl FnMut(&str) -> Result<Tensor>,
    ) -> Result<Gpt2> {
        let epsilon = config.layer_norm_epsilon;
        let activation = Activation::of(config);
        let wte = parameter("wte.weight")?;
        let wpe = parameter("wpe.weight")?;
        let mut blocks = Vec::with_capacity(config.n_layer);
        for layer in 0..config.n_layer {
            let mut two = |name: &str| -> Result<(Tensor, Tensor)> {
                Ok((
                    parameter(&format!("h.{layer}.{name}.weight"))?,
                    parameter(&format!("h.{layer}.{name}.bias"))?,
                ))
            };
            let mut norm = |name| {
                two(name).map(|(weight, bias)| Norm {
                    weight,
                    bias,
                    epsilon,
                })
            };
            let (ln_1, ln_2) = (norm("ln_1")?, norm("ln_2")?);
            let mut linear = |name| two(name).map(|(weight, bias)| Linear { weight, bias });
            blocks.push(Block {
                layer,
                heads: config.n_head,
                scale: config.attention_scale(layer),
                activation,
                ln_1,
                c_attn: linear("attn.c_attn")?,
                attn_proj: linear("attn.c_proj")?,
                ln_2,
                c_fc: linear("mlp.c_fc")?,
                mlp_proj: linear("mlp.c_proj")?,
                attn_drop: config.attn_pdrop,
                resid_drop: config.resid_pdrop,
            });
        }
        let ln_f = Norm {
            weight: parameter("ln_f.weight")?,
            bias: parameter("ln_f.bias")?,
            epsilon,
        };
        let head = if config.tie_word_embeddings {
            wte.clone()
        } else {
            parameter("lm_head.weight")?
        };
        Ok(Gpt2 {
            config: config.clone(),
            wte,
            wpe,
            blocks,
            ln_f,
            head,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &Gpt2Config {
        &self.config
    }

    /// The device that the weights are on.
    pub fn device(&self) -> &Device {
        self.wte.device()
    }

    /// Logits of a batch of prompts of one length: ids to [batch, pos, vocab], through the taps.
    /// `dropout_seed` turns dropout on, with masks drawn from that seed.
    ///
    /// # Errors
    /// Ids outside the vocabulary, prompts of unequal length or longer than the context.
    pub fn forward(
        &self,
        ids: &[Vec<u32>],
        tap: &mut dyn Tap,
        dropout_seed: Option<u64>,
    ) -> Result<Tensor> {
        let x = self.blocks(ids, tap, dropout_seed)?;
        self.unembed(&x, tap)
    }

    /// Logits from position `from` on: [batch, pos − from, vocab], through the taps. Positions before
    /// it are not unembedded, unless the tap asks for a site after the last block, which it sees whole.
    ///
    /// # Errors
    /// As [`Gpt2::forward`]; also where `from` is beyond the last position.
    pub fn forward_from(&self, ids: &[Vec<u32>], from: usize, tap: &mut dyn Tap) -> Result<Tensor> {
        let x = self.blocks(ids, tap, None)?;
        let positions = x.dim(1)?;
        let tail = |x: &Tensor| {
            x.narrow(1, from, positions.saturating_sub(from))?
                .contiguous()
        };
        let seen = [Site::LnFinalScale, Site::LnFinal, Site::Logits];
        if seen.into_iter().any(|site| tap.wants(site, None)) {
            return Ok(tail(&self.unembed(&x, tap)?)?);
        }
        self.unembed(&tail(&x)?, tap)
    }

    /// The residual stream after the last block: [batch, pos, d_model].
    fn blocks(&self, ids: &[Vec<u32>], tap: &mut dyn Tap, seed: Option<u64>) -> Result<Tensor> {
        let mut x = self.embed(ids, tap, seed)?;
        for block in &self.blocks {
            x = block.forward(x, tap, seed)?;
        }
        Ok(x)
    }

    /// Token plus position embedding: [batch, pos, d_model].
    fn embed(&self, ids: &[Vec<u32>], tap: &mut dyn Tap, seed: Option<u64>) -> Result<Tensor> {
        let (batch, positions) = self.check(ids)?;
        let d = self.config.n_embd;
        let flat: Vec<u32> = ids.iter().flatten().copied().collect();
        let flat = Tensor::from_vec(flat, batch * positions, self.device())?;
        let tokens = self
            .wte
            .index_select(&flat, 0)?
            .reshape((batch, positions, d))?;
        let tokens = see(tap, Site::Embed, None, tokens)?;
        let places = self.wpe.narrow(0, 0, positions)?.unsqueeze(0)?;
        let x = if tap.wants(Site::PosEmbed, None) {
            let places = places.broadcast_as((batch, positions, d))?.contiguous()?;
            (tokens + see(tap, Site::PosEmbed, None, places)?)?
        } else {
            tokens.broadcast_add(&places)?
        };
        Ok(dropout(&x, Dropout::new(self.config.embd_pdrop, seed, 0))?)
    }

    /// Last LayerNorm and the head: [batch, pos, vocab].
    fn unembed(&self, x: &Tensor, tap: &mut dyn Tap) -> Result<Tensor> {
        let x = self
            .ln_f
            .forward(x, (Site::LnFinalScale, Site::LnFinal), None, tap)?;
        let (batch, positions, d) = x.dims3()?;
        let logits = x.reshape((batch * positions, d))?.matmul(&self.head.t()?)?;
        let logits = logits.reshape((batch, positions, self.config.vocab_size))?;
        see(tap, Site::Logits, None, logits)
    }

    fn check(&self, ids: &[Vec<u32>]) -> Result<(usize, usize)> {
        let positions = ids.first().map_or(0, Vec::len);
        if positions == 0 || ids.iter().any(|row| row.len() != positions) {
            return Err(ModelError::Batch {
                lengths: ids.iter().map(Vec::len).collect(),
            });
        }
        if positions > self.config.n_positions {
            return Err(ModelError::Context {
                length: positions,
                context: self.config.n_positions,
            });
        }
        let vocab = self.config.vocab_size;
        match ids.iter().flatten().find(|id| **id as usize >= vocab) {
            Some(&id) => Err(ModelError::TokenId { id, vocab }),
            None => Ok((ids.len(), positions)),
        }
    }
}

/// The sites of a GPT-2 of `layers` blocks and the names of its modules in the transformers library, in
/// the order in which a forward pass finishes them.
pub fn site_table(layers: usize) -> SiteTable {
    let mut modules = Vec::new();
    let mut module =
        |name: String, site, layer| modules.push(NamedSite::canonical(site, layer).named(name));
    module("transformer.wte".to_owned(), Site::Embed, None);
    module("transformer.wpe".to_owned(), Site::PosEmbed, None);
    for layer in 0..layers {
        for (name, site) in [
            (".ln_1", Site::Ln1),
            (".attn.c_attn", Site::CAttn),
            (".attn.c_proj", Site::AttnOut),
            (".attn", Site::AttnOut),
            (".ln_2", Site::Ln2),
            (".mlp.c_fc", Site::MlpPre),
            (".mlp.act", Site::MlpPost),
            (".mlp.c_proj", Site::MlpOut),
            (".mlp", Site::MlpOut),
            ("", Site::ResidPost),
        ] {
            module(format!("transformer.h.{layer}{name}"), site, Some(layer));
        }
    }
    module("transformer.ln_f".to_owned(), Site::LnFinal, None);
    module("lm_head".to_owned(), Site::Logits, None);
    SiteTable::new(layers, Site::ALL.to_vec(), modules)
}
