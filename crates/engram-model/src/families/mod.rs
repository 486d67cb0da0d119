//! Families of models: how each family's configuration and tensors become an [`Architecture`] and weights.
//!
//! A family's file holds what is particular to it: the fields of its `config.json`, the names of its tensors and
//! modules, the order of rows. Nothing outside this folder knows a family.

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

/// x·weight + bias. The weight has shape [in, out]; if the file stores [out, in], it is a transposed view.
#[derive(Debug, Clone)]
pub struct Linear {
    /// [in, out].
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Option<Tensor>,
}

/// Weight and bias of a norm, `[d_model]` or `[d_head]`.
#[derive(Debug, Clone)]
pub struct Norm {
    /// Factor of the normalised row.
    pub weight: Tensor,
    /// Added to it; `None` for RMSNorm.
    pub bias: Option<Tensor>,
}

/// The projections to queries, keys and values.
#[derive(Debug, Clone)]
pub enum Qkv {
    /// One projection whose output is queries, keys and values side by side, each grouped by head.
    Fused(Linear),
    /// Three projections.
    Separate([Linear; 3]),
}

/// The weights of a block, by role.
#[derive(Debug, Clone)]
pub struct BlockWeights {
    /// Norm before attention.
    pub ln_1: Norm,
    /// Projections to queries, keys and values.
    pub qkv: Qkv,
    /// QK-norm: norms of each head's queries and keys.
    pub query_key_norms: Option<(Norm, Norm)>,
    /// Output projection W_O of attention.
    pub attn_proj: Linear,
    /// Norm after attention.
    pub post_attention: Option<Norm>,
    /// Norm before the MLP.
    pub ln_2: Norm,
    /// First projection of the MLP; the gate of a gated one.
    pub fc: Linear,
    /// Up projection of a gated MLP.
    pub up: Option<Linear>,
    /// Down-projection of the MLP.
    pub mlp_proj: Linear,
    /// Norm after the MLP.
    pub post_mlp: Option<Norm>,
}

/// The weights outside the blocks.
#[derive(Debug, Clone)]
pub struct EndWeights {
    /// [vocab, d_model].
    pub embed: Tensor,
    /// Learned position embedding, [context, d_model].
    pub positions: Option<Tensor>,
    /// Last norm.
    pub ln_final: Norm,
    /// Unembedding, [vocab, d_model]; the embedding if tied.
    pub head: Tensor,
}

/// Returns a parameter by its name in [`Family::parameters`].
pub type Source<'a> = dyn FnMut(&str) -> Result<Tensor> + 'a;

/// A family with one configuration.
pub trait Family: Debug + Send + Sync {
    /// The description of the network.
    fn architecture(&self) -> Architecture;

    /// Name and stored shape of every parameter, in the order of the forward pass.
    fn parameters(&self) -> Vec<(String, Vec<usize>)>;

    /// The names that a parameter may have in a file; the first is the one written.
    fn stored_names(&self, name: &str) -> Vec<String>;

    /// The weights of a block.
    ///
    /// # Errors
    /// Those of `source`.
    fn block(&self, layer: usize, source: &mut Source<'_>) -> Result<BlockWeights>;

    /// The weights outside the blocks.
    ///
    /// # Errors
    /// Those of `source`.
    fn ends(&self, source: &mut Source<'_>) -> Result<EndWeights>;

    /// The transformers library's module names and the sites that are their outputs, in the order in which a forward
    /// pass finishes them.
    fn modules(&self) -> Vec<NamedSite>;

    /// The `config.json` to write.
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

    /// The configuration of a GPT-2, the only family that engram trains; `None` for others.
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
/// [`ModelError::Io`] if it cannot be read; [`ModelError::Config`] for an unknown family or numbers that do not
/// describe a model.
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

/// The family in the bytes of a `config.json`.
///
/// # Errors
/// A message that names the invalid field.
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
/// A message that names the invalid field.
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
