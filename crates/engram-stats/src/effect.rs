//! Effect sizes, paired and between two groups.

use statrs::function::gamma::ln_gamma;

use crate::descriptive::{mean_of, std_dev, sum_of_squares};
use crate::error::{StatsError, check};

/// Cohen's d of paired differences (d_z): their mean over their standard
/// deviation.
///
/// # Errors
/// Fewer than two differences, one that is not finite, or none that varies.
pub fn cohen_d_paired(differences: &[f64]) -> Result<f64, StatsError> {
    const WHAT: &str = "cohen_d_paired";
    check(differences, WHAT, 2)?;
    let spread = std_dev(differences)?;
    if is_rounding(spread, differences) {
        return Err(StatsError::NoVariation { what: WHAT });
    }
    Ok(mean_of(differences) / spread)
}

/// Whether a spread is no more than rounding error of equal values, and so cannot be a unit for an effect.
fn is_rounding(spread: f64, values: &[f64]) -> bool {
    const ROUNDING: f64 = 1e-10;
    let largest = values.iter().fold(0f64, |most, v| most.max(v.abs()));
    spread <= ROUNDING * largest
}

/// Hedges' g of two independent groups: the difference of means, `a` − `b`,
/// over the pooled standard deviation, times the exact correction for small
/// samples J = Γ(ν/2) / (√(ν/2) Γ((ν−1)/2)), ν = n_a + n_b − 2 (Hedges 1981).
///
/// # Errors
/// Fewer than two values in a group, one that is not finite, or no variation
/// within the groups.
pub fn hedges_g(a: &[f64], b: &[f64]) -> Result<f64, StatsError> {
    const WHAT: &str = "hedges_g";
    check(a, WHAT, 2)?;
    check(b, WHAT, 2)?;
    let df = (a.len() + b.len() - 2) as f64;
    let pooled = ((sum_of_squares(a) + sum_of_squares(b)) / df).sqrt();
    if is_rounding(pooled, &[a, b].concat()) {
        return Err(StatsError::NoVariation { what: WHAT });
    }
    let correction = (ln_gamma(df / 2.0) - ln_gamma((df - 1.0) / 2.0)).exp() / (df / 2.0).sqrt();
    Ok(correction * (mean_of(a) - mean_of(b)) / pooled)
}

/// Cliff's δ in [−1, 1]: the chance that a value of `a` exceeds one of `b`,
/// less the chance that it falls below.
///
/// # Errors
/// An empty group or a value that is not finite.
pub fn cliffs_delta(a: &[f64], b: &[f64]) -> Result<f64, StatsError> {
    check(a, "cliffs_delta", 1)?;
    check(b, "cliffs_delta", 1)?;
    let mut sorted = b.to_vec();
    sorted.sort_by(f64::total_cmp);
    let excess: i64 = a
        .iter()
        .map(|v| {
            let below = sorted.partition_point(|u| u < v);
            let above = sorted.len() - sorted.partition_point(|u| u <= v);
            below as i64 - above as i64
        })
        .sum();
    Ok(excess as f64 / (a.len() * b.len()) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Copies of one value that differ by rounding alone, as means over relations of the same pairs do.
    #[test]
    fn rounding_is_no_spread() {
        let a = [0.3, 0.1 + 0.2, 0.3];
        let b = [0.7, 0.7, 0.7 + 1e-16];
        for found in [
            hedges_g(&a, &b),
            cohen_d_paired(&a),
            cohen_d_paired(&[0.0; 4]),
        ] {
            assert!(
                matches!(found, Err(StatsError::NoVariation { .. })),
                "{found:?}"
            );
        }
        assert!(hedges_g(&[0.3, 0.3 + 1e-6], &[0.7, 0.7]).is_ok());
    }

    #[test]
    fn closed_forms() {
        assert!((cohen_d_paired(&[1.0, 2.0, 3.0]).unwrap() - 2.0).abs() < 1e-15);
        // ν = 2: J = Γ(1) / (1 · Γ(½)) = 1/√π; the pooled deviation is √½.
        let g = hedges_g(&[1.0, 2.0], &[0.0, 1.0]).unwrap();
        assert!((g - (2.0 / std::f64::consts::PI).sqrt()).abs() < 1e-13);
        assert_eq!(cliffs_delta(&[3.0, 4.0], &[1.0, 2.0]), Ok(1.0));
        assert_eq!(cliffs_delta(&[1.0, 2.0], &[2.0, 1.0]), Ok(0.0));
        assert_eq!(cliffs_delta(&[-0.0], &[0.0]), Ok(0.0));
    }

    #[test]
    fn no_spread_has_no_standardised_effect() {
        let flat = [2.0; 4];
        assert!(matches!(
            cohen_d_paired(&flat),
            Err(StatsError::NoVariation { .. })
        ));
        assert!(matches!(
            hedges_g(&flat, &[1.0; 4]),
            Err(StatsError::NoVariation { .. })
        ));
    }
}
