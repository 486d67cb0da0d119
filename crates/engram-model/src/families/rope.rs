//! Rotary frequencies from a configuration, in the old and in the new format of the transformers library.

use serde_json::{Map, Value};

use super::settings::Settings;
use crate::architecture::{LongFrequencies, LongPrompts, Rotary, frequencies};
use crate::error::shown;

/// Maximum number of rotated dimensions of a head; models have at most 256.
const MOST_WIDTH: usize = 1 << 16;

/// Fields of rotary scaling that are read, or that have no effect.
const KNOWN: [&str; 17] = [
    "rope_type",
    "type",
    "rope_theta",
    "factor",
    "original_max_position_embeddings",
    "low_freq_factor",
    "high_freq_factor",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
    "short_factor",
    "long_factor",
    "partial_rotary_factor",
    "finetuned",
];

/// The rotary settings of some layers.
pub(super) struct Rope {
    pub theta: f64,
    scaling: Map<String, Value>,
    /// Maximum context, and the pretraining context if given outside the scaling.
    context: Option<f64>,
    original: Option<f64>,
    /// Share of a head's dimensions that are rotated, if given outside the scaling.
    share: Option<f64>,
    /// Number of rotated dimensions, from [`ROTARY_DIM`].
    width: Option<usize>,
}

/// Field with the number of rotated dimensions of a head, if not all are. The transformers library has none for
/// families laid out like Llama; engram converts GGUF's `rope.dimension_count` to it.
pub(crate) const ROTARY_DIM: &str = "rotary_dim";

impl Rope {
    /// Reads `rope_parameters` (or its part for layers of kind `layers`), otherwise `rope_theta` and `rope_scaling`.
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
        let older = settings.get("rope_scaling").and_then(Value::as_object);
        let older = older.filter(|older| newer.is_none() || layers.is_none() && !older.is_empty());
        let scaling = older.or(newer).cloned().unwrap_or_default();
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
        Ok(Rope {
            scaling,
            ..Rope::plain(config, theta)?
        })
    }

    /// An unscaled rotary embedding with this base.
    pub fn plain(config: &Map<String, Value>, theta: f64) -> Result<Rope, String> {
        let settings = Settings(config);
        Ok(Rope {
            theta,
            scaling: Map::new(),
            context: settings.number("max_position_embeddings")?,
            original: settings.number("original_max_position_embeddings")?,
            share: settings.number("partial_rotary_factor")?,
            width: match settings.get(ROTARY_DIM) {
                Some(_) => Some(settings.size(ROTARY_DIM)?),
                None => None,
            },
        })
    }

    /// Share of a head's dimensions that are rotated, if the configuration has it.
    pub fn share(&self) -> Result<Option<f64>, String> {
        Settings(&self.scaling).number("partial_rotary_factor")
    }

    /// The rotary embedding of whole heads, for families laid out like Llama. A share below 1 is an error: the
    /// transformers library does not read it for these families.
    pub fn of_heads(&self, d_head: usize) -> Result<Rotary, String> {
        match self.share()?.or(self.share) {
            Some(share) if share != 1.0 => Err(format!(
                "partial_rotary_factor is {share:?}; in this family all dimensions of a head turn"
            )),
            _ => self.rotary(self.width.unwrap_or(d_head)),
        }
    }

    /// Frequencies of the first `width` dimensions of a head: θ^(−2i/width), scaled as configured, in float32 as in the
    /// transformers library.
    pub fn rotary(&self, width: usize) -> Result<Rotary, String> {
        if !width.is_multiple_of(2) || width == 0 {
            return Err(format!(
                "rotary embedding of {width} dimensions; expected an even number"
            ));
        }
        if width > MOST_WIDTH {
            return Err(format!(
                "rotary embedding of {width} dimensions; {MOST_WIDTH} is the most"
            ));
        }
        let plain: Vec<f32> = frequencies(self.theta as f32, width).collect();
        let scaling = Settings(&self.scaling);
        let kind = match scaling.get("rope_type") {
            Some(_) => scaling.text_or("rope_type", "default")?,
            None => scaling.text_or("type", "default")?,
        };
        let rotary = match kind {
            "default" => Rotary::of(plain),
            "linear" => {
                let factor = positive(&scaling, "factor")? as f32;
                Rotary::of(plain.iter().map(|f| f / factor).collect::<Vec<_>>())
            }
            "dynamic" => self.dynamic(plain)?,
            "yarn" => self.yarn(&plain)?,
            "longrope" => self.longrope(&plain)?,
            "llama3" => Rotary::of(self.llama3(&plain)?),
            other => {
                let other = shown(other);
                return Err(format!(
                    "rotary embedding scaled by \"{other}\" is not supported; default, linear, dynamic, yarn, longrope and \
                     llama3 are"
                ));
            }
        };
        let unread = self
            .scaling
            .keys()
            .find(|key| !KNOWN.contains(&key.as_str()));
        if let (Some(unread), true) = (unread, kind != "default") {
            return Err(format!(
                "rotary embedding scaled by \"{kind}\" with {}, which engram does not read",
                shown(unread)
            ));
        }
        let finite = |frequencies: &[f32]| frequencies.iter().all(|f| f.is_finite());
        let long = match &rotary.longer {
            Some(LongPrompts {
                frequencies: LongFrequencies::Fixed(long),
                ..
            }) => finite(long),
            _ => true,
        };
        if finite(&rotary.frequencies) && long && rotary.scale.is_finite() {
            Ok(rotary)
        } else {
            Err("rotary embedding with a factor too small to divide by".to_owned())
        }
    }

    /// The pretraining context.
    fn original(&self) -> Result<f64, String> {
        const NAME: &str = "original_max_position_embeddings";
        let found = match self.original {
            Some(outside) => Some(outside),
            None => Settings(&self.scaling).number(NAME)?.or(self.context),
        };
        match found {
            Some(value) if value > 0.0 => Ok(value),
            Some(value) => Err(format!("{NAME} is {value:?}; expected a number above 0")),
            None => Err(format!("scaled rotary embedding without {NAME}")),
        }
    }

    /// The factor by which the context was extended; if not given, the ratio to the pretraining context.
    fn factor(&self, original: f64) -> Result<f64, String> {
        let scaling = Settings(&self.scaling);
        match (scaling.number("factor")?, self.context) {
            (None, Some(context)) => Ok(context / original),
            _ => positive(&scaling, "factor"),
        }
    }

    /// Dynamic NTK scaling: unscaled within the context; beyond it the base grows with the prompt's length.
    fn dynamic(&self, plain: Vec<f32>) -> Result<Rotary, String> {
        let factor = positive(&Settings(&self.scaling), "factor")?;
        let above = self
            .context
            .ok_or("scaled rotary embedding without max_position_embeddings")?;
        if plain.len() < 2 {
            return Err("dynamic rotary embedding of 2 dimensions; it takes 4 at least".to_owned());
        }
        Ok(Rotary {
            longer: Some(LongPrompts {
                above: above as usize,
                frequencies: LongFrequencies::Dynamic {
                    theta: self.theta,
                    factor,
                },
            }),
            ..Rotary::of(plain)
        })
    }

    /// YaRN (Peng et al. 2023): frequencies with many periods in the pretraining context are kept, those with few are
    /// divided by the factor, with a ramp between.
    fn yarn(&self, plain: &[f32]) -> Result<Rotary, String> {
        let scaling = Settings(&self.scaling);
        let original = self.original()?;
        let factor = self.factor(original)?;
        let number = |name: &str| Ok::<_, String>(scaling.number(name)?.filter(|v| *v != 0.0));
        let grown = |times: f64| 1.0 + 0.1 * times * factor.max(1.0).ln();
        let scale = match (
            scaling.number("attention_factor")?,
            number("mscale")?,
            number("mscale_all_dim")?,
        ) {
            (Some(scale), ..) => scale,
            (None, Some(times), Some(of_all)) => grown(times) / grown(of_all),
            _ => grown(1.0),
        };
        let width = 2.0 * plain.len() as f64;
        // The dimension with this many periods in the pretraining context.
        let turning = |times: f64| {
            let waves = original / (times * 2.0 * std::f64::consts::PI);
            width * waves.ln() / (2.0 * self.theta.ln())
        };
        let mut low = turning(number("beta_fast")?.unwrap_or(32.0));
        let mut high = turning(number("beta_slow")?.unwrap_or(1.0));
        if scaling.flag_or("truncate", true)? {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(width - 1.0));
        if low == high {
            high += 0.001;
        }
        let scaled = |(i, frequency): (usize, &f32)| {
            let ramp = (i as f32 - low as f32) / (high - low) as f32;
            let kept = 1.0 - ramp.clamp(0.0, 1.0);
            frequency / factor as f32 * (1.0 - kept) + frequency * kept
        };
        let frequencies: Vec<f32> = plain.iter().enumerate().map(scaled).collect();
        Ok(Rotary {
            scale: scale as f32,
            ..Rotary::of(frequencies)
        })
    }

    /// LongRoPE (Ding et al. 2024): a factor for each frequency, with other factors beyond the pretraining context.
    fn longrope(&self, plain: &[f32]) -> Result<Rotary, String> {
        let scaling = Settings(&self.scaling);
        let original = self.original()?;
        let scale = match scaling.number("attention_factor")? {
            Some(scale) => scale,
            None => match self.factor(original)? {
                factor if factor <= 1.0 => 1.0,
                factor => (1.0 + factor.ln() / original.ln()).sqrt(),
            },
        };
        let divided = |name: &str| {
            let list = scaling.get(name).and_then(Value::as_array);
            let factors = list.map(|l| l.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>());
            let factors = factors.flatten().filter(|f| f.len() == plain.len());
            let factors = factors.ok_or_else(|| {
                let n = plain.len();
                format!("{name}: expected {n} numbers, one for each frequency")
            })?;
            let each = plain.iter().zip(factors);
            Ok::<Vec<f32>, String>(each.map(|(f, factor)| f / factor as f32).collect())
        };
        Ok(Rotary {
            scale: scale as f32,
            longer: Some(LongPrompts {
                above: original as usize,
                frequencies: LongFrequencies::Fixed(divided("long_factor")?.into()),
            }),
            ..Rotary::of(divided("short_factor")?)
        })
    }

    /// Llama 3.1: low frequencies are divided by a factor, high ones kept, with a ramp between.
    fn llama3(&self, plain: &[f32]) -> Result<Vec<f32>, String> {
        let scaling = Settings(&self.scaling);
        let factor = positive(&scaling, "factor")? as f32;
        let low = positive(&scaling, "low_freq_factor")? as f32;
        let high = positive(&scaling, "high_freq_factor")? as f32;
        let old = self.original()? as f32;
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
