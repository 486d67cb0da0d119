//! Qwen 2 (Yang et al. 2024): Llama with biases on queries, keys and values. Qwen 3 (Yang et al. 2025): no biases, but
//! QK-norm. In both, later layers may have a sliding window.

use serde_json::{Map, Value};

use super::decoder::{Biases, Decoder};
use super::llama::base;
use super::rope::Rope;
use super::settings::Settings;
use crate::architecture::{Architecture, LayerAttention};

/// Reads a configuration.
///
/// # Errors
/// A message that names the invalid field.
pub(super) fn read(config: Map<String, Value>) -> Result<Decoder, String> {
    let settings = Settings(&config);
    let family = settings.text_or("model_type", "")?.to_owned();
    let third = family == "qwen3";
    let mut with_head = config.clone();
    if third && settings.get("head_dim").is_none() {
        with_head.insert("head_dim".to_owned(), 128.into());
    }
    let architecture = base(&with_head, family, Some(32))?;
    let layers = settings.layers("num_hidden_layers")?;
    let rotary = Rope::read(&config, None, 10_000.0)?.of_heads(architecture.d_head)?;
    let slides = slides(&settings, layers)?;
    let window = match slides.contains(&true) {
        true => Some(settings.size_or("sliding_window", Some(4096))?),
        false => None,
    };
    let attention = slides.into_iter().map(|slides| LayerAttention {
        scale: 1.0 / (architecture.d_head as f32).sqrt(),
        window: window.filter(|_| slides),
        rotary: Some(rotary.clone()),
    });
    let biased = third && settings.flag_or("attention_bias", false)?;
    let biases = Biases {
        qkv: !third || biased,
        attn_proj: biased,
        mlp: false,
    };
    let tied = settings.flag_or("tie_word_embeddings", false)?;
    Decoder {
        architecture: Architecture {
            query_key_norms: third,
            attention: attention.collect(),
            ..architecture
        },
        biases,
        tied,
        norm_from_one: false,
        config,
    }
    .checked()
}

/// Which layers have a sliding window: those listed, otherwise all from `max_window_layers` on.
fn slides(settings: &Settings<'_>, layers: usize) -> Result<Vec<bool>, String> {
    if !settings.flag_or("use_sliding_window", false)? {
        return Ok(vec![false; layers]);
    }
    if let Some(types) = settings.layer_types("layer_types", layers)? {
        return Ok(types.iter().map(|t| *t == "sliding_attention").collect());
    }
    let first = settings.number_or("max_window_layers", 28.0)?;
    Ok((0..layers).map(|layer| layer as f64 >= first).collect())
}
