//! Typed access to the fields of a `config.json`; errors name the field.

use serde_json::{Map, Value};

use crate::architecture::Architecture;
use crate::error::shown;
use crate::kernels::activation::Activation;

type Result<T> = std::result::Result<T, String>;

/// Maximum size; larger ones are rejected before anything is allocated.
pub(super) const MOST: usize = 1 << 24;
/// Maximum number of layers: the table of parameters is made before the weights are read.
pub(super) const MOST_LAYERS: usize = 4096;

/// A configuration's fields. A field that is null counts as missing.
pub(super) struct Settings<'a>(pub &'a Map<String, Value>);

impl Settings<'_> {
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|v| !v.is_null())
    }

    /// A size of at least 1.
    pub fn size(&self, name: &str) -> Result<usize> {
        self.size_or(name, None)
    }

    /// A size of at least 1, or `default` if the field is missing.
    pub fn size_or(&self, name: &str, default: Option<usize>) -> Result<usize> {
        let Some(value) = self.get(name) else {
            return default.ok_or_else(|| format!("{name} is missing"));
        };
        let size = value.as_u64().and_then(|v| usize::try_from(v).ok());
        size.filter(|size| (1..=MOST).contains(size))
            .ok_or_else(|| wrong(name, value, &format!("a whole number from 1 to {MOST}")))
    }

    pub fn number_or(&self, name: &str, default: f64) -> Result<f64> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => (value.as_f64())
                .filter(|v| v.is_finite())
                .ok_or_else(|| wrong(name, value, "a number")),
        }
    }

    /// An optional number.
    pub fn number(&self, name: &str) -> Result<Option<f64>> {
        match self.get(name) {
            None => Ok(None),
            Some(_) => self.number_or(name, 0.0).map(Some),
        }
    }

    pub fn flag_or(&self, name: &str, default: bool) -> Result<bool> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| wrong(name, value, "true or false")),
        }
    }

    pub fn text_or<'b>(&'b self, name: &str, default: &'b str) -> Result<&'b str> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => value.as_str().ok_or_else(|| wrong(name, value, "a text")),
        }
    }

    /// ε of the norms.
    pub fn epsilon(&self, name: &str, default: f64) -> Result<f64> {
        let epsilon = self.number_or(name, default)?;
        match epsilon > 0.0 && epsilon < 1.0 {
            true => Ok(epsilon),
            false => Err(format!(
                "{name} is {epsilon:?}; expected a number from 0 to 1"
            )),
        }
    }

    pub fn layers(&self, name: &str) -> Result<usize> {
        let layers = self.size(name)?;
        match layers <= MOST_LAYERS {
            true => Ok(layers),
            false => Err(format!("{name} is {layers}; expected 1 to {MOST_LAYERS}")),
        }
    }

    pub fn activation(&self, name: &str, default: &str) -> Result<Activation> {
        activation(name, self.text_or(name, default)?)
    }

    /// A list of words, one for each layer.
    pub fn layer_types(&self, name: &str, layers: usize) -> Result<Option<Vec<&str>>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let list = value.as_array();
        let words = list.map(|l| l.iter().map(Value::as_str).collect::<Option<Vec<&str>>>());
        let words = words.flatten().filter(|w| w.len() == layers);
        words
            .map(Some)
            .ok_or_else(|| format!("{name}: expected {layers} words, one for each layer"))
    }
}

fn wrong(name: &str, value: &Value, expected: &str) -> String {
    format!(
        "{name} is {}; expected {expected}",
        shown(&value.to_string())
    )
}

/// Fields that affect other families and none that engram reads.
const OF_OTHER_FAMILIES: [&str; 16] = [
    "alibi",
    "attention_multiplier",
    "attn_temperature_tuning",
    "clip_qkv",
    "embedding_multiplier",
    "logit_scale",
    "logits_scaling",
    "n_routed_experts",
    "no_rope_layers",
    "num_experts",
    "num_local_experts",
    "qk_layernorm",
    "residual_multiplier",
    "rope_interleaved",
    "use_alibi",
    "use_qk_norm",
];

/// Fails for fields that imply another computation, unless their value has no effect. The transformers library would
/// ignore them without a warning.
pub(super) fn refuse_of_other_families(config: &Map<String, Value>) -> Result<()> {
    for name in OF_OTHER_FAMILIES {
        let value = config.get(name).unwrap_or(&Value::Null);
        let neutral = match value {
            Value::Null | Value::Bool(false) => true,
            Value::Number(number) => number.as_f64().is_some_and(|v| v == 0.0 || v == 1.0),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        if !neutral {
            let value = shown(&value.to_string());
            return Err(format!(
                "{name} is {value}, which no model of this family uses"
            ));
        }
    }
    Ok(())
}

/// An activation function by its name in the transformers library.
pub(super) fn activation(field: &str, name: &str) -> Result<Activation> {
    Ok(match name {
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Activation::GeluNew,
        "gelu" => Activation::Gelu,
        "relu" => Activation::Relu,
        "silu" | "swish" => Activation::Silu,
        other => {
            let other = shown(other);
            return Err(format!(
                "{field} \"{other}\" is not supported; gelu_new, gelu_pytorch_tanh, gelu, relu and silu are"
            ));
        }
    })
}

/// Checks what the forward pass assumes.
pub(super) fn check(architecture: &Architecture) -> Result<()> {
    let a = architecture;
    if !a.heads.is_multiple_of(a.kv_heads) {
        return Err(format!(
            "{} attention heads are not a multiple of {} key-value heads",
            a.heads, a.kv_heads
        ));
    }
    for layer in &a.attention {
        if let Some(rotary) = &layer.rotary
            && 2 * rotary.frequencies.len() > a.d_head
        {
            return Err(format!(
                "rotary embedding of {} dimensions in heads of {}",
                2 * rotary.frequencies.len(),
                a.d_head
            ));
        }
        if layer.window == Some(0) || !(layer.scale.is_finite() && layer.scale > 0.0) {
            return Err("the attention window or the factor on scores is 0".to_owned());
        }
    }
    for cap in [a.score_cap, a.logit_cap].into_iter().flatten() {
        if !(cap > 0.0 && cap.is_finite()) {
            return Err(format!("soft-capping at {cap}; expected a number above 0"));
        }
    }
    Ok(())
}
