//! GGUF's metadata and tensors as the configuration and the tensors of a family.
//!
//! llama.cpp names and orders things its own way: its converter moves the rows of queries and keys of the llama
//! family, and adds the 1 to Gemma's normalisation weights. Here all of that is undone, so that a family's file reads
//! a GGUF as it reads any other checkpoint.

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use serde_json::{Map, Value, json};

use super::{Family, of};
use crate::checkpoint::Parameters;
use crate::error::{ModelError, Result};
use crate::gguf::{Gguf, unpermute};

/// Architectures that are read, by GGUF's names, and the families that they are.
const ARCHITECTURES: [(&str, &str); 6] = [
    ("llama", "llama"),
    ("qwen2", "qwen2"),
    ("qwen3", "qwen3"),
    ("gemma", "gemma"),
    ("gemma2", "gemma2"),
    ("gemma3", "gemma3_text"),
];

/// Opens a GGUF file as a model of a family.
///
/// # Errors
/// As [`Gguf::open`]; [`ModelError::GgufKind`] for an architecture that is not read, [`ModelError::Config`] for
/// metadata that describes no model.
pub fn open(path: &Path) -> Result<(Gguf, Arc<dyn Family>)> {
    let file = Gguf::open(path)?;
    let family = of(config(&file)?).map_err(|why| ModelError::Config {
        path: path.to_owned(),
        why,
    })?;
    Ok((file, family))
}

/// Reads all parameters that a family calls for, in float32.
///
/// # Errors
/// [`ModelError::MissingTensor`], [`ModelError::TensorShape`], [`ModelError::NotFinite`].
pub fn parameters(file: &Gguf, family: &dyn Family, device: &Device) -> Result<Parameters> {
    let architecture = family.architecture();
    let llama = architecture.family == "llama";
    let gemma = architecture.family.starts_with("gemma");
    let mut parameters = Parameters::new();
    for (name, expected) in family.parameters() {
        let stored = stored_name(&name, architecture.post_norms);
        let missing = || ModelError::MissingTensor {
            path: file.path().to_owned(),
            name: stored.clone().unwrap_or_else(|| name.clone()),
        };
        let stored = stored.as_deref().ok_or_else(missing)?;
        let info = file.tensors().get(stored).ok_or_else(missing)?;
        if info.shape != expected {
            return Err(ModelError::TensorShape {
                path: file.path().to_owned(),
                name: stored.to_owned(),
                expected,
                found: info.shape.clone(),
            });
        }
        let mut values = file.tensor(stored)?;
        if llama && name.contains("q_proj") {
            values = unpermute(&values, &expected, architecture.heads)?;
        } else if llama && name.contains("k_proj") {
            values = unpermute(&values, &expected, architecture.kv_heads)?;
        } else if gemma && name.contains("norm") {
            values.iter_mut().for_each(|v| *v -= 1.0);
        }
        parameters.insert(name, Tensor::from_vec(values, expected, device)?);
    }
    Ok(parameters)
}

/// GGUF's name for a tensor of a model named as Llama's are.
fn stored_name(name: &str, post_norms: bool) -> Option<String> {
    let whole = match name {
        "model.embed_tokens.weight" => Some("token_embd.weight"),
        "model.norm.weight" => Some("output_norm.weight"),
        "lm_head.weight" => Some("output.weight"),
        _ => None,
    };
    if let Some(whole) = whole {
        return Some(whole.to_owned());
    }
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (module, kind) = part.rsplit_once('.')?;
    let stored = match module {
        "input_layernorm" => "attn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "post_attention_layernorm" if post_norms => "post_attention_norm",
        "post_attention_layernorm" | "pre_feedforward_layernorm" => "ffn_norm",
        "post_feedforward_layernorm" => "post_ffw_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        _ => return None,
    };
    Some(format!("blk.{layer}.{stored}.{kind}"))
}

/// The `config.json` that the metadata amounts to.
fn config(file: &Gguf) -> Result<Map<String, Value>> {
    let architecture: &str = file.require("general.architecture")?;
    let known = ARCHITECTURES.iter().find(|(name, _)| *name == architecture);
    let Some((_, family)) = known else {
        let names = ARCHITECTURES.map(|(name, _)| name).join(", ");
        return Err(ModelError::GgufKind {
            path: file.path().to_owned(),
            why: format!(
                "its architecture is {architecture:?}; of GGUF files engram reads {names}; other families as safetensors"
            ),
        });
    };
    let key = |name: &str| format!("{architecture}.{name}");
    let size = |name: &str| file.require::<u32>(&key(name));
    let vocab = file.tensors().get("token_embd.weight");
    let vocab = vocab.and_then(|t| t.shape.first()).copied();
    let (heads, layers) = (size("attention.head_count")?, size("block_count")?);
    let d_model = size("embedding_length")?;
    let d_head = match file.get::<u32>(&key("attention.key_length"))? {
        Some(d_head) => d_head,
        None => d_model.checked_div(heads).unwrap_or(0),
    };
    let biased = file.tensors().contains_key("blk.0.attn_q.bias");
    let mut config = Map::new();
    let mut set = |name: &str, value: Value| config.insert(name.to_owned(), value);
    set("model_type", json!(family));
    set("vocab_size", json!(vocab));
    set("hidden_size", json!(d_model));
    set("num_hidden_layers", json!(layers));
    set("num_attention_heads", json!(heads));
    if let Some(kv_heads) = file.get::<u32>(&key("attention.head_count_kv"))? {
        set("num_key_value_heads", json!(kv_heads));
    }
    set("head_dim", json!(d_head));
    set("intermediate_size", json!(size("feed_forward_length")?));
    set("max_position_embeddings", json!(size("context_length")?));
    if let Some(epsilon) = file.get::<f32>(&key("attention.layer_norm_rms_epsilon"))? {
        set("rms_norm_eps", json!(exact(epsilon)));
    }
    set(
        "tie_word_embeddings",
        json!(!file.tensors().contains_key("output.weight")),
    );
    if *family != "qwen2" {
        set("attention_bias", json!(biased));
    }
    let theta = file.get::<f32>(&key("rope.freq_base"))?.map(exact);
    set("rope_theta", json!(theta));
    set(
        "rope_scaling",
        rope_scaling(file, architecture, d_head, theta)?,
    );
    if let Some(id) = file.get::<u32>("tokenizer.ggml.eos_token_id")? {
        set("eos_token_id", json!(id));
    }
    if let Some(id) = file.get::<u32>("tokenizer.ggml.bos_token_id")? {
        set("bos_token_id", json!(id));
    }
    if family.starts_with("gemma") {
        let cap =
            |name: &str| -> Result<Value> { Ok(json!(file.get::<f32>(&key(name))?.map(exact))) };
        set("attn_logit_softcapping", cap("attn_logit_softcapping")?);
        set("final_logit_softcapping", cap("final_logit_softcapping")?);
        if let Some(window) = file.get::<u32>(&key("attention.sliding_window"))? {
            set("sliding_window", json!(window));
        }
        // The largest of each generation divides by the width of a head without its own setting; the file does not say.
        let largest = matches!((*family, layers), ("gemma2", 46) | ("gemma3_text", 62));
        let scalar = match largest {
            true => d_model.checked_div(heads).unwrap_or(0),
            false => d_head,
        };
        set("query_pre_attn_scalar", json!(scalar));
    }
    let architectures = match *family {
        "llama" => "LlamaForCausalLM",
        "qwen2" => "Qwen2ForCausalLM",
        "qwen3" => "Qwen3ForCausalLM",
        "gemma" => "GemmaForCausalLM",
        "gemma2" => "Gemma2ForCausalLM",
        _ => "Gemma3ForCausalLM",
    };
    set("architectures", json!([architectures]));
    Ok(config)
}

/// A float32 as the decimal number that it was written from.
fn exact(value: f32) -> f64 {
    value
        .to_string()
        .parse()
        .unwrap_or_else(|_| f64::from(value))
}

/// How rotary embedding is scaled. Llama 3's scaling is in the file as the factors that it amounts to.
fn rope_scaling(file: &Gguf, architecture: &str, d_head: u32, theta: Option<f64>) -> Result<Value> {
    const FACTORS: &str = "rope_freqs.weight";
    if file.tensors().contains_key(FACTORS) {
        let found = file.tensor(FACTORS)?;
        for factor in [8.0, 32.0, 16.0, 4.0] {
            let scaling = json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            });
            if amounts_to(&scaling, d_head, theta, &found) {
                return Ok(scaling);
            }
        }
        return Err(ModelError::GgufKind {
            path: file.path().to_owned(),
            why: format!(
                "{FACTORS} are not those of Llama 3's scaling; use the model's safetensors"
            ),
        });
    }
    let key = |name: &str| format!("{architecture}.rope.scaling.{name}");
    let kind: Option<&str> = file.get(&key("type"))?;
    Ok(match kind {
        None | Some("none") => Value::Null,
        Some(kind) => json!({
            "rope_type": kind,
            "factor": file.get::<f32>(&key("factor"))?.map(exact),
        }),
    })
}

/// Whether a scaling divides each frequency by these factors.
fn amounts_to(scaling: &Value, d_head: u32, theta: Option<f64>, factors: &[f32]) -> bool {
    let rotary = |scaling: &Value| {
        let config = Map::from_iter([
            ("rope_theta".to_owned(), json!(theta)),
            ("rope_scaling".to_owned(), scaling.clone()),
        ]);
        let rope = super::rope::Rope::read(&config, None, 10_000.0).ok()?;
        rope.rotary(d_head as usize).ok()
    };
    let (Some(plain), Some(scaled)) = (rotary(&Value::Null), rotary(scaling)) else {
        return false;
    };
    let each = plain
        .frequencies
        .iter()
        .zip(&scaled.frequencies)
        .zip(factors);
    factors.len() == plain.frequencies.len()
        && each
            .into_iter()
            .all(|((plain, scaled), factor)| (plain / scaled - factor).abs() < 1e-3 * factor.abs())
}
