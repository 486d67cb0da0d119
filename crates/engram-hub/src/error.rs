//! Errors of the hub and its cache.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use engram_core::CoreError;

/// Result of this crate.
pub type Result<T, E = HubError> = std::result::Result<T, E>;

/// An error of the hub, the network or the cache, worded for the person who named the model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A text that is not the name of a model.
    #[error("{text:?} is not org/name[@revision] or org/name/file.gguf[@revision]: {why}")]
    Reference {
        /// The text.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A text that is neither a local path nor a model that can be fetched.
    #[error("there is no file or folder {text}; as a model of the hub: {why}")]
    Neither {
        /// The text.
        text: String,
        /// Why it is not a model, or could not be fetched.
        why: Box<HubError>,
    },
    /// An environment variable with an unusable value.
    #[error("{name}: {why}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// What is wrong with it, and what is allowed.
        why: String,
    },
    /// The hub has no such model, revision or file, or does not show it to this token.
    #[error("{reference}: {why}")]
    NotFound {
        /// The model asked for.
        reference: String,
        /// What is missing, and how to list what exists.
        why: String,
    },
    /// The hub refuses to give it, or its response cannot be used.
    #[error("{reference}: {why}")]
    Refused {
        /// The model asked for.
        reference: String,
        /// The reason, and what can be done.
        why: String,
    },
    /// A repository without a readable checkpoint.
    #[error("{reference}: the repository has {why}")]
    Contents {
        /// The model asked for.
        reference: String,
        /// What it has or lacks, and what is needed.
        why: String,
    },
    /// The hub did not answer any attempt.
    #[error("{reference}: {why}")]
    Unreachable {
        /// The model asked for.
        reference: String,
        /// What was tried, and what can be done.
        why: String,
    },
    /// A downloaded file with a wrong checksum or size.
    #[error("{reference}: {file}: {why}")]
    Damaged {
        /// The model asked for.
        reference: String,
        /// The file in the repository.
        file: String,
        /// What was expected and what was received.
        why: String,
    },
    /// Offline mode, and the model is not completely cached.
    #[error(
        "{reference}: HF_HUB_OFFLINE forbids asking the hub, and the cache {} has {why}; unset it to fetch",
        cache.display()
    )]
    Offline {
        /// The model asked for.
        reference: String,
        /// The cache.
        cache: PathBuf,
        /// What is missing.
        why: String,
    },
    /// A file of the cache that cannot be read or written.
    #[error("{}: {source}{}", path.display(), mend(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// Another error of a file.
    #[error(transparent)]
    Core(CoreError),
}

impl From<CoreError> for HubError {
    fn from(error: CoreError) -> HubError {
        match error {
            CoreError::Io { path, source } | CoreError::Write { path, source } => {
                HubError::Io { path, source }
            }
            other => HubError::Core(other),
        }
    }
}

/// Turns an operating-system error into a [`HubError::Io`] with the path concerned.
pub(crate) fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> HubError + '_ {
    move |source| HubError::Io {
        path: path.to_owned(),
        source,
    }
}

fn mend(source: &std::io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "; make room, or set HF_HUB_CACHE to a folder on another disk (the same command resumes the download)"
        }
        ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::NotADirectory
        | ErrorKind::AlreadyExists => "; set HF_HUB_CACHE to a folder in which you may write",
        _ => "",
    }
}
