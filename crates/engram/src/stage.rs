//! Folders of results: one process writes a folder at a time, whole or not at all, and what it is made from is kept in
//! it, so that a study's stage runs again only where its inputs changed and `--resume` knows what is whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use engram_core::files::{self, HIDDEN, left_over};
use engram_core::{CoreError, Lock, sealed};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Within, at};
use crate::observe::Observer;
use crate::results::MANIFEST;

/// The file in a folder that says what it was made from, and what its files were then.
const MARK: &str = "stage.json";
/// The file in a run's folder that says which study it holds.
const STUDY: &str = "study.json";
/// Ending of a folder of work under way.
const PARTIAL: &str = ".partial";
/// Endings of a folder that is not whole yet, and of the one whose place it takes.
const NEW: &str = "new";
const OLD: &str = "old";

/// What a folder was made from.
#[derive(Serialize, Deserialize)]
struct Mark {
    /// SHA-256 of everything that the folder's results depend on.
    inputs: String,
    /// SHA-256 of each file, by its path in the folder.
    files: BTreeMap<String, String>,
}

impl Mark {
    /// The mark of a folder; none where there is none. One that is damaged is none either, and that is said.
    fn of(folder: &Path, observer: &mut dyn Observer) -> Option<Mark> {
        let path = folder.join(MARK);
        if !path.exists() {
            return None;
        }
        let mark = sealed::read(&path, MARK);
        if let Err(error) = &mark {
            observer.note(error);
        }
        mark.ok()
    }

    fn write(folder: &Path, inputs: String) -> Result<()> {
        let mut found = BTreeMap::new();
        hash_files(folder, "", &mut found)?;
        let mark = Mark {
            inputs,
            files: found,
        };
        Ok(sealed::write(&folder.join(MARK), MARK, &mark)?)
    }

    /// Whether all files are there.
    ///
    /// # Errors
    /// A file that is not as it was written.
    fn is_whole(&self, folder: &Path, observer: &mut dyn Observer) -> Result<bool> {
        for (name, hash) in &self.files {
            let path = folder.join(name);
            if !path.exists() {
                observer.note(format!("{}: it is missing", path.display()));
                return Ok(false);
            }
            if content_hash(&path)? != *hash {
                return Err(Error::Changed {
                    file: path,
                    folder: folder.to_owned(),
                });
            }
        }
        Ok(true)
    }
}

/// Hashes of a folder's files, without those that are no results.
fn hash_files(folder: &Path, name: &str, to: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        let file = entry.file_name().to_string_lossy().into_owned();
        if file.starts_with(HIDDEN) {
            continue;
        }
        let path = format!("{name}{file}");
        if entry.file_type().map_err(at(folder))?.is_dir() {
            hash_files(&entry.path(), &format!("{path}/"), to)?;
        } else {
            to.insert(path, content_hash(&entry.path())?);
        }
    }
    Ok(())
}

/// Keys of a manifest that differ between two runs of one command.
const VARYING: [&str; 3] = ["timing", "machine", "command"];

/// SHA-256 of a file; of a manifest without what varies, so that equal runs have equal marks.
fn content_hash(path: &Path) -> Result<String> {
    if path.file_name().is_some_and(|name| name == MANIFEST)
        && let Ok(mut manifest) = files::read_json::<BTreeMap<String, serde_json::Value>>(path)
    {
        manifest.retain(|key, _| !VARYING.contains(&key.as_str()));
        return fingerprint(&manifest);
    }
    Ok(files::sha256_file(path)?)
}

#[derive(Serialize, Deserialize)]
struct Held {
    title: String,
}

/// A folder of results that this process alone writes.
#[derive(Debug)]
pub struct Output {
    folder: PathBuf,
    _lock: Lock,
}

impl Output {
    /// Takes a folder that is empty or not there.
    ///
    /// # Errors
    /// A folder that another process writes, that holds files, or that cannot be made.
    pub fn free(folder: &Path) -> Result<Output> {
        let output = Output::locked(folder)?;
        must_be_free(folder)?;
        Ok(output)
    }

    /// Takes a folder whose work under way is kept in `under_way`. With `resume` it may be whole already.
    ///
    /// # Errors
    /// As [`Output::free`]; work under way that is not to be resumed.
    pub fn resumable(folder: &Path, under_way: &Path, resume: bool) -> Result<Output> {
        let output = Output::locked(folder)?;
        if !(resume && folder.join(MARK).exists()) {
            must_be_free(folder)?;
        }
        if !resume && under_way.exists() {
            return Err(Error::BrokenOff {
                under_way: under_way.to_owned(),
                folder: folder.to_owned(),
            });
        }
        Ok(output)
    }

    fn locked(folder: &Path) -> Result<Output> {
        Ok(Output {
            folder: folder.to_owned(),
            _lock: Lock::beside(folder)?,
        })
    }

    /// Whether the folder is whole and was made from these inputs.
    ///
    /// # Errors
    /// A folder that was made from others, or in which a file is damaged or missing.
    pub fn is_made_from(
        &self,
        inputs: &impl Serialize,
        observer: &mut dyn Observer,
    ) -> Result<bool> {
        if !self.folder.join(MARK).exists() {
            return Ok(false);
        }
        let folder = self.folder.clone();
        match Mark::of(&self.folder, observer) {
            Some(mark) if mark.inputs != fingerprint(inputs)? => Err(Error::OtherInputs { folder }),
            Some(mark) if mark.is_whole(&self.folder, observer)? => Ok(true),
            _ => Err(Error::NotWhole { folder }),
        }
    }

    /// Fills the folder by `work`, which is given an empty one that takes its place when it is whole.
    ///
    /// # Errors
    /// Whatever `work` says; nothing is left then.
    pub fn fill<T>(&self, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        whole_folder(&self.folder, work)
    }

    /// As [`Output::fill`], with a mark of what the folder was made from.
    ///
    /// # Errors
    /// As [`Output::fill`].
    pub fn fill_from<T>(
        &self,
        inputs: &impl Serialize,
        work: impl FnOnce(&Path) -> Result<T>,
    ) -> Result<T> {
        let inputs = fingerprint(inputs)?;
        whole_folder(&self.folder, |fresh| {
            let value = work(fresh)?;
            Mark::write(fresh, inputs)?;
            Ok(value)
        })
    }
}

/// A run's folder, which this process alone writes.
pub struct RunFolder {
    path: PathBuf,
    title: String,
    _lock: Lock,
}

impl RunFolder {
    /// Opens the folder of the study `title`; where no stage is finished, none is left.
    ///
    /// # Errors
    /// Where another process runs a study in the folder, or it holds another study or other files, or cannot be written.
    pub fn open(path: &Path, title: &str) -> Result<RunFolder> {
        let lock = Lock::within(path)?;
        let mark = path.join(STUDY);
        if mark.exists() {
            let held: Held = files::read_json(&mark)?;
            if held.title != title {
                return Err(Error::OtherStudy {
                    mark,
                    held: held.title,
                    asked: title.to_owned(),
                });
            }
        } else {
            let mut holds_files = false;
            for entry in fs::read_dir(path).map_err(at(path))? {
                let name = entry.map_err(at(path))?.file_name();
                let name = name.to_string_lossy();
                // A first stage that was broken off leaves its work under way, and no study yet.
                holds_files |= !name.starts_with(HIDDEN) && !name.ends_with(PARTIAL);
            }
            if holds_files {
                return Err(Error::NotAStudy {
                    folder: path.to_owned(),
                });
            }
        }
        sweep_out(path)?;
        Ok(RunFolder {
            path: path.to_owned(),
            title: title.to_owned(),
            _lock: lock,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder of stage `name` unless it stands already and was made from the same inputs.
    /// `work` fills an empty folder, which is renamed into place when it is whole. Gives the folder and
    /// whether it was made now.
    ///
    /// # Errors
    /// Whatever `work` says; the stage's earlier folder, if any, then stays. A file in it that is not as it was written.
    pub fn stage(
        &self,
        name: &str,
        inputs: &impl Serialize,
        observer: &mut dyn Observer,
        work: impl FnOnce(&Path, &mut dyn Observer) -> Result<()>,
    ) -> Result<(PathBuf, bool)> {
        let folder = self.path.join(name);
        let inputs = fingerprint(inputs)?;
        let mark = Mark::of(&folder, observer).filter(|mark| mark.inputs == inputs);
        if let Some(mark) = mark
            && mark.is_whole(&folder, observer)?
        {
            return Ok((folder, false));
        }
        whole_folder(&folder, |fresh| {
            work(fresh, observer)?;
            Mark::write(fresh, inputs)?;
            // Only now: a study that never finished a stage leaves nothing that would bar another from the folder.
            let title = self.title.clone();
            Ok(files::write_json(&self.path.join(STUDY), &Held { title })?)
        })?;
        Ok((folder, true))
    }
}

/// Where a stage keeps what it has come to, so that it goes on there after a kill: a folder beside its own,
/// emptied where it was begun from other inputs.
///
/// # Errors
/// The file system's.
pub fn under_way(
    folder: &Path,
    inputs: &impl Serialize,
    observer: &mut dyn Observer,
) -> Result<PathBuf> {
    let path = partial(folder);
    let inputs = fingerprint(inputs)?;
    let same = Mark::of(&path, observer).is_some_and(|mark| mark.inputs == inputs);
    if !same {
        if path.exists() {
            fs::remove_dir_all(&path).map_err(at(&path))?;
        }
        fs::create_dir_all(&path).map_err(at(&path))?;
        Mark::write(&path, inputs)?;
    }
    Ok(path)
}

/// The folder of work under way that will be at `folder` when it is whole.
pub fn partial(folder: &Path) -> PathBuf {
    files::beside(folder, PARTIAL)
}

/// Removes a folder of work under way, now that the work is whole.
///
/// # Errors
/// The file system's.
pub fn done_with(partial: &Path) -> Result<()> {
    remove(partial)
}

/// Removes a file of work under way, now that the work is whole.
///
/// # Errors
/// The file system's.
pub fn done_with_file(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(file)(error)),
        _ => Ok(()),
    }
}

/// Fills a folder whole or not at all: `work` gets an empty folder beside it, which is renamed into its
/// place when `work` has ended well. The folder's parent is made, and taken back where it stays empty. The caller holds
/// the lock of the folder or of what it is in: what a killed process left of the same folder is removed.
fn whole_folder<T>(folder: &Path, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    // Where a link leads is replaced, not the link.
    let real = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let parent = match real.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let [new, old] = [NEW, OLD].map(|ending| left_over(&real, ending));
    let made = !parent.exists();
    remove(&new)?;
    remove(&old)?;
    fs::create_dir_all(&new).map_err(at(folder))?;
    let value = match work(&new) {
        Ok(value) => value,
        Err(error) => {
            // Where they stay, the next run removes them.
            let _ = fs::remove_dir_all(&new);
            if made {
                // Removes an empty folder only.
                let _ = fs::remove_dir(parent);
            }
            return Err(error);
        }
    };
    // Never half of the old folder under its own name, with a mark that calls it whole.
    if real.exists() {
        fs::rename(&real, &old).map_err(at(folder))?;
    }
    fs::rename(&new, &real).map_err(at(folder))?;
    remove(&old)?;
    Ok(value)
}

fn remove(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder)
        .map_err(at(folder))
        .within(|| "cannot remove")
}

/// Holds a single file for writing, and refuses one that exists. A device or a pipe, such as `/dev/stdout`, may.
///
/// # Errors
/// [`Error::Exists`]; [`Error::Core`] where another process writes to it.
pub fn free_file(path: &Path) -> Result<Lock> {
    let held = Lock::beside(path)?;
    match path.is_file() {
        true => Err(Error::Exists {
            path: path.to_owned(),
        }),
        false => Ok(held),
    }
}

/// Refuses a folder that exists and is not empty: what stands there is somebody's.
///
/// # Errors
/// That, or a path that is no folder.
fn must_be_free(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let mut entries = fs::read_dir(folder).map_err(at(folder))?;
    match entries.next() {
        Some(_) => Err(Error::NotEmpty {
            folder: folder.to_owned(),
        }),
        None => Ok(()),
    }
}

/// Removes what killed processes left half-made in a run's folder and in the folders of its stages.
fn sweep_out(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path).map_err(at(path))? {
        let entry = entry.map_err(at(path))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_folder = entry.file_type().map_err(at(path))?.is_dir();
        if let Some(hidden) = name.strip_prefix(HIDDEN) {
            if !is_folder {
                files::remove_if_dead(&entry.path());
            } else if let Some(_held) = lock_of(path, hidden)? {
                remove(&entry.path())?;
            }
        } else if is_folder {
            sweep_out(&entry.path())?;
        }
    }
    Ok(())
}

/// The lock of the output that a half-made folder, `.engram-NAME.ENDING`, is of; none where a living process has it.
fn lock_of(parent: &Path, hidden: &str) -> Result<Option<Lock>> {
    let name = hidden.rsplit_once('.').map_or(hidden, |(name, _)| name);
    match Lock::beside(&parent.join(name)) {
        Ok(lock) => Ok(Some(lock)),
        Err(CoreError::Held { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// SHA-256 of a value's JSON.
///
/// # Errors
/// Where the value has no JSON.
pub fn fingerprint(value: &impl Serialize) -> Result<String> {
    Ok(files::sha256_of_json(value)?)
}

#[cfg(test)]
mod tests;
