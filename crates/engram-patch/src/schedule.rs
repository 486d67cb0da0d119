//! How a plan is computed as wavefronts: which worlds go through the network together, what that costs
//! and what it takes. Pure: no tensors.

use std::ops::Range;

use engram_core::Site;
use engram_core::row::ROWS_PER_GROUP;
use engram_model::Shape;
use engram_model::wavefront::{
    self, Work, World, Write, cache_bytes, head_bytes, panel_bytes, task_bytes, world_bytes,
};
use serde::Serialize;

use crate::continuation::ContinuationRows;
use crate::engine::Done;
use crate::error::{PatchError, Result};
use crate::intervention::{Intervention, Value};
use crate::plan::{PairPlan, Plan, PlannedCell};
use crate::spec::SweepSpec;

/// Rows of a wavefront: enough for matrix products at the processor's full rate, few enough that a
/// broken-off sweep loses seconds.
const ROWS_PER_WAVE: usize = 16_384;
/// Worlds whose whole logits stand side by side at once.
pub(crate) const ROWS_UNEMBEDDED: usize = 128;

/// Bytes of a cell's place among the results, in what is done and in what was done before, its metrics apart.
const CELL_BYTES: u64 = 80;
// What only the allocator knows is measured, by `bench/memory.py`.
/// Bytes of a row of the results with its texts.
const ROW_BYTES: u64 = 1200;
/// Bytes of a row's values while they are written as columns.
const COLUMN_BYTES: u64 = 500;
/// Bytes that the allocator keeps of each thread's buffers until rows are made.
const KEPT: u64 = 4 << 20;
/// Bytes beside all that is counted: batches on their way to the journal, small allocations.
const ELSE: u64 = 3 << 20;
/// One byte in so many of what stands is a gap between allocations.
const GAPS: u64 = 100;
/// Bytes that a thread takes beside its task: its stack, gaps between its allocations (measured).
const THREAD: u64 = 1 << 20;

/// The memory of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that may be taken, what stands included.
    pub allowed: u64,
    /// Bytes that stand before the sweep begins: the model as it was read, the tokenizer, the plan.
    pub standing: u64,
}

impl Memory {
    /// So many bytes, of which a model's weights take their part.
    pub fn beside(shape: &Shape, allowed: u64) -> Memory {
        Memory {
            allowed,
            standing: 4 * shape.parameters as u64,
        }
    }
}

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
    /// Bytes that are taken throughout: the model as read and as laid out, results, buffers of the threads.
    pub standing: u64,
    /// The most bytes that are taken at a time, what stands included.
    pub bytes: u64,
    /// The bytes that are allowed.
    pub memory: u64,
}

/// Bytes of the metrics of all cells.
fn result_bytes(plan: &Plan) -> u64 {
    plan.cells() as u64 * (CELL_BYTES + plan.spec.metrics.len() as u64 * 8)
}

/// Whether a metric needs the logits of the whole vocabulary.
pub(crate) fn whole_vocabulary(spec: &SweepSpec) -> bool {
    use engram_core::Metric::{LogitDiff, LogitDiffMean};
    let few = |m: &engram_core::Metric| matches!(m, LogitDiff | LogitDiffMean);
    !spec.metrics.iter().all(few)
}

impl PairPlan {
    /// How answer and foil are read.
    pub(crate) fn continuation(&self, spec: &SweepSpec) -> ContinuationRows {
        let to_end = spec.metrics.iter().any(|m| m.reads_continuation());
        ContinuationRows::of(&self.pair.answer, &self.pair.foil, to_end)
    }

    /// Positions of its longest run.
    fn longest(&self, spec: &SweepSpec) -> usize {
        let (base, source) = self.runs(spec.direction);
        base.len().max(source.len()) + self.continuation(spec).appended()
    }

    /// Bytes of the activations of its unpatched runs, and of what else is kept while its cells are computed.
    fn run_bytes(&self, spec: &SweepSpec, shape: &Shape) -> u64 {
        let (base, source) = self.runs(spec.direction);
        let continuation = self.continuation(spec);
        let run = |n: usize| cache_bytes(shape, n + continuation.appended());
        let runs = continuation.rows() as u64 * (run(base.len()) + run(source.len()));
        let few = self.pair.answer.len() + self.pair.foil.len();
        let head = match whole_vocabulary(spec) {
            true => 0,
            false => head_bytes(shape, few),
        };
        // The clean run's log-probabilities.
        let clean = match spec.metrics.contains(&engram_core::Metric::Kl) {
            true => 8 * shape.vocab as u64,
            false => 0,
        };
        runs + head + clean
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

    /// What a cell writes. Where it takes all its values from the source run, positions before the first difference, at
    /// which both runs are equal, are left out.
    pub(crate) fn writes(
        &self,
        spec: &SweepSpec,
        cell: &PlannedCell,
        value: impl Fn(&Intervention, usize) -> wavefront::WrittenValue,
    ) -> Vec<Write> {
        let (base, _) = self.runs(spec.direction);
        let all = cell.interventions.iter();
        let first = match all.clone().all(|i| i.value.is_source()) {
            true => self.first_difference(spec),
            false => 0,
        };
        all.map(|intervention| {
            let place = intervention.place.range(base.len());
            let start = place.start.max(first);
            Write {
                site: intervention.site,
                layer: intervention.layer,
                positions: start..place.end.max(start),
                part: intervention.part.map(|p| p.start..p.end),
                value: value(intervention, place.start),
            }
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
    /// Lays out what `done` does not have of a plan, for `threads` threads.
    ///
    /// # Errors
    /// [`PatchError::Memory`] with the least that would do.
    pub fn of(plan: &Plan, done: &Done, memory: Memory, threads: usize) -> Result<Schedule> {
        Schedule::beside(plan, done, memory, threads, 0)
    }

    /// [`Schedule::of`] for who then holds all rows of the results and writes them: their memory counts too.
    ///
    /// # Errors
    /// As [`Schedule::of`].
    pub fn with_rows(plan: &Plan, done: &Done, memory: Memory, threads: usize) -> Result<Schedule> {
        // Rows are made when the weights that were laid out are gone.
        let (rows, at_once) = (plan.rows(), plan.rows().min(ROWS_PER_GROUP));
        let rows = rows as u64 * ROW_BYTES + at_once as u64 * COLUMN_BYTES;
        let besides = memory.standing + result_bytes(plan) + rows + threads as u64 * KEPT;
        Schedule::beside(plan, done, memory, threads, besides)
    }

    /// [`Schedule::of`] where so many bytes are taken at another time.
    fn beside(
        plan: &Plan,
        done: &Done,
        memory: Memory,
        threads: usize,
        besides: u64,
    ) -> Result<Schedule> {
        let (spec, shape) = (&plan.spec, &plan.shape);
        let longest = plan.pairs.iter().map(|p| p.longest(spec)).max();
        let mut standing = memory.standing + panel_bytes(shape) + result_bytes(plan);
        standing += standing / GAPS + ELSE + threads as u64 * THREAD;
        standing += task_bytes(shape, longest.unwrap_or(0), threads);
        if whole_vocabulary(spec) {
            let logits = 4 * (ROWS_UNEMBEDDED * shape.vocab) as u64;
            standing += head_bytes(shape, shape.vocab) + logits;
        }
        let mut schedule = Schedule {
            groups: Vec::new(),
            cells: plan.cells(),
            fixed: 0,
            flops: 0,
            flops_naive: 0,
            standing,
            bytes: standing.max(besides),
            memory: memory.allowed,
        };
        let room = memory.allowed.saturating_sub(standing);
        let mut least = schedule.bytes;
        let mut group = OpenGroup::default();
        let work = Work::of(shape);
        for (index, pair) in plan.pairs.iter().enumerate() {
            let worlds = schedule.worlds(plan, (index, pair), done, &work);
            let runs = !worlds.is_empty() || !done.has_unpatched(index);
            let bytes = if runs { pair.run_bytes(spec, shape) } else { 0 };
            let most = worlds.iter().map(|w| w.bytes).max().unwrap_or(0);
            least = least.max(standing + bytes + most);
            if group.is_full(bytes, most, room) {
                schedule.close(std::mem::take(&mut group), index, room);
            }
            group.bytes += bytes;
            group.most = group.most.max(most);
            group.flops += if runs { run_work(plan, pair, &work) } else { 0 };
            group.rows += worlds.iter().map(|w| w.rows).sum::<usize>();
            group.worlds.extend(worlds);
            group.pairs += 1;
        }
        schedule.close(group, plan.pairs.len(), room);
        if least > memory.allowed {
            return Err(PatchError::Memory {
                least,
                given: memory.allowed,
            });
        }
        Ok(schedule)
    }

    /// Takes a group of pairs up to the one numbered `end` in.
    fn close(&mut self, group: OpenGroup, end: usize, room: u64) {
        if group.pairs == 0 {
            return;
        }
        let waves = waves(group.worlds, room.saturating_sub(group.bytes));
        let widest = waves.iter().map(|w| w.bytes).max().unwrap_or(0);
        self.bytes = self.bytes.max(self.standing + group.bytes + widest);
        self.flops += group.flops + waves.iter().map(|w| w.flops).sum::<u64>();
        self.groups.push(PairGroup {
            pairs: end - group.pairs..end,
            bytes: group.bytes,
            flops: group.flops,
            waves,
        });
    }

    /// The worlds of a pair that are to be computed.
    fn worlds(
        &mut self,
        plan: &Plan,
        (index, pair): (usize, &PairPlan),
        done: &Done,
        work: &Work<'_>,
    ) -> Vec<Costed> {
        let (spec, shape) = (&plan.spec, &plan.shape);
        let continuation = pair.continuation(spec);
        let (base, _) = pair.runs(spec.direction);
        let positions = base.len() + continuation.appended();
        let a_run = work.run(positions) + unembedding(shape.vocab, shape.d_model, positions);
        let reads = 1 + continuation.appended();
        let tokens = read_tokens(plan, pair);
        let mut worlds = Vec::new();
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
            // What is written does not matter, but how many terms are read does.
            let any = wavefront::WrittenValue::Run { run: 0, shift: 0 };
            let value = |at: &Intervention, _| match &at.value {
                Value::Reading(terms) => wavefront::WrittenValue::Reading(
                    (terms
                        .iter()
                        .map(|term| term.written(any.clone()))
                        .collect::<Vec<_>>())
                    .into(),
                ),
                _ => any.clone(),
            };
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
                flops: rows as u64 * (work.world(&world, positions) + read),
                bytes: rows as u64 * world_bytes(shape, &world, positions),
            });
        }
        worlds
    }
}

/// Pairs whose unpatched runs will be kept at one time.
#[derive(Default)]
struct OpenGroup {
    pairs: usize,
    /// Bytes of their runs.
    bytes: u64,
    /// Operations of their runs.
    flops: u64,
    worlds: Vec<Costed>,
    /// Rows of their worlds.
    rows: usize,
    /// Bytes of the largest world.
    most: u64,
}

impl OpenGroup {
    /// Whether a pair with runs of so many bytes, its largest world of `most`, is to begin another group.
    fn is_full(&self, bytes: u64, most: u64, room: u64) -> bool {
        // Half of what there is for runs, half for worlds.
        let runs = self.bytes + bytes;
        let fits = 2 * runs <= room && runs + self.most.max(most) <= room;
        self.pairs > 0 && (self.rows >= ROWS_PER_WAVE || !fits)
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
    let of = |i: &Intervention| match (i.site, i.layer) {
        (Site::Embed | Site::PosEmbed, _) => 0,
        (_, layer) => layer.unwrap_or(layers),
    };
    cell.interventions.iter().map(of).min().unwrap_or(layers)
}

/// Operations of a pair's unpatched runs.
fn run_work(plan: &Plan, pair: &PairPlan, work: &Work<'_>) -> u64 {
    let (base, source) = pair.runs(plan.spec.direction);
    let continuation = pair.continuation(&plan.spec);
    let tokens = read_tokens(plan, pair);
    let run = |prompt: usize| {
        let read = unembedding(tokens, plan.shape.d_model, 1 + continuation.appended());
        work.run(prompt + continuation.appended()) + read
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
