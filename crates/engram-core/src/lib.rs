//! The words of engram as types: sites, cells, pairs, suites, metrics and result rows, with their
//! names, their parsing and their files. Nothing here knows a tensor.

#![deny(missing_docs)]

pub mod columns;
pub mod confounds;
pub mod edit;
pub mod error;
pub mod files;
pub mod metric;
pub mod pair;
pub mod row;
pub mod setting;
pub mod site;
pub mod subject;

pub use confounds::Confounds;
pub use edit::{Aside, EditRow, Fit, Moved, Said, Score, Won};
pub use error::{CoreError, Result};
pub use metric::Metric;
pub use pair::{Neighbour, Pair, Prompt, Span, Suite, Wording};
pub use row::{PreferenceRow, Row};
pub use setting::{Align, Bos, Corruption, Direction, Positions};
pub use site::{NamedSite, Part, Select, Site, SiteTable};
pub use subject::{Located, SubjectAt};
