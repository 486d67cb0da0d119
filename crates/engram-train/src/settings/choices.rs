//! Settings that are one of a few words: `sequences`, `decay`, `precision`.

use engram_model::kernels::{Products, bfloat16};
use serde::{Deserialize, Serialize};

/// How texts become sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sequences {
    /// One sequence per text, truncated to `max_length`.
    Truncate,
    /// Each text is cut into sequences of `max_length`; the last one is padded.
    Chunk,
    /// All texts are joined, an end-of-text token before each, and sequences of `max_length` are cut at random places.
    Crop,
}

/// How the learning rate decays after warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Linearly from the end of warm-up to the last step.
    #[default]
    Linear,
    /// Half a cosine from the first step to the last, multiplied by the warm-up.
    Cosine,
}

/// Number format of the forward and backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// float32.
    Fp32,
    /// float16 mixed with float32; falls back to float32 on a CPU.
    Fp16,
    /// Products with weights in bfloat16, sums and everything else in float32. Falls back to float32 on a GPU and on
    /// processors without an instruction for it.
    Bf16,
}

impl Precision {
    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Fp16 => "fp16",
            Precision::Bf16 => "bf16",
        }
    }

    /// The precision that this machine uses for it.
    pub fn used(self) -> Precision {
        match self {
            Precision::Bf16 if bfloat16::available() => Precision::Bf16,
            _ => Precision::Fp32,
        }
    }

    /// The format of products with weights.
    pub fn products(self) -> Products {
        match self.used() {
            Precision::Bf16 => Products::Bfloat16,
            _ => Products::Float32,
        }
    }

    /// The reason for a fallback; `None` without one.
    pub(super) fn fallen(self) -> Option<&'static str> {
        match (self, self.used()) {
            (Precision::Fp16, _) => Some("float16 falls back to float32 on a CPU"),
            (Precision::Bf16, Precision::Fp32) => {
                Some("bfloat16 falls back to float32 on a processor without an instruction for it")
            }
            _ => None,
        }
    }
}
