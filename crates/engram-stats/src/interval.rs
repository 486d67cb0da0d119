//! Confidence intervals from bootstrap replicates: BCa, or percentiles where BCa is undefined.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use crate::descriptive::{mean_of, quantile_of_sorted};
use crate::resampling::{Ends, Resampling};

/// How the ends of an [`Interval`] were determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalMethod {
    /// Bias-corrected and accelerated (Efron 1987).
    Bca,
    /// Percentiles: all replicates are the same, so the interval is a point.
    PercentileNoSpread,
    /// Percentiles: all replicates lie on one side of the estimate, and the
    /// bias correction is infinite.
    PercentileNoBias,
    /// Percentiles: leaving out any one unit gives the same value, or the adjusted position is not finite, so that
    /// there is no acceleration.
    PercentileNoAcceleration,
    /// Percentiles, as asked for with [`crate::Ends::Percentile`].
    Percentile,
}

/// A bootstrap confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The statistic of the sample itself.
    pub estimate: f64,
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
    /// Confidence level, such as 0.95.
    pub level: f64,
    /// How the ends were determined.
    pub method: IntervalMethod,
    /// Number of resamples.
    pub resamples: usize,
    /// Number of units resampled at the outermost level: values, clusters or relations.
    pub units: usize,
}

/// Replicates and leave-one-out values of a statistic.
pub(crate) struct ResampledStatistic {
    /// The statistic of the sample.
    pub estimate: f64,
    /// The statistic of each resample.
    pub values: Vec<f64>,
    /// The statistic with each unit left out, by the sample that the unit is from; empty for percentile intervals.
    pub jackknife: Vec<Vec<f64>>,
    /// Number of units in all samples.
    pub units: usize,
}

impl ResampledStatistic {
    /// The interval requested by `how`, which has been checked.
    pub fn interval(mut self, how: Resampling) -> Interval {
        let level = how.level;
        self.values.sort_by(f64::total_cmp);
        let tails = [(1.0 - level) / 2.0, (1.0 + level) / 2.0];
        let bca = match how.ends {
            Ends::Bca => self.bca_positions(tails),
            Ends::Percentile => Err(IntervalMethod::Percentile),
        };
        let (positions, method) = match bca {
            Ok(positions) => (positions, IntervalMethod::Bca),
            Err(method) => (tails, method),
        };
        let [lower, upper] = positions.map(|q| quantile_of_sorted(&self.values, q));
        Interval {
            estimate: self.estimate,
            lower,
            upper,
            level,
            method,
            resamples: self.values.len(),
            units: self.units,
        }
    }

    /// The ends of the BCa interval as shares of the sorted replicates, or the reason why it is undefined.
    fn bca_positions(&self, tails: [f64; 2]) -> Result<[f64; 2], IntervalMethod> {
        let (first, last) = (self.values[0], self.values[self.values.len() - 1]);
        // The same values summed in another order differ by rounding only.
        let rounding = 1e-12 * first.abs().max(last.abs()).max(self.estimate.abs());
        if last - first <= rounding {
            return Err(IntervalMethod::PercentileNoSpread);
        }
        let below = self
            .values
            .partition_point(|&v| v < self.estimate - rounding);
        let up_to = self
            .values
            .partition_point(|&v| v <= self.estimate + rounding);
        // Replicates equal to the estimate count half: means of few distinct
        // values hit it often.
        let share = (below + up_to) as f64 / (2 * self.values.len()) as f64;
        let normal = Normal::standard();
        let bias = normal.inverse_cdf(share);
        if !bias.is_finite() {
            return Err(IntervalMethod::PercentileNoBias);
        }
        let acceleration = self
            .acceleration(rounding)
            .ok_or(IntervalMethod::PercentileNoAcceleration)?;
        let mut positions = tails;
        for position in &mut positions {
            let z = bias + normal.inverse_cdf(*position);
            let shrink = 1.0 - acceleration * z;
            if shrink <= 0.0 {
                return Err(IntervalMethod::PercentileNoAcceleration);
            }
            *position = normal.cdf(bias + z / shrink);
        }
        Ok(positions)
    }

    /// A sixth of the skewness of the influence values Uᵢ = (n − 1)(θ̄ − θ₋ᵢ);
    /// several samples are summed as in Efron & Tibshirani, *An Introduction to
    /// the Bootstrap*, equation 14.36. `None` where nothing varies.
    fn acceleration(&self, rounding: f64) -> Option<f64> {
        let (mut cubes, mut squares) = (0.0, 0.0);
        for values in &self.jackknife {
            let n = values.len() as f64;
            let centre = mean_of(values);
            for value in values {
                let deviation = centre - value;
                if deviation.abs() > rounding {
                    let influence = (n - 1.0) / n * deviation;
                    cubes += influence.powi(3);
                    squares += influence.powi(2);
                }
            }
        }
        let value = cubes / (6.0 * squares.powf(1.5));
        (squares > 0.0 && value.is_finite()).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicates(estimate: f64, values: Vec<f64>, jackknife: Vec<f64>) -> ResampledStatistic {
        ResampledStatistic {
            estimate,
            values,
            units: jackknife.len(),
            jackknife: vec![jackknife],
        }
    }

    #[test]
    fn without_bias_and_acceleration_bca_is_the_percentiles() {
        let values: Vec<f64> = (0..=1000).rev().map(f64::from).collect();
        let result =
            replicates(500.0, values, vec![1.0, 2.0, 3.0]).interval(Resampling::bca(1001, 0.9, 0));
        assert_eq!(result.method, IntervalMethod::Bca);
        assert!((result.lower - 50.0).abs() < 1e-6);
        assert!((result.upper - 950.0).abs() < 1e-6);
    }

    #[test]
    fn each_fallback_is_named() {
        let method = |r: ResampledStatistic| r.interval(Resampling::bca(9, 0.95, 0)).method;
        assert_eq!(
            method(replicates(1.0, vec![1.0; 9], vec![1.0, 2.0])),
            IntervalMethod::PercentileNoSpread
        );
        assert_eq!(
            method(replicates(5.0, vec![1.0, 2.0, 3.0], vec![1.0, 2.0])),
            IntervalMethod::PercentileNoBias
        );
        assert_eq!(
            method(replicates(2.0, vec![1.0, 2.0, 3.0], vec![2.0, 2.0])),
            IntervalMethod::PercentileNoAcceleration
        );
        let asked = replicates(2.0, vec![1.0, 2.0, 3.0], vec![1.0, 2.5]);
        assert_eq!(
            asked.interval(Resampling::percentile(3, 0.95, 0)).method,
            IntervalMethod::Percentile
        );
    }
}
