//! Least squares, and the covariance of its coefficients.

use std::collections::BTreeMap;

use crate::descriptive::sum_of_squares;
use crate::design::DesignColumn;
use crate::error::{StatsError, check, check_computable, check_count, check_length};
use crate::qr::{Qr, dot};
use crate::regression::{Errors, INTERCEPT};

/// A fitted regression, before errors are computed.
pub(crate) struct LeastSquares<'a> {
    pub names: Vec<&'a str>,
    qr: Qr,
    pub coefficients: Vec<f64>,
    residuals: Vec<f64>,
    pub rss: f64,
    pub tss: f64,
}

impl<'a> LeastSquares<'a> {
    pub fn new(
        y: &[f64],
        columns: impl IntoIterator<Item = &'a DesignColumn>,
    ) -> Result<Self, StatsError> {
        check(y, "y of the regression", 2)?;
        let n = y.len();
        let ones = vec![1.0; n];
        let (mut names, mut values) = (vec![INTERCEPT], vec![ones.as_slice()]);
        for column in columns {
            column.check(n)?;
            names.push(&column.name);
            values.push(&column.values);
        }
        check_count(n, "observations of the regression", values.len() + 1)?;
        let tss = sum_of_squares(y);
        check_computable(tss, "y of the regression")?;
        if tss == 0.0 {
            return Err(StatsError::NoVariation {
                what: "y of the regression",
            });
        }
        let qr = Qr::new(values).map_err(|j| StatsError::Collinear {
            column: names[j].to_owned(),
        })?;
        let (onto, residuals) = qr.project(y);
        let rss = dot(&residuals, &residuals);
        // y is a combination of the columns, and what is left is rounding.
        if rss <= 1e-24 * dot(y, y) {
            return Err(StatsError::NoVariation {
                what: "residuals of the regression",
            });
        }
        Ok(Self {
            coefficients: qr.solve(&onto),
            names,
            qr,
            residuals,
            rss,
            tss,
        })
    }

    /// Orthonormal columns that span the intercept, the columns up to the first,
    /// the columns up to the second, and so on.
    pub fn q(&self) -> impl Iterator<Item = &[f64]> {
        self.qr.q.iter().map(Vec::as_slice)
    }

    /// Covariance of the coefficients, K rows of K.
    pub fn covariance(&self, errors: Errors) -> Result<Vec<Vec<f64>>, StatsError> {
        let (n, k) = (self.residuals.len(), self.coefficients.len());
        // Vectors v with covariance Σ v vᵀ: the columns of R⁻¹ times the residual
        // deviation, or a vector from each cluster.
        let Errors::Clustered(ids) = errors else {
            let deviation = (self.rss / (n - k) as f64).sqrt();
            let columns = (0..k).map(|j| {
                let mut unit = vec![0.0; k];
                unit[j] = deviation;
                self.qr.solve(&unit)
            });
            return Ok(sum_of_outer_products(columns, k));
        };
        check_length(ids.len(), n, || "clusters".to_owned())?;
        let clusters = positions(ids);
        let groups = clusters.len();
        check_count(groups, "clusters", 2)?;
        self.check_clusters(&clusters)?;
        let correction = groups as f64 / (groups - 1) as f64 * (n - 1) as f64 / (n - k) as f64;
        // (XᵀX)⁻¹ Xᵀe = R⁻¹ Qᵀe, over the observations of one cluster.
        let scores = clusters.values().map(|members| {
            let score = |q: &Vec<f64>| {
                members
                    .iter()
                    .map(|&i| q[i] * self.residuals[i])
                    .sum::<f64>()
            };
            let scores: Vec<f64> = self.qr.q.iter().map(score).collect();
            self.qr
                .solve(&scores)
                .iter()
                .map(|v| v * correction.sqrt())
                .collect()
        });
        Ok(sum_of_outer_products(scores, k))
    }

    /// Fails for columns that are independent of the others in one cluster only.
    fn check_clusters(&self, clusters: &BTreeMap<usize, Vec<usize>>) -> Result<(), StatsError> {
        for members in clusters.values() {
            let mut inside = vec![false; self.residuals.len()];
            members.iter().for_each(|&i| inside[i] = true);
            let outside = |q: &Vec<f64>| -> Vec<f64> {
                let kept = q.iter().zip(&inside).filter(|(_, inside)| !**inside);
                kept.map(|(v, _)| *v).collect()
            };
            let rest: Vec<Vec<f64>> = self.qr.q.iter().map(outside).collect();
            if let Err(j) = Qr::new(rest.iter().map(Vec::as_slice)) {
                return Err(StatsError::OneCluster {
                    column: self.names[j].to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// The observations of each cluster.
pub(crate) fn positions(clusters: &[usize]) -> BTreeMap<usize, Vec<usize>> {
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, &cluster) in clusters.iter().enumerate() {
        members.entry(cluster).or_default().push(i);
    }
    members
}

fn sum_of_outer_products(vectors: impl Iterator<Item = Vec<f64>>, k: usize) -> Vec<Vec<f64>> {
    let mut sum = vec![vec![0.0; k]; k];
    for v in vectors {
        for (row, a) in sum.iter_mut().zip(&v) {
            row.iter_mut().zip(&v).for_each(|(cell, b)| *cell += a * b);
        }
    }
    sum
}
