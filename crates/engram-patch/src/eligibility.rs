//! Which pairs have a recovery: those whose clean–corrupt gap is large enough to divide by, pair by pair and
//! metric by metric.

use engram_core::Metric;
use serde::{Deserialize, Serialize};

use crate::engine::{PairResult, Unpatched};
use crate::plan::PairPlan;
use crate::spec::SweepSpec;

/// A pair's clean–corrupt gap in one metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// The metric.
    pub metric: Metric,
    /// Its mean over the pair's noise samples, in the metric's units.
    pub mean: f64,
    /// The least that is divided by.
    pub least: f64,
}

impl Gap {
    /// Whether the gap is large enough.
    pub fn suffices(&self) -> bool {
        self.mean >= self.least
    }
}

/// A pair's gaps. Decided once for the pair, on the mean over its samples, so that no sample is chosen by its noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Eligibility {
    /// The gap of the metric on which the pair as a whole is eligible or not ([`SweepSpec::gate`]).
    pub pair: Gap,
    /// The gap of each metric of the sweep.
    pub metrics: Vec<Gap>,
}

impl Eligibility {
    /// Of the unpatched runs of all samples of a pair.
    pub fn of(spec: &SweepSpec, samples: &[&Unpatched]) -> Eligibility {
        let mean = |of: &dyn Fn(&Unpatched) -> f64| {
            let gaps: f64 = samples.iter().map(|s| of(s)).sum();
            gaps / samples.len() as f64
        };
        let gap = |metric, mean| Gap {
            metric,
            mean,
            least: spec.least_gap(metric),
        };
        let metrics = spec.metrics.iter().enumerate();
        Eligibility {
            pair: gap(spec.gate(), mean(&|s| s.gap)),
            metrics: metrics
                .map(|(i, m)| gap(*m, mean(&|s| s.clean[i] - s.corrupt[i])))
                .collect(),
        }
    }

    /// Whether rows of a metric have a recovery: the pair is eligible, and its gap in that metric is large enough.
    pub fn in_metric(&self, index: usize) -> bool {
        self.pair.suffices() && self.metrics.get(index).is_some_and(Gap::suffices)
    }
}

/// Index ranges of the plans that are samples of one pair.
pub(crate) fn by_pair(plans: &[PairPlan]) -> impl Iterator<Item = std::ops::Range<usize>> {
    let sample = |plan: &PairPlan| plan.noise.map_or(0, |noise| noise.sample);
    let chunks = plans.chunk_by(move |_, next| sample(next) > 0);
    chunks.scan(0, |end, chunk| {
        let start = *end;
        *end += chunk.len();
        Some(start..*end)
    })
}

/// The pairs that have no recovery in a metric because of its gap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ineligible {
    /// The metric.
    pub metric: Metric,
    /// The least gap that is divided by, in the metric's units.
    pub least: f64,
    /// Of how many pairs.
    pub of: usize,
    /// Each pair's id and its mean gap.
    pub pairs: Vec<(String, f64)>,
}

/// What a sweep leaves out: first the pairs that are not eligible at all, then of the others those whose gap in one
/// metric is too small.
pub fn ineligible(results: &[PairResult]) -> Vec<Ineligible> {
    let mut pairs: Vec<&PairResult> = results.iter().collect();
    pairs.dedup_by_key(|result| &result.pair);
    let (eligible, not): (Vec<&PairResult>, Vec<&PairResult>) =
        (pairs.iter().copied()).partition(|p| p.eligibility.pair.suffices());
    let left_out = |gap: Gap, of: usize, pairs: Vec<(String, f64)>| Ineligible {
        metric: gap.metric,
        least: gap.least,
        of,
        pairs,
    };
    let whole = not.first().map(|first| {
        let named = not
            .iter()
            .map(|p| (p.pair.clone(), p.eligibility.pair.mean));
        left_out(first.eligibility.pair, pairs.len(), named.collect())
    });
    let metrics = eligible.first().map_or(0, |p| p.eligibility.metrics.len());
    let single = (0..metrics).filter_map(|index| {
        let gap = |p: &PairResult| p.eligibility.metrics[index];
        let short = eligible.iter().filter(|p| !gap(p).suffices());
        let named: Vec<_> = short.map(|p| (p.pair.clone(), gap(p).mean)).collect();
        let first = gap(eligible.first()?);
        (!named.is_empty()).then(|| left_out(first, eligible.len(), named))
    });
    whole.into_iter().chain(single).collect()
}

impl std::fmt::Display for Ineligible {
    /// One line; of many pairs the first ten by name.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const NAMED: usize = 10;
        let named = self.pairs.iter().take(NAMED);
        let named: Vec<String> = named
            .map(|(pair, gap)| format!("{pair} ({gap:.3})"))
            .collect();
        let more = self.pairs.len().saturating_sub(NAMED);
        write!(
            f,
            "{} of {} pairs have no recovery in {}: their clean − corrupt gap is below {:.3} {}: {}",
            self.pairs.len(),
            self.of,
            self.metric,
            self.least,
            self.metric.unit(),
            named.join(", ")
        )?;
        match more {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
