//! Errors of names and files.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::range::OutOfRange;

/// Result of this crate.
pub type Result<T, E = CoreError> = std::result::Result<T, E>;

/// An error in a name, a value or a file, worded for the person who wrote it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoreError {
    /// A site that the model does not have.
    #[error("no site is called \"{name}\"{}", near_text(near))]
    UnknownSite {
        /// The name as asked.
        name: String,
        /// Names that resemble it.
        near: Vec<String>,
    },
    /// Brackets after a site's name that select nothing.
    #[error("site \"{name}\": {why}")]
    Selection {
        /// The name as given.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A layer beyond the model's last.
    #[error("site \"{name}\": the model has layers 0 to {last}")]
    NoSuchLayer {
        /// The name as asked.
        name: String,
        /// The highest layer.
        last: usize,
    },
    /// A word outside a fixed set of words.
    #[error("\"{value}\" is not a {what}; known: {known}")]
    UnknownWord {
        /// What kind of word was expected.
        what: &'static str,
        /// The value found.
        value: String,
        /// The allowed words, comma-separated.
        known: String,
    },
    /// A line of a JSONL file that does not parse.
    #[error("{}, line {line}: {why}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The parser's reason.
        why: String,
    },
    /// All faults of a file that a person wrote.
    #[error(transparent)]
    Faults(#[from] crate::faults::Faults),
    /// A file that cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file that cannot be written.
    #[error("cannot write {}: {source}{}", path.display(), room(source))]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A path to be read that is not a regular file: opening it could block.
    #[error("{}: it is {found}, expected a file{}", path.display(), copy(found))]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A number outside its range.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// A Parquet file that is damaged or has other columns.
    #[error("{}: {why}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A JSON file that does not parse.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// An output that another running process is writing.
    #[error(
        "{}: {} is writing to it; wait until it has ended, or name another output",
        path.display(), process_text(*process)
    )]
    Held {
        /// The output.
        path: PathBuf,
        /// The process id, if it can be read.
        process: Option<u32>,
    },
    /// A file of an unfinished run whose checksum does not match its content.
    #[error("{}: it is damaged (its checksum does not fit); remove it to make it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A suite without a pair.
    #[error("{}: it has no pair; engram suite new FILE writes some to start from", path.display())]
    NoPair {
        /// The file.
        path: PathBuf,
    },
    /// An empty file.
    #[error("{}: it is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

fn room(source: &std::io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "; make room, or write to another disk"
        }
        ErrorKind::FileTooLarge => "; files of that size are not allowed there",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "; a file stands where a folder is needed, name another"
        }
        _ => "",
    }
}

fn copy(found: &str) -> &'static str {
    match found {
        "a folder" => "",
        _ => "; copy what it gives to a file first",
    }
}

fn near_text(near: &[String]) -> String {
    match near {
        [] => String::new(),
        _ => format!("; near it: {}", near.join(", ")),
    }
}

fn process_text(process: Option<u32>) -> String {
    process.map_or("another process".to_owned(), |id| format!("process {id}"))
}
