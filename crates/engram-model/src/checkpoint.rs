//! Hugging Face checkpoints: `model.safetensors` in float32, float16 or bfloat16, whole or in shards.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use engram_core::files::{write_atomic, write_json};
use indexmap::IndexMap;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Deserialize;

use crate::error::{ModelError, Result, shown};
use crate::families::Family;
use crate::shard::Shard;

/// The weights' file name.
pub const WEIGHTS: &str = "model.safetensors";
/// The name of the file that says which shard holds which tensor.
pub const INDEX: &str = "model.safetensors.index.json";
/// The configuration's file name.
pub const CONFIG: &str = "config.json";

/// Named parameters, float32, in the order of the forward pass.
pub type Parameters = IndexMap<String, Tensor>;

/// Reads all parameters that a family calls for.
///
/// # Errors
/// As [`weight_files`], [`Shard::open`] and [`Shard::tensor`]; [`ModelError::TensorShape`].
pub fn read(folder: &Path, family: &dyn Family, device: &Device) -> Result<Parameters> {
    let stored = Stored::open(folder)?;
    let mut parameters = Parameters::new();
    for (name, expected) in family.parameters() {
        let names = family.stored_names(&name);
        let values = stored.values(&name, &names, &expected)?;
        parameters.insert(name, Tensor::from_vec(values, expected, device)?);
    }
    Ok(parameters)
}

/// The GGUF file that a path stands for: itself, or the only one of a folder without [`CONFIG`].
///
/// # Errors
/// [`ModelError::GgufKind`] where a folder has several.
pub fn gguf_file(path: &Path) -> Result<Option<PathBuf>> {
    if path.is_file() {
        return Ok(Some(path.to_owned()));
    }
    if path.join(CONFIG).exists() || !path.is_dir() {
        return Ok(None);
    }
    let entries = std::fs::read_dir(path).map_err(|source| ModelError::Io {
        path: path.to_owned(),
        source,
    })?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| {
            file.extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("gguf"))
        })
        .collect();
    files.sort();
    match files.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(only.clone())),
        [first, ..] => Err(ModelError::GgufKind {
            path: path.to_owned(),
            why: format!(
                "{} GGUF files; name one of them, such as {}",
                files.len(),
                first.display()
            ),
        }),
    }
}

/// The files that a model is read from, in a fixed order: what its identity is.
///
/// # Errors
/// As [`gguf_file`] and [`weight_files`].
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if let Some(file) = gguf_file(path)? {
        return Ok(vec![file]);
    }
    let named = |name: &str| Some(path.join(name)).filter(|file| file.exists());
    let mut files: Vec<PathBuf> = named(CONFIG).into_iter().collect();
    files.extend(weight_files(path)?);
    files.extend(
        ["tokenizer.json", "vocab.json", "merges.txt"]
            .into_iter()
            .filter_map(named),
    );
    Ok(files)
}

/// The files that hold a checkpoint's weights: one, or shards.
///
/// # Errors
/// [`ModelError::Missing`], [`ModelError::Pickle`]; [`ModelError::Config`] for an index that does not parse or names
/// a file elsewhere.
pub fn weight_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (whole, index) = (folder.join(WEIGHTS), folder.join(INDEX));
    if whole.exists() {
        return Ok(vec![whole]);
    }
    if !index.exists() {
        return Err(no_weights(folder));
    }
    let mut names: Vec<String> = Index::read(&index)?.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    let why = match names.iter().find(|name| !plain(name)) {
        Some(name) => format!(
            "it names the file \"{}\", which is not one of its folder",
            shown(name)
        ),
        None if names.is_empty() => "it names no file".to_owned(),
        None => return Ok(names.iter().map(|name| folder.join(name)).collect()),
    };
    Err(ModelError::Config { path: index, why })
}

/// Whether this is the name of a file, and of no path or anything else.
fn plain(name: &str) -> bool {
    let path = Path::new(name).file_name();
    path.is_some_and(|n| n == name) && !name.contains(char::is_control) && name.len() < 256
}

fn no_weights(folder: &Path) -> ModelError {
    let pickles = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
    match pickles.iter().find(|name| folder.join(name).exists()) {
        Some(name) => ModelError::Pickle {
            path: folder.join(name),
        },
        None => ModelError::Missing {
            folder: folder.to_owned(),
            file: WEIGHTS.to_owned(),
        },
    }
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

impl Index {
    fn read(path: &Path) -> Result<Index> {
        let text = std::fs::read(path).map_err(|source| ModelError::Io {
            path: path.to_owned(),
            source,
        })?;
        serde_json::from_slice(&text).map_err(|e| ModelError::Config {
            path: path.to_owned(),
            why: format!("no readable index: {}", shown(&e.to_string())),
        })
    }
}

/// All weights of a checkpoint.
struct Stored {
    /// What names them: the file of weights, or the index.
    path: PathBuf,
    shards: Vec<Shard>,
}

impl Stored {
    fn open(folder: &Path) -> Result<Stored> {
        let (whole, index) = (folder.join(WEIGHTS), folder.join(INDEX));
        let files = weight_files(folder)?;
        let shards = files.iter().map(|file| Shard::open(file));
        Ok(Stored {
            shards: shards.collect::<Result<_>>()?,
            path: if whole.exists() { whole } else { index },
        })
    }

    /// The elements, in float32, of the tensor that is stored under one of some names.
    fn values(&self, name: &str, names: &[String], expected: &[usize]) -> Result<Vec<f32>> {
        let found = names.iter().find_map(|name| {
            let mut shards = self.shards.iter();
            shards.find_map(|shard| Some((shard, name, shard.shape(name)?)))
        });
        match found {
            Some((shard, name, found)) if found == expected => shard.tensor(name),
            Some((shard, name, found)) => Err(ModelError::TensorShape {
                path: shard.path().to_owned(),
                name: name.to_owned(),
                expected: expected.to_vec(),
                found: found.to_vec(),
            }),
            None => Err(ModelError::MissingTensor {
                path: self.path.clone(),
                name: name.to_owned(),
            }),
        }
    }
}

/// Writes configuration and weights (float32, under the names that the transformers library gives them), each
/// atomically.
///
/// # Errors
/// As [`write_atomic`].
pub fn write(folder: &Path, family: &dyn Family, parameters: &Parameters) -> Result<()> {
    let mut buffers = Vec::with_capacity(parameters.len());
    for (name, tensor) in parameters {
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let stored = family.stored_names(name).into_iter().next();
        let stored = stored.unwrap_or_else(|| name.clone());
        buffers.push((stored, tensor.dims().to_vec(), bytes));
    }
    let path = folder.join(WEIGHTS);
    let damaged = |e: safetensors::SafeTensorError| ModelError::Weights {
        path: path.clone(),
        why: e.to_string(),
    };
    let mut views = Vec::with_capacity(buffers.len());
    for (name, shape, bytes) in &buffers {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(damaged)?;
        views.push((name.as_str(), view));
    }
    // One entry only: the library keeps metadata in a hash map, whose order would not be the same twice.
    let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(damaged)?;
    write_atomic(&path, |w| w.write_all(&bytes))?;
    let mut config = family.config();
    config.insert("dtype".to_owned(), "float32".into());
    config.remove("torch_dtype");
    config.remove("quantization_config");
    write_json(&folder.join(CONFIG), &config)?;
    Ok(())
}
