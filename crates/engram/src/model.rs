//! Where a `--model` is: a folder, a GGUF file, or a repository of the Hugging Face hub.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use candle_core::Device;
use engram_core::files;
use engram_edit::Overlay;
use engram_edit::overlay::short;
use engram_hub::{Options, Progress as Told};
use engram_model::Model;

use crate::progress::{Progress, note};
use crate::stage::checkpoint_hash;

/// A model and where it is on disk: `--model` may also name a repository of the hub, `org/name[@revision]`, which
/// is fetched into the hub's cache, or be a folder of edits, which are laid over their checkpoint.
///
/// # Errors
/// Where there is neither such a path nor such a repository, or the checkpoint's.
pub fn open(named: &Path, device: &Device) -> Result<(Model, PathBuf)> {
    let path = locate(named)?;
    if !Overlay::is_at(&path) {
        return Ok((Model::read(&path, device)?, path));
    }
    let overlay = Overlay::read(&path)?;
    let found = checkpoint_hash(&overlay.base)?;
    if found != overlay.hash {
        bail!(
            "{}: its edits were made for the checkpoint {}, {} is {} now",
            path.display(),
            short(&overlay.hash),
            overlay.base.display(),
            short(&found)
        );
    }
    let base = Model::read(&overlay.base, device)?;
    Ok((overlay.lay_over(&path, base)?, path))
}

/// [`open`] on the CPU, for who does not ask where it is.
///
/// # Errors
/// As [`open`].
pub fn read(named: &Path) -> Result<Model> {
    Ok(open(named, &Device::Cpu)?.0)
}

/// The path of a model.
///
/// # Errors
/// As [`open`].
pub fn locate(named: &Path) -> Result<PathBuf> {
    if named.exists() {
        only_files(named)?;
        return Ok(named.to_owned());
    }
    let mut watch = Watch {
        name: named.display().to_string(),
        bar: None,
    };
    let path = engram_hub::locate(named, &Options::from_env()?, &mut |told| watch.told(&told))?;
    watch.end();
    Ok(path)
}

/// Refuses a checkpoint that is, or has in its folder, a pipe, a device or a socket: its reader would wait for ever.
///
/// # Errors
/// [`engram_core::CoreError::NotAFile`].
pub fn only_files(path: &Path) -> Result<()> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    for path in std::iter::once(path.to_owned()).chain(entries.map(|entry| entry.path())) {
        if std::fs::metadata(&path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
            files::open(&path)?;
        }
    }
    Ok(())
}

/// Progress of a fetch.
struct Watch {
    name: String,
    bar: Option<Progress>,
}

impl Watch {
    fn told(&mut self, told: &Told<'_>) {
        let name = &self.name;
        match told {
            Told::Asking(hub) => note(format!("{name}: asking {hub}")),
            Told::Wanted(_, 0) => {}
            Told::Wanted(files, bytes) => {
                self.end();
                let label = format!("{}, bytes of {files} files", self.name);
                self.bar = Some(Progress::new(&label, *bytes));
            }
            Told::At(bytes, file) => {
                if let Some(bar) = &mut self.bar {
                    bar.at(*bytes, file);
                }
            }
            Told::Checking(file) => note(format!("{name}: checking {file}")),
            Told::Waiting(file) => note(format!("{name}: another process fetches {file}")),
            Told::Again(wait, why) => note(format!("{name}: {why}; again in {} s", wait.as_secs())),
            Told::Cached(why) => note(format!("{name}: {why}; taken from the cache")),
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish("fetched");
        }
    }
}
