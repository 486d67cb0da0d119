//! What may make pairs of two kinds differ besides their kind.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::files;

/// One pair's confounds, of its clean prompt and fact; `None` where it is not known.
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
    /// Where the subject's last token stands in the prompt, from 0.
    pub subject_position: Option<usize>,
    /// Mentions of the answer as a whole word in the training texts, in any case.
    pub answer_mentions: Option<usize>,
    /// Statements of the fact in the training texts.
    pub exposures: Option<usize>,
}

impl Confounds {
    /// Reads a file of one line a pair.
    ///
    /// # Errors
    /// The file system's; a line that is none.
    pub fn read(path: &Path) -> Result<Vec<Confounds>> {
        files::read_jsonl(path)
    }

    /// Writes a file of one line a pair.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(path: &Path, confounds: &[Confounds]) -> Result<()> {
        files::write_jsonl(path, confounds)
    }
}
