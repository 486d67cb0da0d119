//! Do edits of one kind hold better? Kind is a property of the relation, so relations are what is permuted.

use engram_stats::{Interval, PermutationTest};
use serde::{Deserialize, Serialize};

/// One kind against another by one score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EditKindTests {
    /// `efficacy`, `paraphrase` or `neighbourhood` (their magnitudes after the edit), or `S` of a fact.
    pub score: String,
    /// The kind whose values are taken first in each difference.
    pub first: String,
    /// The kind that is subtracted.
    pub second: String,
    /// Relations of the first kind.
    pub relations_first: usize,
    /// Relations of the second kind.
    pub relations_second: usize,
    /// The difference at each set of layers; empty where there are too few relations.
    pub layers: Vec<EditKindLayer>,
    /// The answer in words; says why where there is none.
    pub verdict: String,
}

/// One set of layers: mean of the first kind less that of the second, means over relations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EditKindLayer {
    /// The layers.
    pub layers: Vec<usize>,
    /// Mean over the relations of the first kind.
    pub mean_first: f64,
    /// Mean over the relations of the second kind.
    pub mean_second: f64,
    /// The difference, and its permutation p.
    pub test: PermutationTest,
    /// Bootstrap interval of the difference, relations first and facts within them.
    pub interval: Option<Interval>,
    /// Adjusted over sets of layers: no false call at all.
    pub p_holm: f64,
}
