//! Hugging Face checkpoints: `model.safetensors` in float32, float16 or bfloat16, with or without the
//! `transformer.` prefix.

use std::io::Write;
use std::path::Path;

use candle_core::{Device, Tensor};
use engram_core::files::{write_atomic, write_json};
use indexmap::IndexMap;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::config::Gpt2Config;
use crate::error::{ModelError, Result};

/// The weights' file name.
pub const WEIGHTS: &str = "model.safetensors";
/// The configuration's file name.
pub const CONFIG: &str = "config.json";
const PREFIX: &str = "transformer.";

/// Named parameters (without the prefix), float32, in the order of the forward pass.
pub type Parameters = IndexMap<String, Tensor>;

/// Reads all parameters that the configuration calls for.
///
/// # Errors
/// [`ModelError::Missing`], [`ModelError::Weights`], [`ModelError::MissingTensor`],
/// [`ModelError::TensorShape`], [`ModelError::NotFinite`].
pub fn read(folder: &Path, config: &Gpt2Config, device: &Device) -> Result<Parameters> {
    let path = folder.join(WEIGHTS);
    if !path.exists() {
        return Err(ModelError::Missing {
            folder: folder.to_owned(),
            file: WEIGHTS.to_owned(),
        });
    }
    let bytes = std::fs::read(&path).map_err(|source| ModelError::Io {
        path: path.clone(),
        source,
    })?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| ModelError::Weights {
        path: path.clone(),
        why: e.to_string(),
    })?;
    let mut parameters = Parameters::new();
    for (name, expected) in config.parameters() {
        let (stored, view) = find(&file, &name).ok_or_else(|| ModelError::MissingTensor {
            path: path.clone(),
            name: name.clone(),
        })?;
        let values = values(&path, &stored, &view, &expected)?;
        parameters.insert(name, Tensor::from_vec(values, expected, device)?);
    }
    Ok(parameters)
}

fn find<'a>(file: &'a SafeTensors<'_>, name: &str) -> Option<(String, TensorView<'a>)> {
    [name.to_owned(), format!("{PREFIX}{name}")]
        .into_iter()
        .find_map(|stored| file.tensor(&stored).ok().map(|view| (stored, view)))
}

/// The elements of a tensor in float32, checked for shape and for NaN and infinity.
fn values(path: &Path, name: &str, view: &TensorView<'_>, expected: &[usize]) -> Result<Vec<f32>> {
    if view.shape() != expected {
        return Err(ModelError::TensorShape {
            path: path.to_owned(),
            name: name.to_owned(),
            expected: expected.to_vec(),
            found: view.shape().to_vec(),
        });
    }
    let data = view.data();
    let pairs = || data.chunks_exact(2).map(|b| [b[0], b[1]]);
    let values: Vec<f32> = match view.dtype() {
        Dtype::F32 => data
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect(),
        Dtype::F16 => pairs()
            .map(|b| half::f16::from_le_bytes(b).to_f32())
            .collect(),
        Dtype::BF16 => pairs()
            .map(|b| half::bf16::from_le_bytes(b).to_f32())
            .collect(),
        other => {
            return Err(ModelError::Weights {
                path: path.to_owned(),
                why: format!("tensor {name} is {other:?}; engram reads F32, F16 and BF16"),
            });
        }
    };
    match values.iter().position(|v| !v.is_finite()) {
        Some(element) => Err(ModelError::NotFinite {
            path: path.to_owned(),
            name: name.to_owned(),
            value: values[element],
            element,
        }),
        None => Ok(values),
    }
}

/// Writes configuration and weights (float32, with the `transformer.` prefix, as the transformers
/// library does), each atomically.
///
/// # Errors
/// As [`write_atomic`].
pub fn write(folder: &Path, config: &Gpt2Config, parameters: &Parameters) -> Result<()> {
    let mut buffers = Vec::with_capacity(parameters.len());
    for (name, tensor) in parameters {
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let stored = if name == "lm_head.weight" {
            name.clone()
        } else {
            format!("{PREFIX}{name}")
        };
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
    let mut config = config.clone();
    let other = &mut config.other;
    other.insert("dtype".to_owned(), "float32".into());
    other.remove("torch_dtype");
    write_json(&folder.join(CONFIG), &config)?;
    Ok(())
}
