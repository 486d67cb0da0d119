//! Proportions: the exact binomial test and Wilson's interval.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};
use statrs::function::beta::beta_reg;

use crate::error::{StatsError, check_count, check_level};

/// A share with its interval, from [`proportion_interval`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Proportion {
    /// Number of successes.
    pub successes: usize,
    /// Number of trials.
    pub n: usize,
    /// Their ratio.
    pub estimate: f64,
    /// Lower end of the interval.
    pub lower: f64,
    /// Upper end of the interval.
    pub upper: f64,
    /// Confidence level, such as 0.95.
    pub level: f64,
}

/// Exact one-sided binomial test: the chance of `successes` or more among `n`
/// trials that each succeed with probability `p0`.
///
/// # Errors
/// `n` is 0, `successes` exceeds `n`, or `p0` is outside of [0, 1].
pub fn binomial_test_greater(successes: usize, n: usize, p0: f64) -> Result<f64, StatsError> {
    check_successes(successes, n)?;
    if !(0.0..=1.0).contains(&p0) {
        return Err(StatsError::OutOfRange {
            what: "p0",
            expected: "a probability from 0 to 1",
            value: p0,
        });
    }
    if successes == 0 {
        return Ok(1.0);
    }
    // P(X ≥ k) is the regularised incomplete beta function I_p(k, n − k + 1).
    Ok(beta_reg(successes as f64, (n - successes + 1) as f64, p0))
}

/// Wilson's (1927) score interval of a proportion, without continuity
/// correction. `level` is the confidence level, such as 0.95.
///
/// # Errors
/// `n` is 0, `successes` exceeds `n`, or `level` is outside of (0, 1).
pub fn proportion_interval(
    successes: usize,
    n: usize,
    level: f64,
) -> Result<Proportion, StatsError> {
    check_successes(successes, n)?;
    check_level(level)?;
    let (trials, estimate) = (n as f64, successes as f64 / n as f64);
    let z = Normal::standard().inverse_cdf(0.5 + level / 2.0);
    let z2 = z * z / trials;
    let centre = (estimate + z2 / 2.0) / (1.0 + z2);
    let half = (estimate * (1.0 - estimate) * z2 + z2 * z2 / 4.0).sqrt() / (1.0 + z2);
    Ok(Proportion {
        successes,
        n,
        estimate,
        // The ends are 0 and 1 exactly when all trials agree; rounding aside.
        lower: if successes == 0 { 0.0 } else { centre - half },
        upper: if successes == n { 1.0 } else { centre + half },
        level,
    })
}

fn check_successes(successes: usize, n: usize) -> Result<(), StatsError> {
    check_count(n, "trials", 1)?;
    if successes > n {
        return Err(StatsError::OutOfRange {
            what: "successes",
            expected: "no more than there are trials",
            value: successes as f64,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binomial_closed_forms() {
        assert_eq!(binomial_test_greater(0, 5, 0.3), Ok(1.0));
        let all = binomial_test_greater(5, 5, 0.3).unwrap();
        assert!((all - 0.3_f64.powi(5)).abs() < 1e-15);
        // By symmetry, P(X ≥ 6 of 11) = ½ at p0 = ½.
        assert!((binomial_test_greater(6, 11, 0.5).unwrap() - 0.5).abs() < 1e-14);
        assert_eq!(binomial_test_greater(3, 5, 0.0), Ok(0.0));
        assert_eq!(binomial_test_greater(3, 5, 1.0), Ok(1.0));
    }

    #[test]
    fn interval_solves_the_score_equation() {
        let result = proportion_interval(17, 40, 0.9).unwrap();
        let z = Normal::standard().inverse_cdf(0.95);
        for end in [result.lower, result.upper] {
            let score = (result.estimate - end) / (end * (1.0 - end) / 40.0).sqrt();
            assert!((score.abs() - z).abs() < 1e-12);
        }
        assert_eq!(proportion_interval(0, 9, 0.95).unwrap().lower, 0.0);
        assert_eq!(proportion_interval(9, 9, 0.95).unwrap().upper, 1.0);
    }

    #[test]
    fn bad_input_is_named() {
        assert!(binomial_test_greater(1, 0, 0.5).is_err());
        assert!(binomial_test_greater(3, 2, 0.5).is_err());
        assert!(binomial_test_greater(1, 2, f64::NAN).is_err());
        assert!(proportion_interval(1, 2, 1.0).is_err());
    }
}
