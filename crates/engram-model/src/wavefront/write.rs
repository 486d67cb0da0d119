//! What is written into a world, and in which order the stages of a block take it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use engram_core::Site;

use super::base::Caches;
use super::{Linear, Norm, Wavefront};
use crate::architecture::Shape;

/// What a write puts in place of what was there.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
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
    pub value: Value,
}

/// The stages of a block, in the order in which a world passes them. The last LayerNorm is taken as
/// that of a block after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Residual,
    Ln1,
    Qkv,
    Pattern,
    Z,
    AttnOut,
    Mid,
    Ln2,
    Pre,
    Post,
    MlpOut,
}

/// What a write does to a row of its stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Takes its place.
    Row,
    /// Takes the place of some columns, a head's or a neuron's `unit` of them, behind `offset` others.
    Columns { unit: usize, offset: usize },
    /// Is what a norm divides by.
    Scale,
    /// Is the token's embedding, to which its position's is added.
    Token,
    /// Is the position's embedding, to which the token's is added.
    Position,
}

/// A write at the stage where it takes effect.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub layer: usize,
    pub stage: Stage,
    pub effect: Effect,
    pub site: Site,
    /// The write is of some heads' or neurons' values, added to the stage as their difference from the
    /// base run's through the rows of the projection that they feed.
    pub difference: Option<Through>,
    pub positions: Range<usize>,
    pub part: Option<Range<usize>>,
    pub value: Value,
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

/// The stage that takes a write of a site, and what it does to a row there.
fn taken(site: Site, shape: &Shape) -> (Stage, Effect) {
    let columns = |unit, offset| Effect::Columns { unit, offset };
    let (head, queries, keys) = (shape.d_head, shape.d_queries(), shape.d_keys());
    match site {
        Site::Embed => (Stage::Residual, Effect::Token),
        Site::PosEmbed => (Stage::Residual, Effect::Position),
        Site::ResidPre => (Stage::Residual, Effect::Row),
        Site::Ln1Scale | Site::LnFinalScale => (Stage::Ln1, Effect::Scale),
        Site::Ln1 | Site::LnFinal => (Stage::Ln1, Effect::Row),
        Site::CAttn => (Stage::Qkv, columns(1, 0)),
        Site::Q => (Stage::Qkv, columns(head, 0)),
        Site::K => (Stage::Qkv, columns(head, queries)),
        Site::V => (Stage::Qkv, columns(head, queries + keys)),
        Site::Pattern => (Stage::Pattern, Effect::Row),
        Site::Z => (Stage::Z, columns(head, 0)),
        Site::AttnOut => (Stage::AttnOut, Effect::Row),
        Site::ResidMid => (Stage::Mid, Effect::Row),
        Site::Ln2Scale => (Stage::Ln2, Effect::Scale),
        Site::Ln2 => (Stage::Ln2, Effect::Row),
        Site::MlpPre => (Stage::Pre, columns(1, 0)),
        Site::MlpUp => (Stage::Pre, columns(1, shape.d_mlp)),
        Site::MlpPost => (Stage::Post, columns(1, 0)),
        Site::MlpOut => (Stage::MlpOut, Effect::Row),
        // What their canonical sites are.
        Site::ResidPost => (Stage::Residual, Effect::Row),
        Site::HeadOut => (Stage::Z, columns(head, 0)),
        Site::Logits => (Stage::Ln1, Effect::Row),
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
            let (stage, effect) = taken(site, shape);
            Placed {
                layer,
                stage,
                effect,
                site,
                difference: None,
                positions: write.positions.clone(),
                part: write.part.clone(),
                value: write.value.clone(),
            }
        })
        .collect();
    placed.sort_by_key(|w| (w.layer, w.stage, w.site));
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
        Some(match site {
            Site::Pattern => return None,
            Site::CAttn => self.d_qkv(),
            Site::Q | Site::Z | Site::HeadOut => self.shape.d_queries(),
            Site::K | Site::V => self.shape.d_keys(),
            Site::MlpPre | Site::MlpUp | Site::MlpPost => self.shape.d_mlp,
            Site::Ln1Scale | Site::Ln2Scale | Site::LnFinalScale => 1,
            Site::Embed | Site::PosEmbed => self.shape.d_model,
            Site::ResidPre | Site::ResidMid | Site::ResidPost => self.shape.d_model,
            Site::AttnOut | Site::MlpOut => self.shape.d_model,
            Site::Ln1 | Site::Ln2 | Site::LnFinal | Site::Logits => self.shape.d_model,
        })
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

    /// The row that a write puts at a position.
    pub(super) fn written<'a>(
        &'a self,
        caches: &'a Caches,
        write: &'a Placed,
        position: usize,
    ) -> Cow<'a, [f32]> {
        match &write.value {
            Value::Constant(row) => row.as_slice().into(),
            Value::Run { run, shift } => {
                let from = position as i64 + shift;
                let from = usize::try_from(from).unwrap_or_default();
                self.placed_value(caches, (write.site, write.layer), (*run, from))
            }
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
        let written = self.written(caches, write, position);
        let of_base = |site| self.placed_value(caches, (site, write.layer), (base, position));
        let own = &written[units.clone()];
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
            Through::Pre => activated(own, &other(Site::MlpUp)),
            Through::Up => activated(&other(Site::MlpPre), own),
            Through::Heads | Through::Post => own.to_vec(),
        };
        let base = of_base(of_whole);
        for (unit, new) in units.zip(new) {
            weights.weight.add_row(unit, new - base[unit], out);
        }
    }
}
