//! Activations of one run, as arrays in a file.

use std::collections::BTreeMap;
use std::path::Path;

use engram_core::{NamedSite, files};

use crate::arrays::{Array, npz, safetensors};
use crate::error::{Error, Result};
use crate::model::Model;

/// The formats of a file of arrays, by suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.safetensors`: the arrays, and texts by key in the metadata.
    Safetensors,
    /// `.npz`: numpy's, texts as arrays of their own.
    Npz,
}

impl Format {
    /// The format that a file's suffix names.
    ///
    /// # Errors
    /// [`Error::Asked`] for any other suffix.
    pub fn of(path: &Path) -> Result<Format> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("safetensors") => Ok(Format::Safetensors),
            Some("npz") => Ok(Format::Npz),
            _ => Err(Error::asked(
                format!("--out {}", path.display()),
                "the suffix decides the format; name a file that ends in .safetensors or .npz",
            )),
        }
    }
}

/// What a prompt's run left at some sites.
#[derive(Debug, Clone)]
pub struct Activations {
    /// The prompt.
    pub prompt: String,
    /// Its token ids.
    pub ids: Vec<u32>,
    /// Their texts.
    pub tokens: Vec<String>,
    /// SHA-256 of the model's files.
    pub model: String,
    /// Float32 arrays by the site's name as it was asked for.
    pub arrays: BTreeMap<String, Array>,
}

impl Activations {
    /// Runs a prompt and takes the values at the sites.
    ///
    /// # Errors
    /// As [`Model::ids`]; [`Error::Patch`] where the prompt does not fit the context, or a value is not finite.
    pub fn of(model: &Model, prompt: &str, sites: &[NamedSite]) -> Result<Activations> {
        let ids = model.ids(prompt)?;
        let mut arrays = BTreeMap::new();
        for (name, tensor) in engram_patch::cache(model, &ids, sites)? {
            let (shape, values) = (tensor.dims().to_vec(), tensor.flatten_all()?.to_vec1()?);
            arrays.insert(name, Array::Floats(shape, values));
        }
        Ok(Activations {
            prompt: prompt.to_owned(),
            tokens: ids.iter().map(|id| model.tokenizer().token(*id)).collect(),
            model: model.hash()?,
            ids,
            arrays,
        })
    }

    /// Writes them with prompt, ids, tokens and the model's hash into a file whose suffix names its format.
    ///
    /// # Errors
    /// [`Error::Asked`] for a suffix that names none; [`Error::Core`] for a file that cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = match Format::of(path)? {
            Format::Safetensors => {
                let about = [
                    ("ids", serde_json::json!(self.ids).to_string()),
                    ("model", self.model.clone()),
                    ("prompt", self.prompt.clone()),
                    ("tokens", serde_json::json!(self.tokens).to_string()),
                ];
                safetensors(&self.arrays, &about)?
            }
            Format::Npz => {
                let mut arrays = self.arrays.clone();
                let wide = self.ids.iter().map(|id| i64::from(*id)).collect();
                arrays.insert("ids".to_owned(), Array::Integers(wide));
                arrays.insert("model".to_owned(), Array::Text(self.model.clone()));
                arrays.insert("prompt".to_owned(), Array::Text(self.prompt.clone()));
                arrays.insert("tokens".to_owned(), Array::Texts(self.tokens.clone()));
                npz(&arrays)?
            }
        };
        Ok(files::write_atomic(path, |w| {
            std::io::Write::write_all(w, &bytes)
        })?)
    }
}
