//! Power of t tests, and the number of units needed for an effect.
//!
//! This crate's tests are rank, sign-flip and permutation tests. For nearly normal values their power is that of t, or
//! a few percent less, so the numbers here are minimum numbers.

use crate::error::{StatsError, check_open_unit};
use crate::student::{noncentral_t_upper, t_critical, where_falling};

/// An upper bound on the units of any study.
const MOST_UNITS: usize = 100_000_000;

/// Power of a two-sided paired t test at `alpha` for an effect of Cohen's `d` (mean over standard deviation of the
/// differences), with `n` independent pairs: both tails of the noncentral t on n − 1 degrees of freedom with
/// noncentrality d √n. If pairs share facts or relations, `n` is the number of clusters and `d` that of their means.
///
/// # Errors
/// `d` is not finite, `n` below 2, or `alpha` outside of (0, 1).
pub fn power_paired(d: f64, n: usize, alpha: f64) -> Result<f64, StatsError> {
    check_effect(d)?;
    check_units(n, "n")?;
    check_open_unit(alpha, "alpha")?;
    Ok(paired(d, n, alpha))
}

/// Power of a two-sided t test at `alpha` for a difference of `d` pooled standard deviations between two groups of
/// `n_a` and `n_b` independent units, such as relations of two kinds.
///
/// # Errors
/// `d` is not finite, a group below 2, or `alpha` outside of (0, 1).
pub fn power_two_groups(d: f64, n_a: usize, n_b: usize, alpha: f64) -> Result<f64, StatsError> {
    check_effect(d)?;
    check_units(n_a, "n_a")?;
    check_units(n_b, "n_b")?;
    check_open_unit(alpha, "alpha")?;
    Ok(two_groups(d, n_a, n_b, alpha))
}

/// The smallest number of pairs (or clusters) for which [`power_paired`] is at least `power`, such as 0.8.
///
/// # Errors
/// `d` is zero or not finite, or so small that more than 100 million pairs are needed; `alpha` or `power` outside of
/// (0, 1).
pub fn pairs_needed(d: f64, alpha: f64, power: f64) -> Result<usize, StatsError> {
    needed(d, alpha, power, |n| paired(d, n, alpha))
}

/// The smallest number of relations of each of two kinds for which [`power_two_groups`] is at least `power`.
///
/// # Errors
/// Those of [`pairs_needed`].
pub fn relations_needed(d: f64, alpha: f64, power: f64) -> Result<usize, StatsError> {
    needed(d, alpha, power, |n| two_groups(d, n, n, alpha))
}

/// The smallest d > 0 that `n` pairs (or clusters) detect with `power`.
///
/// # Errors
/// `n` below 2, `alpha` or `power` outside of (0, 1), or `power` below `alpha`, which needs no effect.
pub fn smallest_effect_paired(n: usize, alpha: f64, power: f64) -> Result<f64, StatsError> {
    check_units(n, "n")?;
    check_power(alpha, power)?;
    Ok(where_falling(1.0 - power, |d| 1.0 - paired(d, n, alpha)))
}

/// The smallest d > 0 that groups of `n_a` and `n_b` units detect with `power`.
///
/// # Errors
/// A group below 2, `alpha` or `power` outside of (0, 1), or `power` below `alpha`, which needs no effect.
pub fn smallest_effect_two_groups(
    n_a: usize,
    n_b: usize,
    alpha: f64,
    power: f64,
) -> Result<f64, StatsError> {
    check_units(n_a, "n_a")?;
    check_units(n_b, "n_b")?;
    check_power(alpha, power)?;
    Ok(where_falling(1.0 - power, |d| {
        1.0 - two_groups(d, n_a, n_b, alpha)
    }))
}

fn paired(d: f64, n: usize, alpha: f64) -> f64 {
    both_tails((n - 1) as f64, d * (n as f64).sqrt(), alpha)
}

fn two_groups(d: f64, n_a: usize, n_b: usize, alpha: f64) -> f64 {
    let (a, b) = (n_a as f64, n_b as f64);
    both_tails(a + b - 2.0, d * (a * b / (a + b)).sqrt(), alpha)
}

fn both_tails(df: f64, delta: f64, alpha: f64) -> f64 {
    let critical = t_critical(alpha, df);
    let upper = noncentral_t_upper(critical, df, delta);
    (upper + noncentral_t_upper(critical, df, -delta)).min(1.0)
}

/// The least n with `power_of(n)` ≥ `power`; power grows with n.
fn needed(
    d: f64,
    alpha: f64,
    power: f64,
    power_of: impl Fn(usize) -> f64,
) -> Result<usize, StatsError> {
    check_effect(d)?;
    check_open_unit(alpha, "alpha")?;
    check_open_unit(power, "power")?;
    let (mut too_few, mut enough) = (1, 2);
    while power_of(enough) < power {
        if enough >= MOST_UNITS || d == 0.0 {
            return Err(StatsError::OutOfRange {
                what: "d",
                expected: "an effect that 100 million units would show",
                value: d,
            });
        }
        (too_few, enough) = (enough, enough * 2);
    }
    while enough - too_few > 1 {
        let middle = too_few + (enough - too_few) / 2;
        if power_of(middle) < power {
            too_few = middle;
        } else {
            enough = middle;
        }
    }
    Ok(enough)
}

fn check_effect(d: f64) -> Result<(), StatsError> {
    if d.is_finite() {
        return Ok(());
    }
    Err(StatsError::OutOfRange {
        what: "d",
        expected: "a finite number",
        value: d,
    })
}

fn check_units(n: usize, what: &'static str) -> Result<(), StatsError> {
    if (2..=MOST_UNITS).contains(&n) {
        return Ok(());
    }
    Err(StatsError::OutOfRange {
        what,
        expected: "from 2 to 100 million units",
        value: n as f64,
    })
}

fn check_power(alpha: f64, power: f64) -> Result<(), StatsError> {
    check_open_unit(alpha, "alpha")?;
    check_open_unit(power, "power")?;
    if power > alpha {
        return Ok(());
    }
    Err(StatsError::OutOfRange {
        what: "power",
        expected: "more than alpha",
        value: power,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_effect_power_is_alpha() {
        for alpha in [0.01, 0.05] {
            assert!((power_paired(0.0, 20, alpha).unwrap() - alpha).abs() < 1e-10);
            assert!((power_two_groups(0.0, 7, 9, alpha).unwrap() - alpha).abs() < 1e-10);
        }
    }

    #[test]
    fn numbers_and_effects_undo_power() {
        for d in [0.1, -0.5, 1.3] {
            let n = pairs_needed(d, 0.05, 0.8).unwrap();
            assert!(power_paired(d, n, 0.05).unwrap() >= 0.8);
            assert!(n == 2 || power_paired(d, n - 1, 0.05).unwrap() < 0.8);
            let smallest = smallest_effect_paired(n, 0.05, 0.8).unwrap();
            assert!(smallest <= d.abs() && smallest > 0.7 * d.abs());
            let n = relations_needed(d, 0.05, 0.8).unwrap();
            assert!(power_two_groups(d, n, n, 0.05).unwrap() >= 0.8);
            let smallest = smallest_effect_two_groups(n, n, 0.05, 0.8).unwrap();
            assert!((power_two_groups(smallest, n, n, 0.05).unwrap() - 0.8).abs() < 1e-9);
        }
        assert_eq!(pairs_needed(1e9, 0.05, 0.8), Ok(2));
    }

    #[test]
    fn bad_input_is_named() {
        assert!(power_paired(f64::NAN, 9, 0.05).is_err());
        assert!(power_paired(0.5, 1, 0.05).is_err());
        assert!(power_two_groups(0.5, 9, 1, 0.05).is_err());
        assert!(pairs_needed(0.0, 0.05, 0.8).is_err());
        assert!(pairs_needed(1e-6, 0.05, 0.8).is_err());
        assert!(pairs_needed(0.5, 0.0, 0.8).is_err());
        assert!(smallest_effect_paired(9, 0.05, 0.04).is_err());
    }
}
