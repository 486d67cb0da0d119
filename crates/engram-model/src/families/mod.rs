//! The families of models: how each one's configuration and tensors become an [`Architecture`] and its weights.
//!
//! A family's file says what is particular of it: the fields of its `config.json`, the names of its tensors and
//! modules, the order of its rows. Nothing outside this folder knows a family.

mod decoder;
mod from_gguf;
mod gemma;
pub mod gpt2;
mod gpt_neo;
mod gpt_neox;
mod llama;
mod qwen;
mod rope;
mod settings;

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;
use engram_core::NamedSite;
use serde_json::{Map, Value};

use crate::architecture::Architecture;
use crate::error::{ModelError, Result, shown};

pub use from_gguf::{family as gguf_family, open as open_gguf, parameters as gguf_parameters};
pub use gpt2::Gpt2Config;
pub(crate) use rope::ROTARY_DIM;

/// x·weight + bias; weight: [in, out], where the file has it the other way round a view of it.
#[derive(Debug, Clone)]
pub struct Linear {
    /// [in, out].
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Option<Tensor>,
}

/// A normalisation's weight and bias, `[d_model]` or `[d_head]`.
#[derive(Debug, Clone)]
pub struct Norm {
    /// What rows are multiplied with.
    pub weight: Tensor,
    /// What is added.
    pub bias: Option<Tensor>,
}

/// The projections to queries, keys and values.
#[derive(Debug, Clone)]
pub enum Qkv {
    /// One for all three, side by side in this order, each by heads.
    Fused(Linear),
    /// One for each.
    Apart([Linear; 3]),
}

/// A block's weights by what they do.
#[derive(Debug, Clone)]
pub struct BlockWeights {
    /// Before attention.
    pub ln_1: Norm,
    /// To queries, keys and values.
    pub qkv: Qkv,
    /// On each head's queries, and on its keys.
    pub query_key_norms: Option<(Norm, Norm)>,
    /// From the heads to the residual stream.
    pub attn_proj: Linear,
    /// On attention's output.
    pub post_attention: Option<Norm>,
    /// Before the MLP.
    pub ln_2: Norm,
    /// To the neurons.
    pub fc: Linear,
    /// To what the neurons are multiplied with.
    pub up: Option<Linear>,
    /// From the neurons to the residual stream.
    pub mlp_proj: Linear,
    /// On the MLP's output.
    pub post_mlp: Option<Norm>,
}

/// The weights outside the blocks.
#[derive(Debug, Clone)]
pub struct EndWeights {
    /// [vocab, d_model].
    pub embed: Tensor,
    /// [context, d_model].
    pub positions: Option<Tensor>,
    /// Before the head.
    pub ln_final: Norm,
    /// [vocab, d_model]; the embedding where tied.
    pub head: Tensor,
}

/// Gives a parameter by its name in [`Family::parameters`].
pub type Source<'a> = dyn FnMut(&str) -> Result<Tensor> + 'a;

/// A family's reading of one configuration.
pub trait Family: Debug + Send + Sync {
    /// What the network is made of.
    fn architecture(&self) -> Architecture;

    /// Every parameter's name and shape as stored, in the order of the forward pass.
    fn parameters(&self) -> Vec<(String, Vec<usize>)>;

    /// The names that a file may have a parameter under, first the one that is written.
    fn stored_names(&self, name: &str) -> Vec<String>;

    /// A block's weights.
    ///
    /// # Errors
    /// The source's.
    fn block(&self, layer: usize, source: &mut Source<'_>) -> Result<BlockWeights>;

    /// The weights outside the blocks.
    ///
    /// # Errors
    /// The source's.
    fn ends(&self, source: &mut Source<'_>) -> Result<EndWeights>;

    /// The modules' names in the transformers library and the sites that their outputs are, in the order in which a
    /// forward pass finishes them.
    fn modules(&self) -> Vec<NamedSite>;

    /// `config.json`, to be written.
    fn config(&self) -> Map<String, Value>;

    /// The end-of-text token that the configuration names.
    fn end_of_text(&self) -> Option<u32> {
        let config = self.config();
        let id = match config.get("eos_token_id")? {
            Value::Array(ids) => ids.first()?.as_u64()?,
            id => id.as_u64()?,
        };
        u32::try_from(id).ok()
    }

    /// The configuration, where this is a GPT-2: the only family that is trained.
    fn gpt2(&self) -> Option<&Gpt2Config> {
        None
    }
}

/// `model_type` of every family.
pub const FAMILIES: &str =
    "gpt2, gpt_neo, gpt_neox, llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3_text";

/// Reads `config.json`.
///
/// # Errors
/// [`ModelError::Io`]; [`ModelError::Config`] for a family that is not known or numbers that describe no model.
pub fn read(path: &Path) -> Result<Arc<dyn Family>> {
    let text = std::fs::read(path).map_err(|source| ModelError::Io {
        path: path.to_owned(),
        source,
    })?;
    parse(&text).map_err(|why| ModelError::Config {
        path: path.to_owned(),
        why,
    })
}

/// The family of the bytes of a `config.json`.
///
/// # Errors
/// The reason, in words.
pub fn parse(text: &[u8]) -> std::result::Result<Arc<dyn Family>, String> {
    of(fields(text)?)
}

fn fields(text: &[u8]) -> std::result::Result<Map<String, Value>, String> {
    let fields = serde_json::from_slice(text);
    fields.map_err(|e| format!("no readable configuration: {}", shown(&e.to_string())))
}

/// The family of a configuration.
///
/// # Errors
/// The reason, in words.
pub fn of(config: Map<String, Value>) -> std::result::Result<Arc<dyn Family>, String> {
    let Some(name) = config.get("model_type").and_then(Value::as_str) else {
        return Err("model_type is missing".to_owned());
    };
    settings::refuse_of_other_families(&config)?;
    Ok(match name {
        "gpt2" => Arc::new(Gpt2Config::of(config)?),
        "gpt_neo" => Arc::new(gpt_neo::GptNeo::of(config)?),
        "gpt_neox" => Arc::new(gpt_neox::GptNeoX::of(config)?),
        "llama" | "mistral" => Arc::new(llama::read(config)?),
        "qwen2" | "qwen3" => Arc::new(qwen::read(config)?),
        "gemma" | "gemma2" | "gemma3_text" => Arc::new(gemma::read(config)?),
        other => {
            let other = shown(other);
            return Err(format!(
                "model_type is \"{other}\"; engram reads {FAMILIES}"
            ));
        }
    })
}
