//! Settings of edits: one flat table of named numbers for all methods.

pub use engram_core::Method;
use engram_core::{OutOfRange, Range};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::covariance::SampleSettings;
use crate::error::{EditError, Result};
use crate::finetune::{ChangeLimit, FineTuning};
use crate::least_squares::Lambda;
use crate::memit::MemitSettings;
use crate::optimise::Optimisation;
use crate::prefixes::PrefixSettings;

/// Settings of every method; each reads those that it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditSettings {
    /// Adam's learning rate.
    pub rate: f64,
    /// Maximum number of evaluations of the loss.
    pub steps: usize,
    /// Loss below which an optimisation stops.
    pub stop: f64,
    /// Weight of the KL divergence for "{subject} is a" (all but FT-L and LoRA).
    pub kl: f64,
    /// Weight of ‖δ‖ / ‖v₀‖² (all but FT-L and LoRA).
    pub decay: f64,
    /// Upper bound of ‖δ‖ / ‖v₀‖ (all but FT-L and LoRA).
    pub clamp: f64,
    /// Added to the covariance's diagonal, as a multiple of its mean (all but FT-L and LoRA).
    pub ridge: f64,
    /// Maximum number of tokens in the covariance's sample (all but FT-L and LoRA).
    pub sample_tokens: usize,
    /// Whether each text of the sample is followed by its sentences, each a text by itself (all but FT-L and LoRA).
    pub sentences: bool,
    /// Least lead, in nats, of each token of the new answer over all others in every prompt of the loss, at which an
    /// optimisation stops too (0: it does not; all but FT-L and LoRA).
    pub margin: f64,
    /// Whether `rate`, `decay` and `clamp` are multiples of the residual stream's norm (all but FT-L and LoRA).
    pub relative: bool,
    /// Upper bound of ‖ΔW‖ / ‖W‖ (R-ROME).
    pub norm: f64,
    /// λ: the covariance's weight in tokens (MEMIT), or a squared length of keys (AlphaEdit). 0: chosen at each layer by
    /// `share`.
    pub lambda: f64,
    /// The mean share of its residual that a fact's own key realises at a layer, by which λ is chosen (MEMIT, AlphaEdit).
    pub share: f64,
    /// The share of the covariance's trace that the preserved directions hold (AlphaEdit).
    #[serde(default = "energy")]
    pub energy: f64,
    /// Bound of each element of a change (FT-L).
    pub bound: f64,
    /// Rank of a change (LoRA).
    pub rank: usize,
    /// Number of prefixes of 5 tokens, and of prefixes of 10 tokens (all but FT-L and LoRA).
    pub prefixes: usize,
    /// Random seed of the prefixes and of LoRA's first factor.
    pub seed: u64,
}

impl EditSettings {
    /// The settings of a method: of ROME and of fine-tuning as published for GPT-2 XL or GPT-J where they have them, of
    /// R-ROME, MEMIT and AlphaEdit relative to the model (`docs/editing.md` derives them).
    pub fn of(method: Method) -> EditSettings {
        let optimisation = match method {
            Method::RRome => Optimisation::relative(),
            Method::Memit | Method::AlphaEdit => MemitSettings::default().optimisation,
            _ => Optimisation::default(),
        };
        let tuning = match method {
            Method::Lora => FineTuning::low_rank(),
            _ => FineTuning::bounded(),
        };
        let (rate, steps, stop) = match method {
            Method::RRome | Method::Rome | Method::Memit | Method::AlphaEdit => {
                (optimisation.rate, optimisation.steps, optimisation.stop)
            }
            Method::FtL | Method::Lora => (tuning.rate, tuning.steps, tuning.stop),
        };
        let memit = MemitSettings::default();
        EditSettings {
            rate,
            steps,
            stop,
            kl: optimisation.kl,
            decay: optimisation.decay,
            clamp: optimisation.clamp,
            ridge: 1e-4,
            sample_tokens: 100_000,
            sentences: false,
            margin: optimisation.margin,
            relative: optimisation.relative,
            norm: 10.0,
            lambda: memit.lambda,
            share: memit.share,
            energy: energy(),
            bound: 5e-4,
            rank: 8,
            prefixes: 10,
            seed: 0,
        }
    }

    /// Whether a method reads a setting.
    pub fn is_read(method: Method, name: &str) -> bool {
        let spread = matches!(method, Method::Memit | Method::AlphaEdit);
        match name {
            "rate" | "steps" | "stop" => true,
            "seed" => method != Method::FtL,
            "bound" => method == Method::FtL,
            "rank" => method == Method::Lora,
            "norm" => method == Method::RRome,
            "lambda" | "share" => spread,
            "energy" => method == Method::AlphaEdit,
            _ => !matches!(method, Method::FtL | Method::Lora),
        }
    }

    /// Sets one value of a method by name, from text.
    ///
    /// # Errors
    /// [`EditError::Setting`] for a name that does not exist, a setting that the method does not read, or a value outside
    /// its range.
    pub fn set(&mut self, method: Method, name: &str, value: &str) -> Result<()> {
        let wrong = |expected: String| EditError::Setting {
            name: name.to_owned(),
            value: value.to_owned(),
            expected,
        };
        let mut fields = match serde_json::to_value(&*self) {
            Ok(Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let Some(field) = fields.get_mut(name) else {
            let known: Vec<&str> = fields.keys().map(String::as_str).collect();
            return Err(wrong(format!(
                "no such setting; known: {}",
                known.join(", ")
            )));
        };
        if !EditSettings::is_read(method, name) {
            let all = EditSettings::NAMES.into_iter();
            let read: Vec<&str> = all
                .filter(|name| EditSettings::is_read(method, name))
                .collect();
            return Err(wrong(format!(
                "{method} does not read it; it reads {}",
                read.join(", ")
            )));
        }
        let expected = match field {
            Value::Bool(_) => "expected true or false",
            Value::Number(n) if n.is_u64() => "expected a whole number",
            _ => "expected a number",
        };
        if let Some((_, range)) = EditSettings::RANGES.iter().find(|(n, _)| *n == name) {
            range.parse::<f64>(name, value).map_err(refused)?;
        }
        let wrong_kind = || wrong(expected.to_owned());
        *field = serde_json::from_str(value).map_err(|_| wrong_kind())?;
        let laid: EditSettings =
            serde_json::from_value(Value::Object(fields)).map_err(|_| wrong_kind())?;
        laid.check()?;
        *self = laid;
        Ok(())
    }

    /// Names of all settings.
    pub const NAMES: [&'static str; 19] = [
        "rate",
        "steps",
        "stop",
        "kl",
        "decay",
        "clamp",
        "ridge",
        "sample_tokens",
        "sentences",
        "margin",
        "relative",
        "norm",
        "lambda",
        "share",
        "energy",
        "bound",
        "rank",
        "prefixes",
        "seed",
    ];

    /// Allowed values of the numeric settings; any seed is allowed.
    pub const RANGES: [(&'static str, Range); 16] = [
        ("rate", Range::real(0.0, 100.0).above()),
        ("steps", Range::whole(1, 100_000)),
        ("stop", Range::real(0.0, 1e6)),
        ("kl", Range::real(0.0, 1e6)),
        ("decay", Range::real(0.0, 1e6)),
        ("clamp", Range::real(0.0, 1e6).above()),
        ("ridge", Range::real(0.0, 1e3)),
        ("sample_tokens", Range::whole(1, 1_000_000_000)),
        ("margin", Range::real(0.0, 1e3)),
        ("norm", Range::real(0.0, 1e6).above()),
        ("lambda", Range::real(0.0, 1e9)),
        ("share", Range::real(0.0, 1.0).above().below()),
        ("energy", Range::real(0.0, 1.0).above().below()),
        ("bound", Range::real(0.0, 1e6).above()),
        ("rank", Range::whole(1, 4096)),
        ("prefixes", Range::whole(0, 1000)),
    ];

    fn check(&self) -> Result<()> {
        let values = [
            self.rate,
            self.steps as f64,
            self.stop,
            self.kl,
            self.decay,
            self.clamp,
            self.ridge,
            self.sample_tokens as f64,
            self.margin,
            self.norm,
            self.lambda,
            self.share,
            self.energy,
            self.bound,
            self.rank as f64,
            self.prefixes as f64,
        ];
        for ((name, range), value) in EditSettings::RANGES.into_iter().zip(values) {
            range.check(name, value).map_err(refused)?;
        }
        Ok(())
    }

    /// The settings of the optimisation, for ROME and for MEMIT's z.
    pub fn optimisation(&self) -> Optimisation {
        Optimisation {
            rate: self.rate,
            steps: self.steps,
            stop: self.stop,
            kl: self.kl,
            decay: self.decay,
            clamp: self.clamp,
            margin: self.margin,
            relative: self.relative,
        }
    }

    /// λ of MEMIT and AlphaEdit.
    pub fn lambda(&self) -> Lambda {
        match self.lambda > 0.0 {
            true => Lambda::Tokens(self.lambda),
            false => Lambda::Share(self.share),
        }
    }

    /// The settings of the covariance's sample.
    pub fn sample_settings(&self) -> SampleSettings {
        SampleSettings {
            tokens: self.sample_tokens,
            sentences: self.sentences,
        }
    }

    /// The settings of the prefixes.
    pub fn prefixes(&self) -> PrefixSettings {
        PrefixSettings {
            groups: vec![(self.prefixes, 5), (self.prefixes, 10)],
            seed: self.seed,
        }
    }

    /// The settings of FT-L or LoRA.
    pub fn fine_tuning(&self, method: Method) -> FineTuning {
        FineTuning {
            form: match method {
                Method::Lora => ChangeLimit::LowRank { rank: self.rank },
                _ => ChangeLimit::Bounded { bound: self.bound },
            },
            rate: self.rate,
            steps: self.steps,
            stop: self.stop,
            seed: self.seed,
        }
    }
}

/// The default of `energy`. On 100 facts of the quickstart's model at once (layers 0 to 4) 0.8 gives a greater efficacy and
/// a lower perplexity than 0.98.
fn energy() -> f64 {
    0.8
}

fn refused(error: OutOfRange) -> EditError {
    EditError::Setting {
        name: error.key,
        value: error.value,
        expected: format!("expected {}", error.range),
    }
}
