//! Bootstrap intervals of a difference between two independent groups.

use std::collections::BTreeSet;

use crate::error::{StatsError, check, check_count};
use crate::interval::Interval;
use crate::resampling::Resampling;
use crate::sums::{by_cluster, one_stage, single};

/// Interval of mean(`a`) − mean(`b`) for two groups of independent values, each resampled separately. For paired values
/// use [`crate::mean_interval`] of their differences.
///
/// # Errors
/// Fewer than two values in a group or two resamples, a value that is not finite, or `level` outside of (0, 1).
pub fn difference_interval(a: &[f64], b: &[f64], how: Resampling) -> Result<Interval, StatsError> {
    check(a, "values of a", 2)?;
    check(b, "values of b", 2)?;
    one_stage(&[single(a), single(b)], how)
}

/// Interval of the mean over the values of `a` minus that over those of `b`, by resampling whole clusters within each
/// group. Each value has the identifier of its cluster, as in [`crate::cluster_mean_interval`].
///
/// # Errors
/// Fewer than two clusters in a group or two resamples, a value that is not finite, `level` outside of (0, 1), or
/// [`StatsError::SharedCluster`] if a cluster is in both groups.
pub fn cluster_difference_interval(
    a: &[(usize, f64)],
    b: &[(usize, f64)],
    how: Resampling,
) -> Result<Interval, StatsError> {
    let in_a: BTreeSet<usize> = a.iter().map(|&(cluster, _)| cluster).collect();
    if let Some(&(cluster, _)) = b.iter().find(|(cluster, _)| in_a.contains(cluster)) {
        return Err(StatsError::SharedCluster { cluster });
    }
    let group = |values: &[(usize, f64)], what| {
        let (clusters, num): (Vec<usize>, Vec<f64>) = values.iter().copied().unzip();
        check(&num, what, 2)?;
        let units = by_cluster(&num, &vec![1.0; num.len()], &clusters);
        check_count(units.len(), what, 2)?;
        Ok(units)
    };
    one_stage(
        &[group(a, "clusters of a")?, group(b, "clusters of b")?],
        how,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_a_cluster_is_the_plain_difference() {
        let a: Vec<f64> = (0..20).map(|i| f64::from(i * 7 % 11)).collect();
        let b: Vec<f64> = (0..15).map(|i| f64::from(i * 5 % 13)).collect();
        let how = Resampling::bca(400, 0.95, 2);
        let plain = difference_interval(&a, &b, how).unwrap();
        let named = |x: &[f64], from: usize| -> Vec<(usize, f64)> {
            x.iter().enumerate().map(|(i, &v)| (from + i, v)).collect()
        };
        let clustered = cluster_difference_interval(&named(&a, 100), &named(&b, 0), how).unwrap();
        assert_eq!(plain, clustered);
        assert_eq!(plain.units, 35);
        // The relations of one pair of the two-stage bootstrap are the same units.
        let alone = |x: &[f64]| x.iter().map(|&v| vec![v]).collect::<Vec<_>>();
        let two_stage = crate::two_stage_difference_interval(&alone(&a), &alone(&b), how).unwrap();
        assert_eq!(two_stage.estimate, plain.estimate);
    }

    #[test]
    fn a_cluster_in_both_groups_is_named() {
        let how = Resampling::percentile(100, 0.95, 0);
        let a = [(1, 0.0), (2, 1.0), (5, 2.0)];
        assert_eq!(
            cluster_difference_interval(&a, &[(7, 0.0), (5, 1.0)], how),
            Err(StatsError::SharedCluster { cluster: 5 })
        );
        assert!(matches!(
            cluster_difference_interval(&a, &[(7, 0.0), (7, 1.0)], how),
            Err(StatsError::TooFew {
                what: "clusters of b",
                found: 1,
                ..
            })
        ));
        assert!(difference_interval(&[1.0], &[1.0, 2.0], how).is_err());
    }
}
