//! Gemma (Gemma Team 2024): Llama with scaled embeddings and GELU. Gemma 2 adds norms after attention and MLP, soft
//! caps on scores and logits, and a sliding window in every other layer. Gemma 3 replaces the cap on scores by QK-norm
//! and has a window in five of six layers; layers with and without a window have different rotary embeddings.

use serde_json::{Map, Value};

use super::decoder::{Biases, Decoder};
use super::llama::base;
use super::rope::Rope;
use super::settings::{Settings, activation};
use crate::architecture::{Architecture, LayerAttention};
use crate::kernels::activation::Activation;

/// Reads a configuration.
///
/// # Errors
/// A message that names the invalid field.
pub(super) fn read(config: Map<String, Value>) -> Result<Decoder, String> {
    let settings = Settings(&config);
    let family = settings.text_or("model_type", "")?.to_owned();
    let number = match family.as_str() {
        "gemma" => 1,
        "gemma2" => 2,
        _ => 3,
    };
    if settings.flag_or("use_bidirectional_attention", false)? {
        return Err("use_bidirectional_attention is true; engram reads causal models".to_owned());
    }
    let mut filled = config.clone();
    filled.entry("head_dim").or_insert(256.into());
    filled.insert("hidden_act".to_owned(), "gelu_pytorch_tanh".into());
    let kv_heads = (number > 1).then_some(4);
    let architecture = base(&filled, family, kv_heads)?;
    let activation = match number {
        // The field says gelu and means the tanh approximation.
        1 => match settings.text_or("hidden_act", "gelu_pytorch_tanh")? {
            "gelu" => Activation::GeluNew,
            other => activation("hidden_act", other)?,
        },
        _ => settings.activation("hidden_activation", "gelu_pytorch_tanh")?,
    };
    let layers = settings.layers("num_hidden_layers")?;
    let scale = match number {
        1 => architecture.d_head as f64,
        _ => settings.number_or("query_pre_attn_scalar", 256.0)?,
    };
    if scale <= 0.0 {
        return Err(format!(
            "query_pre_attn_scalar is {scale:?}; expected a number above 0"
        ));
    }
    let slides = slides(&settings, number, layers)?;
    let window = match slides.contains(&true) {
        true => Some(settings.size_or("sliding_window", Some(4096))?),
        false => None,
    };
    let (full, sliding) = ropes(&config, number)?;
    let (full, sliding) = (
        full.of_heads(architecture.d_head)?,
        sliding.of_heads(architecture.d_head)?,
    );
    let attention = slides.into_iter().map(|slides| LayerAttention {
        scale: (1.0 / scale.sqrt()) as f32,
        window: window.filter(|_| slides),
        rotary: Some(if slides { &sliding } else { &full }.clone()),
    });
    let cap = |name: &str, most: f64| -> Result<Option<f32>, String> {
        // A missing field has the family's default; null means none.
        Ok(match config.contains_key(name) {
            true => settings.number(name)?.map(|cap| cap as f32),
            false => (number == 2).then_some(most as f32),
        })
    };
    let score_cap = match number {
        2 => cap("attn_logit_softcapping", 50.0)?,
        _ => None,
    };
    let logit_cap = match number {
        1 => None,
        _ => cap("final_logit_softcapping", 30.0)?,
    };
    let biased = settings.flag_or("attention_bias", false)?;
    let biases = Biases {
        qkv: biased,
        attn_proj: biased,
        mlp: false,
    };
    let tied = settings.flag_or("tie_word_embeddings", true)?;
    Decoder {
        architecture: Architecture {
            embed_scale: (architecture.d_model as f32).sqrt(),
            post_norms: number > 1,
            query_key_norms: number == 3,
            activation,
            score_cap,
            logit_cap,
            attention: attention.collect(),
            ..architecture
        },
        biases,
        tied,
        norm_from_one: true,
        config,
    }
    .checked()
}

fn slides(settings: &Settings<'_>, number: usize, layers: usize) -> Result<Vec<bool>, String> {
    if number == 1 {
        return Ok(vec![false; layers]);
    }
    if let Some(types) = settings.layer_types("layer_types", layers)? {
        return Ok(types.iter().map(|t| *t == "sliding_attention").collect());
    }
    let pattern = match number {
        2 => 2,
        _ => settings.size_or("sliding_window_pattern", Some(6))?,
    };
    Ok((1..=layers)
        .map(|layer| !layer.is_multiple_of(pattern))
        .collect())
}

/// Rotary embeddings of the layers without and with a sliding window.
fn ropes(config: &Map<String, Value>, number: usize) -> Result<(Rope, Rope), String> {
    if number < 3 {
        let rope = || Rope::read(config, None, 10_000.0);
        return Ok((rope()?, rope()?));
    }
    let settings = Settings(config);
    let full = Rope::read(config, Some("full_attention"), 1e6)?;
    let newer = settings.get("rope_parameters").and_then(Value::as_object);
    let sliding = match newer.is_some_and(|all| all.contains_key("sliding_attention")) {
        true => Rope::read(config, Some("sliding_attention"), 1e4)?,
        false => Rope::plain(config, settings.number_or("rope_local_base_freq", 1e4)?)?,
    };
    Ok((full, sliding))
}
