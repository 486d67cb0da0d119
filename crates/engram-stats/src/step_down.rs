//! The step-down maximum over layers: counts, adjusted p values, scaled tables.

use serde::{Deserialize, Serialize};

use crate::error::StatsError;
use crate::permutation::share;

/// The statistic whose maximum over layers is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerStatistic {
    /// Student's |t|, of one sample or of two with pooled variance: layers have equal weight, whatever their spread.
    /// Recommended.
    T,
    /// The |mean|, or |difference of means|, in the unit of the values: layers of large spread dominate the maximum,
    /// and the others have little power.
    Mean,
}

/// Result of [`crate::max_t_sign_flip`] and [`crate::max_t_kinds`], one number per layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaxT {
    /// t, or the mean or difference of means, with its sign.
    pub statistic: Vec<f64>,
    /// Two-sided permutation p of each layer by itself.
    pub p_value: Vec<f64>,
    /// p adjusted for the family of layers.
    pub adjusted: Vec<f64>,
    /// Number of arrangements used.
    pub permutations: usize,
    /// Whether these were all possible arrangements.
    pub exact: bool,
}

/// Counts, per layer, the arrangements at least as extreme.
pub(crate) struct StepDown {
    observed: Vec<f64>,
    /// Bound of the statistic; differences below 10⁻¹² of it are rounding.
    slack: Vec<f64>,
    /// Layers from the most to the least extreme.
    order: Vec<usize>,
    /// Counts for the layer alone, and for the maximum over it and the less extreme layers.
    alone: Vec<usize>,
    family: Vec<usize>,
    seen: usize,
}

impl StepDown {
    pub fn new(table: &[Vec<f64>], observed: Vec<f64>) -> Self {
        let layers = observed.len();
        let mut order: Vec<usize> = (0..layers).collect();
        order.sort_by(|&i, &j| observed[j].abs().total_cmp(&observed[i].abs()));
        let bound = |l: usize| table.iter().map(|row| row[l].abs()).sum::<f64>();
        Self {
            slack: (0..layers).map(|l| 1e-12 * bound(l)).collect(),
            observed,
            order,
            alone: vec![0; layers],
            family: vec![0; layers],
            seen: 0,
        }
    }

    pub fn add(&mut self, statistic: &[f64]) {
        self.seen += 1;
        let mut largest = 0.0_f64;
        for &layer in self.order.iter().rev() {
            let here = statistic[layer].abs();
            largest = largest.max(here);
            let observed = self.observed[layer].abs() - self.slack[layer];
            self.alone[layer] += usize::from(here >= observed);
            self.family[layer] += usize::from(largest >= observed);
        }
    }

    /// `df` are the degrees of freedom of the t that corresponds to a correlation.
    pub fn finish(
        self,
        what: &'static str,
        statistic: LayerStatistic,
        df: usize,
        exact: bool,
    ) -> Result<MaxT, StatsError> {
        let mut adjusted = vec![0.0; self.order.len()];
        let mut floor = 0.0_f64;
        for &layer in &self.order {
            // No layer has a smaller p than one that is more extreme.
            floor = floor.max(share(self.family[layer], self.seen, exact));
            adjusted[layer] = floor;
        }
        let mut values = self.observed;
        if statistic == LayerStatistic::T {
            for (column, r) in values.iter_mut().enumerate() {
                let rest = 1.0 - *r * *r;
                if rest < 1e-12 {
                    return Err(StatsError::ConstantColumn { what, column });
                }
                *r *= (df as f64 / rest).sqrt();
            }
        }
        let p = |&extreme: &usize| share(extreme, self.seen, exact);
        Ok(MaxT {
            statistic: values,
            p_value: self.alone.iter().map(p).collect(),
            adjusted,
            permutations: self.seen,
            exact,
        })
    }
}

pub(crate) fn column_sums(rows: &[Vec<f64>], layers: usize) -> Vec<f64> {
    (0..layers)
        .map(|l| rows.iter().map(|row| row[l]).sum())
        .collect()
}

/// Subtracts each column's mean, and sets columns to zero in which only rounding error remains.
pub(crate) fn centre(rows: &mut [Vec<f64>], layers: usize) {
    let n = rows.len() as f64;
    for (l, sum) in column_sums(rows, layers).into_iter().enumerate() {
        let largest = rows.iter().fold(0.0_f64, |m, row| m.max(row[l].abs()));
        rows.iter_mut().for_each(|row| row[l] -= sum / n);
        if rows.iter().all(|row| row[l].abs() <= 1e-13 * largest) {
            rows.iter_mut().for_each(|row| row[l] = 0.0);
        }
    }
}

/// Divides each column by `by(sum of squares)`, unless that is 0.
pub(crate) fn scale(rows: &mut [Vec<f64>], layers: usize, by: impl Fn(f64) -> f64) {
    for l in 0..layers {
        let by = by(rows.iter().map(|row| row[l] * row[l]).sum());
        if by > 0.0 {
            rows.iter_mut().for_each(|row| row[l] /= by);
        }
    }
}
