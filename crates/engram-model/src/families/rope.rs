//! Rotary embedding's frequencies from a configuration, in the older and in the newer style of the transformers library.

use serde_json::{Map, Value};

use super::settings::Settings;
use crate::architecture::Rotary;
use crate::error::shown;

/// What a configuration says of rotary embedding for some layers.
pub(super) struct Rope {
    pub theta: f64,
    scaling: Map<String, Value>,
}

impl Rope {
    /// `rope_parameters` (or, of it, the part for layers of kind `layers`), else `rope_theta` and `rope_scaling`.
    pub fn read(
        config: &Map<String, Value>,
        layers: Option<&str>,
        default_theta: f64,
    ) -> Result<Rope, String> {
        let settings = Settings(config);
        let newer = settings.get("rope_parameters").and_then(Value::as_object);
        let newer = newer.map(|all| {
            let part = layers
                .and_then(|kind| all.get(kind))
                .and_then(Value::as_object);
            part.unwrap_or(all)
        });
        let scaling = match newer {
            Some(parameters) => parameters.clone(),
            None => {
                let older = settings.get("rope_scaling").and_then(Value::as_object);
                older.cloned().unwrap_or_default()
            }
        };
        let theta = Settings(&scaling).number("rope_theta")?;
        let theta = match theta {
            Some(theta) => theta,
            None => settings.number_or("rope_theta", default_theta)?,
        };
        if theta <= 1.0 {
            return Err(format!(
                "rope_theta is {theta:?}; expected a number above 1"
            ));
        }
        Ok(Rope { theta, scaling })
    }

    /// A base of its own, unscaled.
    pub fn plain(theta: f64) -> Rope {
        Rope {
            theta,
            scaling: Map::new(),
        }
    }

    /// The share of a head's dimensions that turn, where this configuration says so.
    pub fn share(&self) -> Result<Option<f64>, String> {
        Settings(&self.scaling).number("partial_rotary_factor")
    }

    /// Frequencies of the first `width` dimensions of a head: θ^(−2i/width), scaled as asked. In float32, as the
    /// transformers library has them.
    pub fn rotary(&self, width: usize) -> Result<Rotary, String> {
        if !width.is_multiple_of(2) || width == 0 {
            return Err(format!(
                "rotary embedding of {width} dimensions; expected an even number"
            ));
        }
        let frequency = |i: usize| {
            let power = (2 * i) as f32 / width as f32;
            1.0 / (self.theta as f32).powf(power)
        };
        let plain: Vec<f32> = (0..width / 2).map(frequency).collect();
        let scaling = Settings(&self.scaling);
        let kind = match scaling.get("rope_type") {
            Some(_) => scaling.text_or("rope_type", "default")?,
            None => scaling.text_or("type", "default")?,
        };
        let frequencies = match kind {
            "default" => plain,
            "linear" => {
                let factor = positive(&scaling, "factor")? as f32;
                plain.iter().map(|f| f / factor).collect()
            }
            "llama3" => self.llama3(&plain)?,
            other => {
                let other = shown(other);
                return Err(format!(
                    "rotary embedding scaled by \"{other}\" is not supported; default, linear and llama3 are"
                ));
            }
        };
        match frequencies.iter().all(|f| f.is_finite()) {
            true => Ok(Rotary {
                frequencies: frequencies.into(),
            }),
            false => Err("rotary embedding with a factor too small to divide by".to_owned()),
        }
    }

    /// Llama 3.1's: long waves divided by a factor, short ones kept, a ramp between them.
    fn llama3(&self, plain: &[f32]) -> Result<Vec<f32>, String> {
        let scaling = Settings(&self.scaling);
        let factor = positive(&scaling, "factor")? as f32;
        let low = positive(&scaling, "low_freq_factor")? as f32;
        let high = positive(&scaling, "high_freq_factor")? as f32;
        let old = positive(&scaling, "original_max_position_embeddings")? as f32;
        if low >= high {
            return Err(format!(
                "low_freq_factor {low} is not below high_freq_factor {high}"
            ));
        }
        let scaled = |&frequency: &f32| {
            let wave = 2.0 * std::f32::consts::PI / frequency;
            if wave < old / high {
                frequency
            } else if wave > old / low {
                frequency / factor
            } else {
                let smooth = (old / wave - low) / (high - low);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        };
        Ok(plain.iter().map(scaled).collect())
    }
}

fn positive(settings: &Settings<'_>, name: &str) -> Result<f64, String> {
    match settings.number(name)? {
        Some(value) if value > 0.0 => Ok(value),
        Some(value) => Err(format!("{name} is {value:?}; expected a number above 0")),
        None => Err(format!("scaled rotary embedding without {name}")),
    }
}
