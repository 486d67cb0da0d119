//! The published study: its protocol, its figures, and what a model gives beside them.
//!
//! It runs for studies that ask for it alone ([`crate::Study::published`]). Nothing else in this crate reads it, and what
//! it finds enters no conclusion. Its training presets are `engram_train::published`, its pairs and its sweep
//! `engram_patch::published`.

mod figures;
mod protocol;
mod table;

pub(crate) use protocol::protocol;
pub use protocol::{CleanMetric, ModuleRecovery, ModuleTest, Protocol};
pub use table::PublishedFinding;
pub(crate) use table::beside;
