//! Hugging Face checkpoints: `model.safetensors` in float32, float16 or bfloat16, whole or in shards.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use engram_core::files::{write_atomic, write_json};
use indexmap::IndexMap;
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::tensor::{Metadata, TensorInfo, TensorView};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::error::{ModelError, Result};
use crate::families::Family;

/// The weights' file name.
pub const WEIGHTS: &str = "model.safetensors";
/// The name of the file that says which shard holds which tensor.
pub const INDEX: &str = "model.safetensors.index.json";
/// The configuration's file name.
pub const CONFIG: &str = "config.json";

/// Elements that one task converts.
const CHUNK: usize = 1 << 16;

/// Named parameters, float32, in the order of the forward pass.
pub type Parameters = IndexMap<String, Tensor>;

/// Reads all parameters that a family calls for.
///
/// # Errors
/// [`ModelError::Missing`], [`ModelError::Pickle`], [`ModelError::Weights`], [`ModelError::MissingTensor`],
/// [`ModelError::TensorShape`], [`ModelError::NotFinite`].
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
/// [`ModelError::Missing`], [`ModelError::Pickle`]; an index that does not parse or names a file elsewhere.
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
    let plain = |name: &String| {
        Path::new(name)
            .file_name()
            .is_some_and(|n| n == name.as_str())
    };
    match names.iter().find(|name| !plain(name)) {
        Some(name) => Err(ModelError::Weights {
            path: index,
            why: format!("it names the file {name:?}, which is not one of its folder"),
        }),
        None => Ok(names.iter().map(|name| folder.join(name)).collect()),
    }
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
            why: e.to_string(),
        })
    }
}

/// A safetensors file in memory as the system pages it in.
struct Shard {
    path: PathBuf,
    bytes: Mmap,
    /// Where the tensors' bytes begin.
    start: usize,
    header: Metadata,
}

impl Shard {
    fn open(path: PathBuf) -> Result<Shard> {
        let io = |source| ModelError::Io {
            path: path.clone(),
            source,
        };
        let file = std::fs::File::open(&path).map_err(io)?;
        let damaged = |why: String| ModelError::Weights {
            path: path.clone(),
            why,
        };
        if file.metadata().map_err(io)?.len() == 0 {
            return Err(damaged("it is empty".to_owned()));
        }
        // SAFETY: the mapping is only read. A file that another process cuts while it is mapped ends this process, as
        // with every program that maps files.
        let bytes = unsafe { Mmap::map(&file) }.map_err(io)?;
        let (length, header) =
            SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
        // The header stands after its length in 8 bytes.
        let start = length + 8;
        Ok(Shard {
            path,
            bytes,
            start,
            header,
        })
    }

    fn data(&self, info: &TensorInfo) -> &[u8] {
        let (from, to) = info.data_offsets;
        &self.bytes[self.start + from..self.start + to]
    }
}

/// All weights of a checkpoint.
struct Stored {
    shards: Vec<Shard>,
}

impl Stored {
    fn open(folder: &Path) -> Result<Stored> {
        let files = weight_files(folder)?.into_iter();
        Ok(Stored {
            shards: files.map(Shard::open).collect::<Result<_>>()?,
        })
    }

    /// The elements, in float32, of the tensor that is stored under one of some names.
    fn values(&self, name: &str, names: &[String], expected: &[usize]) -> Result<Vec<f32>> {
        let found = names.iter().find_map(|name| {
            let mut shards = self.shards.iter();
            shards.find_map(|shard| Some((shard, name, shard.header.info(name)?)))
        });
        match found {
            Some((shard, name, info)) => values(shard, name, info, expected),
            None => Err(ModelError::MissingTensor {
                path: self
                    .shards
                    .first()
                    .map_or_else(PathBuf::new, |s| s.path.clone()),
                name: name.to_owned(),
            }),
        }
    }
}

/// The elements of a tensor in float32, checked for shape and for NaN and infinity.
fn values(shard: &Shard, name: &str, info: &TensorInfo, expected: &[usize]) -> Result<Vec<f32>> {
    let path = &shard.path;
    if info.shape != expected {
        return Err(ModelError::TensorShape {
            path: path.clone(),
            name: name.to_owned(),
            expected: expected.to_vec(),
            found: info.shape.clone(),
        });
    }
    let data = shard.data(info);
    let pair = |b: &[u8]| [b[0], b[1]];
    let values = match info.dtype {
        Dtype::F32 => converted(data, 4, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        Dtype::F16 => converted(data, 2, |b| half::f16::from_le_bytes(pair(b)).to_f32()),
        Dtype::BF16 => converted(data, 2, |b| half::bf16::from_le_bytes(pair(b)).to_f32()),
        other => {
            return Err(ModelError::Weights {
                path: path.clone(),
                why: format!("tensor {name} is {other:?}; engram reads F32, F16 and BF16"),
            });
        }
    };
    finite(path, name, values)
}

fn converted(data: &[u8], size: usize, value: impl Fn(&[u8]) -> f32 + Sync) -> Vec<f32> {
    let mut values = vec![0f32; data.len() / size];
    values
        .par_chunks_mut(CHUNK)
        .zip(data.par_chunks(CHUNK * size))
        .for_each(|(values, data)| {
            for (v, bytes) in values.iter_mut().zip(data.chunks_exact(size)) {
                *v = value(bytes);
            }
        });
    values
}

/// The values, where none of them is NaN or infinite.
pub(crate) fn finite(path: &Path, name: &str, values: Vec<f32>) -> Result<Vec<f32>> {
    let bad = values.par_iter().position_first(|v| !v.is_finite());
    match bad {
        Some(element) => Err(ModelError::NotFinite {
            path: path.to_owned(),
            name: name.to_owned(),
            value: values[element],
            element,
        }),
        None => Ok(values),
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
