//! Errors of training.

/// Result of this crate.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;

/// An error in settings or texts, or a failed run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The observer cancelled the run. A checkpoint was written first if the run keeps any.
    #[error("the training was cancelled")]
    Cancelled,
    /// A preset that does not exist.
    #[error("no preset is called \"{name}\"; there are {known}")]
    UnknownPreset {
        /// The name as asked.
        name: String,
        /// The presets, comma-separated.
        known: String,
    },
    /// A setting that does not exist.
    #[error("no training setting is called \"{name}\"{}", near_text(near))]
    UnknownSetting {
        /// The name as asked.
        name: String,
        /// Names that resemble it.
        near: Vec<String>,
    },
    /// A value that a setting does not allow.
    #[error("training setting {name}: expected {expected}, found {found}")]
    Value {
        /// The setting.
        name: String,
        /// What it allows.
        expected: String,
        /// The value given.
        found: String,
    },
    /// `max_length` exceeds the model's context.
    #[error("max_length is {max_length}, the model's context is {context} tokens")]
    Context {
        /// The setting.
        max_length: usize,
        /// The model's context.
        context: usize,
    },
    /// No texts, or none with a token to predict.
    #[error("{what}: no text of at least two tokens among {texts}")]
    NoSequence {
        /// `training texts` or `validation texts`.
        what: &'static str,
        /// How many texts were given.
        texts: usize,
    },
    /// Padding counts in the loss, but the model has no end-of-text token for it.
    #[error("pad_loss counts padding with the end-of-text token, which the model does not name")]
    NoPadding,
    /// A loss or gradient that is no longer finite.
    #[error("step {step}: {what} is {value}; a lower learning_rate or a longer warm-up may help")]
    Diverged {
        /// Optimizer step, from 1.
        step: usize,
        /// Which value.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// A loss or gradient that is not finite before the first step.
    #[error(
        "{what} is {value} before the first step, so that no setting is to blame; the largest weight is {largest}, in {name}: the checkpoint is damaged, or its numbers leave float32's range"
    )]
    Start {
        /// Which value.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The parameter with the largest weight.
        name: String,
        /// The absolute value of that weight; NaN or infinite if the weights themselves are not finite.
        largest: f32,
    },
    /// A checkpoint that a run cannot be resumed from.
    #[error("{}: cannot resume from this checkpoint: {why}", path.display())]
    Checkpoint {
        /// The checkpoint.
        path: std::path::PathBuf,
        /// What is wrong with it, and what can be done.
        why: String,
    },
    /// An error of the model.
    #[error(transparent)]
    Model(#[from] engram_model::ModelError),
    /// An error of a file.
    #[error(transparent)]
    Core(#[from] engram_core::CoreError),
    /// An error of the tensor library, on a device other than the CPU.
    #[error("training on a device: {0}")]
    Tensor(#[from] candle_core::Error),
}

fn near_text(near: &[String]) -> String {
    match near {
        [] => String::new(),
        _ => format!("; near it: {}", near.join(", ")),
    }
}
