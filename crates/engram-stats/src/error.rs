//! What can be wrong with the numbers handed to a statistic.

use thiserror::Error;

/// Why a statistic could not be computed. `what` names the argument.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum StatsError {
    /// Fewer observations than the statistic is defined for.
    #[error("{what}: needs at least {needed}, found {found}")]
    TooFew {
        /// The argument, and what is counted in it.
        what: &'static str,
        /// The least number that would do.
        needed: usize,
        /// The number given.
        found: usize,
    },
    /// A NaN or an infinity among the values.
    #[error("{what}: value {index} is {value}, expected a finite number")]
    NotFinite {
        /// The argument.
        what: &'static str,
        /// Position of the value, from 0.
        index: usize,
        /// The value.
        value: f64,
    },
    /// Two arguments, or two rows, that must be equally long are not.
    #[error("{what}: expected {expected} values, found {found}")]
    Length {
        /// The argument or row that differs.
        what: String,
        /// The length of the one it is held against.
        expected: usize,
        /// Its own length.
        found: usize,
    },
    /// A value outside of its range.
    #[error("{what}: expected {expected}, found {value}")]
    OutOfRange {
        /// The argument.
        what: &'static str,
        /// The range, in words.
        expected: &'static str,
        /// The value given.
        value: f64,
    },
    /// All values are the same where the statistic divides by their spread.
    #[error("{what}: the values do not vary, so the statistic is undefined")]
    NoVariation {
        /// The argument.
        what: &'static str,
    },
    /// The denominator of a ratio is zero, or is zero or of the other sign in
    /// some resamples: the ratio has no interval.
    #[error("denominator of the ratio: zero or of both signs in {found} of {of} resamples")]
    UnstableDenominator {
        /// Resamples in which it is zero or of the other sign.
        found: usize,
        /// Resamples drawn; 0 if the denominator of the sample itself is zero.
        of: usize,
    },
    /// Too few relations of a kind for a verdict between kinds.
    #[error(
        "kinds cannot be compared over {found_a} and {found_b} relations: needs at least {needed} of each kind"
    )]
    TooFewRelations {
        /// Relations of the first kind.
        found_a: usize,
        /// Relations of the second kind.
        found_b: usize,
        /// The least number of each, [`crate::MIN_RELATIONS_PER_KIND`].
        needed: usize,
    },
}

/// Refuses slices shorter than `needed` and values that are not finite.
pub(crate) fn check(x: &[f64], what: &'static str, needed: usize) -> Result<(), StatsError> {
    if x.len() < needed {
        return Err(StatsError::TooFew {
            what,
            needed,
            found: x.len(),
        });
    }
    match x.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(index) => Err(StatsError::NotFinite {
            what,
            index,
            value: x[index],
        }),
    }
}

/// Refuses a number of permutations or resamples below `needed`.
pub(crate) fn check_count(
    count: usize,
    what: &'static str,
    needed: usize,
) -> Result<(), StatsError> {
    if count < needed {
        return Err(StatsError::TooFew {
            what,
            needed,
            found: count,
        });
    }
    Ok(())
}

/// Refuses a confidence level outside of (0, 1).
pub(crate) fn check_level(level: f64) -> Result<(), StatsError> {
    if level > 0.0 && level < 1.0 {
        return Ok(());
    }
    Err(StatsError::OutOfRange {
        what: "level",
        expected: "a number between 0 and 1, both excluded",
        value: level,
    })
}
