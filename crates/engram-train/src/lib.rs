//! Fine-tuning a language model on texts: settings and presets, sequences, AdamW, schedule, early stopping, and
//! the record of how it went. Knows nothing of patching.

#![deny(missing_docs)]

pub mod adamw;
pub mod checkpoint;
mod data;
pub mod error;
mod evaluate;
pub mod learner;
pub mod on_device;
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
