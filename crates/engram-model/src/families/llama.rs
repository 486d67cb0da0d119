//! Llama (Touvron et al. 2023) and families laid out like it: Llama 2 and 3, SmolLM2, TinyLlama, and Mistral (Jiang et
//! al. 2023), which has a sliding window.

use serde_json::{Map, Value};

use super::decoder::{Biases, Decoder};
use super::rope::Rope;
use super::settings::Settings;
use crate::architecture::{Architecture, DropoutRates, LayerAttention, Normalisation};

/// Reads a configuration.
///
/// # Errors
/// A message that names the invalid field.
pub(super) fn read(config: Map<String, Value>) -> Result<Decoder, String> {
    let settings = Settings(&config);
    let family = settings.text_or("model_type", "")?.to_owned();
    let mistral = family == "mistral";
    let window = match settings.get("sliding_window") {
        // A missing field has Mistral's default; null means none.
        None if mistral && !config.contains_key("sliding_window") => Some(4096),
        Some(_) if mistral => Some(settings.size("sliding_window")?),
        _ => None,
    };
    let kv_heads = mistral.then_some(8);
    let architecture = base(&config, family, kv_heads)?;
    let rotary = Rope::read(&config, None, 10_000.0)?.of_heads(architecture.d_head)?;
    let attention = LayerAttention {
        scale: 1.0 / (architecture.d_head as f32).sqrt(),
        window,
        rotary: Some(rotary),
    };
    let attention = vec![attention; settings.layers("num_hidden_layers")?];
    let biased = !mistral && settings.flag_or("attention_bias", false)?;
    let biases = Biases {
        qkv: biased,
        attn_proj: biased,
        mlp: !mistral && settings.flag_or("mlp_bias", false)?,
    };
    let tied = settings.flag_or("tie_word_embeddings", false)?;
    Decoder {
        architecture: Architecture {
            attention,
            ..architecture
        },
        biases,
        tied,
        norm_from_one: false,
        config,
    }
    .checked()
}

/// The common part of families laid out like Llama, without layers. `kv_heads` is the default number of key-value heads
/// (`None`: as many as heads).
pub(super) fn base(
    config: &Map<String, Value>,
    family: String,
    kv_heads: Option<usize>,
) -> Result<Architecture, String> {
    let settings = Settings(config);
    let (heads, d_model) = (
        settings.size("num_attention_heads")?,
        settings.size("hidden_size")?,
    );
    let d_head = match settings.get("head_dim") {
        Some(_) => settings.size("head_dim")?,
        None if d_model.is_multiple_of(heads) => d_model / heads,
        None => {
            return Err(format!(
                "hidden_size {d_model} is not a multiple of num_attention_heads {heads}"
            ));
        }
    };
    Ok(Architecture {
        family,
        vocab: settings.size("vocab_size")?,
        context: settings.size("max_position_embeddings")?,
        longest: settings.size("max_position_embeddings")?,
        d_model,
        d_mlp: settings.size("intermediate_size")?,
        heads,
        kv_heads: settings.size_or("num_key_value_heads", kv_heads.or(Some(heads)))?,
        d_head,
        embed_scale: 1.0,
        learned_positions: false,
        normalisation: Normalisation::Rms,
        epsilon: settings.epsilon("rms_norm_eps", 1e-6)?,
        parallel: false,
        post_norms: false,
        query_key_norms: false,
        fused_qkv: false,
        activation: settings.activation("hidden_act", "silu")?,
        gated: true,
        score_cap: None,
        logit_cap: None,
        dropout: DropoutRates::default(),
        attention: Vec::new(),
    })
}
