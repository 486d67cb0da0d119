//! Everything that a use case can end with, worded for the person who asked for it.

use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use engram_core::{CoreError, Faults, OutOfRange};
use engram_corpus::CorpusError;
use engram_edit::EditError;
use engram_findings::FindingsError;
use engram_hub::HubError;
use engram_model::ModelError;
use engram_patch::PatchError;
use engram_report::ReportError;
use engram_stats::StatsError;
use engram_train::TrainError;

use crate::pairs::UnequalLengths;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a use case. Its text is one line, but where it lists all faults of a file; `source` gives what was behind it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A suite, a study or another of engram's own files.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// A corpus or a fact table.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The Hugging Face hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A checkpoint, a tokenizer or a forward pass.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A suite's fitness, a plan or a sweep.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// An edit.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// What rows show.
    #[error(transparent)]
    Findings(#[from] FindingsError),
    /// A report or a figure.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A statistic.
    #[error(transparent)]
    Stats(#[from] StatsError),
    /// A number outside its range.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// All faults of a file, listed.
    #[error(transparent)]
    Faults(#[from] Faults),
    /// Prompts of pairs that differ in length, under strict alignment.
    #[error(transparent)]
    Unequal(#[from] UnequalLengths),
    /// A value that has no JSON.
    #[error("no JSON can be made of it: {0}")]
    Json(#[from] serde_json::Error),
    /// The tensor library.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// An error, and what it was met in: a file, a setting, a section of a study.
    #[error("{what}")]
    Within {
        /// What was being done.
        what: String,
        /// The error.
        source: Box<Error>,
    },
    /// A file or folder that cannot be read, written or removed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// Something that was asked for and cannot be: an argument, a setting, a combination of them.
    #[error("{what}: {why}")]
    Asked {
        /// The setting or argument, as its user knows it.
        what: String,
        /// Why it cannot be, and what would do.
        why: String,
    },
    /// A prompt of no text or of no token.
    #[error("{0}")]
    NoPrompt(String),
    /// A suite of which no pair can be patched.
    #[error("none of {count} pairs can be patched; the first, {first}: {why}")]
    NoneFits {
        /// How many pairs there are.
        count: usize,
        /// The first one's id.
        first: String,
        /// What is wrong with it.
        why: String,
    },
    /// A checkpoint whose weights alone take more memory than is allowed.
    #[error("{}: its weights alone take {needs} of memory, {allowed} are allowed (--memory)", path.display())]
    Weights {
        /// The checkpoint.
        path: PathBuf,
        /// What the weights take.
        needs: ByteSize,
        /// What is allowed.
        allowed: ByteSize,
    },
    /// A model of another checkpoint than edits were made for.
    #[error(
        "{}: its edits were made for the checkpoint {made_for}, and its base, {}, is {found}; correct \"base\", or make the edits anew",
        list.display(), base.display()
    )]
    OtherBase {
        /// The list of edits.
        list: PathBuf,
        /// The checkpoint that it names.
        base: PathBuf,
        /// The first digits of the hash of the checkpoint that the edits were made for.
        made_for: String,
        /// Those of the one that is there.
        found: String,
    },
    /// A folder of edits of another checkpoint than the one that was named.
    #[error("{} holds edits of the checkpoint {held}, --model is {asked}", folder.display())]
    OtherCheckpoint {
        /// The folder of edits.
        folder: PathBuf,
        /// Its checkpoint, with the first digits of the hash.
        held: String,
        /// The model that was named, with those of its own.
        asked: String,
    },
    /// A folder that has no edits.
    #[error("{}: no edits in this folder; name one that `engram edit apply` wrote", folder.display())]
    NoEdits {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder that something is in already.
    #[error("{} is not empty; name another folder with --out", folder.display())]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
    },
    /// A file that exists already.
    #[error("{} exists; name another file with --out", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A folder that holds other files than a study's.
    #[error("{} is not empty and holds no study; name another folder with --out", folder.display())]
    NotAStudy {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder that holds the results of another study.
    #[error(
        "{}: the folder holds another study, \"{held}\"; give \"{asked}\" a folder of its own with --out",
        mark.display()
    )]
    OtherStudy {
        /// The file that says which.
        mark: PathBuf,
        /// The title of the one that it holds.
        held: String,
        /// The title of the one that is to be run.
        asked: String,
    },
    /// Work that was broken off and is not to be gone on with.
    #[error("{}: a run to {} was broken off; --resume goes on with it, or remove it", under_way.display(), folder.display())]
    BrokenOff {
        /// What was kept of it.
        under_way: PathBuf,
        /// Where its results were to be.
        folder: PathBuf,
    },
    /// A folder whose results were made from other inputs.
    #[error("{} holds results of other inputs; name another folder with --out", folder.display())]
    OtherInputs {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder in which something is missing.
    #[error("{} is not whole; remove it to make it again", folder.display())]
    NotWhole {
        /// The folder.
        folder: PathBuf,
    },
    /// A file of results that was changed.
    #[error("{}: it is not as it was written; put it back, or remove the folder {} to make it again", file.display(), folder.display())]
    Changed {
        /// The file.
        file: PathBuf,
        /// The folder that it is a part of.
        folder: PathBuf,
    },
    /// A folder without results.
    #[error("{}: no {file} in this folder; name one that `engram run` or `engram patch` wrote", folder.display())]
    NoResults {
        /// The folder.
        folder: PathBuf,
        /// The file that would say what it holds.
        file: &'static str,
    },
    /// A folder of edits' scores where a sweep or a study is asked for.
    #[error("{}: this folder is of `engram edit sweep`, whose findings are in its stats.json; name one that `engram run` or `engram patch` wrote", folder.display())]
    Edits {
        /// The folder.
        folder: PathBuf,
    },
    /// The bundled model, which is not where it was named.
    #[error(
        "{}: the bundled model is not here: it is in the repository of engram, under assets/models/pubmed-mini, and too large for a package; run in a checkout, name that folder, or take a model of the hub such as HuggingFaceTB/SmolLM2-135M",
        path.display()
    )]
    NoBundledModel {
        /// The path.
        path: PathBuf,
    },
    /// A file of arrays that cannot be made.
    #[error("cannot write the arrays: {0}")]
    Arrays(String),
    /// The observer cancelled the work.
    #[error("cancelled{}", kept.as_ref().map_or(String::new(), |p| format!("; {} keeps what is done", p.display())))]
    Cancelled {
        /// Where what is done was kept, for who resumes it.
        kept: Option<PathBuf>,
    },
}

impl Error {
    /// An argument or setting that cannot be as it was asked for.
    pub fn asked(what: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Asked {
            what: what.into(),
            why: why.into(),
        }
    }

    /// This error, met in a file that its text may not name: the file is put before it then.
    #[must_use]
    pub fn of_file(self, file: &Path) -> Error {
        let name = file.display().to_string();
        let mut cause: Option<&dyn std::error::Error> = Some(&self);
        while let Some(error) = cause {
            if mentions(&error.to_string(), &name) {
                return self;
            }
            cause = error.source();
        }
        self.within(name)
    }

    /// This error, met in something.
    #[must_use]
    pub fn within(self, what: impl Into<String>) -> Error {
        Error::Within {
            what: what.into(),
            source: Box::new(self),
        }
    }

    /// The faults of a file, where the error lists them: its text then has a line for each.
    pub fn faults(&self) -> Option<&Faults> {
        match self {
            Error::Faults(faults) => Some(faults),
            Error::Core(error) => faults_of(error),
            Error::Corpus(error) => faults_of(error),
            Error::Within { source, .. } => source.faults(),
            _ => None,
        }
    }

    /// The pairs whose prompts differ in length, where the error is about these.
    pub fn unequal_lengths(&self) -> Option<&UnequalLengths> {
        match self {
            Error::Unequal(unequal) => Some(unequal),
            Error::Within { source, .. } => source.unequal_lengths(),
            _ => None,
        }
    }
}

/// The faults of a file that an error of this crate, or of one below it, lists.
pub fn faults_of<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Faults> {
    if let Some(error) = error.downcast_ref::<Error>() {
        return error.faults();
    }
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(CoreError::Faults(faults)), _)
        | (_, Some(CorpusError::Facts { faults } | CorpusError::Core(CoreError::Faults(faults)))) => {
            Some(faults)
        }
        _ => error.downcast_ref(),
    }
}

/// An error and what was behind it, in one line; a cause that its effect has named already is not told twice.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}

/// Says what an error was met in.
pub trait Within<T> {
    /// The error within something that has a name.
    ///
    /// # Errors
    /// The result's.
    fn within<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;

    /// The error of a file, put before it where its text does not name it.
    ///
    /// # Errors
    /// The result's.
    fn of_file(self, file: &Path) -> Result<T>;
}

impl<T, E: Into<Error>> Within<T> for std::result::Result<T, E> {
    fn within<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.into().within(what()))
    }

    fn of_file(self, file: &Path) -> Result<T> {
        self.map_err(|error| error.into().of_file(file))
    }
}

/// Puts a path into an error of the operating system.
pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
    |source| Error::Io {
        path: path.to_owned(),
        source,
    }
}

/// Whether a text has a path, or one below it, as a word of its own: "m" is not in "damaged".
fn mentions(text: &str, path: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric());
    text.match_indices(path).any(|(at, found)| {
        let begins = !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '/');
        begins && ends(&text[at + found.len()..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_once() {
        let missing = || Error::NoEdits {
            folder: "runs/m".into(),
        };
        let text = |error: Error| error.to_string();
        assert_eq!(
            text(missing().of_file(Path::new("runs/m"))),
            text(missing())
        );
        assert_eq!(text(missing().of_file(Path::new("m"))), "m");
        assert_eq!(
            text(missing().within("train.x").of_file(Path::new("runs/m"))),
            "train.x"
        );
    }

    #[test]
    fn faults_are_found_wherever_they_were_met() {
        let mut faults = Faults::new("s.toml");
        faults.add(Some(3), "", "no such key");
        let error = Error::from(CoreError::Faults(faults)).within("the study");
        assert!(error.faults().is_some());
        assert!(Error::NoPrompt(String::new()).faults().is_none());
    }
}
