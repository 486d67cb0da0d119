//! Texts for training and facts for suites: corpora in the formats that databases and reference managers export, splits in
//! which no text is on both sides, fact tables, and texts written from them.
//!
//! Nothing here knows a tensor or a tokenizer: where tokens are counted, the caller passes a function
//! from a text to its token ids ([`Tokenize`]).
//!
//! | type | what it is |
//! |---|---|
//! | [`mod@read`], [`Corpus`], [`Abstract`] | corpora of any known format, told by their content |
//! | [`split_texts`], [`leaked`] | training and validation texts, equal and nearly equal texts on one side |
//! | [`FactTable`], [`Relation`], [`Fact`] | facts and the sentences that state them |
//! | [`write_texts`], [`WriteSettings`] | texts that teach every fact equally often |
//! | [`read_counterfact`], [`CounterFact`] | the CounterFact data set |
//! | [`read_questions`], [`Question`] | questions with a correct and a corrupted answer |
//! | [`fetch`] | abstracts from PubMed |
//!
//! ```
//! use engram_corpus::{FactTable, WriteSettings, write_texts};
//!
//! let table = FactTable::read("../../assets/facts/epilepsy.toml".as_ref())?;
//! let (relation, fact) = table.facts().next().expect("a table has facts");
//! let sentence = relation.frames[0].render(fact);
//! assert_eq!(
//!     sentence.text,
//!     "In pharmacology, phenytoin belongs to the class of drugs called hydantoins."
//! );
//!
//! // Here, words stand for tokens.
//! let words = |text: &str| text.split(' ').map(|word| word.len() as u32).collect();
//! let settings = WriteSettings { exposures: 7, ..WriteSettings::default() };
//! let written = write_texts(&table, &settings, &words)?;
//! assert!(written.exposures.iter().all(|fact| fact.exposures == 7));
//! # Ok::<(), engram_corpus::CorpusError>(())
//! ```

#![deny(missing_docs)]
#![deny(clippy::expect_used, clippy::unwrap_used)]
#![forbid(unsafe_code)]

pub mod abstracts;
pub mod counterfact;
pub mod edit_list;
pub mod error;
pub mod facts;
pub mod fetch;
pub mod near;
pub mod questions;
pub mod read;
mod sheet;
pub mod split;
pub mod stats;
pub mod suite;
pub mod write;

pub use abstracts::{Abstract, OtherAbstract};
pub use counterfact::{Collection, CounterFact, read_counterfact};
pub use edit_list::{ListedEdit, read_edits};
pub use error::{CorpusError, Result};
pub use facts::{Cloze, Fact, FactTable, Relation, Rendered, Template};
pub use questions::{Question, read_questions};
pub use read::Corpus;
pub use split::{leaked, split, split_texts};
pub use stats::CorpusStats;
pub use suite::read_suite;
pub use write::{Exposure, Statement, Text, WriteSettings, Written, write_texts};

/// A function from a text to its token ids.
pub type Tokenize<'a> = &'a dyn Fn(&str) -> Vec<u32>;

/// A hash of this crate's code: what it computed under another is computed again.
pub const SOURCE: &str = env!("ENGRAM_SOURCE");
