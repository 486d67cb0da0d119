//! Where a `--model` is: a folder, a GGUF file, or a repository of the Hugging Face hub.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use candle_core::Device;
use engram_core::Bos;
use engram_edit::Overlay;
use engram_edit::overlay::short;
use engram_hub::{Options, Progress as Told};
use engram_model::Model;

use crate::progress::Progress;
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
        eprintln!("{notice}");
    }
    Ok((model, path))
}

/// The model of a folder or file.
fn at(path: &Path, device: &Device) -> Result<Model> {
    if !Overlay::is_at(path) {
        return Ok(Model::read(path, device)?);
    }
    let overlay = Overlay::read(path)?;
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
    Ok(overlay.lay_over(path, base)?)
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

/// Progress of a fetch.
struct Watch {
    name: String,
    bar: Option<Progress>,
}

impl Watch {
    fn told(&mut self, told: &Told<'_>) {
        let name = &self.name;
        match told {
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
            Told::Checking(file) => eprintln!("{name}: checking {file}"),
            Told::Waiting(file) => eprintln!("{name}: another process fetches {file}"),
            Told::Again(wait, why) => eprintln!("{name}: {why}; again in {} s", wait.as_secs()),
            Told::Cached(why) => eprintln!("{name}: {why}; taken from the cache"),
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish("fetched");
        }
    }
}
