//! One-to-one matching of two groups on a covariate, and the mean difference of the matched values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::descriptive::{mean_of, sum_of_squares};
use crate::error::{StatsError, check, check_count};
use crate::interval::Interval;
use crate::resampling::{Resampling, statistic_interval};

/// Result of [`match_nearest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Matching {
    /// Positions in the first and in the second group, in the order of the first.
    pub pairs: Vec<(usize, usize)>,
    /// The largest distance allowed, in the unit of the covariate.
    pub caliper: f64,
    /// Standardised mean difference of the covariate before matching.
    pub smd_before: f64,
    /// The same after matching, over the same standard deviation.
    pub smd_after: f64,
}

/// Matches values of `a` with values of `b` on a covariate, one to one and without replacement, so that the groups are
/// balanced: first the two nearest values, then the two nearest of the rest, up to a distance of `caliper_sd` standard
/// deviations. Values without a partner are left out.
///
/// The standard deviation is √((s²_a + s²_b) / 2) of both groups before matching; 0.2 of it is the usual caliper
/// (Austin 2011). The standardised mean differences before and after matching use the same standard deviation; groups
/// with less than 0.1 count as balanced. Of equal distances the one with the lower positions is used, so that the
/// result depends on the input only. The number of matches is part of the result: the difference then holds for the
/// matched values, not for the kinds.
///
/// # Errors
/// Fewer than two values in a group, one that is not finite, no variation within the groups, `caliper_sd` not above
/// zero, or fewer than two matches.
pub fn match_nearest(a: &[f64], b: &[f64], caliper_sd: f64) -> Result<Matching, StatsError> {
    check(a, "covariate of a", 2)?;
    check(b, "covariate of b", 2)?;
    if !(caliper_sd > 0.0 && caliper_sd.is_finite()) {
        return Err(StatsError::OutOfRange {
            what: "caliper_sd",
            expected: "a number above 0",
            value: caliper_sd,
        });
    }
    let variance = |x: &[f64]| sum_of_squares(x) / (x.len() - 1) as f64;
    let spread = ((variance(a) + variance(b)) / 2.0).sqrt();
    if spread == 0.0 {
        return Err(StatsError::NoVariation {
            what: "covariate to match on",
        });
    }
    let caliper = caliper_sd * spread;
    let mut near: Vec<(f64, usize, usize)> = Vec::new();
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            let distance = (x - y).abs();
            if distance <= caliper {
                near.push((distance, i, j));
            }
        }
    }
    near.sort_by(|x, y| x.0.total_cmp(&y.0).then((x.1, x.2).cmp(&(y.1, y.2))));
    let mut free = (vec![true; a.len()], vec![true; b.len()]);
    let mut pairs = Vec::new();
    for (_, i, j) in near {
        if free.0[i] && free.1[j] {
            (free.0[i], free.1[j]) = (false, false);
            pairs.push((i, j));
        }
    }
    check_count(pairs.len(), "matches within the caliper", 2)?;
    pairs.sort_unstable();
    let matched = pairs.iter().map(|&(i, j)| a[i] - b[j]).sum::<f64>();
    Ok(Matching {
        smd_before: (mean_of(a) - mean_of(b)) / spread,
        smd_after: matched / pairs.len() as f64 / spread,
        pairs,
        caliper,
    })
}

/// Interval of the mean difference of matched values, `a` minus `b`, clustered by relation. Each value has the
/// identifier of its relation; `pairs` are positions as in [`Matching`].
///
/// A difference belongs to two relations, one of each group. Relations of both groups are resampled, and a difference
/// is weighted by the product of the numbers of draws of its two relations: the pigeonhole bootstrap (Owen 2007), which
/// keeps matches whole and is conservative. The interval does not account for other matches in other samples.
///
/// # Errors
/// Fewer than two matches, or relations of a group among them, or resamples; a value that is not finite; `level`
/// outside of (0, 1); a position beyond its group; [`StatsError::SharedCluster`] if a relation is in both groups; or
/// [`StatsError::Undefined`] if a resample draws no match.
pub fn matched_difference_interval(
    a: &[(usize, f64)],
    b: &[(usize, f64)],
    pairs: &[(usize, usize)],
    how: Resampling,
) -> Result<Interval, StatsError> {
    check_count(pairs.len(), "matches", 2)?;
    let mut index = (BTreeMap::new(), BTreeMap::new());
    let mut differences = Vec::with_capacity(pairs.len());
    for &(i, j) in pairs {
        let (relation_a, y_a) = *at(a, i, "match in a")?;
        let (relation_b, y_b) = *at(b, j, "match in b")?;
        let next = index.0.len();
        let row = *index.0.entry(relation_a).or_insert(next);
        let next = index.1.len();
        let column = *index.1.entry(relation_b).or_insert(next);
        differences.push((row, column, y_a - y_b));
    }
    if let Some(&cluster) = index.0.keys().find(|id| index.1.contains_key(id)) {
        return Err(StatsError::SharedCluster { cluster });
    }
    let values: Vec<f64> = differences.iter().map(|(_, _, d)| *d).collect();
    check(&values, "matched differences", 2)?;
    let (rows, columns) = (index.0.len(), index.1.len());
    check_count(rows, "matched relations of a", 2)?;
    check_count(columns, "matched relations of b", 2)?;
    // Sum and number of the differences of two relations.
    let mut cells = vec![vec![(0.0, 0.0); columns]; rows];
    for (row, column, difference) in differences {
        let cell = &mut cells[row][column];
        *cell = (cell.0 + difference, cell.1 + 1.0);
    }
    statistic_interval(&[rows, columns], how, |drawn| {
        let mut times = vec![0.0; columns];
        drawn[1].iter().for_each(|&column| times[column] += 1.0);
        let (mut sum, mut count) = (0.0, 0.0);
        for &row in &drawn[0] {
            for (cell, times) in cells[row].iter().zip(&times) {
                sum += times * cell.0;
                count += times * cell.1;
            }
        }
        sum / count
    })
}

fn at<'a, T>(values: &'a [T], i: usize, what: &'static str) -> Result<&'a T, StatsError> {
    values.get(i).ok_or(StatsError::OutOfRange {
        what,
        expected: "a position in its group",
        value: i as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_go_first() {
        // 2.0–2.1 before 1.0–1.3; 1.0 would have been nearer to nothing else.
        let found = match_nearest(&[1.0, 2.0, 9.0], &[2.1, 1.3, 5.0, -4.0], 0.2).unwrap();
        assert_eq!(found.pairs, [(0, 1), (1, 0)]);
        assert!((found.smd_after * found.caliper / 0.2 + 0.2).abs() < 1e-12);
        // Of ties, the lower positions.
        let tied = match_nearest(&[1.0, 1.0, 3.0], &[1.0, 1.0, 1.0], 0.5).unwrap();
        assert_eq!(tied.pairs, [(0, 0), (1, 1)]);
        assert_eq!(tied.smd_after, 0.0);
    }

    #[test]
    fn one_value_a_relation_is_near_the_plain_interval_of_differences() {
        let y = |k: usize, i: usize| ((i * k * 7) % 23) as f64;
        let a: Vec<(usize, f64)> = (0..40).map(|i| (i, y(3, i))).collect();
        let b: Vec<(usize, f64)> = (0..40).map(|i| (100 + i, y(5, i))).collect();
        let pairs: Vec<(usize, usize)> = (0..40).map(|i| (i, 39 - i)).collect();
        let how = Resampling::percentile(2000, 0.95, 1);
        let found = matched_difference_interval(&a, &b, &pairs, how).unwrap();
        let differences: Vec<f64> = pairs.iter().map(|&(i, j)| a[i].1 - b[j].1).collect();
        let plain = crate::mean_interval(&differences, how).unwrap();
        assert!((found.estimate - plain.estimate).abs() < 1e-12);
        assert_eq!(found.units, 80);
        // Both relations are drawn, where one drawing would do: √3 as wide with
        // one match a relation, and the number of matches varies too.
        let ratio = (found.upper - found.lower) / (plain.upper - plain.lower);
        assert!((1.2..2.2).contains(&ratio), "{ratio}");
    }

    #[test]
    fn bad_input_is_named() {
        let x = [1.0, 2.0];
        assert!(match_nearest(&x, &x, 0.0).is_err());
        assert!(match_nearest(&x, &x, f64::NAN).is_err());
        assert!(matches!(
            match_nearest(&[1.0; 3], &[1.0; 3], 0.2),
            Err(StatsError::NoVariation { .. })
        ));
        assert!(matches!(
            match_nearest(&x, &[50.0, 60.0], 0.2),
            Err(StatsError::TooFew { found: 0, .. })
        ));
        let how = Resampling::percentile(100, 0.95, 0);
        let a = [(0, 1.0), (1, 2.0)];
        let run = |b: &[(usize, f64)], pairs: &[(usize, usize)]| {
            matched_difference_interval(&a, b, pairs, how)
        };
        let both = [(0, 0), (1, 1)];
        assert_eq!(
            run(&[(7, 1.0), (1, 2.0)], &both),
            Err(StatsError::SharedCluster { cluster: 1 })
        );
        assert!(run(&[(7, 1.0)], &both).is_err());
        assert!(run(&[(7, 1.0), (7, 2.0)], &both).is_err());
        assert!(run(&[(7, 1.0), (8, f64::NAN)], &both).is_err());
    }
}
