//! The bootstrap of means, ratios of means and their differences: a unit is a numerator and a denominator; for a mean
//! the denominator is a count.

use std::collections::BTreeMap;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::error::StatsError;
use crate::interval::{Interval, ResampledStatistic};
use crate::resampling::Resampling;

/// Numerator and denominator summed over a unit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sums {
    pub num: f64,
    pub den: f64,
}

impl Sums {
    pub fn over(units: impl IntoIterator<Item = Self>) -> Self {
        let mut sum = Self::default();
        for unit in units {
            sum.num += unit.num;
            sum.den += unit.den;
        }
        sum
    }

    pub fn ratio(self) -> f64 {
        self.num / self.den
    }

    /// Both parts divided by the number of summed terms.
    pub fn per(self, terms: usize) -> Self {
        Self {
            num: self.num / terms as f64,
            den: self.den / terms as f64,
        }
    }
}

/// Each value as a unit.
pub(crate) fn single(x: &[f64]) -> Vec<Sums> {
    x.iter().map(|&num| Sums { num, den: 1.0 }).collect()
}

/// Sums per cluster, in order of first appearance, so that the result does not depend on the clusters' names.
pub(crate) fn by_cluster(num: &[f64], den: &[f64], clusters: &[usize]) -> Vec<Sums> {
    let mut index = BTreeMap::new();
    let mut units: Vec<Sums> = Vec::new();
    for ((&num, &den), &cluster) in num.iter().zip(den).zip(clusters) {
        let unit = *index.entry(cluster).or_insert(units.len());
        if unit == units.len() {
            units.push(Sums::default());
        }
        units[unit] = Sums::over([units[unit], Sums { num, den }]);
    }
    units
}

/// Interval of the ratio of one sample, or of the ratio of the first minus that of the second; whole units are
/// resampled within their sample.
pub(crate) fn one_stage(samples: &[Vec<Sums>], how: Resampling) -> Result<Interval, StatsError> {
    ratios_interval(samples, how, |sample, rng| {
        let units = &samples[sample];
        Sums::over(
            units
                .iter()
                .map(|_| units[rng.random_range(0..units.len())]),
        )
    })
}

/// As [`one_stage`], where `draw` makes one resample of a sample. The caller has checked that each sample has at least
/// two units.
pub(crate) fn ratios_interval(
    samples: &[Vec<Sums>],
    how: Resampling,
    mut draw: impl FnMut(usize, &mut ChaCha8Rng) -> Sums,
) -> Result<Interval, StatsError> {
    how.check()?;
    let totals: Vec<Sums> = samples
        .iter()
        .map(|units| Sums::over(units.iter().copied()))
        .collect();
    if totals.iter().any(|total| total.den == 0.0) {
        return Err(StatsError::UnstableDenominator { found: 0, of: 0 });
    }
    let mut unstable = 0;
    let mut statistic = |sums: &[Sums]| {
        // A product that underflows to 0 counts as unstable too, as it should.
        let flips = |(sums, total): (&Sums, &Sums)| sums.den * total.den <= 0.0;
        unstable += usize::from(sums.iter().zip(&totals).any(flips));
        difference_of_ratios(sums)
    };
    let mut rng = how.rng();
    let values = (0..how.resamples)
        .map(|_| {
            let drawn: Vec<Sums> = (0..samples.len()).map(|s| draw(s, &mut rng)).collect();
            statistic(&drawn)
        })
        .collect();
    let mut jackknife = Vec::new();
    for (sample, units) in samples.iter().enumerate() {
        let mut left = totals.clone();
        let without = (0..units.len()).map(|out| {
            let kept = units.iter().enumerate().filter(|(i, _)| *i != out);
            left[sample] = Sums::over(kept.map(|(_, unit)| *unit));
            statistic(&left)
        });
        jackknife.push(without.collect());
    }
    let units = samples.iter().map(Vec::len).sum();
    if unstable > 0 {
        return Err(StatsError::UnstableDenominator {
            found: unstable,
            of: how.resamples + units,
        });
    }
    let replicates = ResampledStatistic {
        estimate: difference_of_ratios(&totals),
        values,
        jackknife,
        units,
    };
    Ok(replicates.interval(how))
}

/// The ratio of the first minus that of the second, if there is a second.
fn difference_of_ratios(sums: &[Sums]) -> f64 {
    let rest = sums[1..].iter().map(|sums| sums.ratio());
    rest.fold(sums[0].ratio(), |left, right| left - right)
}
