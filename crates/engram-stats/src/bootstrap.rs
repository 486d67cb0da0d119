//! Bootstrap intervals of means and ratios of means, over values or clusters.

use crate::error::{StatsError, check, check_count, check_length};
use crate::interval::Interval;
use crate::resampling::Resampling;
use crate::sums::{by_cluster, one_stage, single};

/// Interval of the mean of independent values.
///
/// # Errors
/// Fewer than two values or resamples, a value that is not finite, or `level`
/// outside of (0, 1).
pub fn mean_interval(x: &[f64], how: Resampling) -> Result<Interval, StatsError> {
    check(x, "mean of values", 2)?;
    one_stage(&[single(x)], how)
}

/// Interval of the mean over values (not over clusters), by resampling whole clusters with replacement: values of one
/// cluster share facts and are not independent. Each value has the identifier of its cluster, which is only compared
/// for equality.
///
/// # Errors
/// Fewer than two clusters or resamples, a value that is not finite, or `level` outside of (0, 1).
pub fn cluster_mean_interval(
    values: &[(usize, f64)],
    how: Resampling,
) -> Result<Interval, StatsError> {
    let (clusters, num): (Vec<usize>, Vec<f64>) = values.iter().copied().unzip();
    check(&num, "mean of clusters", 2)?;
    let units = by_cluster(&num, &vec![1.0; num.len()], &clusters);
    check_count(units.len(), "clusters", 2)?;
    one_stage(&[units], how)
}

/// Interval of mean(`num`) / mean(`den`), by resampling whole clusters with replacement. The reported recovery is such
/// a ratio: the summed effect of the patch over the summed clean–corrupt gap, which no single small gap can inflate. If
/// values are independent, give each its own cluster.
///
/// # Errors
/// Slices of unequal length, fewer than two clusters or resamples, a value that is not finite, `level` outside of (0,
/// 1), or [`StatsError::UnstableDenominator`] if the denominator of a resample is zero or of the other sign: the ratio
/// then has no bounded interval.
pub fn ratio_interval(
    num: &[f64],
    den: &[f64],
    clusters: &[usize],
    how: Resampling,
) -> Result<Interval, StatsError> {
    check(num, "num", 2)?;
    check(den, "den", 2)?;
    check_length(den.len(), num.len(), || "den".to_owned())?;
    check_length(clusters.len(), num.len(), || "clusters".to_owned())?;
    let units = by_cluster(num, den, clusters);
    check_count(units.len(), "clusters", 2)?;
    one_stage(&[units], how)
}

/// [`mean_interval`] with BCa ends.
///
/// # Errors
/// Those of [`mean_interval`].
pub fn bootstrap_mean(
    x: &[f64],
    resamples: usize,
    level: f64,
    seed: u64,
) -> Result<Interval, StatsError> {
    mean_interval(x, Resampling::bca(resamples, level, seed))
}

/// [`cluster_mean_interval`] with BCa ends.
///
/// # Errors
/// Those of [`cluster_mean_interval`].
pub fn bootstrap_cluster_mean(
    values: &[(usize, f64)],
    resamples: usize,
    level: f64,
    seed: u64,
) -> Result<Interval, StatsError> {
    cluster_mean_interval(values, Resampling::bca(resamples, level, seed))
}

/// [`ratio_interval`] with BCa ends.
///
/// # Errors
/// Those of [`ratio_interval`].
pub fn bootstrap_ratio_of_means(
    num: &[f64],
    den: &[f64],
    clusters: &[usize],
    resamples: usize,
    level: f64,
    seed: u64,
) -> Result<Interval, StatsError> {
    ratio_interval(num, den, clusters, Resampling::bca(resamples, level, seed))
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
