//! What a decoder-only transformer is made of, whatever its family: the only description that the forward pass and
//! the wavefront read.

use std::sync::Arc;

use engram_core::Site;
use serde::{Deserialize, Serialize};

use crate::kernels::Seen;
use crate::kernels::activation::Activation;

/// How rows are normalised before attention, before the MLP and at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalisation {
    /// (x − mean) / √(var + ε) · weight + bias (Ba, Kiros & Hinton 2016).
    LayerNorm,
    /// x / √(mean(x²) + ε) · weight (Zhang & Sennrich 2019).
    Rms,
}

/// Rotary position embedding (Su et al. 2021) of the first dimensions of each head: dimension i and dimension
/// i + n, with n the number of frequencies, turn by position · frequency i.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// Radians a position, one for each pair of dimensions; the layers share them.
    pub frequencies: Arc<[f32]>,
    /// Factor on cosine and sine, and so its square on the scores; 1 but for YaRN and LongRoPE.
    pub scale: f32,
    /// Frequencies that depend on the prompt's length, where there are any.
    pub longer: Option<Longer>,
}

/// The frequencies of prompts beyond a length.
#[derive(Debug, Clone, PartialEq)]
pub struct Longer {
    /// Up to this many tokens a prompt has [`Rotary::frequencies`].
    pub than: usize,
    /// What a longer one has.
    pub frequencies: LongFrequencies,
}

/// The frequencies of a long prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum LongFrequencies {
    /// The same for every length (LongRoPE, Ding et al. 2024).
    Fixed(Arc<[f32]>),
    /// Of a base that grows with the length (dynamic NTK scaling, as the transformers library has it).
    Dynamic {
        /// The base of shorter prompts.
        theta: f64,
        /// By how much the context may grow.
        factor: f64,
    },
}

/// θ^(−2i/width) for each pair of `width` dimensions, in float32, as the transformers library has them.
pub(crate) fn frequencies(theta: f32, width: usize) -> impl Iterator<Item = f32> {
    (0..width / 2).map(move |i| 1.0 / theta.powf((2 * i) as f32 / width as f32))
}

/// Cosine and sine of the angle that a pair of dimensions turns by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Turn {
    pub cos: f32,
    pub sin: f32,
}

impl Rotary {
    /// Frequencies that are the same for prompts of every length.
    pub fn of(frequencies: impl Into<Arc<[f32]>>) -> Rotary {
        Rotary {
            frequencies: frequencies.into(),
            scale: 1.0,
            longer: None,
        }
    }

    /// The rotary embedding of a prompt of a length: frequencies that no longer depend on one.
    pub(crate) fn of_prompt(&self, length: usize) -> Rotary {
        let frequencies = match &self.longer {
            Some(longer) if length > longer.than => match &longer.frequencies {
                LongFrequencies::Fixed(frequencies) => frequencies.clone(),
                LongFrequencies::Dynamic { theta, factor } => {
                    let width = 2 * self.frequencies.len();
                    let (factor, power) = (*factor as f32, width as f32 / (width as f32 - 2.0));
                    let stretched = factor * length as f32 / longer.than as f32 - (factor - 1.0);
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

    /// The turns at a position, one for each of [`Rotary::frequencies`]; angles in float32, as the transformers
    /// library has them.
    pub(crate) fn at(&self, position: usize) -> impl Iterator<Item = Turn> + '_ {
        self.frequencies.iter().map(move |frequency| {
            let angle = f64::from(position as f32 * frequency);
            Turn {
                cos: angle.cos() as f32 * self.scale,
                sin: angle.sin() as f32 * self.scale,
            }
        })
    }
}

/// What differs between the attention of one block and another.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerAttention {
    /// Factor on the scores.
    pub scale: f32,
    /// A query sees this many positions, its own the last of them; all before it where `None`.
    pub window: Option<usize>,
    /// How queries and keys are turned.
    pub rotary: Option<Rotary>,
}

/// Dropout probabilities in training.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DropoutRates {
    /// On the embeddings.
    pub embeddings: f64,
    /// On attention probabilities.
    pub attention: f64,
    /// On what attention and MLP add.
    pub residual: f64,
}

/// A decoder-only transformer without its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// The family's name, as `model_type` of a Hugging Face configuration has it.
    pub family: String,
    /// Number of embeddings.
    pub vocab: usize,
    /// Longest prompt of a sweep, an edit, a text: rotary frequencies are the same for every length up to it.
    pub context: usize,
    /// Longest prompt of a single forward pass; above `context` only where rotary frequencies depend on the length.
    pub longest: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Neurons of a block.
    pub d_mlp: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads, each of which serves heads / kv_heads query heads in a row.
    pub kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Factor on the token embeddings.
    pub embed_scale: f32,
    /// Whether a learned embedding of each position is added to that of its token.
    pub learned_positions: bool,
    /// How rows are normalised.
    pub normalisation: Normalisation,
    /// ε of every normalisation.
    pub epsilon: f64,
    /// Whether the MLP reads what attention reads, and both are added to it (GPT-NeoX).
    pub parallel: bool,
    /// Whether attention's and the MLP's outputs are normalised before they are added (Gemma 2).
    pub post_norms: bool,
    /// Whether each head's queries and keys are normalised before they are turned (Qwen 3, Gemma 3).
    pub query_key_norms: bool,
    /// Whether one projection makes queries, keys and values.
    pub fused_qkv: bool,
    /// The MLP's activation function.
    pub activation: Activation,
    /// Whether the activated neurons are multiplied with a second projection (Shazeer 2020).
    pub gated: bool,
    /// c in c·tanh(score / c), before the mask.
    pub score_cap: Option<f32>,
    /// c in c·tanh(logit / c).
    pub logit_cap: Option<f32>,
    /// Dropout probabilities in training.
    pub dropout: DropoutRates,
    /// One for each block.
    pub attention: Vec<LayerAttention>,
}

impl Architecture {
    /// With the context within which no layer's rotary frequencies depend on the prompt's length.
    pub(crate) fn bounded(mut self) -> Architecture {
        let rotaries = self.attention.iter().flat_map(|layer| &layer.rotary);
        for longer in rotaries.flat_map(|rotary| &rotary.longer) {
            if let LongFrequencies::Dynamic { factor, .. } = longer.frequencies {
                let stretched = longer.than as f64 * factor;
                self.longest = self.longest.max(stretched as usize);
            }
            self.context = self.context.min(longer.than);
        }
        self
    }

    /// Number of blocks.
    pub fn layers(&self) -> usize {
        self.attention.len()
    }

    /// Width of all heads' queries together.
    pub fn d_queries(&self) -> usize {
        self.heads * self.d_head
    }

    /// Width of all heads' keys together, and of their values.
    pub fn d_keys(&self) -> usize {
        self.kv_heads * self.d_head
    }

    /// Whether the value at a site is ever made.
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

    /// The sites, in the order of [`Site::ALL`].
    pub fn sites(&self) -> Vec<Site> {
        let all = Site::ALL.iter().copied();
        all.filter(|site| self.has(*site)).collect()
    }

    /// The sizes.
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

/// The sizes of a model, and what of its layout decides which values depend on which.
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
    /// Number of embeddings.
    pub vocab: usize,
    /// Longest prompt.
    pub context: usize,
    /// Whether attention and MLP read the same residual stream.
    pub parallel: bool,
    /// Whether attention's and the MLP's outputs are normalised before they are added.
    pub post_norms: bool,
    /// Whether the MLP has a second projection that its neurons are multiplied with.
    pub gated: bool,
    /// Whether logits are capped, and so no linear image of the last normalisation.
    pub capped: bool,
    /// Whether a learned embedding of each position is added to that of its token. Rotary embeddings depend on
    /// distances between positions only.
    pub learned_positions: bool,
    /// By block, how many positions a query attends to, its own the last of them; all before it where `None`.
    pub windows: Vec<Option<usize>>,
    /// Number of parameters.
    pub parameters: usize,
}

impl std::fmt::Display for Shape {
    /// The sizes, as a person tells models apart.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} layers, d_model {}, {} heads, {} tokens, {} parameters",
            self.layers, self.d_model, self.heads, self.vocab, self.parameters
        )
    }
}

impl Shape {
    /// Which query heads each key-value head serves, in words; `None` where each has its own.
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
        Seen(self.windows.get(layer).copied().flatten()).by(query)
    }

    /// Width of all heads' queries together.
    pub fn d_queries(&self) -> usize {
        self.heads * self.d_head
    }

    /// Width of all heads' keys together, and of their values.
    pub fn d_keys(&self) -> usize {
        self.kv_heads * self.d_head
    }

    /// Width of what the MLP's first projections make.
    pub fn d_hidden(&self) -> usize {
        match self.gated {
            true => 2 * self.d_mlp,
            false => self.d_mlp,
        }
    }
}
