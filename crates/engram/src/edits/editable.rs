//! A model to be edited, and the covariances that edits of it need.

use std::path::{Path, PathBuf};

use engram_edit::{
    Covariance, EditSettings, Editor, Keys, Method, Overlay, Reader, Sample, Statistics,
};

use crate::error::{Error, Result};
use crate::layers::LayerChoice;
use crate::model::Model;
use crate::observe::Observer;

/// A model laid out for edits, with the hashes that name it.
pub struct Editable {
    reader: Reader,
    /// The checkpoint's hash.
    base: String,
    /// The hashes of the edits over it.
    on: Vec<String>,
    /// The keys of their facts.
    keys: Keys,
    /// What names the model as it is.
    identity: String,
}

/// What ROME and MEMIT leave alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kept<'a> {
    /// Texts whose keys an edit leaves alone.
    pub texts: &'a [String],
    /// The folder in which covariances are kept; [`statistics_folder`] where none is given.
    pub folder: Option<&'a Path>,
}

impl Editable {
    /// Lays out a model, which may have edits already; its weights are copied.
    ///
    /// # Errors
    /// As [`Model::hash`]; [`Error::Edit`] for a folder of edits that is damaged.
    pub fn of(model: &Model) -> Result<Editable> {
        let identity = model.hash()?;
        let (base, on, keys) = match Overlay::is_at(model.path()) {
            true => {
                let overlay = Overlay::read(model.path())?;
                let keys = overlay.keys(model.path())?;
                (overlay.hash.clone(), overlay.hashes(), keys)
            }
            false => (identity.clone(), Vec::new(), Keys::new()),
        };
        Ok(Editable {
            reader: Reader::new(model)?,
            base,
            on,
            keys,
            identity,
        })
    }

    /// The model, laid out.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The hash of the checkpoint.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The hashes of the edits that the model has already.
    pub fn on(&self) -> &[String] {
        &self.on
    }

    /// The keys of the facts of the edits that the model has already, which AlphaEdit preserves.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The hash of the model as it is.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Refuses a layer that the model does not have, and a family that the method is not defined for.
    ///
    /// # Errors
    /// [`Error::Asked`], [`Error::Edit`].
    pub fn check(&self, method: Method, layers: LayerChoice) -> Result<()> {
        let model = self.reader.model();
        let last = model.architecture().layers().saturating_sub(1);
        if let LayerChoice::One(layer) | LayerChoice::Range(_, layer) = layers
            && layer > last
        {
            return Err(Error::asked(
                format!("--layer {layer}"),
                format!("the model has layers 0 to {last}"),
            ));
        }
        Ok(Editor::check(model, method)?)
    }

    /// The covariances of some layers' keys, from the folder where they are kept, or computed and kept there.
    ///
    /// # Errors
    /// [`Error::Edit`] where there is no text; the model's; a folder that cannot be written.
    pub fn covariances(
        &self,
        settings: &EditSettings,
        kept: Kept<'_>,
        layers: &[usize],
        observer: &mut dyn Observer,
    ) -> Result<Vec<Covariance>> {
        let texts = kept.texts.iter().map(String::as_str);
        let sample = Sample::of(self.reader.model(), texts, settings.sample_settings())?;
        let folder = match kept.folder {
            Some(folder) => folder.to_owned(),
            None => statistics_folder()?,
        };
        let kept = Statistics::of(&folder, &self.identity);
        let mut begun = false;
        let found = kept.covariances(&self.reader, &sample, layers, &mut |done| {
            if !std::mem::replace(&mut begun, true) {
                observer.begins("covariance, tokens", sample.tokens() as u64);
            }
            observer.at(done as u64, "");
        })?;
        if begun {
            let tokens = sample.tokens();
            observer.ends(&format!("{tokens} tokens, {} layers", layers.len()));
        }
        Ok(found)
    }
}

/// Where covariances are kept: `$XDG_CACHE_HOME/engram/statistics`, or that of `~/.cache`.
///
/// # Errors
/// [`Error::Asked`] where neither variable is set.
pub fn statistics_folder() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")));
    let missing = || Error::asked("--statistics", "there is no home folder for covariances");
    let cache = cache.ok_or_else(missing)?;
    Ok(cache.join("engram").join("statistics"))
}
