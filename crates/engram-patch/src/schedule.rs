//! How a plan is computed as wavefronts: which worlds go through the network together, what that costs
//! and what it takes. Pure: no tensors.

use std::ops::Range;

use engram_core::Site;
use engram_model::wavefront::{
    Value, World, Write, cache_bytes, run_flops, task_bytes, world_bytes, world_flops,
};
use serde::Serialize;

use crate::continuation::Continuation;
use crate::engine::Done;
use crate::error::{PatchError, Result};
use crate::plan::{PairPlan, Plan, PlannedCell};
use crate::spec::SweepSpec;

/// Rows of a wavefront: enough for matrix products at the processor's full rate, few enough that a
/// broken-off sweep loses seconds.
const ROWS_PER_WAVE: usize = 16_384;
/// Worlds whose whole logits stand side by side at once.
pub(crate) const ROWS_UNEMBEDDED: usize = 128;

/// Some worlds that go through the network together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Wave {
    /// Pair and cell of each; a cell is one world for each row of its pair's continuation.
    pub cells: Vec<(usize, usize)>,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes that the worlds take.
    pub bytes: u64,
}

/// Pairs whose unpatched runs are kept at one time, and their waves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PairGroup {
    /// Pairs, by their index in the plan.
    pub pairs: Range<usize>,
    /// Bytes of their unpatched runs' activations.
    pub bytes: u64,
    /// Operations of their unpatched runs.
    pub flops: u64,
    /// The waves, in order.
    pub waves: Vec<Wave>,
}

/// A plan as wavefronts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Schedule {
    /// Groups of pairs, in order.
    pub groups: Vec<PairGroup>,
    /// Cells in all.
    pub cells: usize,
    /// Cells whose value the graph fixes, or another name's cell gives: no work.
    pub fixed: usize,
    /// Operations in all; a multiply-add counts two.
    pub flops: u64,
    /// Operations of a whole forward pass for every cell, with all logits: what is saved is the ratio.
    pub flops_naive: u64,
    /// The most bytes that are taken at a time, the model's included.
    pub bytes: u64,
    /// The bytes that are allowed.
    pub memory: u64,
}

/// Whether a metric needs the logits of the whole vocabulary.
pub(crate) fn whole_vocabulary(spec: &SweepSpec) -> bool {
    use engram_core::Metric::{LogitDiff, LogitDiffMean};
    let few = |m: &engram_core::Metric| matches!(m, LogitDiff | LogitDiffMean);
    !spec.metrics.iter().all(few)
}

impl PairPlan {
    /// How answer and foil are read.
    pub(crate) fn continuation(&self, spec: &SweepSpec) -> Continuation {
        let to_end = spec.metrics.iter().any(|m| m.reads_continuation());
        Continuation::of(&self.pair.answer, &self.pair.foil, to_end)
    }

    /// Positions of its longest run.
    fn longest(&self, spec: &SweepSpec) -> usize {
        let (base, source) = self.runs(spec.direction);
        base.len().max(source.len()) + self.continuation(spec).appended()
    }

    /// The first position at which the runs may differ.
    fn first_difference(&self, spec: &SweepSpec) -> usize {
        if spec.writes_constants() || self.shift != 0 {
            return 0;
        }
        if let Some(noise) = self.noise {
            return noise.span.start;
        }
        let (base, source) = self.runs(spec.direction);
        let pairs = base.iter().zip(source);
        pairs.take_while(|(a, b)| a == b).count()
    }

    /// What a cell writes: what is certainly equal in both runs is left out.
    pub(crate) fn writes(
        &self,
        spec: &SweepSpec,
        cell: &PlannedCell,
        value: impl Fn(Site, Option<usize>) -> Value,
    ) -> Vec<Write> {
        let (base, _) = self.runs(spec.direction);
        let place = cell.place.range(base.len());
        let start = place.start.max(self.first_difference(spec));
        (cell.layers.iter())
            .map(|layer| Write {
                site: cell.at.site,
                layer: *layer,
                positions: start..place.end.max(start),
                part: cell.part.map(|p| p.start..p.end),
                value: value(cell.at.site, *layer),
            })
            .collect()
    }
}

/// A world's place in the order of work, and what it costs.
struct Costed {
    pair: usize,
    cell: usize,
    joins: usize,
    rows: usize,
    flops: u64,
    bytes: u64,
}

impl Schedule {
    /// Lays out what `done` does not have of a plan, for `threads` threads within `memory` bytes.
    ///
    /// # Errors
    /// [`PatchError::Memory`] with the least that would do.
    pub fn of(plan: &Plan, done: &Done, memory: u64, threads: usize) -> Result<Schedule> {
        let (spec, shape) = (&plan.spec, &plan.shape);
        let longest = plan
            .pairs
            .iter()
            .map(|p| p.longest(spec))
            .max()
            .unwrap_or(0);
        let whole = whole_vocabulary(spec);
        let (d, m) = (shape.d_model, shape.d_mlp);
        let mut standing = 4 * (shape.parameters + shape.layers * (4 * d * d + 2 * d * m)) as u64;
        standing += task_bytes(shape, longest, threads);
        if whole {
            standing += 4 * (shape.vocab * (d + ROWS_UNEMBEDDED)) as u64;
        }
        let of_pair = |p: &PairPlan| {
            let (base, source) = p.runs(spec.direction);
            let continuation = p.continuation(spec);
            let runs = continuation.rows() as u64;
            let bytes = |n: usize| runs * cache_bytes(shape, n + continuation.appended());
            bytes(base.len()) + bytes(source.len())
        };
        let mut schedule = Schedule {
            groups: Vec::new(),
            cells: plan.cells(),
            fixed: 0,
            flops: 0,
            flops_naive: 0,
            bytes: standing,
            memory,
        };
        let mut least = standing;
        let mut next = 0;
        while next < plan.pairs.len() {
            let start = next;
            let mut worlds: Vec<Costed> = Vec::new();
            let (mut rows, mut caches, mut flops) = (0, 0, 0);
            while let Some(pair) = plan.pairs.get(next) {
                let bytes = of_pair(pair);
                // Half of what there is for runs, half for worlds.
                let full = 2 * (caches + bytes) > memory.saturating_sub(standing);
                if next > start && (rows >= ROWS_PER_WAVE || full) {
                    break;
                }
                let before = worlds.len();
                schedule.pair(plan, (next, pair), done, &mut worlds);
                if worlds.len() > before || !done.has_unpatched(next) {
                    caches += bytes;
                    flops += run_work(plan, pair);
                    rows += worlds[before..].iter().map(|w| w.rows).sum::<usize>();
                }
                next += 1;
            }
            let most = worlds.iter().map(|w| w.bytes).max().unwrap_or(0);
            least = least.max(standing + caches + most);
            let waves = waves(worlds, memory.saturating_sub(standing + caches));
            let widest = waves.iter().map(|w| w.bytes).max().unwrap_or(0);
            schedule.bytes = schedule.bytes.max(standing + caches + widest);
            schedule.flops += flops + waves.iter().map(|w| w.flops).sum::<u64>();
            schedule.groups.push(PairGroup {
                pairs: start..next,
                bytes: caches,
                flops,
                waves,
            });
        }
        if least > memory {
            return Err(PatchError::Memory {
                least,
                given: memory,
            });
        }
        Ok(schedule)
    }

    /// Adds the worlds of a pair.
    fn pair(
        &mut self,
        plan: &Plan,
        (index, pair): (usize, &PairPlan),
        done: &Done,
        worlds: &mut Vec<Costed>,
    ) {
        let (spec, shape) = (&plan.spec, &plan.shape);
        let continuation = pair.continuation(spec);
        let (base, _) = pair.runs(spec.direction);
        let positions = base.len() + continuation.appended();
        let a_run =
            run_flops(shape, positions) + unembedding(shape.vocab, shape.d_model, positions);
        let reads = 1 + continuation.appended();
        let tokens = read_tokens(plan, pair);
        for (cell_index, cell) in pair.cells.iter().enumerate() {
            let rows = continuation.rows();
            self.flops_naive += rows as u64 * a_run;
            if !cell.is_open(&spec.metrics) {
                self.fixed += 1;
                continue;
            }
            if done.has(index, cell_index) {
                continue;
            }
            let value = |_, _| Value::Run { run: 0, shift: 0 };
            let world = World {
                base: 0,
                writes: pair.writes(spec, cell, value),
                read: base.len() - 1,
            };
            let first = world.writes.iter().map(|w| w.positions.start).min();
            let read = unembedding(tokens, shape.d_model, reads);
            worlds.push(Costed {
                pair: index,
                cell: cell_index,
                joins: first_layer(cell, shape.layers),
                rows: rows * (positions - first.unwrap_or(0).min(positions)),
                flops: rows as u64 * (world_flops(shape, &world, positions) + read),
                bytes: rows as u64 * world_bytes(shape, &world, positions),
            });
        }
    }
}

/// Worlds in the order in which they branch off, as many together as there is room for.
fn waves(mut worlds: Vec<Costed>, room: u64) -> Vec<Wave> {
    worlds.sort_by_key(|w| (w.joins, w.pair, w.cell));
    let mut waves: Vec<Wave> = Vec::new();
    let mut open = Wave::default();
    let mut rows = 0;
    for world in worlds {
        let full = rows >= ROWS_PER_WAVE || open.bytes + world.bytes > room;
        if full && !open.cells.is_empty() {
            waves.push(std::mem::take(&mut open));
            rows = 0;
        }
        rows += world.rows;
        open.cells.push((world.pair, world.cell));
        open.flops += world.flops;
        open.bytes += world.bytes;
    }
    if !open.cells.is_empty() {
        waves.push(open);
    }
    waves
}

/// The block in which a cell's worlds branch off; `layers` for what stands after the last.
fn first_layer(cell: &PlannedCell, layers: usize) -> usize {
    match (cell.at.site, cell.layers.first()) {
        (Site::Embed | Site::PosEmbed, _) => 0,
        (_, Some(Some(layer))) => *layer,
        _ => layers,
    }
}

/// Operations of a pair's unpatched runs.
fn run_work(plan: &Plan, pair: &PairPlan) -> u64 {
    let (base, source) = pair.runs(plan.spec.direction);
    let continuation = pair.continuation(&plan.spec);
    let tokens = read_tokens(plan, pair);
    let run = |prompt: usize| {
        let read = unembedding(tokens, plan.shape.d_model, 1 + continuation.appended());
        run_flops(&plan.shape, prompt + continuation.appended()) + read
    };
    continuation.rows() as u64 * (run(base.len()) + run(source.len()))
}

/// How many tokens' logits are read at a position.
fn read_tokens(plan: &Plan, pair: &PairPlan) -> usize {
    match whole_vocabulary(&plan.spec) {
        true => plan.shape.vocab,
        false => pair.pair.answer.len() + pair.pair.foil.len(),
    }
}

fn unembedding(tokens: usize, d_model: usize, positions: usize) -> u64 {
    2 * (tokens * d_model * positions) as u64
}
