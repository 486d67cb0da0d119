//! Edits: how well they hold where, whether kinds differ, whether recovery says where to edit, what else moves.
//!
//! The unit is the fact; facts of one cluster are averaged before any test, and resampled together; kinds are compared
//! over relations. S of one fact, [`harmonic`](engram_core::Score::harmonic) of its own shares, is what layers are
//! compared by: it is high only where the edit holds, in other words too, and leaves neighbours alone.

pub mod best;
pub mod kinds;
pub mod recovery;
pub mod scores;
pub mod side_effects;

use engram_core::{Aside, EditRow, Moved, Said};
use serde::{Deserialize, Serialize};

pub use best::{BestLayer, LayerComparison};
pub use kinds::{EditKindLayer, EditKindTests};
pub use recovery::{Correlation, Helps, Joined, Recovery};
pub use scores::{BeforeAfter, EditScores, Part, Share};
pub use side_effects::{SideEffects, Spread};

/// One model's edits by one method, as files hold them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EditResults {
    /// Their name in the study (`edit.NAME`).
    pub name: String,
    /// The model's name in the study.
    pub model: String,
    /// `rome`, `memit`, `ft-l`, `lora`.
    pub method: String,
    /// Facts that could be edited.
    pub facts: usize,
    /// Facts that the unedited model knows: every token of the answer its most probable one.
    pub known: usize,
    /// The facts edited, each at every set of layers.
    pub rows: Vec<EditRow>,
    /// How other facts moved; may be empty.
    pub moved: Vec<Moved>,
    /// What the model says before and after; may be empty.
    pub said: Vec<Said>,
    /// Perplexity and fluency of each edit; may be empty.
    pub asides: Vec<Aside>,
}

/// What one model's edits by one method show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EditFindings {
    /// Their name in the study (`edit.NAME`).
    pub name: String,
    /// The model's name in the study.
    pub model: String,
    /// `rome`, `memit`, `ft-l`, `lora`.
    pub method: String,
    /// Facts that could be edited.
    pub facts: usize,
    /// Facts that the unedited model knows.
    pub known: usize,
    /// Facts edited.
    pub edited: usize,
    /// The kinds, in the order in which they are shown.
    pub kinds: Vec<String>,
    /// The sets of layers, in ascending order.
    pub layers: Vec<Vec<usize>>,
    /// Means: for each set of layers all facts first, then each kind where there are several.
    pub scores: Vec<EditScores>,
    /// The set of layers with the greatest S: of all facts first, then of each kind where there are several. Empty
    /// where nothing was scored.
    pub best: Vec<BestLayer>,
    /// Do kinds differ? One entry for each two kinds and score.
    pub kind_tests: Vec<EditKindTests>,
    /// Does recovery say where to edit? `None` where no sweep of `mlp_out` has these facts.
    pub recovery: Option<Recovery>,
    /// What moved with the edits of the best set of layers; `None` where it was not measured.
    pub side_effects: Option<SideEffects>,
    /// What follows, in plain sentences, in the order in which they are read: where to edit facts of each kind, whether
    /// kinds differ, whether recovery helps, what else moves.
    pub conclusions: Vec<String>,
    /// What the model says before and after, at the best set of layers.
    pub said: Vec<Said>,
}

impl EditFindings {
    /// The means of some layers, of a kind or (`None`) of all facts.
    pub fn scores_of(&self, layers: &[usize], kind: Option<&str>) -> Option<&EditScores> {
        (self.scores.iter()).find(|s| s.layers == layers && s.kind.as_deref() == kind)
    }

    /// The best set of layers of a kind, or (`None`) of all facts.
    pub fn best_of(&self, kind: Option<&str>) -> Option<&BestLayer> {
        self.best.iter().find(|b| b.kind.as_deref() == kind)
    }
}
