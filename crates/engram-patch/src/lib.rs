//! Activation patching: suites of pairs built and checked, sweeps planned and run, metrics and recovery.
//!
//! A suite becomes [`PreparedPair`]s ([`check()`]), a [`SweepSpec`] and they become a [`Plan`], and an
//! [`Engine`] turns the plan into rows. Nothing here prints, plots, or knows an architecture.

#![deny(missing_docs)]

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
pub mod plan;
pub mod preference;
pub mod prepare;
mod published;
pub mod reach;
pub mod schedule;
pub mod spec;
pub mod staged;
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
pub use plan::{PairPlan, Place, Plan, PlannedCell, Tokens};
pub use preference::{NextToken, Preferences, ask, cache, preferences, preferences_within};
pub use prepare::{PreparedPair, Profile, Reading, prepare};
pub use published::{build_published, published_spec};
pub use reach::Fate;
pub use schedule::{Memory, Schedule};
pub use spec::SweepSpec;
pub use staged::StagedEngine;

/// A hash of this crate's code: what it computed under another is computed again.
pub const SOURCE: &str = env!("ENGRAM_SOURCE");
