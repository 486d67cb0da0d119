//! Training of language models: fine-tuning of a checkpoint, or a new model from random weights. It is AdamW with warm-up,
//! decay and early stopping, deterministic on a given number of threads, and resumes after a kill from its last
//! checkpoint. The crate knows nothing of patching.
//!
//! | type | what it is |
//! |---|---|
//! | [`TrainSettings`] | every setting, its range, and the presets of the published study |
//! | [`TrainText`] | a text, and where its answers are |
//! | [`plan()`], [`TrainingPlan`] | steps, tokens and memory of a run, without running it |
//! | [`train()`], [`Trained`] | the run; the best epoch's model with its [`TrainingRecord`] |
//! | [`TrainingObserver`], [`TrainingEvent`] | progress and cancellation |
//! | [`CheckpointSettings`] | the folder for checkpoints, which a run resumes from |
//!
//! ```
//! use candle_core::Device;
//! use engram_model::LanguageModel;
//! use engram_train::{NoObserver, TrainSettings, TrainText, train};
//!
//! let model = LanguageModel::read("../../assets/models/pubmed-mini".as_ref(), &Device::Cpu)?;
//! let text = |text: &str| TrainText { text: text.to_owned(), answers: Vec::new() };
//! let texts = [text("Phenytoin is a hydantoin."), text("Morphine is an opioid.")];
//! let mut settings = TrainSettings::preset("config-2")?;
//! settings.set("epochs", "1")?;
//! let trained = train(&model, &texts, &texts[..1], &settings, None, &mut NoObserver)?;
//! assert_eq!(trained.curve.epochs.len(), 1);
//! # Ok::<(), engram_train::TrainError>(())
//! ```

#![deny(missing_docs)]
#![deny(clippy::expect_used, clippy::unwrap_used)]
#![forbid(unsafe_code)]

pub mod adamw;
pub mod checkpoint;
mod data;
pub mod error;
mod evaluate;
pub mod learner;
pub mod on_device;
mod published;
pub mod record;
mod run;
pub mod schedule;
pub mod settings;
pub mod workers;

pub use checkpoint::CheckpointSettings;
pub use data::{TrainText, check};
pub use error::{Result, TrainError};
pub use learner::Learner;
pub use record::{
    EpochRecord, LearningRate, METRICS, MetricsLine, StepRecord, Timing, TrainingPlan,
    TrainingRecord, Validation,
};
pub use run::{NoObserver, Trained, TrainingEvent, TrainingObserver, plan, train};
pub use settings::{Decay, Departure, Precision, Sequences, TrainSettings};

/// A hash of this crate's code: what it computed under another is computed again.
pub const SOURCE: &str = env!("ENGRAM_SOURCE");
