//! Bootstrap intervals of means and ratios of means, over values or clusters.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::{StatsError, check, check_count, check_level};
use crate::interval::{Interval, Replicates};

/// BCa interval of the mean of independent values.
///
/// # Errors
/// Fewer than two values or resamples, a value that is not finite, or `level`
/// outside of (0, 1).
pub fn bootstrap_mean(
    x: &[f64],
    resamples: usize,
    level: f64,
    seed: u64,
) -> Result<Interval, StatsError> {
    check(x, "bootstrap_mean", 2)?;
    let units = x.iter().map(|&v| Sums { num: v, den: 1.0 }).collect();
    ratio_interval(units, resamples, level, seed)
}

/// BCa interval of the mean over values (not over clusters), whole clusters
/// resampled with replacement: values of one cluster share facts and are not
/// independent. Each value comes with the identifier of its cluster, of which
/// only sameness matters.
///
/// # Errors
/// Fewer than two clusters or resamples, a value that is not finite, or `level`
/// outside of (0, 1).
pub fn bootstrap_cluster_mean(
    values: &[(usize, f64)],
    resamples: usize,
    level: f64,
    seed: u64,
) -> Result<Interval, StatsError> {
    let (clusters, num): (Vec<usize>, Vec<f64>) = values.iter().copied().unzip();
    check(&num, "bootstrap_cluster_mean", 2)?;
    let units = by_cluster(&num, &vec![1.0; num.len()], &clusters);
    ratio_interval(units, resamples, level, seed)
}

/// BCa interval of mean(`num`) / mean(`den`), whole clusters resampled with
/// replacement. Headline recovery is such a ratio: the summed effect of the
/// patch over the summed clean–corrupt gap, which no single small gap can
/// inflate. Give every value its own cluster where they are independent.
///
/// # Errors
/// Slices of unequal length, fewer than two clusters or resamples, a value that
/// is not finite, `level` outside of (0, 1), or
/// [`StatsError::UnstableDenominator`] where a resample's denominator is zero or
/// of the other sign: the ratio then has no bounded interval.
pub fn bootstrap_ratio_of_means(
    num: &[f64],
    den: &[f64],
    clusters: &[usize],
    resamples: usize,
    level: f64,
    seed: u64,
) -> Result<Interval, StatsError> {
    check(num, "num", 2)?;
    check(den, "den", 2)?;
    for (what, found) in [("den", den.len()), ("clusters", clusters.len())] {
        if found != num.len() {
            return Err(StatsError::Length {
                what: what.to_owned(),
                expected: num.len(),
                found,
            });
        }
    }
    ratio_interval(by_cluster(num, den, clusters), resamples, level, seed)
}

/// Numerator and denominator summed over a unit. A mean has a count below.
#[derive(Clone, Copy, Default)]
struct Sums {
    num: f64,
    den: f64,
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.num += other.num;
        self.den += other.den;
    }

    fn over(units: impl IntoIterator<Item = Self>) -> Self {
        let mut sum = Self::default();
        units.into_iter().for_each(|unit| sum.add(unit));
        sum
    }

    fn ratio(self) -> f64 {
        self.num / self.den
    }
}

/// Sums per cluster, in order of first appearance so that the names of the
/// clusters change nothing.
fn by_cluster(num: &[f64], den: &[f64], clusters: &[usize]) -> Vec<Sums> {
    let mut index = BTreeMap::new();
    let mut units: Vec<Sums> = Vec::new();
    for ((&num, &den), &cluster) in num.iter().zip(den).zip(clusters) {
        let unit = *index.entry(cluster).or_insert(units.len());
        if unit == units.len() {
            units.push(Sums::default());
        }
        units[unit].add(Sums { num, den });
    }
    units
}

fn ratio_interval(
    units: Vec<Sums>,
    resamples: usize,
    level: f64,
    seed: u64,
) -> Result<Interval, StatsError> {
    check_count(units.len(), "clusters", 2)?;
    check_count(resamples, "resamples", 2)?;
    check_level(level)?;
    let total = Sums::over(units.iter().copied());
    if total.den == 0.0 {
        return Err(StatsError::UnstableDenominator { found: 0, of: 0 });
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let drawn: Vec<Sums> = (0..resamples)
        .map(|_| {
            Sums::over(
                units
                    .iter()
                    .map(|_| units[rng.random_range(0..units.len())]),
            )
        })
        .collect();
    let jackknife: Vec<Sums> = (0..units.len())
        .map(|out| {
            let kept = units.iter().enumerate().filter(|(i, _)| *i != out);
            Sums::over(kept.map(|(_, unit)| *unit))
        })
        .collect();
    // A product that underflows to 0 counts as unstable too, as it should.
    let unstable = |sums: &&Sums| sums.den * total.den <= 0.0;
    let found = drawn.iter().filter(unstable).count() + jackknife.iter().filter(unstable).count();
    if found > 0 {
        return Err(StatsError::UnstableDenominator {
            found,
            of: drawn.len() + jackknife.len(),
        });
    }
    let replicates = Replicates {
        estimate: total.ratio(),
        values: drawn.into_iter().map(Sums::ratio).collect(),
        jackknife: vec![jackknife.into_iter().map(Sums::ratio).collect()],
    };
    Ok(replicates.interval(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_a_cluster_is_the_plain_bootstrap() {
        let x: Vec<f64> = (0..30).map(|i| f64::from(i * i % 17)).collect();
        let clustered: Vec<(usize, f64)> =
            x.iter().enumerate().map(|(i, &v)| (900 - i, v)).collect();
        let plain = bootstrap_mean(&x, 500, 0.95, 7).unwrap();
        assert_eq!(
            plain,
            bootstrap_cluster_mean(&clustered, 500, 0.95, 7).unwrap()
        );
        let ones = vec![1.0; 30];
        let ids: Vec<usize> = (0..30).collect();
        assert_eq!(
            plain,
            bootstrap_ratio_of_means(&x, &ones, &ids, 500, 0.95, 7).unwrap()
        );
        assert_eq!(plain.units, 30);
    }

    #[test]
    fn copies_within_clusters_do_not_narrow_the_interval() {
        let x: Vec<f64> = (0..20).map(|i| f64::from(i * 7 % 11)).collect();
        let copied: Vec<(usize, f64)> = (0..80).map(|i| (i % 20, x[i % 20])).collect();
        let plain = bootstrap_mean(&x, 400, 0.9, 3).unwrap();
        let clustered = bootstrap_cluster_mean(&copied, 400, 0.9, 3).unwrap();
        assert!((plain.lower - clustered.lower).abs() < 1e-12);
        assert!((plain.upper - clustered.upper).abs() < 1e-12);
    }

    #[test]
    fn constant_ratio_is_a_point() {
        let den = [1.0, 2.0, 3.0, 4.0];
        let num = den.map(|v| v / 2.0);
        let result = bootstrap_ratio_of_means(&num, &den, &[0, 0, 1, 2], 100, 0.95, 0).unwrap();
        assert_eq!(
            (result.lower, result.estimate, result.upper),
            (0.5, 0.5, 0.5)
        );
        assert_eq!(result.method, crate::IntervalMethod::PercentileNoSpread);
        assert_eq!(result.units, 3);
    }

    #[test]
    fn denominators_around_zero_are_refused() {
        let num = [1.0, 1.0, 1.0, 1.0];
        let found =
            bootstrap_ratio_of_means(&num, &[1.0, -1.0, 1.0, 0.5], &[0, 1, 2, 3], 200, 0.95, 0);
        assert!(
            matches!(found, Err(StatsError::UnstableDenominator { found, of: 204 }) if found > 0)
        );
        let zero =
            bootstrap_ratio_of_means(&num, &[1.0, -1.0, 1.0, -1.0], &[0, 1, 2, 3], 200, 0.95, 0);
        assert_eq!(
            zero,
            Err(StatsError::UnstableDenominator { found: 0, of: 0 })
        );
    }

    #[test]
    fn bad_input_is_named() {
        assert!(bootstrap_mean(&[1.0], 100, 0.95, 0).is_err());
        assert!(bootstrap_mean(&[1.0, 2.0], 100, 95.0, 0).is_err());
        assert!(bootstrap_mean(&[1.0, f64::NAN], 100, 0.95, 0).is_err());
        assert_eq!(
            bootstrap_cluster_mean(&[(4, 1.0), (4, 2.0)], 100, 0.95, 0),
            Err(StatsError::TooFew {
                what: "clusters",
                needed: 2,
                found: 1
            })
        );
        assert!(matches!(
            bootstrap_ratio_of_means(&[1.0, 2.0], &[1.0, 2.0], &[0], 100, 0.95, 0),
            Err(StatsError::Length {
                expected: 2,
                found: 1,
                ..
            })
        ));
    }
}
