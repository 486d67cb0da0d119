//! Wilcoxon's signed-rank test, exact for small samples even with ties.

use serde::{Deserialize, Serialize};
use statrs::function::erf::erfc;

use crate::error::{StatsError, check};
use crate::rank::doubled_ranks;

/// The largest number of non-zero values for which the distribution is exact.
/// Up to 50 the counts of sign assignments, at most 2⁵⁰, are exact in an `f64`;
/// above, the normal approximation is off by less than anything reported.
pub const EXACT_UP_TO: usize = 50;

/// How the p value of [`Wilcoxon`] was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WilcoxonMethod {
    /// From all sign assignments of the ranks that were observed.
    Exact,
    /// Normal, corrected for ties and continuity.
    Normal,
}

/// Result of [`wilcoxon_signed_rank`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Wilcoxon {
    /// Sum of the ranks of the positive values.
    pub w_plus: f64,
    /// Number of values that are not zero, which are those ranked.
    pub n_used: usize,
    /// Two-sided p value.
    pub p_value: f64,
    /// How it was computed.
    pub method: WilcoxonMethod,
    /// Matched-pairs rank-biserial correlation (W₊ − W₋) / (W₊ + W₋) in
    /// [−1, 1]; 0 if nothing is left to rank. The effect size.
    pub rank_biserial: f64,
}

/// Two-sided signed-rank test that `x` is symmetric around zero.
///
/// Zeros are dropped (Wilcoxon's way), ties take their average rank. With
/// [`EXACT_UP_TO`] values or fewer the distribution is that of all sign
/// assignments of the observed, possibly tied, ranks: p = 2 min(P(W ≤ w),
/// P(W ≥ w)), at most 1. If all values are zero, p is 1.
///
/// # Errors
/// `x` is empty or holds a value that is not finite.
pub fn wilcoxon_signed_rank(x: &[f64]) -> Result<Wilcoxon, StatsError> {
    check(x, "wilcoxon_signed_rank", 1)?;
    let values: Vec<f64> = x.iter().copied().filter(|&v| v != 0.0).collect();
    let magnitudes: Vec<f64> = values.iter().map(|v| v.abs()).collect();
    let (ranks, tie_term) = doubled_ranks(&magnitudes);
    let total: u64 = ranks.iter().sum();
    let positive: u64 = values
        .iter()
        .zip(&ranks)
        .filter(|(v, _)| **v > 0.0)
        .map(|(_, rank)| rank)
        .sum();
    let n_used = values.len();
    let (p_value, method) = if n_used <= EXACT_UP_TO {
        (exact_p(&ranks, positive), WilcoxonMethod::Exact)
    } else {
        (normal_p(n_used, positive, tie_term), WilcoxonMethod::Normal)
    };
    let rank_biserial = if total == 0 {
        0.0
    } else {
        (2.0 * positive as f64 - total as f64) / total as f64
    };
    Ok(Wilcoxon {
        w_plus: positive as f64 / 2.0,
        n_used,
        p_value,
        method,
        rank_biserial,
    })
}

/// Two-sided p of a doubled rank sum, from the number of subsets of the doubled
/// ranks that reach each sum.
fn exact_p(ranks: &[u64], positive: u64) -> f64 {
    let total: u64 = ranks.iter().sum();
    let mut ways = vec![0.0_f64; total as usize + 1];
    ways[0] = 1.0;
    let mut reached = 0;
    for &rank in ranks {
        let rank = rank as usize;
        reached += rank;
        // Downwards, so that each rank is used at most once.
        for sum in (rank..=reached).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    // The distribution is symmetric: the smaller of both tails is below the
    // smaller of W₊ and W₋.
    let smaller = positive.min(total - positive) as usize;
    let tail: f64 = ways[..=smaller].iter().sum();
    let all: f64 = ways.iter().sum();
    (2.0 * tail / all).min(1.0)
}

/// Two-sided p by the normal approximation, ranks doubled throughout.
fn normal_p(n: usize, positive: u64, tie_term: f64) -> f64 {
    let n = n as f64;
    let centre = n * (n + 1.0) / 4.0;
    let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - tie_term / 48.0;
    let distance = ((positive as f64 / 2.0 - centre).abs() - 0.5).max(0.0);
    // 2 (1 − Φ(z)) = erfc(z / √2), which keeps its digits far out in the tail.
    erfc(distance / variance.sqrt() / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// p by walking through every sign assignment, in ordinary ranks.
    fn brute_force(x: &[f64]) -> f64 {
        let x: Vec<f64> = x.iter().copied().filter(|&v| v != 0.0).collect();
        let rank = |v: f64| {
            let below = x.iter().filter(|u| u.abs() < v.abs()).count() as f64;
            let equal = x.iter().filter(|u| u.abs() == v.abs()).count() as f64;
            below + (equal + 1.0) / 2.0
        };
        let ranks: Vec<f64> = x.iter().map(|&v| rank(v)).collect();
        let half = ranks.iter().sum::<f64>() / 2.0;
        let observed: f64 = (0..x.len()).filter(|&i| x[i] > 0.0).map(|i| ranks[i]).sum();
        let all = 1_u32 << x.len();
        let extreme = (0..all)
            .filter(|mask| {
                let w: f64 = (0..x.len())
                    .filter(|i| mask >> i & 1 == 1)
                    .map(|i| ranks[i])
                    .sum();
                (w - half).abs() >= (observed - half).abs()
            })
            .count();
        extreme as f64 / f64::from(all)
    }

    #[test]
    fn exact_is_the_enumeration_with_ties_and_zeros() {
        for x in [
            vec![0.5, -0.5, 1.0, 2.0, 2.0, -2.0, 3.0, 0.0],
            vec![1.0, 1.0, 1.0, 1.0, -1.0, 0.0, 0.0],
            vec![0.2, 0.9, -0.4, 1.3, 2.1, 0.7, -0.1, 0.35, 1.8, 0.6],
            vec![-3.0],
            vec![1.0, -1.0],
        ] {
            let result = wilcoxon_signed_rank(&x).unwrap();
            assert!((result.p_value - brute_force(&x)).abs() < 1e-14, "{x:?}");
        }
    }

    #[test]
    fn all_positive_is_two_over_two_to_the_n() {
        let x: Vec<f64> = (1..=50).map(f64::from).collect();
        let result = wilcoxon_signed_rank(&x).unwrap();
        assert_eq!(result.p_value, 2.0_f64.powi(-49));
        assert_eq!(result.rank_biserial, 1.0);
        assert_eq!(result.w_plus, 1275.0);
    }

    #[test]
    fn exact_and_normal_meet_at_the_border() {
        let x: Vec<f64> = (1..=50)
            .map(|i| f64::from(i) * if i % 3 == 0 { -1.0 } else { 1.0 })
            .collect();
        let exact = wilcoxon_signed_rank(&x).unwrap();
        let positive = (exact.w_plus * 2.0) as u64;
        assert!((exact.p_value - normal_p(50, positive, 0.0)).abs() < 2e-3);
    }

    #[test]
    fn all_zero_says_nothing() {
        let result = wilcoxon_signed_rank(&[0.0, -0.0]).unwrap();
        assert_eq!(
            (result.p_value, result.n_used, result.rank_biserial),
            (1.0, 0, 0.0)
        );
    }
}
