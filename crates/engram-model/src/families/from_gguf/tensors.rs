//! GGUF's tensors under a family's names, in its order.

use std::collections::HashSet;

use candle_core::{Device, Tensor};

use super::ROPE_FACTORS;
use crate::architecture::Architecture;
use crate::checkpoint::Parameters;
use crate::error::{ModelError, Result, shown};
use crate::families::Family;
use crate::gguf::{Gguf, unpermute};

/// Reads all parameters that a family needs, in float32.
///
/// # Errors
/// [`ModelError::MissingTensor`] if the file lacks one; [`ModelError::TensorShape`] for another shape than the
/// configuration says; [`ModelError::NotFinite`] for NaN or infinity; [`ModelError::GgufKind`] for a tensor that the
/// family does not use.
pub fn parameters(file: &Gguf, family: &dyn Family, device: &Device) -> Result<Parameters> {
    let architecture = family.architecture();
    let path = || file.path().to_owned();
    let all = family.parameters().into_iter().map(|(name, shape)| {
        let stored = stored_name(&name, architecture.post_norms);
        (stored.unwrap_or_else(|| name.clone()), name, shape)
    });
    let all: Vec<_> = all.collect();
    let known: HashSet<&str> = all.iter().map(|(stored, ..)| stored.as_str()).collect();
    let has_use = |name: &str| known.contains(name) || name == ROPE_FACTORS;
    if let Some(name) = file.tensors().keys().find(|name| !has_use(name)) {
        let (name, family) = (shown(name), &architecture.family);
        return Err(ModelError::GgufKind {
            path: path(),
            why: format!("tensor {name} is no part of a {family} as engram computes it"),
        });
    }
    let mut parameters = Parameters::new();
    for (stored, name, shape) in all {
        let change = Change::of(&name, &architecture);
        let expected = match change {
            Change::Transposed => shape.into_iter().rev().collect(),
            _ => shape,
        };
        let Some(info) = file.tensors().get(&stored) else {
            let path = path();
            return Err(ModelError::MissingTensor { path, name: stored });
        };
        if info.shape != expected {
            return Err(ModelError::TensorShape {
                path: path(),
                name: stored,
                expected,
                found: info.shape.clone(),
            });
        }
        let tensor = change.undone(file.tensor(&stored)?, &expected, device)?;
        parameters.insert(name, tensor);
    }
    Ok(parameters)
}

/// The change that llama.cpp's converter makes to a tensor.
enum Change {
    None,
    /// In each of so many heads, rows that are rotated together are adjacent.
    Paired(usize),
    /// Gemma's 1 has been added to the weights of norms.
    FromZero,
    /// GPT-2's [in, out] is stored as [out, in], as in all other families.
    Transposed,
    /// GPT-NeoX's rows, stored head by head (query, key, value), are regrouped: all queries, all keys, all values.
    ByPart(usize),
}

impl Change {
    /// The change made to a parameter of a family.
    fn of(name: &str, architecture: &Architecture) -> Change {
        match architecture.family.as_str() {
            "llama" if name.contains("q_proj") => Change::Paired(architecture.heads),
            "llama" if name.contains("k_proj") => Change::Paired(architecture.kv_heads),
            "gpt2" if name.contains(".c_") && name.ends_with(".weight") => Change::Transposed,
            "gpt_neox" if name.contains("query_key_value") => Change::ByPart(architecture.heads),
            gemma if gemma.starts_with("gemma") && name.contains("norm") => Change::FromZero,
            _ => Change::None,
        }
    }

    /// The tensor as the family expects it, from the stored elements and shape.
    fn undone(self, values: Vec<f32>, shape: &[usize], device: &Device) -> Result<Tensor> {
        let tensor = |values: Vec<f32>| Tensor::from_vec(values, shape, device);
        Ok(match self {
            Change::None => tensor(values)?,
            Change::Paired(heads) => tensor(unpermute(&values, shape, heads)?)?,
            Change::FromZero => (tensor(values)? - 1.0)?,
            Change::Transposed => tensor(values)?.t()?.contiguous()?,
            Change::ByPart(heads) => {
                let parts = tensor(values)?.reshape((3, heads, ()))?;
                parts.transpose(0, 1)?.contiguous()?.reshape(shape)?
            }
        })
    }
}

/// GGUF's name for a family's parameter.
fn stored_name(name: &str, post_norms: bool) -> Option<String> {
    let (module, kind) = name.rsplit_once('.')?;
    let stored = match module {
        "model.embed_tokens" | "wte" | "gpt_neox.embed_in" => "token_embd",
        "wpe" => "position_embd",
        "model.norm" | "ln_f" | "gpt_neox.final_layer_norm" => "output_norm",
        "lm_head" | "embed_out" => "output",
        _ => {
            let mut prefixes = ["model.layers.", "h.", "gpt_neox.layers."].iter();
            let rest = prefixes.find_map(|prefix| module.strip_prefix(prefix))?;
            let (layer, part) = rest.split_once('.')?;
            return Some(format!(
                "blk.{layer}.{}.{kind}",
                part_of_block(part, post_norms)?
            ));
        }
    };
    Some(format!("{stored}.{kind}"))
}

fn part_of_block(module: &str, post_norms: bool) -> Option<&'static str> {
    Some(match module {
        "input_layernorm" | "ln_1" => "attn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "attn.c_attn" | "attention.query_key_value" => "attn_qkv",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "self_attn.o_proj" | "attn.c_proj" | "attention.dense" => "attn_output",
        "post_attention_layernorm" if post_norms => "post_attention_norm",
        "post_attention_layernorm" | "pre_feedforward_layernorm" | "ln_2" => "ffn_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" | "mlp.c_fc" | "mlp.dense_h_to_4h" => "ffn_up",
        "mlp.down_proj" | "mlp.c_proj" | "mlp.dense_4h_to_h" => "ffn_down",
        "post_feedforward_layernorm" => "post_ffw_norm",
        _ => return None,
    })
}
