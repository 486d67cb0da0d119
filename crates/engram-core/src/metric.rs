//! Metrics: numbers read at the answer position, oriented so that higher is better.

use std::fmt;
use std::str::FromStr;

use arrayvec::ArrayString;
use serde::{Deserialize, Serialize};

use crate::error::{CoreError, Result};

/// What is measured at the answer position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Metric {
    /// logit(first token of the answer) − logit(first token of the foil).
    LogitDiff,
    /// Mean logit over the answer's tokens minus the mean over the foil's, at one position: the
    /// published study's metric.
    LogitDiffMean,
    /// Probability of the answer's first token.
    Prob,
    /// Log-probability of the answer's first token (nats).
    LogProb,
    /// Mean log-probability over the answer's tokens minus the mean over the foil's, teacher-forced (nats).
    LogProbSeq,
    /// −KL(clean ‖ run) of the next-token distribution (nats).
    Kl,
    /// −ln of the rank of the answer's first token (rank 1 is best).
    Rank,
    /// A metric of a caller's program, which supplies the function. Files name it `own:` and its name.
    Own(MetricName),
}

/// The name of a caller's metric: 1 to 32 letters, digits, `_`, `-` or `.`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricName(ArrayString<{ MetricName::LONGEST }>);

impl MetricName {
    /// The most bytes of a name.
    pub const LONGEST: usize = 32;

    /// Checks a name.
    ///
    /// # Errors
    /// [`CoreError::UnknownWord`] for one that is empty, too long or has other characters.
    pub fn new(name: &str) -> Result<MetricName> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let checked = ArrayString::from(name).ok();
        let checked = checked.filter(|name| !name.is_empty() && name.chars().all(fits));
        checked
            .map(MetricName)
            .ok_or_else(|| CoreError::UnknownWord {
                what: "name of a metric",
                value: name.to_owned(),
                known: "1 to 32 letters, digits, _, - or .".to_owned(),
            })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What stands before the name of a caller's metric.
const OWN: &str = "own:";

impl Metric {
    /// Every metric of engram's own, in the order of declaration.
    pub const ALL: &'static [Metric] = &[
        Metric::LogitDiff,
        Metric::LogitDiffMean,
        Metric::Prob,
        Metric::LogProb,
        Metric::LogProbSeq,
        Metric::Kl,
        Metric::Rank,
    ];

    /// The word; a caller's metric without `own:`.
    pub fn name(&self) -> &str {
        match self {
            Metric::LogitDiff => "logit_diff",
            Metric::LogitDiffMean => "logit_diff_mean",
            Metric::Prob => "prob",
            Metric::LogProb => "logprob",
            Metric::LogProbSeq => "logprob_seq",
            Metric::Kl => "kl",
            Metric::Rank => "rank",
            Metric::Own(name) => name.as_str(),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Metric::Own(name) => write!(f, "{OWN}{}", name.as_str()),
            _ => f.write_str(self.name()),
        }
    }
}

impl FromStr for Metric {
    type Err = CoreError;

    fn from_str(text: &str) -> Result<Metric> {
        if let Some(name) = text.strip_prefix(OWN) {
            return MetricName::new(name).map(Metric::Own);
        }
        let known = Metric::ALL.iter();
        let found = known.clone().find(|metric| metric.name() == text);
        found.copied().ok_or_else(|| CoreError::UnknownWord {
            what: "metric",
            value: text.to_owned(),
            known: known.map(|m| m.name()).collect::<Vec<_>>().join(", "),
        })
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> String {
        metric.to_string()
    }
}

impl TryFrom<String> for Metric {
    type Error = CoreError;

    fn try_from(text: String) -> Result<Metric> {
        text.parse()
    }
}

impl Metric {
    /// Whether the metric needs the later tokens of answer and foil appended to the prompt.
    pub fn reads_continuation(self) -> bool {
        self == Metric::LogProbSeq
    }

    /// The unit of its values.
    pub fn unit(self) -> &'static str {
        match self {
            Metric::LogitDiff | Metric::LogitDiffMean => "(logits)",
            Metric::Prob => "(probability)",
            Metric::LogProb | Metric::LogProbSeq | Metric::Kl => "nats",
            Metric::Rank => "(ln rank)",
            Metric::Own(_) => "(its own unit)",
        }
    }

    /// The smallest clean–corrupt gap for which a recovery is meaningful. Below it the recovery, a share of the gap, is
    /// a quotient of two small numbers.
    ///
    /// - Log-odds and log-probabilities: 0.5, a change of odds or probability by a factor of e^0.5 ≈ 1.6.
    /// - `prob`: 0.05, five percentage points.
    /// - `kl`: 0.1 nats, which bounds the total variation between the two runs' distributions by 0.22 (Pinsker).
    /// - `rank`: ln 2, a factor of 2 in rank.
    /// - A caller's: 0 unless the caller says another.
    pub fn least_gap(self) -> f64 {
        match self {
            Metric::LogitDiff | Metric::LogitDiffMean => 0.5,
            Metric::LogProb | Metric::LogProbSeq => 0.5,
            Metric::Prob => 0.05,
            Metric::Kl => 0.1,
            Metric::Rank => std::f64::consts::LN_2,
            Metric::Own(_) => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_as_they_are_written() {
        let own = Metric::Own(MetricName::new("entropy_2.1").unwrap());
        for metric in Metric::ALL.iter().chain([&own]) {
            assert_eq!(metric.to_string().parse::<Metric>().unwrap(), *metric);
            let json = serde_json::to_string(metric).unwrap();
            assert_eq!(json, format!("\"{metric}\""));
            assert_eq!(serde_json::from_str::<Metric>(&json).unwrap(), *metric);
        }
        assert_eq!(own.to_string(), "own:entropy_2.1");
        for wrong in ["own:", "own:a b", "own:é", "logit_dif", ""] {
            assert!(wrong.parse::<Metric>().is_err(), "{wrong}");
        }
        let long = format!("own:{}", "x".repeat(33));
        let error = long.parse::<Metric>().unwrap_err().to_string();
        assert!(error.contains("1 to 32"), "{error}");
    }
}
