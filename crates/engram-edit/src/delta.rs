//! An edit as a file: a small safetensors delta over a checkpoint, which itself is never changed.
//!
//! A low-rank change of a weight is stored as its factors (`WEIGHT#in`, [rank, in]; `WEIGHT#out`, [rank, out]), any
//! where a summand belongs to a fact also the facts' keys (`WEIGHT#keys`, [rank, in]), any
//! other change as the difference in the weight's own layout (`WEIGHT#dense`). The only metadata entry, `engram_edit`,
//! is JSON: the requests, the method and its settings, and the checkpoint.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor};
use engram_core::{Fit, Method, files};
use engram_model::LanguageModel;
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::{SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::error::{EditError, Result};
use crate::request::EditRequest;

/// Key of the metadata entry.
const META: &str = "engram_edit";

/// Keys of edited facts, by layer.
pub type Keys = BTreeMap<usize, Vec<Vec<f64>>>;

/// A change Σ_r inputs_r · outputs_rᵀ.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    /// Number of summands.
    pub rank: usize,
    /// [rank, in].
    pub inputs: Vec<f32>,
    /// [rank, out].
    pub outputs: Vec<f32>,
    /// The key of the fact that each summand is for, [rank, in], which later edits may preserve; empty where a summand
    /// is for no fact alone.
    pub keys: Vec<f32>,
}

/// The change added to a weight.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A low-rank matrix.
    LowRank(LowRank),
    /// The difference, in the weight's own layout.
    Dense(Vec<f32>),
}

/// The change of one weight.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightChange {
    /// The parameter's name.
    pub weight: String,
    /// The block that it belongs to.
    pub layer: usize,
    /// Whether the weight is stored as [out, in].
    pub transposed: bool,
    /// What is added.
    pub change: Change,
}

/// Metadata of an edit: what it was made for, and how.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Hash of the checkpoint.
    pub base: String,
    /// The name of its folder or file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub checkpoint: String,
    /// Hashes of the edits that were applied when it was made, in order.
    pub on: Vec<String>,
    /// The method.
    pub method: Method,
    /// The layers that it changes.
    pub layers: Vec<usize>,
    /// The requests.
    pub requests: Vec<EditRequest>,
    /// The settings.
    pub settings: serde_json::Value,
    /// Results of the optimisation, one for each request, or for each request and layer.
    #[serde(default)]
    pub fits: Vec<Fit>,
}

/// The metadata as stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    meta: Meta,
    /// The weights, their blocks, and whether they are stored as [out, in].
    weights: Vec<(String, usize, bool)>,
}

/// An edit.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta {
    /// What it was made for, and how.
    pub meta: Meta,
    /// The changes of weights.
    pub changes: Vec<WeightChange>,
}

/// Name of the down-projection's parameter, and whether it is stored as [out, in].
///
/// # Errors
/// [`EditError::Model`] for a layer beyond the last; [`EditError::Unsupported`] if the weight is only a part of a
/// parameter.
pub fn down_projection(model: &LanguageModel, layer: usize) -> Result<(String, bool)> {
    crate::tokens::check_layer(model, layer)?;
    let block = model.network().block(layer);
    let stored = block.and_then(|block| model.stored(&block.mlp_proj.weight));
    stored.ok_or_else(|| EditError::Unsupported {
        what: "an edit of the down-projection",
        family: model.family().to_owned(),
        why: "it is no parameter of its own",
    })
}

impl Delta {
    /// The edited model: W' = W + change, summed in float64.
    ///
    /// # Errors
    /// [`EditError::Model`] if the model lacks a weight or has it in another shape.
    pub fn lay_over(&self, model: &LanguageModel) -> Result<LanguageModel> {
        let mut replaced = Vec::with_capacity(self.changes.len());
        for change in &self.changes {
            let old = model.parameter(&change.weight)?;
            replaced.push((change.weight.clone(), change.laid_over(&old)?));
        }
        Ok(model.with_parameters(replaced)?)
    }

    /// Adds the keys of the edit's facts to those of each layer.
    pub fn collect_keys(&self, to: &mut Keys) {
        for change in &self.changes {
            let Change::LowRank(low) = &change.change else {
                continue;
            };
            let width = low.keys.len() / low.rank.max(1);
            let key = |key: &[f32]| key.iter().map(|v| f64::from(*v)).collect();
            let of_layer = to.entry(change.layer).or_default();
            of_layer.extend(low.keys.chunks(width.max(1)).map(key));
        }
    }

    /// Writes the file and returns the edit's name: the first digits of its hash.
    ///
    /// # Errors
    /// [`EditError::Core`] if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<String> {
        let bytes = self.bytes(path)?;
        files::write_atomic(path, |w| std::io::Write::write_all(w, &bytes))?;
        Ok(files::sha256(&bytes))
    }

    fn bytes(&self, path: &Path) -> Result<Vec<u8>> {
        let weight = |c: &WeightChange| (c.weight.clone(), c.layer, c.transposed);
        let meta = Stored {
            meta: self.meta.clone(),
            weights: self.changes.iter().map(weight).collect(),
        };
        let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
        for WeightChange { weight, change, .. } in &self.changes {
            match change {
                Change::LowRank(low) => {
                    let parts = [
                        ("in", &low.inputs),
                        ("out", &low.outputs),
                        ("keys", &low.keys),
                    ];
                    for (name, values) in parts.into_iter().filter(|(_, v)| !v.is_empty()) {
                        let shape = vec![low.rank, values.len() / low.rank.max(1)];
                        tensors.push((format!("{weight}#{name}"), shape, bytes(values)));
                    }
                }
                Change::Dense(values) => {
                    let shape = vec![values.len()];
                    tensors.push((format!("{weight}#dense"), shape, bytes(values)));
                }
            }
        }
        let wrong = |why: String| EditError::Delta {
            path: path.to_owned(),
            why,
        };
        let mut views = Vec::with_capacity(tensors.len());
        for (name, shape, bytes) in &tensors {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            views.push((name.as_str(), view.map_err(|e| wrong(e.to_string()))?));
        }
        let meta = serde_json::to_string(&meta).map_err(|e| wrong(e.to_string()))?;
        let meta = HashMap::from([(META.to_owned(), meta)]);
        safetensors::serialize(views, Some(meta)).map_err(|e| wrong(e.to_string()))
    }

    /// Reads a file and returns the edit with its hash.
    ///
    /// # Errors
    /// [`EditError::Delta`] if the file is not an edit; [`EditError::Core`] if it cannot be read.
    pub fn read(path: &Path) -> Result<(Delta, String)> {
        let bytes = files::read(path)?;
        let wrong = |why: String| EditError::Delta {
            path: path.to_owned(),
            why,
        };
        let parsed = parse(&bytes).map_err(wrong)?;
        Ok((parsed, files::sha256(&bytes)))
    }
}

/// Shape and elements of a tensor.
type Floats = (Vec<usize>, Vec<f32>);

fn parse(bytes: &[u8]) -> std::result::Result<Delta, String> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let meta = header.metadata().as_ref().and_then(|m| m.get(META));
    let meta = meta.ok_or(format!("its metadata have no {META}"))?;
    let Stored { meta, weights } =
        serde_json::from_str(meta).map_err(|e| format!("{META}: {e}"))?;
    let floats = |name: &str| -> std::result::Result<Option<Floats>, String> {
        let Ok(tensor) = file.tensor(name) else {
            return Ok(None);
        };
        if tensor.dtype() != Dtype::F32 {
            return Err(format!("{name} is {:?}, expected F32", tensor.dtype()));
        }
        let number = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let values: Vec<f32> = tensor.data().chunks_exact(4).map(number).collect();
        if values.iter().any(|v| !v.is_finite()) {
            return Err(format!("{name} holds numbers that are not finite"));
        }
        Ok(Some((tensor.shape().to_vec(), values)))
    };
    let mut changes = Vec::with_capacity(weights.len());
    for (weight, layer, transposed) in &weights {
        let inputs = floats(&format!("{weight}#in"))?;
        let outputs = floats(&format!("{weight}#out"))?;
        let keys = floats(&format!("{weight}#keys"))?;
        let is_of = |inputs: &[usize]| keys.as_ref().is_none_or(|(shape, _)| shape == inputs);
        let change = match (inputs, outputs, floats(&format!("{weight}#dense"))?) {
            (Some((a, inputs)), Some((b, outputs)), None)
                if a.len() == 2 && b.len() == 2 && a[0] == b[0] && is_of(&a) =>
            {
                Change::LowRank(LowRank {
                    rank: a[0],
                    inputs,
                    outputs,
                    keys: keys.map(|(_, values)| values).unwrap_or_default(),
                })
            }
            (None, None, Some((_, values))) => Change::Dense(values),
            _ => return Err(format!("no change of {weight} that can be read")),
        };
        changes.push(WeightChange {
            weight: weight.clone(),
            layer: *layer,
            transposed: *transposed,
            change,
        });
    }
    match changes.is_empty() {
        true => Err("it changes no weight".to_owned()),
        false => Ok(Delta { meta, changes }),
    }
}

impl LowRank {
    /// Frobenius norm, from the factors' Gram matrices: ‖Σ aᵣbᵣᵀ‖² = Σᵣₛ (aᵣᵀaₛ)(bᵣᵀbₛ).
    fn norm(&self) -> f64 {
        let rows = |values: &[f32]| -> Vec<Vec<f64>> {
            let width = (values.len() / self.rank.max(1)).max(1);
            let row = |r: &[f32]| r.iter().map(|v| f64::from(*v)).collect();
            values.chunks(width).map(row).collect()
        };
        let (inputs, outputs) = (rows(&self.inputs), rows(&self.outputs));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut sum = 0.0;
        for (a, b) in inputs.iter().zip(&outputs) {
            for (c, d) in inputs.iter().zip(&outputs) {
                sum += dot(a, c) * dot(b, d);
            }
        }
        sum.max(0.0).sqrt()
    }
}

impl WeightChange {
    /// ‖ΔW‖ / ‖W‖ (Frobenius), of the weight that the model has now.
    ///
    /// # Errors
    /// [`EditError::Model`] if the model lacks the weight.
    pub fn relative_norm(&self, model: &LanguageModel) -> Result<f64> {
        let length = |values: &[f32]| {
            let squares = values.iter().map(|v| f64::from(*v).powi(2));
            squares.sum::<f64>().sqrt()
        };
        let weight = model.parameter(&self.weight)?.to_device(&Device::Cpu)?;
        let change = match &self.change {
            Change::Dense(values) => length(values),
            Change::LowRank(low) => low.norm(),
        };
        Ok(change / length(&weight.flatten_all()?.to_vec1::<f32>()?))
    }

    /// The changed weight, in its own layout.
    fn laid_over(&self, old: &Tensor) -> Result<Tensor> {
        let shape = old.dims().to_vec();
        let wrong = |found: Vec<usize>| engram_model::ModelError::TensorShape {
            path: "the edit".into(),
            name: self.weight.clone(),
            expected: shape.clone(),
            found,
        };
        let (rows, columns) = old.dims2()?;
        let mut values = old
            .to_device(&Device::Cpu)?
            .flatten_all()?
            .to_vec1::<f32>()?;
        match &self.change {
            Change::Dense(added) => {
                if added.len() != values.len() {
                    return Err(wrong(vec![added.len()]).into());
                }
                for (v, a) in values.iter_mut().zip(added) {
                    *v = (f64::from(*v) + f64::from(*a)) as f32;
                }
            }
            Change::LowRank(low) => {
                let (down, across) = match self.transposed {
                    true => (&low.outputs, &low.inputs),
                    false => (&low.inputs, &low.outputs),
                };
                if down.len() != low.rank * rows || across.len() != low.rank * columns {
                    let found = |n: usize| n / low.rank.max(1);
                    return Err(wrong(vec![found(down.len()), found(across.len())]).into());
                }
                let each = values.par_chunks_mut(columns).enumerate();
                each.for_each(|(i, row)| {
                    let mut sum: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
                    for r in 0..low.rank {
                        let factor = f64::from(down[r * rows + i]);
                        for (s, a) in sum.iter_mut().zip(&across[r * columns..]) {
                            *s += factor * f64::from(*a);
                        }
                    }
                    for (v, s) in row.iter_mut().zip(sum) {
                        *v = s as f32;
                    }
                });
            }
        }
        Ok(Tensor::from_vec(values, shape, old.device())?)
    }
}
