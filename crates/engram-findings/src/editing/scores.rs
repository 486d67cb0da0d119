//! Means of the scores over facts, by set of layers and kind.

use engram_stats::Interval;
use serde::{Deserialize, Serialize};

/// A mean over facts before and after the edit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BeforeAfter {
    /// Facts that have it.
    pub facts: usize,
    /// The unedited model's mean.
    pub before: f64,
    /// The edited models' mean.
    pub after: f64,
    /// Bootstrap interval (BCa) of `after`, clusters of facts resampled; `None` for fewer than two clusters.
    pub interval: Option<Interval>,
}

/// One of the three scores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The share of prompts on which the right answer wins, 0 to 1.
    pub share: BeforeAfter,
    /// The mean difference of probability, −1 to 1.
    pub magnitude: BeforeAfter,
}

/// A share and its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The share, 0 to 1.
    pub value: f64,
    /// Bootstrap interval (BCa), clusters of edited facts resampled; `None` for fewer than two clusters.
    pub interval: Option<Interval>,
}

/// The edits of one kind at one set of layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EditScores {
    /// The layers.
    pub layers: Vec<usize>,
    /// The kind; `None` for all facts.
    pub kind: Option<String>,
    /// Facts edited.
    pub edits: usize,
    /// p(new) > p(true) on the edit's own prompt.
    pub efficacy: Option<Part>,
    /// The same on the paraphrases.
    pub paraphrase: Option<Part>,
    /// p(own answer) > p(new) on the neighbours.
    pub neighbourhood: Option<Part>,
    /// S: the harmonic mean of the three mean shares (Meng et al. 2022).
    pub harmonic: BeforeAfter,
    /// The mean last loss of the optimisations (nats).
    pub loss: f64,
    /// Perplexity of texts held out, mean over edits.
    pub perplexity: Option<BeforeAfter>,
    /// n-gram entropy of the models' own writing (bits), mean over edits.
    pub fluency: Option<BeforeAfter>,
    /// The share of other facts that the model knew before an edit and does not after it, over edits.
    pub lost: Option<Share>,
}
