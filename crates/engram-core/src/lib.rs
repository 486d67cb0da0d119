//! The types that every crate of engram shares, and their files: what can be patched, in which texts, how it is
//! measured, and what a sweep finds. Nothing here computes a number or knows a tensor.
//!
//! | type | what it is |
//! |---|---|
//! | [`Site`], [`NamedSite`], [`SiteTable`] | activations that can be read and replaced, and the names that reach them |
//! | [`Pair`], [`Suite`] | a clean and a corrupted prompt with answer and foil; a file of them |
//! | [`Metric`], [`Direction`], [`Corruption`], [`Align`], [`Positions`] | how a sweep patches and measures |
//! | [`Row`], [`PreferenceRow`] | one measured cell; what a model prefers with no patch |
//! | [`EditRow`] | one edit and its scores |
//! | [`Fault`], [`CoreError`] | everything that is wrong with an input file, line by line |
//! | [`Lock`], [`files`] | files that are written whole or not at all, by one process at a time |
//!
//! ```
//! use engram_core::{Pair, Site, SiteTable, Suite};
//!
//! // A suite is one JSON object a line.
//! let file = std::env::temp_dir().join(format!("suite-{}.jsonl", std::process::id()));
//! let pair = Pair::new("The capital of France is", "The capital of Italy is", " Paris", " Rome");
//! Suite { pairs: vec![pair] }.write(&file)?;
//! let suite = Suite::read(&file)?;
//! assert_eq!(suite.pairs[0].answer, " Paris");
//!
//! // Sites have canonical names and those of TransformerLens; brackets choose heads.
//! let table = SiteTable::new(2, vec![Site::ResidPre, Site::Z], Vec::new());
//! assert_eq!(table.resolve("resid_pre")?.len(), 2);
//! assert_eq!(table.resolve("blocks.1.hook_resid_pre")?[0].site, Site::ResidPre);
//! assert_eq!(table.resolve("z.1[3]")?[0].layer, Some(1));
//! # std::fs::remove_file(&file).map_err(engram_core::files::io_error(&file))?;
//! # Ok::<(), engram_core::CoreError>(())
//! ```

#![deny(missing_docs)]
#![deny(clippy::expect_used, clippy::unwrap_used)]
#![forbid(unsafe_code)]

pub mod blanks;
pub mod clusters;
pub mod columns;
pub mod confounds;
pub mod edit;
pub mod error;
pub mod faults;
pub mod files;
pub mod hash;
pub mod lock;
pub mod metric;
pub mod pace;
pub mod pair;
pub mod panics;
pub mod part_name;
pub mod range;
pub mod row;
pub mod sealed;
pub mod setting;
pub mod site;
pub mod subject;
pub mod suite;
pub mod text;

pub use blanks::Blanks;
pub use clusters::{Clusters, Shared};
pub use confounds::Confounds;
pub use edit::{
    Continuation, EditRow, FactChange, Fit, LanguageEffect, ProbeEffect, Score, SequencePoint,
    WinRate,
};
pub use error::{CoreError, Result};
pub use faults::{Fault, Faults, Field};
pub use lock::Lock;
pub use metric::{Metric, MetricName};
pub use pair::{Chats, Message, Neighbour, Pair, Prompt, Span, Wording};
pub use part_name::PartName;
pub use range::{OutOfRange, Range};
pub use row::{PreferenceRow, Row};
pub use setting::{Align, Bos, Corruption, Direction, Method, Positions, RowAlign};
pub use site::{NamedSite, Part, Select, Site, SiteTable};
pub use subject::{Located, SubjectAt};
pub use suite::Suite;

/// A hash of this crate's code: what it computed under another is computed again.
pub const SOURCE: &str = env!("ENGRAM_SOURCE");
