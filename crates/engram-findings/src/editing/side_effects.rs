//! What else moved: every other fact after each edit.

use serde::{Deserialize, Serialize};

/// What moved with the edits of one set of layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SideEffects {
    /// The layers.
    pub layers: Vec<usize>,
    /// The edits, in the order of the suite: a row of the matrix each; one called `all` where they were made at once.
    pub edits: Vec<String>,
    /// The facts looked at, in the order of the suite: a column each.
    pub facts: Vec<String>,
    /// Each fact's kind.
    pub kinds: Vec<Option<String>>,
    /// Change of the mean log-probability of a fact's answer (nats, to three decimals), `[edit][fact]`; `None` for the
    /// edited fact itself.
    pub change: Vec<Vec<Option<f64>>>,
    /// Facts that were known and no longer are: index of the edit, index of the fact.
    pub lost: Vec<[usize; 2]>,
    /// By what the other fact has in common with the edited one; empty for edits made at once.
    pub spread: Vec<Spread>,
}

/// The other facts of one closeness.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// `same relation`, `same kind` (another relation), `other kind`.
    pub closeness: String,
    /// Edits times other facts.
    pub cells: usize,
    /// Mean change (nats).
    pub change: f64,
    /// Mean size of the change (nats).
    pub size: f64,
    /// The share lost, of those that were looked at.
    pub lost: f64,
}
