//! Whether finding a fact helps to edit it: edit scores joined to recovery, and Hase et al.'s regression (2023).

use engram_stats::{Interval, RSquaredGain};
use serde::{Deserialize, Serialize};

/// A fact at a layer: how well its edit did there, and how much of it patching brings back there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    /// The fact.
    pub fact: String,
    /// Its kind.
    pub kind: String,
    /// Its relation.
    pub relation: String,
    /// The layer.
    pub layer: usize,
    /// The edit's efficacy magnitude, p(new) − p(true): efficacy itself saturates.
    pub efficacy: f64,
    /// The same on the paraphrases.
    pub paraphrase: Option<f64>,
    /// Recovery of `mlp_out` at the subject's last token.
    pub recovery: f64,
}

/// What recovery adds to the layer in explaining the edits' scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Helps {
    /// What is explained: `efficacy` or `paraphrase`.
    pub score: String,
    /// What is added to what, in words.
    pub added: String,
    /// Facts.
    pub facts: usize,
    /// R² and its gain, with an interval over facts.
    pub explained: RSquaredGain,
}

/// Spearman's correlation of recovery and an edit's magnitude over facts within a layer, averaged over layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Correlation {
    /// `efficacy` or `paraphrase`.
    pub score: String,
    /// Facts.
    pub facts: usize,
    /// Each layer's ρ; layers where either does not vary are left out.
    pub layers: Vec<(usize, f64)>,
    /// Their mean.
    pub mean: f64,
    /// Bootstrap interval of the mean, facts resampled.
    pub interval: Option<Interval>,
}

/// Whether recovery says where to edit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// Facts and layers that have both.
    pub joined: Vec<Joined>,
    /// The layer at which `mlp_out` recovers most, over the edited facts.
    pub best_layer: Option<usize>,
    /// The nested regressions.
    pub helps: Vec<Helps>,
    /// Within layers.
    pub correlations: Vec<Correlation>,
    /// Whether recovery helps beyond the layer, in words.
    pub sentence: String,
}
