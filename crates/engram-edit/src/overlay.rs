//! A checkpoint with edits laid over it: a folder that names the checkpoint and holds the edits, in order. The checkpoint
//! itself is never written.

use std::path::{Path, PathBuf};

use engram_core::{Method, files};
use engram_model::Model;
use serde::{Deserialize, Serialize};

use crate::delta::Delta;
use crate::error::{EditError, Result};

/// The file that makes a folder one of edits.
pub const EDITS: &str = "edits.json";
/// Digits of a hash that name an edit.
const NAME: usize = 12;

/// An edit that is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// SHA-256 of its file.
    pub hash: String,
    /// The method.
    pub method: Method,
    /// What was asked, by name.
    pub requests: Vec<String>,
    /// The weights that it changes.
    pub weights: Vec<String>,
}

/// A checkpoint and the edits over it, in the order in which they are applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Where the checkpoint is.
    pub base: PathBuf,
    /// Its hash.
    pub hash: String,
    /// The edits.
    pub edits: Vec<Applied>,
}

/// The first digits of a hash.
pub fn short(hash: &str) -> &str {
    hash.get(..NAME).unwrap_or(hash)
}

impl Overlay {
    /// Whether a folder is one.
    pub fn is_at(folder: &Path) -> bool {
        folder.join(EDITS).is_file()
    }

    /// Reads a folder.
    ///
    /// # Errors
    /// The file's.
    pub fn read(folder: &Path) -> Result<Overlay> {
        Ok(files::read_json(&folder.join(EDITS))?)
    }

    /// Writes the folder's list; the edits' files must be there.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, folder: &Path) -> Result<()> {
        Ok(files::write_json(&folder.join(EDITS), self)?)
    }

    /// Where an edit's file is in a folder.
    pub fn file(folder: &Path, hash: &str) -> PathBuf {
        folder.join(format!("{}.safetensors", short(hash)))
    }

    /// Hashes of the edits, in order.
    pub fn hashes(&self) -> Vec<String> {
        self.edits.iter().map(|e| e.hash.clone()).collect()
    }

    /// What names the edited model: the checkpoint's hash and those of its edits.
    pub fn identity(&self) -> String {
        let all = std::iter::once(&self.hash).chain(self.edits.iter().map(|e| &e.hash));
        let all: Vec<&str> = all.map(String::as_str).collect();
        match all.len() {
            1 => self.hash.clone(),
            _ => files::sha256(all.join("\n").as_bytes()),
        }
    }

    /// Puts an edit on top.
    ///
    /// # Errors
    /// [`EditError::OtherCheckpoint`]; [`EditError::Twice`]; [`EditError::Missing`] for an edit that was made on top of
    /// others that are not here; [`EditError::Conflict`] for one that changes a weight which an edit here changes that
    /// it was not made on top of.
    pub fn apply(&mut self, delta: &Delta, hash: &str) -> Result<()> {
        let name = short(hash).to_owned();
        if delta.meta.base != self.hash {
            return Err(EditError::OtherCheckpoint {
                delta: name,
                expected: match &delta.meta.checkpoint[..] {
                    "" => short(&delta.meta.base).to_owned(),
                    name => format!("{name} ({})", short(&delta.meta.base)),
                },
                found: format!("{} ({})", self.base.display(), short(&self.hash)),
            });
        }
        if self.edits.iter().any(|e| e.hash == hash) {
            return Err(EditError::Twice { delta: name });
        }
        let mut here = self.edits.iter();
        let in_order = |needed: &&String| !here.any(|e| e.hash == **needed);
        if let Some(missing) = delta.meta.on.iter().find(in_order) {
            return Err(EditError::Missing {
                delta: name,
                missing: short(missing).to_owned(),
            });
        }
        for other in &self.edits {
            let both = delta
                .changes
                .iter()
                .find(|c| other.weights.contains(&c.weight));
            if let (Some(both), false) = (both, delta.meta.on.contains(&other.hash)) {
                return Err(EditError::Conflict {
                    first: short(&other.hash).to_owned(),
                    second: name,
                    weight: both.weight.clone(),
                });
            }
        }
        self.edits.push(Applied {
            hash: hash.to_owned(),
            method: delta.meta.method,
            requests: delta.meta.requests.iter().map(|r| r.id.clone()).collect(),
            weights: delta.changes.iter().map(|c| c.weight.clone()).collect(),
        });
        Ok(())
    }

    /// Takes an edit off, named by its hash or the beginning of one; gives its hash.
    ///
    /// # Errors
    /// [`EditError::Unknown`]; [`EditError::Needed`] where another was made on top of it.
    pub fn revert(&mut self, folder: &Path, named: &str) -> Result<String> {
        let found = self.edits.iter().position(|e| e.hash.starts_with(named));
        let Some(place) = found.filter(|_| !named.is_empty()) else {
            let known = self.edits.iter().map(|e| short(&e.hash));
            let known = known.collect::<Vec<_>>().join(", ");
            return Err(EditError::Unknown {
                delta: named.to_owned(),
                known: if known.is_empty() {
                    "none".to_owned()
                } else {
                    known
                },
            });
        };
        let hash = self.edits[place].hash.clone();
        for above in &self.edits[place + 1..] {
            let (delta, _) = Delta::read(&Overlay::file(folder, &above.hash))?;
            if delta.meta.on.contains(&hash) {
                return Err(EditError::Needed {
                    delta: short(&hash).to_owned(),
                    above: short(&above.hash).to_owned(),
                });
            }
        }
        self.edits.remove(place);
        Ok(hash)
    }

    /// Lays the edits over the checkpoint's model.
    ///
    /// # Errors
    /// The files'; an edit's file that is not the one that was applied.
    pub fn lay_over(&self, folder: &Path, base: Model) -> Result<Model> {
        let mut model = base;
        for edit in &self.edits {
            let path = Overlay::file(folder, &edit.hash);
            let (delta, hash) = Delta::read(&path)?;
            if hash != edit.hash {
                return Err(EditError::Delta {
                    path,
                    why: "it is not the file that was applied".to_owned(),
                });
            }
            model = delta.lay_over(&model)?;
        }
        Ok(model)
    }
}
