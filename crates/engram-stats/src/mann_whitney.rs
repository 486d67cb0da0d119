//! Mann and Whitney's U test of two groups, exact for small samples even with ties.

use serde::{Deserialize, Serialize};
use statrs::function::erf::erfc;

use crate::error::{StatsError, check};
use crate::permutation::splits;
use crate::rank::doubled_ranks;
use crate::wilcoxon::WilcoxonMethod;

/// The exact distribution is used up to this number of splits into two groups, so that counts are exact in an `f64`
/// (two groups of 28, or 8 values against 190), and up to [`LARGEST_EXACT`] values.
const SPLITS_EXACT: u128 = 1 << 53;

/// Bounds the time of the exact distribution where one group is tiny.
const LARGEST_EXACT: usize = 1000;

/// Result of [`mann_whitney`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MannWhitney {
    /// U of the first group: the number of pairs of values, one from each group,
    /// in which its value is the larger, ties counted half.
    pub u: f64,
    /// Two-sided p value.
    pub p_value: f64,
    /// How it was computed.
    pub method: WilcoxonMethod,
    /// Cliff's δ = 2 U / (n_a n_b) − 1 in [−1, 1]: the effect size, whose
    /// interval is [`crate::cliffs_delta_interval`].
    pub cliffs_delta: f64,
}

/// Two-sided test that two groups have one distribution, from ranks (Mann & Whitney 1947); the unpaired counterpart of
/// [`crate::wilcoxon_signed_rank`].
///
/// Ties get their average rank. Small groups (two of 28, or 8 values against 190) have the exact distribution of all
/// splits of the observed, possibly tied, ranks: p = 2 min(P(U ≤ u), P(U ≥ u)), at most 1. Larger ones have the normal
/// approximation, corrected for ties and continuity.
///
/// # Errors
/// An empty group or a value that is not finite.
pub fn mann_whitney(a: &[f64], b: &[f64]) -> Result<MannWhitney, StatsError> {
    check(a, "values of a", 1)?;
    check(b, "values of b", 1)?;
    let (n_a, n_b) = (a.len(), b.len());
    let n = n_a + n_b;
    let (ranks, tie_term) = doubled_ranks(&[a, b].concat());
    let sum_a: u64 = ranks[..n_a].iter().sum();
    // Doubled: 2 U = 2 R − n_a (n_a + 1).
    let doubled_u = sum_a - (n_a * (n_a + 1)) as u64;
    let pairs = n_a as f64 * n_b as f64;
    let (p_value, method) = if n <= LARGEST_EXACT && splits(n, n_a) <= SPLITS_EXACT {
        // The smaller group has the same p, in less time.
        let p = if n_a <= n_b {
            exact_p(&ranks, n_a, sum_a)
        } else {
            exact_p(&ranks, n_b, ranks[n_a..].iter().sum())
        };
        (p, WilcoxonMethod::Exact)
    } else {
        let total = n as f64;
        let variance = pairs / 12.0 * (total + 1.0 - tie_term / (total * (total - 1.0)));
        let distance = (doubled_u as f64 - pairs).abs() / 2.0;
        (normal_p(distance, variance), WilcoxonMethod::Normal)
    };
    Ok(MannWhitney {
        u: doubled_u as f64 / 2.0,
        p_value,
        method,
        cliffs_delta: (doubled_u as f64 - pairs) / pairs,
    })
}

/// Two-sided p of the doubled rank sum of `size` values, from the number of
/// subsets of that size that reach each sum.
fn exact_p(ranks: &[u64], size: usize, sum: u64) -> f64 {
    let mut sorted = ranks.to_vec();
    sorted.sort_unstable();
    let largest: u64 = sorted.iter().rev().take(size).sum();
    let mut ways = vec![vec![0.0_f64; largest as usize + 1]; size + 1];
    ways[0][0] = 1.0;
    // Ascending, so that `reached`, the largest sum of a subset so far, stays low.
    for (seen, &rank) in sorted.iter().enumerate() {
        let rank = rank as usize;
        // Downwards, so that each rank is used at most once.
        for taken in (1..=size.min(seen + 1)).rev() {
            let reached: u64 = sorted[seen + 1 - taken..=seen].iter().sum();
            let (fewer, these) = ways.split_at_mut(taken);
            let (fewer, these) = (&fewer[taken - 1], &mut these[0]);
            for sum in rank..=reached as usize {
                these[sum] += fewer[sum - rank];
            }
        }
    }
    let ways = &ways[size];
    let below: f64 = ways[..=sum as usize].iter().sum();
    let above: f64 = ways[sum as usize..].iter().sum();
    let all: f64 = ways.iter().sum();
    // With ties the distribution need not be symmetric.
    (2.0 * below.min(above) / all).min(1.0)
}

fn normal_p(distance: f64, variance: f64) -> f64 {
    if variance <= 0.0 {
        return 1.0; // all values tied
    }
    let distance = (distance - 0.5).max(0.0);
    erfc(distance / variance.sqrt() / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separated_groups_have_the_smallest_p() {
        let (a, b) = ([4.0, 5.0, 6.0], [1.0, 2.0, 3.0, 3.5]);
        let found = mann_whitney(&a, &b).unwrap();
        assert_eq!((found.u, found.cliffs_delta), (12.0, 1.0));
        assert_eq!(found.p_value, 2.0 / 35.0);
        assert_eq!(found.method, WilcoxonMethod::Exact);
    }

    #[test]
    fn exact_is_the_enumeration_with_ties() {
        let (a, b) = ([1.0, 1.0, 2.0, 5.0], [1.0, 3.0, 3.0, 4.0, 5.0, 5.0]);
        let pool = [a.as_slice(), &b].concat();
        let rank = |v: f64| {
            let below = pool.iter().filter(|&&u| u < v).count() as f64;
            below + (pool.iter().filter(|&&u| u == v).count() as f64 + 1.0) / 2.0
        };
        let observed: f64 = a.iter().map(|&v| rank(v)).sum();
        let mut chosen = vec![0, 1, 2, 3];
        let (mut below, mut above, mut all) = (0.0, 0.0, 0.0);
        loop {
            let sum: f64 = chosen.iter().map(|&i| rank(pool[i])).sum();
            below += f64::from(u8::from(sum <= observed));
            above += f64::from(u8::from(sum >= observed));
            all += 1.0;
            if !crate::permutation::next_combination(&mut chosen, 10) {
                break;
            }
        }
        let found = mann_whitney(&a, &b).unwrap();
        assert!((found.p_value - 2.0 * f64::min(below, above) / all).abs() < 1e-14);
        let swapped = mann_whitney(&b, &a).unwrap();
        assert!((swapped.p_value - found.p_value).abs() < 1e-14);
    }

    #[test]
    fn exact_and_normal_meet_at_the_border() {
        let a: Vec<f64> = (0..28).map(|i| f64::from(i * 7 % 29) + 0.3).collect();
        let b: Vec<f64> = (0..28).map(|i| f64::from(i) - 4.0).collect();
        let exact = mann_whitney(&a, &b).unwrap();
        assert_eq!(exact.method, WilcoxonMethod::Exact);
        let more = [b.as_slice(), &[9.5]].concat();
        let normal = mann_whitney(&a, &more).unwrap();
        assert_eq!(normal.method, WilcoxonMethod::Normal);
        let pairs = 28.0 * 28.0;
        let p = normal_p((exact.u - pairs / 2.0).abs(), pairs * 57.0 / 12.0);
        assert!((p - exact.p_value).abs() < 2e-3, "{p} {}", exact.p_value);
    }

    #[test]
    fn all_tied_says_nothing() {
        for n in [3, 600] {
            let found = mann_whitney(&vec![2.0; n], &vec![2.0; n]).unwrap();
            assert_eq!((found.p_value, found.cliffs_delta), (1.0, 0.0));
        }
        assert!(mann_whitney(&[], &[1.0]).is_err());
    }
}
