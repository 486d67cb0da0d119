//! One writer at a time: an advisory lock of the operating system on a file beside the output.
//!
//! The system releases the lock when the process ends, for whatever reason. A lock file left by a killed process needs
//! no judgement of its age: the next writer locks it.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{CoreError, Result};
use crate::files::{io_error, left_over, write_error};

/// Name of the lock file inside a folder.
const WITHIN: &str = ".engram-run.lock";
/// Ending of a lock file beside an output.
const ENDING: &str = "lock";

/// The right to write an output, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
    /// Folders created for the lock file, outermost first; removed when the lock is dropped, if empty.
    made: Vec<PathBuf>,
}

impl Lock {
    /// Locks the file or folder `output` (it need not exist) through a lock file beside it. Missing parents are
    /// created.
    ///
    /// # Errors
    /// [`CoreError::Held`], without waiting, if a running process has the lock; [`CoreError::Io`], for example if the
    /// folder is not writable.
    pub fn beside(output: &Path) -> Result<Lock> {
        // Two spellings of one output share one lock.
        let real = std::fs::canonicalize(output);
        let real = real.as_deref().unwrap_or(output);
        Lock::at(left_over(real, ENDING), output)
    }

    /// Locks the folder `output` through a file in it; the folder is created.
    ///
    /// # Errors
    /// As [`Lock::beside`].
    pub fn within(output: &Path) -> Result<Lock> {
        Lock::at(output.join(WITHIN), output)
    }

    fn at(path: PathBuf, output: &Path) -> Result<Lock> {
        let made = make_parents(&path).map_err(write_error(output))?;
        let undo = |error| {
            remove_empty(&made);
            error
        };
        loop {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path);
            let file = file.map_err(io_error(output)).map_err(undo)?;
            if let Err(TryLockError::WouldBlock) = file.try_lock() {
                return Err(undo(CoreError::Held {
                    path: output.to_owned(),
                    process: holder(&path),
                }));
            }
            // A file system without locks is no reason to fail. If the last holder removed the file after it was opened
            // here, this lock locks nothing.
            if !is_at(&file, &path) {
                continue;
            }
            let mut lock = Lock { path, file, made };
            lock.sign().map_err(io_error(output))?;
            return Ok(lock);
        }
    }

    /// Writes this process's id into the lock file.
    fn sign(&mut self) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file
            .write_all(std::process::id().to_string().as_bytes())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // If it stays, the next writer takes it.
        let _ = std::fs::remove_file(&self.path);
        remove_empty(&self.made);
    }
}

/// The process that holds a lock: it writes its id into the file right after locking.
fn holder(path: &Path) -> Option<u32> {
    for _ in 0..20 {
        let mut text = String::new();
        // Where locks are mandatory, the file cannot be read.
        File::open(path).ok()?.read_to_string(&mut text).ok()?;
        if let Ok(process) = text.trim().parse() {
            return Some(process);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// Whether an open file is the one that a path names.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let (Ok(open), Ok(named)) = (file.metadata(), std::fs::metadata(path)) else {
            return false;
        };
        (open.dev(), open.ino()) == (named.dev(), named.ino())
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// Creates a path's missing parents and returns them, outermost first.
fn make_parents(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) else {
        return Ok(Vec::new());
    };
    let missing = parent.ancestors().take_while(|folder| !folder.exists());
    let mut made: Vec<PathBuf> = missing.map(Path::to_owned).collect();
    made.retain(|folder| !folder.as_os_str().is_empty());
    made.reverse();
    std::fs::create_dir_all(parent)?;
    Ok(made)
}

/// Removes created folders that are empty.
fn remove_empty(made: &[PathBuf]) {
    for folder in made.iter().rev() {
        let _ = std::fs::remove_dir(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_refused_at_once_and_told_by_whom() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("new/out");
        for lock in [Lock::beside, Lock::within] {
            let held = lock(&output).unwrap();
            let error = lock(&output).unwrap_err();
            let me = std::process::id();
            assert!(
                matches!(&error, CoreError::Held { path, process } if *path == output && *process == Some(me)),
                "{error:?}"
            );
            drop(held);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
            // A killed process leaves a file that nobody has locked.
            let left = lock(&output).unwrap().path.clone();
            std::fs::create_dir_all(left.parent().unwrap()).unwrap();
            std::fs::write(&left, "4194304").unwrap();
            drop(lock(&output).unwrap());
            assert!(!left.exists());
            std::fs::remove_dir_all(folder.path().join("new")).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn two_spellings_of_one_output_have_one_lock() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real");
        std::fs::create_dir(&real).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let held = Lock::beside(&real).unwrap();
        assert!(matches!(Lock::beside(&link), Err(CoreError::Held { .. })));
        drop(held);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let output = folder.path().join("file/out");
        let error = Lock::beside(&output).unwrap_err();
        assert!(error.to_string().contains("file/out"), "{error}");
    }

    #[test]
    fn one_of_many_at_once_has_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out");
        let inside = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        if let Ok(lock) = Lock::beside(&output) {
                            let others = inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            assert_eq!(others, 0);
                            inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                            drop(lock);
                        }
                    }
                });
            }
        });
    }
}
