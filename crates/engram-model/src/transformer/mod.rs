//! The forward pass of a decoder-only transformer: embeddings, blocks (`block.rs`), last norm and unembedding. Each
//! value that can be read or replaced passes through `see` under its site.

mod block;
mod layers;

use std::sync::Arc;

use candle_core::{Device, Tensor};
use engram_core::{NamedSite, Site};

use self::block::Block;
use self::layers::{Normalise, capped};
use crate::architecture::Architecture;
use crate::error::{ModelError, Result};
use crate::families::{BlockWeights, EndWeights, Family, Source};
use crate::kernels::{Dropout, dropout, product};
use crate::tap::{NoTap, Tap};

/// Passes a value through the tap if the tap wants it.
fn see(tap: &mut dyn Tap, site: Site, layer: Option<usize>, value: Tensor) -> Result<Tensor> {
    if !tap.wants(site, layer) {
        return Ok(value);
    }
    let expected = value.dims().to_vec();
    let seen = tap.at(site, layer, value)?;
    if seen.dims() != expected {
        return Err(ModelError::SiteShape {
            site: NamedSite::canonical(site, layer).name,
            expected,
            found: seen.dims().to_vec(),
        });
    }
    Ok(seen)
}

/// The result of a fused kernel whose intermediate values a tap has replaced: plain + (after − before), where `before`
/// and `after` are computed from the original and the replaced intermediate values. Rows that the tap leaves unchanged
/// keep their bits, whatever else it reads or replaces.
fn changed(plain: &Tensor, before: &Tensor, after: &Tensor) -> Result<Tensor> {
    Ok((plain + (after - before)?)?)
}

/// Settings of a forward pass in training.
#[derive(Debug, Clone, Copy, Default)]
pub struct TrainingPass<'a> {
    /// Seed of the dropout masks; `None` turns dropout off.
    pub seed: Option<u64>,
    /// For each sequence, the number of positions that are attended to, from the first on; the rest is padding. Only
    /// with the fused attention of GPT-2, the only family that engram trains.
    pub attended: Option<&'a [usize]>,
}

/// A decoder-only transformer with its weights.
#[derive(Debug, Clone)]
pub struct Transformer {
    architecture: Arc<Architecture>,
    blocks: Vec<Block>,
    ends: EndWeights,
}

impl Transformer {
    /// Builds a network from a source of parameters, named as in [`Family::parameters`].
    ///
    /// # Errors
    /// Those of `source`.
    pub fn new(family: &dyn Family, source: &mut Source<'_>) -> Result<Transformer> {
        let architecture = Arc::new(family.architecture());
        let block = |layer| {
            Ok(Block {
                layer,
                architecture: architecture.clone(),
                weights: family.block(layer, source)?,
            })
        };
        Ok(Transformer {
            blocks: (0..architecture.layers())
                .map(block)
                .collect::<Result<_>>()?,
            ends: family.ends(source)?,
            architecture,
        })
    }

    /// The description of the network.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The weights of a block.
    pub fn block(&self, layer: usize) -> Option<&BlockWeights> {
        self.blocks.get(layer).map(|block| &block.weights)
    }

    /// The weights outside the blocks.
    pub fn ends(&self) -> &EndWeights {
        &self.ends
    }

    /// The device that the weights are on.
    pub fn device(&self) -> &Device {
        self.ends.embed.device()
    }

    /// Logits of a batch of prompts of equal length: token ids to [batch, pos, vocab]. Each site's value passes through
    /// `tap`.
    ///
    /// # Errors
    /// [`ModelError::Batch`] for prompts of unequal length or without a token; [`ModelError::Context`] for prompts
    /// longer than the context; [`ModelError::TokenId`] for an id outside the vocabulary; any error of the tap.
    pub fn forward(
        &self,
        ids: &[Vec<u32>],
        tap: &mut dyn Tap,
        training: TrainingPass<'_>,
    ) -> Result<Tensor> {
        let x = self.through_blocks(ids, tap, training)?;
        self.unembed(&x, tap)
    }

    /// Logits from position `from` on: [batch, pos − from, vocab]. Earlier positions are not unembedded, unless the tap
    /// wants a site after the last block, which it gets whole.
    ///
    /// # Errors
    /// As [`Transformer::forward`]; also if `from` is beyond the last position.
    pub fn forward_from(&self, ids: &[Vec<u32>], from: usize, tap: &mut dyn Tap) -> Result<Tensor> {
        let x = self.through_blocks(ids, tap, TrainingPass::default())?;
        let positions = x.dim(1)?;
        let tail = |x: &Tensor| {
            x.narrow(1, from, positions.saturating_sub(from))?
                .contiguous()
        };
        let seen = [Site::LnFinalScale, Site::LnFinal, Site::Logits];
        if !seen.into_iter().any(|site| tap.wants(site, None)) {
            return self.unembed(&tail(&x)?, tap);
        }
        let normal = self.last_norm(&x, tap)?;
        let logits = self.head(&tail(&normal)?)?;
        if !tap.wants(Site::Logits, None) {
            return Ok(logits);
        }
        let whole = self.head(&normal)?;
        let seen = see(tap, Site::Logits, None, whole.clone())?;
        if seen.id() == whole.id() {
            return Ok(logits);
        }
        changed(&logits, &tail(&whole)?, &tail(&seen)?)
    }

    /// The residual stream after the last block, [batch, pos, d_model]: a run without unembedding.
    ///
    /// # Errors
    /// As [`Transformer::forward`].
    pub fn residual(&self, ids: &[Vec<u32>], tap: &mut dyn Tap) -> Result<Tensor> {
        self.through_blocks(ids, tap, TrainingPass::default())
    }

    /// Logits of rows of the residual stream after the last block: [rows, d_model] to [rows, vocab].
    ///
    /// # Errors
    /// Those of the tensor library.
    pub fn logits_of(&self, rows: &Tensor) -> Result<Tensor> {
        let logits = self.unembed(&rows.unsqueeze(0)?, &mut NoTap)?;
        Ok(logits.squeeze(0)?)
    }

    /// What a site that reads the residual stream computes from given rows of it, [rows, d_model]: `ln_1`, `ln_2` and
    /// `ln_final` give [rows, d_model], `q`, `k` and `v` the values of all heads side by side. `None` for other sites and
    /// layers that there are not.
    ///
    /// # Errors
    /// Those of the tensor library.
    pub fn reading(
        &self,
        (site, layer): (Site, Option<usize>),
        stream: &Tensor,
    ) -> Result<Option<Tensor>> {
        let stream = stream.unsqueeze(0)?;
        let read = match (site, layer) {
            (Site::LnFinal, _) => Some(self.last_norm(&stream, &mut NoTap)?),
            (_, Some(layer)) => match self.blocks.get(layer) {
                Some(block) => block.reading(site, &stream)?,
                None => None,
            },
            (_, None) => None,
        };
        Ok(read.map(|read| read.squeeze(0)).transpose()?)
    }

    /// The residual stream after the last block: [batch, pos, d_model].
    fn through_blocks(
        &self,
        ids: &[Vec<u32>],
        tap: &mut dyn Tap,
        training: TrainingPass<'_>,
    ) -> Result<Tensor> {
        let mut x = self.embed(ids, tap, training.seed)?;
        for block in &self.blocks {
            x = block.forward(x, tap, training)?;
        }
        Ok(x)
    }

    /// Token embeddings plus position embeddings, if learned: [batch, pos, d_model].
    fn embed(&self, ids: &[Vec<u32>], tap: &mut dyn Tap, seed: Option<u64>) -> Result<Tensor> {
        let (batch, positions) = self.check(ids)?;
        let d = self.architecture.d_model;
        let flat: Vec<u32> = ids.iter().flatten().copied().collect();
        let flat = Tensor::from_vec(flat, batch * positions, self.device())?;
        let mut tokens = (self.ends.embed)
            .index_select(&flat, 0)?
            .reshape((batch, positions, d))?;
        if self.architecture.embed_scale != 1.0 {
            tokens = (tokens * f64::from(self.architecture.embed_scale))?;
        }
        let tokens = see(tap, Site::Embed, None, tokens)?;
        let x = match &self.ends.positions {
            None => tokens,
            Some(of_all) => {
                let places = of_all.narrow(0, 0, positions)?.unsqueeze(0)?;
                if tap.wants(Site::PosEmbed, None) {
                    let places = places.broadcast_as((batch, positions, d))?.contiguous()?;
                    (tokens + see(tap, Site::PosEmbed, None, places)?)?
                } else {
                    tokens.broadcast_add(&places)?
                }
            }
        };
        let rate = self.architecture.dropout.embeddings;
        Ok(dropout(&x, Dropout::new(rate, seed, 0))?)
    }

    /// Last norm and unembedding: [batch, pos, vocab].
    fn unembed(&self, x: &Tensor, tap: &mut dyn Tap) -> Result<Tensor> {
        let logits = self.head(&self.last_norm(x, tap)?)?;
        see(tap, Site::Logits, None, logits)
    }

    /// Last norm: [batch, pos, d_model].
    fn last_norm(&self, x: &Tensor, tap: &mut dyn Tap) -> Result<Tensor> {
        let normalise = Normalise {
            kind: self.architecture.normalisation,
            epsilon: self.architecture.epsilon,
        };
        let sites = (Site::LnFinalScale, Site::LnFinal);
        normalise.forward(x, &self.ends.ln_final, sites, None, tap)
    }

    /// Normalised rows to logits: [batch, pos, vocab].
    fn head(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, positions, d) = x.dims3()?;
        let logits = product(&x.reshape((batch * positions, d))?, &self.ends.head.t()?)?;
        let logits = capped(logits, self.architecture.logit_cap)?;
        Ok(logits.reshape((batch, positions, self.architecture.vocab))?)
    }

    fn check(&self, ids: &[Vec<u32>]) -> Result<(usize, usize)> {
        let positions = ids.first().map_or(0, Vec::len);
        if positions == 0 || ids.iter().any(|row| row.len() != positions) {
            return Err(ModelError::Batch {
                lengths: ids.iter().map(Vec::len).collect(),
            });
        }
        let context = self.architecture.longest;
        if positions > context {
            return Err(ModelError::Context {
                length: positions,
                context,
            });
        }
        let vocab = self.architecture.vocab;
        match ids.iter().flatten().find(|id| **id as usize >= vocab) {
            Some(&id) => Err(ModelError::TokenId { id, vocab }),
            None => Ok((ids.len(), positions)),
        }
    }
}
