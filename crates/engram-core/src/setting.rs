//! Settings of a sweep that are one of a few words.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{CoreError, Result};
use crate::range::Range;

/// Declares an enum whose variants are words: parsed, displayed, serialised and deserialised by that word.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::error::CoreError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok($name::$variant),)+
                    _ => Err($crate::error::CoreError::UnknownWord {
                        what: $what,
                        value: text.to_owned(),
                        known: [$($word),+].join(", "),
                    }),
                }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Which run is patched.
    Direction, "direction" {
        /// Clean activations into the corrupted run: which activations suffice to restore the answer.
        Denoise => "denoise",
        /// Corrupted activations into the clean run: which activations are necessary.
        Noise => "noise",
    }
}

words! {
    /// How positions of prompts of unequal length are matched.
    Align, "alignment" {
        /// Prompts of equal length, position by position.
        Strict => "strict",
        /// Positions counted from the end of the prompt.
        Last => "last",
        /// Subject with subject, aligned at its last token.
        Subject => "subject",
    }
}

words! {
    /// Where a site is patched.
    Positions, "choice of positions" {
        /// One cell for each position.
        Each => "each",
        /// One cell that covers all positions.
        All => "all",
        /// The answer position only.
        Last => "last",
        /// One cell that covers the subject's span.
        Subject => "subject",
    }
}

words! {
    /// How the positions of a row's two prompts were matched: what [`Align`] names, or the published script's way.
    RowAlign, "alignment" {
        /// [`Align::Strict`].
        Strict => "strict",
        /// [`Align::Last`].
        Last => "last",
        /// [`Align::Subject`].
        Subject => "subject",
        /// The published script's way: whole outputs overwritten, prompts of equal length.
        Overwrite => "overwrite",
    }
}

impl From<Align> for RowAlign {
    fn from(align: Align) -> RowAlign {
        match align {
            Align::Strict => RowAlign::Strict,
            Align::Last => RowAlign::Last,
            Align::Subject => RowAlign::Subject,
        }
    }
}

words! {
    /// A way of editing a fact.
    #[derive(Default)]
    Method, "method" {
        /// One rank-one change, by one mean key (Gupta et al. 2024).
        #[default]
        RRome => "r-rome",
        /// One rank-one change as published, by a mean key and the key of the prompt alone (Meng et al. 2022).
        Rome => "rome",
        /// Many edits over a range of layers (Meng et al. 2023).
        Memit => "memit",
        /// Many edits within the null space of preserved keys (Fang et al. 2025).
        AlphaEdit => "alphaedit",
        /// Fine-tuning within a bound.
        FtL => "ft-l",
        /// Fine-tuning of low rank.
        Lora => "lora",
    }
}

/// Standard deviations of noise.
const SPREAD: Range = Range::real(0.0, 1000.0).above();

words! {
    /// Whether a text gets the special tokens that the tokenizer puts at its beginning.
    Bos, "choice of begin-of-text" {
        /// As the checkpoint's tokenizer does.
        Auto => "auto",
        /// Always: begin-of-text is added even if the tokenizer does not add it.
        Always => "always",
        /// Never: texts as they are.
        Never => "never",
    }
}

/// What the corrupted run is. Two are equal where their noise has the same bits, so that it can be the key of a map.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Corruption {
    /// The pair's own corrupted prompt (symmetric token replacement).
    Swap,
    /// Gaussian noise on the subject's embeddings, in standard deviations of the suite's subject embeddings.
    Gaussian(f64),
    /// Another clean prompt of equal length.
    Resample,
    /// No corrupted run: the patched value is zero.
    Zero,
    /// No corrupted run: the patched value is its mean over a reference set.
    Mean,
}

impl Corruption {
    /// The place in the order of declaration, and the noise. `f64` has no total order of its own; `total_cmp` gives one,
    /// in which a larger factor is greater, and equality and hash follow it.
    fn order(&self) -> (u8, f64) {
        match self {
            Corruption::Swap => (0, 0.0),
            Corruption::Gaussian(k) => (1, *k),
            Corruption::Resample => (2, 0.0),
            Corruption::Zero => (3, 0.0),
            Corruption::Mean => (4, 0.0),
        }
    }
}

impl Ord for Corruption {
    fn cmp(&self, other: &Corruption) -> Ordering {
        let ((kind, noise), (other_kind, other_noise)) = (self.order(), other.order());
        kind.cmp(&other_kind).then(noise.total_cmp(&other_noise))
    }
}

impl PartialOrd for Corruption {
    fn partial_cmp(&self, other: &Corruption) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Corruption {
    fn eq(&self, other: &Corruption) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Corruption {}

impl Hash for Corruption {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (kind, noise) = self.order();
        (kind, noise.to_bits()).hash(state);
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Corruption::Swap => f.write_str("swap"),
            Corruption::Gaussian(k) => write!(f, "gaussian:{k}"),
            Corruption::Resample => f.write_str("resample"),
            Corruption::Zero => f.write_str("zero"),
            Corruption::Mean => f.write_str("mean"),
        }
    }
}

impl FromStr for Corruption {
    type Err = CoreError;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || CoreError::UnknownWord {
            what: "corruption",
            value: text.to_owned(),
            known: format!("swap, gaussian:K (K {SPREAD}), resample, zero, mean"),
        };
        match text {
            "swap" => Ok(Corruption::Swap),
            "resample" => Ok(Corruption::Resample),
            "zero" => Ok(Corruption::Zero),
            "mean" => Ok(Corruption::Mean),
            _ => {
                let k: f64 = text
                    .strip_prefix("gaussian:")
                    .and_then(|k| k.parse().ok())
                    .ok_or_else(unknown)?;
                match SPREAD.contains(k) {
                    true => Ok(Corruption::Gaussian(k)),
                    false => Err(unknown()),
                }
            }
        }
    }
}

impl From<Corruption> for String {
    fn from(value: Corruption) -> String {
        value.to_string()
    }
}

impl TryFrom<String> for Corruption {
    type Error = CoreError;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        for direction in Direction::ALL {
            assert_eq!(direction.name().parse::<Direction>().unwrap(), *direction);
        }
        for text in ["swap", "gaussian:3", "resample", "zero", "mean"] {
            assert_eq!(text.parse::<Corruption>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn corruptions_can_be_keys() {
        let [three, ten] = [Corruption::Gaussian(3.0), Corruption::Gaussian(10.0)];
        assert!(Corruption::Swap < three && three < ten && ten < Corruption::Mean);
        let keys = [three, "gaussian:3".parse().unwrap(), ten];
        assert_eq!(std::collections::HashSet::from(keys).len(), 2);
    }

    #[test]
    fn bad_words_name_the_good_ones() {
        let error = "sideways".parse::<Direction>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"sideways\" is not a direction; known: denoise, noise"
        );
        assert!("gaussian:-1".parse::<Corruption>().is_err());
        assert!("gaussian:nan".parse::<Corruption>().is_err());
    }
}
