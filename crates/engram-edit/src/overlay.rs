//! Overlays: a folder that names a checkpoint and holds the edits applied to it, in order. The checkpoint itself is
//! never written.

use std::path::{Path, PathBuf};

use engram_core::{Method, files};
use engram_model::LanguageModel;
use serde::{Deserialize, Serialize};

use crate::delta::{Delta, Keys};
use crate::error::{EditError, Result};

/// File whose presence makes a folder an overlay.
pub const EDITS: &str = "edits.json";
/// Number of digits of a hash that name an edit.
const NAME: usize = 12;

/// An applied edit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// SHA-256 of its file.
    pub hash: String,
    /// The method.
    pub method: Method,
    /// What was asked, by name.
    pub requests: Vec<String>,
    /// Names of the weights that it changes.
    pub weights: Vec<String>,
}

/// A checkpoint and the edits applied to it, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Path of the checkpoint.
    pub base: PathBuf,
    /// Hash of the checkpoint.
    pub hash: String,
    /// The edits.
    pub edits: Vec<Applied>,
}

/// The first digits of a hash.
pub fn short(hash: &str) -> &str {
    hash.get(..NAME).unwrap_or(hash)
}

impl Overlay {
    /// Whether a folder is an overlay.
    pub fn is_at(folder: &Path) -> bool {
        folder.join(EDITS).is_file()
    }

    /// Reads an overlay.
    ///
    /// # Errors
    /// [`EditError::Core`] if its file cannot be read or does not parse.
    pub fn read(folder: &Path) -> Result<Overlay> {
        Ok(files::read_json(&folder.join(EDITS))?)
    }

    /// Writes the list of edits; their files must be present.
    ///
    /// # Errors
    /// [`EditError::Core`] if the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        Ok(files::write_json(&folder.join(EDITS), self)?)
    }

    /// Path of an edit's file in a folder.
    pub fn file(folder: &Path, hash: &str) -> PathBuf {
        folder.join(format!("{}.safetensors", short(hash)))
    }

    /// Hashes of the edits, in order.
    pub fn hashes(&self) -> Vec<String> {
        self.edits.iter().map(|e| e.hash.clone()).collect()
    }

    /// Identity of the edited model: the checkpoint's hash and those of its edits.
    pub fn identity(&self) -> String {
        let all = std::iter::once(&self.hash).chain(self.edits.iter().map(|e| &e.hash));
        let all: Vec<&str> = all.map(String::as_str).collect();
        match all.len() {
            1 => self.hash.clone(),
            _ => files::sha256(all.join("\n").as_bytes()),
        }
    }

    /// Applies an edit after the others.
    ///
    /// # Errors
    /// [`EditError::OtherCheckpoint`] for an edit of another checkpoint; [`EditError::Twice`] if it is already applied;
    /// [`EditError::Missing`] if it was made on top of edits that are not applied; [`EditError::Conflict`] if it
    /// changes a weight that an applied edit changes, and was not made on top of that edit.
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

    /// Removes an edit, named by its hash or the beginning of it. Returns the hash.
    ///
    /// # Errors
    /// [`EditError::Unknown`] if no applied edit has this name; [`EditError::Needed`] if another was
    /// made on top of it.
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

    /// The keys of the applied edits' facts, where their files hold them (MEMIT, AlphaEdit).
    ///
    /// # Errors
    /// As [`Delta::read`].
    pub fn keys(&self, folder: &Path) -> Result<Keys> {
        let mut keys = Keys::new();
        for edit in &self.edits {
            Delta::read(&Overlay::file(folder, &edit.hash))?
                .0
                .collect_keys(&mut keys);
        }
        Ok(keys)
    }

    /// Applies the edits to the checkpoint's model.
    ///
    /// # Errors
    /// [`EditError::Core`] if a file cannot be read; [`EditError::Delta`] if an edit's file is not the one that was
    /// applied.
    pub fn lay_over(&self, folder: &Path, base: LanguageModel) -> Result<LanguageModel> {
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
