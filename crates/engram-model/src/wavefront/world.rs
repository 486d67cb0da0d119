//! Worlds through the network, block by block.

use std::borrow::Cow;

use rayon::prelude::*;

use super::Wavefront;
use super::base::Caches;
use super::geometry::{Flow, Spans, spans};
use super::group::{Group, State};
use super::reading::Terms;
use super::write::{Placed, Write, WrittenValue, place};
use crate::block::{Stage, WriteEffect};
use crate::kernels::scratch;

/// Rows that one task takes through a block at most: their activations stay near the processor.
pub(crate) const ROWS_PER_TASK: usize = 252;

/// A base run with something written into it, read from a position to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// Index of the run that it branches off.
    pub base: usize,
    /// What is written.
    pub writes: Vec<Write>,
    /// The first position whose output is read.
    pub read: usize,
}

impl Wavefront {
    /// What the head unembeds of each world: the last LayerNorm's output at each position read, worlds
    /// in the order given, positions ascending; [rows, d_model].
    pub fn worlds(&self, caches: &Caches, worlds: &[World]) -> Vec<f32> {
        let d = self.shape.d_model;
        let room = |world: &World| {
            let first = world.writes.iter().map(|w| w.positions.start).min();
            first.map_or(0, |first| {
                caches.positions(world.base).saturating_sub(first)
            }) * d
        };
        // One stretch of memory for all worlds: pages that no row reaches are never touched.
        let mut x = vec![0f32; worlds.iter().map(room).sum()];
        let mut rest = x.as_mut_slice();
        let mut states: Vec<State> = (worlds.iter().enumerate())
            .map(|(index, world)| {
                let writes = place(&world.writes, &self.shape);
                State {
                    index,
                    base: world.base,
                    read: world.read,
                    len: caches.positions(world.base),
                    terms: Terms::of(&writes, &self.shape),
                    writes,
                    range: 0..0,
                    x: rest.split_off_mut(..room(world)).unwrap_or_default(),
                }
            })
            .collect();
        let flow = Flow::of(&self.shape);
        let joins = |s: &State| s.writes.first().map_or(usize::MAX, |w| w.layer);
        states.sort_by_key(|s| (joins(s), s.index));
        for (layer, block) in self.blocks.iter().enumerate() {
            let alive = states.partition_point(|s| joins(s) <= layer);
            let of = |s: &State| spans(&s.writes, layer, &flow, s.range.clone(), s.len, s.read);
            let spans: Vec<Spans> = states[..alive].iter().map(of).collect();
            let groups = self.groups(&mut states[..alive], spans);
            groups.into_par_iter().for_each(|(states, spans)| {
                Group {
                    front: self,
                    caches,
                    block,
                    layer,
                    states,
                    spans,
                }
                .forward();
            });
        }
        let mut starts = Vec::with_capacity(worlds.len());
        let mut rows = 0;
        for world in worlds {
            starts.push(rows);
            rows += caches.positions(world.base).saturating_sub(world.read);
        }
        let mut out = vec![0f32; rows * d];
        for state in &states {
            let to = &mut out[starts[state.index] * d..];
            self.finish(caches, state, &flow, to);
        }
        rayon::broadcast(|_| scratch::clear());
        out
    }

    /// Divides worlds into tasks of about equally many rows, as many as there are threads or more.
    fn groups<'s, 'x>(
        &self,
        mut states: &'s mut [State<'x>],
        spans: Vec<Spans>,
    ) -> Vec<(&'s mut [State<'x>], Vec<Spans>)> {
        let rows: usize = spans.iter().map(Spans::rows).sum();
        let threads = rayon::current_num_threads();
        let tasks = rows.div_ceil(ROWS_PER_TASK).next_multiple_of(threads);
        let share = rows.div_ceil(tasks.max(1)).max(1);
        let mut groups = Vec::with_capacity(tasks);
        let mut own: Vec<Spans> = Vec::new();
        let mut taken = 0;
        for span in spans {
            taken += span.rows();
            own.push(span);
            if taken >= share {
                let (first, rest) = states.split_at_mut(own.len());
                states = rest;
                groups.push((first, std::mem::take(&mut own)));
                taken = 0;
            }
        }
        if !own.is_empty() {
            groups.push((states, own));
        }
        groups
    }

    /// The last LayerNorm of a world, at the positions read.
    fn finish(&self, caches: &Caches, state: &State, flow: &Flow, out: &mut [f32]) {
        let (d, layers) = (self.shape.d_model, self.shape.layers);
        let entry = state.range.clone();
        let spans = spans(&state.writes, layers, flow, entry, state.len, state.read);
        let out = &mut out[..(state.len - state.read) * d];
        out.copy_from_slice(caches.ln_final(state.base, state.read..state.len));
        for position in spans[Stage::Ln1].clone() {
            let row = caches.first_row(state.base) + position;
            let mut x = Cow::Borrowed(match state.range.contains(&position) {
                true => &state.x[(position - state.range.start) * d..][..d],
                false => &caches.last[row * d..(row + 1) * d],
            });
            let to = &mut out[(position - state.read) * d..][..d];
            let here = state.writes.iter();
            let here = here.filter(|w| w.layer == layers && w.positions.contains(&position));
            let here: Vec<&Placed> = here.collect();
            for write in here.iter().filter(|w| w.stage == Stage::Residual) {
                self.put(caches, write, (position, 0..d), x.to_mut());
            }
            self.ln_final.forward(&x, to);
            let mut scale = None;
            for write in here.iter().filter(|w| w.stage != Stage::Residual) {
                match write.effect {
                    WriteEffect::Scale => {
                        let present = scale.unwrap_or_else(|| self.ln_final.scale(&x));
                        let mut written = [present];
                        self.put(caches, write, (position, 0..1), &mut written);
                        self.ln_final.by_scale(&x, written[0], to);
                        scale = Some(written[0]);
                    }
                    WriteEffect::Row
                    | WriteEffect::Columns { .. }
                    | WriteEffect::Token
                    | WriteEffect::Position => {
                        let WrittenValue::Reading(terms) = &write.value else {
                            self.put(caches, write, (position, 0..d), to);
                            continue;
                        };
                        let mut stream = x.to_vec();
                        let own = (state.base, &state.terms);
                        self.read_otherwise(caches, own, terms, position, &mut stream);
                        self.ln_final.forward(&stream, to);
                    }
                }
            }
        }
    }
}
