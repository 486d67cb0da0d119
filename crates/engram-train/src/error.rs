//! What can go wrong with training.

/// Result of this crate.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;

/// An error in settings or texts, or a run that went astray.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The observer cancelled the run; a checkpoint was written first where one is kept.
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
    /// A value that a setting cannot take.
    #[error("training setting {name}: expected {expected}, found {found}")]
    Value {
        /// The setting.
        name: String,
        /// What it takes.
        expected: String,
        /// What it was given.
        found: String,
    },
    /// Sequences longer than the model's context.
    #[error("max_length is {max_length}, the model's context is {context} tokens")]
    Context {
        /// The setting.
        max_length: usize,
        /// The model's context.
        context: usize,
    },
    /// No text, or none with a token to predict.
    #[error("{what}: no text of at least two tokens among {texts}")]
    NoSequence {
        /// `training texts` or `validation texts`.
        what: &'static str,
        /// How many texts were given.
        texts: usize,
    },
    /// Padding is to be counted and the model has no token for it.
    #[error("pad_loss counts padding with the end-of-text token, which the model does not name")]
    NoPadding,
    /// A loss or a gradient that is no number any more.
    #[error("step {step}: {what} is {value}; a lower learning_rate or a longer warm-up may help")]
    Diverged {
        /// Optimizer step, from 1.
        step: usize,
        /// What it was.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// A loss or a gradient that is no number before any weight has changed.
    #[error(
        "{what} is {value} before the first step, so that no setting is to blame; the largest weight is {largest}, in {name}: the checkpoint is damaged, or its numbers leave float32's range"
    )]
    Start {
        /// What it was.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The parameter with the largest weight.
        name: String,
        /// That weight's absolute value; NaN or infinite where the weights themselves are not finite.
        largest: f32,
    },
    /// A checkpoint of a run under way that cannot be resumed from.
    #[error("{}: cannot resume from this checkpoint: {why}", path.display())]
    Checkpoint {
        /// The checkpoint.
        path: std::path::PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// The model failed.
    #[error(transparent)]
    Model(#[from] engram_model::ModelError),
    /// A file helper failed.
    #[error(transparent)]
    Core(#[from] engram_core::CoreError),
    /// The tensor library failed, on a device other than the CPU.
    #[error("training on a device: {0}")]
    Tensor(#[from] candle_core::Error),
}

fn near_text(near: &[String]) -> String {
    match near {
        [] => String::new(),
        _ => format!("; near it: {}", near.join(", ")),
    }
}
