//! Wilcoxon's signed-rank test, exact for small samples even with ties.

use serde::{Deserialize, Serialize};
use statrs::function::erf::erfc;

use crate::error::{StatsError, check};
use crate::rank::doubled_ranks;

/// The largest number of non-zero values for which the exact distribution is used. Up to 50, the counts of sign
/// assignments (at most 2⁵⁰) are exact in an `f64`; above, the error of the normal approximation is below any reported
/// precision.
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

/// The treatment of zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZeroMethod {
    /// Dropped before ranking (Wilcoxon 1945).
    Drop,
    /// Ranked with the others and then dropped (Pratt 1959), so that small
    /// values beside many zeros do not count as large.
    Pratt,
}

/// Result of [`wilcoxon_signed_rank`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Wilcoxon {
    /// Sum of the ranks of the positive values.
    pub w_plus: f64,
    /// Number of values that are not zero.
    pub n_used: usize,
    /// Two-sided p value.
    pub p_value: f64,
    /// How it was computed.
    pub method: WilcoxonMethod,
    /// Matched-pairs rank-biserial correlation (W₊ − W₋) / (W₊ + W₋) in
    /// [−1, 1]; 0 if nothing is left to rank. The effect size, whose interval is
    /// [`crate::rank_biserial_interval`].
    pub rank_biserial: f64,
}

/// [`wilcoxon_signed_rank_with`] with zeros dropped.
///
/// # Errors
/// `x` is empty or holds a value that is not finite.
pub fn wilcoxon_signed_rank(x: &[f64]) -> Result<Wilcoxon, StatsError> {
    wilcoxon_signed_rank_with(x, ZeroMethod::Drop)
}

/// Two-sided signed-rank test that `x` is symmetric around zero.
///
/// Ties get their average rank. With at most [`EXACT_UP_TO`] ranked values the distribution is that of all sign
/// assignments of the observed, possibly tied, ranks: p = 2 min(P(W ≤ w), P(W ≥ w)), at most 1. With more it is normal,
/// with the mean and variance of those assignments and a continuity correction. If all values are zero, p is 1.
///
/// # Errors
/// `x` is empty or holds a value that is not finite.
pub fn wilcoxon_signed_rank_with(x: &[f64], zeros: ZeroMethod) -> Result<Wilcoxon, StatsError> {
    check(x, "wilcoxon_signed_rank", 1)?;
    let ranked = match zeros {
        ZeroMethod::Drop => x.iter().filter(|v| **v != 0.0).count(),
        ZeroMethod::Pratt => x.len(),
    };
    let signed = SignedRanks::of(x, zeros);
    let (p_value, method) = if ranked <= EXACT_UP_TO {
        (
            exact_p(&signed.ranks, signed.positive),
            WilcoxonMethod::Exact,
        )
    } else {
        (
            normal_p(&signed.ranks, signed.positive),
            WilcoxonMethod::Normal,
        )
    };
    Ok(Wilcoxon {
        w_plus: signed.positive as f64 / 2.0,
        n_used: signed.ranks.len(),
        p_value,
        method,
        rank_biserial: signed.rank_biserial(),
    })
}

/// Doubled ranks of the magnitudes of the values that are not zero.
pub(crate) struct SignedRanks {
    ranks: Vec<u64>,
    /// Sum over the positive values.
    positive: u64,
}

impl SignedRanks {
    pub fn of(x: &[f64], zeros: ZeroMethod) -> Self {
        let kept: Vec<f64> = match zeros {
            ZeroMethod::Drop => x.iter().copied().filter(|&v| v != 0.0).collect(),
            ZeroMethod::Pratt => x.to_vec(),
        };
        let magnitudes: Vec<f64> = kept.iter().map(|v| v.abs()).collect();
        let (ranks, _) = doubled_ranks(&magnitudes);
        let of_sign = |keep: fn(f64) -> bool| {
            let ranked = kept.iter().zip(&ranks);
            ranked
                .filter(move |(v, _)| keep(**v))
                .map(|(_, rank)| *rank)
        };
        Self {
            ranks: of_sign(|v| v != 0.0).collect(),
            positive: of_sign(|v| v > 0.0).sum(),
        }
    }

    pub fn rank_biserial(&self) -> f64 {
        let total: u64 = self.ranks.iter().sum();
        if total == 0 {
            return 0.0;
        }
        (2.0 * self.positive as f64 - total as f64) / total as f64
    }
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

/// Two-sided p of a doubled rank sum by the normal approximation.
fn normal_p(ranks: &[u64], positive: u64) -> f64 {
    let (total, squares) = ranks
        .iter()
        .fold((0, 0), |(sum, squares), r| (sum + r, squares + r * r));
    // Each rank counts or not, with even chances: half the sum, a quarter of the
    // squares. Zeros and ties are in the ranks already.
    let (centre, variance) = (total as f64 / 4.0, squares as f64 / 16.0);
    if variance == 0.0 {
        return 1.0; // nothing but zeros, ranked and dropped
    }
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
        let ranks: Vec<u64> = (1..=50).map(|rank| 2 * rank).collect();
        assert!((exact.p_value - normal_p(&ranks, positive)).abs() < 2e-3);
    }

    #[test]
    fn all_zero_says_nothing() {
        let result = wilcoxon_signed_rank(&[0.0, -0.0]).unwrap();
        assert_eq!(
            (result.p_value, result.n_used, result.rank_biserial),
            (1.0, 0, 0.0)
        );
        for n in [3, 60] {
            let pratt = wilcoxon_signed_rank_with(&vec![0.0; n], ZeroMethod::Pratt).unwrap();
            assert_eq!((pratt.p_value, pratt.n_used), (1.0, 0));
        }
    }

    #[test]
    fn zeros_push_pratts_ranks_up() {
        // Two zeros share ranks 1 and 2; 1, −2 and 3 have 3, 4 and 5.
        let x = [1.0, 0.0, -2.0, 3.0, 0.0];
        let pratt = wilcoxon_signed_rank_with(&x, ZeroMethod::Pratt).unwrap();
        assert_eq!((pratt.w_plus, pratt.n_used), (8.0, 3));
        assert_eq!(wilcoxon_signed_rank(&x).unwrap().w_plus, 4.0);
        let without = [1.0, -2.0, 3.0, 3.5];
        assert_eq!(
            wilcoxon_signed_rank_with(&without, ZeroMethod::Pratt),
            wilcoxon_signed_rank(&without)
        );
    }
}
