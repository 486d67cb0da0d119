//! Settings of bootstrap intervals, and the bootstrap of any statistic.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::{StatsError, check_count, check_level};
use crate::interval::{Interval, ResampledStatistic};

/// How the ends of an interval are determined from the sorted replicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ends {
    /// Corrected for bias and skewness (Efron 1987); recommended.
    Bca,
    /// Plain percentiles, which need no leave-one-out values: too short with few units, and biased for skewed
    /// statistics.
    Percentile,
}

/// Settings of a bootstrap interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Resampling {
    /// How the ends are determined.
    pub ends: Ends,
    /// Number of resamples; 2,000 or more for a reported result.
    pub resamples: usize,
    /// Confidence level, such as 0.95.
    pub level: f64,
    /// Seed of the resamples.
    pub seed: u64,
}

impl Resampling {
    /// Settings with [`Ends::Bca`].
    pub fn bca(resamples: usize, level: f64, seed: u64) -> Self {
        Self {
            ends: Ends::Bca,
            resamples,
            level,
            seed,
        }
    }

    /// Settings with [`Ends::Percentile`].
    pub fn percentile(resamples: usize, level: f64, seed: u64) -> Self {
        Self {
            ends: Ends::Percentile,
            ..Self::bca(resamples, level, seed)
        }
    }

    pub(crate) fn check(&self) -> Result<(), StatsError> {
        check_count(self.resamples, "resamples", 2)?;
        check_level(self.level)
    }

    pub(crate) fn rng(&self) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.seed)
    }
}

/// Interval of any statistic of independent units, of one sample or several.
///
/// `samples` holds the number of units of each sample. `statistic` gets the drawn positions, one vector per sample, and
/// returns its value for them, NaN if undefined. Units are resampled within their sample; for [`Ends::Bca`] they are
/// also left out one at a time.
///
/// # Errors
/// No sample, fewer than two units in one, fewer than two resamples, `level` outside of (0, 1), or
/// [`StatsError::Undefined`] if `statistic` is not finite.
pub fn statistic_interval(
    samples: &[usize],
    how: Resampling,
    statistic: impl Fn(&[Vec<usize>]) -> f64,
) -> Result<Interval, StatsError> {
    how.check()?;
    check_count(samples.len(), "samples", 1)?;
    samples
        .iter()
        .try_for_each(|&n| check_count(n, "units", 2))?;
    let whole: Vec<Vec<usize>> = samples.iter().map(|&n| (0..n).collect()).collect();
    let estimate = statistic(&whole);
    let undefined = |found, of| StatsError::Undefined {
        what: "statistic_interval",
        found,
        of,
    };
    if !estimate.is_finite() {
        return Err(undefined(0, 0));
    }
    let mut rng = how.rng();
    let mut drawn = whole.clone();
    let values: Vec<f64> = (0..how.resamples)
        .map(|_| {
            for (drawn, &n) in drawn.iter_mut().zip(samples) {
                drawn.fill_with(|| rng.random_range(0..n));
            }
            statistic(&drawn)
        })
        .collect();
    let jackknife: Vec<Vec<f64>> = match how.ends {
        Ends::Percentile => Vec::new(),
        Ends::Bca => (0..samples.len())
            .map(|sample| leave_one_out(&whole, sample, &statistic))
            .collect(),
    };
    let all = || values.iter().chain(jackknife.iter().flatten());
    let found = all().filter(|v| !v.is_finite()).count();
    if found > 0 {
        return Err(undefined(found, all().count()));
    }
    let replicates = ResampledStatistic {
        estimate,
        values,
        jackknife,
        units: samples.iter().sum(),
    };
    Ok(replicates.interval(how))
}

/// The statistic without each unit of one sample in turn.
fn leave_one_out(
    whole: &[Vec<usize>],
    sample: usize,
    statistic: impl Fn(&[Vec<usize>]) -> f64,
) -> Vec<f64> {
    let mut kept = whole.to_vec();
    whole[sample]
        .iter()
        .map(|&out| {
            kept[sample] = whole[sample]
                .iter()
                .copied()
                .filter(|&i| i != out)
                .collect();
            statistic(&kept)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_the_bootstrap_of_the_mean() {
        let x: Vec<f64> = (0..25).map(|i| f64::from(i * i % 13)).collect();
        let mean = |drawn: &[Vec<usize>]| {
            drawn[0].iter().map(|&i| x[i]).sum::<f64>() / drawn[0].len() as f64
        };
        for how in [
            Resampling::bca(300, 0.9, 4),
            Resampling::percentile(300, 0.9, 4),
        ] {
            assert_eq!(
                statistic_interval(&[25], how, mean).unwrap(),
                crate::mean_interval(&x, how).unwrap()
            );
        }
    }

    #[test]
    fn a_statistic_without_value_is_refused() {
        let how = Resampling::bca(100, 0.95, 0);
        let spread = |drawn: &[Vec<usize>]| {
            let first = drawn[0][0];
            if drawn[0].iter().all(|&i| i == first) {
                f64::NAN
            } else {
                1.0
            }
        };
        assert!(matches!(
            statistic_interval(&[3], how, spread),
            Err(StatsError::Undefined {
                found: 1..,
                of: 103,
                ..
            })
        ));
        assert!(matches!(
            statistic_interval(&[3], how, |_| f64::NAN),
            Err(StatsError::Undefined { of: 0, .. })
        ));
        assert!(statistic_interval(&[], how, |_| 0.0).is_err());
        assert!(statistic_interval(&[3, 1], how, |_| 0.0).is_err());
    }
}
