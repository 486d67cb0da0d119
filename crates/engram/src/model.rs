//! Where a `--model` is: a folder, a GGUF file, or a repository of the Hugging Face hub.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use candle_core::Device;
use engram_core::{Bos, files};
use engram_edit::Overlay;
use engram_edit::overlay::{EDITS, short};
use engram_hub::{Options, Progress as Told};
use engram_model::Model;

use crate::progress::{Progress, note};
use crate::stage::checkpoint_hash;

/// A model and where it is on disk: `--model` may also name a repository of the hub, `org/name[@revision]`, which
/// is fetched into the hub's cache, or be a folder of edits, which are laid over their checkpoint. `bos` says what is put
/// before texts; what a person should know of that is told on stderr.
///
/// # Errors
/// Where there is neither such a path nor such a repository, or the checkpoint's.
pub fn open(named: &Path, device: &Device, bos: Bos) -> Result<(Model, PathBuf)> {
    let path = locate(named)?;
    let model = at(&path, device)?.with_bos(bos)?;
    if let Some(notice) = model.tokenizer().notice() {
        note(notice);
    }
    Ok((model, path))
}

/// The model of a folder or file.
fn at(path: &Path, device: &Device) -> Result<Model> {
    if !Overlay::is_at(path) {
        return read_checkpoint(path, device);
    }
    let overlay = Overlay::read(path)?;
    let list = path.join(EDITS);
    let named = || format!("{}: its base, {}", list.display(), overlay.base.display());
    let found = checkpoint_hash(&overlay.base).with_context(named)?;
    if found != overlay.hash {
        bail!(
            "{}: its edits were made for the checkpoint {}, and its base, {}, is {}; correct \"base\", or make the edits anew",
            list.display(),
            short(&overlay.hash),
            overlay.base.display(),
            short(&found)
        );
    }
    let base = read_checkpoint(&overlay.base, device)?;
    let laid = overlay.lay_over(path, base);
    laid.with_context(|| list.display().to_string())
}

/// Where the weights of a model are: its own path, or that of the checkpoint under a folder of edits.
///
/// # Errors
/// As [`open`].
pub fn checkpoint(named: &Path) -> Result<PathBuf> {
    let path = locate(named)?;
    Ok(match Overlay::is_at(&path) {
        true => Overlay::read(&path)?.base,
        false => path,
    })
}

/// Reads a checkpoint, and names what it holds beside the network.
fn read_checkpoint(path: &Path, device: &Device) -> Result<Model> {
    const NAMED: usize = 5;
    let model = Model::read(path, device)?;
    if !model.unused().is_empty() {
        let names: Vec<String> = model
            .unused()
            .iter()
            .map(|n| n.escape_debug().to_string())
            .collect();
        let more = match names.len() {
            0..=NAMED => String::new(),
            all => format!(" and {} more", all - NAMED),
        };
        let shown = names[..names.len().min(NAMED)].join(", ");
        note(format!(
            "{}: not used, no part of the network: {shown}{more}",
            path.display()
        ));
    }
    Ok(model)
}

/// [`open`] on the CPU, for who does not ask where it is.
///
/// # Errors
/// As [`open`].
pub fn read(named: &Path, bos: Bos) -> Result<Model> {
    Ok(open(named, &Device::Cpu, bos)?.0)
}

/// A model that is asked no text: it is looked at, written or trained.
///
/// # Errors
/// As [`open`].
pub fn weights_on(named: &Path, device: &Device) -> Result<Model> {
    at(&locate(named)?, device)
}

/// [`weights_on`] on the CPU.
///
/// # Errors
/// As [`open`].
pub fn weights(named: &Path) -> Result<Model> {
    weights_on(named, &Device::Cpu)
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
