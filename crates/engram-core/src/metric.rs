//! Numbers read at the answer position, oriented so that higher is better.

use serde::{Deserialize, Serialize};

use crate::setting::words;

words! {
    /// What is measured at the answer position.
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
    /// Whether the metric needs the answer's and the foil's later tokens appended after the prompt.
    pub fn reads_continuation(self) -> bool {
        self == Metric::LogProbSeq
    }
}
