//! What one destination alone reads: the input of a norm, or of a head's query, key or value, made of a residual stream
//! some of whose terms are other than this run's.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use engram_core::Site;

use super::Wavefront;
use super::base::Caches;
use super::write::{Placed, Write, WrittenValue, canonical};
use crate::architecture::Shape;
use crate::block::{WriteEffect, describe};

/// A term of the residual stream at a position: its canonical site, layer and position.
type Key = (Site, usize, usize);

/// A world's own values of the terms that some destination of it reads otherwise. Only those are here that the world has
/// computed; the others are the base run's.
#[derive(Default)]
pub(super) struct Terms {
    wanted: BTreeSet<Key>,
    computed: BTreeMap<Key, Vec<f32>>,
}

impl Terms {
    /// The terms that a world's writes read otherwise, none of them computed yet.
    pub(super) fn of(writes: &[Placed], shape: &Shape) -> Terms {
        let keys = writes.iter().flat_map(|write| {
            let terms = match &write.value {
                WrittenValue::Reading(terms) => terms.as_slice(),
                _ => &[],
            };
            terms.iter().flat_map(|term| {
                let (site, layer) = canonical(term.site, term.layer, shape.layers);
                (write.positions.clone()).map(move |position| (site, layer, position))
            })
        });
        Terms {
            wanted: keys.collect(),
            computed: BTreeMap::new(),
        }
    }

    /// The positions at which a term is read otherwise.
    pub(super) fn positions(&self, site: Site, layer: usize) -> impl Iterator<Item = usize> {
        let all = (site, layer, 0)..=(site, layer, usize::MAX);
        self.wanted.range(all).map(|(_, _, position)| *position)
    }

    /// Takes the world's own value of a term, if it is read otherwise.
    pub(super) fn keep(&mut self, key: Key, row: &[f32]) {
        if self.wanted.contains(&key) {
            self.computed.insert(key, row.to_vec());
        }
    }
}

impl Wavefront {
    /// Changes a row of a world's residual stream to what a destination reads: each term's own value is replaced by the
    /// written one.
    pub(super) fn read_otherwise(
        &self,
        caches: &Caches,
        (base, own): (usize, &Terms),
        terms: &[Write],
        position: usize,
        stream: &mut [f32],
    ) {
        for term in terms {
            let (site, layer) = canonical(term.site, term.layer, self.shape.layers);
            let own = match own.computed.get(&(site, layer, position)) {
                Some(row) => Cow::Borrowed(row.as_slice()),
                None => self.placed_value(caches, (site, layer), (base, position)),
            };
            let unit = match describe(site, &self.shape).effect {
                WriteEffect::Columns { unit, .. } => unit,
                WriteEffect::Row
                | WriteEffect::Scale
                | WriteEffect::Token
                | WriteEffect::Position => 1,
            };
            let part = term.part.as_ref();
            let columns = part.map_or(0..own.len(), |p| p.start * unit..p.end * unit);
            let own = &own[columns.clone()];
            let mut new = own.to_vec();
            let at = (position, columns.clone());
            self.put_value(caches, ((site, layer), &term.value), at, &mut new);
            let differences = new.iter().zip(own).map(|(new, own)| new - own);
            match site {
                // A head adds a linear image of its weighted values.
                Site::Z => {
                    let weight = &self.blocks[layer].attn_proj.weight;
                    let rows = columns.zip(differences);
                    rows.for_each(|(row, difference)| weight.add_row(row, difference, stream));
                }
                _ => (stream.iter_mut().zip(differences)).for_each(|(x, d)| *x += d),
            }
        }
    }
}
