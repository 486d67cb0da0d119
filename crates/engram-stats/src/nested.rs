//! The contribution of some columns to a regression: ΔR² over clusters, and its F test.

use serde::{Deserialize, Serialize};

use crate::design::DesignColumn;
use crate::error::{StatsError, check_computable, check_count};
use crate::fit::{LeastSquares, positions};
use crate::interval::Interval;
use crate::qr::{INDEPENDENT, solve_square};
use crate::regression::Errors;
use crate::resampling::{Resampling, statistic_interval};
use crate::student::f_upper;

/// Result of [`r_squared_gain`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RSquaredGain {
    /// R² of the regression on the reduced columns alone.
    pub reduced: f64,
    /// R² with the added columns.
    pub full: f64,
    /// ΔR² = full − reduced, with whole clusters resampled.
    pub gain: Interval,
    /// Wald's F of the added coefficients, cluster-robust.
    pub f: f64,
    /// Number of added columns.
    pub df_added: usize,
    /// Number of clusters less one.
    pub df_clusters: usize,
    /// Upper tail of F: the p value for the hypothesis that the added columns have no effect.
    pub p_value: f64,
}

/// What the columns `added` explain of `y` beyond the columns `reduced` (which may be none): ΔR² with its interval, and
/// a joint test of the added coefficients.
///
/// The test is F = bᵀ V⁻¹ b / q, with the q added coefficients b and their cluster-robust covariance V as in
/// [`Errors::Clustered`], on q and G − 1 degrees of freedom (statsmodels' `wald_test`). The test tells whether there is
/// an effect; the interval, from refitting on resampled clusters, tells how large it is. ΔR² is never negative, so an
/// interval above zero is not evidence of an effect.
///
/// A column that does not vary in a resample, such as the dummy of a rare level, explains nothing in it.
///
/// # Errors
/// Those of [`crate::ols`]; no added column, no more clusters than added columns, fewer than two resamples, or
/// [`StatsError::Undefined`] if `y` is constant in a resample.
pub fn r_squared_gain(
    y: &[f64],
    reduced: &[DesignColumn],
    added: &[DesignColumn],
    clusters: &[usize],
    how: Resampling,
) -> Result<RSquaredGain, StatsError> {
    let q = added.len();
    check_count(q, "added columns", 1)?;
    let fit = LeastSquares::new(y, reduced.iter().chain(added))?;
    let covariance = fit.covariance(Errors::Clustered(clusters))?;
    let first = fit.coefficients.len() - q;
    let members = positions(clusters);
    check_count(members.len(), "clusters", q + 1)?;
    let b = &fit.coefficients[first..];
    let v: Vec<Vec<f64>> = covariance[first..]
        .iter()
        .map(|row| row[first..].to_vec())
        .collect();
    let solved = solve_square(&v, b, "covariance of the added coefficients")?;
    let f = b.iter().zip(&solved).map(|(b, s)| b * s).sum::<f64>() / q as f64;
    check_computable(f, "F of the added columns")?;

    // In the orthonormal columns of Q the regression has the same R², and its
    // cross-products are well conditioned; those of clusters add up.
    let products: Vec<Vec<Vec<f64>>> = members
        .values()
        .map(|rows| cross_products(&fit.q().chain([y]).collect::<Vec<_>>(), rows))
        .collect();
    let interval = statistic_interval(&[products.len()], how, |drawn| {
        let [reduced, full] = r_squared(sum(drawn[0].iter().map(|&c| &products[c])), first);
        full - reduced
    })?;
    let [reduced, full] = r_squared(sum(products.iter()), first);
    let df_clusters = members.len() - 1;
    Ok(RSquaredGain {
        reduced,
        full,
        gain: interval,
        f,
        df_added: q,
        df_clusters,
        p_value: f_upper(f, q as f64, df_clusters as f64),
    })
}

/// Products of all pairs of columns, summed over `rows`.
fn cross_products(columns: &[&[f64]], rows: &[usize]) -> Vec<Vec<f64>> {
    let product = |a: &[f64], b: &[f64]| rows.iter().map(|&i| a[i] * b[i]).sum();
    columns
        .iter()
        .map(|a| columns.iter().map(|b| product(a, b)).collect())
        .collect()
}

fn sum<'a>(tables: impl Iterator<Item = &'a Vec<Vec<f64>>>) -> Vec<Vec<f64>> {
    let mut total: Vec<Vec<f64>> = Vec::new();
    for table in tables {
        if total.is_empty() {
            total.clone_from(table);
            continue;
        }
        for (row, other) in total.iter_mut().zip(table) {
            row.iter_mut().zip(other).for_each(|(cell, v)| *cell += v);
        }
    }
    total
}

/// R² of the columns before `first`, and of all, from the cross-products of the intercept, the columns and y: each
/// column is eliminated in turn, and the last cell is the residual sum of squares of y. NaN if y does not vary.
fn r_squared(mut table: Vec<Vec<f64>>, first: usize) -> [f64; 2] {
    let last = table.len() - 1;
    let whole: Vec<f64> = (0..=last).map(|j| table[j][j]).collect();
    let mut left = Vec::with_capacity(last);
    for j in 0..last {
        let pivot_row = table[j].clone();
        let pivot = pivot_row[j];
        if pivot > INDEPENDENT * whole[j] {
            for row in &mut table[j + 1..] {
                let times = row[j] / pivot;
                row.iter_mut()
                    .zip(&pivot_row)
                    .for_each(|(cell, p)| *cell -= times * p);
            }
        }
        left.push(table[last][last]);
    }
    let total = left[0];
    if total <= INDEPENDENT * whole[last] {
        return [f64::NAN; 2];
    }
    [first - 1, last - 1].map(|j| (1.0 - left[j] / total).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ols;

    fn data() -> (Vec<f64>, Vec<DesignColumn>, Vec<usize>) {
        let wave = |k: usize, i: usize| ((i * k * 37 + 11 * k) % 101) as f64 / 50.0;
        let column =
            |k: usize| DesignColumn::new(format!("x{k}"), (0..60).map(|i| wave(k, i)).collect());
        let columns: Vec<DesignColumn> = (2..5).map(column).collect();
        let y = (0..60)
            .map(|i| wave(2, i) - 0.5 * wave(4, i) + wave(9, i))
            .collect();
        (y, columns, (0..60).map(|i| i % 12).collect())
    }

    #[test]
    fn it_is_the_difference_of_two_fits() {
        let (y, columns, clusters) = data();
        let how = Resampling::bca(200, 0.95, 1);
        let errors = Errors::Clustered(&clusters);
        for first in [0, 1, 2] {
            let (reduced, added) = columns.split_at(first);
            let found = r_squared_gain(&y, reduced, added, &clusters, how).unwrap();
            let of = |columns: &[DesignColumn]| ols(&y, columns, errors, 0.95).unwrap();
            let expected = match first {
                0 => 0.0,
                _ => of(reduced).r_squared,
            };
            assert!((found.reduced - expected).abs() < 1e-12);
            let full = of(&columns);
            assert!((found.full - full.r_squared).abs() < 1e-12);
            assert_eq!(found.gain.estimate, found.full - found.reduced);
            assert_eq!((found.df_added, found.df_clusters), (3 - first, 11));
            // Of one coefficient, F is the square of t.
            if first == 2 {
                assert!((found.f / full.terms[3].t.powi(2) - 1.0).abs() < 1e-10);
                assert!((found.p_value / full.terms[3].p_value - 1.0).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn a_rare_level_may_be_missing_from_a_resample() {
        let (y, mut columns, clusters) = data();
        let rare = clusters.iter().map(|&c| f64::from(u8::from(c < 2)));
        columns.push(DesignColumn::new("rare", rare.collect()));
        let how = Resampling::percentile(300, 0.95, 1);
        let found = r_squared_gain(&y, &columns[..3], &columns[3..], &clusters, how).unwrap();
        assert!(found.gain.lower >= 0.0 && found.gain.upper < 1.0);
    }

    #[test]
    fn bad_input_is_named() {
        let (y, columns, clusters) = data();
        let how = Resampling::bca(100, 0.95, 0);
        assert!(r_squared_gain(&y, &columns, &[], &clusters, how).is_err());
        assert!(matches!(
            r_squared_gain(&y, &columns, &columns[..1], &clusters, how),
            Err(StatsError::Collinear { column }) if column == "x2"
        ));
        let three: Vec<usize> = clusters.iter().map(|c| c % 3).collect();
        assert!(matches!(
            r_squared_gain(&y, &[], &columns, &three, how),
            Err(StatsError::TooFew {
                needed: 4,
                found: 3,
                ..
            })
        ));
    }
}
