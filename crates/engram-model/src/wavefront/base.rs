//! Unpatched runs, with every activation kept.

use std::ops::Range;

use engram_core::{NamedSite, Site};
use rayon::prelude::*;

use super::{Block, Norm, Wavefront};
use crate::architecture::{Rotary, Rotation};
use crate::error::{ModelError, Result};
use crate::kernels::suffix_attention::{Heads, probabilities, weigh};
use crate::kernels::tensor_rows;

/// Rows that one task takes through what is done row by row.
pub(super) const ROWS: usize = 8;
/// Queries of a run whose attention is one task.
const QUERIES: usize = 16;

/// A sequence to run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Run {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// What is added to the token embeddings from a position on: [positions, d_model].
    pub noise: Option<(usize, Vec<f32>)>,
}

/// A value of a run that is NaN or infinite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFinite {
    /// Index of the run.
    pub run: usize,
    /// The first site, layer included, at which one is.
    pub site: String,
}

/// One layer's activations of all runs, row after row.
#[derive(Debug, Default)]
pub(crate) struct LayerCache {
    pub resid_pre: Vec<f32>,
    /// Queries, keys and values as projected.
    pub qkv: Vec<f32>,
    /// Queries and keys as they meet, normalised and turned; empty where that changes nothing.
    pub met: Vec<f32>,
    pub z: Vec<f32>,
    pub attn_out: Vec<f32>,
    pub resid_mid: Vec<f32>,
    pub pre: Vec<f32>,
    pub post: Vec<f32>,
    pub mlp_out: Vec<f32>,
}

/// The activations of some runs.
#[derive(Debug, Default)]
pub struct Caches {
    /// Rows of each run.
    runs: Vec<Range<usize>>,
    /// For each rotary embedding, the turns of position after position.
    turns: Vec<Vec<Rotation>>,
    pub(crate) layers: Vec<LayerCache>,
    pub(crate) embed: Vec<f32>,
    pub(crate) last: Vec<f32>,
    pub(crate) ln_final: Vec<f32>,
}

impl Caches {
    /// Number of runs.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Number of positions of a run.
    pub fn positions(&self, run: usize) -> usize {
        self.runs[run].len()
    }

    pub(crate) fn first_row(&self, run: usize) -> usize {
        self.runs[run].start
    }

    /// How a block's queries and keys turn at a position; `None` where they do not.
    pub(super) fn turns_at(
        &self,
        front: &Wavefront,
        block: &Block,
        position: usize,
    ) -> Option<&[Rotation]> {
        let turns = block.turns?;
        let n = front.rotaries[turns].frequencies.len();
        Some(&self.turns[turns][position * n..(position + 1) * n])
    }

    /// A run's outputs of the last LayerNorm at these positions: what the head unembeds.
    pub fn ln_final(&self, run: usize, positions: Range<usize>) -> &[f32] {
        let rows = &self.runs[run];
        let d = self.ln_final.len() / self.runs.last().map_or(1, |r| r.end).max(1);
        &self.ln_final[(rows.start + positions.start) * d..(rows.start + positions.end) * d]
    }

    /// The first value that is NaN or infinite, in the order of the forward pass.
    pub fn not_finite(&self) -> Option<NotFinite> {
        let rows = self.runs.last().map_or(0, |r| r.end).max(1);
        let mut all: Vec<(Site, Option<usize>, &[f32])> = vec![(Site::Embed, None, &self.embed)];
        for (layer, cache) in self.layers.iter().enumerate() {
            for (site, values) in [
                (Site::ResidPre, &cache.resid_pre),
                (Site::CAttn, &cache.qkv),
                (Site::Z, &cache.z),
                (Site::AttnOut, &cache.attn_out),
                (Site::ResidMid, &cache.resid_mid),
                (Site::MlpPre, &cache.pre),
                (Site::MlpPost, &cache.post),
                (Site::MlpOut, &cache.mlp_out),
            ] {
                all.push((site, Some(layer), values));
            }
        }
        let after = self.layers.len().checked_sub(1);
        all.push((Site::ResidPost, after, &self.last));
        all.push((Site::LnFinal, None, &self.ln_final));
        all.into_iter().find_map(|(site, layer, values)| {
            let at = values.iter().position(|v| !v.is_finite())?;
            let row = at / (values.len() / rows).max(1);
            let run = self.runs.iter().position(|r| r.contains(&row))?;
            let site = NamedSite::canonical(site, layer).name;
            Some(NotFinite { run, site })
        })
    }
}

impl Wavefront {
    /// Runs sequences whole and keeps every activation.
    ///
    /// # Errors
    /// A sequence that is empty or longer than the context, a token outside the vocabulary.
    pub fn runs(&self, runs: &[Run]) -> Result<Caches> {
        self.runs_keeping(runs, self.shape.layers, &|_, cache| cache)
    }

    /// What the head unembeds of sequences at some positions of each: rows of [`Wavefront::runs`]' last LayerNorm, one
    /// sequence after another, [rows, d_model]. No other activation is kept.
    ///
    /// # Errors
    /// As [`Wavefront::runs`].
    pub fn read(&self, reads: &[(Run, Range<usize>)]) -> Result<Vec<f32>> {
        let runs: Vec<Run> = reads.iter().map(|(run, _)| run.clone()).collect();
        let layers = self.shape.layers;
        let caches = self.runs_keeping(&runs, layers, &|_, _| LayerCache::default())?;
        let each = reads.iter().enumerate();
        let rows = each.flat_map(|(run, (_, positions))| caches.ln_final(run, positions.clone()));
        Ok(rows.copied().collect())
    }

    /// The neurons' activations at some layers and all positions, one run after another: [positions, d_mlp] each.
    ///
    /// # Errors
    /// As [`Wavefront::runs`].
    pub fn neurons(&self, runs: &[Run], layers: &[usize]) -> Result<Vec<Vec<f32>>> {
        let keep = |layer: usize, cache: LayerCache| LayerCache {
            post: match layers.contains(&layer) {
                true => cache.post,
                false => Vec::new(),
            },
            ..LayerCache::default()
        };
        let blocks = layers.iter().max().map_or(0, |last| last + 1);
        let mut caches = self.runs_keeping(runs, blocks, &keep)?;
        let of = |layer: &usize| match caches.layers.get_mut(*layer) {
            Some(cache) => Ok(std::mem::take(&mut cache.post)),
            None => Err(ModelError::Layer {
                layer: *layer,
                layers: self.shape.layers,
            }),
        };
        layers.iter().map(of).collect()
    }

    /// As [`Wavefront::runs`], through so many blocks; of each layer's activations what `keep` gives back is kept.
    pub(super) fn runs_keeping(
        &self,
        runs: &[Run],
        blocks: usize,
        keep: &dyn Fn(usize, LayerCache) -> LayerCache,
    ) -> Result<Caches> {
        let mut caches = self.embed(runs)?;
        let mut x = self.positioned(&caches);
        for (layer, block) in self.blocks.iter().take(blocks).enumerate() {
            let qkv = (block.c_attn).forward_in_parallel(&normalised(&block.ln_1, &x));
            let met = self.met_rows(block, &caches, &qkv);
            let z = self.attend(block.heads, &caches.runs, &qkv, &met);
            let attn_out = block.attn_proj.forward_in_parallel(&z);
            let attn_out = after(attn_out, block.post_attention.as_ref());
            let resid_mid = sum(&x, &attn_out);
            let read = if self.shape.parallel { &x } else { &resid_mid };
            let pre = (block.c_fc).forward_in_parallel(&normalised(&block.ln_2, read));
            let d_mlp = self.shape.d_mlp;
            let mut post = vec![0f32; pre.len() / self.shape.d_hidden() * d_mlp];
            post.par_chunks_mut(d_mlp * ROWS)
                .zip(pre.par_chunks(self.shape.d_hidden() * ROWS))
                .for_each(|(post, pre)| block.activate_rows(pre, d_mlp, post));
            let mlp_out = block.mlp_proj.forward_in_parallel(&post);
            let mlp_out = after(mlp_out, block.post_mlp.as_ref());
            let out = sum(&resid_mid, &mlp_out);
            let cache = LayerCache {
                resid_pre: std::mem::replace(&mut x, out),
                qkv,
                met,
                z,
                attn_out,
                resid_mid,
                pre,
                post,
                mlp_out,
            };
            caches.layers.push(keep(layer, cache));
        }
        caches.ln_final = vec![0f32; x.len()];
        self.ln_final.forward(&x, &mut caches.ln_final);
        caches.last = x;
        Ok(caches)
    }

    /// Width of queries, keys and values side by side.
    pub(super) fn d_qkv(&self) -> usize {
        self.shape.d_queries() + 2 * self.shape.d_keys()
    }

    /// Queries and keys of whole runs as they meet; empty where that changes nothing.
    fn met_rows(&self, block: &Block, caches: &Caches, qkv: &[f32]) -> Vec<f32> {
        if !block.turns_or_normalises() {
            return Vec::new();
        }
        let width = self.d_qkv() - self.shape.d_keys();
        let mut met = Vec::with_capacity(qkv.len() / self.d_qkv() * width);
        for run in &caches.runs {
            for (position, row) in run.clone().enumerate() {
                let start = met.len();
                met.extend_from_slice(&qkv[row * self.d_qkv()..][..width]);
                self.meet(block, caches, position, &mut met[start..]);
            }
        }
        met
    }

    /// Normalises and turns the queries and keys at a position, in place; `row` begins with them.
    pub(super) fn meet(&self, block: &Block, caches: &Caches, position: usize, row: &mut [f32]) {
        let (queries, width) = (self.shape.d_queries(), self.shape.d_head);
        let row = &mut row[..queries + self.shape.d_keys()];
        if let Some((of_queries, of_keys)) = &block.query_key_norms {
            of_queries.apply(&mut row[..queries]);
            of_keys.apply(&mut row[queries..]);
        }
        let Some(turns) = caches.turns_at(self, block, position) else {
            return;
        };
        for head in row.chunks_exact_mut(width) {
            let (first, second) = head.split_at_mut(turns.len());
            for ((a, b), turn) in first.iter_mut().zip(second).zip(turns) {
                (*a, *b) = (*a * turn.cos - *b * turn.sin, *b * turn.cos + *a * turn.sin);
            }
        }
    }

    /// Each run's attention within itself: queries, keys and values to weighted values.
    fn attend(&self, heads: Heads, runs: &[Range<usize>], qkv: &[f32], met: &[f32]) -> Vec<f32> {
        let (d, d_qkv) = (self.shape.d_queries(), self.d_qkv());
        let mut z = vec![0f32; qkv.len() / d_qkv * d];
        let mut rest = z.as_mut_slice();
        let mut tasks = Vec::with_capacity(runs.len());
        for run in runs {
            let (mut queries, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
            for [q, k, v] in run.clone().map(|row| self.row_parts(qkv, met, row)) {
                queries.push(q);
                keys.push(k);
                values.push(v);
            }
            let (own, after) = rest.split_at_mut(run.len() * d);
            rest = after;
            tasks.push((own, queries, keys, values));
        }
        tasks
            .into_par_iter()
            .for_each(|(z, queries, keys, values)| {
                let rows = z.par_chunks_mut(d * QUERIES).enumerate();
                rows.for_each(|(task, z)| {
                    let mut p = vec![0f32; keys.len()];
                    for (query, z) in (task * QUERIES..).zip(z.chunks_exact_mut(d)) {
                        for (head, z) in z.chunks_exact_mut(heads.width).enumerate() {
                            probabilities(heads, head, queries[query], &keys, query, &mut p);
                            weigh(heads, head, &p[..query + 1], &values, z);
                        }
                    }
                });
            });
        z
    }

    /// Queries and keys as they meet, and values, of a cached row.
    pub(super) fn row_parts<'v>(
        &self,
        qkv: &'v [f32],
        met: &'v [f32],
        row: usize,
    ) -> [&'v [f32]; 3] {
        let (queries, keys) = (self.shape.d_queries(), self.shape.d_keys());
        let own = &qkv[row * self.d_qkv()..][..self.d_qkv()];
        let meeting = match met.is_empty() {
            true => &own[..queries + keys],
            false => &met[row * (queries + keys)..][..queries + keys],
        };
        let (q, k) = meeting.split_at(queries);
        [q, k, &own[queries + keys..]]
    }

    /// Token embeddings, noise included.
    fn embed(&self, runs: &[Run]) -> Result<Caches> {
        let mut caches = Caches::default();
        let d = self.shape.d_model;
        for run in runs {
            let length = run.ids.len();
            let context = self.shape.context;
            if (context + 1..=self.longest).contains(&length) {
                return Err(ModelError::RotaryLength { length, context });
            }
            if length == 0 || length > context {
                return Err(ModelError::Context { length, context });
            }
            let vocab = self.shape.vocab;
            if let Some(&id) = run.ids.iter().find(|id| **id as usize >= vocab) {
                return Err(ModelError::TokenId { id, vocab });
            }
            let start = caches.embed.len() / d;
            caches.runs.push(start..start + length);
            caches.embed.extend(self.embeddings(&run.ids)?);
            if let Some((first, noise)) = &run.noise {
                let own = &mut caches.embed[(start + first) * d..];
                for (x, noise) in own.iter_mut().zip(noise) {
                    *x += noise;
                }
            }
        }
        let longest = caches.runs.iter().map(Range::len).max().unwrap_or(0);
        let turns = |rotary: &Rotary| (0..longest).flat_map(|p| rotary.at(p)).collect();
        caches.turns = self.rotaries.iter().map(turns).collect();
        Ok(caches)
    }

    fn positioned(&self, caches: &Caches) -> Vec<f32> {
        if self.positions.is_empty() {
            return caches.embed.clone();
        }
        let mut x = Vec::with_capacity(caches.embed.len());
        let d = self.shape.d_model;
        for run in &caches.runs {
            let tokens = &caches.embed[run.start * d..run.end * d];
            x.extend(tokens.iter().zip(&*self.positions).map(|(a, b)| a + b));
        }
        x
    }

    /// Embeddings of tokens: [tokens, d_model].
    ///
    /// # Errors
    /// The tensor library's.
    pub fn embeddings(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        let mut rows = tensor_rows(&self.embed, tokens)?;
        if self.embed_scale != 1.0 {
            rows.iter_mut().for_each(|v| *v *= self.embed_scale);
        }
        Ok(rows)
    }
}

/// Rows normalised.
pub(super) fn normalised(norm: &Norm, x: &[f32]) -> Vec<f32> {
    let mut out = vec![0f32; x.len()];
    let width = norm.weight.len() * ROWS;
    let rows = out.par_chunks_mut(width).zip(x.par_chunks(width));
    rows.for_each(|(out, x)| norm.forward(x, out));
    out
}

/// What is added, normalised where the family does so.
pub(super) fn after(added: Vec<f32>, norm: Option<&Norm>) -> Vec<f32> {
    let Some(norm) = norm else { return added };
    let mut out = vec![0f32; added.len()];
    norm.forward(&added, &mut out);
    out
}

fn sum(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}
