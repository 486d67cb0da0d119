//! Events of a run, and who receives them.

use crate::record::{EpochRecord, StepRecord, TrainingPlan, Validation};

/// Receives the events of a training run.
pub trait TrainingObserver {
    /// Called for each event.
    fn event(&mut self, event: &TrainingEvent);

    /// Whether the run should stop. Called after each step; a run that stops writes a checkpoint first.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Ignores all events and never cancels.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl TrainingObserver for NoObserver {
    fn event(&mut self, _: &TrainingEvent) {}
}

/// An event of a training run.
#[derive(Debug)]
#[non_exhaustive]
pub enum TrainingEvent<'a> {
    /// The run is about to start.
    Planned(&'a TrainingPlan),
    /// The run resumes from a checkpoint written after this optimizer step.
    Resumed(usize),
    /// The model was evaluated before training.
    Base(&'a Validation),
    /// An optimizer step was taken.
    Step {
        /// The step.
        record: &'a StepRecord,
        /// Planned steps.
        steps: usize,
        /// Training tokens per second since the run started, without evaluations.
        tokens_per_second: f64,
        /// Seconds until the last planned step, without evaluations.
        eta_s: f64,
    },
    /// An epoch was evaluated.
    Epoch(&'a EpochRecord),
}
