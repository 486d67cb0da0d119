//! engram: find where a language model keeps what it knows, prove it causally, edit it there, and report it.
//!
//! This is the library that every front end calls: the command line, and whatever else is built on it. It opens models
//! ([`Model`]), prepares pairs and sweeps them ([`Sweep`]), reads activations ([`activations`]), trains ([`training`]), edits
//! ([`edits`], [`overlay`]), runs whole studies ([`run()`]) and reads and writes folders of results ([`results`]). Errors are
//! one type ([`Error`]); long work tells an [`Observer`] how it goes, and stops when that says so.
//!
//! ```no_run
//! use engram::{Model, Pair, Silent, Sweep};
//!
//! let model = Model::open("SmolLM2-135M.gguf")?;
//! let pair = Pair::new("The capital of France is", "The capital of Italy is", " Paris", " Rome");
//! let result = Sweep::of(&model).sites("resid_pre")?.pairs([pair]).run(&mut Silent)?;
//! for (layer, positions) in result.recovery(0).iter().enumerate() {
//!     println!("{layer:>2} {positions:.2?}");
//! }
//! # Ok::<(), engram::Error>(())
//! ```
//!
//! Nothing here prints, and nothing is kept in the process beside what is returned.

#![deny(clippy::print_stderr, clippy::print_stdout)]

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
pub mod sweep;
pub mod training;

pub use engram_core::{
    Align, Bos, Corruption, Direction, Metric, Pair, Positions, Row, Site, Suite,
};
pub use engram_patch::{At, Cell, Intervention, LogitMetric, Outcome, Value};
pub use error::{Error, Result, Within, faults_of, with_causes};
pub use hooks::Hooks;
pub use layers::LayerChoice;
pub use model::{Model, Opening};
pub use observe::{Observer, Silent, Told};
pub use pairs::{UNEQUAL, UnequalLengths, UnequalPair, prepare};
pub use results::{Provenance, Results};
pub use run::{Ran, RunSettings, run};
pub use sweep::{EngineKind, PlannedSweep, Sweep, SweepFolder, SweepResult};
