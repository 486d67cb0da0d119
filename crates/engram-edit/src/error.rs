//! Errors of edits.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = EditError> = std::result::Result<T, E>;

/// An error in a request, a delta or an edit, worded for the person who asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// An error of the model or its tokenizer.
    #[error(transparent)]
    Model(#[from] engram_model::ModelError),
    /// An error of a file.
    #[error(transparent)]
    Core(#[from] engram_core::CoreError),
    /// An error of the tensor library.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A subject that does not occur in its prompt.
    #[error(
        "{request}: the subject \"{subject}\" does not occur in the prompt \"{prompt}\"; give it as the prompt has it"
    )]
    Subject {
        /// Id of the request.
        request: String,
        /// The subject.
        subject: String,
        /// The prompt.
        prompt: String,
    },
    /// A new answer that equals the present one.
    #[error("{request}: the new answer \"{answer}\" is the present one; an edit needs another")]
    SameAnswer {
        /// Id of the request.
        request: String,
        /// The answer.
        answer: String,
    },
    /// A request that is incomplete or that the method does not take.
    #[error("{request}: {why}")]
    Request {
        /// Id of the request.
        request: String,
        /// What is wrong.
        why: String,
    },
    /// An answer that cannot follow its prompt.
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
        /// The allowed values.
        expected: String,
    },
    /// A covariance without an inverse.
    #[error(
        "layer {layer}: the covariance of {tokens} tokens' keys ({width} wide) is singular; give more texts, or a ridge"
    )]
    Singular {
        /// The layer.
        layer: usize,
        /// Number of tokens in its mean.
        tokens: u64,
        /// Number of neurons.
        width: usize,
    },
    /// A covariance whose keys leave no null space.
    #[error(
        "layer {layer}: no direction is left beside those that hold {energy} of the keys' energy; give more texts, or a smaller `energy`"
    )]
    NoNullSpace {
        /// The layer.
        layer: usize,
        /// The preserved share of the covariance's trace.
        energy: f64,
    },
    /// A stored covariance that is damaged.
    #[error("{}: this stored covariance is damaged: {why}; remove the file to compute it again", path.display())]
    Statistics {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No text to compute keys from.
    #[error("the covariance needs texts of at least one token; the sample has none")]
    NoTexts,
    /// A sequence under way that cannot be gone on with.
    #[error(
        "{}: this unfinished sequence is damaged, or of other inputs; remove the file to begin again", path.display()
    )]
    Sequence {
        /// The file.
        path: PathBuf,
    },
    /// A value that is not finite.
    #[error("{what}: the edit is not finite; lower the rate or the clamp, or raise the ridge")]
    NotFinite {
        /// Where it occurred.
        what: String,
    },
    /// Two requests of one fact with the same new answer.
    #[error("{request}: it repeats {first}; edits made together need one request for each fact")]
    Repeated {
        /// Id of the later request.
        request: String,
        /// Id of the earlier one.
        first: String,
    },
    /// Two requests of one fact with different new answers.
    #[error(
        "{request}: it contradicts {first}: of one fact they want the answers \"{}\" and \"{}\"; keep one of them",
        answers[0], answers[1]
    )]
    Contradiction {
        /// Id of the later request.
        request: String,
        /// Id of the earlier one.
        first: String,
        /// The new answers of the later and of the earlier request.
        answers: [String; 2],
    },
    /// A subject at a prompt's first token, where the model has an attention sink.
    #[error(
        "{request}: the subject is the first token of its prompt, which this model reads unlike any other at layer {layer} (an edit of the subject after other words would reach it to {share:.0} %); put words before the subject, as in \"The capital of …\""
    )]
    Outlier {
        /// Id of the request.
        request: String,
        /// The layer.
        layer: usize,
        /// How much of an edit of the subject after other words reaches it, in percent.
        share: f64,
    },
    /// An update that is large beside the weight.
    #[error(
        "{request}: the update at layer {layer} would have {ratio:.2} times the weight's norm, allowed {most}; edit another layer, or raise `norm`"
    )]
    Large {
        /// Id of the request.
        request: String,
        /// The layer.
        layer: usize,
        /// ‖ΔW‖ / ‖W‖.
        ratio: f64,
        /// The bound.
        most: f64,
    },
    /// A method that is not defined for a family.
    #[error("{what} is not defined for {family}: {why}")]
    Unsupported {
        /// The method.
        what: &'static str,
        /// The family.
        family: String,
        /// The reason.
        why: &'static str,
    },
    /// A file that is not an edit.
    #[error("{}: not a readable edit: {why}", path.display())]
    Delta {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// An edit of another checkpoint.
    #[error(
        "edit {delta} was made for the checkpoint {expected}, this one is {found}; use the one that it was made for"
    )]
    OtherCheckpoint {
        /// The edit.
        delta: String,
        /// The checkpoint that it was made for: name and hash.
        expected: String,
        /// The checkpoint that it is applied to: path and hash.
        found: String,
    },
    /// Two edits that change the same weight, neither of them made on top of the other.
    #[error(
        "edits {first} and {second} both change {weight}, and neither was made on the model that the other gives; revert {first}, or make the second edit on the edited model"
    )]
    Conflict {
        /// The one that is applied.
        first: String,
        /// The one to be applied.
        second: String,
        /// The weight.
        weight: String,
    },
    /// An edit that was made on top of others, which are not applied.
    #[error(
        "edit {delta} was made on top of {missing}, which is not applied before it; apply {missing} first"
    )]
    Missing {
        /// The edit.
        delta: String,
        /// The missing edits.
        missing: String,
    },
    /// An edit that others were made on top of.
    #[error(
        "edit {delta} cannot be taken off: {above} was made on top of it; revert {above} first"
    )]
    Needed {
        /// The edit.
        delta: String,
        /// The edits that need it.
        above: String,
    },
    /// An edit that is not applied.
    #[error("no edit {delta} is applied here; applied: {known}")]
    Unknown {
        /// The name as given.
        delta: String,
        /// The applied edits.
        known: String,
    },
    /// An edit that is already applied.
    #[error("edit {delta} is applied here already")]
    Twice {
        /// The edit.
        delta: String,
    },
}

impl EditError {
    /// Whether the error concerns one request only, so that others can still be edited.
    pub fn is_of_request(&self) -> bool {
        matches!(
            self,
            EditError::Subject { .. }
                | EditError::SameAnswer { .. }
                | EditError::Request { .. }
                | EditError::Repeated { .. }
                | EditError::Contradiction { .. }
                | EditError::Outlier { .. }
                | EditError::Large { .. }
                | EditError::Continuation { .. }
        )
    }

    /// The error with the id of its request.
    pub fn named(&self, request: &str) -> String {
        match self {
            EditError::Continuation { .. } => format!("{request}: {self}"),
            _ => self.to_string(),
        }
    }
}
