//! The cache folder of one repository, in the layout of huggingface_hub.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use engram_core::files;

#[cfg(unix)]
use std::os::unix::fs::symlink;
#[cfg(windows)]
use std::os::windows::fs::symlink_file as symlink;

use crate::choose::{INDEX, Index, Weights, choose, shards};
use crate::error::{Result, io_error};
use crate::reference::{Reference, is_commit};

/// The cache folder of one repository.
pub(crate) struct Cache {
    repo: PathBuf,
    locks: PathBuf,
}

impl Cache {
    pub(crate) fn new(root: &Path, repo: &str) -> Cache {
        let name = format!("models--{}", repo.replace('/', "--"));
        Cache {
            repo: root.join(&name),
            locks: root.join(".locks").join(name),
        }
    }

    /// Creates the folder of blobs.
    pub(crate) fn prepare(&self) -> Result<()> {
        let blobs = self.repo.join("blobs");
        std::fs::create_dir_all(&blobs).map_err(io_error(&blobs))
    }

    /// Path of the blob with this checksum.
    pub(crate) fn blob(&self, checksum: &str) -> PathBuf {
        self.repo.join("blobs").join(checksum)
    }

    /// Folder of a commit's files.
    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.repo.join("snapshots").join(commit)
    }

    /// Path of a commit's file.
    pub(crate) fn file(&self, commit: &str, name: &str) -> PathBuf {
        self.snapshot(commit).join(name)
    }

    /// The commit that a branch or tag pointed to when it was last resolved.
    pub(crate) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = std::fs::read_to_string(self.repo.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Stores the commit that a branch or tag points to.
    pub(crate) fn note(&self, revision: &str, commit: &str) -> Result<()> {
        if self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.repo.join("refs").join(revision);
        Ok(files::write_atomic(&path, |w| {
            w.write_all(commit.as_bytes())
        })?)
    }

    /// The checkpoint's path if all files that it needs are cached; otherwise a phrase that completes "the cache has
    /// …".
    pub(crate) fn whole(&self, commit: &str, wanted: &Reference) -> Result<PathBuf, String> {
        let mut names = BTreeSet::new();
        let folder = self.snapshot(commit);
        collect(&folder, "", &mut names);
        if names.is_empty() {
            return Err(format!("no file of commit {commit}"));
        }
        let choice = choose(&names, wanted)?;
        if choice.weights == Weights::Shards {
            let index = files::read_json(&folder.join(INDEX));
            let index: Index = index.map_err(|e| format!("a damaged index ({e})"))?;
            if let Some(missing) = shards(&index)?.iter().find(|name| !names.contains(*name)) {
                return Err(format!("no {missing}"));
            }
        }
        Ok(self.checkpoint(commit, &choice.weights))
    }

    /// The path of a checkpoint: its folder, or its GGUF file.
    pub(crate) fn checkpoint(&self, commit: &str, weights: &Weights) -> PathBuf {
        match weights {
            Weights::One | Weights::Shards => self.snapshot(commit),
            Weights::Gguf(name) => self.file(commit, name),
        }
    }

    /// Links a commit's file to its blob.
    pub(crate) fn link(&self, checksum: &str, commit: &str, name: &str) -> Result<()> {
        self.link_by(symlink, checksum, commit, name)
    }

    /// As [`Cache::link`], with `link` to create the link.
    fn link_by(
        &self,
        mut link: impl FnMut(PathBuf, PathBuf) -> std::io::Result<()>,
        checksum: &str,
        commit: &str,
        name: &str,
    ) -> Result<()> {
        let path = self.file(commit, name);
        let folder = path.parent().unwrap_or(&path);
        std::fs::create_dir_all(folder).map_err(io_error(folder))?;
        let up = "../".repeat(2 + name.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{checksum}"));
        // Created under another name and renamed: another process may be doing the same.
        let linked = tempfile::Builder::new()
            .prefix(".engram-")
            .make_in(folder, |at| link(target.clone(), at.to_owned()));
        match linked {
            Ok(made) => {
                let renamed = made.into_temp_path().persist(&path);
                renamed.map_err(|e| io_error(&path)(e.error))
            }
            // Not every file system has links.
            Err(_) => {
                let blob = self.blob(checksum);
                let mut bytes = File::open(&blob).map_err(io_error(&blob))?;
                files::write_atomic(&path, |w| std::io::copy(&mut bytes, w).map(drop))?;
                Ok(())
            }
        }
    }

    /// Takes a blob's lock, which the Python tools use too; calls `waits` if another process holds it. Without the lock
    /// two processes would write one file: the checksum would detect it, but the download would be lost.
    pub(crate) fn lock(&self, checksum: &str, waits: impl FnOnce()) -> Result<File> {
        std::fs::create_dir_all(&self.locks).map_err(io_error(&self.locks))?;
        let path = self.locks.join(format!("{checksum}.lock"));
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(io_error(&path))?;
        // A file system without locks is no reason to fail.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            waits();
            file.lock().map_err(io_error(&path))?;
        }
        Ok(file)
    }
}

/// Names of all files below a folder whose content is cached.
fn collect(folder: &Path, within: &str, into: &mut BTreeSet<String>) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let name = format!("{within}{name}");
        // A cache has no links to folders; following one could lead in circles.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), &format!("{name}/"), into);
        } else if entry.path().is_file() {
            into.insert(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "607a30d783dfa663caf39e06633721c8d4cfcd7e";

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path(), "a/b");
        cache.prepare().unwrap();
        std::fs::write(cache.blob("c1"), "bytes").unwrap();
        (folder, cache)
    }

    #[test]
    fn links_are_relative_and_replaced() {
        let (folder, cache) = cache();
        for name in ["x.json", "deep/er/x.gguf"] {
            cache.link("gone", COMMIT, name).unwrap();
            assert!(!cache.file(COMMIT, name).exists(), "it leads nowhere");
            cache.link("c1", COMMIT, name).unwrap();
            assert_eq!(std::fs::read(cache.file(COMMIT, name)).unwrap(), b"bytes");
        }
        let target = std::fs::read_link(cache.file(COMMIT, "deep/er/x.gguf")).unwrap();
        assert_eq!(target, Path::new("../../../../blobs/c1"));
        // The cache may be moved.
        let (from, to) = (folder.path().join("models--a--b"), folder.path().join("m"));
        std::fs::rename(from, &to).unwrap();
        let moved = to.join("snapshots").join(COMMIT).join("x.json");
        assert_eq!(std::fs::read(moved).unwrap(), b"bytes");
    }

    #[test]
    fn where_links_cannot_be_made_files_are_copied() {
        let (_folder, cache) = cache();
        let none = |_, _| Err(std::io::Error::from(std::io::ErrorKind::Unsupported));
        cache.link_by(none, "c1", COMMIT, "deep/x.gguf").unwrap();
        let path = cache.file(COMMIT, "deep/x.gguf");
        assert!(!path.is_symlink());
        assert_eq!(std::fs::read(path).unwrap(), b"bytes");
    }

    #[test]
    fn a_revision_is_noted_whole_or_not_at_all() {
        let (_folder, cache) = cache();
        assert_eq!(cache.commit("refs/pr/1"), None);
        cache.note("refs/pr/1", COMMIT).unwrap();
        assert_eq!(cache.commit("refs/pr/1").as_deref(), Some(COMMIT));
        std::fs::write(cache.repo.join("refs/refs/pr/1"), &COMMIT[..20]).unwrap();
        assert_eq!(cache.commit("refs/pr/1"), None, "torn by something else");
        assert_eq!(cache.commit(COMMIT).as_deref(), Some(COMMIT));
        cache.note(COMMIT, COMMIT).unwrap();
        assert!(!cache.repo.join("refs").join(COMMIT).exists());
    }

    #[test]
    fn a_lock_is_waited_for() {
        let (_folder, cache) = cache();
        let held = cache.lock("c1", || panic!("nobody has it")).unwrap();
        let waited = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let tell = || {
                    waited.store(true, std::sync::atomic::Ordering::SeqCst);
                    drop(held);
                };
                cache.lock("c1", tell).unwrap();
            });
        });
        assert!(waited.into_inner());
    }
}
