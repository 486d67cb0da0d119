//! GPT-2 (Radford et al. 2019).

use std::path::Path;

use engram_core::{NamedSite, Site};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::settings::{MOST, MOST_LAYERS, Settings, activation};
use super::{BlockWeights, EndWeights, Family, Linear, Norm, Qkv, Source, fields};
use crate::architecture::{Architecture, DropoutRates, LayerAttention, Normalisation};
use crate::error::{ModelError, Result, shown};
use crate::kernels::activation::Activation;

fn epsilon() -> f64 {
    1e-5
}
fn tenth() -> f64 {
    0.1
}
fn yes() -> bool {
    true
}
fn gelu_new() -> String {
    "gelu_new".to_owned()
}

/// `config.json` of a GPT-2. Fields that engram does not read are kept and written back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gpt2Config {
    /// Family: `gpt2`.
    pub model_type: String,
    /// Vocabulary.
    pub vocab_size: usize,
    /// Maximum prompt length.
    pub n_positions: usize,
    /// d_model.
    pub n_embd: usize,
    /// Number of blocks.
    pub n_layer: usize,
    /// Number of heads.
    pub n_head: usize,
    /// d_mlp; 4 · d_model where null.
    #[serde(default)]
    pub n_inner: Option<usize>,
    /// The MLP's activation function: `gelu_new` (or its synonym `gelu_pytorch_tanh`), `gelu`, `relu` or `silu`.
    #[serde(default = "gelu_new")]
    pub activation_function: String,
    /// ε of every LayerNorm.
    #[serde(default = "epsilon")]
    pub layer_norm_epsilon: f64,
    /// Dropout on the embeddings, in training.
    #[serde(default = "tenth")]
    pub embd_pdrop: f64,
    /// Dropout on attention probabilities, in training.
    #[serde(default = "tenth")]
    pub attn_pdrop: f64,
    /// Dropout on the outputs of attention and MLP, in training.
    #[serde(default = "tenth")]
    pub resid_pdrop: f64,
    /// Whether the unembedding is the token embedding.
    #[serde(default = "yes")]
    pub tie_word_embeddings: bool,
    /// Whether scores are divided by √d_head.
    #[serde(default = "yes")]
    pub scale_attn_weights: bool,
    /// Whether scores are also divided by layer + 1.
    #[serde(default)]
    pub scale_attn_by_inverse_layer_idx: bool,
    /// The end-of-text token.
    #[serde(default)]
    pub eos_token_id: Option<u32>,
    /// All other fields.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl Gpt2Config {
    /// A configuration with Hugging Face's defaults for all other fields; `n_embd` must be a multiple of `n_head`.
    pub fn new(
        vocab_size: usize,
        n_positions: usize,
        n_embd: usize,
        n_layer: usize,
        n_head: usize,
    ) -> Gpt2Config {
        Gpt2Config {
            model_type: "gpt2".to_owned(),
            vocab_size,
            n_positions,
            n_embd,
            n_layer,
            n_head,
            n_inner: None,
            activation_function: gelu_new(),
            layer_norm_epsilon: epsilon(),
            embd_pdrop: tenth(),
            attn_pdrop: tenth(),
            resid_pdrop: tenth(),
            tie_word_embeddings: true,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            eos_token_id: None,
            other: serde_json::Map::from_iter([(
                "architectures".to_owned(),
                serde_json::json!(["GPT2LMHeadModel"]),
            )]),
        }
    }

    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Io`] if it cannot be read; [`ModelError::Config`] if it does not describe a GPT-2.
    pub fn read(path: &Path) -> Result<Gpt2Config> {
        let text = std::fs::read(path).map_err(|source| ModelError::Io {
            path: path.to_owned(),
            source,
        })?;
        let wrong = |why: String| ModelError::Config {
            path: path.to_owned(),
            why,
        };
        let config = fields(&text).map_err(wrong)?;
        match config.get("model_type").and_then(Value::as_str) {
            Some("gpt2") => Gpt2Config::of(config).map_err(wrong),
            Some(other) => Err(wrong(format!(
                "model_type is \"{}\", not gpt2",
                shown(other)
            ))),
            None => Err(wrong("model_type is missing".to_owned())),
        }
    }

    /// Checks the fields of a `config.json`.
    ///
    /// # Errors
    /// A message that names the invalid field.
    pub fn of(fields: Map<String, Value>) -> std::result::Result<Gpt2Config, String> {
        // Fields are checked one by one first, for messages that name the field.
        let settings = Settings(&fields);
        for name in ["vocab_size", "n_positions", "n_embd", "n_layer", "n_head"] {
            settings.size(name)?;
        }
        settings.size_or("n_inner", Some(1))?;
        for name in [
            "layer_norm_epsilon",
            "embd_pdrop",
            "attn_pdrop",
            "resid_pdrop",
        ] {
            settings.number(name)?;
        }
        settings.text_or("activation_function", "")?;
        for name in [
            "tie_word_embeddings",
            "scale_attn_weights",
            "scale_attn_by_inverse_layer_idx",
        ] {
            settings.flag_or(name, false)?;
        }
        let config: Gpt2Config =
            serde_json::from_value(Value::Object(fields)).map_err(|e| shown(&e.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// Checks that the numbers describe a model.
    ///
    /// # Errors
    /// A message that names the invalid field.
    pub fn check(&self) -> std::result::Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("n_positions", self.n_positions),
            ("n_embd", self.n_embd),
            ("n_layer", self.n_layer),
            ("n_head", self.n_head),
            ("n_inner", self.d_mlp()),
        ];
        for (name, size) in sizes {
            if size == 0 || size > MOST {
                return Err(format!("{name} is {size}; expected 1 to {MOST}"));
            }
        }
        if !self.n_embd.is_multiple_of(self.n_head) {
            return Err(format!(
                "n_embd {} is not a multiple of n_head {}",
                self.n_embd, self.n_head
            ));
        }
        activation("activation_function", &self.activation_function)?;
        if !(self.layer_norm_epsilon > 0.0 && self.layer_norm_epsilon < 1.0) {
            return Err(format!(
                "layer_norm_epsilon is {:?}; expected a number from 0 to 1",
                self.layer_norm_epsilon
            ));
        }
        for (name, rate) in [
            ("embd_pdrop", self.embd_pdrop),
            ("attn_pdrop", self.attn_pdrop),
            ("resid_pdrop", self.resid_pdrop),
        ] {
            if !(0.0..1.0).contains(&rate) {
                return Err(format!("{name} is {rate:?}; expected a number from 0 to 1"));
            }
        }
        if self.n_layer > MOST_LAYERS {
            return Err(format!(
                "n_layer is {}; expected 1 to {MOST_LAYERS}",
                self.n_layer
            ));
        }
        let flag = "add_cross_attention";
        if self.other.get(flag).and_then(|v| v.as_bool()) == Some(true) {
            return Err(format!("{flag} is true; engram reads decoder-only models"));
        }
        Ok(())
    }

    /// d_mlp.
    pub fn d_mlp(&self) -> usize {
        self.n_inner.unwrap_or(self.n_embd.saturating_mul(4))
    }

    /// d_head.
    pub fn d_head(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// The MLP's activation function.
    pub(crate) fn activation(&self) -> Activation {
        activation("activation_function", &self.activation_function).unwrap_or(Activation::GeluNew)
    }

    /// The factor on attention scores at a layer.
    pub fn attention_scale(&self, layer: usize) -> f32 {
        let mut scale = 1.0f64;
        if self.scale_attn_weights {
            scale /= (self.d_head() as f64).sqrt();
        }
        if self.scale_attn_by_inverse_layer_idx {
            scale /= (layer + 1) as f64;
        }
        scale as f32
    }

    /// Every parameter's name (without the `transformer.` prefix) and shape, in the order of the forward pass.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let (d, m) = (self.n_embd, self.d_mlp());
        let mut all = vec![
            ("wte.weight".to_owned(), vec![self.vocab_size, d]),
            ("wpe.weight".to_owned(), vec![self.n_positions, d]),
        ];
        for l in 0..self.n_layer {
            for (name, shape) in [
                ("ln_1.weight", vec![d]),
                ("ln_1.bias", vec![d]),
                ("attn.c_attn.weight", vec![d, 3 * d]),
                ("attn.c_attn.bias", vec![3 * d]),
                ("attn.c_proj.weight", vec![d, d]),
                ("attn.c_proj.bias", vec![d]),
                ("ln_2.weight", vec![d]),
                ("ln_2.bias", vec![d]),
                ("mlp.c_fc.weight", vec![d, m]),
                ("mlp.c_fc.bias", vec![m]),
                ("mlp.c_proj.weight", vec![m, d]),
                ("mlp.c_proj.bias", vec![d]),
            ] {
                all.push((format!("h.{l}.{name}"), shape));
            }
        }
        all.push(("ln_f.weight".to_owned(), vec![d]));
        all.push(("ln_f.bias".to_owned(), vec![d]));
        if !self.tie_word_embeddings {
            all.push(("lm_head.weight".to_owned(), vec![self.vocab_size, d]));
        }
        all
    }
}

const PREFIX: &str = "transformer.";
const HEAD: &str = "lm_head.weight";

fn linear(name: &str, source: &mut Source<'_>) -> Result<Linear> {
    // GPT-2 stores weights as [in, out] ("Conv1D").
    Ok(Linear {
        weight: source(&format!("{name}.weight"))?,
        bias: Some(source(&format!("{name}.bias"))?),
    })
}

fn norm(name: &str, source: &mut Source<'_>) -> Result<Norm> {
    Ok(Norm {
        weight: source(&format!("{name}.weight"))?,
        bias: Some(source(&format!("{name}.bias"))?),
    })
}

impl Family for Gpt2Config {
    fn architecture(&self) -> Architecture {
        let attention = |layer| LayerAttention {
            scale: self.attention_scale(layer),
            window: None,
            rotary: None,
        };
        Architecture {
            family: self.model_type.clone(),
            vocab: self.vocab_size,
            context: self.n_positions,
            longest: self.n_positions,
            d_model: self.n_embd,
            d_mlp: self.d_mlp(),
            heads: self.n_head,
            kv_heads: self.n_head,
            d_head: self.d_head(),
            embed_scale: 1.0,
            learned_positions: true,
            normalisation: Normalisation::LayerNorm,
            epsilon: self.layer_norm_epsilon,
            parallel: false,
            post_norms: false,
            query_key_norms: false,
            fused_qkv: true,
            activation: self.activation(),
            gated: false,
            score_cap: None,
            logit_cap: None,
            dropout: DropoutRates {
                embeddings: self.embd_pdrop,
                attention: self.attn_pdrop,
                residual: self.resid_pdrop,
            },
            attention: (0..self.n_layer).map(attention).collect(),
        }
    }

    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        Gpt2Config::parameters(self)
    }

    fn stored_names(&self, name: &str) -> Vec<String> {
        match name {
            HEAD => vec![name.to_owned()],
            _ => vec![format!("{PREFIX}{name}"), name.to_owned()],
        }
    }

    fn block(&self, layer: usize, source: &mut Source<'_>) -> Result<BlockWeights> {
        let name = |part: &str| format!("h.{layer}.{part}");
        Ok(BlockWeights {
            ln_1: norm(&name("ln_1"), source)?,
            qkv: Qkv::Fused(linear(&name("attn.c_attn"), source)?),
            query_key_norms: None,
            attn_proj: linear(&name("attn.c_proj"), source)?,
            post_attention: None,
            ln_2: norm(&name("ln_2"), source)?,
            fc: linear(&name("mlp.c_fc"), source)?,
            up: None,
            mlp_proj: linear(&name("mlp.c_proj"), source)?,
            post_mlp: None,
        })
    }

    fn ends(&self, source: &mut Source<'_>) -> Result<EndWeights> {
        let embed = source("wte.weight")?;
        let head = match self.tie_word_embeddings {
            true => embed.clone(),
            false => source(HEAD)?,
        };
        Ok(EndWeights {
            embed,
            positions: Some(source("wpe.weight")?),
            ln_final: norm("ln_f", source)?,
            head,
        })
    }

    fn modules(&self) -> Vec<NamedSite> {
        let module = |name: String, site, layer| NamedSite::canonical(site, layer).named(name);
        let mut modules = vec![
            module("transformer.wte".to_owned(), Site::Embed, None),
            module("transformer.wpe".to_owned(), Site::PosEmbed, None),
        ];
        for layer in 0..self.n_layer {
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
                modules.push(module(
                    format!("transformer.h.{layer}{name}"),
                    site,
                    Some(layer),
                ));
            }
        }
        modules.push(module("transformer.ln_f".to_owned(), Site::LnFinal, None));
        modules.push(module("lm_head".to_owned(), Site::Logits, None));
        modules
    }

    fn config(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        }
    }

    fn end_of_text(&self) -> Option<u32> {
        self.eos_token_id
    }

    fn gpt2(&self) -> Option<&Gpt2Config> {
        Some(self)
    }
}
