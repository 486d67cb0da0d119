//! What becomes of the records of one import: which of several versions counts, and what is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::columns::{Columns, Named};
use super::limits::{self, BOMB_TIMES};
use super::object::Keys;
use super::{Corpus, Settings, values};
use crate::abstracts::Abstract;
use crate::error::{CorpusError, Result};

/// A record, and what says which of several with one PMID counts.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub found: Abstract,
    /// The version of the citation (`PMID Version="2"`); 0 where the format has none.
    pub version: u32,
    /// When it was last revised, as 20240607; 0 where that is not said.
    pub revised: u32,
}

impl From<Abstract> for Record {
    fn from(found: Abstract) -> Record {
        Record {
            found,
            ..Record::default()
        }
    }
}

/// What the first reading of a file notes.
enum Note {
    Record(String, u32, u32, u64),
    Deleted(String, Option<u32>),
}

/// Which record of a PMID and version counts.
#[derive(Clone, Copy, PartialEq)]
struct Best {
    revised: u32,
    /// The number of its file, and of the record in it.
    place: (usize, u64),
}

/// The records of all files that count, by PMID and version.
#[derive(Default)]
pub(crate) struct Index(BTreeMap<(String, u32), Best>);

impl Index {
    /// Takes what a file held, in order: a deletion takes off what came before it.
    pub fn add(&mut self, file: usize, notes: Notes) {
        for note in notes.0 {
            match note {
                Note::Record(pmid, version, revised, at) => {
                    let new = Best {
                        revised,
                        place: (file, at),
                    };
                    let best = self.0.entry((pmid, version)).or_insert(new);
                    // Files are to be processed in order; without dates the first of a file stays.
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

/// What the first reading of a file noted.
#[derive(Default)]
pub(crate) struct Notes(Vec<Note>);

/// What is done with records.
enum Mode<'a> {
    /// Notes which there are.
    List(Notes),
    /// Gives the first record of each PMID.
    First(BTreeSet<String>, &'a mut dyn FnMut(Abstract) -> Result<()>),
    /// Gives the records that an index says count.
    Pick(&'a Index, usize, &'a mut dyn FnMut(Abstract) -> Result<()>),
}

/// Takes the records of a file.
pub(crate) struct Gather<'a> {
    path: &'a Path,
    settings: &'a Settings,
    /// Bytes that the file may still give: a short file that says one text a million times ends here.
    left: u64,
    /// Records so far, with those left out.
    records: u64,
    pub counts: Corpus,
    mode: Mode<'a>,
}

impl<'a> Gather<'a> {
    /// Notes the records of a file of so many bytes.
    pub fn list(path: &'a Path, size: u64, settings: &'a Settings) -> Gather<'a> {
        Gather::new(path, size, settings, Mode::List(Notes::default()))
    }

    /// Gives the first record of each PMID.
    pub fn first(
        path: &'a Path,
        size: u64,
        settings: &'a Settings,
        take: &'a mut dyn FnMut(Abstract) -> Result<()>,
    ) -> Gather<'a> {
        Gather::new(path, size, settings, Mode::First(BTreeSet::new(), take))
    }

    /// Gives the records that count of the file of this number.
    pub fn pick(
        path: &'a Path,
        size: u64,
        settings: &'a Settings,
        (index, file): (&'a Index, usize),
        take: &'a mut dyn FnMut(Abstract) -> Result<()>,
    ) -> Gather<'a> {
        Gather::new(path, size, settings, Mode::Pick(index, file, take))
    }

    fn new(path: &'a Path, size: u64, settings: &'a Settings, mode: Mode<'a>) -> Gather<'a> {
        Gather {
            path,
            settings,
            left: limits::most(size),
            records: 0,
            counts: Corpus::default(),
            mode,
        }
    }

    /// The columns that were named by hand.
    pub fn columns(&self) -> &'a [Named] {
        &self.settings.columns
    }

    /// Notes that a table has all columns that were named by hand.
    pub fn header(&mut self) {
        let by_hand = self.settings.columns.iter().map(|n| n.column.clone());
        self.counts.by_hand.extend(by_hand);
    }

    /// Notes a sheet that is passed over.
    pub fn other_sheet(&mut self, name: &str) {
        self.counts.other_sheets.insert(name.to_owned());
    }

    /// Notes the columns of a table that were not needed.
    pub fn unused(&mut self, columns: &Columns) {
        let unused = columns.unused().map(str::to_owned);
        self.counts.unused.extend(unused);
    }

    /// Notes the columns of a file's one table, at its end.
    ///
    /// # Errors
    /// [`CorpusError::EmptyCorpus`] where the file has had no row.
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

    /// Notes what became of the keys of a file's objects.
    pub fn keys(&mut self, keys: Keys) {
        self.counts.unused.extend(keys.unused);
        self.counts.by_hand.extend(keys.by_hand);
    }

    /// Whether the file had neither a record nor a deletion.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// What was noted, and what was counted.
    pub fn end(self) -> (Notes, Corpus) {
        match self.mode {
            Mode::List(notes) => (notes, self.counts),
            _ => (Notes::default(), self.counts),
        }
    }

    /// Takes a PMID that the file says is to be deleted: of one version, or of all.
    pub fn delete(&mut self, pmid: String, version: Option<u32>) {
        self.records += 1;
        if let Mode::List(notes) = &mut self.mode {
            notes.0.push(Note::Deleted(pmid, version));
        }
    }

    /// Takes a record.
    ///
    /// # Errors
    /// [`CorpusError::Bomb`] where the file gives too much; those of who takes it.
    pub fn push(&mut self, record: impl Into<Record>) -> Result<()> {
        let Record {
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

/// Counts what a record lacks, and gives it.
fn give(
    counts: &mut Corpus,
    found: Abstract,
    take: &mut dyn FnMut(Abstract) -> Result<()>,
) -> Result<()> {
    counts.count(&found);
    take(found)
}

/// A file that could not be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The file.
    pub path: PathBuf,
    /// The error's text.
    pub why: String,
}
