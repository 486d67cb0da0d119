//! Collects the records of an import: which version counts, and what is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::columns::{Columns, Named};
use super::limits::{self, BOMB_TIMES};
use super::object::Keys;
use super::{Corpus, ReadSettings, values};
use crate::abstracts::Abstract;
use crate::error::{CorpusError, Result};

/// A record with the version and date that decide between records of one PMID.
#[derive(Debug, Default)]
pub(crate) struct VersionedRecord {
    pub found: Abstract,
    /// Version of the citation (`PMID Version="2"`); 0 if the format has none.
    pub version: u32,
    /// Date of the last revision as 20240607; 0 if unknown.
    pub revised: u32,
}

impl From<Abstract> for VersionedRecord {
    fn from(found: Abstract) -> VersionedRecord {
        VersionedRecord {
            found,
            ..VersionedRecord::default()
        }
    }
}

/// An entry of the first pass over a file.
enum Note {
    Record(String, u32, u32, u64),
    Deleted(String, Option<u32>),
}

/// The record that counts for a PMID and version.
#[derive(Clone, Copy, PartialEq)]
struct Best {
    revised: u32,
    /// Number of its file, and of the record in that file.
    place: (usize, u64),
}

/// The records that count, over all files, by PMID and version.
#[derive(Default)]
pub(crate) struct Index(BTreeMap<(String, u32), Best>);

impl Index {
    /// Adds the notes of a file, in order: a deletion removes earlier records.
    pub fn add(&mut self, file: usize, notes: Notes) {
        for note in notes.0 {
            match note {
                Note::Record(pmid, version, revised, at) => {
                    let new = Best {
                        revised,
                        place: (file, at),
                    };
                    let best = self.0.entry((pmid, version)).or_insert(new);
                    // Files are processed in order; without dates the first record of a file stays.
                    let is_later = revised > best.revised
                        || revised == best.revised
                            && (revised > 0 || version > 0 && best.place.0 < file);
                    if is_later {
                        *best = new;
                    }
                }
                Note::Deleted(pmid, Some(version)) => {
                    self.0.remove(&(pmid, version));
                }
                Note::Deleted(pmid, None) => {
                    let all: Vec<_> = self.versions(&pmid).map(|(key, _)| key.clone()).collect();
                    for key in all {
                        self.0.remove(&key);
                    }
                }
            }
        }
    }

    fn versions(&self, pmid: &str) -> impl DoubleEndedIterator<Item = (&(String, u32), &Best)> {
        self.0
            .range((pmid.to_owned(), 0)..=(pmid.to_owned(), u32::MAX))
    }
}

/// The notes of the first pass over a file.
#[derive(Default)]
pub(crate) struct Notes(Vec<Note>);

/// What is done with the records.
enum Mode<'a> {
    /// First pass: notes them.
    List(Notes),
    /// Passes on the first record of each PMID.
    First(BTreeSet<String>, &'a mut dyn FnMut(Abstract) -> Result<()>),
    /// Second pass: passes on the records that count by the index.
    Pick(&'a Index, usize, &'a mut dyn FnMut(Abstract) -> Result<()>),
}

/// Receives the records of a file.
pub(crate) struct Gather<'a> {
    path: &'a Path,
    settings: &'a ReadSettings,
    /// Bytes that the file may still produce: limits a short file that repeats one text a million times.
    left: u64,
    /// Number of records so far, including those left out.
    records: u64,
    pub counts: Corpus,
    mode: Mode<'a>,
}

impl<'a> Gather<'a> {
    /// Notes the records of a file of this size.
    pub fn list(path: &'a Path, size: u64, settings: &'a ReadSettings) -> Gather<'a> {
        Gather::new(path, size, settings, Mode::List(Notes::default()))
    }

    /// Passes on the first record of each PMID.
    pub fn first(
        path: &'a Path,
        size: u64,
        settings: &'a ReadSettings,
        take: &'a mut dyn FnMut(Abstract) -> Result<()>,
    ) -> Gather<'a> {
        Gather::new(path, size, settings, Mode::First(BTreeSet::new(), take))
    }

    /// Passes on the records that count, of the file with this number.
    pub fn pick(
        path: &'a Path,
        size: u64,
        settings: &'a ReadSettings,
        (index, file): (&'a Index, usize),
        take: &'a mut dyn FnMut(Abstract) -> Result<()>,
    ) -> Gather<'a> {
        Gather::new(path, size, settings, Mode::Pick(index, file, take))
    }

    fn new(path: &'a Path, size: u64, settings: &'a ReadSettings, mode: Mode<'a>) -> Gather<'a> {
        Gather {
            path,
            settings,
            left: limits::most(size),
            records: 0,
            counts: Corpus::default(),
            mode,
        }
    }

    /// The columns named by hand.
    pub fn columns(&self) -> &'a [Named] {
        &self.settings.columns
    }

    /// Notes that a table has all columns named by hand.
    pub fn header(&mut self) {
        let by_hand = self.settings.columns.iter().map(|n| n.column.clone());
        self.counts.by_hand.extend(by_hand);
    }

    /// Notes a skipped sheet.
    pub fn other_sheet(&mut self, name: &str) {
        self.counts.other_sheets.insert(name.to_owned());
    }

    /// Notes a table's unused columns.
    pub fn unused(&mut self, columns: &Columns) {
        let unused = columns.unused().map(str::to_owned);
        self.counts.unused.extend(unused);
    }

    /// Notes the columns of a file's only table, at its end.
    ///
    /// # Errors
    /// [`CorpusError::EmptyCorpus`] if the file had no row.
    pub fn end_of_table(&mut self, columns: &Columns) -> Result<()> {
        self.unused(columns);
        match self.is_empty() {
            true => Err(CorpusError::EmptyCorpus {
                path: self.path.to_owned(),
                found: format!(": it has a header ({}) and no row", columns.names()),
            }),
            false => Ok(()),
        }
    }

    /// Notes which keys of a file's objects were used.
    pub fn keys(&mut self, keys: Keys) {
        self.counts.unused.extend(keys.unused);
        self.counts.by_hand.extend(keys.by_hand);
    }

    /// Whether the file had neither a record nor a deletion.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The notes and the counts.
    pub fn end(self) -> (Notes, Corpus) {
        match self.mode {
            Mode::List(notes) => (notes, self.counts),
            _ => (Notes::default(), self.counts),
        }
    }

    /// Adds a deletion of a PMID: of one version, or of all.
    pub fn delete(&mut self, pmid: String, version: Option<u32>) {
        self.records += 1;
        if let Mode::List(notes) = &mut self.mode {
            notes.0.push(Note::Deleted(pmid, version));
        }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`CorpusError::Bomb`] if the file produces too much; any error of the receiver.
    pub fn push(&mut self, record: impl Into<VersionedRecord>) -> Result<()> {
        let VersionedRecord {
            mut found,
            version,
            revised,
        } = record.into();
        self.left = match self.left.checked_sub(found.size()) {
            Some(left) => left,
            None => {
                return Err(CorpusError::Bomb {
                    path: self.path.to_owned(),
                    times: BOMB_TIMES,
                });
            }
        };
        self.records += 1;
        if values::is_no_abstract(&found.body) {
            found.body.clear();
        }
        if found.is_empty() {
            self.counts.empty += 1;
            return Ok(());
        }
        found.retracted |= values::is_retracted_title(&found.title);
        let counts = &mut self.counts;
        match &mut self.mode {
            Mode::List(notes) => {
                if let Some(pmid) = found.pmid {
                    let at = self.records;
                    notes.0.push(Note::Record(pmid, version, revised, at));
                }
                Ok(())
            }
            Mode::First(seen, take) => {
                if let Some(pmid) = &found.pmid
                    && !seen.insert(pmid.clone())
                {
                    counts.duplicates += 1;
                    return Ok(());
                }
                give(counts, found, *take)
            }
            Mode::Pick(index, file, take) => {
                if let Some(pmid) = &found.pmid {
                    let place = (*file, self.records);
                    let last = index.versions(pmid).next_back();
                    let own = index.0.get(&(pmid.clone(), version));
                    match (last, own) {
                        (Some((_, best)), _) if best.place == place => {}
                        (Some((key, best)), Some(_))
                            if (key.1, best.revised) == (version, revised) =>
                        {
                            counts.duplicates += 1;
                            return Ok(());
                        }
                        (_, Some(_)) => {
                            counts.superseded += 1;
                            return Ok(());
                        }
                        (_, None) => {
                            counts.deleted += 1;
                            return Ok(());
                        }
                    }
                }
                give(counts, found, *take)
            }
        }
    }
}

/// Counts what a record lacks, and passes it on.
fn give(
    counts: &mut Corpus,
    found: Abstract,
    take: &mut dyn FnMut(Abstract) -> Result<()>,
) -> Result<()> {
    counts.count(&found);
    take(found)
}

/// A file that could not be read, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The file.
    pub path: PathBuf,
    /// The error's text.
    pub why: String,
}
