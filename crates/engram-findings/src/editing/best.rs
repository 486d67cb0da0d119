//! Where to edit: the set of layers with the greatest S, and whether it is shown to be better than the others.

use engram_stats::{Interval, PermutationTest};
use serde::{Deserialize, Serialize};

/// The set of layers with the greatest S, held against every other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BestLayer {
    /// The kind; `None` for all facts.
    pub kind: Option<String>,
    /// The layers.
    pub layers: Vec<usize>,
    /// Their S, the harmonic mean of the mean shares.
    pub harmonic: f64,
    /// Facts edited at every set of layers, over which the comparisons are paired.
    pub facts: usize,
    /// Against every other set of layers, in their order.
    pub others: Vec<LayerComparison>,
    /// The others that are not shown to be worse.
    pub not_told_apart: Vec<Vec<usize>>,
    /// The layers to edit, where that is shown: every other is worse after Holm, and efficacy is above 50 %, interval
    /// and all.
    pub recommended: Option<Vec<usize>>,
    /// That, or why not and what it would take, in words.
    pub sentence: String,
}

/// The best set of layers less another, paired by fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerComparison {
    /// The other layers.
    pub layers: Vec<usize>,
    /// Mean difference of S of a fact, and the sign-flip test over clusters of facts.
    pub test: PermutationTest,
    /// Bootstrap interval of the mean difference, over clusters.
    pub interval: Option<Interval>,
    /// Adjusted over the other sets of layers: no false call at all.
    pub p_holm: f64,
}
