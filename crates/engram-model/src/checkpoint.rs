//! Hugging Face checkpoints: `model.safetensors` in float32, float16 or bfloat16, whole or in shards.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use engram_core::PartName;
use engram_core::files::{write_atomic, write_json};
use indexmap::IndexMap;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Deserialize;

use crate::error::{ModelError, Result, shown};
use crate::families::{self, Family, ROTARY_DIM};
use crate::gguf::Gguf;
use crate::shard::Shard;

/// The weights' file name.
pub const WEIGHTS: &str = "model.safetensors";
/// File name of the index, which says which shard holds which tensor.
pub const INDEX: &str = "model.safetensors.index.json";
/// The configuration's file name.
pub const CONFIG: &str = "config.json";

/// Named parameters, float32, in the order of the forward pass.
pub type Parameters = IndexMap<String, Tensor>;

/// Reads all parameters that a family needs.
///
/// # Errors
/// As [`Stored::open`] and [`Stored::parameters`].
pub fn read(folder: &Path, family: &dyn Family, device: &Device) -> Result<Parameters> {
    Stored::open(folder)?.parameters(family, device)
}

/// The GGUF file that a path denotes: the file itself, or the only one in a folder without [`CONFIG`]; of a split model
/// the first part.
///
/// # Errors
/// [`ModelError::GgufKind`] if the folder has several models.
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
    let part = |file: &PathBuf| PartName::parse(file.file_name()?.to_str()?);
    let of = |file| part(file).map(|name| (name.stem, name.count));
    match files.as_slice() {
        [] => Ok(None),
        [first, others @ ..]
            if of(first).is_some() && others.iter().all(|f| of(f) == of(first)) =>
        {
            Ok(Some(first.clone()))
        }
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

/// The files of a model, in a fixed order; their hash identifies the model.
///
/// # Errors
/// As [`gguf_file`], [`Gguf::open`] and [`weight_files`].
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if let Some(file) = gguf_file(path)? {
        return Ok(Gguf::open(&file)?.files());
    }
    let named = |name: &str| Some(path.join(name)).filter(|file| file.exists());
    let mut files: Vec<PathBuf> = named(CONFIG).into_iter().collect();
    files.extend(weight_files(path)?);
    files.extend(
        ["tokenizer.json", "vocab.json", "merges.txt"]
            .into_iter()
            .filter_map(named),
    );
    // Without tokenizer.json the tokens come from these files.
    if named("tokenizer.json").is_none() {
        let beside = ["added_tokens.json", "tokenizer_config.json"];
        files.extend(beside.into_iter().filter_map(named));
    }
    Ok(files)
}

/// The files of a checkpoint's weights: one, or several shards.
///
/// # Errors
/// [`ModelError::Missing`] if there are none; [`ModelError::Pickle`] if there are only pickle files;
/// [`ModelError::Config`] for an index that does not parse, or that names a missing file or one outside the folder.
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
        None if names.is_empty() => "it lists no file".to_owned(),
        None if names.iter().any(|name| !folder.join(name).exists()) => {
            let gone = names.iter().filter(|name| !folder.join(name).exists());
            let gone: Vec<&str> = gone.map(String::as_str).collect();
            format!("it names {}, not there", shown(&gone.join(", ")))
        }
        None => return Ok(names.iter().map(|name| folder.join(name)).collect()),
    };
    Err(ModelError::Config { path: index, why })
}

/// Whether this is a plain file name, without a path.
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

/// The weights of a checkpoint, opened.
#[derive(Debug)]
pub struct Stored {
    /// The file that errors name: the weights, or the index.
    path: PathBuf,
    shards: Vec<Shard>,
}

impl Stored {
    /// Opens the weights of a folder.
    ///
    /// # Errors
    /// As [`weight_files`] and [`Shard::open`].
    pub fn open(folder: &Path) -> Result<Stored> {
        let (whole, index) = (folder.join(WEIGHTS), folder.join(INDEX));
        let files = weight_files(folder)?;
        let shards = files.iter().map(|file| Shard::open(file));
        Ok(Stored {
            shards: shards.collect::<Result<_>>()?,
            path: if whole.exists() { whole } else { index },
        })
    }

    /// The family, corrected by the weights: if the configuration ties the unembedding to the embedding, but the file
    /// holds an unembedding with other values, that is used as a parameter, as in the transformers library from version
    /// 5.
    ///
    /// # Errors
    /// As [`Stored::parameters`].
    pub fn family(&self, family: Arc<dyn Family>) -> Result<Arc<dyn Family>> {
        let Some(untied) = untied(&*family) else {
            return Ok(family);
        };
        let names = untied.untied.stored_names(&untied.head);
        let embed = family.stored_names(&untied.embed);
        if self.find(&names).is_none() || self.find(&embed).is_none() {
            return Ok(family);
        }
        let head = self.values(&untied.head, &names, &untied.shape)?;
        let embed = self.values(&untied.embed, &embed, &untied.shape)?;
        Ok(if head == embed { family } else { untied.untied })
    }

    /// All parameters that a family needs.
    ///
    /// # Errors
    /// As [`Shard::tensor`]; [`ModelError::TensorShape`] for a tensor of another shape than the configuration says;
    /// [`ModelError::UnusedTensor`] as [`Stored::unused`].
    pub fn parameters(&self, family: &dyn Family, device: &Device) -> Result<Parameters> {
        let untied = untied(family);
        let mut parameters = Parameters::new();
        for (name, expected) in family.parameters() {
            let mut names = family.stored_names(&name);
            // Of two tied tensors a file may hold either.
            if let Some(untied) = untied.as_ref().filter(|untied| untied.embed == name) {
                names.extend(untied.untied.stored_names(&untied.head));
            }
            let values = self.values(&name, &names, &expected)?;
            parameters.insert(name, Tensor::from_vec(values, expected, device)?);
        }
        self.unused(family)?;
        Ok(parameters)
    }

    /// Names of tensors that the family does not use, such as a head for another task. Buffers of older files (masks,
    /// rotary frequencies) are not listed.
    ///
    /// # Errors
    /// [`ModelError::UnusedTensor`] for a tensor inside the network, because it contradicts the configuration.
    pub fn unused(&self, family: &dyn Family) -> Result<Vec<String>> {
        let mut used = HashSet::new();
        let mut modules = HashSet::new();
        let mut known = |family: &dyn Family, name: &str| {
            let names = family.stored_names(name);
            modules.extend(names.iter().map(|name| first_module(name).to_owned()));
            used.extend(self.find(&names).map(|(_, name)| name.clone()));
        };
        for (name, _) in family.parameters() {
            known(family, &name);
        }
        if let Some(untied) = untied(family) {
            known(&*untied.untied, &untied.head);
        }
        let mut unused = Vec::new();
        let mut seen = HashSet::new();
        for shard in &self.shards {
            for name in shard.names() {
                let again = !seen.insert(name.clone());
                if !again && (used.contains(&name) || is_buffer(&name)) {
                    continue;
                }
                if again || modules.contains(first_module(&name)) {
                    return Err(ModelError::UnusedTensor {
                        path: shard.path().to_owned(),
                        name: shown(&name),
                        family: family.architecture().family,
                    });
                }
                unused.push(name);
            }
        }
        Ok(unused)
    }

    /// The file that holds a tensor under one of these names, and the name.
    fn find<'n>(&self, names: &'n [String]) -> Option<(&Shard, &'n String)> {
        names.iter().find_map(|name| {
            let mut shards = self.shards.iter();
            let shard = shards.find(|shard| shard.shape(name).is_some())?;
            Some((shard, name))
        })
    }

    /// The elements, in float32, of a tensor stored under one of these names.
    fn values(&self, name: &str, names: &[String], expected: &[usize]) -> Result<Vec<f32>> {
        let found = self.find(names);
        match found.and_then(|(shard, name)| Some((shard, name, shard.shape(name)?))) {
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

fn first_module(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Whether a tensor is a constant that older versions of the transformers library stored with the weights.
fn is_buffer(name: &str) -> bool {
    [
        "attn.bias",
        "attn.masked_bias",
        "attention.bias",
        "attention.masked_bias",
        "rotary_emb.inv_freq",
        "rotary_emb.cos_cached",
        "rotary_emb.sin_cached",
        "position_ids",
    ]
    .iter()
    .any(|buffer| {
        let module = name.strip_suffix(buffer);
        module.is_some_and(|module| module.is_empty() || module.ends_with('.'))
    })
}

/// A family with tied embeddings, read as one with a separate unembedding.
struct Untied {
    untied: Arc<dyn Family>,
    /// Name of the unembedding's parameter.
    head: String,
    /// Name of the embedding's parameter.
    embed: String,
    /// Shape of both.
    shape: Vec<usize>,
}

/// `None` for a family without tied embeddings.
fn untied(family: &dyn Family) -> Option<Untied> {
    let mut config = family.config();
    config.insert("tie_word_embeddings".to_owned(), false.into());
    let untied = families::of(config).ok()?;
    let tied = family.parameters();
    let (embed, _) = tied.first()?.clone();
    let has = |name: &str| tied.iter().any(|(own, _)| own == name);
    let mut of_untied = untied.parameters().into_iter();
    let (head, shape) = of_untied.find(|(name, _)| !has(name))?;
    Some(Untied {
        untied,
        head,
        embed,
        shape,
    })
}

/// Fails for partial rotary embedding in families for which the transformers library has no such setting (it would
/// rotate whole heads without a warning). A GGUF file can have it.
fn refuse_part_of_heads(folder: &Path, family: &dyn Family) -> Result<()> {
    let architecture = family.architecture();
    let rotated = family
        .config()
        .get(ROTARY_DIM)
        .and_then(serde_json::Value::as_u64);
    let d_head = architecture.d_head;
    match rotated.filter(|rotated| *rotated != d_head as u64) {
        None => Ok(()),
        Some(rotated) => Err(ModelError::Config {
            path: folder.join(CONFIG),
            why: format!(
                "not written: rotary embedding rotates {rotated} of a head's {d_head} dimensions, which no {} of the \
                 transformers library does; use the GGUF file",
                architecture.family
            ),
        }),
    }
}

/// Writes configuration and weights (float32, named as in the transformers library), each atomically.
///
/// # Errors
/// As [`write_atomic`]. Before anything is written: [`ModelError::NotFinite`], and [`ModelError::Config`] for a model
/// that this layout cannot express.
pub fn write(folder: &Path, family: &dyn Family, parameters: &Parameters) -> Result<()> {
    refuse_part_of_heads(folder, family)?;
    let mut buffers = Vec::with_capacity(parameters.len());
    for (name, tensor) in parameters {
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        if let Some(element) = values.iter().position(|v| !v.is_finite()) {
            return Err(ModelError::NotFinite {
                path: folder.join(WEIGHTS),
                name: name.clone(),
                value: values[element],
                element,
            });
        }
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
    // One entry only: the library keeps metadata in a hash map, whose order varies.
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
