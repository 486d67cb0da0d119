//! The end of the network, from a position and a block on, where nothing before them changes: what an optimisation
//! needs that adds something to the residual stream at one token, step by step. Rows before the token are keys and
//! values of a run made once; only the rows from it on go through the blocks, with gradients.

use candle_core::{D, Device, IndexOp, Tensor};
use engram_core::{NamedSite, Site};

use super::{Block, Transformer, capped, product, turn};
use crate::architecture::Rotary;
use crate::error::{ModelError, Result};
use crate::families::Qkv;
use crate::tap::{Capture, NoTap};

/// What a run left before a position of each prompt, at every block from `first` on.
#[derive(Debug)]
pub struct Past {
    first: usize,
    layers: Vec<Before>,
}

/// Of one block: keys and values before the starts, as the queries see them, [batch, head, past, d_head].
#[derive(Debug)]
struct Before {
    keys: Tensor,
    values: Tensor,
    /// 0 where a query sees a key and −∞ elsewhere: [batch, 1, rows, past + rows].
    mask: Tensor,
    /// Cosines and signed sines of the rows' positions: [batch, rows, 1, d_head].
    turns: Option<(Tensor, Tensor)>,
}

impl Past {
    /// The sites whose values [`Past`] takes from a run.
    pub fn sites(layers: usize, first: usize) -> impl Iterator<Item = (Site, Option<usize>)> {
        (first..layers).flat_map(|l| [(Site::K, Some(l)), (Site::V, Some(l))])
    }
}

impl Transformer {
    /// What goes before `rows` rows from `starts` on (one for each prompt) at every block from `first` on, from a run
    /// whose cache has [`Past::sites`]. The prompts of the run are padded to one length, on the right.
    ///
    /// # Errors
    /// [`ModelError::Cache`] where the run's cache lacks a site; as the tensor library's.
    pub fn past(&self, run: &Capture, first: usize, starts: &[usize], rows: usize) -> Result<Past> {
        let blocks = self.blocks.iter().skip(first);
        let layers = blocks.map(|block| block.before(run, starts, rows));
        Ok(Past {
            first,
            layers: layers.collect::<Result<_>>()?,
        })
    }

    /// Rows of the residual stream before block `past.first` to those after the last block: [batch, rows, d_model],
    /// each prompt's from its start on.
    ///
    /// # Errors
    /// As the tensor library's.
    pub fn suffix(&self, past: &Past, rows: &Tensor) -> Result<Tensor> {
        let mut x = rows.clone();
        for (block, before) in self.blocks.iter().skip(past.first).zip(&past.layers) {
            x = block.suffix(&x, before)?;
        }
        Ok(x)
    }
}

/// Each prompt's rows from its start on, those past the last position repeated from it: [batch, pos, d] to
/// [batch, rows, d].
///
/// # Errors
/// As the tensor library's.
pub fn rows_from(x: &Tensor, starts: &[usize], rows: usize) -> Result<Tensor> {
    let (batch, positions, d) = x.dims3()?;
    let place = |b: usize, r: usize| (b * positions + (starts[b] + r).min(positions - 1)) as u32;
    let places: Vec<u32> = (0..batch)
        .flat_map(|b| (0..rows).map(move |r| (b, r)))
        .map(|(b, r)| place(b, r))
        .collect();
    let places = Tensor::from_vec(places, batch * rows, x.device())?;
    let flat = x.contiguous()?.reshape((batch * positions, d))?;
    Ok(flat.index_select(&places, 0)?.reshape((batch, rows, d))?)
}

impl Block {
    fn before(&self, run: &Capture, starts: &[usize], rows: usize) -> Result<Before> {
        let site = |site| {
            let found = run.get(site, Some(self.layer));
            found.ok_or_else(|| ModelError::Cache {
                site: NamedSite::canonical(site, Some(self.layer)).name,
            })
        };
        let (mut keys, values) = (site(Site::K)?.clone(), site(Site::V)?);
        let most = most_before(starts);
        if let Some((_, of_keys)) = &self.weights.query_key_norms {
            keys = self.normalise().rows(&keys, of_keys)?;
        }
        if let Some(rotary) = &self.attention().rotary {
            keys = turn(&keys, rotary)?;
        }
        let part = |x: &Tensor| -> Result<Tensor> {
            let served = self.for_queries(&x.i((.., ..most))?.contiguous()?)?;
            Ok(served.transpose(1, 2)?.contiguous()?)
        };
        let device = keys.device();
        let turns = self.attention().rotary.as_ref();
        Ok(Before {
            keys: part(&keys)?,
            values: part(values)?,
            mask: mask(starts, rows, self.attention().window, device)?,
            turns: turns
                .map(|r| turns_at(r, starts, rows, self.architecture.d_head, device))
                .transpose()?,
        })
    }

    /// As [`Block::forward`], of some rows.
    fn suffix(&self, x: &Tensor, before: &Before) -> Result<Tensor> {
        let (weights, normalise) = (&self.weights, self.normalise());
        let normal = normalise.rows(x, &weights.ln_1)?;
        let z = self.attend_suffix(&normal, before)?;
        let attn_out = self.after(
            weights.attn_proj.forward(&z)?,
            weights.post_attention.as_ref(),
        )?;
        let mid = (x + attn_out)?;
        let read = if self.architecture.parallel { x } else { &mid };
        let normal = normalise.rows(read, &weights.ln_2)?;
        let mlp_out = weights
            .mlp_proj
            .forward(&self.neurons(&normal, &mut NoTap)?)?;
        let mlp_out = self.after(mlp_out, weights.post_mlp.as_ref())?;
        Ok((mid + mlp_out)?)
    }

    fn attend_suffix(&self, normal: &Tensor, before: &Before) -> Result<Tensor> {
        let a = &*self.architecture;
        let (batch, rows, d) = normal.dims3()?;
        let by_head = |x: Tensor, heads| x.reshape((batch, rows, heads, a.d_head));
        let [q, k, v] = match &self.weights.qkv {
            Qkv::Fused(linear) => {
                // Three products, not one and its parts: the gradient of a part is as large as the whole.
                let flat = normal.reshape((batch * rows, d))?;
                let part = |start: usize, width: usize| -> Result<Tensor> {
                    let x = product(&flat, &linear.weight.narrow(1, start, width)?)?;
                    Ok(match &linear.bias {
                        Some(bias) => super::add_bias(&x, &bias.narrow(0, start, width)?)?,
                        None => x,
                    })
                };
                let (q, k) = (a.d_queries(), a.d_keys());
                [part(0, q)?, part(q, k)?, part(q + k, k)?]
            }
            Qkv::Apart([q, k, v]) => [q.forward(normal)?, k.forward(normal)?, v.forward(normal)?],
        };
        let (mut q, mut k) = (by_head(q, a.heads)?, by_head(k, a.kv_heads)?);
        if let Some((of_queries, of_keys)) = &self.weights.query_key_norms {
            q = self.normalise().rows(&q, of_queries)?;
            k = self.normalise().rows(&k, of_keys)?;
        }
        if let (Some(turns), Some(rotary)) = (&before.turns, &self.attention().rotary) {
            q = turned(&q, turns, rotary.frequencies.len())?;
            k = turned(&k, turns, rotary.frequencies.len())?;
        }
        let heads_first = |x: &Tensor| x.transpose(1, 2)?.contiguous();
        let q = heads_first(&q)?;
        let k = heads_first(&self.for_queries(&k)?)?;
        let v = heads_first(&self.for_queries(&by_head(v, a.kv_heads)?)?)?;
        let keys = Tensor::cat(&[&before.keys, &k], 2)?;
        let values = Tensor::cat(&[&before.values, &v], 2)?;
        let scores = (q.matmul(&keys.t()?)? * f64::from(self.attention().scale))?;
        let scores = capped(scores, a.score_cap)?.broadcast_add(&before.mask)?;
        // The largest only moves the exponent's range: no gradient goes through it.
        let largest = scores.detach().max_keepdim(D::Minus1)?;
        let exponentials = scores.broadcast_sub(&largest)?.exp()?;
        let pattern = exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)?;
        let z = pattern.matmul(&values)?.transpose(1, 2)?.contiguous()?;
        Ok(z.reshape((batch, rows, a.d_queries()))?)
    }
}

/// The most positions before a start; one that is hidden where all start at the beginning, since no tensor is empty.
fn most_before(starts: &[usize]) -> usize {
    starts.iter().copied().max().unwrap_or(0).max(1)
}

/// Which keys the rows see: those before the start of their prompt, and the rows up to their own.
fn mask(starts: &[usize], rows: usize, window: Option<usize>, device: &Device) -> Result<Tensor> {
    let most = most_before(starts);
    let width = most + rows;
    let mut mask = vec![f32::NEG_INFINITY; starts.len() * rows * width];
    for (b, &start) in starts.iter().enumerate() {
        for r in 0..rows {
            let query = start + r;
            let seen = |key: usize| window.is_none_or(|w| key + w > query);
            let row = &mut mask[(b * rows + r) * width..][..width];
            for (key, m) in row[..start].iter_mut().enumerate() {
                if seen(key) {
                    *m = 0.0;
                }
            }
            for (key, m) in row[most..=most + r].iter_mut().enumerate() {
                if seen(start + key) {
                    *m = 0.0;
                }
            }
        }
    }
    Ok(Tensor::from_vec(
        mask,
        (starts.len(), 1, rows, width),
        device,
    )?)
}

/// As in [`turn`], where each prompt's rows begin at a position of its own.
fn turns_at(
    rotary: &Rotary,
    starts: &[usize],
    rows: usize,
    d_head: usize,
    device: &Device,
) -> Result<(Tensor, Tensor)> {
    let n = rotary.frequencies.len();
    let count = starts.len() * rows * d_head;
    let (mut cos, mut sin) = (vec![1f32; count], vec![0f32; count]);
    for (b, start) in starts.iter().enumerate() {
        for r in 0..rows {
            for (i, turned) in rotary.at(start + r).enumerate() {
                let at = (b * rows + r) * d_head + i;
                (cos[at], cos[at + n]) = (turned.cos, turned.cos);
                (sin[at], sin[at + n]) = (-turned.sin, turned.sin);
            }
        }
    }
    let shape = (starts.len(), rows, 1, d_head);
    Ok((
        Tensor::from_vec(cos, shape, device)?,
        Tensor::from_vec(sin, shape, device)?,
    ))
}

/// x: [batch, rows, head, d_head], turned; n: number of frequencies.
fn turned(x: &Tensor, (cos, sin): &(Tensor, Tensor), n: usize) -> Result<Tensor> {
    let d_head = x.dim(D::Minus1)?;
    let partner = |i: usize| match i {
        i if i < n => i + n,
        i if i < 2 * n => i - n,
        i => i,
    };
    let partners: Vec<u32> = (0..d_head).map(|i| partner(i) as u32).collect();
    let partners = Tensor::from_vec(partners, d_head, x.device())?;
    let others = x.index_select(&partners, D::Minus1)?;
    Ok((x.broadcast_mul(cos)? + others.broadcast_mul(sin)?)?)
}
