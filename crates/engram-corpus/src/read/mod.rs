//! Reads corpora in the formats that people export, detected by content, and writes JSONL.
//!
//! [`each`] reads one file, [`each_of`] several files and folders, [`import`] writes them as JSONL. `docs/corpora.md`
//! has the formats, their fields and the rules for leaving out records.

mod bibtex;
mod columns;
pub(crate) mod csv;
mod decode;
mod format;
mod gather;
mod inline;
mod json;
mod latex;
mod limits;
pub(crate) mod markup;
mod object;
mod parquet;
mod paths;
mod source;
mod tagged;
mod values;
pub(crate) mod xlsx;
pub(crate) mod xml;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use engram_core::files;

use crate::abstracts::Abstract;
use crate::error::{CorpusError, Result};
use crate::near::Near;
pub use columns::{AbstractField, Named};
pub use gather::Unread;
use gather::{Gather, Index};
pub use limits::RECORD_LIMIT;
pub use paths::{files_of, inputs_of};

/// The abstracts of a file or an import, with counts of what was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Corpus {
    /// The abstracts, in the order of the files.
    pub abstracts: Vec<Abstract>,
    /// Number of abstracts returned.
    pub given: usize,
    /// Records left out because their PMID occurred before.
    pub duplicates: usize,
    /// Records left out because there is a later version or revision of the citation.
    pub superseded: usize,
    /// Records left out because they have neither title nor abstract.
    pub empty: usize,
    /// Citations left out because a file marks them as deleted.
    pub deleted: usize,
    /// Records left out because their text is equal or nearly equal to an earlier one.
    pub same_text: usize,
    /// Returned abstracts without a body.
    pub no_abstract: usize,
    /// Returned abstracts without a title.
    pub no_title: usize,
    /// Returned abstracts without a PMID.
    pub no_pmid: usize,
    /// Returned abstracts of retracted articles.
    pub retracted: usize,
    /// Returned abstracts whose only text is not in English.
    pub other_language: usize,
    /// Lines or rows that are not UTF-8 and were read as Windows-1252.
    pub windows_1252: usize,
    /// Lines outside of records.
    pub outside: usize,
    /// Files that do not end with a line break: their last record may be truncated.
    pub open_ended: usize,
    /// Sheets of spreadsheets without a column of a corpus.
    pub other_sheets: BTreeSet<String>,
    /// Unused columns and keys.
    pub unused: BTreeSet<String>,
    /// Columns and keys named by hand that were found.
    pub by_hand: BTreeSet<String>,
    /// Files that could not be read.
    pub unread: Vec<Unread>,
}

impl Corpus {
    /// Counts a returned abstract and what it lacks.
    fn count(&mut self, found: &Abstract) {
        self.given += 1;
        self.no_abstract += usize::from(found.body.trim().is_empty());
        self.no_title += usize::from(found.title.trim().is_empty());
        self.no_pmid += usize::from(found.pmid.is_none());
        self.retracted += usize::from(found.retracted);
        self.other_language += usize::from(found.language.is_some());
    }

    /// Adds the counts of a further file.
    fn add(&mut self, other: Corpus) {
        self.given += other.given;
        self.duplicates += other.duplicates;
        self.superseded += other.superseded;
        self.empty += other.empty;
        self.deleted += other.deleted;
        self.same_text += other.same_text;
        self.no_abstract += other.no_abstract;
        self.no_title += other.no_title;
        self.no_pmid += other.no_pmid;
        self.retracted += other.retracted;
        self.other_language += other.other_language;
        self.windows_1252 += other.windows_1252;
        self.outside += other.outside;
        self.open_ended += other.open_ended;
        self.other_sheets.extend(other.other_sheets);
        self.unused.extend(other.unused);
        self.by_hand.extend(other.by_hand);
        self.unread.extend(other.unread);
    }
}

/// How corpora are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadSettings {
    /// Columns named by hand.
    pub columns: Vec<Named>,
}

/// Settings of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportSettings {
    /// How the files are read.
    pub read: ReadSettings,
    /// Leave out a text that is equal or nearly equal to an earlier one ([`crate::near::THRESHOLD`]).
    pub deduplicate: bool,
    /// Accept a corpus in which no record has an abstract.
    pub titles_only: bool,
}

/// Reads a corpus. The format is detected by content, and by the name's ending if the content is ambiguous. A folder
/// stands for its files.
///
/// # Errors
/// [`CorpusError::Core`] if a file cannot be read; [`CorpusError::Line`], [`CorpusError::RecordTooLong`] or
/// [`CorpusError::Gzip`], with the line, for an invalid record, a record of more than [`RECORD_LIMIT`] bytes or a
/// damaged gzip; [`CorpusError::Xml`], with the byte, for XML that is damaged or declares entities;
/// [`CorpusError::Format`] for an unsupported format; [`CorpusError::Bomb`] for a file that unpacks to more than 200
/// times its size (64 MiB are always allowed); [`CorpusError::NoAbstract`] or [`CorpusError::EmptyCorpus`] if there are
/// no abstracts. Of several files, the error of the first that cannot be read.
pub fn read(path: &Path) -> Result<Corpus> {
    let mut abstracts = Vec::new();
    let counts = each(path, |found| {
        abstracts.push(found);
        Ok(())
    })?;
    Ok(Corpus {
        abstracts,
        ..counts
    })
}

/// As [`read`], passing abstracts to `take` one at a time. Memory is that of one record (at most [`RECORD_LIMIT`]
/// bytes) and of the PMIDs seen; for Parquet files also that of the pages, for spreadsheets that of the shared strings
/// (at most 512 MiB each). The returned value has counts only.
///
/// # Errors
/// As [`read`]; any error of `take`.
pub fn each(path: &Path, take: impl FnMut(Abstract) -> Result<()>) -> Result<Corpus> {
    let counts = each_of(&files_of(&[path])?, &ReadSettings::default(), take)?;
    match counts.unread.first() {
        Some(unread) => Err(CorpusError::Unread {
            path: unread.path.clone(),
            why: unread.why.clone(),
        }),
        None => Ok(counts),
    }
}

/// As [`each`], for several files in order. Of the records of one PMID, in any of the files, the highest version
/// counts; of equal versions the latest revision, otherwise the first. A deletion removes earlier records. If some of
/// several files cannot be read, they are listed in [`Corpus::unread`] and skipped.
///
/// # Errors
/// As [`each`], if there is only one file or none of several can be read.
pub fn each_of(
    paths: &[PathBuf],
    settings: &ReadSettings,
    mut take: impl FnMut(Abstract) -> Result<()>,
) -> Result<Corpus> {
    once_each(&settings.columns)?;
    if let [path] = paths {
        let opened = source::open(path)?;
        if !opened.format.has_versions() {
            let mut into = Gather::first(path, opened.size, settings, &mut take);
            opened.read(&mut into)?;
            return whole(path, into.end().1, settings);
        }
    }
    let (mut index, mut counts) = (Index::default(), Corpus::default());
    let (mut readable, mut first) = (Vec::new(), None);
    for (number, path) in paths.iter().enumerate() {
        match notes(path, settings) {
            Ok(notes) => {
                index.add(number, notes);
                readable.push((number, path));
            }
            Err(error) => {
                counts.unread.push(Unread {
                    path: path.clone(),
                    why: error.to_string(),
                });
                first.get_or_insert(error);
            }
        }
    }
    if readable.is_empty()
        && let Some(error) = first
    {
        return Err(error);
    }
    for (number, path) in readable {
        let opened = source::open(path)?;
        let mut into = Gather::pick(path, opened.size, settings, (&index, number), &mut take);
        opened.read(&mut into)?;
        counts.add(into.end().1);
    }
    // The reason why a file could not be read matters more than that the others are empty.
    if let (0, Some(error)) = (counts.given, first) {
        return Err(error);
    }
    let path = paths.first().map_or(Path::new(""), PathBuf::as_path);
    whole(path, counts, settings)
}

/// Fails for a column named for two fields: one of them would be lost.
fn once_each(columns: &[Named]) -> Result<()> {
    let twice = columns.iter().enumerate().find(|(at, named)| {
        let same = |other: &Named| other.column.eq_ignore_ascii_case(&named.column);
        columns[..*at].iter().any(same)
    });
    match twice {
        Some((_, named)) => Err(CorpusError::ColumnTwice {
            column: named.column.clone(),
        }),
        None => Ok(()),
    }
}

/// The first pass over a file.
fn notes(path: &Path, settings: &ReadSettings) -> Result<gather::Notes> {
    let opened = source::open(path)?;
    let mut into = Gather::list(path, opened.size, settings);
    opened.read(&mut into)?;
    match into.is_empty() {
        true => Err(CorpusError::EmptyCorpus {
            path: path.to_owned(),
            found: String::new(),
        }),
        false => Ok(into.end().0),
    }
}

/// Fails for files without abstracts, and for a column named by hand that no file has.
fn whole(path: &Path, counts: Corpus, settings: &ReadSettings) -> Result<Corpus> {
    let is_missing = |named: &&Named| !counts.by_hand.contains(&named.column);
    if let Some(named) = settings.columns.iter().find(is_missing) {
        let found: Vec<&str> = counts.unused.iter().map(String::as_str).collect();
        return Err(CorpusError::NoColumn {
            path: path.to_owned(),
            wanted: named.column.clone(),
            found: match found.is_empty() {
                true => "no column except those of the format".to_owned(),
                false => found.join(", ").chars().take(200).collect(),
            },
        });
    }
    match counts.given {
        0 => Err(CorpusError::EmptyCorpus {
            path: path.to_owned(),
            found: found_instead(&counts),
        }),
        _ => Ok(counts),
    }
}

/// What a corpus without titles and abstracts contains instead.
fn found_instead(counts: &Corpus) -> String {
    if counts.empty == 0 {
        return String::new();
    }
    let records = match counts.empty {
        1 => "its one record has".to_owned(),
        several => format!("its {several} records have"),
    };
    let names: Vec<&str> = counts.unused.iter().map(String::as_str).collect();
    let names: String = names.join(", ").chars().take(200).collect();
    match names.is_empty() {
        true => format!(": {records} neither a title nor an abstract"),
        false => format!(
            ": {records} neither a title nor an abstract, but {names} (--column abstract=NAME names one by hand)"
        ),
    }
}

/// Reads files as [`each_of`] and writes their abstracts to one JSONL file, atomically and one at a time.
///
/// # Errors
/// As [`each_of`]; [`CorpusError::NoAbstract`] if no record has an abstract and `settings.titles_only` is not set;
/// [`engram_core::CoreError::Write`] if the file cannot be written.
pub fn import(paths: &[PathBuf], to: &Path, settings: &ImportSettings) -> Result<Corpus> {
    let (mut failed, mut counts) = (None, Corpus::default());
    let mut near = Near::default();
    let written = files::write_atomic(to, |w| {
        let mut kept = Corpus::default();
        let made = each_of(paths, &settings.read, |found| {
            if settings.deduplicate && near.add(&found.own_text()).is_some() {
                return Ok(());
            }
            kept.count(&found);
            let line = serde_json::to_writer(&mut *w, &found).map_err(std::io::Error::from);
            let line = line.and_then(|()| w.write_all(b"\n"));
            line.map_err(|e| files::write_error(to)(e).into())
        });
        let made = made.and_then(|made| {
            if made.no_abstract == made.given && !settings.titles_only {
                let unused: Vec<&str> = made.unused.iter().map(String::as_str).collect();
                return Err(CorpusError::NoAbstract {
                    path: paths.first().cloned().unwrap_or_default(),
                    records: made.given,
                    unused: unused.join(", ").chars().take(200).collect(),
                });
            }
            Ok(Corpus {
                same_text: made.given - kept.given,
                given: kept.given,
                no_abstract: kept.no_abstract,
                no_title: kept.no_title,
                no_pmid: kept.no_pmid,
                retracted: kept.retracted,
                other_language: kept.other_language,
                ..made
            })
        });
        match made {
            Ok(made) => {
                counts = made;
                Ok(())
            }
            Err(error) => {
                failed = Some(error);
                Err(std::io::Error::other("the corpus could not be read"))
            }
        }
    });
    match (failed, written) {
        (Some(error), _) => Err(error),
        (None, written) => written.map(|()| counts).map_err(Into::into),
    }
}

/// Writes a corpus as JSONL, atomically.
///
/// # Errors
/// [`CorpusError::Core`] if the file cannot be written.
pub fn write(path: &Path, abstracts: &[Abstract]) -> Result<()> {
    Ok(files::write_jsonl(path, abstracts)?)
}
