//! GPT-2's configuration as Hugging Face writes it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{ModelError, Result};

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
    /// Longest context.
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
    /// The MLP's activation function: `gelu_new` (or its twin `gelu_pytorch_tanh`), `gelu` or `relu`.
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
    /// Dropout on what attention and MLP add, in training.
    #[serde(default = "tenth")]
    pub resid_pdrop: f64,
    /// Whether the head is the token embedding.
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
    /// Everything else.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// Sizes beyond these are no GPT-2 that exists; they are refused before anything is allocated.
const MOST: usize = 1 << 24;
/// No transformer is nearly so deep, and the table of parameters is made before the weights are read.
const MOST_LAYERS: usize = 4096;

impl Gpt2Config {
    /// A configuration with Hugging Face's defaults for all that is not given; `n_embd` must be a multiple of `n_head`.
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
    /// [`ModelError::Io`], [`ModelError::Config`].
    pub fn read(path: &Path) -> Result<Gpt2Config> {
        let text = std::fs::read(path).map_err(|source| ModelError::Io {
            path: path.to_owned(),
            source,
        })?;
        let wrong = |why: String| ModelError::Config {
            path: path.to_owned(),
            why,
        };
        let value: serde_json::Value =
            serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        match value.get("model_type").and_then(|v| v.as_str()) {
            Some("gpt2") => {}
            Some(other) => {
                return Err(wrong(format!(
                    "model_type is \"{other}\"; engram reads \"gpt2\""
                )));
            }
            None => return Err(wrong("model_type is missing".to_owned())),
        }
        let config: Gpt2Config = serde_json::from_value(value).map_err(|e| wrong(e.to_string()))?;
        config.check().map_err(wrong)?;
        Ok(config)
    }

    /// Checks that the numbers describe a model.
    ///
    /// # Errors
    /// The reason, in words.
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
        if !["gelu_new", "gelu_pytorch_tanh", "gelu", "relu"]
            .contains(&self.activation_function.as_str())
        {
            return Err(format!(
                "activation_function \"{}\" is not supported; gelu_new, gelu_pytorch_tanh, gelu and relu are",
                self.activation_function
            ));
        }
        if !(self.layer_norm_epsilon > 0.0 && self.layer_norm_epsilon < 1.0) {
            return Err(format!("layer_norm_epsilon is {}", self.layer_norm_epsilon));
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
        self.n_inner.unwrap_or(4 * self.n_embd)
    }

    /// d_head.
    pub fn d_head(&self) -> usize {
        self.n_embd / self.n_head
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
