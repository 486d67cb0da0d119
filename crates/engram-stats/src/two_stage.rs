//! Two-stage bootstrap: relations are resampled first, then pairs within them.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::error::{StatsError, check, check_count};
use crate::interval::Interval;
use crate::resampling::Resampling;
use crate::sums::{Sums, ratios_interval, single};

/// Two-stage interval of the mean of a kind: relations are resampled first, then pairs within each drawn relation.
///
/// Each inner vector holds the values of one relation's pairs. The kind's mean is the mean of its relations' means, so
/// that a relation with many pairs does not dominate: the statistic of [`crate::permute_kinds`]. The acceleration comes
/// from leaving out relations. Relations of one pair are allowed, and add no spread of their own.
///
/// # Errors
/// Fewer than two relations or resamples, an empty relation, a value that is not finite, or `level` outside of (0, 1).
pub fn two_stage_mean_interval(
    relations: &[Vec<f64>],
    how: Resampling,
) -> Result<Interval, StatsError> {
    two_stage(&[kind(relations, "relations")?], how)
}

/// Two-stage interval of the difference between two kinds, `a` − `b`; [`two_stage_mean_interval`] defines a kind's
/// mean.
///
/// # Errors
/// Fewer than two relations of a kind or two resamples, an empty relation, a value that is not finite, or `level`
/// outside of (0, 1).
pub fn two_stage_difference_interval(
    a: &[Vec<f64>],
    b: &[Vec<f64>],
    how: Resampling,
) -> Result<Interval, StatsError> {
    two_stage(
        &[kind(a, "relations of a")?, kind(b, "relations of b")?],
        how,
    )
}

/// Two-stage interval of a ratio of means, (numerator, denominator) of each
/// pair by relation: the mean over relations of their mean numerator, over that
/// of their mean denominator.
///
/// # Errors
/// Fewer than two relations or resamples, an empty relation, a value that is
/// not finite, `level` outside of (0, 1), or
/// [`StatsError::UnstableDenominator`] where a resample's denominator is zero or
/// of the other sign.
pub fn two_stage_ratio_interval(
    relations: &[Vec<(f64, f64)>],
    how: Resampling,
) -> Result<Interval, StatsError> {
    check_count(relations.len(), "relations", 2)?;
    for pairs in relations {
        let (num, den): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        check(&num, "numerators of a relation", 1)?;
        check(&den, "denominators of a relation", 1)?;
    }
    let sums = |&(num, den): &(f64, f64)| Sums { num, den };
    let relations: Vec<Vec<Sums>> = relations
        .iter()
        .map(|pairs| pairs.iter().map(sums).collect())
        .collect();
    two_stage(&[relations], how)
}

/// [`two_stage_difference_interval`] with BCa ends.
///
/// # Errors
/// Those of [`two_stage_difference_interval`].
pub fn bootstrap_two_stage_difference(
    a: &[Vec<f64>],
    b: &[Vec<f64>],
    resamples: usize,
    level: f64,
    seed: u64,
) -> Result<Interval, StatsError> {
    two_stage_difference_interval(a, b, Resampling::bca(resamples, level, seed))
}

/// The pairs of a kind by relation, checked.
fn kind(relations: &[Vec<f64>], what: &'static str) -> Result<Vec<Vec<Sums>>, StatsError> {
    check_count(relations.len(), what, 2)?;
    relations
        .iter()
        .try_for_each(|pairs| check(pairs, what, 1))?;
    Ok(relations.iter().map(|pairs| single(pairs)).collect())
}

fn two_stage(kinds: &[Vec<Vec<Sums>>], how: Resampling) -> Result<Interval, StatsError> {
    let mean = |pairs: &Vec<Sums>| Sums::over(pairs.iter().copied()).per(pairs.len());
    let relation_means: Vec<Vec<Sums>> = kinds
        .iter()
        .map(|relations| relations.iter().map(mean).collect())
        .collect();
    ratios_interval(&relation_means, how, |kind, rng| {
        resampled(&kinds[kind], rng)
    })
}

/// Sum of the relation means of one two-stage resample.
fn resampled(relations: &[Vec<Sums>], rng: &mut ChaCha8Rng) -> Sums {
    Sums::over(relations.iter().map(|_| {
        let pairs = &relations[rng.random_range(0..relations.len())];
        let drawn = pairs
            .iter()
            .map(|_| pairs[rng.random_range(0..pairs.len())]);
        Sums::over(drawn).per(pairs.len())
    }))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::descriptive::mean_of;

    fn values(relations: usize, pairs: usize, step: usize) -> Vec<Vec<f64>> {
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
        let (a, b) = (values(8, 6, 3), values(9, 4, 7));
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
        let a = values(6, 9, 4);
        let plug_in = |x: &[f64]| {
            let m = mean_of(x);
            x.iter().map(|v| (v - m).powi(2)).sum::<f64>() / x.len() as f64
        };
        let within: f64 = a.iter().map(|r| plug_in(r) / 9.0).sum::<f64>() / 6.0;
        let means: Vec<f64> = a.iter().map(|pairs| mean_of(pairs)).collect();
        let expected = (plug_in(&means) + within) / 6.0;
        let a = kind(&a, "a").unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let draws: Vec<f64> = (0..40_000)
            .map(|_| resampled(&a, &mut rng).ratio())
            .collect();
        assert!((plug_in(&draws) / expected - 1.0).abs() < 0.05);
    }

    #[test]
    fn one_kind_against_nothing_and_ratios_against_one() {
        let a = values(7, 5, 3);
        let how = Resampling::bca(300, 0.9, 8);
        let mean = two_stage_mean_interval(&a, how).unwrap();
        let over_one: Vec<Vec<(f64, f64)>> = a
            .iter()
            .map(|pairs| pairs.iter().map(|&v| (v, 1.0)).collect())
            .collect();
        assert_eq!(two_stage_ratio_interval(&over_one, how).unwrap(), mean);
        let signs = vec![vec![(1.0, 1.0)], vec![(1.0, -1.0)], vec![(1.0, 3.0)]];
        assert!(matches!(
            two_stage_ratio_interval(&signs, how),
            Err(StatsError::UnstableDenominator { .. })
        ));
    }

    #[test]
    fn bad_input_is_named() {
        let good = values(3, 3, 2);
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
