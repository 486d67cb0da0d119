//! What can go wrong between the hub and the cache.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use engram_core::CoreError;

/// Result of this crate.
pub type Result<T, E = HubError> = std::result::Result<T, E>;

/// An error of the hub, the network or the cache, worded for the person who asked for the model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A text that names no model of the hub.
    #[error("{text:?} is not org/name[@revision] or org/name/file.gguf[@revision]: {why}")]
    Reference {
        /// The text.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A text that is neither a local path nor a model that could be had.
    #[error("there is no file or folder {text}; as a model of the hub: {why}")]
    Neither {
        /// The text.
        text: String,
        /// Why it is no model of the hub, or could not be had.
        why: Box<HubError>,
    },
    /// An environment variable that cannot be used.
    #[error("{name}: {why}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// What is wrong with it, and what would do.
        why: String,
    },
    /// The hub has no such model, revision or file, or none for this token.
    #[error("{reference}: {why}")]
    NotFound {
        /// What was asked for.
        reference: String,
        /// What is not there, and how to see what is.
        why: String,
    },
    /// The hub has it and does not give it, or answers what cannot be used.
    #[error("{reference}: {why}")]
    Refused {
        /// What was asked for.
        reference: String,
        /// The reason, and how to mend it.
        why: String,
    },
    /// A repository whose files make no checkpoint that can be read.
    #[error("{reference}: the repository has {why}")]
    Contents {
        /// What was asked for.
        reference: String,
        /// What it has or lacks, and what would do.
        why: String,
    },
    /// No answer of the hub, after all tries.
    #[error("{reference}: {why}")]
    Unreachable {
        /// What was asked for.
        reference: String,
        /// What was tried, and how to mend it.
        why: String,
    },
    /// Bytes that are not the file's.
    #[error("{reference}: {file}: {why}")]
    Damaged {
        /// What was asked for.
        reference: String,
        /// The file in the repository.
        file: String,
        /// What was expected and what came.
        why: String,
    },
    /// Offline, and not whole in the cache.
    #[error(
        "{reference}: HF_HUB_OFFLINE forbids asking the hub, and the cache {} has {why}; unset it to fetch",
        cache.display()
    )]
    Offline {
        /// What was asked for.
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
    /// Any other error of a file.
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

/// Wraps an operating-system error with the path that it is about.
pub(crate) fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> HubError + '_ {
    move |source| HubError::Io {
        path: path.to_owned(),
        source,
    }
}

fn mend(source: &std::io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "; make room, or set HF_HUB_CACHE to a folder on another disk (the same command goes on with what is there)"
        }
        ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::NotADirectory
        | ErrorKind::AlreadyExists => "; set HF_HUB_CACHE to a folder in which you may write",
        _ => "",
    }
}
