//! Metrics: numbers read at the answer position, oriented so that higher is better.

use serde::{Deserialize, Serialize};

use crate::setting::words;

words! {
    /// A metric at the answer position.
    Metric, "metric" {
        /// logit(first token of the answer) − logit(first token of the foil).
        LogitDiff => "logit_diff",
        /// Mean logit over the answer's tokens minus the mean over the foil's, at one position: the
        /// published study's metric.
        LogitDiffMean => "logit_diff_mean",
        /// Probability of the answer's first token.
        Prob => "prob",
        /// Log-probability of the answer's first token (nats).
        LogProb => "logprob",
        /// Mean log-probability over the answer's tokens minus the mean over the foil's, teacher-forced (nats).
        LogProbSeq => "logprob_seq",
        /// −KL(clean ‖ run) of the next-token distribution (nats).
        Kl => "kl",
        /// −ln of the rank of the answer's first token (rank 1 is best).
        Rank => "rank",
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
        }
    }

    /// The smallest clean–corrupt gap for which a recovery is meaningful. Below it the recovery, a share of the gap, is
    /// a quotient of two small numbers.
    ///
    /// - Log-odds and log-probabilities: 0.5, a change of odds or probability by a factor of e^0.5 ≈ 1.6.
    /// - `prob`: 0.05, five percentage points.
    /// - `kl`: 0.1 nats, which bounds the total variation between the two runs' distributions by 0.22 (Pinsker).
    /// - `rank`: ln 2, a factor of 2 in rank.
    pub fn least_gap(self) -> f64 {
        match self {
            Metric::LogitDiff | Metric::LogitDiffMean => 0.5,
            Metric::LogProb | Metric::LogProbSeq => 0.5,
            Metric::Prob => 0.05,
            Metric::Kl => 0.1,
            Metric::Rank => std::f64::consts::LN_2,
        }
    }
}
