//! `Architecture`: a description of a decoder-only transformer of any family. The forward pass and the wavefront read
//! nothing else about a model.

use std::sync::Arc;

use engram_core::Site;
use serde::{Deserialize, Serialize};

use crate::kernels::AttentionWindow;
use crate::kernels::activation::Activation;

/// The normalisation before attention, before the MLP and at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalisation {
    /// (x − mean) / √(var + ε) · weight + bias (Ba, Kiros & Hinton 2016).
    LayerNorm,
    /// x / √(mean(x²) + ε) · weight (Zhang & Sennrich 2019).
    Rms,
}

/// Rotary position embedding (Su et al. 2021). With n frequencies, dimensions i and i + n of each head are rotated by
/// the angle position · frequency i; the remaining dimensions are not rotated.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// Radians per position, one for each pair of dimensions; shared by the layers.
    pub frequencies: Arc<[f32]>,
    /// Factor on cosine and sine, hence its square on the scores; 1 except for YaRN and LongRoPE.
    pub scale: f32,
    /// Other frequencies for long prompts, if the model has them.
    pub longer: Option<LongPrompts>,
}

/// The frequencies of prompts above a length.
#[derive(Debug, Clone, PartialEq)]
pub struct LongPrompts {
    /// Prompts of up to this many tokens use [`Rotary::frequencies`].
    pub above: usize,
    /// The frequencies of longer prompts.
    pub frequencies: LongFrequencies,
}

/// The frequencies of a long prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum LongFrequencies {
    /// The same for all of them (LongRoPE, Ding et al. 2024).
    Fixed(Arc<[f32]>),
    /// From a base that grows with the length (dynamic NTK scaling, as in the transformers library).
    Dynamic {
        /// The base for shorter prompts.
        theta: f64,
        /// The factor by which the context may grow.
        factor: f64,
    },
}

/// θ^(−2i/width) for each pair of `width` dimensions, in float32 as in the transformers library.
pub(crate) fn frequencies(theta: f32, width: usize) -> impl Iterator<Item = f32> {
    (0..width / 2).map(move |i| 1.0 / theta.powf((2 * i) as f32 / width as f32))
}

/// Cosine and sine of the rotation angle of a pair of dimensions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rotation {
    pub cos: f32,
    pub sin: f32,
}

impl Rotary {
    /// A rotary embedding with the same frequencies for prompts of every length.
    pub fn of(frequencies: impl Into<Arc<[f32]>>) -> Rotary {
        Rotary {
            frequencies: frequencies.into(),
            scale: 1.0,
            longer: None,
        }
    }

    /// The rotary embedding for prompts of this length.
    pub(crate) fn of_prompt(&self, length: usize) -> Rotary {
        let frequencies = match &self.longer {
            Some(longer) if length > longer.above => match &longer.frequencies {
                LongFrequencies::Fixed(frequencies) => frequencies.clone(),
                LongFrequencies::Dynamic { theta, factor } => {
                    let width = 2 * self.frequencies.len();
                    let (factor, power) = (*factor as f32, width as f32 / (width as f32 - 2.0));
                    let stretched = factor * length as f32 / longer.above as f32 - (factor - 1.0);
                    frequencies(*theta as f32 * stretched.powf(power), width).collect()
                }
            },
            _ => self.frequencies.clone(),
        };
        Rotary {
            frequencies,
            scale: self.scale,
            longer: None,
        }
    }

    /// The rotations at a position, one for each of [`Rotary::frequencies`]. Angles are float32, as in the transformers
    /// library.
    pub(crate) fn at(&self, position: usize) -> impl Iterator<Item = Rotation> + '_ {
        self.frequencies.iter().map(move |frequency| {
            let angle = f64::from(position as f32 * frequency);
            Rotation {
                cos: angle.cos() as f32 * self.scale,
                sin: angle.sin() as f32 * self.scale,
            }
        })
    }
}

/// The settings of one block's attention.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerAttention {
    /// Factor on the scores.
    pub scale: f32,
    /// Sliding window: a query attends to this many positions, its own included. `None`: to all up to its own.
    pub window: Option<usize>,
    /// Rotary embedding of queries and keys, if any.
    pub rotary: Option<Rotary>,
}

/// Dropout probabilities in training.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DropoutRates {
    /// On the embeddings.
    pub embeddings: f64,
    /// On attention probabilities.
    pub attention: f64,
    /// On the outputs of attention and MLP.
    pub residual: f64,
}

/// A decoder-only transformer without its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// The family's name: `model_type` of a Hugging Face configuration.
    pub family: String,
    /// Number of token embeddings.
    pub vocab: usize,
    /// Maximum prompt length in sweeps, edits and scores of texts. Up to it the rotary frequencies do not depend on the
    /// length.
    pub context: usize,
    /// Maximum prompt length of a single forward pass; above `context` only if rotary frequencies depend on the length.
    pub longest: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Neurons of a block.
    pub d_mlp: usize,
    /// Query heads.
    pub heads: usize,
    /// Number of key-value heads. Each serves heads / kv_heads consecutive query heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Factor on the token embeddings.
    pub embed_scale: f32,
    /// Whether a learned position embedding is added to the token embedding.
    pub learned_positions: bool,
    /// The kind of the norms.
    pub normalisation: Normalisation,
    /// ε of all norms.
    pub epsilon: f64,
    /// Whether attention and MLP read the same residual stream and are both added to it (GPT-NeoX).
    pub parallel: bool,
    /// Whether the outputs of attention and MLP are normalised before they are added (Gemma 2 and 3).
    pub post_norms: bool,
    /// QK-norm: whether each head's queries and keys are normalised before rotation (Qwen 3, Gemma 3).
    pub query_key_norms: bool,
    /// Whether one projection computes queries, keys and values.
    pub fused_qkv: bool,
    /// The MLP's activation function.
    pub activation: Activation,
    /// Whether the MLP is gated: its activations are multiplied by a second projection (Shazeer 2020).
    pub gated: bool,
    /// Soft cap c of attention scores: c·tanh(score / c), before the mask.
    pub score_cap: Option<f32>,
    /// Soft cap c of logits: c·tanh(logit / c).
    pub logit_cap: Option<f32>,
    /// Dropout probabilities in training.
    pub dropout: DropoutRates,
    /// Attention settings of each block.
    pub attention: Vec<LayerAttention>,
}

impl Architecture {
    /// Limits `context` to lengths at which no layer's rotary frequencies depend on the prompt's length.
    pub(crate) fn bounded(mut self) -> Architecture {
        let rotaries = self.attention.iter().flat_map(|layer| &layer.rotary);
        for longer in rotaries.flat_map(|rotary| &rotary.longer) {
            if let LongFrequencies::Dynamic { factor, .. } = longer.frequencies {
                let stretched = longer.above as f64 * factor;
                self.longest = self.longest.max(stretched as usize);
            }
            self.context = self.context.min(longer.above);
        }
        self
    }

    /// Number of blocks.
    pub fn layers(&self) -> usize {
        self.attention.len()
    }

    /// Width of the queries of all heads.
    pub fn d_queries(&self) -> usize {
        self.heads * self.d_head
    }

    /// Width of the keys of all heads, and of their values.
    pub fn d_keys(&self) -> usize {
        self.kv_heads * self.d_head
    }

    /// Whether the model computes a value at this site.
    pub fn has(&self, site: Site) -> bool {
        match site {
            Site::PosEmbed => self.learned_positions,
            Site::ResidMid => !self.parallel,
            Site::CAttn => self.fused_qkv,
            Site::MlpUp => self.gated,
            Site::Embed | Site::ResidPre | Site::ResidPost | Site::AttnOut | Site::MlpOut => true,
            Site::Q | Site::K | Site::V | Site::Z | Site::Pattern | Site::HeadOut => true,
            Site::MlpPre | Site::MlpPost | Site::Ln1 | Site::Ln2 | Site::LnFinal => true,
            Site::Ln1Scale | Site::Ln2Scale | Site::LnFinalScale | Site::Logits => true,
        }
    }

    /// The model's sites, in the order of [`Site::ALL`].
    pub fn sites(&self) -> Vec<Site> {
        let all = Site::ALL.iter().copied();
        all.filter(|site| self.has(*site)).collect()
    }

    /// The sizes of the model.
    pub fn shape(&self, parameters: usize) -> Shape {
        Shape {
            layers: self.layers(),
            d_model: self.d_model,
            heads: self.heads,
            kv_heads: self.kv_heads,
            d_head: self.d_head,
            d_mlp: self.d_mlp,
            vocab: self.vocab,
            context: self.context,
            parallel: self.parallel,
            post_norms: self.post_norms,
            gated: self.gated,
            capped: self.logit_cap.is_some(),
            learned_positions: self.learned_positions,
            windows: self.attention.iter().map(|a| a.window).collect(),
            parameters,
        }
    }
}

/// The sizes of a model, and the properties that decide which values depend on which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Number of blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Number of attention heads.
    pub heads: usize,
    /// Number of key-value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Number of MLP neurons in a block.
    pub d_mlp: usize,
    /// Number of token embeddings.
    pub vocab: usize,
    /// Maximum prompt length.
    pub context: usize,
    /// Whether attention and MLP read the same residual stream.
    pub parallel: bool,
    /// Whether the outputs of attention and MLP are normalised before they are added.
    pub post_norms: bool,
    /// Whether the MLP is gated.
    pub gated: bool,
    /// Whether logits have a soft cap, and so are not linear in the output of the last norm.
    pub capped: bool,
    /// Whether a learned position embedding is added to the token embedding. Rotary embedding depends on distances
    /// between positions only.
    pub learned_positions: bool,
    /// For each block the sliding window: how many positions a query attends to, its own included. `None`: all up to
    /// its own.
    pub windows: Vec<Option<usize>>,
    /// Number of parameters.
    pub parameters: usize,
}

impl std::fmt::Display for Shape {
    /// The sizes in the form by which people tell models apart.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} layers, d_model {}, {} heads, {} tokens, {} parameters",
            self.layers, self.d_model, self.heads, self.vocab, self.parameters
        )
    }
}

impl Shape {
    /// In words, which query heads share a key-value head; `None` if each has its own.
    pub fn served(&self) -> Option<String> {
        let group = self.heads / self.kv_heads.max(1);
        if group <= 1 {
            return None;
        }
        let one = |h: usize| format!("{h} serves {} to {}", h * group, (h + 1) * group - 1);
        let all: Vec<String> = (0..self.kv_heads).map(one).collect();
        Some(format!(
            "heads of k and v are key-value heads: {}",
            all.join(", ")
        ))
    }

    /// The positions that a query of a block attends to.
    pub fn attended(&self, layer: usize, query: usize) -> std::ops::Range<usize> {
        AttentionWindow(self.windows.get(layer).copied().flatten()).by(query)
    }

    /// Width of the queries of all heads.
    pub fn d_queries(&self) -> usize {
        self.heads * self.d_head
    }

    /// Width of the keys of all heads, and of their values.
    pub fn d_keys(&self) -> usize {
        self.kv_heads * self.d_head
    }

    /// Width of the output of the MLP's first projections.
    pub fn d_hidden(&self) -> usize {
        match self.gated {
            true => 2 * self.d_mlp,
            false => self.d_mlp,
        }
    }
}
