//! Converts GGUF metadata to a `config.json`.

use std::cell::RefCell;
use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::ROPE_FACTORS;
use crate::error::{ModelError, Result, shown};
use crate::families::rope::{ROTARY_DIM, Rope};
use crate::families::settings::MOST_LAYERS;
use crate::gguf::{self, FromMetadata, Gguf};

/// Supported architectures: GGUF's name, the family, and the transformers library's class.
const ARCHITECTURES: [(&str, &str, &str); 8] = [
    ("gpt2", "gpt2", "GPT2LMHeadModel"),
    ("gptneox", "gpt_neox", "GPTNeoXForCausalLM"),
    ("llama", "llama", "LlamaForCausalLM"),
    ("qwen2", "qwen2", "Qwen2ForCausalLM"),
    ("qwen3", "qwen3", "Qwen3ForCausalLM"),
    ("gemma", "gemma", "GemmaForCausalLM"),
    ("gemma2", "gemma2", "Gemma2ForCausalLM"),
    ("gemma3", "gemma3_text", "Gemma3ForCausalLM"),
];

/// Base of the rotary embedding if the file has none.
const BASE: f64 = 10_000.0;

/// The fields of a `config.json`; those that the file lacks are omitted.
pub(super) fn config(file: &Gguf) -> Result<Map<String, Value>> {
    if let Some(kind) = file
        .get::<&str>("general.type")?
        .filter(|kind| *kind != "model")
    {
        return Err(ModelError::GgufKind {
            path: file.path().to_owned(),
            why: format!(
                "its general.type is \"{}\"; engram reads models",
                shown(kind)
            ),
        });
    }
    let name: &str = file.require("general.architecture")?;
    let known = ARCHITECTURES.iter().find(|(known, ..)| *known == name);
    let Some((_, family, class)) = known else {
        let names = ARCHITECTURES.map(|(name, ..)| name).join(", ");
        return Err(ModelError::GgufKind {
            path: file.path().to_owned(),
            why: format!(
                "its architecture is \"{}\"; of GGUF files engram reads {names}; other families as safetensors",
                shown(name)
            ),
        });
    };
    let keys = Keys {
        file,
        name,
        read: RefCell::default(),
    };
    let embed = file.tensors().get("token_embd.weight");
    let mut config = object(json!({
        "model_type": family,
        "architectures": [class],
        "vocab_size": embed.and_then(|t| t.shape.first()),
        "tie_word_embeddings": !keys.has_tensor("output.weight"),
        "bos_token_id": file.get::<u32>("tokenizer.ggml.bos_token_id")?,
        "eos_token_id": file.get::<u32>("tokenizer.ggml.eos_token_id")?,
    }));
    config.extend(match *family {
        "gpt2" => gpt2(&keys)?,
        "gpt_neox" => gpt_neox(&keys)?,
        family => decoder(&keys, family)?,
    });
    keys.refuse_unread()?;
    config.retain(|_, value| !value.is_null());
    Ok(config)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Keys that do not affect the computation: the tokenizer's size, how the weights were made.
const NEUTRAL: [&str; 4] = [
    "vocab_size",
    "tensor_data_layout",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
];

/// Factors, for which 1 means no effect.
const FACTORS: [&str; 6] = [
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_ext_factor",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
];

/// The metadata of an architecture. Keys that were read are recorded, so that the others can be rejected.
struct Keys<'a> {
    file: &'a Gguf,
    name: &'a str,
    read: RefCell<HashSet<String>>,
}

impl<'a> Keys<'a> {
    fn key(&self, name: &str) -> String {
        let key = format!("{}.{name}", self.name);
        self.read.borrow_mut().insert(key.clone());
        key
    }

    fn get<T: FromMetadata<'a>>(&self, name: &str) -> Result<Option<T>> {
        self.file.get(&self.key(name))
    }

    fn size(&self, name: &str) -> Result<u32> {
        self.file.require(&self.key(name))
    }

    fn given_size(&self, name: &str) -> Result<Option<u32>> {
        self.get(name)
    }

    /// A float32 as the decimal number that it was rounded from.
    fn number(&self, name: &str) -> Result<Option<f64>> {
        let value = self.get::<f32>(name)?;
        Ok(value.map(|v| v.to_string().parse().unwrap_or(f64::from(v))))
    }

    /// The error for a setting that engram does not implement.
    fn refused(&self, name: &str, why: &str) -> ModelError {
        let key = self.key(name);
        let value = self.file.metadata().get(&key);
        let value = value.map_or_else(String::new, gguf::MetadataValue::to_string);
        ModelError::GgufKind {
            path: self.file.path().to_owned(),
            why: format!("metadata {} is {value}; {why}", shown(&key)),
        }
    }

    /// Fails for keys of the architecture that nothing has read: they may affect the computation. A value of 0 or false
    /// is allowed, because it switches a feature off.
    fn refuse_unread(&self) -> Result<()> {
        if self.get::<bool>("attention.causal")? == Some(false) {
            return Err(self.refused("attention.causal", "engram reads causal models"));
        }
        NEUTRAL.iter().for_each(|name| drop(self.key(name)));
        let prefix = format!("{}.", self.name);
        for (key, value) in self.file.metadata() {
            let read = self.read.borrow().contains(key);
            let off = match value {
                gguf::MetadataValue::Unsigned(0)
                | gguf::MetadataValue::Signed(0)
                | gguf::MetadataValue::Bool(false) => true,
                gguf::MetadataValue::Float(value) => *value == 0.0,
                _ => false,
            };
            let Some(name) = key.strip_prefix(&prefix) else {
                continue;
            };
            let one = FACTORS.contains(&name) && *value == gguf::MetadataValue::Float(1.0);
            if !(read || off || one) {
                return Err(self.refused(name, "engram does not read it, and computes without it"));
            }
        }
        Ok(())
    }

    /// Number of rotated dimensions of a head, if the file says that not all are.
    fn rotary_dim(&self, family: &str, d_head: u32) -> Result<Option<u32>> {
        const NAME: &str = "rope.dimension_count";
        match self.given_size(NAME)?.filter(|rotated| *rotated != d_head) {
            // llama.cpp rejects it, too.
            Some(_) if family == "llama" => {
                let why = format!("expected {d_head}, the width of a head");
                Err(self.refused(NAME, &why))
            }
            rotated => Ok(rotated),
        }
    }

    fn has_tensor(&self, name: &str) -> bool {
        self.file.tensors().contains_key(name)
    }

    /// Width of a head if the file does not say.
    fn even_share(&self) -> Result<u32> {
        let heads = self.size("attention.head_count")?;
        Ok(self
            .size("embedding_length")?
            .checked_div(heads)
            .unwrap_or(0))
    }
}

fn gpt2(keys: &Keys<'_>) -> Result<Map<String, Value>> {
    Ok(object(json!({
        "n_embd": keys.size("embedding_length")?,
        "n_layer": keys.size("block_count")?,
        "n_head": keys.size("attention.head_count")?,
        "n_inner": keys.size("feed_forward_length")?,
        "n_positions": keys.size("context_length")?,
        "layer_norm_epsilon": keys.number("attention.layer_norm_epsilon")?,
    })))
}

fn gpt_neox(keys: &Keys<'_>) -> Result<Map<String, Value>> {
    let rotated = keys.given_size("rope.dimension_count")?;
    let share = rotated
        .map(|rotated| Ok::<_, ModelError>(f64::from(rotated) / f64::from(keys.even_share()?)));
    Ok(object(json!({
        "hidden_size": keys.size("embedding_length")?,
        "num_hidden_layers": keys.size("block_count")?,
        "num_attention_heads": keys.size("attention.head_count")?,
        "intermediate_size": keys.size("feed_forward_length")?,
        "max_position_embeddings": keys.size("context_length")?,
        "layer_norm_eps": keys.number("attention.layer_norm_epsilon")?,
        "use_parallel_residual": keys.get::<bool>("use_parallel_residual")?,
        "rotary_emb_base": keys.number("rope.freq_base")?.unwrap_or(BASE),
        "rotary_pct": share.transpose()?.unwrap_or(1.0),
        "attention_bias": keys.has_tensor("blk.0.attn_qkv.bias"),
    })))
}

/// Families laid out like Llama.
fn decoder(keys: &Keys<'_>, family: &str) -> Result<Map<String, Value>> {
    let d_head = match keys.given_size("attention.key_length")? {
        Some(d_head) => d_head,
        None => keys.even_share()?,
    };
    let theta = keys.number("rope.freq_base")?.unwrap_or(BASE);
    let mut config = object(json!({
        "hidden_size": keys.size("embedding_length")?,
        "num_hidden_layers": keys.size("block_count")?,
        "num_attention_heads": keys.size("attention.head_count")?,
        "num_key_value_heads": keys.given_size("attention.head_count_kv")?,
        "head_dim": d_head,
        "intermediate_size": keys.size("feed_forward_length")?,
        "max_position_embeddings": keys.size("context_length")?,
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon")?,
        "rope_theta": theta,
        "rope_scaling": rope_scaling(keys, d_head, theta)?,
        ROTARY_DIM: keys.rotary_dim(family, d_head)?,
    }));
    if keys
        .given_size("attention.value_length")?
        .is_some_and(|v| v != d_head)
    {
        let why = format!("expected {d_head}, the width of queries and keys");
        return Err(keys.refused("attention.value_length", &why));
    }
    // Qwen 2 has biases exactly on queries, keys and values.
    if family != "qwen2" {
        config.insert(
            "attention_bias".to_owned(),
            keys.has_tensor("blk.0.attn_q.bias").into(),
        );
    }
    if family == "llama" {
        config.insert(
            "mlp_bias".to_owned(),
            keys.has_tensor("blk.0.ffn_up.bias").into(),
        );
    }
    if family.starts_with("gemma") {
        config.extend(gemma(keys, family, d_head)?);
    }
    Ok(config)
}

fn gemma(keys: &Keys<'_>, family: &str, d_head: u32) -> Result<Map<String, Value>> {
    let layers = keys.size("block_count")?;
    // The largest model of each generation divides scores by the square root of another width than the head's; the file
    // does not say.
    let scalar = match (family, layers) {
        ("gemma2", 46) | ("gemma3_text", 62) => keys.even_share()?,
        _ => d_head,
    };
    let window = keys
        .given_size("attention.sliding_window")?
        .filter(|w| *w > 0);
    let listed = slides(keys, layers as usize)?;
    let types = match (family, window) {
        ("gemma3_text", None) => Some(vec![false; (layers as usize).min(MOST_LAYERS)]),
        _ => listed,
    };
    let word = |slides| match slides {
        true => "sliding_attention",
        false => "full_attention",
    };
    let types: Option<Vec<&str>> = types.map(|all| all.into_iter().map(word).collect());
    Ok(object(json!({
        "query_pre_attn_scalar": scalar,
        "attn_logit_softcapping": keys.number("attn_logit_softcapping")?,
        "final_logit_softcapping": keys.number("final_logit_softcapping")?,
        "sliding_window": window,
        "layer_types": types,
        "rope_local_base_freq": keys.number("rope.freq_base_swa")?,
    })))
}

/// Which layers have a sliding window, if the file says: layer by layer, or by the index of the first layer without
/// one.
fn slides(keys: &Keys<'_>, layers: usize) -> Result<Option<Vec<bool>>> {
    let key = keys.key("attention.sliding_window_pattern");
    if let Some(gguf::MetadataValue::Array(_)) = keys.file.metadata().get(&key) {
        return keys.file.get(&key);
    }
    let period = keys
        .given_size("attention.sliding_window_pattern")?
        .map(|period| period as usize);
    let of = |period: usize| {
        let slides = |layer| period == 0 || layer % period < period - 1;
        (0..layers.min(MOST_LAYERS)).map(slides).collect()
    };
    Ok(period.map(of))
}

/// Scaling of the rotary embedding. For Llama 3's scaling the file holds the resulting factors.
fn rope_scaling(keys: &Keys<'_>, d_head: u32, theta: f64) -> Result<Value> {
    if keys.has_tensor(ROPE_FACTORS) {
        let found = keys.file.tensor(ROPE_FACTORS)?;
        let scaling = json!({
            "rope_type": "llama3",
            "factor": found.iter().copied().fold(1.0, f32::max),
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        });
        if amounts_to(&scaling, d_head, theta, &found) {
            return Ok(scaling);
        }
        return Err(ModelError::GgufKind {
            path: keys.file.path().to_owned(),
            why: format!(
                "{ROPE_FACTORS} are not those of Llama 3's scaling; use the model's safetensors"
            ),
        });
    }
    let kind: Option<&str> = keys.get("rope.scaling.type")?;
    // The second is an older key that llama.cpp still reads.
    let factors = ["rope.scaling.factor", "rope.scale_linear"].map(|name| keys.number(name));
    let [factor, older] = factors;
    let factor = factor?.or(older?);
    Ok(match (kind.unwrap_or("linear"), factor) {
        ("none", _) | ("linear", None) => Value::Null,
        ("yarn", factor) => Value::Object(object(json!({
            "rope_type": "yarn",
            "factor": factor.unwrap_or(1.0),
            "original_max_position_embeddings": keys.given_size("rope.scaling.original_context_length")?,
            "beta_fast": keys.number("rope.scaling.yarn_beta_fast")?,
            "beta_slow": keys.number("rope.scaling.yarn_beta_slow")?,
        }))),
        (kind, factor) => json!({"rope_type": kind, "factor": factor}),
    })
}

/// Whether a scaling divides each frequency by exactly these factors.
fn amounts_to(scaling: &Value, d_head: u32, theta: f64, factors: &[f32]) -> bool {
    // Checked against the file first: it bounds the allocation.
    if factors.len() != d_head as usize / 2 {
        return false;
    }
    let frequencies = |scaling: &Value| {
        let config = object(json!({"rope_theta": theta, "rope_scaling": scaling}));
        let rope = Rope::read(&config, None, BASE).ok()?;
        Some(rope.rotary(d_head as usize).ok()?.frequencies)
    };
    let (Some(plain), Some(scaled)) = (frequencies(&Value::Null), frequencies(scaling)) else {
        return false;
    };
    let mut each = plain.iter().zip(scaled.iter()).zip(factors);
    each.all(|((plain, scaled), factor)| (plain / scaled - factor).abs() < 1e-3 * factor.abs())
}
