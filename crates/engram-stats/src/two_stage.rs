//! Two-stage bootstrap of the difference between kinds.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::descriptive::mean_of;
use crate::error::{StatsError, check, check_count, check_level};
use crate::interval::{Interval, Replicates};

/// BCa interval of the difference between two kinds, `a` − `b`: relations are
/// resampled first, and pairs within each relation drawn.
///
/// Each inner vector holds the values of one relation's pairs. A kind's mean is
/// the mean of its relations' means, so that a relation with many pairs does
/// not speak for its kind: the statistic of [`crate::permute_kinds`]. The
/// acceleration comes from leaving out relations. Relations of one pair are
/// allowed, and add no spread of their own.
///
/// # Errors
/// Fewer than two relations of a kind or two resamples, an empty relation, a
/// value that is not finite, or `level` outside of (0, 1).
pub fn bootstrap_two_stage_difference(
    a: &[Vec<f64>],
    b: &[Vec<f64>],
    resamples: usize,
    level: f64,
    seed: u64,
) -> Result<Interval, StatsError> {
    for (kind, what) in [(a, "relations of a"), (b, "relations of b")] {
        check_count(kind.len(), what, 2)?;
        kind.iter().try_for_each(|pairs| check(pairs, what, 1))?;
    }
    check_count(resamples, "resamples", 2)?;
    check_level(level)?;

    let (means_a, means_b) = (relation_means(a), relation_means(b));
    let (mean_a, mean_b) = (mean_of(&means_a), mean_of(&means_b));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let replicates = Replicates {
        estimate: mean_a - mean_b,
        values: (0..resamples)
            .map(|_| resampled_mean(a, &mut rng) - resampled_mean(b, &mut rng))
            .collect(),
        jackknife: vec![
            leave_one_out(&means_a).map(|m| m - mean_b).collect(),
            leave_one_out(&means_b).map(|m| mean_a - m).collect(),
        ],
    };
    Ok(replicates.interval(level))
}

fn relation_means(kind: &[Vec<f64>]) -> Vec<f64> {
    kind.iter().map(|pairs| mean_of(pairs)).collect()
}

/// Mean of relation means of one two-stage resample.
fn resampled_mean(kind: &[Vec<f64>], rng: &mut ChaCha8Rng) -> f64 {
    let sum: f64 = kind
        .iter()
        .map(|_| {
            let pairs = &kind[rng.random_range(0..kind.len())];
            let drawn = pairs
                .iter()
                .map(|_| pairs[rng.random_range(0..pairs.len())]);
            drawn.sum::<f64>() / pairs.len() as f64
        })
        .sum();
    sum / kind.len() as f64
}

/// The mean without each value in turn.
fn leave_one_out(x: &[f64]) -> impl Iterator<Item = f64> {
    let (sum, rest) = (x.iter().sum::<f64>(), (x.len() - 1) as f64);
    x.iter().map(move |v| (sum - v) / rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(relations: usize, pairs: usize, step: usize) -> Vec<Vec<f64>> {
        (0..relations)
            .map(|r| {
                (0..pairs)
                    .map(|p| ((r * 5 + p * step) % 13) as f64)
                    .collect()
            })
            .collect()
    }

    #[test]
    fn the_estimate_weighs_relations_equally() {
        let a = vec![vec![1.0; 10], vec![3.0]];
        let b = vec![vec![0.0], vec![1.0; 7]];
        let result = bootstrap_two_stage_difference(&a, &b, 200, 0.95, 0).unwrap();
        assert_eq!(result.estimate, 1.5);
        assert_eq!(result.units, 4);
    }

    #[test]
    fn swapping_the_kinds_mirrors_the_estimate() {
        let (a, b) = (kind(8, 6, 3), kind(9, 4, 7));
        let forth = bootstrap_two_stage_difference(&a, &b, 4000, 0.95, 1).unwrap();
        let back = bootstrap_two_stage_difference(&b, &a, 4000, 0.95, 2).unwrap();
        assert_eq!(forth.estimate, -back.estimate);
        // The ends mirror up to the noise of resampling.
        assert!((forth.lower + back.upper).abs() < 0.2);
        assert!((forth.upper + back.lower).abs() < 0.2);
    }

    #[test]
    fn the_spread_has_both_stages() {
        // Var of the two-stage mean of R relation means of n pairs each is
        // (between + within / n) / R, with the plug-in variances of the sample.
        let (a, flat) = (kind(6, 9, 4), vec![vec![0.0]; 2]);
        let plug_in = |x: &[f64]| {
            let m = mean_of(x);
            x.iter().map(|v| (v - m).powi(2)).sum::<f64>() / x.len() as f64
        };
        let within: f64 = a.iter().map(|r| plug_in(r) / 9.0).sum::<f64>() / 6.0;
        let expected = (plug_in(&relation_means(&a)) + within) / 6.0;
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let draws: Vec<f64> = (0..40_000)
            .map(|_| resampled_mean(&a, &mut rng) - resampled_mean(&flat, &mut rng))
            .collect();
        assert!((plug_in(&draws) / expected - 1.0).abs() < 0.05);
    }

    #[test]
    fn bad_input_is_named() {
        let good = kind(3, 3, 2);
        assert!(matches!(
            bootstrap_two_stage_difference(&good[..1], &good, 100, 0.95, 0),
            Err(StatsError::TooFew {
                what: "relations of a",
                ..
            })
        ));
        assert!(matches!(
            bootstrap_two_stage_difference(&good, &[vec![], vec![1.0]], 100, 0.95, 0),
            Err(StatsError::TooFew {
                what: "relations of b",
                found: 0,
                ..
            })
        ));
    }
}
