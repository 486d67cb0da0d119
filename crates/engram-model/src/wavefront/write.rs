//! What is written into a world, and in which order the stages of a block take it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use engram_core::Site;

use super::base::Caches;
use super::function::RowFunction;
use super::{Linear, Norm, Wavefront};
use crate::architecture::Shape;
use crate::block::{Described, Stage, WriteEffect, describe, rank};

/// What a write puts in place of what was there.
#[derive(Debug, Clone, PartialEq)]
pub enum WrittenValue {
    /// A run's own value at the same site, at the position written plus `shift`.
    Run {
        /// Index among the cached runs.
        run: usize,
        /// Added to the position.
        shift: i64,
    },
    /// One row of the site for every position ([`Wavefront::width`] values); for a pattern, the
    /// probability of every key (one value).
    Constant(Arc<Vec<f32>>),
    /// A row of the site for each position from `first` on; not for a pattern.
    Rows {
        /// The position of the first row.
        first: usize,
        /// [positions, [`Wavefront::width`]].
        rows: Arc<Vec<f32>>,
    },
    /// The present value with `scale` times another added.
    Added {
        /// What is added.
        value: Box<WrittenValue>,
        /// How many times.
        scale: f32,
    },
    /// What a function makes of the present value.
    Function(RowFunction),
    /// What the site, a norm or some heads' queries, keys or values, has where it alone reads some terms of the residual
    /// stream as these writes have them: of the embeddings, `head_out`, `attn_out` and `mlp_out` before it. The positions
    /// of these writes are not used, and none of them has such a value.
    Reading(Arc<Vec<Write>>),
}

impl WrittenValue {
    /// Whether what was there does not matter.
    pub(super) fn replaces(&self) -> bool {
        match self {
            WrittenValue::Run { .. } | WrittenValue::Constant(_) | WrittenValue::Rows { .. } => {
                true
            }
            WrittenValue::Reading(_) => true,
            WrittenValue::Added { .. } | WrittenValue::Function(_) => false,
        }
    }
}

/// One site of a world, overwritten at some positions.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// The site.
    pub site: Site,
    /// The layer, for sites that stand in every block.
    pub layer: Option<usize>,
    /// The positions.
    pub positions: Range<usize>,
    /// Only these heads, or these neurons; all where `None`.
    pub part: Option<Range<usize>>,
    /// What is written.
    pub value: WrittenValue,
}

/// A write at the stage where it takes effect.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub layer: usize,
    pub stage: Stage,
    pub effect: WriteEffect,
    /// The place of the site that was asked for in the order of the forward pass.
    pub rank: usize,
    pub site: Site,
    /// The write is of some heads' or neurons' values, added to the stage as their difference from the
    /// base run's through the rows of the projection that they feed.
    pub difference: Option<Through>,
    pub positions: Range<usize>,
    pub part: Option<Range<usize>>,
    pub value: WrittenValue,
}

/// More neurons than this are cheaper written one by one and multiplied whole.
const MOST_DIFFERENCES: usize = 64;

/// Site and layer in whose values a write is expressed. A head's output is a linear image of its
/// weighted values, the logits one of the last LayerNorm: writing the one is writing the other.
pub(crate) fn canonical(site: Site, layer: Option<usize>, layers: usize) -> (Site, usize) {
    let l = layer.unwrap_or(layers);
    match site {
        Site::HeadOut => (Site::Z, l),
        Site::ResidPost => (Site::ResidPre, l + 1),
        Site::Logits => (Site::LnFinal, layers),
        Site::Embed | Site::PosEmbed => (site, 0),
        Site::ResidPre | Site::ResidMid | Site::AttnOut | Site::Q | Site::K | Site::V | Site::Z => {
            (site, l)
        }
        Site::Pattern | Site::MlpPre | Site::MlpUp | Site::MlpPost | Site::MlpOut => (site, l),
        Site::Ln1 | Site::Ln2 | Site::LnFinal | Site::CAttn => (site, l),
        Site::Ln1Scale | Site::Ln2Scale | Site::LnFinalScale => (site, l),
    }
}

/// The projection that heads or neurons of a site are linear in, on their way to the residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    /// A head's weighted values, `d_head` rows of the output projection each.
    Heads,
    /// A neuron's input, through the activation function.
    Pre,
    /// What an activated neuron is multiplied with.
    Up,
    /// A neuron's activation, one row of the down-projection.
    Post,
}

impl Through {
    /// That of a site; none where its values are no heads or neurons, or not linear in what follows.
    pub fn of(site: Site) -> Option<Through> {
        match site {
            Site::Z | Site::HeadOut => Some(Through::Heads),
            Site::MlpPre => Some(Through::Pre),
            Site::MlpUp => Some(Through::Up),
            Site::MlpPost => Some(Through::Post),
            Site::Q | Site::K | Site::V | Site::CAttn | Site::Pattern => None,
            Site::Embed | Site::PosEmbed | Site::AttnOut | Site::MlpOut => None,
            Site::ResidPre | Site::ResidMid | Site::ResidPost => None,
            Site::Ln1 | Site::Ln2 | Site::LnFinal | Site::Logits => None,
            Site::Ln1Scale | Site::Ln2Scale | Site::LnFinalScale => None,
        }
    }

    /// The stage that the difference is added to.
    fn stage(self) -> Stage {
        match self {
            Through::Heads => Stage::AttnOut,
            Through::Pre | Through::Up | Through::Post => Stage::MlpOut,
        }
    }

    /// Rows of the projection that a head or a neuron has.
    pub fn unit(self, shape: &Shape) -> usize {
        match self {
            Through::Heads => shape.d_head,
            Through::Pre | Through::Up | Through::Post => 1,
        }
    }
}

/// Puts writes in the order of the stages.
pub(crate) fn place(writes: &[Write], shape: &Shape) -> Vec<Placed> {
    let layers = shape.layers;
    let mut placed: Vec<Placed> = (writes.iter())
        .filter(|w| !w.positions.is_empty())
        .map(|write| {
            let (site, layer) = canonical(write.site, write.layer, layers);
            let Described { stage, effect, .. } = describe(site, shape);
            Placed {
                layer,
                stage,
                effect,
                rank: rank(write.site),
                site,
                difference: None,
                positions: write.positions.clone(),
                part: write.part.clone(),
                value: write.value.clone(),
            }
        })
        .collect();
    // As the forward pass meets them, and those of one site in the order given. What a block leaves is before what the
    // next one takes.
    placed.sort_by_key(|w| (w.layer, w.stage, w.rank != rank(Site::ResidPost), w.rank));
    // A world's first write finds the base run's values around it: some heads or neurons of it are a
    // difference, linear in what follows.
    if let [only] = placed.as_mut_slice()
        && !shape.post_norms
    {
        let through = Through::of(only.site).zip(only.part.as_ref());
        let few = through.filter(|(through, part)| match through {
            Through::Heads => true,
            Through::Pre | Through::Up | Through::Post => part.len() <= MOST_DIFFERENCES,
        });
        if let Some((through, _)) = few {
            only.difference = Some(through);
            only.stage = through.stage();
        }
    }
    placed
}

impl Wavefront {
    /// Number of values of a site at one position; `head_out` counts as the weighted values that it is
    /// a linear image of, `logits` as the last LayerNorm. `None` for patterns.
    pub fn width(&self, site: Site) -> Option<usize> {
        let (site, _) = canonical(site, None, self.shape.layers);
        describe(site, &self.shape).width
    }

    /// A run's value at a site and position, [`Wavefront::width`] values; for `head_out` and `logits`
    /// what they are linear images of. Empty for patterns.
    pub fn value<'a>(
        &'a self,
        caches: &'a Caches,
        run: usize,
        (site, layer): (Site, Option<usize>),
        position: usize,
    ) -> Cow<'a, [f32]> {
        let (site, layer) = canonical(site, layer, self.shape.layers);
        self.placed_value(caches, (site, layer), (run, position))
    }

    pub(super) fn placed_value<'a>(
        &'a self,
        caches: &'a Caches,
        (site, layer): (Site, usize),
        (run, position): (usize, usize),
    ) -> Cow<'a, [f32]> {
        let (d, m) = (self.shape.d_model, self.shape.d_mlp);
        let (d_q, d_k, d_hidden) = (
            self.shape.d_queries(),
            self.shape.d_keys(),
            self.shape.d_hidden(),
        );
        let row = caches.first_row(run) + position;
        let of = |values: &'a [f32], width: usize| &values[row * width..(row + 1) * width];
        if matches!(site, Site::LnFinal | Site::LnFinalScale) || layer == self.shape.layers {
            let x = of(&caches.last, d);
            return match site {
                Site::LnFinalScale => vec![self.ln_final.scale(x)].into(),
                Site::LnFinal => of(&caches.ln_final, d).into(),
                _ => x.into(),
            };
        }
        let (cache, block) = (&caches.layers[layer], &self.blocks[layer]);
        let normal = |norm: &Norm, x: &'a [f32]| {
            let mut out = vec![0f32; d];
            norm.forward(of(x, d), &mut out);
            out.into()
        };
        let of_qkv = |columns: Range<usize>| of(&cache.qkv, self.d_qkv())[columns].into();
        let read_by_mlp = match self.shape.parallel {
            true => &cache.resid_pre,
            false => &cache.resid_mid,
        };
        match site {
            Site::Embed => of(&caches.embed, d).into(),
            Site::PosEmbed => self.positions[position * d..(position + 1) * d].into(),
            Site::ResidMid => of(&cache.resid_mid, d).into(),
            Site::AttnOut => of(&cache.attn_out, d).into(),
            Site::CAttn => of_qkv(0..self.d_qkv()),
            Site::Q => of_qkv(0..d_q),
            Site::K => of_qkv(d_q..d_q + d_k),
            Site::V => of_qkv(d_q + d_k..d_q + 2 * d_k),
            Site::Z => of(&cache.z, d_q).into(),
            Site::MlpPre => of(&cache.pre, d_hidden)[..m].into(),
            Site::MlpUp => of(&cache.pre, d_hidden)[m..].into(),
            Site::MlpPost => of(&cache.post, m).into(),
            Site::MlpOut => of(&cache.mlp_out, d).into(),
            Site::Ln1 => normal(&block.ln_1, &cache.resid_pre),
            Site::Ln2 => normal(&block.ln_2, read_by_mlp),
            Site::Ln1Scale => vec![block.ln_1.scale(of(&cache.resid_pre, d))].into(),
            Site::Ln2Scale => vec![block.ln_2.scale(of(read_by_mlp, d))].into(),
            Site::Pattern => Cow::Borrowed(&[]),
            Site::ResidPre => of(&cache.resid_pre, d).into(),
            // Canonically read as others, or above.
            Site::ResidPost | Site::HeadOut | Site::Logits => of(&cache.resid_pre, d).into(),
            Site::LnFinal | Site::LnFinalScale => of(&caches.last, d).into(),
        }
    }

    /// Puts what a write makes of the present value in its place: `present` are some columns of a row of its site.
    pub(super) fn put(
        &self,
        caches: &Caches,
        write: &Placed,
        (position, columns): (usize, Range<usize>),
        present: &mut [f32],
    ) {
        let site = (write.site, write.layer);
        self.put_value(caches, (site, &write.value), (position, columns), present);
    }

    pub(super) fn put_value(
        &self,
        caches: &Caches,
        (site, value): ((Site, usize), &WrittenValue),
        (position, columns): (usize, Range<usize>),
        present: &mut [f32],
    ) {
        match value {
            WrittenValue::Run { run, shift } => {
                let from = position as i64 + shift;
                let from = usize::try_from(from).unwrap_or_default();
                let row = self.placed_value(caches, site, (*run, from));
                present.copy_from_slice(&row[columns]);
            }
            WrittenValue::Constant(row) => present.copy_from_slice(&row[columns]),
            WrittenValue::Rows { first, rows } => {
                let width = self.width(site.0).unwrap_or_default();
                let row = &rows[(position - first) * width..][..width];
                present.copy_from_slice(&row[columns]);
            }
            WrittenValue::Added { value, scale } => {
                let mut added = present.to_vec();
                let at = (position, columns);
                self.put_value(caches, (site, value), at, &mut added);
                let pairs = present.iter_mut().zip(added);
                pairs.for_each(|(present, added)| *present += scale * added);
            }
            WrittenValue::Function(function) => function.apply(position, present),
            // The stages that read the residual stream put it: a plan that asks it of others is refused.
            WrittenValue::Reading(_) => {}
        }
    }

    /// Adds (written − base)·W over the heads or neurons of a write to a row of what they feed.
    pub(super) fn add_difference(
        &self,
        caches: &Caches,
        (write, through): (&Placed, Through),
        base: usize,
        position: usize,
        out: &mut [f32],
    ) {
        let block = &self.blocks[write.layer];
        let part = write.part.clone().unwrap_or_default();
        let unit = through.unit(&self.shape);
        let units = part.start * unit..part.end * unit;
        let (weights, of_whole): (&Linear, Site) = match through {
            Through::Heads => (&block.attn_proj, Site::Z),
            Through::Pre | Through::Up | Through::Post => (&block.mlp_proj, Site::MlpPost),
        };
        let of_base = |site| self.placed_value(caches, (site, write.layer), (base, position));
        // It is the world's only write, which finds the base run's value.
        let mut own = of_base(write.site)[units.clone()].to_vec();
        self.put(caches, write, (position, units.clone()), &mut own);
        let activated = |pre: &[f32], up: &[f32]| {
            let mut new = vec![0f32; units.len()];
            block.activate(&[pre, up].concat(), &mut new);
            new
        };
        let other = |site: Site| match self.shape.gated {
            true => of_base(site)[units.clone()].to_vec(),
            false => Vec::new(),
        };
        let new = match through {
            Through::Pre => activated(&own, &other(Site::MlpUp)),
            Through::Up => activated(&other(Site::MlpPre), &own),
            Through::Heads | Through::Post => own,
        };
        let base = of_base(of_whole);
        for (unit, new) in units.zip(new) {
            weights.weight.add_row(unit, new - base[unit], out);
        }
    }
}
