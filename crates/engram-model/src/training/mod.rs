//! Training's forward and backward pass: losses and the gradient of every parameter, written by hand.
//!
//! It computes the same as [`crate::Transformer::forward`] with the tensor library's automatic differentiation, with
//! the same kernels; tests compare the two. It is several times faster: sequences of any lengths are concatenated
//! without padding, nothing is copied or zeroed between operations, the table of logits is never held as a whole, and
//! each thread processes its own sequences without waiting for others.

mod block;
mod flat;
mod layer;

pub use flat::Flat;

use std::ops::Range;

use crate::error::{ModelError, Result};
use crate::families::Gpt2Config;
use crate::kernels::Dropout;
use crate::kernels::cross_entropy::{gradient, log_sum_exp};
use crate::kernels::matrix::{Products, View};
use crate::model::LanguageModel;

use block::{BlockAt, Saved, Scratch};
use layer::NormAt;

/// Rows that go through the network together: enough for the full speed of matrix products, few enough that a layer's
/// activations stay in the cache.
const ROWS: usize = 1024;
/// Rows whose logits are held at a time.
const LOGIT_ROWS: usize = 128;

/// A sequence for training or evaluation: every token but the first is predicted.
#[derive(Debug, Clone, Copy)]
pub struct Sequence<'a> {
    /// At least two ids.
    pub ids: &'a [u32],
    /// Number of ids that are attended to, from the first on, at least one; the rest is masked padding.
    pub attended: usize,
    /// Seed of the dropout masks; `None` turns dropout off.
    pub seed: Option<u64>,
}

impl<'a> Sequence<'a> {
    /// A sequence without padding or dropout.
    pub fn new(ids: &'a [u32]) -> Sequence<'a> {
        Sequence {
            ids,
            attended: ids.len(),
            seed: None,
        }
    }
}

/// A sequence's rows in the workspace, how many of them are attended to, and the seed of its masks.
struct Span {
    rows: Range<usize>,
    keys: usize,
    seed: Option<u64>,
}

/// One thread's pass over a GPT-2: offsets of the parameters, and working memory.
pub struct Pass {
    config: Gpt2Config,
    wte: Range<usize>,
    wpe: Range<usize>,
    blocks: Vec<BlockAt>,
    ln_f: NormAt,
    head: Range<usize>,
    products: Products,
    total: usize,
    /// The residual stream before each block and after the last.
    streams: Vec<Vec<f32>>,
    saved: Vec<Saved>,
    scratch: Scratch,
    normal: Vec<f32>,
    logits: Vec<f32>,
}

impl Pass {
    /// A pass for a model; `dropout` replaces all three dropout probabilities of its configuration.
    ///
    /// # Errors
    /// [`ModelError::OnlyGpt2`] for another family; [`ModelError::NoParameter`] if the configuration contradicts
    /// itself.
    pub fn new(model: &LanguageModel, dropout: Option<f64>) -> Result<Pass> {
        let mut config = model.gpt2("training")?.clone();
        if let Some(probability) = dropout {
            config.embd_pdrop = probability;
            config.attn_pdrop = probability;
            config.resid_pdrop = probability;
        }
        let flat = Flat::zeros(&config);
        let layers = 0..config.n_layer;
        let blocks = layers.map(|layer| BlockAt::find(&flat, &config, layer));
        let wte = flat.range("wte.weight")?;
        let head = if config.tie_word_embeddings {
            wte.clone()
        } else {
            flat.range("lm_head.weight")?
        };
        Ok(Pass {
            blocks: blocks.collect::<Result<_>>()?,
            wpe: flat.range("wpe.weight")?,
            ln_f: NormAt::find(&flat, "ln_f", &config)?,
            wte,
            head,
            products: Products::Float32,
            total: flat.values().len(),
            streams: vec![Vec::new(); config.n_layer + 1],
            saved: (0..config.n_layer).map(|_| Saved::default()).collect(),
            scratch: Scratch::default(),
            normal: Vec::new(),
            logits: Vec::new(),
            config,
        })
    }

    /// The same pass with another number format of products with weights.
    pub fn with_products(mut self, products: Products) -> Pass {
        self.products = products;
        self.blocks
            .iter_mut()
            .for_each(|block| block.set_products(products));
        self
    }

    /// Working memory of a pass, in bytes, for sequences of at most `length` tokens.
    pub fn workspace_bytes(model: &LanguageModel, length: usize) -> u64 {
        let shape = model.shape();
        let (d, d_mlp) = (shape.d_model, shape.d_mlp);
        let rows = ROWS.max(length);
        let of_layer = 8 * d + 2 * d_mlp;
        let once = 5 * d + (3 * d).max(d_mlp);
        let tables = 3 * length * length + LOGIT_ROWS * shape.vocab;
        4 * (rows * (shape.layers * of_layer + once) + tables) as u64
    }

    /// The loss −ln p (nats) of every token but the first of each sequence, sequence after sequence.
    ///
    /// # Errors
    /// [`ModelError::Batch`] for a sequence of fewer than two ids; [`ModelError::Context`] for one beyond the context;
    /// [`ModelError::TokenId`] for an id outside the vocabulary; [`ModelError::FlatLength`] for weights of another
    /// model.
    pub fn losses(&mut self, weights: &Flat, sequences: &[Sequence]) -> Result<Vec<f32>> {
        self.check(weights, sequences)?;
        let mut losses = Vec::new();
        for group in groups(sequences) {
            let (spans, targets) = self.forward(weights.values(), group);
            let rows = spans.last().map_or(0, |s| s.rows.end);
            self.head(weights.values(), rows, &targets, None, &mut losses);
        }
        Ok(losses)
    }

    /// As [`Pass::losses`]; also adds the gradient of `factor`·Σ losses to `gradients`.
    ///
    /// # Errors
    /// As [`Pass::losses`].
    pub fn gradients(
        &mut self,
        weights: &Flat,
        sequences: &[Sequence],
        factor: f32,
        gradients: &mut Flat,
    ) -> Result<Vec<f32>> {
        self.check(weights, sequences)?;
        self.check(gradients, &[])?;
        let (weights, gradients) = (weights.values(), gradients.values_mut());
        let mut losses = Vec::new();
        for group in groups(sequences) {
            let (spans, targets) = self.forward(weights, group);
            let rows = spans.last().map_or(0, |s| s.rows.end);
            let backward = Some((factor, &mut *gradients));
            self.head(weights, rows, &targets, backward, &mut losses);
            for layer in (0..self.blocks.len()).rev() {
                self.blocks[layer].backward(
                    weights,
                    &spans,
                    &self.streams[layer],
                    &self.saved[layer],
                    &mut self.scratch,
                    gradients,
                );
            }
            self.embedding_gradient(group, &spans, gradients);
        }
        Ok(losses)
    }

    /// Embeds the group and runs the blocks. Returns the sequences' rows and the target of each row.
    fn forward(&mut self, weights: &[f32], group: &[Sequence]) -> (Vec<Span>, Vec<u32>) {
        let d = self.config.n_embd;
        let mut spans = Vec::with_capacity(group.len());
        let mut targets = Vec::new();
        let mut end = 0;
        for sequence in group {
            let start = end;
            end += sequence.ids.len() - 1;
            targets.extend_from_slice(&sequence.ids[1..]);
            spans.push(Span {
                rows: start..end,
                keys: sequence.attended.min(end - start),
                seed: sequence.seed,
            });
        }
        let (wte, wpe) = (&weights[self.wte.clone()], &weights[self.wpe.clone()]);
        let stream = fit(&mut self.streams[0], end * d);
        for (sequence, span) in group.iter().zip(&spans) {
            let rows = &mut stream[span.rows.start * d..span.rows.end * d];
            for ((row, &id), place) in rows
                .chunks_exact_mut(d)
                .zip(sequence.ids)
                .zip(wpe.chunks_exact(d))
            {
                let token = &wte[id as usize * d..][..d];
                for ((x, t), p) in row.iter_mut().zip(token).zip(place) {
                    *x = t + p;
                }
            }
            block::drop_in_place(rows, Dropout::new(self.config.embd_pdrop, span.seed, 0));
        }
        for layer in 0..self.blocks.len() {
            let (before, after) = self.streams.split_at_mut(layer + 1);
            self.blocks[layer].forward(
                weights,
                &spans,
                &before[layer][..end * d],
                &mut self.saved[layer],
                &mut self.scratch,
                fit(&mut after[0], end * d),
            );
        }
        (spans, targets)
    }

    /// Last LayerNorm, logits and losses. With `backward`, also the gradient of factor·Σ loss for the unembedding, the
    /// LayerNorm and the last residual stream (left in the scratch).
    fn head(
        &mut self,
        weights: &[f32],
        rows: usize,
        targets: &[u32],
        mut backward: Option<(f32, &mut [f32])>,
        losses: &mut Vec<f32>,
    ) {
        let (d, vocab) = (self.config.n_embd, self.config.vocab_size);
        let head = &weights[self.head.clone()];
        let stream = &self.streams[self.blocks.len()][..rows * d];
        let normal = fit(&mut self.normal, rows * d);
        self.ln_f.forward(weights, stream, normal);
        let d_normal = fit(&mut self.scratch.narrow, rows * d);
        for first in (0..rows).step_by(LOGIT_ROWS) {
            let chunk = first..(first + LOGIT_ROWS).min(rows);
            let n = chunk.len();
            let x = &normal[chunk.start * d..chunk.end * d];
            let logits = fit(&mut self.logits, n * vocab);
            let by_token = View::rows(vocab);
            self.products.multiply(
                (n, d, vocab),
                x,
                View::rows(d),
                head,
                View::rows(d).t(),
                logits,
                by_token,
                (1.0, false),
            );
            for (row, &target) in logits.chunks_exact_mut(vocab).zip(&targets[chunk.clone()]) {
                let (max, sum) = log_sum_exp(row);
                losses.push(max + sum.ln() - row[target as usize]);
                if let Some((factor, _)) = backward {
                    gradient(row, max, factor / sum);
                    row[target as usize] -= factor;
                }
            }
            if let Some((_, grads)) = &mut backward {
                let dx = &mut d_normal[chunk.start * d..chunk.end * d];
                self.products.multiply(
                    (n, vocab, d),
                    logits,
                    by_token,
                    head,
                    View::rows(d),
                    dx,
                    View::rows(d),
                    (1.0, false),
                );
                self.products.multiply(
                    (vocab, n, d),
                    logits,
                    by_token.t(),
                    x,
                    View::rows(d),
                    &mut grads[self.head.clone()],
                    View::rows(d),
                    (1.0, true),
                );
            }
        }
        if let Some((_, grads)) = backward {
            let dx = fit(&mut self.scratch.stream, rows * d);
            dx.fill(0.0);
            self.ln_f.backward(weights, stream, d_normal, grads, dx);
        }
    }

    fn embedding_gradient(&mut self, group: &[Sequence], spans: &[Span], grads: &mut [f32]) {
        let d = self.config.n_embd;
        for (sequence, span) in group.iter().zip(spans) {
            let rows = &mut self.scratch.stream[span.rows.start * d..span.rows.end * d];
            block::drop_in_place(rows, Dropout::new(self.config.embd_pdrop, span.seed, 0));
            for (place, (row, &id)) in rows.chunks_exact(d).zip(sequence.ids).enumerate() {
                for start in [self.wte.start + id as usize * d, self.wpe.start + place * d] {
                    for (g, x) in grads[start..start + d].iter_mut().zip(row) {
                        *g += x;
                    }
                }
            }
        }
    }

    fn check(&self, flat: &Flat, sequences: &[Sequence]) -> Result<()> {
        if flat.values().len() != self.total {
            return Err(ModelError::FlatLength {
                expected: self.total,
                found: flat.values().len(),
            });
        }
        let (context, vocab) = (self.config.n_positions, self.config.vocab_size);
        for Sequence { ids, attended, .. } in sequences {
            if ids.len() < 2 || *attended == 0 {
                return Err(ModelError::Batch {
                    lengths: vec![ids.len()],
                });
            }
            if ids.len() - 1 > context {
                return Err(ModelError::Context {
                    length: ids.len() - 1,
                    context,
                });
            }
            if let Some(&id) = ids.iter().find(|id| **id as usize >= vocab) {
                return Err(ModelError::TokenId { id, vocab });
            }
        }
        Ok(())
    }
}

/// Groups of consecutive sequences of at most [`ROWS`] rows; a longer sequence is a group by itself.
fn groups<'a, 'b>(sequences: &'b [Sequence<'a>]) -> impl Iterator<Item = &'b [Sequence<'a>]> {
    let mut rest = sequences;
    std::iter::from_fn(move || {
        let mut rows = 0;
        let fits = |s: &&Sequence| {
            rows += s.ids.len() - 1;
            rows <= ROWS
        };
        let n = rest.iter().take_while(fits).count().max(1).min(rest.len());
        let (group, after) = rest.split_at(n);
        rest = after;
        (!group.is_empty()).then_some(group)
    })
}

/// The first `n` elements, grown if necessary; their content is arbitrary.
fn fit(values: &mut Vec<f32>, n: usize) -> &mut [f32] {
    if values.len() < n {
        values.resize(n, 0.0);
    }
    &mut values[..n]
}
