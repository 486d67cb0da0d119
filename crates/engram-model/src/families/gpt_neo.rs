//! GPT-Neo (Black et al. 2021): GPT-2 with separate projections, unscaled scores, and layers with a sliding window.

use engram_core::{NamedSite, Site};
use serde_json::{Map, Value};

use super::decoder::{linear, module};
use super::settings::{MOST_LAYERS, Settings, check};
use super::{BlockWeights, EndWeights, Family, Norm, Qkv, Source};
use crate::architecture::{Architecture, DropoutRates, LayerAttention, Normalisation};
use crate::error::Result;

/// A GPT-Neo.
#[derive(Debug)]
pub(super) struct GptNeo {
    architecture: Architecture,
    config: Map<String, Value>,
    tied: bool,
}

impl GptNeo {
    /// Reads a configuration.
    ///
    /// # Errors
    /// A message that names the invalid field.
    pub fn of(config: Map<String, Value>) -> std::result::Result<GptNeo, String> {
        let settings = Settings(&config);
        let (heads, d_model) = (settings.size("num_heads")?, settings.size("hidden_size")?);
        if !d_model.is_multiple_of(heads) {
            return Err(format!(
                "hidden_size {d_model} is not a multiple of num_heads {heads}"
            ));
        }
        let layers = settings.layers("num_layers")?;
        let window = settings.size_or("window_size", Some(256))?;
        let attention = kinds(&settings, layers)?
            .into_iter()
            .map(|local| LayerAttention {
                scale: 1.0,
                window: local.then_some(window),
                rotary: None,
            });
        let architecture = Architecture {
            family: "gpt_neo".to_owned(),
            vocab: settings.size("vocab_size")?,
            context: settings.size("max_position_embeddings")?,
            longest: settings.size("max_position_embeddings")?,
            d_model,
            d_mlp: settings.size_or("intermediate_size", Some(4 * d_model))?,
            heads,
            kv_heads: heads,
            d_head: d_model / heads,
            embed_scale: 1.0,
            learned_positions: true,
            normalisation: Normalisation::LayerNorm,
            epsilon: settings.epsilon("layer_norm_epsilon", 1e-5)?,
            parallel: false,
            post_norms: false,
            query_key_norms: false,
            fused_qkv: false,
            activation: settings.activation("activation_function", "gelu_new")?,
            gated: false,
            score_cap: None,
            logit_cap: None,
            dropout: DropoutRates::default(),
            attention: attention.collect(),
        };
        check(&architecture)?;
        let tied = settings.flag_or("tie_word_embeddings", true)?;
        Ok(GptNeo {
            architecture,
            config,
            tied,
        })
    }
}

/// Which layers have a sliding window: `attention_layers`, or `attention_types` ([[kinds, times], …]) expanded.
fn kinds(settings: &Settings<'_>, layers: usize) -> std::result::Result<Vec<bool>, String> {
    let words = |list: &[Value]| -> Option<Vec<bool>> {
        let local = |word: &Value| match word.as_str()? {
            "local" => Some(true),
            "global" => Some(false),
            _ => None,
        };
        list.iter().map(local).collect()
    };
    let wrong = || format!("attention_types: expected \"global\" or \"local\" for {layers} layers");
    let array = |name: &str| settings.get(name).and_then(Value::as_array);
    let kinds = match (array("attention_layers"), array("attention_types")) {
        (Some(list), _) => words(list).ok_or_else(wrong)?,
        (None, Some(types)) => {
            let mut all = Vec::new();
            for entry in types {
                let kinds = entry.get(0).and_then(Value::as_array);
                let kinds = kinds.and_then(|list| words(list)).ok_or_else(wrong)?;
                let times = entry.get(1).and_then(Value::as_u64).ok_or_else(wrong)?;
                if times as usize > MOST_LAYERS || kinds.len() > MOST_LAYERS {
                    return Err(wrong());
                }
                all.extend(kinds.repeat(times as usize));
                if all.len() > layers {
                    return Err(wrong());
                }
            }
            all
        }
        (None, None) => (0..layers).map(|layer| layer % 2 == 1).collect(),
    };
    match kinds.len() == layers {
        true => Ok(kinds),
        false => Err(wrong()),
    }
}

fn norm(name: &str, source: &mut Source<'_>) -> Result<Norm> {
    Ok(Norm {
        weight: source(&format!("{name}.weight"))?,
        bias: Some(source(&format!("{name}.bias"))?),
    })
}

impl Family for GptNeo {
    fn architecture(&self) -> Architecture {
        self.architecture.clone()
    }

    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let a = &self.architecture;
        let (d, m) = (a.d_model, a.d_mlp);
        let mut all = vec![
            ("transformer.wte.weight".to_owned(), vec![a.vocab, d]),
            ("transformer.wpe.weight".to_owned(), vec![a.context, d]),
        ];
        for layer in 0..a.layers() {
            for (name, shape) in [
                ("ln_1.weight", vec![d]),
                ("ln_1.bias", vec![d]),
                ("attn.attention.q_proj.weight", vec![d, d]),
                ("attn.attention.k_proj.weight", vec![d, d]),
                ("attn.attention.v_proj.weight", vec![d, d]),
                ("attn.attention.out_proj.weight", vec![d, d]),
                ("attn.attention.out_proj.bias", vec![d]),
                ("ln_2.weight", vec![d]),
                ("ln_2.bias", vec![d]),
                ("mlp.c_fc.weight", vec![m, d]),
                ("mlp.c_fc.bias", vec![m]),
                ("mlp.c_proj.weight", vec![d, m]),
                ("mlp.c_proj.bias", vec![d]),
            ] {
                all.push((format!("transformer.h.{layer}.{name}"), shape));
            }
        }
        all.push(("transformer.ln_f.weight".to_owned(), vec![d]));
        all.push(("transformer.ln_f.bias".to_owned(), vec![d]));
        if !self.tied {
            all.push(("lm_head.weight".to_owned(), vec![a.vocab, d]));
        }
        all
    }

    fn stored_names(&self, name: &str) -> Vec<String> {
        let mut names = vec![name.to_owned()];
        names.extend(name.strip_prefix("transformer.").map(str::to_owned));
        names
    }

    fn block(&self, layer: usize, source: &mut Source<'_>) -> Result<BlockWeights> {
        let name = |part: &str| format!("transformer.h.{layer}.{part}");
        let mut project = |part: &str, bias| linear(&name(part), bias, source);
        let qkv = Qkv::Separate([
            project("attn.attention.q_proj", false)?,
            project("attn.attention.k_proj", false)?,
            project("attn.attention.v_proj", false)?,
        ]);
        let attn_proj = project("attn.attention.out_proj", true)?;
        let (fc, mlp_proj) = (project("mlp.c_fc", true)?, project("mlp.c_proj", true)?);
        Ok(BlockWeights {
            ln_1: norm(&name("ln_1"), source)?,
            qkv,
            query_key_norms: None,
            attn_proj,
            post_attention: None,
            ln_2: norm(&name("ln_2"), source)?,
            fc,
            up: None,
            mlp_proj,
            post_mlp: None,
        })
    }

    fn ends(&self, source: &mut Source<'_>) -> Result<EndWeights> {
        let embed = source("transformer.wte.weight")?;
        let head = match self.tied {
            true => embed.clone(),
            false => source("lm_head.weight")?,
        };
        Ok(EndWeights {
            embed,
            positions: Some(source("transformer.wpe.weight")?),
            ln_final: norm("transformer.ln_f", source)?,
            head,
        })
    }

    fn modules(&self) -> Vec<NamedSite> {
        let mut modules = vec![
            module("transformer.wte", Site::Embed, None),
            module("transformer.wpe", Site::PosEmbed, None),
        ];
        for layer in 0..self.architecture.layers() {
            for (name, site) in [
                (".ln_1", Site::Ln1),
                (".attn.attention.q_proj", Site::Q),
                (".attn.attention.k_proj", Site::K),
                (".attn.attention.v_proj", Site::V),
                (".attn.attention.out_proj", Site::AttnOut),
                (".attn.attention", Site::AttnOut),
                (".attn", Site::AttnOut),
                (".ln_2", Site::Ln2),
                (".mlp.c_fc", Site::MlpPre),
                (".mlp.act", Site::MlpPost),
                (".mlp.c_proj", Site::MlpOut),
                (".mlp", Site::MlpOut),
                ("", Site::ResidPost),
            ] {
                modules.push(module(
                    &format!("transformer.h.{layer}{name}"),
                    site,
                    Some(layer),
                ));
            }
        }
        modules.push(module("transformer.ln_f", Site::LnFinal, None));
        modules.push(module("lm_head", Site::Logits, None));
        modules
    }

    fn config(&self) -> Map<String, Value> {
        self.config.clone()
    }
}
