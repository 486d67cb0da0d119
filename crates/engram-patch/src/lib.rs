//! Activation patching: an activation of one run is written into another, and a metric says how much of the answer comes
//! back. The crate builds and checks suites of pairs, plans which cells a sweep computes, and computes them with a fast
//! engine or a slow reference. It prints nothing, plots nothing, and knows no architecture.
//!
//! | type | what it is |
//! |---|---|
//! | [`build()`], [`check()`] | a suite from a fact table; a suite against a tokenizer, as [`PreparedPair`]s |
//! | [`SweepSpec`] | sites, positions, direction, corruption and metrics of a sweep |
//! | [`Cell`], [`Value`], [`LogitMetric`] | what a caller's cell changes in a run; a metric of the caller's |
//! | [`Term`] | what one destination alone reads otherwise: an edge of a circuit |
//! | [`Plan`] | every cell of a sweep, those included whose value the graph alone fixes |
//! | [`Engine`] | runs a plan: [`StagedEngine`] is fast, [`NaiveEngine`] runs the whole model for each cell |
//! | [`PairResult`] | a pair's rows, and whether it is eligible |
//! | [`Journal`] | finished cells on disk, from which a sweep resumes |
//!
//! ```
//! use candle_core::Device;
//! use engram_core::{Pair, Positions, Suite};
//! use engram_model::LanguageModel;
//! use engram_patch::{Engine, Memory, Plan, Reading, StagedEngine, SweepSpec, check, refuse_unfit};
//!
//! let model = LanguageModel::read("../../assets/models/pubmed-mini".as_ref(), &Device::Cpu)?;
//! let (clean, corrupt) = ("A study of heart rate", "A study of survival rate");
//! let suite = Suite { pairs: vec![Pair::new(clean, corrupt, " variability", " of")] };
//! let checked = check(&suite, model.tokenizer(), &model.shape(), &Reading::default())?;
//! let pairs = refuse_unfit(checked)?;
//! let spec = SweepSpec { positions: Positions::Each, ..SweepSpec::new(model.sites().resolve("resid_pre")?) };
//! let plan = Plan::new(spec, model.shape(), pairs)?;
//! let engine = StagedEngine::new(&model, Memory::beside(&model.shape(), 1 << 30))?;
//! let results = engine.collect(&plan)?;
//! assert_eq!(results[0].rows.len(), plan.cells());
//! # Ok::<(), engram_patch::PatchError>(())
//! ```

#![deny(missing_docs)]
#![deny(clippy::expect_used, clippy::unwrap_used)]
#![forbid(unsafe_code)]

pub mod balance;
pub mod build;
pub mod check;
mod continuation;
pub mod counterfact;
pub mod eligibility;
pub mod engine;
pub mod error;
pub mod intervention;
pub mod journal;
mod matching;
pub mod metric;
pub mod naive;
pub mod noise;
pub mod own_metric;
mod pairing;
pub mod place;
pub mod plan;
pub mod preference;
pub mod prepare;
mod published;
pub mod reach;
pub mod schedule;
pub mod spec;
pub mod staged;
pub mod term;
mod verdict;
mod wording;
mod worlds;

pub use balance::{Balance, KindBalance};
pub use build::{BuildSettings, Built, Unpaired, build};
pub use check::{Fitness, Notice, Problem, Unfit, check, refuse_unfit, skip_unfit};
pub use counterfact::build_counterfact;
pub use eligibility::{Eligibility, Gap, Ineligible, ineligible};
pub use engine::{Batch, Done, Engine, PairResult, Sink, Unpatched, result};
pub use error::{PatchError, Result};
pub use intervention::{At, Cell, Intervention, RowFunction, Value};
pub use journal::Journal;
pub use naive::{NaiveEngine, NaiveSettings};
pub use noise::Noise;
pub use own_metric::{LogitMetric, Outcome, OwnMetrics};
pub use place::{Place, Tokens};
pub use plan::{PairPlan, Plan, PlannedCell};
pub use preference::{NextToken, Preferences, ask, cache, preferences, preferences_within};
pub use prepare::{PreparedPair, Profile, Reading, prepare};
pub use published::{build_published, published_pairs, published_spec};
pub use reach::Fate;
pub use schedule::{Memory, Schedule};
pub use spec::SweepSpec;
pub use staged::StagedEngine;
pub use term::Term;

/// A hash of this crate's code: what it computed under another is computed again.
pub const SOURCE: &str = env!("ENGRAM_SOURCE");
