//! The words of engram as types: sites, cells, pairs, suites, metrics and result rows, with their
//! names, their parsing and their files. Nothing here knows a tensor.

#![deny(missing_docs)]

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
pub use edit::{Continuation, EditRow, FactChange, Fit, LanguageEffect, Score, WinRate};
pub use error::{CoreError, Result};
pub use faults::{Fault, Faults, Field};
pub use lock::Lock;
pub use metric::Metric;
pub use pair::{Chats, Message, Neighbour, Pair, Prompt, Span, Wording};
pub use part_name::PartName;
pub use range::{OutOfRange, Range};
pub use row::{PreferenceRow, Row};
pub use setting::{Align, Bos, Corruption, Direction, Positions};
pub use site::{NamedSite, Part, Select, Site, SiteTable};
pub use subject::{Located, SubjectAt};
pub use suite::Suite;

/// A hash of this crate's code: what it computed under another is computed again.
pub const SOURCE: &str = env!("ENGRAM_SOURCE");
