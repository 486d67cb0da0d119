//! Errors of corpora and fact tables.

use std::path::PathBuf;

use engram_core::{CoreError, Faults};

/// Result of this crate.
pub type Result<T, E = CorpusError> = std::result::Result<T, E>;

/// An error in a corpus, a fact table or a setting, worded for the person who wrote it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// A file that cannot be read or written.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// An unusable record of CounterFact.
    #[error("{}, case {case}: {why}", path.display())]
    CounterFact {
        /// The file.
        path: PathBuf,
        /// The record's number.
        case: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An invalid record of a corpus.
    #[error("{}, line {line}: {why}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number in the decompressed file, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A record longer than the limit.
    #[error("{}, line {line}: the record is longer than {limit} bytes", path.display())]
    RecordTooLong {
        /// The file.
        path: PathBuf,
        /// Line number at which the record begins, from 1.
        line: usize,
        /// The maximum size of a record in bytes.
        limit: usize,
    },
    /// A gzip file that is damaged or ends early.
    #[error("{}: damaged or truncated gzip, after line {line}: {why}", path.display())]
    Gzip {
        /// The file.
        path: PathBuf,
        /// The last line that was read completely.
        line: usize,
        /// The decompressor's reason.
        why: String,
    },
    /// XML that is damaged or does not contain citations.
    #[error("{}, at byte {byte}: {why}", path.display())]
    Xml {
        /// The file.
        path: PathBuf,
        /// Bytes from the start of the decompressed file.
        byte: u64,
        /// What is wrong with it.
        why: String,
    },
    /// A file that unpacks to more than the limit.
    #[error(
        "{}: it unpacks to more than {times} times its size; refused as a decompression bomb (if it is a real corpus, unpack it or write it as JSONL yourself)",
        path.display()
    )]
    Bomb {
        /// The file.
        path: PathBuf,
        /// The largest ratio allowed.
        times: u64,
    },
    /// PubMed could not be reached, or did not answer.
    #[error("PubMed: {why}")]
    Fetch {
        /// What went wrong, and what can be done.
        why: String,
    },
    /// A spreadsheet that cannot be read.
    #[error("{}: not a readable .xlsx file: {why}", path.display())]
    Sheet {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A table without a column that a corpus needs.
    #[error(
        "{}: no column is called {wanted}; found: {found} (--column abstract=NAME names one by hand)", path.display()
    )]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The columns that are needed.
        wanted: String,
        /// The columns found.
        found: String,
    },
    /// An unsupported format.
    #[error("{}: its format is not read: {what}. Read are: {read}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
        /// The supported formats.
        read: &'static str,
    },
    /// A corpus without abstracts, only titles.
    #[error(
        "{}: none of {records} records has an abstract{}; an export with abstracts is needed (--titles-only accepts titles alone)",
        path.display(), not_used(unused)
    )]
    NoAbstract {
        /// The (first) file.
        path: PathBuf,
        /// Number of records.
        records: usize,
        /// Names of columns that were not used.
        unused: String,
    },
    /// One of several files that cannot be read.
    #[error("{why}")]
    Unread {
        /// The file.
        path: PathBuf,
        /// The error's text, which includes the path.
        why: String,
    },
    /// A folder or a pattern without a file.
    #[error("{}: there is no file", path.display())]
    NoFile {
        /// The folder or pattern.
        path: PathBuf,
    },
    /// An invalid pattern of file names.
    #[error("{}: {why}", path.display())]
    Pattern {
        /// The pattern.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A column named by hand for two fields.
    #[error("--column names {column} twice: a column gives one field")]
    ColumnTwice {
        /// The column.
        column: String,
    },
    /// A corpus without a single title or abstract.
    #[error("{}: the corpus is empty{found}", path.display())]
    EmptyCorpus {
        /// The file.
        path: PathBuf,
        /// What was found instead, after a colon; may be empty.
        found: String,
    },
    /// A split that would leave one side empty.
    #[error(
        "cannot split {abstracts} abstract{} with a validation share of {fraction}: training and validation need one at least; {}",
        if *abstracts == 1 { "" } else { "s" }, share(*abstracts)
    )]
    Split {
        /// Number of abstracts.
        abstracts: usize,
        /// The fraction asked for.
        fraction: f64,
    },
    /// A term that cannot be counted.
    #[error("cannot count mentions of {term:?}: {why}")]
    Term {
        /// The term.
        term: String,
        /// The reason.
        why: String,
    },
    /// A fact table with faults, each with its line.
    #[error("{faults}")]
    Facts {
        /// The faults.
        faults: Faults,
    },
    /// Settings for writing texts that cannot be satisfied.
    #[error("cannot write texts: {why}")]
    Settings {
        /// What is wrong, and what is allowed.
        why: String,
    },
    /// A fact that does not fit into a text, even alone.
    #[error(
        "cannot write texts: a text with the one fact {fact} has {tokens} tokens, of at most {max_tokens}"
    )]
    FactTooLong {
        /// The fact's id, shortened if long.
        fact: String,
        /// Tokens of the shortest text tried.
        tokens: usize,
        /// The limit.
        max_tokens: usize,
    },
}

fn not_used(columns: &str) -> String {
    match columns {
        "" => String::new(),
        columns => format!(" (not used: {columns}; --column abstract=NAME names one by hand)"),
    }
}

/// A fraction that works for this number of abstracts.
fn share(abstracts: usize) -> String {
    match abstracts {
        0 | 1 => {
            "give a corpus of 2 abstracts or more, or the validation texts in a file of their own"
                .to_owned()
        }
        // The share is rounded to the nearest whole number of abstracts.
        n => format!(
            "give a share from {:.4} to {:.4}",
            1.0 / n as f64,
            (n - 1) as f64 / n as f64
        ),
    }
}
