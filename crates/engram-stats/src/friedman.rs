//! Friedman's test over layers, the omnibus test within pairs.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};

use crate::error::{StatsError, check};
use crate::rank::doubled_ranks;

/// Result of [`friedman`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Friedman {
    /// The statistic, corrected for ties.
    pub chi_squared: f64,
    /// Degrees of freedom: columns − 1.
    pub df: usize,
    /// Upper tail of the chi-squared distribution.
    pub p_value: f64,
    /// Kendall's W in [0, 1]: how far the rows agree on the order of the columns.
    pub kendall_w: f64,
    /// Number of rows.
    pub blocks: usize,
}

/// Friedman's rank test that no column is larger than another.
///
/// `rows` are blocks (pairs, or means of clusters where pairs share facts),
/// columns are the repeated measures (layers). Ranks are taken within a row,
/// ties averaged, the statistic divided by 1 − Σ(t³ − t) / (n k (k² − 1))
/// (Conover, *Practical Nonparametric Statistics*); W = χ² / (n (k − 1)).
///
/// # Errors
/// Fewer than two rows or columns, rows of unequal length, a value that is not
/// finite, or every row constant.
pub fn friedman(rows: &[Vec<f64>]) -> Result<Friedman, StatsError> {
    const WHAT: &str = "friedman";
    let n = rows.len();
    if n < 2 {
        return Err(StatsError::TooFew {
            what: "friedman rows",
            needed: 2,
            found: n,
        });
    }
    let k = rows[0].len();
    let mut rank_sums = vec![0_u64; k];
    let mut tie_term = 0.0;
    for (i, row) in rows.iter().enumerate() {
        if row.len() != k {
            return Err(StatsError::Length {
                what: format!("friedman row {i}"),
                expected: k,
                found: row.len(),
            });
        }
        check(row, "friedman columns", 2)?;
        let (ranks, ties) = doubled_ranks(row);
        tie_term += ties;
        for (sum, rank) in rank_sums.iter_mut().zip(ranks) {
            *sum += rank;
        }
    }
    let (blocks, columns) = (n as f64, k as f64);
    let correction = 1.0 - tie_term / (blocks * columns * (columns * columns - 1.0));
    // All rows constant: the tie term is then exactly its maximum.
    if tie_term >= blocks * columns * (columns * columns - 1.0) {
        return Err(StatsError::NoVariation { what: WHAT });
    }
    // A doubled rank sum is n (k + 1) on average.
    let expected = blocks * (columns + 1.0);
    let spread: f64 = rank_sums
        .iter()
        .map(|&sum| (sum as f64 - expected).powi(2))
        .sum();
    let chi_squared = 3.0 * spread / (blocks * columns * (columns + 1.0)) / correction;
    let df = k - 1;
    let distribution =
        ChiSquared::new(df as f64).map_err(|_| StatsError::NoVariation { what: WHAT })?;
    Ok(Friedman {
        chi_squared,
        df,
        p_value: distribution.sf(chi_squared),
        kendall_w: chi_squared / (blocks * df as f64),
        blocks: n,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_agreement_is_w_one() {
        let rows: Vec<Vec<f64>> = (0..5)
            .map(|i| (0..4).map(|j| f64::from(i) + f64::from(j)).collect())
            .collect();
        let result = friedman(&rows).unwrap();
        assert!((result.kendall_w - 1.0).abs() < 1e-14);
        // χ² = n (k − 1) when all rows agree.
        assert!((result.chi_squared - 15.0).abs() < 1e-13);
    }

    #[test]
    fn two_columns_are_the_sign_test() {
        // With k = 2 the statistic is (n₊ − n₋)² / n, on one degree of freedom.
        let rows = [[1.0, 2.0], [0.0, 5.0], [3.0, 1.0], [2.0, 4.0], [1.0, 9.0]].map(|r| r.to_vec());
        let result = friedman(&rows).unwrap();
        assert!((result.chi_squared - 9.0 / 5.0).abs() < 1e-13);
    }

    #[test]
    fn bad_input_is_named() {
        assert!(matches!(
            friedman(&[vec![1.0, 2.0]]),
            Err(StatsError::TooFew { .. })
        ));
        assert!(matches!(
            friedman(&[vec![1.0, 2.0], vec![1.0]]),
            Err(StatsError::Length { found: 1, .. })
        ));
        assert_eq!(
            friedman(&[vec![1.0; 3], vec![2.0; 3]]),
            Err(StatsError::NoVariation { what: "friedman" })
        );
    }
}
