//! Editing what a model knows: a fact is changed where it is kept, as a small delta over a checkpoint that stays as it
//! is, and the edit is scored.
//!
//! [`rome()`] changes one layer's down-projection by a product of two vectors; [`delta`] is the file.

#![deny(missing_docs)]

pub mod cholesky;
pub mod choose;
pub mod covariance;
pub mod delta;
pub mod editor;
pub mod effects;
pub mod error;
pub mod finetune;
pub mod fluency;
pub mod memit;
pub mod optimise;
pub mod overlay;
pub mod prefixes;
pub mod reader;
pub mod request;
pub mod rome;
pub mod score;
pub mod settings;
pub mod sweep;
pub mod tokens;

pub use choose::{ChoiceSettings, Chosen, Facts, choose};
pub use covariance::{Covariance, Sample, SampleSettings, Statistics};
pub use delta::{Delta, Meta};
pub use editor::{Edited, Editor, Scored};
pub use error::{EditError, Result};
pub use finetune::{ChangeLimit, FineTuning, fine_tune};
pub use memit::MemitSettings;
pub use optimise::{Optimisation, Optimiser};
pub use overlay::Overlay;
pub use prefixes::{PrefixSettings, prefixes};
pub use reader::Reader;
pub use request::{Case, EditRequest, of_counterfact, of_suite};
pub use rome::rome;
pub use score::Questions;
pub use settings::{EditSettings, Method};
pub use sweep::{Measures, SweepResults, sweep};

/// A hash of this crate's code: what it computed under another is computed again.
pub const SOURCE: &str = env!("ENGRAM_SOURCE");
