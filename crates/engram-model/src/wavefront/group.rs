//! One block for worlds that go through it together.

use std::collections::BTreeMap;
use std::ops::Range;

use engram_core::Site;

use super::band::Band;
use super::base::Caches;
use super::geometry::Spans;
use super::reading::Terms;
use super::write::{Placed, Write, WrittenValue};
use super::{Block, Linear, Norm, Wavefront};
use crate::block::{Stage, WriteEffect};
use crate::kernels::scratch;
use crate::kernels::suffix_attention::{probabilities, weigh};

/// A world under way.
pub(super) struct State<'x> {
    /// Where its output goes.
    pub(super) index: usize,
    pub(super) base: usize,
    pub(super) read: usize,
    pub(super) len: usize,
    pub(super) writes: Vec<Placed>,
    pub(super) terms: Terms,
    /// Positions whose residual stream differs from the base run's.
    pub(super) range: Range<usize>,
    /// Their rows, and room for all from its first write on.
    pub(super) x: &'x mut [f32],
}

/// Some worlds in one block.
pub(super) struct Group<'a, 'x> {
    pub(super) front: &'a Wavefront,
    pub(super) caches: &'a Caches,
    pub(super) block: &'a Block,
    pub(super) layer: usize,
    pub(super) states: &'a mut [State<'x>],
    pub(super) spans: Vec<Spans>,
}

impl Group<'_, '_> {
    fn ranges(&self, stage: Stage) -> Vec<Range<usize>> {
        self.spans.iter().map(|s| s[stage].clone()).collect()
    }

    /// A base run's row of one of this block's activations.
    fn base<'v>(
        &self,
        world: usize,
        position: usize,
        values: &'v [f32],
        width: usize,
    ) -> &'v [f32] {
        let row = self.caches.first_row(self.states[world].base) + position;
        &values[row * width..(row + 1) * width]
    }

    /// Calls `f` for each row that this stage's writes touch.
    fn writes(&self, stage: Stage, mut f: impl FnMut(usize, usize, &Placed)) {
        for (world, state) in self.states.iter().enumerate() {
            for write in &state.writes {
                if write.layer == self.layer && write.stage == stage {
                    for position in write.positions.clone() {
                        f(world, position, write);
                    }
                }
            }
        }
    }

    /// Keeps the rows of a term of the residual stream that a destination reads otherwise.
    fn keep(&mut self, site: Site, band: &Band) {
        for (w, state) in self.states.iter_mut().enumerate() {
            let positions: Vec<usize> = state.terms.positions(site, self.layer).collect();
            for p in positions {
                if let Some(row) = band.row(w, p) {
                    state.terms.keep((site, self.layer, p), row);
                }
            }
        }
    }

    /// A row of the residual stream as one destination reads it: `x` are the worlds' rows, `base` the base runs'.
    fn stream(
        &self,
        (x, base): (&Band, &[f32]),
        (world, position): (usize, usize),
        terms: &[Write],
    ) -> Vec<f32> {
        let row = x.row(world, position);
        let row = row.unwrap_or_else(|| self.base(world, position, base, self.front.shape.d_model));
        let mut stream = row.to_vec();
        let state = &self.states[world];
        let own = (state.base, &state.terms);
        (self.front).read_otherwise(self.caches, own, terms, position, &mut stream);
        stream
    }

    /// Overwrites the rows (or their heads, their neurons) that this stage's writes touch. `x` is the residual stream
    /// that the block reads, for stages that a destination may read.
    fn overwrite(&self, stage: Stage, band: &mut Band, x: Option<&Band>) {
        self.writes(stage, |world, position, write| {
            let Some(row) = band.row_mut(world, position) else {
                return;
            };
            if let Some(through) = write.difference {
                let base = self.states[world].base;
                let write = (write, through);
                return (self.front).add_difference(self.caches, write, base, position, row);
            }
            let (unit, offset) = match write.effect {
                WriteEffect::Columns { unit, offset } => (unit, offset),
                WriteEffect::Row
                | WriteEffect::Scale
                | WriteEffect::Token
                | WriteEffect::Position => (1, 0),
            };
            let part = match &write.part {
                Some(part) => part.start * unit..part.end * unit,
                None => 0..self.front.width(write.site).unwrap_or_default(),
            };
            let columns = offset + part.start..offset + part.end;
            if let (WrittenValue::Reading(terms), Some(x)) = (&write.value, x) {
                let base = &self.caches.layers[self.layer].resid_pre;
                let mut stream = self.stream((x, base), (world, position), terms);
                self.block.ln_1.apply(&mut stream);
                let read = self.block.c_attn.columns(&stream, columns.clone());
                return row[columns].copy_from_slice(&read);
            }
            let present = &mut row[columns];
            self.front
                .put(self.caches, write, (position, part), present);
        });
    }

    fn times(&self, x: &Band, linear: &Linear) -> Band {
        let data = linear.forward(&x.data);
        Band::of(linear.bias.len(), x.ranges.clone(), data)
    }

    /// A LayerNorm of rows of the residual stream, with the writes to it and to its scale; `base` is the
    /// base runs' residual stream there.
    fn normalised(&self, x: &Band, stage: Stage, norm: &Norm, base: &[f32]) -> Band {
        let d = self.front.shape.d_model;
        let ranges = self.ranges(stage);
        let mut normal = Band::zeros(d, x.ranges.clone());
        norm.forward(&x.data, &mut normal.data);
        let mut normal = normal.widened(ranges, |w, p, to| {
            norm.forward(self.base(w, p, base, d), to);
        });
        let mut scales: BTreeMap<(usize, usize), f32> = BTreeMap::new();
        self.writes(stage, |w, p, write| {
            let Some(to) = normal.row_mut(w, p) else {
                return;
            };
            match write.effect {
                WriteEffect::Scale => {
                    let x = x.row(w, p).unwrap_or_else(|| self.base(w, p, base, d));
                    let scale = scales.entry((w, p)).or_insert_with(|| norm.scale(x));
                    let present = std::slice::from_mut(scale);
                    self.front.put(self.caches, write, (p, 0..1), present);
                    norm.by_scale(x, *scale, to);
                }
                WriteEffect::Row
                | WriteEffect::Columns { .. }
                | WriteEffect::Token
                | WriteEffect::Position => match &write.value {
                    WrittenValue::Reading(terms) => {
                        norm.forward(&self.stream((x, base), (w, p), terms), to);
                    }
                    _ => self.front.put(self.caches, write, (p, 0..d), to),
                },
            }
        });
        normal
    }

    /// One block for all worlds of the group.
    pub(super) fn forward(mut self) {
        let shape = &self.front.shape;
        let (d, d_z, d_qkv) = (shape.d_model, shape.d_queries(), self.front.d_qkv());
        let (m, d_hidden) = (shape.d_mlp, shape.d_hidden());
        let cache = &self.caches.layers[self.layer];
        let block = self.block;
        let x = self.residual();
        let normal = self.normalised(&x, Stage::Ln1, &block.ln_1, &cache.resid_pre);
        let qkv = self.queries_keys_values(&normal);
        drop(normal);
        let mut qkv = qkv.widened(self.ranges(Stage::Qkv), |w, p, to| {
            to.copy_from_slice(self.base(w, p, &cache.qkv, d_qkv));
        });
        self.overwrite(Stage::Qkv, &mut qkv, Some(&x));
        self.meet(&mut qkv);
        let z = self.attend(&qkv);
        drop(qkv);
        let mut z = z.widened(self.ranges(Stage::Z), |w, p, to| {
            to.copy_from_slice(self.base(w, p, &cache.z, d_z));
        });
        self.overwrite(Stage::Z, &mut z, None);
        self.keep(Site::Z, &z);
        let attn_out = self.times(&z, &block.attn_proj);
        drop(z);
        let attn_out = self.after(attn_out, block.post_attention.as_ref());
        let mut attn_out = attn_out.widened(self.ranges(Stage::AttnOut), |w, p, to| {
            to.copy_from_slice(self.base(w, p, &cache.attn_out, d));
        });
        self.overwrite(Stage::AttnOut, &mut attn_out, None);
        self.keep(Site::AttnOut, &attn_out);

        let mut mid = Band::zeros(d, self.ranges(Stage::Mid));
        for (w, range) in mid.ranges.clone().into_iter().enumerate() {
            for p in range {
                let Some(to) = mid.row_mut(w, p) else {
                    continue;
                };
                match attn_out.row(w, p) {
                    Some(added) => {
                        let from = x.row(w, p);
                        let from = from.unwrap_or_else(|| self.base(w, p, &cache.resid_pre, d));
                        for ((to, x), a) in to.iter_mut().zip(from).zip(added) {
                            *to = x + a;
                        }
                    }
                    None => to.copy_from_slice(self.base(w, p, &cache.resid_mid, d)),
                }
            }
        }
        self.overwrite(Stage::Mid, &mut mid, None);
        drop(attn_out);

        let normal = match shape.parallel {
            true => self.normalised(&x, Stage::Ln2, &block.ln_2, &cache.resid_pre),
            false => self.normalised(&mid, Stage::Ln2, &block.ln_2, &cache.resid_mid),
        };
        drop(x);
        let pre = self.times(&normal, &block.c_fc);
        drop(normal);
        let mut pre = pre.widened(self.ranges(Stage::Pre), |w, p, to| {
            to.copy_from_slice(self.base(w, p, &cache.pre, d_hidden));
        });
        self.overwrite(Stage::Pre, &mut pre, None);
        let mut post = Band::zeros(m, pre.ranges.clone());
        block.activate_rows(&pre.data, m, &mut post.data);
        drop(pre);
        let mut post = post.widened(self.ranges(Stage::Post), |w, p, to| {
            to.copy_from_slice(self.base(w, p, &cache.post, m));
        });
        self.overwrite(Stage::Post, &mut post, None);
        let mlp_out = self.times(&post, &block.mlp_proj);
        drop(post);
        let mlp_out = self.after(mlp_out, block.post_mlp.as_ref());
        let mut mlp_out = mlp_out.widened(self.ranges(Stage::MlpOut), |w, p, to| {
            to.copy_from_slice(self.base(w, p, &cache.mlp_out, d));
        });
        self.overwrite(Stage::MlpOut, &mut mlp_out, None);
        self.keep(Site::MlpOut, &mlp_out);

        for w in 0..self.states.len() {
            let range = self.spans[w].out.clone();
            let x = std::mem::take(&mut self.states[w].x);
            for (p, to) in range.clone().zip(x.chunks_exact_mut(d)) {
                let from = mid.row(w, p);
                let from = from.unwrap_or_else(|| self.base(w, p, &cache.resid_mid, d));
                let added = mlp_out.row(w, p);
                let added = added.unwrap_or_else(|| self.base(w, p, &cache.mlp_out, d));
                let sums = from.iter().zip(added).map(|(x, a)| x + a);
                to.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum);
            }
            let state = &mut self.states[w];
            state.x = x;
            state.range = range;
        }
    }

    /// Each world's residual stream over its span, with the writes before the block.
    fn residual(&mut self) -> Band {
        let d = self.front.shape.d_model;
        let cache = &self.caches.layers[self.layer];
        let ranges = self.ranges(Stage::Residual);
        let mut x = scratch::take(d * ranges.iter().map(Range::len).sum::<usize>());
        for (w, range) in ranges.iter().enumerate() {
            let state = &self.states[w];
            if *range == state.range {
                x.extend_from_slice(&state.x[..range.len() * d]);
                continue;
            }
            for p in range.clone() {
                match state.range.contains(&p) {
                    true => x.extend_from_slice(&state.x[(p - state.range.start) * d..][..d]),
                    false => x.extend_from_slice(self.base(w, p, &cache.resid_pre, d)),
                }
            }
        }
        let mut x = Band::of(d, ranges, x);
        // Embeddings of tokens and positions that are written are added anew.
        let mut tokens: BTreeMap<(usize, usize), Vec<f32>> = BTreeMap::new();
        let mut places: BTreeMap<(usize, usize), Vec<f32>> = BTreeMap::new();
        self.writes(Stage::Residual, |w, p, write| {
            let Some(to) = x.row_mut(w, p) else {
                return;
            };
            let of_base = |site| {
                let base = (self.states[w].base, p);
                let value = self.front.placed_value(self.caches, (site, 0), base);
                value.into_owned()
            };
            let embeddings = match write.effect {
                WriteEffect::Token => &mut tokens,
                WriteEffect::Position => &mut places,
                WriteEffect::Row | WriteEffect::Columns { .. } | WriteEffect::Scale => {
                    return self.front.put(self.caches, write, (p, 0..d), to);
                }
            };
            let present = embeddings.entry((w, p));
            let present = present.or_insert_with(|| of_base(write.site));
            self.front.put(self.caches, write, (p, 0..d), present);
            let token = tokens.entry((w, p)).or_insert_with(|| of_base(Site::Embed));
            to.copy_from_slice(token);
            if !self.front.positions.is_empty() {
                let place = places
                    .entry((w, p))
                    .or_insert_with(|| of_base(Site::PosEmbed));
                to.iter_mut()
                    .zip(place)
                    .for_each(|(to, place)| *to += *place);
            }
        });
        for (site, rows) in [(Site::Embed, tokens), (Site::PosEmbed, places)] {
            for ((w, p), row) in rows {
                self.states[w].terms.keep((site, 0, p), &row);
            }
        }
        x
    }

    /// What is added, normalised where the family does so.
    fn after(&self, added: Band, norm: Option<&Norm>) -> Band {
        let Some(norm) = norm else { return added };
        let width = self.front.shape.d_model;
        let mut out = Band::zeros(width, added.ranges.clone());
        norm.forward(&added.data, &mut out.data);
        out
    }

    /// Normalises and turns queries and keys in place.
    fn meet(&self, qkv: &mut Band) {
        if !self.block.turns_or_normalises() {
            return;
        }
        for (w, range) in qkv.ranges.clone().into_iter().enumerate() {
            for p in range {
                if let Some(row) = qkv.row_mut(w, p) {
                    self.front.meet(self.block, self.caches, p, row);
                }
            }
        }
    }

    /// Queries, keys and values of the normalised rows; in the last block queries only where they are
    /// read.
    fn queries_keys_values(&self, normal: &Band) -> Band {
        let shape = &self.front.shape;
        let (d, queries, all) = (shape.d_model, shape.d_queries(), self.front.d_qkv());
        let linear = &self.block.c_attn;
        let last = self.layer + 1 == shape.layers;
        // A function of queries, keys and values together is given all of them.
        let is_function = |w: &Placed| w.site == Site::CAttn && !w.value.replaces();
        let here = |w: &&Placed| w.layer == self.layer && w.stage == Stage::Qkv;
        let mut states = self.states.iter();
        let whole = states.any(|s| s.writes.iter().filter(here).any(is_function));
        if !last || whole || !queries.is_multiple_of(crate::kernels::packed::PANEL) {
            return self.times(normal, linear);
        }
        let rows = normal.data.len() / d;
        let mut qkv = Band::of(all, normal.ranges.clone(), linear.biases(rows));
        let weight = &linear.weight;
        weight.multiply_columns_onto(&normal.data, queries..all, &mut qkv.data, all, queries);
        let mut places = Vec::new();
        let mut read = Vec::new();
        for (w, spans) in self.spans.iter().enumerate() {
            for p in spans[Stage::Pattern].clone() {
                if let Some(row) = normal.row(w, p) {
                    places.push((w, p));
                    read.extend_from_slice(row);
                }
            }
        }
        let mut found = vec![0f32; places.len() * queries];
        for row in found.chunks_exact_mut(queries) {
            row.copy_from_slice(&linear.bias[..queries]);
        }
        weight.multiply_columns_onto(&read, 0..queries, &mut found, queries, 0);
        for ((w, p), q) in places.into_iter().zip(found.chunks_exact(queries)) {
            if let Some(row) = qkv.row_mut(w, p) {
                row[..queries].copy_from_slice(q);
            }
        }
        qkv
    }

    /// Attention of the queries that attend, over own rows and the base run's.
    fn attend(&self, qkv: &Band) -> Band {
        let shape = &self.front.shape;
        let (queries, keys) = (shape.d_queries(), shape.d_keys());
        let heads = self.block.heads;
        let cache = &self.caches.layers[self.layer];
        let mut z = Band::zeros(queries, self.ranges(Stage::Pattern));
        let mut p = Vec::new();
        for (w, state) in self.states.iter().enumerate() {
            let range = z.ranges[w].clone();
            if range.is_empty() {
                continue;
            }
            p.resize(state.len, 0f32);
            let first = self.caches.first_row(state.base);
            let (mut of_queries, mut of_keys, mut of_values) = (Vec::new(), Vec::new(), Vec::new());
            for j in 0..range.end {
                let [q, k, v] = match qkv.row(w, j) {
                    Some(own) => {
                        let (q, rest) = own.split_at(queries);
                        let (k, v) = rest.split_at(keys);
                        [q, k, v]
                    }
                    None => self.front.row_parts(&cache.qkv, &cache.met, first + j),
                };
                of_queries.push(q);
                of_keys.push(k);
                of_values.push(v);
            }
            let patterns: Vec<&Placed> = (state.writes.iter())
                .filter(|w| w.layer == self.layer && w.stage == Stage::Pattern)
                .collect();
            for query in range {
                for head in 0..heads.count {
                    let written = patterns.iter().filter(|w| {
                        let part = w.part.as_ref().is_none_or(|part| part.contains(&head));
                        part && w.positions.contains(&query)
                    });
                    let own = |p: &mut [f32]| {
                        probabilities(heads, head, of_queries[query], &of_keys, query, p);
                    };
                    let mut is_there = false;
                    for write in written {
                        if !is_there && !write.value.replaces() {
                            own(&mut p);
                        }
                        is_there = true;
                        self.pattern((*write, &write.value), head, query, &mut p);
                    }
                    if !is_there {
                        own(&mut p);
                    }
                    if let Some(z) = z.row_mut(w, query) {
                        let z = &mut z[head * heads.width..(head + 1) * heads.width];
                        weigh(heads, head, &p[..query + 1], &of_values, z);
                    }
                }
            }
        }
        z
    }

    /// Puts what a write makes of the present probabilities of a head's query in their place.
    fn pattern(
        &self,
        (write, value): (&Placed, &WrittenValue),
        head: usize,
        query: usize,
        present: &mut [f32],
    ) {
        match value {
            WrittenValue::Constant(value) => {
                present[..query + 1].fill(value.first().copied().unwrap_or_default());
            }
            WrittenValue::Run { run, .. } => {
                let first = self.caches.first_row(*run);
                let cache = &self.caches.layers[self.layer];
                let parts = |j| self.front.row_parts(&cache.qkv, &cache.met, first + j);
                let keys: Vec<&[f32]> = (0..=query).map(|j| parts(j)[1]).collect();
                let own = parts(query)[0];
                probabilities(self.block.heads, head, own, &keys, query, present);
            }
            WrittenValue::Added { value, scale } => {
                let mut added = present.to_vec();
                self.pattern((write, value), head, query, &mut added);
                let pairs = present[..query + 1].iter_mut().zip(added);
                pairs.for_each(|(present, added)| *present += scale * added);
            }
            WrittenValue::Function(function) => function.apply(query, &mut present[..query + 1]),
            // No write of a pattern has rows or reads the residual stream: a plan that has is refused.
            WrittenValue::Rows { .. } | WrittenValue::Reading(_) => {}
        }
    }
}
