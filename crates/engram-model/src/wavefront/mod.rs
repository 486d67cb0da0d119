//! Many patched runs as one pass through the network.
//!
//! A *world* is a base run into which some activations are written. It equals the base run up to its
//! first write, so it branches off there: the rows that the write changes join a batch of all worlds
//! alive, and each block runs once for that batch. What a world did not change it reads from the base
//! run's cache: keys and values of earlier positions, rows between a write and the next attention. In
//! the last block only the rows that are read are computed.
//!
//! `geometry.rs` says, without a tensor, which rows each stage of each block computes for a world; cost
//! ([`world_flops`]) and execution both follow it.

mod band;
mod base;
mod cost;
pub(crate) mod geometry;
mod readout;
mod world;
mod write;

use candle_core::Tensor;
use rayon::prelude::*;

use crate::error::Result;
use crate::kernels::activation::Activation;
use crate::kernels::matrix::{View, multiply};
use crate::kernels::packed::Packed;
use crate::kernels::suffix_attention::Heads;
use crate::kernels::{layer_norm, scratch, tensor_values};
use crate::model::{Model, Shape};

pub use base::{Caches, NotFinite, Run};
pub use cost::{cache_bytes, run_flops, task_bytes, world_bytes, world_flops};
pub use readout::Vocabulary;
pub use world::World;
pub use write::{Value, Write};

/// x·weight + bias.
struct Linear {
    weight: Packed,
    bias: Vec<f32>,
}

impl Linear {
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

    /// On all threads, into memory that is kept.
    fn forward_in_parallel(&self, x: &[f32]) -> Vec<f32> {
        let mut out = self.bias.repeat(x.len() / self.weight.inner().max(1));
        self.weight.multiply_onto_in_parallel(x, &mut out);
        out
    }
}

struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl Norm {
    fn forward(&self, x: &[f32], out: &mut [f32]) {
        layer_norm::forward(x, &self.weight, &self.bias, self.epsilon, out);
    }

    /// √(var + ε) of a row.
    fn scale(&self, x: &[f32]) -> f32 {
        1.0 / layer_norm::moments(x, self.epsilon).1
    }

    /// A row normalised by a given scale.
    fn by_scale(&self, x: &[f32], scale: f32, out: &mut [f32]) {
        let (mean, _) = layer_norm::moments(x, self.epsilon);
        let parameters = self.weight.iter().zip(&self.bias);
        for ((o, x), (w, b)) in out.iter_mut().zip(x).zip(parameters) {
            *o = (x - mean) / scale * w + b;
        }
    }
}

struct Block {
    heads: Heads,
    activation: Activation,
    ln_1: Norm,
    c_attn: Linear,
    attn_proj: Linear,
    ln_2: Norm,
    c_fc: Linear,
    mlp_proj: Linear,
}

/// A GPT-2 laid out for wavefronts: its weights in panels for the processor's registers.
pub struct Wavefront {
    shape: Shape,
    blocks: Vec<Block>,
    /// [vocab, d_model].
    wte: Tensor,
    /// [positions, d_model].
    wpe: Vec<f32>,
    ln_f: Norm,
    /// [vocab, d_model].
    head: Tensor,
}

impl Wavefront {
    /// Lays out a model's weights; they are copied, the embeddings apart.
    ///
    /// # Errors
    /// [`crate::ModelError::MissingTensor`], or the tensor library's.
    pub fn new(model: &Model) -> Result<Wavefront> {
        let (config, shape) = (model.config(), model.shape());
        let parameter = |name: &str| model.parameter(name);
        let values = |name: &str| -> Result<Vec<f32>> { Ok(tensor_values(&parameter(name)?)?) };
        let norm = |name: &str| -> Result<Norm> {
            Ok(Norm {
                weight: values(&format!("{name}.weight"))?,
                bias: values(&format!("{name}.bias"))?,
                epsilon: config.layer_norm_epsilon as f32,
            })
        };
        let linear = |name: &str, inner, columns| -> Result<Linear> {
            Ok(Linear {
                weight: Packed::of(&values(&format!("{name}.weight"))?, inner, columns),
                bias: values(&format!("{name}.bias"))?,
            })
        };
        let (d, m) = (shape.d_model, shape.d_mlp);
        let blocks = (0..shape.layers).map(|layer| {
            let name = |part: &str| format!("h.{layer}.{part}");
            Ok(Block {
                heads: Heads {
                    count: shape.heads,
                    width: shape.d_head,
                    scale: config.attention_scale(layer),
                },
                activation: Activation::of(config),
                ln_1: norm(&name("ln_1"))?,
                c_attn: linear(&name("attn.c_attn"), d, 3 * d)?,
                attn_proj: linear(&name("attn.c_proj"), d, d)?,
                ln_2: norm(&name("ln_2"))?,
                c_fc: linear(&name("mlp.c_fc"), d, m)?,
                mlp_proj: linear(&name("mlp.c_proj"), m, d)?,
            })
        });
        let wte = parameter("wte.weight")?;
        let head = match config.tie_word_embeddings {
            true => wte.clone(),
            false => parameter("lm_head.weight")?,
        };
        Ok(Wavefront {
            shape,
            blocks: blocks.collect::<Result<_>>()?,
            wpe: values("wpe.weight")?,
            ln_f: norm("ln_f")?,
            wte,
            head,
        })
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
