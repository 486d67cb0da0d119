//! From result rows and their suite to what they show: counts, intervals, tests and plain sentences.
//!
//! Pure functions: rows in, [`Findings`] out, which is what `stats.json` holds and all that a report
//! shows. Every statistic is computed by `engram-stats`; this crate decides *over what*:
//!
//! - The gate comes first ([`gate::Gate`]): a model that does not prefer what the prompts call for above
//!   chance supports no statement about where it keeps knowledge.
//! - Figures are over eligible pairs that the model knows; trivial rows, whose recovery the graph alone
//!   fixes, enter no test.
//! - The unit is the pair; pairs that share facts are averaged to clusters before any test; kinds are
//!   compared over relations.
//!
//! | type | what it is |
//! |---|---|
//! | [`StudyResults`], [`Condition`], [`Settings`] | a suite, what each model did on it, and how to test |
//! | [`findings()`], [`Findings`], [`ConditionFindings`] | everything that a study shows |
//! | [`compare_runs`], [`RunComparison`] | two models or two runs, paired by pair |
//! | [`editing()`], [`EditFindings`] | edits by layer, beside the recovery of the same layers |
//! | [`simulate`] | studies with a known answer |
//!
//! ```
//! use engram_findings::simulate::Simulation;
//! use engram_findings::{Settings, StudyResults, findings};
//!
//! // A model whose middle layer recovers more than the others.
//! let simulation = Simulation { layer_effect: 0.3, seed: 1, ..Simulation::default() };
//! let (suite, conditions) = (simulation.suite(), [simulation.condition("model")]);
//! let found = findings(&StudyResults {
//!     suite: &suite,
//!     published: None,
//!     confounds: &[],
//!     conditions: &conditions,
//!     edits: &[],
//!     settings: Settings::default(),
//! })?;
//! assert!(found.conditions[0].gate.passed);
//! for sentence in &found.conditions[0].conclusions {
//!     println!("{sentence}");
//! }
//! # Ok::<(), engram_findings::FindingsError>(())
//! ```

#![deny(missing_docs)]
#![deny(clippy::expect_used, clippy::unwrap_used)]
#![forbid(unsafe_code)]

pub mod adjusted;
pub mod cells;
pub mod compare;
pub mod editing;
pub mod error;
pub mod gate;
pub mod kinds;
pub mod layers;
pub mod layout;
pub mod localise;
pub mod measure;
pub mod nulls;
pub mod part_differences;
pub mod parts;
pub mod positions;
pub mod profile;
pub mod published;
pub mod replicates;
pub mod robustness;
pub mod runs;
pub mod simulate;
pub mod words;

mod conclude;
mod context;
mod findings;
mod sheet;
mod study;

pub use editing::{EditFindings, EditResults, editing};
/// A bootstrap interval, as findings hold them.
pub use engram_stats::Interval;
pub use error::{FindingsError, Result};
pub use findings::{ConditionFindings, Findings, KindCount, MetricLeftOut, check_rows, findings};
pub use measure::{Measure, Scope};
pub use nulls::{NullRejections, null_rejections};
pub use part_differences::{PartComparison, PartDifference};
pub use published::PublishedFinding;
pub use runs::{RunComparison, compare_runs};
pub use study::{Condition, Settings, StudyResults};
