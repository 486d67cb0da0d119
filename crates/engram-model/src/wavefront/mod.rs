//! Many patched runs as one pass through the network.
//!
//! A *world* is a base run into which some activations are written. It equals the base run up to its
//! first write, so it branches off there: the rows that the write changes join a batch of all worlds
//! alive, and each block runs once for that batch. What a world did not change it reads from the base
//! run's cache: keys and values of earlier positions, rows between a write and the next attention. In
//! the last block only the rows that are read are computed.
//!
//! `geometry.rs` says, without a tensor, which rows each stage of each block computes for a world; cost
//! ([`Work`]) and execution both follow it.

mod band;
mod base;
mod cost;
mod ending;
mod function;
pub(crate) mod geometry;
mod group;
mod reading;
mod readout;
mod world;
mod write;

use std::ops::Range;
use std::sync::Arc;

use candle_core::Tensor;
use rayon::prelude::*;

use crate::architecture::{Architecture, Normalisation, Rotary, Shape};
use crate::error::{ModelError, Result};
use crate::families::{self, Qkv};
use crate::kernels::activation::Activation;
use crate::kernels::matrix::{View, multiply};
use crate::kernels::packed::{PANEL, Packed};
use crate::kernels::suffix_attention::Heads;
use crate::kernels::{AttentionWindow, layer_norm, scratch, tensor_values, with_slices};
use crate::model::LanguageModel;

pub use base::{Caches, NotFinite, Run};
pub use cost::{Work, cache_bytes, head_bytes, panel_bytes, task_bytes, world_bytes};
pub use ending::{Ending, LogitRows, Reverse, Trace};
pub use function::RowFunction;
pub use readout::Vocabulary;
pub use world::World;
pub use write::{Write, WrittenValue};

/// x·weight + bias.
struct Linear {
    weight: Packed,
    bias: Vec<f32>,
}

impl Linear {
    /// Several maps of the same rows as one: what they give stands side by side.
    fn beside(parts: &[&families::Linear]) -> Result<Linear> {
        let mut columns = Vec::with_capacity(parts.len());
        let mut bias = Vec::new();
        // The files of most families hold a weight's columns one after another.
        let mut by_column = Vec::with_capacity(parts.len());
        let mut stored = Vec::with_capacity(parts.len());
        let mut inner = 0;
        for part in parts {
            let own = part.weight.dim(1)?;
            inner = part.weight.dim(0)?;
            match &part.bias {
                Some(values) => bias.extend(tensor_values(values)?),
                None => bias.resize(bias.len() + own, 0.0),
            }
            columns.push(own);
            by_column.push(!part.weight.is_contiguous());
            stored.push(match part.weight.is_contiguous() {
                true => part.weight.clone(),
                false => part.weight.t()?,
            });
        }
        let weight = with_slices(&stored, &mut |values: &[&[f32]]| {
            let value = |row: usize, column: usize| {
                let mut column = column;
                for (part, values) in values.iter().enumerate() {
                    if column < columns[part] {
                        return match by_column[part] {
                            true => values[column * inner + row],
                            false => values[row * columns[part] + column],
                        };
                    }
                    column -= columns[part];
                }
                0.0
            };
            Ok(Packed::from_fn(inner, bias.len(), value))
        })?;
        Ok(Linear { weight, bias })
    }

    /// Rows of the bias in a buffer that is used again; products are added onto them.
    fn biases(&self, rows: usize) -> Vec<f32> {
        let mut out = scratch::take(rows * self.bias.len());
        (0..rows).for_each(|_| out.extend_from_slice(&self.bias));
        out
    }

    /// On one thread, into a buffer that is used again.
    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let mut out = self.biases(x.len() / self.weight.inner().max(1));
        self.weight.multiply_onto(x, &mut out);
        out
    }

    /// Some columns of a row's product.
    fn columns(&self, x: &[f32], columns: Range<usize>) -> Vec<f32> {
        let all = self.bias.len();
        let whole = columns.start / PANEL * PANEL..columns.end.next_multiple_of(PANEL).min(all);
        let mut out = self.bias[whole.clone()].to_vec();
        let width = out.len();
        (self.weight).multiply_columns_onto(x, whole.clone(), &mut out, width, 0);
        out.drain(..columns.start - whole.start);
        out.truncate(columns.len());
        out
    }

    /// On all threads, into memory that is kept.
    fn forward_in_parallel(&self, x: &[f32]) -> Vec<f32> {
        let mut out = self.bias.repeat(x.len() / self.weight.inner().max(1));
        self.weight.multiply_onto_in_parallel(x, &mut out);
        out
    }
}

/// A normalisation of rows.
struct Norm {
    kind: Normalisation,
    weight: Vec<f32>,
    /// Empty where nothing is added.
    bias: Vec<f32>,
    epsilon: f32,
}

impl Norm {
    fn of(norm: &families::Norm, architecture: &Architecture) -> Result<Norm> {
        let bias = norm.bias.as_ref().map(tensor_values).transpose()?;
        Ok(Norm {
            kind: architecture.normalisation,
            weight: tensor_values(&norm.weight)?,
            bias: bias.unwrap_or_default(),
            epsilon: architecture.epsilon as f32,
        })
    }

    fn forward(&self, x: &[f32], out: &mut [f32]) {
        match self.kind {
            Normalisation::LayerNorm => {
                layer_norm::forward(x, &self.weight, &self.bias, self.epsilon, out);
            }
            Normalisation::Rms => {
                layer_norm::root_mean_square(x, &self.weight, self.epsilon, out);
            }
        }
    }

    /// dx += the gradient at rows x from that at what they become.
    fn backward_onto(&self, x: &[f32], grad: &[f32], dx: &mut [f32]) {
        let (weight, epsilon) = (&self.weight, self.epsilon);
        match self.kind {
            Normalisation::LayerNorm => {
                // The gradients of weight and bias, which nobody asks for.
                let mut sums = vec![0f32; 2 * weight.len()];
                layer_norm::backward_onto(x, weight, grad, epsilon, dx, &mut sums);
            }
            Normalisation::Rms => {
                layer_norm::root_mean_square_backward_onto(x, weight, grad, epsilon, dx);
            }
        }
    }

    /// In place.
    fn apply(&self, rows: &mut [f32]) {
        let x = rows.to_vec();
        self.forward(&x, rows);
    }

    /// What a row is divided by: √(var + ε), or √(mean(x²) + ε).
    fn scale(&self, x: &[f32]) -> f32 {
        1.0 / match self.kind {
            Normalisation::LayerNorm => layer_norm::moments(x, self.epsilon).1,
            Normalisation::Rms => layer_norm::inverse_root_mean_square(x, self.epsilon),
        }
    }

    /// A row normalised by a given scale.
    fn by_scale(&self, x: &[f32], scale: f32, out: &mut [f32]) {
        let mean = match self.kind {
            Normalisation::LayerNorm => layer_norm::moments(x, self.epsilon).0,
            Normalisation::Rms => 0.0,
        };
        for ((o, x), w) in out.iter_mut().zip(x).zip(&self.weight) {
            *o = (x - mean) / scale * w;
        }
        out.iter_mut().zip(&self.bias).for_each(|(o, b)| *o += b);
    }
}

struct Block {
    heads: Heads,
    /// Which of the tables of turns its queries and keys go by.
    turns: Option<usize>,
    query_key_norms: Option<(Norm, Norm)>,
    activation: Activation,
    ln_1: Norm,
    /// To queries, keys and values side by side.
    c_attn: Linear,
    attn_proj: Linear,
    post_attention: Option<Norm>,
    ln_2: Norm,
    /// To the neurons; where they are gated, side by side with what they are multiplied with.
    c_fc: Linear,
    mlp_proj: Linear,
    post_mlp: Option<Norm>,
}

impl Block {
    /// Whether queries and keys are changed between projection and scores.
    fn turns_or_normalises(&self) -> bool {
        self.turns.is_some() || self.query_key_norms.is_some()
    }

    /// A row of the first projections, [pre] or [pre | up], to the neurons' activations.
    fn activate(&self, pre: &[f32], post: &mut [f32]) {
        let (pre, up) = pre.split_at(post.len());
        self.activation.forward(pre, post);
        post.iter_mut().zip(up).for_each(|(p, u)| *p *= u);
    }

    /// Rows of the first projections to rows of activations of `width`.
    fn activate_rows(&self, pre: &[f32], width: usize, post: &mut [f32]) {
        if pre.len() == post.len() {
            return self.activation.forward(pre, post);
        }
        let rows = pre
            .chunks_exact(2 * width)
            .zip(post.chunks_exact_mut(width));
        rows.for_each(|(pre, post)| self.activate(pre, post));
    }
}

/// A network laid out for wavefronts: its weights in panels for the processor's registers. A clone shares them.
#[derive(Clone)]
pub struct Wavefront {
    shape: Shape,
    /// Longest prompt of a single forward pass.
    longest: usize,
    blocks: Vec<Arc<Block>>,
    /// The different rotary embeddings of its blocks.
    rotaries: Vec<Rotary>,
    /// [vocab, d_model].
    embed: Tensor,
    embed_scale: f32,
    /// [positions, d_model]; empty where positions have no embedding.
    positions: Arc<Vec<f32>>,
    ln_final: Arc<Norm>,
    /// [vocab, d_model].
    head: Tensor,
    logit_cap: Option<f32>,
}

impl Wavefront {
    /// Lays out a model's weights; they are copied, the embeddings apart.
    ///
    /// # Errors
    /// The tensor library's.
    pub fn new(model: &LanguageModel) -> Result<Wavefront> {
        let (network, shape) = (model.network(), model.shape());
        let architecture = network.architecture();
        let mut rotaries: Vec<Rotary> = Vec::new();
        for rotary in architecture.attention.iter().flat_map(|a| &a.rotary) {
            if !rotaries.contains(rotary) {
                rotaries.push(rotary.clone());
            }
        }
        let blocks = (0..shape.layers).map(|layer| block(model, &rotaries, layer).map(Arc::new));
        let blocks = blocks.collect::<Result<_>>()?;
        let ends = network.ends();
        let positions = ends.positions.as_ref().map(tensor_values).transpose()?;
        Ok(Wavefront {
            shape,
            longest: architecture.longest,
            blocks,
            rotaries,
            embed: ends.embed.clone(),
            embed_scale: architecture.embed_scale,
            positions: Arc::new(positions.unwrap_or_default()),
            ln_final: Arc::new(Norm::of(&ends.ln_final, architecture)?),
            head: ends.head.clone(),
            logit_cap: architecture.logit_cap,
        })
    }

    /// The network of a model that differs from this one's in some blocks only; the others are shared.
    ///
    /// # Errors
    /// [`ModelError::Layer`]; the tensor library's.
    pub fn with_blocks_of(&self, model: &LanguageModel, layers: &[usize]) -> Result<Wavefront> {
        let mut other = self.clone();
        for &layer in layers {
            let place = other.blocks.get_mut(layer).ok_or(ModelError::Layer {
                layer,
                layers: self.shape.layers,
            })?;
            *place = Arc::new(block(model, &self.rotaries, layer)?);
        }
        Ok(other)
    }

    /// Operations a second of a bare product [rows × inner]·[inner × columns] on all threads, the faster
    /// of this crate's kernel and the matrix library's; the median of seven.
    pub fn product_rate(rows: usize, inner: usize, columns: usize) -> f64 {
        let filled = |n: usize| (0..n).map(|i| (i % 13) as f32 - 6.0).collect::<Vec<f32>>();
        let (a, b) = (filled(rows * inner), filled(inner * columns));
        let packed = Packed::of(&b, inner, columns);
        let mut out = vec![0f32; rows * columns];
        let threads = rayon::current_num_threads();
        let mut own = || packed.multiply_onto_in_parallel(&a, &mut out);
        let own = seconds(&mut own);
        let mut out = vec![0f32; rows * columns];
        let mut library = || {
            let share = rows.div_ceil(threads).max(1);
            let (view, wide) = (View::rows(inner), View::rows(columns));
            out.par_chunks_mut(share * columns)
                .zip(a.par_chunks(share * inner))
                .for_each(|(out, a)| {
                    let size = (a.len() / inner, inner, columns);
                    multiply(size, a, view, &b, wide, out, wide, (1.0, false));
                });
        };
        let library = seconds(&mut library);
        2.0 * (rows * inner * columns) as f64 / own.min(library)
    }

    /// The model's sizes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }
}

/// A block's weights, laid out.
fn block(model: &LanguageModel, rotaries: &[Rotary], layer: usize) -> Result<Block> {
    let (network, shape) = (model.network(), model.shape());
    let architecture = network.architecture();
    let missing = ModelError::Layer {
        layer,
        layers: shape.layers,
    };
    let weights = network.block(layer).ok_or(missing)?;
    let attention = &architecture.attention[layer];
    let norm = |norm: &families::Norm| Norm::of(norm, architecture);
    let maybe = |norm: &Option<families::Norm>| {
        let norm = norm.as_ref();
        norm.map(|norm| Norm::of(norm, architecture)).transpose()
    };
    let c_attn = match &weights.qkv {
        Qkv::Fused(linear) => Linear::beside(&[linear])?,
        Qkv::Separate([q, k, v]) => Linear::beside(&[q, k, v])?,
    };
    let fc: Vec<_> = std::iter::once(&weights.fc).chain(&weights.up).collect();
    let turns = attention.rotary.as_ref();
    Ok(Block {
        heads: Heads {
            count: shape.heads,
            group: shape.heads / shape.kv_heads,
            width: shape.d_head,
            scale: attention.scale,
            cap: architecture.score_cap,
            seen: AttentionWindow(attention.window),
        },
        turns: turns.and_then(|own| rotaries.iter().position(|r| r == own)),
        query_key_norms: match &weights.query_key_norms {
            Some((queries, keys)) => Some((norm(queries)?, norm(keys)?)),
            None => None,
        },
        activation: architecture.activation,
        ln_1: norm(&weights.ln_1)?,
        c_attn,
        attn_proj: Linear::beside(&[&weights.attn_proj])?,
        post_attention: maybe(&weights.post_attention)?,
        ln_2: norm(&weights.ln_2)?,
        c_fc: Linear::beside(&fc)?,
        mlp_proj: Linear::beside(&[&weights.mlp_proj])?,
        post_mlp: maybe(&weights.post_mlp)?,
    })
}

/// The median time of seven calls, after one that warms up.
fn seconds(f: &mut dyn FnMut()) -> f64 {
    f();
    let mut times: Vec<f64> = (0..7)
        .map(|_| {
            let start = std::time::Instant::now();
            f();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[3]
}
