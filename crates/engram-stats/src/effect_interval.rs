//! Bootstrap intervals of effect sizes.

use crate::effect::{cohen_d_paired, hedges_g};
use crate::error::{StatsError, check};
use crate::interval::Interval;
use crate::rank::doubled_ranks;
use crate::resampling::{Resampling, statistic_interval};
use crate::wilcoxon::{SignedRanks, ZeroMethod};

/// Interval of [`cohen_d_paired`].
///
/// # Errors
/// Those of [`cohen_d_paired`]; fewer than two resamples, `level` outside of
/// (0, 1), or [`StatsError::Undefined`] where a resample does not vary: it
/// drew one value, or ties, only.
pub fn cohen_d_paired_interval(
    differences: &[f64],
    how: Resampling,
) -> Result<Interval, StatsError> {
    cohen_d_paired(differences)?;
    statistic_interval(&[differences.len()], how, |drawn| {
        cohen_d_paired(&at(differences, &drawn[0])).unwrap_or(f64::NAN)
    })
}

/// Interval of [`hedges_g`], each group resampled by itself.
///
/// # Errors
/// Those of [`hedges_g`]; fewer than two resamples, `level` outside of (0, 1),
/// or [`StatsError::Undefined`] where neither group of a resample varies.
pub fn hedges_g_interval(a: &[f64], b: &[f64], how: Resampling) -> Result<Interval, StatsError> {
    hedges_g(a, b)?;
    statistic_interval(&[a.len(), b.len()], how, |drawn| {
        hedges_g(&at(a, &drawn[0]), &at(b, &drawn[1])).unwrap_or(f64::NAN)
    })
}

/// Interval of the matched-pairs rank-biserial correlation, the effect size of
/// [`crate::wilcoxon_signed_rank`].
///
/// # Errors
/// Fewer than two values or resamples, a value that is not finite, or `level`
/// outside of (0, 1).
pub fn rank_biserial_interval(x: &[f64], how: Resampling) -> Result<Interval, StatsError> {
    check(x, "rank_biserial_interval", 2)?;
    statistic_interval(&[x.len()], how, |drawn| {
        SignedRanks::of(&at(x, &drawn[0]), ZeroMethod::Drop).rank_biserial()
    })
}

/// Interval of [`crate::cliffs_delta`], each group resampled by itself.
///
/// # Errors
/// Fewer than two values in a group or two resamples, a value that is not
/// finite, or `level` outside of (0, 1).
pub fn cliffs_delta_interval(
    a: &[f64],
    b: &[f64],
    how: Resampling,
) -> Result<Interval, StatsError> {
    check(a, "values of a", 2)?;
    check(b, "values of b", 2)?;
    // A value's doubled rank in the pool stands for it: ties are equal, and
    // counting needs no sorting.
    let (ranks, _) = doubled_ranks(&[a, b].concat());
    let ranks: Vec<usize> = ranks.into_iter().map(|rank| rank as usize).collect();
    let (codes_a, codes_b) = ranks.split_at(a.len());
    let highest = 2 * ranks.len();
    statistic_interval(&[a.len(), b.len()], how, |drawn| {
        // up_to[r]: values of b with a rank of at most r.
        let mut up_to = vec![0_i64; highest + 1];
        drawn[1].iter().for_each(|&i| up_to[codes_b[i]] += 1);
        for r in 1..=highest {
            up_to[r] += up_to[r - 1];
        }
        let n_b = drawn[1].len() as i64;
        let excess: i64 = drawn[0]
            .iter()
            .map(|&i| up_to[codes_a[i] - 1] - (n_b - up_to[codes_a[i]]))
            .sum();
        excess as f64 / (drawn[0].len() as i64 * n_b) as f64
    })
}

fn at(x: &[f64], drawn: &[usize]) -> Vec<f64> {
    drawn.iter().map(|&i| x[i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cliffs_delta, wilcoxon_signed_rank};

    const HOW: Resampling = Resampling {
        ends: crate::Ends::Bca,
        resamples: 500,
        level: 0.9,
        seed: 1,
    };

    #[test]
    fn estimates_are_the_effect_sizes() {
        let a: Vec<f64> = (0..20).map(|i| f64::from(i * 7 % 11) - 3.0).collect();
        let b: Vec<f64> = (0..15).map(|i| f64::from(i * 5 % 8) - 3.0).collect();
        let d = cohen_d_paired_interval(&a, HOW).unwrap();
        assert_eq!(d.estimate, cohen_d_paired(&a).unwrap());
        let g = hedges_g_interval(&a, &b, HOW).unwrap();
        assert_eq!(g.estimate, hedges_g(&a, &b).unwrap());
        let r = rank_biserial_interval(&a, HOW).unwrap();
        assert_eq!(r.estimate, wilcoxon_signed_rank(&a).unwrap().rank_biserial);
        let delta = cliffs_delta_interval(&a, &b, HOW).unwrap();
        assert_eq!(delta.estimate, cliffs_delta(&a, &b).unwrap());
        for interval in [d, g, r, delta] {
            assert!(interval.lower < interval.estimate && interval.estimate < interval.upper);
        }
    }

    #[test]
    fn the_counting_of_cliffs_delta_is_that_of_the_sorting() {
        let a = [1.0, 2.0, 2.0, 5.0, -0.0];
        let b = [0.0, 2.0, 3.0, 5.0];
        let direct = statistic_interval(&[5, 4], HOW, |drawn| {
            cliffs_delta(&at(&a, &drawn[0]), &at(&b, &drawn[1])).unwrap()
        });
        assert_eq!(cliffs_delta_interval(&a, &b, HOW), direct);
    }

    #[test]
    fn resamples_without_spread_are_refused() {
        let found = cohen_d_paired_interval(&[1.0, 2.0, 3.0], HOW);
        assert!(matches!(
            found,
            Err(StatsError::Undefined { found: 1.., .. })
        ));
        assert!(matches!(
            cohen_d_paired_interval(&[1.0; 5], HOW),
            Err(StatsError::NoVariation { .. })
        ));
    }
}
