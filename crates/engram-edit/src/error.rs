//! What can go wrong with an edit.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = EditError> = std::result::Result<T, E>;

/// An error in a request, a delta or an edit, worded for the person who asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The model's or its tokenizer's.
    #[error(transparent)]
    Model(#[from] engram_model::ModelError),
    /// A file's.
    #[error(transparent)]
    Core(#[from] engram_core::CoreError),
    /// The tensor library's.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A subject that is not in its prompt.
    #[error(
        "{request}: the subject \"{subject}\" does not occur in the prompt \"{prompt}\"; give it as the prompt has it"
    )]
    Subject {
        /// The request's name.
        request: String,
        /// The subject.
        subject: String,
        /// The prompt.
        prompt: String,
    },
    /// A new answer that the model gives already.
    #[error("{request}: the new answer \"{answer}\" is the present one; an edit needs another")]
    SameAnswer {
        /// The request's name.
        request: String,
        /// The answer.
        answer: String,
    },
    /// A request that lacks something.
    #[error("{request}: {why}")]
    Request {
        /// The request's name.
        request: String,
        /// What is wrong.
        why: String,
    },
    /// An answer that cannot be read after its prompt.
    #[error("prompt \"{prompt}\" and answer \"{answer}\": {why}")]
    Continuation {
        /// The prompt.
        prompt: String,
        /// The answer.
        answer: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A setting outside its range.
    #[error("{name} {value}: {expected}")]
    Setting {
        /// The setting.
        name: String,
        /// Its value.
        value: String,
        /// What would do.
        expected: String,
    },
    /// A covariance that has no inverse.
    #[error(
        "layer {layer}: the covariance of {tokens} tokens' keys ({width} wide) is singular; give more texts, or a ridge"
    )]
    Singular {
        /// The layer.
        layer: usize,
        /// Tokens that it is of.
        tokens: u64,
        /// Neurons.
        width: usize,
    },
    /// A kept covariance that is not as it was written.
    #[error("{}: this kept covariance is damaged: {why}; remove the file, and it is computed anew", path.display())]
    Statistics {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No text to take keys from.
    #[error("the covariance needs texts of at least one token; the sample has none")]
    NoTexts,
    /// A number that is none.
    #[error(
        "{what}: the edit came out as no finite number; lower the rate or the clamp, or raise the ridge"
    )]
    NotFinite {
        /// Of what.
        what: String,
    },
    /// Something that is not done for a family.
    #[error("{what} is not defined for {family}: {why}")]
    Unsupported {
        /// The method.
        what: &'static str,
        /// The family.
        family: String,
        /// The reason.
        why: &'static str,
    },
    /// A file that is no delta.
    #[error("{}: no readable edit: {why}", path.display())]
    Delta {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A delta of another checkpoint.
    #[error(
        "edit {delta} was made for the checkpoint {expected}, this one is {found}; name the one that it was made for"
    )]
    OtherCheckpoint {
        /// The delta.
        delta: String,
        /// The checkpoint that it names: name and hash.
        expected: String,
        /// The checkpoint that it is laid over: path and hash.
        found: String,
    },
    /// Two deltas that change one weight, neither made on top of the other.
    #[error(
        "edits {first} and {second} both change {weight}, and neither was made on the model that the other gives; revert {first}, or make the second edit on the edited model"
    )]
    Conflict {
        /// The one that is there.
        first: String,
        /// The one that comes.
        second: String,
        /// The weight.
        weight: String,
    },
    /// A delta that was made on top of others which are not there.
    #[error(
        "edit {delta} was made on top of {missing}, which is not applied before it; apply {missing} first"
    )]
    Missing {
        /// The delta.
        delta: String,
        /// What it needs.
        missing: String,
    },
    /// A delta that others were made on top of.
    #[error(
        "edit {delta} cannot be taken off: {above} was made on top of it; revert {above} first"
    )]
    Needed {
        /// The delta.
        delta: String,
        /// What needs it.
        above: String,
    },
    /// A delta that is not there.
    #[error("no edit {delta} is applied here; applied: {known}")]
    Unknown {
        /// As it was asked for.
        delta: String,
        /// Those that are.
        known: String,
    },
    /// A delta that is there already.
    #[error("edit {delta} is applied here already")]
    Twice {
        /// The delta.
        delta: String,
    },
}

impl EditError {
    /// Whether the fault is one request's, and others can be edited all the same.
    pub fn is_of_request(&self) -> bool {
        matches!(
            self,
            EditError::Subject { .. }
                | EditError::SameAnswer { .. }
                | EditError::Request { .. }
                | EditError::Continuation { .. }
        )
    }

    /// The error with the name of the request that it is of.
    pub fn named(&self, request: &str) -> String {
        match self {
            EditError::Continuation { .. } => format!("{request}: {self}"),
            _ => self.to_string(),
        }
    }
}
