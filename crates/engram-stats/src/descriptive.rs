//! Mean, median, quantiles and standard deviation.

use crate::error::{StatsError, check};

/// Arithmetic mean.
///
/// # Errors
/// `x` is empty or holds a value that is not finite.
pub fn mean(x: &[f64]) -> Result<f64, StatsError> {
    check(x, "mean", 1)?;
    Ok(mean_of(x))
}

/// Median: the 0.5 [`quantile`].
///
/// # Errors
/// `x` is empty or holds a value that is not finite.
pub fn median(x: &[f64]) -> Result<f64, StatsError> {
    quantile(x, 0.5)
}

/// The quantile at `q` in [0, 1], type 7 of Hyndman & Fan (1996): linear
/// between the order statistics around position `(n − 1) q`.
///
/// # Errors
/// `x` is empty or holds a value that is not finite; `q` is outside of [0, 1].
pub fn quantile(x: &[f64], q: f64) -> Result<f64, StatsError> {
    check(x, "quantile", 1)?;
    if !(0.0..=1.0).contains(&q) {
        return Err(StatsError::OutOfRange {
            what: "q",
            expected: "a number from 0 to 1",
            value: q,
        });
    }
    let mut sorted = x.to_vec();
    sorted.sort_by(f64::total_cmp);
    Ok(quantile_of_sorted(&sorted, q))
}

/// Sample standard deviation, with n − 1 in the denominator.
///
/// # Errors
/// `x` has fewer than two values or one that is not finite.
pub fn std_dev(x: &[f64]) -> Result<f64, StatsError> {
    check(x, "std_dev", 2)?;
    Ok((sum_of_squares(x) / (x.len() - 1) as f64).sqrt())
}

/// Mean of values already checked.
pub(crate) fn mean_of(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// Sum of squared deviations from the mean, of values already checked.
pub(crate) fn sum_of_squares(x: &[f64]) -> f64 {
    let centre = mean_of(x);
    x.iter().map(|v| (v - centre).powi(2)).sum()
}

/// Type 7 quantile of values already sorted and checked, `q` within [0, 1].
pub(crate) fn quantile_of_sorted(sorted: &[f64], q: f64) -> f64 {
    let position = (sorted.len() - 1) as f64 * q;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_forms() {
        let x = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(mean(&x), Ok(2.5));
        assert_eq!(median(&x), Ok(2.5));
        assert_eq!(quantile(&x, 0.0), Ok(1.0));
        assert_eq!(quantile(&x, 1.0), Ok(4.0));
        assert_eq!(quantile(&x, 0.25), Ok(1.75));
        assert!((std_dev(&x).unwrap() - (5.0_f64 / 3.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn bad_input_is_named() {
        assert!(matches!(mean(&[]), Err(StatsError::TooFew { .. })));
        assert!(matches!(
            std_dev(&[1.0]),
            Err(StatsError::TooFew { needed: 2, .. })
        ));
        assert!(matches!(
            median(&[1.0, f64::NAN]),
            Err(StatsError::NotFinite { index: 1, .. })
        ));
        assert!(matches!(
            quantile(&[1.0], f64::NAN),
            Err(StatsError::OutOfRange { .. })
        ));
    }
}
