//! The published study: its protocol, its figures, and what a model gives beside them.
//!
//! It runs for studies that ask for it alone ([`crate::StudyResults::published`]). Nothing else in this crate reads it, and
//! what it finds enters no conclusion. Its training presets and its pairs and sweep are in modules of the same name in
//! `engram-train` and `engram-patch`.

mod edits;
mod figures;
mod protocol;
mod table;

pub(crate) use edits::edits;
pub use figures::{ABSTRACTS, mentions};
pub(crate) use protocol::protocol;
pub use protocol::{CleanMetric, ModuleRecovery, ModuleTest, Protocol};
pub use table::PublishedFinding;
pub(crate) use table::beside;
