//! A sweep under way, on disk: a file that grows by a line with each finished batch, from which a
//! broken-off sweep goes on.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use engram_core::CoreError;
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

const VERSION: u32 = 1;

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

/// What an earlier sweep left.
#[derive(Debug)]
pub struct Resumed {
    /// Its finished cells.
    pub done: Done,
    /// Bytes at the end of the file that were no whole batch and are cut off.
    pub cut: u64,
}

impl Journal {
    /// Begins a journal for the sweep named by `key`.
    ///
    /// # Errors
    /// The file system's; also where the file is there already.
    pub fn create(path: &Path, key: &str) -> Result<Journal> {
        let file = OpenOptions::new().create_new(true).append(true).open(path);
        let file = file.map_err(|e| failed(path, e))?;
        let mut journal = Journal {
            file,
            path: path.to_owned(),
        };
        journal.line(&Header {
            engram_sweep: VERSION,
            key: key.to_owned(),
        })?;
        Ok(journal)
    }

    /// Goes on with a journal. What was being written when the earlier sweep broke off is cut off; so
    /// is everything from the first line on that is damaged, to be computed again.
    ///
    /// # Errors
    /// The file system's; [`PatchError::Journal`] where it is of another sweep.
    pub fn resume(path: &Path, key: &str, plan: &Plan) -> Result<(Journal, Resumed)> {
        let file = OpenOptions::new().read(true).append(true).open(path);
        let file = file.map_err(|e| failed(path, e))?;
        let length = file.metadata().map_err(|e| failed(path, e))?.len();
        let mut lines = BufReader::new(&file);
        let mut done = Done::nothing(plan);
        let mut whole = 0u64;
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = lines
                .read_until(b'\n', &mut line)
                .map_err(|e| failed(path, e))?;
            if line.last() != Some(&b'\n') {
                break;
            }
            if whole == 0 {
                let header: Option<Header> = serde_json::from_slice(&line).ok();
                if header.is_none_or(|h| h.engram_sweep != VERSION || h.key != key) {
                    return Err(PatchError::Journal {
                        path: path.to_owned(),
                    });
                }
            } else {
                match serde_json::from_slice::<Batch>(&line) {
                    Ok(batch) if fits(&batch, plan) => done.take(batch),
                    _ => break,
                }
            }
            whole += read as u64;
        }
        let mut journal = Journal {
            file,
            path: path.to_owned(),
        };
        journal.file.set_len(whole).map_err(|e| failed(path, e))?;
        let end = journal.file.seek(SeekFrom::End(0));
        end.map_err(|e| failed(path, e))?;
        if whole == 0 {
            journal.line(&Header {
                engram_sweep: VERSION,
                key: key.to_owned(),
            })?;
        }
        let cut = length - whole;
        Ok((journal, Resumed { done, cut }))
    }

    /// Appends a finished batch; once this returns a kill does not lose it.
    ///
    /// # Errors
    /// The file system's, a full disk for one.
    pub fn append(&mut self, batch: &Batch) -> Result<()> {
        self.line(batch)
    }

    fn line(&mut self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(value).map_err(|e| failed(&self.path, e.into()))?;
        line.push(b'\n');
        self.file
            .write_all(&line)
            .map_err(|e| failed(&self.path, e))
    }
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
