//! Editing of facts in language models with ROME, MEMIT, AlphaEdit, constrained fine-tuning and LoRA. An edit is a small delta over
//! a checkpoint, which itself never changes, and is scored for efficacy, paraphrases and neighbours.
//!
//! | type | what it is |
//! |---|---|
//! | [`EditRequest`], [`Case`] | a fact and its new answer; with the prompts that score the edit |
//! | [`Reader`] | a model laid out for many short prompts |
//! | [`Editor`], [`Method`], [`EditSettings`] | makes edits, each from the unedited model |
//! | [`Covariance`] | what ROME, MEMIT and AlphaEdit leave alone, from a sample of texts |
//! | [`Delta`], [`Overlay`] | an edit's file; a folder of edits over a checkpoint |
//! | [`sweep()`] | every fact edited at every layer, and scored |
//! | [`Sequence`] | facts edited one after another, each on the model that the earlier edits gave |
//!
//! ```
//! use candle_core::Device;
//! use engram_edit::{EditRequest, EditSettings, Editor, Method, Reader};
//! use engram_model::LanguageModel;
//!
//! let model = LanguageModel::read("../../assets/models/pubmed-mini".as_ref(), &Device::Cpu)?;
//! let request = EditRequest {
//!     id: "phenytoin".to_owned(),
//!     prompt: "In pharmacology, phenytoin belongs to the class of drugs called".to_owned(),
//!     subject: "phenytoin".to_owned(),
//!     target_new: "opioids".to_owned(),
//!     ..EditRequest::default()
//! };
//! let (requests, layers) = ([request], [1]);
//! let reader = Reader::new(&model)?;
//! // Fine-tuning needs no covariances; ROME, MEMIT and AlphaEdit do.
//! let editor = Editor::new(&reader, Method::FtL, EditSettings::of(Method::FtL), Vec::new())?;
//! let edited = editor.edit(&requests, &layers, &mut |_| {})?;
//! let delta = editor.delta(edited, &requests, &layers, "SHA-256 of the checkpoint", &[]);
//! let after = reader.of_edited(delta.lay_over(&model)?, &layers)?;
//! assert_ne!(reader.continuation(&requests[0].prompt, 4)?, after.continuation(&requests[0].prompt, 4)?);
//! # Ok::<(), engram_edit::EditError>(())
//! ```

#![deny(missing_docs)]
#![deny(clippy::expect_used, clippy::unwrap_used)]
#![forbid(unsafe_code)]

pub mod cholesky;
pub mod choose;
pub mod covariance;
pub mod delta;
pub mod editor;
pub mod effects;
pub mod eigen;
pub mod error;
pub mod finetune;
pub mod fluency;
pub mod held_out;
pub mod least_squares;
pub mod memit;
pub mod nullspace;
pub mod optimise;
pub mod overlay;
pub mod prefixes;
pub mod probe;
pub mod reader;
pub mod request;
pub mod rewriting;
pub mod rome;
pub mod score;
pub mod sequence;
pub mod settings;
pub mod sweep;
pub mod tokens;

pub use choose::{ChoiceSettings, Chosen, Facts, choose};
pub use covariance::{Covariance, Sample, SampleSettings, Statistics};
pub use delta::{Delta, Keys, Meta};
pub use editor::{Edited, Editor, Scored};
pub use error::{EditError, Result};
pub use finetune::{ChangeLimit, FineTuning, fine_tune};
pub use held_out::HeldOut;
pub use memit::MemitSettings;
pub use optimise::{Optimisation, Optimiser};
pub use overlay::Overlay;
pub use prefixes::{PrefixSettings, prefixes};
pub use probe::Probe;
pub use reader::Reader;
pub use request::{Case, EditRequest, of_counterfact, of_list, of_suite};
pub use rome::rome;
pub use score::Questions;
pub use sequence::{Progress, Sequence, SequenceSettings};
pub use settings::{EditSettings, Method};
pub use sweep::{Measures, SweepResults, sweep};

/// A hash of this crate's code: what it computed under another is computed again.
pub const SOURCE: &str = env!("ENGRAM_SOURCE");
