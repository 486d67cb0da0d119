//! Corpora of abstracts, what they mention, how they are split; fact tables, and texts written from them.
//!
//! Nothing here knows a tensor or a tokenizer: where tokens are counted, the caller passes a function
//! from a text to its token ids.

#![deny(missing_docs)]

pub mod abstracts;
pub mod counterfact;
pub mod error;
pub mod facts;
pub mod fetch;
pub mod near;
pub mod read;
mod sheet;
pub mod split;
pub mod stats;
pub mod suite;
pub mod write;

pub use abstracts::{Abstract, OtherAbstract};
pub use counterfact::{Collection, CounterFact, read_counterfact};
pub use error::{CorpusError, Result};
pub use facts::{Cloze, Fact, FactTable, Relation, Rendered, Template};
pub use read::Corpus;
pub use split::{leaked, split, split_texts};
pub use stats::CorpusStats;
pub use suite::read_suite;
pub use write::{Exposure, Statement, Text, WriteSettings, Written, write_texts};

/// A function from a text to its token ids.
pub type Tokenize<'a> = &'a dyn Fn(&str) -> Vec<u32>;

/// A hash of this crate's code: what it computed under another is computed again.
pub const SOURCE: &str = env!("ENGRAM_SOURCE");
