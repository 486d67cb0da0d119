//! A model, opened from whatever names it: a checkpoint's folder, a GGUF file, a folder of edits, or a repository of the
//! Hugging Face hub.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use candle_core::Device;
use engram_core::{Bos, Message, NamedSite, files};
use engram_edit::Overlay;
use engram_edit::overlay::{EDITS, short};
use engram_hub::{DownloadProgress as Fetching, Options};
use engram_patch::NextToken;

use crate::error::{Error, Result, Within};
use crate::observe::{Observer, Silent};

/// Where a checkout has the bundled model. It is no part of a package.
const BUNDLED: &str = "assets/models/pubmed-mini";

/// A language model, ready to be asked, patched, edited or trained.
///
/// It dereferences to [`engram_model::LanguageModel`], which has the network, the tokenizer and the sites.
#[derive(Debug)]
pub struct Model {
    loaded: engram_model::LanguageModel,
    path: PathBuf,
    /// Made when it is first asked for: it reads the whole checkpoint.
    hash: OnceLock<String>,
    loaded_in: Duration,
}

impl Deref for Model {
    type Target = engram_model::LanguageModel;

    fn deref(&self) -> &engram_model::LanguageModel {
        &self.loaded
    }
}

/// How a model is opened.
#[derive(Debug, Clone)]
pub struct Opening {
    device: Device,
    bos: Bos,
    texts: bool,
}

impl Default for Opening {
    fn default() -> Opening {
        Opening {
            device: Device::Cpu,
            bos: Bos::Auto,
            texts: true,
        }
    }
}

impl Opening {
    /// Puts the weights on a device ([`engram_model::device`]); the CPU where none is given.
    #[must_use]
    pub fn device(self, device: &Device) -> Opening {
        Opening {
            device: device.clone(),
            ..self
        }
    }

    /// Whether texts are given the special tokens of their beginning; as the checkpoint's tokenizer does by default.
    #[must_use]
    pub fn bos(self, bos: Bos) -> Opening {
        Opening { bos, ..self }
    }

    /// Opens a model that is asked no text: it is looked at, written or trained.
    #[must_use]
    pub fn for_weights(self) -> Opening {
        Opening {
            texts: false,
            ..self
        }
    }

    /// Opens the model that `name` stands for: a path, or `org/name[@revision]` of the hub, which is fetched into the hub's
    /// cache. A folder of edits is laid over its checkpoint.
    ///
    /// # Errors
    /// [`Error::Hub`] where there is neither such a path nor such a repository, or it cannot be fetched;
    /// [`Error::NoBundledModel`] for the bundled model outside a checkout; [`Error::Model`] for a checkpoint that is damaged or of a family that is not known; [`Error::OtherBase`] and [`Error::Edit`] for
    /// edits of another checkpoint.
    pub fn open(&self, name: impl AsRef<Path>, observer: &mut dyn Observer) -> Result<Model> {
        let start = Instant::now();
        let path = locate(name.as_ref(), observer)?;
        let mut loaded = at(&path, &self.device, observer)?;
        if self.texts {
            loaded = loaded.with_bos(self.bos)?;
            if let Some(notice) = loaded.tokenizer().notice() {
                observer.note(notice);
            }
        }
        Ok(Model {
            loaded,
            path,
            hash: OnceLock::new(),
            loaded_in: start.elapsed(),
        })
    }
}

impl Model {
    /// Opens a model on the CPU; [`Model::opening`] has more to choose.
    ///
    /// # Errors
    /// As [`Opening::open`].
    pub fn open(name: impl AsRef<Path>) -> Result<Model> {
        Opening::default().open(name, &mut Silent)
    }

    /// How a model is opened, to be changed.
    pub fn opening() -> Opening {
        Opening::default()
    }

    /// The folder or file that the model was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of that folder or file.
    pub fn name(&self) -> String {
        name_of(&self.path)
    }

    /// SHA-256 of the files of the checkpoint; of a folder of edits, what names the edited model.
    ///
    /// # Errors
    /// As [`checkpoint_hash`].
    pub fn hash(&self) -> Result<String> {
        if let Some(hash) = self.hash.get() {
            return Ok(hash.clone());
        }
        let hash = checkpoint_hash(&self.path)?;
        Ok(self.hash.get_or_init(|| hash).clone())
    }

    /// How long it took to open the model.
    pub fn loaded_in(&self) -> Duration {
        self.loaded_in
    }

    /// The model itself.
    pub fn into_loaded(self) -> engram_model::LanguageModel {
        self.loaded
    }

    /// All sites that the names stand for.
    ///
    /// # Errors
    /// [`Error::Core`] for a name that matches nothing, with near matches.
    pub fn resolve(&self, names: &[impl AsRef<str>]) -> Result<Vec<NamedSite>> {
        resolve(&self.loaded, names)
    }

    /// The one site that a name stands for.
    ///
    /// # Errors
    /// As [`Model::resolve`]; [`Error::Asked`] for a name that stands for several layers.
    pub fn site(&self, name: &str) -> Result<NamedSite> {
        let mut sites = self.resolve(&[name])?;
        match (sites.pop(), sites.first()) {
            (Some(only), None) => Ok(only),
            (_, first) => {
                let first = first.map_or("resid_pre.0", |site| &site.name);
                let why = format!("it stands for several sites; name one, as {first}");
                Err(Error::asked(format!("site \"{name}\""), why))
            }
        }
    }

    /// The ids of a prompt.
    ///
    /// # Errors
    /// [`Error::NoPrompt`] where the tokenizer makes no token of it; [`Error::Model`] where it cannot be tokenised.
    pub fn ids(&self, prompt: &str) -> Result<Vec<u32>> {
        let ids = self.tokenizer().encode(prompt)?;
        if ids.is_empty() {
            let source = self.tokenizer().source().display();
            return Err(Error::NoPrompt(format!(
                "{source}: this tokenizer makes no token of the prompt \"{prompt}\""
            )));
        }
        Ok(ids)
    }

    /// The ids of what a user says, by the checkpoint's chat template.
    ///
    /// # Errors
    /// [`Error::Model`] where the checkpoint has no template, or it cannot be rendered.
    pub fn chat_ids(&self, prompt: &str) -> Result<Vec<u32>> {
        let tokenizer = self.tokenizer();
        let text = tokenizer.chat(&[Message::user(prompt)])?;
        Ok(tokenizer.for_chat().encode(&text)?)
    }

    /// The most likely next tokens of a prompt, at most `top`.
    ///
    /// # Errors
    /// As [`Model::ids`]; [`Error::Patch`] where the prompt does not fit the context.
    pub fn ask(&self, prompt: &str, top: usize) -> Result<Vec<NextToken>> {
        Ok(engram_patch::ask(self, &self.ids(prompt)?, top)?)
    }
}

/// All sites of a model that the names stand for.
///
/// # Errors
/// [`Error::Core`] for a name that matches nothing, with near matches.
pub fn resolve(
    model: &engram_model::LanguageModel,
    names: &[impl AsRef<str>],
) -> Result<Vec<NamedSite>> {
    let table = model.sites();
    let mut sites = Vec::new();
    for name in names {
        sites.extend(table.resolve(name.as_ref().trim())?);
    }
    Ok(sites)
}

/// The name of a model's folder or file.
pub(crate) fn name_of(path: &Path) -> String {
    match path.file_name() {
        Some(name) => name.to_string_lossy().into_owned(),
        None => "model".to_owned(),
    }
}

/// The model of a folder or file.
fn at(
    path: &Path,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<engram_model::LanguageModel> {
    if !Overlay::is_at(path) {
        return read_checkpoint(path, device, observer);
    }
    let overlay = Overlay::read(path)?;
    let list = path.join(EDITS);
    let named = || format!("{}: its base, {}", list.display(), overlay.base.display());
    let found = checkpoint_hash(&overlay.base).within(named)?;
    if found != overlay.hash {
        return Err(Error::OtherBase {
            list,
            made_for: short(&overlay.hash).to_owned(),
            base: overlay.base.clone(),
            found: short(&found).to_owned(),
        });
    }
    let base = read_checkpoint(&overlay.base, device, observer)?;
    let laid = overlay.lay_over(path, base);
    laid.within(|| list.display().to_string())
}

/// Reads a checkpoint, and names what it holds beside the network.
fn read_checkpoint(
    path: &Path,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<engram_model::LanguageModel> {
    const NAMED: usize = 5;
    let model = engram_model::LanguageModel::read(path, device)?;
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
        observer.note(format!(
            "{}: not used, no part of the network: {shown}{more}",
            path.display()
        ));
    }
    Ok(model)
}

/// Where the weights of a model are: its own path, or that of the checkpoint under a folder of edits.
///
/// # Errors
/// As [`locate`]; [`Error::Edit`] for a folder of edits that is damaged.
pub fn checkpoint(named: &Path, observer: &mut dyn Observer) -> Result<PathBuf> {
    let path = locate(named, observer)?;
    Ok(match Overlay::is_at(&path) {
        true => Overlay::read(&path)?.base,
        false => path,
    })
}

/// SHA-256 of the files that make up a checkpoint; of a folder of edits, what names the edited model.
///
/// # Errors
/// [`Error::Core`] for a file that cannot be read, [`Error::Model`] for a folder that holds no checkpoint.
pub fn checkpoint_hash(path: &Path) -> Result<String> {
    if Overlay::is_at(path) {
        return Ok(Overlay::read(path)?.identity());
    }
    let mut all = String::new();
    for file in engram_model::checkpoint::files(path)? {
        all.push_str(&files::sha256_file(&file)?);
    }
    Ok(files::sha256(all.as_bytes()))
}

/// The path of a model: itself where it exists, or where the hub's cache has what it names.
///
/// # Errors
/// [`Error::Hub`]; [`Error::NoBundledModel`]; [`Error::Core`] for a pipe, a device or a socket.
pub fn locate(named: &Path, observer: &mut dyn Observer) -> Result<PathBuf> {
    if named.exists() {
        only_files(named)?;
        return Ok(named.to_owned());
    }
    if named.ends_with(BUNDLED) || named == Path::new("pubmed-mini") {
        return Err(Error::NoBundledModel {
            path: named.to_owned(),
        });
    }
    let mut fetch = Fetch {
        name: named.display().to_string(),
        begun: false,
        observer,
    };
    let path = engram_hub::locate(named, &Options::from_env()?, &mut |told| fetch.told(&told))?;
    fetch.end();
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

/// Tells of a fetch.
struct Fetch<'a> {
    name: String,
    begun: bool,
    observer: &'a mut dyn Observer,
}

impl Fetch<'_> {
    fn told(&mut self, told: &Fetching<'_>) {
        let name = &self.name;
        match told {
            Fetching::Asking(hub) => self.observer.note(format!("{name}: asking {hub}")),
            Fetching::Wanted(_, 0) => {}
            Fetching::Wanted(files, bytes) => {
                self.end();
                let work = format!("{}, bytes of {files} files", self.name);
                self.observer.begins(&work, *bytes);
                self.begun = true;
            }
            Fetching::At(bytes, file) => self.observer.at(*bytes, file),
            Fetching::Checking(file) => self.observer.note(format!("{name}: checking {file}")),
            Fetching::Waiting(file) => {
                self.observer
                    .note(format!("{name}: another process fetches {file}"));
            }
            Fetching::Again(wait, why) => {
                let wait = wait.as_secs();
                self.observer
                    .note(format!("{name}: {why}; again in {wait} s"));
            }
            Fetching::Cached(why) => {
                self.observer
                    .note(format!("{name}: {why}; taken from the cache"));
            }
        }
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.begun) {
            self.observer.ends("fetched");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundled_model_that_is_missing_says_how_to_get_it() {
        for named in ["nowhere/assets/models/pubmed-mini", "pubmed-mini"] {
            let error = Model::open(named).unwrap_err();
            assert!(matches!(error, Error::NoBundledModel { .. }), "{error}");
            let text = error.to_string();
            assert!(text.starts_with(&format!("{named}: ")), "{text}");
            assert!(text.contains("run in a checkout"), "{text}");
        }
    }
}
