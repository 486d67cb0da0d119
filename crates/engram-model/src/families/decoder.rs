//! Families whose tensors and modules are named like Llama's.

use engram_core::{NamedSite, Site};
use serde_json::{Map, Value};

use super::settings::check;
use super::{BlockWeights, EndWeights, Family, Linear, Norm, Qkv, Source};
use crate::architecture::Architecture;
use crate::error::Result;

/// Which projections have biases.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Biases {
    pub qkv: bool,
    pub attn_proj: bool,
    pub mlp: bool,
}

/// A model with Llama's names.
#[derive(Debug)]
pub(super) struct Decoder {
    pub architecture: Architecture,
    pub config: Map<String, Value>,
    pub biases: Biases,
    pub tied: bool,
    /// Whether 1 is added to the weights of all norms (Gemma).
    pub norm_from_one: bool,
}

const PREFIX: &str = "model.";

impl Decoder {
    pub fn checked(self) -> std::result::Result<Decoder, String> {
        check(&self.architecture)?;
        Ok(Decoder {
            architecture: self.architecture.bounded(),
            ..self
        })
    }

    /// Name of the norm before the MLP, and of the norms after attention and after the MLP.
    fn norms(&self) -> (&'static str, Option<(&'static str, &'static str)>) {
        match self.architecture.post_norms {
            false => ("post_attention_layernorm", None),
            true => (
                "pre_feedforward_layernorm",
                Some(("post_attention_layernorm", "post_feedforward_layernorm")),
            ),
        }
    }

    fn norm(&self, name: &str, source: &mut Source<'_>) -> Result<Norm> {
        let weight = source(&format!("{name}.weight"))?;
        let weight = match self.norm_from_one {
            true => (weight + 1.0)?,
            false => weight,
        };
        Ok(Norm { weight, bias: None })
    }
}

/// A projection stored as [out, in].
pub(super) fn linear(name: &str, bias: bool, source: &mut Source<'_>) -> Result<Linear> {
    let bias = match bias {
        true => Some(source(&format!("{name}.bias"))?),
        false => None,
    };
    let weight = source(&format!("{name}.weight"))?.t()?;
    Ok(Linear { weight, bias })
}

impl Family for Decoder {
    fn architecture(&self) -> Architecture {
        self.architecture.clone()
    }

    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let a = &self.architecture;
        let (d, q, k, m) = (a.d_model, a.d_queries(), a.d_keys(), a.d_mlp);
        let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![a.vocab, d])];
        let (ln_2, post) = self.norms();
        for layer in 0..a.layers() {
            let mut add = |name: &str, shape: Vec<usize>| {
                all.push((format!("model.layers.{layer}.{name}"), shape));
            };
            let project = |name: &str, out: usize, inner: usize, bias: bool| {
                let bias = bias.then(|| (format!("{name}.bias"), vec![out]));
                let weight = (format!("{name}.weight"), vec![out, inner]);
                std::iter::once(weight).chain(bias)
            };
            add("input_layernorm.weight", vec![d]);
            let qkv = [("q_proj", q), ("k_proj", k), ("v_proj", k)];
            for (name, out) in qkv {
                let name = format!("self_attn.{name}");
                project(&name, out, d, self.biases.qkv).for_each(|(name, shape)| add(&name, shape));
            }
            if a.query_key_norms {
                add("self_attn.q_norm.weight", vec![a.d_head]);
                add("self_attn.k_norm.weight", vec![a.d_head]);
            }
            project("self_attn.o_proj", d, q, self.biases.attn_proj)
                .for_each(|(name, shape)| add(&name, shape));
            if let Some((after_attention, _)) = post {
                add(&format!("{after_attention}.weight"), vec![d]);
            }
            add(&format!("{ln_2}.weight"), vec![d]);
            let mlp = [("gate_proj", m, d), ("up_proj", m, d), ("down_proj", d, m)];
            for (name, out, inner) in mlp {
                project(&format!("mlp.{name}"), out, inner, self.biases.mlp)
                    .for_each(|(name, shape)| add(&name, shape));
            }
            if let Some((_, after_mlp)) = post {
                add(&format!("{after_mlp}.weight"), vec![d]);
            }
        }
        all.push(("model.norm.weight".to_owned(), vec![d]));
        if !self.tied {
            all.push(("lm_head.weight".to_owned(), vec![a.vocab, d]));
        }
        all
    }

    fn stored_names(&self, name: &str) -> Vec<String> {
        let mut names = vec![name.to_owned()];
        // A checkpoint of the base network, without the unembedding, has no prefix.
        names.extend(name.strip_prefix(PREFIX).map(str::to_owned));
        names
    }

    fn block(&self, layer: usize, source: &mut Source<'_>) -> Result<BlockWeights> {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let (ln_2, post) = self.norms();
        let mut project = |part: &str, bias| linear(&name(part), bias, source);
        let qkv = Qkv::Separate([
            project("self_attn.q_proj", self.biases.qkv)?,
            project("self_attn.k_proj", self.biases.qkv)?,
            project("self_attn.v_proj", self.biases.qkv)?,
        ]);
        let attn_proj = project("self_attn.o_proj", self.biases.attn_proj)?;
        let fc = project("mlp.gate_proj", self.biases.mlp)?;
        let up = Some(project("mlp.up_proj", self.biases.mlp)?);
        let mlp_proj = project("mlp.down_proj", self.biases.mlp)?;
        let mut norm = |part: &str| self.norm(&name(part), source);
        let (post_attention, post_mlp) = match post {
            Some((attention, mlp)) => (Some(norm(attention)?), Some(norm(mlp)?)),
            None => (None, None),
        };
        let query_key_norms = match self.architecture.query_key_norms {
            true => Some((norm("self_attn.q_norm")?, norm("self_attn.k_norm")?)),
            false => None,
        };
        Ok(BlockWeights {
            ln_1: norm("input_layernorm")?,
            qkv,
            query_key_norms,
            attn_proj,
            post_attention,
            ln_2: norm(ln_2)?,
            fc,
            up,
            mlp_proj,
            post_mlp,
        })
    }

    fn ends(&self, source: &mut Source<'_>) -> Result<EndWeights> {
        let embed = source("model.embed_tokens.weight")?;
        let head = match self.tied {
            true => embed.clone(),
            false => source("lm_head.weight")?,
        };
        let ln_final = self.norm("model.norm", source)?;
        Ok(EndWeights {
            embed,
            positions: None,
            ln_final,
            head,
        })
    }

    fn modules(&self) -> Vec<NamedSite> {
        let (ln_2, post) = self.norms();
        let mut modules = vec![module("model.embed_tokens", Site::Embed, None)];
        for layer in 0..self.architecture.layers() {
            let mut add = |name: &str, site| {
                let name = match name {
                    "" => format!("model.layers.{layer}"),
                    _ => format!("model.layers.{layer}.{name}"),
                };
                modules.push(module(&name, site, Some(layer)));
            };
            add("input_layernorm", Site::Ln1);
            add("self_attn.q_proj", Site::Q);
            add("self_attn.k_proj", Site::K);
            add("self_attn.v_proj", Site::V);
            // attn_out and mlp_out are the outputs of the sublayer's last module.
            match post {
                Some((after_attention, _)) => add(after_attention, Site::AttnOut),
                None => ["self_attn.o_proj", "self_attn"]
                    .iter()
                    .for_each(|name| add(name, Site::AttnOut)),
            }
            add(ln_2, Site::Ln2);
            add("mlp.gate_proj", Site::MlpPre);
            add("mlp.up_proj", Site::MlpUp);
            match post {
                Some((_, after_mlp)) => add(after_mlp, Site::MlpOut),
                None => ["mlp.down_proj", "mlp"]
                    .iter()
                    .for_each(|name| add(name, Site::MlpOut)),
            }
            add("", Site::ResidPost);
        }
        modules.push(module("model.norm", Site::LnFinal, None));
        modules.push(module("lm_head", Site::Logits, None));
        modules
    }

    fn config(&self) -> Map<String, Value> {
        self.config.clone()
    }
}

/// A module whose whole output is the site.
pub(super) fn module(name: &str, site: Site, layer: Option<usize>) -> NamedSite {
    NamedSite::canonical(site, layer)
        .named(name.to_owned())
        .with(engram_core::Select::Whole)
}
