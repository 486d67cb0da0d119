//! The folder of a sweep, and the journal beside it while it is under way.

use std::path::{Path, PathBuf};

use engram_core::{Row, files};
use engram_patch::{Done, Journal, Plan};

use super::SweepResult;
use crate::error::{Error, Result, Within, at};
use crate::observe::Observer;
use crate::results::PATCH;
use crate::stage::Output;

/// A folder for a sweep's results, which this process alone writes. While they are not whole, a journal stands beside it.
#[derive(Debug)]
pub struct SweepFolder {
    path: PathBuf,
    output: Output,
    journal: PathBuf,
    resume: bool,
}

impl SweepFolder {
    /// Takes a folder; `resume` goes on with a sweep that was broken off, and takes one that is whole as it is.
    ///
    /// # Errors
    /// What would lose an earlier sweep's results: [`Error::NotEmpty`], [`Error::BrokenOff`]; [`Error::Core`] where another
    /// process writes it.
    pub fn open(path: impl AsRef<Path>, resume: bool) -> Result<SweepFolder> {
        let path = path.as_ref();
        let journal = files::beside(path, ".partial.jsonl");
        Ok(SweepFolder {
            path: path.to_owned(),
            output: Output::resumable(path, &journal, resume)?,
            journal,
            resume,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The rows, where the folder is whole and of this sweep.
    pub(super) fn whole(&self, key: &str, observer: &mut dyn Observer) -> Result<Option<Vec<Row>>> {
        if !self.output.is_made_from(&key, observer)? {
            return Ok(None);
        }
        let rows = Row::read_parquet(&self.path.join(PATCH))?;
        observer.note(format!("{}: it is whole already", self.path.display()));
        self.remove()?;
        Ok(Some(rows))
    }

    /// The journal, and what it has of the plan.
    pub(super) fn journal(
        &self,
        key: &str,
        plan: &Plan,
        observer: &mut dyn Observer,
    ) -> Result<(Journal, Done)> {
        if !(self.resume && self.journal.exists()) {
            return Ok((Journal::create(&self.journal, key)?, Done::nothing(plan)));
        }
        let (journal, resumed) = Journal::resume(&self.journal, key, plan)?;
        let at = self.journal.display();
        match resumed.damaged {
            Some(line) => observer.note(format!(
                "{at}: line {line} is damaged; it and what follows, {} bytes, are computed again",
                resumed.cut
            )),
            None if resumed.cut > 0 => observer.note(format!(
                "{at}: its last {} bytes were no whole batch and are computed again",
                resumed.cut
            )),
            None => {}
        }
        observer.note(format!("{} cells are done already", resumed.done.cells()));
        Ok((journal, resumed.done))
    }

    /// The error of work that was cancelled, with the journal that keeps what is done.
    pub(super) fn kept(&self, error: Error) -> Error {
        match error {
            Error::Cancelled { .. } => Error::Cancelled {
                kept: Some(self.journal.clone()),
            },
            error => error,
        }
    }

    /// Writes the results, and takes the journal away.
    pub(super) fn fill(&self, result: &SweepResult) -> Result<()> {
        let write = |folder: &Path| result.write_files(folder);
        self.output.fill_from(&result.key, write)?;
        self.remove()
    }

    fn remove(&self) -> Result<()> {
        match std::fs::remove_file(&self.journal) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(at(&self.journal)(e)).within(|| "cannot remove")
            }
            _ => Ok(()),
        }
    }
}
