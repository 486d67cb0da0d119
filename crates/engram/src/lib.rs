//! Find where a language model keeps what it knows, prove it causally, edit it there, and report it.
//!
//! This is the library under the program `engram`, and the one that a Rust program needs: it opens models, sweeps pairs,
//! trains, edits, runs whole studies, and reads and writes folders of results. It prints nothing, and keeps nothing in
//! the process but what it returns.
//!
//! | type | what it is |
//! |---|---|
//! | [`Model`], [`Opening`] | a model, from a folder, a GGUF file, a name of the Hugging Face hub or a folder of edits |
//! | [`Pair`], [`Suite`] | a clean and a corrupted prompt with answer and foil; a file of them |
//! | [`Sweep`], [`PlannedSweep`], [`SweepResult`] | which activations are patched, what that costs, what came back |
//! | [`Cell`], [`Value`], [`LogitMetric`] | interventions and a metric of your own, in a sweep |
//! | [`Hooks`], [`activations`] | any function at any site; activations as arrays in a file |
//! | [`training`], [`edits`], [`overlay`] | fine-tuning; edits of facts; edits laid over a checkpoint |
//! | [`run()`], [`study::Study`] | a whole study from its TOML file to its report |
//! | [`Results`], [`results`] | a folder of results, its findings, figures and report |
//! | [`Observer`], [`Silent`] | progress, notices and cancellation of long work |
//! | [`Error`] | every error, with the names and values that a person needs |
//!
//! ```
//! use engram::{Model, Pair, Silent, Sweep};
//!
//! // Or "model.gguf", or a name of the hub such as "HuggingFaceTB/SmolLM2-135M".
//! let model = Model::open("../../assets/models/pubmed-mini")?;
//! let (clean, corrupt) = ("A study of heart rate", "A study of survival rate");
//! let pair = Pair::new(clean, corrupt, " variability", " of");
//! let result = Sweep::of(&model).sites("resid_pre")?.pairs([pair]).run(&mut Silent)?;
//! for (layer, positions) in result.recovery(0).iter().enumerate() {
//!     println!("{layer:>2} {positions:.2?}");
//! }
//! # Ok::<(), engram::Error>(())
//! ```

#![deny(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used
)]
#![forbid(unsafe_code)]

pub mod activations;
pub mod arrays;
pub mod bounds;
mod code;
mod confounds;
pub mod corpus;
pub mod curve;
pub mod edits;
mod error;
mod hooks;
pub mod layers;
pub mod memory;
pub mod model;
mod observe;
pub mod overlay;
mod pairs;
pub mod results;
mod run;
pub mod scratch;
pub mod stage;
pub mod study;
pub mod suites;
pub mod sweep;
pub mod training;

pub use engram_core::{
    Align, Bos, Corruption, Direction, Metric, Pair, Positions, Row, Site, Suite,
};
pub use engram_patch::{At, Cell, Intervention, LogitMetric, Outcome, Term, Value};
pub use error::{Error, Result, Within, faults_of, with_causes};
pub use hooks::Hooks;
pub use layers::LayerChoice;
pub use model::{Model, Opening};
pub use observe::{Observer, Silent, Told};
pub use pairs::{UNEQUAL, UnequalLengths, UnequalPair, prepare};
pub use results::{Provenance, Results};
pub use run::{
    Forecast, MachineRates, Ran, RunSettings, StageForecast, Step, forecast, run, run_until,
};
pub use sweep::{EngineKind, PlannedSweep, Sweep, SweepFolder, SweepResult};
