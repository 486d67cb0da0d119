//! How much of a value's variance some columns explain, and how much more with others beside them.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::{StatsError, check, check_count, check_level};
use crate::interval::{Interval, Replicates};

/// A column whose part outside the others is below this share of it says nothing more.
const COLLINEAR: f64 = 1e-9;

/// R² of two nested models, and their difference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// R² with the base columns.
    pub base: f64,
    /// R² with the added ones too.
    pub full: f64,
    /// full − base, whole clusters resampled.
    pub gain: Interval,
}

/// R² of the least-squares fit of y on some columns and a constant; a column that the others determine adds nothing. 0
/// where y does not vary.
///
/// # Errors
/// Columns of another length than y, fewer than two values, or a value that is not finite.
pub fn r_squared(y: &[f64], columns: &[Vec<f64>]) -> Result<f64, StatsError> {
    checked(y, columns)?;
    let all: Vec<usize> = (0..y.len()).collect();
    Ok(explained(y, columns, columns.len(), &all).1)
}

/// R² of y on `columns[..base]`, on all columns, and a BCa interval of the difference with whole clusters resampled
/// (each value comes with the identifier of its cluster): what localisation adds to the layer in predicting an edit's
/// score (Hase et al. 2023, section 5). A difference of nested models is never negative, so an interval above 0 is no
/// test by itself.
///
/// # Errors
/// As [`r_squared`]; fewer than two clusters or resamples; `level` outside of (0, 1).
pub fn r_squared_gain(
    y: &[f64],
    columns: &[Vec<f64>],
    base: usize,
    clusters: &[usize],
    (resamples, level, seed): (usize, f64, u64),
) -> Result<Explained, StatsError> {
    checked(y, columns)?;
    check_count(clusters.len(), "r_squared_gain", y.len())?;
    check_count(resamples, "r_squared_gain", 2)?;
    check_level(level)?;
    let mut units: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (row, cluster) in clusters.iter().enumerate().take(y.len()) {
        units.entry(*cluster).or_default().push(row);
    }
    let units: Vec<Vec<usize>> = units.into_values().collect();
    check_count(units.len(), "r_squared_gain", 2)?;
    let gain = |rows: &[usize]| {
        let (few, all) = explained(y, columns, base, rows);
        all - few
    };
    let whole: Vec<usize> = (0..y.len()).collect();
    let (few, all) = explained(y, columns, base, &whole);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let values = (0..resamples).map(|_| {
        let drawn = (0..units.len()).map(|_| random.random_range(0..units.len()));
        let rows: Vec<usize> = drawn.flat_map(|u| units[u].iter().copied()).collect();
        gain(&rows)
    });
    let values: Vec<f64> = values.collect();
    let without = (0..units.len()).map(|left| {
        let kept = units.iter().enumerate().filter(|(i, _)| *i != left);
        gain(
            &kept
                .flat_map(|(_, u)| u.iter().copied())
                .collect::<Vec<_>>(),
        )
    });
    let replicates = Replicates {
        estimate: all - few,
        values,
        jackknife: vec![without.collect()],
    };
    Ok(Explained {
        base: few,
        full: all,
        gain: replicates.interval(level),
    })
}

fn checked(y: &[f64], columns: &[Vec<f64>]) -> Result<(), StatsError> {
    check(y, "r_squared", 2)?;
    for column in columns {
        check(column, "r_squared", y.len())?;
    }
    Ok(())
}

/// R² of the first `base` columns, and of all, over some rows: by orthogonal columns (modified Gram–Schmidt).
fn explained(y: &[f64], columns: &[Vec<f64>], base: usize, rows: &[usize]) -> (f64, f64) {
    let centred = |x: &[f64]| -> Vec<f64> {
        let values: Vec<f64> = rows.iter().map(|r| x[*r]).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.into_iter().map(|v| v - mean).collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let y = centred(y);
    let total = dot(&y, &y);
    let (mut few, mut all) = (0.0, 0.0);
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for (i, column) in columns.iter().enumerate() {
        let mut x = centred(column);
        let before = dot(&x, &x);
        // Twice, so that what rounding left of the others goes too.
        for _ in 0..2 {
            for q in &basis {
                let along = dot(&x, q);
                x.iter_mut().zip(q).for_each(|(x, q)| *x -= along * q);
            }
        }
        let norm = dot(&x, &x);
        if norm > COLLINEAR * before && total > 0.0 {
            x.iter_mut().for_each(|v| *v /= norm.sqrt());
            all += dot(&x, &y).powi(2) / total;
            basis.push(x);
        }
        if i + 1 == base {
            few = all;
        }
    }
    (few, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_column_it_is_the_squared_correlation() {
        let (x, y) = (vec![1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 4.0, 3.0]);
        let found = r_squared(&y, std::slice::from_ref(&x)).unwrap();
        assert!((found - 0.36).abs() < 1e-12, "{found}");
        // A column twice adds nothing.
        let twice = r_squared(&y, &[x.clone(), x]).unwrap();
        assert!((twice - 0.36).abs() < 1e-12, "{twice}");
    }

    #[test]
    fn a_gain_is_what_the_added_columns_explain() {
        let n = 40;
        let layer: Vec<f64> = (0..n).map(|i| f64::from(i % 4)).collect();
        let other: Vec<f64> = (0..n).map(|i| f64::from((i * 7) % 5)).collect();
        let y: Vec<f64> = layer.iter().zip(&other).map(|(a, b)| a + 0.5 * b).collect();
        let clusters: Vec<usize> = (0..n as usize).map(|i| i / 4).collect();
        let found = r_squared_gain(&y, &[layer, other], 1, &clusters, (200, 0.95, 1)).unwrap();
        assert!((found.full - 1.0).abs() < 1e-12);
        let gain = found.gain;
        assert!(gain.lower <= gain.estimate && gain.estimate <= gain.upper);
        assert!((gain.estimate - (found.full - found.base)).abs() < 1e-15);
        assert!(gain.lower > 0.0, "{gain:?}");
    }
}
