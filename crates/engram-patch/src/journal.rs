//! A sweep under way, on disk: a file that grows by a line with each finished batch, from which a
//! broken-off sweep resumes. Each line is sealed ([`engram_core::sealed`]) in the context of its sweep.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use engram_core::{CoreError, sealed};
use serde::{Deserialize, Serialize};

use crate::engine::{Batch, Done};
use crate::error::{PatchError, Result};
use crate::plan::Plan;

/// The first line: what the batches are of.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    engram_sweep: u32,
    key: String,
}

/// Lines of version 1 had no checksum.
const VERSION: u32 = 2;
/// What the first line is sealed in.
const HEADER: &str = "engram sweep";

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    key: String,
}

/// What an earlier sweep left.
#[derive(Debug)]
pub struct Resumed {
    /// Its finished cells.
    pub done: Done,
    /// Bytes at the end of the file that were cut off: from the first line on that is torn or damaged.
    pub cut: u64,
    /// The number of that line, from 1, where it is damaged and not only torn at the end of the file.
    pub damaged: Option<usize>,
}

impl Journal {
    /// Begins a journal for the sweep named by `key`.
    ///
    /// # Errors
    /// The file system's; also where the file is there already.
    pub fn create(path: &Path, key: &str) -> Result<Journal> {
        let file = OpenOptions::new().create_new(true).append(true).open(path);
        let file = file.map_err(|e| failed(path, e))?;
        let mut journal = Journal::of(file, path, key);
        journal.begin()?;
        Ok(journal)
    }

    fn of(file: File, path: &Path, key: &str) -> Journal {
        Journal {
            file,
            path: path.to_owned(),
            key: key.to_owned(),
        }
    }

    fn begin(&mut self) -> Result<()> {
        let header = Header {
            engram_sweep: VERSION,
            key: self.key.clone(),
        };
        self.line(HEADER, &header)
    }

    /// Resumes a journal. From the first line on that is torn or damaged everything is cut off, to be computed again.
    ///
    /// # Errors
    /// The file system's; [`PatchError::Journal`] where it is of another sweep.
    pub fn resume(path: &Path, key: &str, plan: &Plan) -> Result<(Journal, Resumed)> {
        let file = OpenOptions::new().read(true).append(true).open(path);
        let file = file.map_err(|e| failed(path, e))?;
        let length = file.metadata().map_err(|e| failed(path, e))?.len();
        let mut lines = BufReader::new(&file);
        let mut done = Done::nothing(plan);
        let (mut whole, mut number) = (0u64, 0);
        let mut damaged = None;
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = lines.read_until(b'\n', &mut line);
            let read = read.map_err(|e| failed(path, e))?;
            number += 1;
            if line.last() != Some(&b'\n') {
                break;
            }
            let taken = match number {
                1 => is_of(&line, key, path)?,
                _ => take(&line, key, plan, &mut done),
            };
            if !taken {
                damaged = Some(number);
                break;
            }
            whole += read as u64;
        }
        let mut journal = Journal::of(file, path, key);
        journal.file.set_len(whole).map_err(|e| failed(path, e))?;
        let end = journal.file.seek(SeekFrom::End(0));
        end.map_err(|e| failed(path, e))?;
        if whole == 0 {
            journal.begin()?;
        }
        let cut = length - whole;
        Ok((journal, Resumed { done, cut, damaged }))
    }

    /// Appends a finished batch; once this returns a kill does not lose it.
    ///
    /// # Errors
    /// The file system's, a full disk for one.
    pub fn append(&mut self, batch: &Batch) -> Result<()> {
        let context = self.key.clone();
        self.line(&context, batch)
    }

    fn line(&mut self, context: &str, value: &impl Serialize) -> Result<()> {
        let line = sealed::seal(context, value);
        let mut line = line.map_err(|e| failed(&self.path, e.into()))?;
        line.push(b'\n');
        self.file
            .write_all(&line)
            .map_err(|e| failed(&self.path, e))
    }
}

/// Whether a first line is whole.
///
/// # Errors
/// [`PatchError::Journal`] where it is of another sweep or another version, or the file is no journal.
fn is_of(line: &[u8], key: &str, path: &Path) -> Result<bool> {
    let other = || PatchError::Journal {
        path: path.to_owned(),
    };
    if let Some(header) = sealed::unseal::<Header>(HEADER, line) {
        let same = header.engram_sweep == VERSION && header.key == key;
        return if same { Ok(true) } else { Err(other()) };
    }
    // Damaged: where not even this can be recognised, the file may be somebody's.
    let sealed = line.starts_with(b"[\"");
    let named = line.windows(12).any(|w| w == b"engram_sweep");
    let earlier = serde_json::from_slice::<Header>(line).is_ok();
    if earlier || !(sealed || named) {
        return Err(other());
    }
    Ok(false)
}

/// Takes in the batch of a line; false where the line is damaged.
fn take(line: &[u8], key: &str, plan: &Plan, done: &mut Done) -> bool {
    let batch = sealed::unseal::<Batch>(key, line).filter(|batch| fits(batch, plan));
    batch.map(|batch| done.take(batch)).is_some()
}

/// Whether a batch is of this plan, with a value for each metric.
fn fits(batch: &Batch, plan: &Plan) -> bool {
    let metrics = plan.spec.metrics.len();
    let unpatched = &batch.unpatched;
    plan.pairs.get(batch.pair).is_some_and(|pair| {
        unpatched.clean.len() == metrics
            && unpatched.corrupt.len() == metrics
            && (batch.cells.iter()).all(|(cell, v)| *cell < pair.cells.len() && v.len() == metrics)
    })
}

fn failed(path: &Path, source: std::io::Error) -> PatchError {
    PatchError::Core(CoreError::Io {
        path: path.to_owned(),
        source,
    })
}
