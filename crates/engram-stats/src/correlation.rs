//! Spearman's rank correlation.

use crate::error::{StatsError, check, check_length};
use crate::rank::doubled_ranks;

/// Spearman's ρ: Pearson's correlation of the ranks, ties averaged.
///
/// # Errors
/// Fewer than two values, unequal lengths, a value that is not finite, or values that do not vary.
pub fn spearman(x: &[f64], y: &[f64]) -> Result<f64, StatsError> {
    check(x, "spearman", 2)?;
    check(y, "spearman", 2)?;
    check_length(y.len(), x.len(), || "y".to_owned())?;
    let [a, b] = [x, y].map(|values| {
        // Doubled ranks have the mean n + 1.
        let centre = (values.len() + 1) as f64;
        let ranks = doubled_ranks(values).0;
        ranks
            .into_iter()
            .map(|rank| rank as f64 - centre)
            .collect::<Vec<f64>>()
    });
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (of_a, of_b) = (product(&a, &a), product(&b, &b));
    if of_a == 0.0 || of_b == 0.0 {
        return Err(StatsError::NoVariation { what: "spearman" });
    }
    Ok((product(&a, &b) / (of_a * of_b).sqrt()).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_for_any_rising_function_and_known_for_ties() {
        let x: [f64; 5] = [0.1, 0.2, 0.5, 2.0, 9.0];
        let risen = x.map(f64::exp);
        assert_eq!(spearman(&x, &risen).unwrap(), 1.0);
        let fallen = x.map(|v| -v);
        assert_eq!(spearman(&x, &fallen).unwrap(), -1.0);
        // Without ties: 1 − 6 Σd² / (n (n² − 1)).
        let y = [2.0, 1.0, 3.0, 5.0, 4.0];
        assert!((spearman(&x, &y).unwrap() - (1.0 - 6.0 * 4.0 / 120.0)).abs() < 1e-15);
        // With: ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4.
        let tied = spearman(&[1.0, 2.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!((tied - 4.5 / (4.5_f64 * 5.0).sqrt()).abs() < 1e-15);
        assert!(spearman(&[1.0, 1.0], &[1.0, 2.0]).is_err());
        assert!(spearman(&x, &y[..3]).is_err());
    }
}
