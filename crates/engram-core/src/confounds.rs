//! Confounds: properties besides the kind in which pairs of two kinds may differ.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::files;

/// The confounds of one pair, from its clean prompt and fact. `None` where unknown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confounds {
    /// The pair's id.
    pub pair: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub answer_tokens: usize,
    /// Tokens of the subject.
    pub subject_tokens: Option<usize>,
    /// Position of the subject's last token in the prompt, from 0.
    pub subject_position: Option<usize>,
    /// Occurrences of the answer as a whole word in the training texts, ignoring case.
    pub answer_mentions: Option<usize>,
    /// Statements of the fact in the training texts.
    pub exposures: Option<usize>,
}

impl Confounds {
    /// Reads a JSONL file, one pair a line.
    ///
    /// # Errors
    /// [`CoreError::Io`](crate::CoreError::Io) if the file cannot be read; [`CoreError::Line`](crate::CoreError::Line)
    /// for a line that does not parse.
    pub fn read(path: &Path) -> Result<Vec<Confounds>> {
        files::read_jsonl(path)
    }

    /// Writes a JSONL file, one pair a line.
    ///
    /// # Errors
    /// [`CoreError::Write`](crate::CoreError::Write).
    pub fn write(path: &Path, confounds: &[Confounds]) -> Result<()> {
        files::write_jsonl(path, confounds)
    }
}
