//! Metrics of the caller's program, beside engram's own.

use std::fmt;
use std::sync::Arc;

use engram_core::{Metric, MetricName};

use crate::engine::Values;
use crate::error::{PatchError, Result};
use crate::metric::Readout;
use crate::prepare::PreparedPair;
use crate::spec::SweepSpec;

/// What a caller's metric is given of a run.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    /// The pair's id.
    pub pair: &'a str,
    /// The logits of the whole vocabulary at the prompt's last position, one for each token.
    pub logits: &'a [f32],
    /// The answer's tokens.
    pub answer: &'a [u32],
    /// The foil's tokens.
    pub foil: &'a [u32],
}

/// A metric of the caller's: a number from the logits after the prompt. It is called for both unpatched runs and for each
/// cell, from several threads at once, in any order.
pub trait LogitMetric: Send + Sync {
    /// Its name: see [`MetricName::new`]. Rows have it behind `own:`.
    fn name(&self) -> &str;

    /// The value, oriented so that higher is better. One that is not finite ends the sweep with
    /// [`PatchError::MetricNotFinite`].
    fn measure(&self, outcome: Outcome<'_>) -> f64;

    /// ∂ value / ∂ logits, one for each token, for what estimates effects by gradients; `None` where the caller has none.
    fn gradient(&self, outcome: Outcome<'_>) -> Option<Vec<f32>> {
        let _ = outcome;
        None
    }

    /// The clean–corrupt gap from which a recovery means something, in the metric's unit; see [`Metric::least_gap`].
    fn least_gap(&self) -> f64 {
        0.0
    }
}

/// The caller's metrics of an engine.
#[derive(Clone, Default)]
pub struct OwnMetrics(Vec<(MetricName, Arc<dyn LogitMetric>)>);

impl fmt::Debug for OwnMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(n, _)| n))
            .finish()
    }
}

impl OwnMetrics {
    /// With one more; one of the same name takes its place.
    ///
    /// # Errors
    /// [`PatchError::Core`] for a name that is none.
    pub fn add(&mut self, metric: Arc<dyn LogitMetric>) -> Result<MetricName> {
        let name = MetricName::new(metric.name())?;
        self.0.retain(|(other, _)| *other != name);
        self.0.push((name, metric));
        Ok(name)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses a sweep by metrics that are not here.
    pub(crate) fn check(&self, spec: &SweepSpec) -> Result<()> {
        for metric in &spec.metrics {
            let Metric::Own(name) = metric else { continue };
            if !self.0.iter().any(|(own, _)| own == name) {
                return Err(PatchError::Unsupported {
                    what: "metric",
                    value: metric.to_string(),
                    supported: "metrics of a caller's are measured where the program gives their function (Sweep::measure)",
                });
            }
        }
        Ok(())
    }

    /// The metrics of a run; `clean` as for [`Readout::measure`], and `tokens` answer and foil as the readout's logits have them.
    pub(crate) fn measure(
        &self,
        readout: &Readout<'_>,
        metrics: &[Metric],
        (pair, tokens): (&PreparedPair, (&[u32], &[u32])),
        clean: &[f64],
    ) -> Values {
        let (answer, foil) = tokens;
        let of = |metric: &Metric| match metric {
            Metric::Own(name) => {
                let own = self.0.iter().find(|(own, _)| own == name);
                own.map_or(f64::NAN, |(_, own)| {
                    own.measure(Outcome {
                        pair: &pair.id,
                        logits: readout.last.values(),
                        answer,
                        foil,
                    })
                })
            }
            metric => readout.measure(*metric, answer, foil, clean),
        };
        metrics.iter().map(of).collect()
    }
}

/// Refuses a caller's metric whose value is no finite number; `run` names the run, with its site.
pub(crate) fn check_finite(
    metrics: &[Metric],
    values: &Values,
    pair: &PreparedPair,
    run: impl FnOnce() -> String,
) -> Result<()> {
    let mut all = metrics.iter().zip(values);
    match all.find(|(metric, value)| matches!(metric, Metric::Own(_)) && !value.is_finite()) {
        None => Ok(()),
        Some((metric, value)) => Err(PatchError::MetricNotFinite {
            pair: pair.id.clone(),
            run: run(),
            metric: metric.to_string(),
            value: *value,
        }),
    }
}
