//! GPT-NeoX (Black et al. 2022) and Pythia (Biderman et al. 2023): parallel attention and MLP, partial rotary
//! embedding, one projection whose rows are grouped by head (query, key, value).

use candle_core::Tensor;
use engram_core::{NamedSite, Site};
use serde_json::{Map, Value};

use super::decoder::{linear, module};
use super::rope::Rope;
use super::settings::{Settings, check};
use super::{BlockWeights, EndWeights, Family, Linear, Norm, Qkv, Source};
use crate::architecture::{Architecture, DropoutRates, LayerAttention, Normalisation};
use crate::error::Result;

/// A GPT-NeoX.
#[derive(Debug)]
pub(super) struct GptNeoX {
    architecture: Architecture,
    config: Map<String, Value>,
    /// Whether attention's projections have biases.
    biased: bool,
    tied: bool,
}

impl GptNeoX {
    /// Reads a configuration.
    ///
    /// # Errors
    /// A message that names the invalid field.
    pub fn of(config: Map<String, Value>) -> std::result::Result<GptNeoX, String> {
        let settings = Settings(&config);
        let (heads, d_model) = (
            settings.size("num_attention_heads")?,
            settings.size("hidden_size")?,
        );
        if !d_model.is_multiple_of(heads) {
            return Err(format!(
                "hidden_size {d_model} is not a multiple of num_attention_heads {heads}"
            ));
        }
        let d_head = d_model / heads;
        let base = settings.number_or("rotary_emb_base", 10_000.0)?;
        let rope = Rope::read(&config, None, base)?;
        let share = match rope.share()? {
            Some(share) => share,
            None => settings.number_or("rotary_pct", 0.25)?,
        };
        if !(share > 0.0 && share <= 1.0) {
            return Err(format!(
                "rotary_pct is {share:?}; expected a number from 0 to 1"
            ));
        }
        let attention = LayerAttention {
            scale: 1.0 / (d_head as f32).sqrt(),
            window: None,
            rotary: Some(rope.rotary((d_head as f64 * share) as usize)?),
        };
        let architecture = Architecture {
            family: "gpt_neox".to_owned(),
            vocab: settings.size("vocab_size")?,
            context: settings.size("max_position_embeddings")?,
            longest: settings.size("max_position_embeddings")?,
            d_model,
            d_mlp: settings.size("intermediate_size")?,
            heads,
            kv_heads: heads,
            d_head,
            embed_scale: 1.0,
            learned_positions: false,
            normalisation: Normalisation::LayerNorm,
            epsilon: settings.epsilon("layer_norm_eps", 1e-5)?,
            parallel: settings.flag_or("use_parallel_residual", true)?,
            post_norms: false,
            query_key_norms: false,
            fused_qkv: true,
            activation: settings.activation("hidden_act", "gelu")?,
            gated: false,
            score_cap: None,
            logit_cap: None,
            dropout: DropoutRates::default(),
            attention: vec![attention; settings.layers("num_hidden_layers")?],
        };
        check(&architecture)?;
        Ok(GptNeoX {
            biased: settings.flag_or("attention_bias", true)?,
            tied: settings.flag_or("tie_word_embeddings", false)?,
            architecture: architecture.bounded(),
            config,
        })
    }

    /// Regroups rows from head by head (query, key, value) to all queries, all keys, all values.
    fn by_part(&self, rows: &Tensor) -> Result<Tensor> {
        let a = &self.architecture;
        let rest = rows.elem_count() / (3 * a.d_model);
        let parts = rows
            .reshape((a.heads, 3, a.d_head, rest))?
            .transpose(0, 1)?
            .contiguous()?;
        Ok(parts.reshape(rows.shape())?)
    }
}

fn norm(name: &str, source: &mut Source<'_>) -> Result<Norm> {
    Ok(Norm {
        weight: source(&format!("{name}.weight"))?,
        bias: Some(source(&format!("{name}.bias"))?),
    })
}

impl Family for GptNeoX {
    fn architecture(&self) -> Architecture {
        self.architecture.clone()
    }

    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let a = &self.architecture;
        let (d, m) = (a.d_model, a.d_mlp);
        let mut all = vec![("gpt_neox.embed_in.weight".to_owned(), vec![a.vocab, d])];
        for layer in 0..a.layers() {
            for (name, shape) in [
                ("input_layernorm.weight", vec![d]),
                ("input_layernorm.bias", vec![d]),
                ("attention.query_key_value.weight", vec![3 * d, d]),
                ("attention.query_key_value.bias", vec![3 * d]),
                ("attention.dense.weight", vec![d, d]),
                ("attention.dense.bias", vec![d]),
                ("post_attention_layernorm.weight", vec![d]),
                ("post_attention_layernorm.bias", vec![d]),
                ("mlp.dense_h_to_4h.weight", vec![m, d]),
                ("mlp.dense_h_to_4h.bias", vec![m]),
                ("mlp.dense_4h_to_h.weight", vec![d, m]),
                ("mlp.dense_4h_to_h.bias", vec![d]),
            ] {
                if self.biased || !(name.starts_with("attention") && name.ends_with("bias")) {
                    all.push((format!("gpt_neox.layers.{layer}.{name}"), shape));
                }
            }
        }
        all.push(("gpt_neox.final_layer_norm.weight".to_owned(), vec![d]));
        all.push(("gpt_neox.final_layer_norm.bias".to_owned(), vec![d]));
        if !self.tied {
            all.push(("embed_out.weight".to_owned(), vec![a.vocab, d]));
        }
        all
    }

    fn stored_names(&self, name: &str) -> Vec<String> {
        let mut names = vec![name.to_owned()];
        names.extend(name.strip_prefix("gpt_neox.").map(str::to_owned));
        if name == "embed_out.weight" {
            names.push("lm_head.weight".to_owned());
        }
        names
    }

    fn block(&self, layer: usize, source: &mut Source<'_>) -> Result<BlockWeights> {
        let name = |part: &str| format!("gpt_neox.layers.{layer}.{part}");
        let mut project = |part: &str, bias| linear(&name(part), bias, source);
        let fused = project("attention.query_key_value", self.biased)?;
        let qkv = Qkv::Fused(Linear {
            weight: self.by_part(&fused.weight.t()?)?.t()?,
            bias: fused.bias.map(|bias| self.by_part(&bias)).transpose()?,
        });
        let attn_proj = project("attention.dense", self.biased)?;
        let fc = project("mlp.dense_h_to_4h", true)?;
        let mlp_proj = project("mlp.dense_4h_to_h", true)?;
        Ok(BlockWeights {
            ln_1: norm(&name("input_layernorm"), source)?,
            qkv,
            query_key_norms: None,
            attn_proj,
            post_attention: None,
            ln_2: norm(&name("post_attention_layernorm"), source)?,
            fc,
            up: None,
            mlp_proj,
            post_mlp: None,
        })
    }

    fn ends(&self, source: &mut Source<'_>) -> Result<EndWeights> {
        let embed = source("gpt_neox.embed_in.weight")?;
        let head = match self.tied {
            true => embed.clone(),
            false => source("embed_out.weight")?,
        };
        Ok(EndWeights {
            embed,
            positions: None,
            ln_final: norm("gpt_neox.final_layer_norm", source)?,
            head,
        })
    }

    fn modules(&self) -> Vec<NamedSite> {
        let mut modules = vec![module("gpt_neox.embed_in", Site::Embed, None)];
        for layer in 0..self.architecture.layers() {
            for (name, site) in [
                (".input_layernorm", Site::Ln1),
                (".attention.query_key_value", Site::CAttn),
                (".attention.dense", Site::AttnOut),
                (".attention", Site::AttnOut),
                (".post_attention_layernorm", Site::Ln2),
                (".mlp.dense_h_to_4h", Site::MlpPre),
                (".mlp.act", Site::MlpPost),
                (".mlp.dense_4h_to_h", Site::MlpOut),
                (".mlp", Site::MlpOut),
                ("", Site::ResidPost),
            ] {
                modules.push(module(
                    &format!("gpt_neox.layers.{layer}{name}"),
                    site,
                    Some(layer),
                ));
            }
        }
        modules.push(module("gpt_neox.final_layer_norm", Site::LnFinal, None));
        modules.push(module("embed_out", Site::Logits, None));
        modules
    }

    fn config(&self) -> Map<String, Value> {
        self.config.clone()
    }
}
