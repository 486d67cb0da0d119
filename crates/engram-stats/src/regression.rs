//! Linear regression by least squares, with classical or cluster-robust errors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::descriptive::sum_of_squares;
use crate::design::Column;
use crate::error::{StatsError, check, check_count, check_length, check_level};
use crate::qr::{Qr, dot};
use crate::student::{t_critical, t_two_sided};

/// The name of the constant term, which every regression has.
pub const INTERCEPT: &str = "intercept";

/// How the errors of coefficients are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errors<'a> {
    /// From the residual variance: independent observations of one variance.
    Classical,
    /// Robust to any dependence within clusters, of which there should be some
    /// dozens: CR1, the sandwich of Liang & Zeger (1986) times
    /// G/(G − 1) · (N − 1)/(N − K), t on G − 1 degrees of freedom. The cluster of
    /// each observation, of which only sameness matters.
    Clustered(&'a [usize]),
}

/// One coefficient of a [`Regression`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Term {
    /// [`INTERCEPT`] or the name of the column.
    pub name: String,
    /// Change of y with the column, the others held.
    pub estimate: f64,
    /// Its standard error.
    pub std_error: f64,
    /// Their ratio.
    pub t: f64,
    /// Two-sided p value.
    pub p_value: f64,
    /// Lower end of the interval.
    pub lower: f64,
    /// Upper end of the interval.
    pub upper: f64,
}

/// Result of [`ols`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Regression {
    /// The intercept, and the columns in their order.
    pub terms: Vec<Term>,
    /// Number of observations.
    pub n: usize,
    /// Number of clusters; none with [`Errors::Classical`].
    pub clusters: Option<usize>,
    /// Degrees of freedom of the residuals, N − K.
    pub df_residual: usize,
    /// Degrees of freedom of t: N − K, or G − 1 over clusters.
    pub df: usize,
    /// Share of the variance of y that the columns explain.
    pub r_squared: f64,
    /// The same, less what as many columns of noise would: 1 − (1 − R²)(N − 1)/(N − K).
    pub adjusted_r_squared: f64,
    /// Standard deviation of the residuals, N − K in the denominator.
    pub residual_sd: f64,
    /// Confidence level of the intervals of the terms.
    pub level: f64,
}

/// Regression of `y` on an intercept and `columns`, by least squares.
///
/// # Errors
/// A column or clusters of another length than `y`, a value that is not finite,
/// no more observations than coefficients, `y` that does not vary or leaves no
/// residuals, `level` outside of (0, 1), [`StatsError::Collinear`] with the name
/// of a column that is constant or a combination of those before it; with
/// clusters fewer than two, or [`StatsError::OneCluster`].
pub fn ols(
    y: &[f64],
    columns: &[Column],
    errors: Errors,
    level: f64,
) -> Result<Regression, StatsError> {
    check_level(level)?;
    let fit = Fit::new(y, columns)?;
    let covariance = fit.covariance(errors)?;
    let (n, k) = (y.len(), fit.coefficients.len());
    let (clusters, df) = match errors {
        Errors::Classical => (None, n - k),
        Errors::Clustered(ids) => {
            let count = positions(ids).len();
            (Some(count), count - 1)
        }
    };
    let critical = t_critical(1.0 - level, df as f64);
    let terms = (0..k).map(|j| {
        let (estimate, std_error) = (fit.coefficients[j], covariance[j][j].sqrt());
        let t = estimate / std_error;
        Term {
            name: fit.names[j].to_owned(),
            estimate,
            std_error,
            t,
            p_value: t_two_sided(t, df as f64),
            lower: estimate - critical * std_error,
            upper: estimate + critical * std_error,
        }
    });
    let unexplained = fit.rss / fit.tss;
    let df_residual = n - k;
    Ok(Regression {
        terms: terms.collect(),
        n,
        clusters,
        df_residual,
        df,
        r_squared: 1.0 - unexplained,
        adjusted_r_squared: 1.0 - unexplained * (n - 1) as f64 / df_residual as f64,
        residual_sd: (fit.rss / df_residual as f64).sqrt(),
        level,
    })
}

/// A fitted regression, before anything is said about its errors.
pub(crate) struct Fit<'a> {
    names: Vec<&'a str>,
    qr: Qr,
    pub coefficients: Vec<f64>,
    residuals: Vec<f64>,
    pub rss: f64,
    pub tss: f64,
}

impl<'a> Fit<'a> {
    pub fn new(
        y: &[f64],
        columns: impl IntoIterator<Item = &'a Column>,
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
        if !tss.is_finite() {
            return Err(StatsError::OutOfRange {
                what: "y of the regression",
                expected: "values whose squares are finite",
                value: y.iter().fold(0.0, |m, v| v.abs().max(m)),
            });
        }
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
        let variance = self.rss / (n - k) as f64;
        // Vectors v with covariance Σ v vᵀ: the columns of R⁻¹ and the residual
        // deviation, or a vector from each cluster.
        let classical = || {
            (0..k).map(|j| {
                let mut unit = vec![0.0; k];
                unit[j] = variance.sqrt();
                self.qr.solve(&unit)
            })
        };
        let Errors::Clustered(ids) = errors else {
            return Ok(sum_of_outer_products(classical(), k));
        };
        check_length(ids.len(), n, || "clusters".to_owned())?;
        let clusters = positions(ids);
        let groups = clusters.len();
        check_count(groups, "clusters", 2)?;
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
        let robust = sum_of_outer_products(scores, k);
        let plain = sum_of_outer_products(classical(), k);
        match (0..k).find(|&j| robust[j][j] <= 1e-20 * plain[j][j]) {
            None => Ok(robust),
            Some(j) => Err(StatsError::OneCluster {
                column: self.names[j].to_owned(),
            }),
        }
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
