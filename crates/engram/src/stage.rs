//! A study's stages: each writes a folder whole or not at all, and runs again only where its inputs changed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use engram_core::files;
use serde::{Deserialize, Serialize};

/// The file in a stage's folder that says which inputs it was made from.
const MARK: &str = "stage.json";
/// How the name of a folder begins that is not whole yet.
const HALF_MADE: &str = ".engram-";
/// The file in a run's folder that says which study it holds.
const STUDY: &str = "study.json";

#[derive(Serialize, Deserialize)]
struct Mark {
    /// SHA-256 of everything that the stage's results depend on.
    inputs: String,
}

#[derive(Serialize, Deserialize)]
struct Held {
    title: String,
}

/// A run's folder.
pub struct RunFolder {
    path: PathBuf,
    title: String,
}

impl RunFolder {
    /// Opens the folder of the study `title`; it is made with its first stage.
    ///
    /// # Errors
    /// Where the folder holds another study or other files, or cannot be written.
    pub fn open(path: &Path, title: &str) -> Result<RunFolder> {
        let mark = path.join(STUDY);
        if mark.exists() {
            let held: Held = files::read_json(&mark)?;
            if held.title != title {
                bail!(
                    "{} holds another study, \"{}\"; give \"{title}\" a folder of its own with --out",
                    path.display(),
                    held.title
                );
            }
        } else if path.exists() {
            let mut holds_files = false;
            for entry in fs::read_dir(path).with_context(|| format!("{}", path.display()))? {
                let name = entry?.file_name();
                holds_files |= !name.to_string_lossy().starts_with(HALF_MADE);
            }
            if holds_files {
                bail!(
                    "{} is not empty and holds no study; name another folder with --out",
                    path.display()
                );
            }
        }
        if path.exists() {
            sweep_out(path)?;
        }
        let (path, title) = (path.to_owned(), title.to_owned());
        Ok(RunFolder { path, title })
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
    /// Whatever `work` says; the stage's earlier folder, if any, then stays.
    pub fn stage(
        &self,
        name: &str,
        inputs: &impl Serialize,
        work: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<(PathBuf, bool)> {
        let folder = self.path.join(name);
        let inputs = fingerprint(inputs)?;
        let mark = folder.join(MARK);
        if mark.exists() && files::read_json::<Mark>(&mark).is_ok_and(|m| m.inputs == inputs) {
            return Ok((folder, false));
        }
        whole_folder(&folder, |fresh| {
            work(fresh)?;
            Ok(files::write_json(&fresh.join(MARK), &Mark { inputs })?)
        })?;
        // Only now: a study that never finished a stage leaves nothing that would bar another from the folder.
        let title = self.title.clone();
        files::write_json(&self.path.join(STUDY), &Held { title })?;
        Ok((folder, true))
    }
}

/// Where a stage keeps what it has come to, so that it goes on there after a kill: a folder beside its own,
/// emptied where it was begun from other inputs.
///
/// # Errors
/// The file system's.
pub fn under_way(folder: &Path, inputs: &impl Serialize) -> Result<PathBuf> {
    let path = partial(folder);
    let (inputs, mark) = (fingerprint(inputs)?, path.join(MARK));
    let same = files::read_json::<Mark>(&mark).is_ok_and(|m| m.inputs == inputs);
    if !same {
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("{}", path.display()))?;
        }
        files::write_json(&mark, &Mark { inputs })?;
    }
    Ok(path)
}

/// The folder of work under way that will be at `folder` when it is whole.
pub fn partial(folder: &Path) -> PathBuf {
    files::beside(folder, ".partial")
}

/// Removes a folder of work under way, now that the work is whole.
///
/// # Errors
/// The file system's.
pub fn done_with(partial: &Path) -> Result<()> {
    if !partial.exists() {
        return Ok(());
    }
    fs::remove_dir_all(partial).with_context(|| format!("cannot remove {}", partial.display()))
}

/// Fills a folder whole or not at all: `work` gets an empty folder beside it, which is renamed into its
/// place when `work` has ended well. The folder's parent is made, and taken back where it stays empty.
///
/// # Errors
/// Whatever `work` says; what stood in the folder then stays.
pub fn whole_folder<T>(folder: &Path, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let at = || format!("{}", folder.display());
    let parent = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let made = !parent.exists();
    fs::create_dir_all(parent).with_context(at)?;
    let fresh = tempfile::Builder::new()
        .prefix(HALF_MADE)
        .tempdir_in(parent)
        .with_context(at)?;
    let value = match work(fresh.path()) {
        Ok(value) => value,
        Err(error) => {
            drop(fresh);
            if made {
                // Removes an empty folder only.
                let _ = fs::remove_dir(parent);
            }
            return Err(error);
        }
    };
    set_usual_permissions(fresh.path())?;
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(at)?;
    }
    fs::rename(fresh.keep(), folder).with_context(at)?;
    Ok(value)
}

/// Refuses a folder that exists and is not empty: what stands there is somebody's.
///
/// # Errors
/// That, or a path that is no folder.
pub fn must_be_free(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let mut entries = fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    if entries.next().is_some() {
        bail!(
            "{} is not empty; name another folder with --out",
            folder.display()
        );
    }
    Ok(())
}

/// Removes what a killed run left half-made in the folder and in the folders of its stages.
fn sweep_out(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path).with_context(|| format!("{}", path.display()))? {
        let entry = entry.with_context(|| format!("{}", path.display()))?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        if entry.file_name().to_string_lossy().starts_with(HALF_MADE) {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("{}", entry.path().display()))?;
        } else {
            sweep_out(&entry.path())?;
        }
    }
    Ok(())
}

/// Temporary folders are private by default; results are for everyone who may read the run.
fn set_usual_permissions(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// SHA-256 of a value's JSON.
///
/// # Errors
/// Where the value has no JSON.
pub fn fingerprint(value: &impl Serialize) -> Result<String> {
    Ok(files::sha256(&serde_json::to_vec(value)?))
}

/// SHA-256 of the files that make up a checkpoint; of a folder of edits, what names the edited model.
///
/// # Errors
/// As [`files::sha256_file`].
pub fn checkpoint_hash(path: &Path) -> Result<String> {
    if engram_edit::Overlay::is_at(path) {
        return Ok(engram_edit::Overlay::read(path)?.identity());
    }
    let mut all = String::new();
    for file in engram_model::checkpoint::files(path)? {
        all.push_str(&files::sha256_file(&file)?);
    }
    Ok(files::sha256(all.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_runs_once_and_again_when_its_inputs_change() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::open(folder.path(), "a").unwrap();
        let made = |inputs: u32| {
            let work = |p: &Path| Ok(fs::write(p.join("x"), inputs.to_string())?);
            run.stage("one/two", &inputs, work).unwrap()
        };
        let (path, first) = made(1);
        assert!(first && !made(1).1 && made(2).1);
        assert_eq!(fs::read_to_string(path.join("x")).unwrap(), "2");
    }

    #[test]
    fn a_failed_stage_leaves_the_earlier_one_and_nothing_half() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::open(folder.path(), "a").unwrap();
        run.stage("s", &1, |p| Ok(fs::write(p.join("x"), "1")?))
            .unwrap();
        let elsewhere = folder.path().join("new/run");
        let run_elsewhere = RunFolder::open(&elsewhere, "b").unwrap();
        assert!(run_elsewhere.stage("s", &1, |_| bail!("no")).is_err());
        assert!(!elsewhere.exists());
        let failed = run.stage("s", &2, |p| {
            fs::write(p.join("x"), "2")?;
            bail!("no")
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(folder.path().join("s/x")).unwrap(), "1");
        // The stage, the study's mark, and the parent that the other run's folder was to stand in.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn what_a_killed_run_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        // Killed in the first stage, then in a later one.
        fs::create_dir_all(path.join(".engram-abc")).unwrap();
        let run = RunFolder::open(path, "a").unwrap();
        assert_eq!(fs::read_dir(path).unwrap().count(), 0);
        run.stage("models/x", &1, |_| Ok(())).unwrap();
        let half = path.join("models/.engram-abc");
        fs::create_dir_all(&half).unwrap();
        RunFolder::open(path, "a").unwrap();
        assert!(!half.exists() && path.join("models/x").exists());
    }

    #[test]
    fn work_under_way_is_kept_for_the_same_inputs_only() {
        let folder = tempfile::tempdir().unwrap();
        let stage = folder.path().join("models/x");
        let kept = under_way(&stage, &1).unwrap();
        assert_eq!(kept, folder.path().join("models/x.partial"));
        fs::write(kept.join("checkpoint"), "").unwrap();
        assert!(under_way(&stage, &1).unwrap().join("checkpoint").exists());
        assert!(!under_way(&stage, &2).unwrap().join("checkpoint").exists());
        done_with(&kept).unwrap();
        done_with(&kept).unwrap();
        assert!(!kept.exists());
    }

    #[test]
    fn another_study_or_other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::open(folder.path(), "a").unwrap();
        run.stage("s", &1, |_| Ok(())).unwrap();
        assert!(RunFolder::open(folder.path(), "a").is_ok());
        let error = RunFolder::open(folder.path(), "b").err().unwrap();
        assert!(error.to_string().contains("holds another study, \"a\""));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "").unwrap();
        let error = RunFolder::open(folder.path(), "a").err().unwrap();
        assert!(
            error
                .to_string()
                .contains("is not empty and holds no study")
        );
    }
}
