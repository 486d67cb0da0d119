//! The fast engine: a sweep as wavefronts through the network.

mod values;

use std::collections::BTreeSet;

use engram_core::{Direction, Metric, NamedSite};
use engram_model::LanguageModel;
use engram_model::wavefront::{Caches, Run, Vocabulary, Wavefront, World};
use rayon::prelude::*;

use values::Constants;

use crate::continuation::ContinuationRows;
use crate::engine::{Batch, Done, Engine, Sink, Unpatched, Values};
use crate::error::{PatchError, Result};
use crate::intervention::Intervention;
use crate::noise::{deviation, subject_tokens};
use crate::own_metric::{OwnMetrics, check_finite};
use crate::plan::{PairPlan, Plan, patched_run};
use crate::schedule::{Memory, ROWS_UNEMBEDDED, Schedule, Wave, whole_vocabulary};

/// Worlds branch off cached base runs and go through the network together; see
/// [`engram_model::wavefront`]. A cell's values do not depend on what goes through with it, to the
/// last bit: not on other cells or pairs, the memory allowed or the number of threads.
///
/// The model is laid out once, in [`StagedEngine::new`].
pub struct StagedEngine<'m> {
    model: &'m LanguageModel,
    front: Wavefront,
    memory: Memory,
    own: OwnMetrics,
}

impl<'m> StagedEngine<'m> {
    /// For a model, which is laid out here, beside what stands. [`Schedule::of`] says before that whether a plan fits.
    ///
    /// # Errors
    /// The model's.
    pub fn new(model: &'m LanguageModel, memory: Memory) -> Result<StagedEngine<'m>> {
        Ok(StagedEngine {
            model,
            front: Wavefront::new(model)?,
            memory,
            own: OwnMetrics::default(),
        })
    }

    /// The same with metrics of the caller's.
    #[must_use]
    pub fn measuring(self, own: OwnMetrics) -> StagedEngine<'m> {
        StagedEngine { own, ..self }
    }

    /// What a sweep computes, and in which order.
    ///
    /// # Errors
    /// [`PatchError::Memory`].
    pub fn schedule(&self, plan: &Plan, done: &Done) -> Result<Schedule> {
        Schedule::of(plan, done, self.memory, rayon::current_num_threads())
    }
}

/// A pair whose unpatched runs are cached.
struct Bench<'a> {
    plan: &'a Plan,
    index: usize,
    pair: &'a PairPlan,
    continuation: ContinuationRows,
    /// The first of its base runs, and of its source runs, among the cached.
    base: usize,
    source: usize,
    /// The head's rows for its answer and foil, where no more is read.
    vocabulary: Option<Vocabulary>,
    answer: Vec<u32>,
    foil: Vec<u32>,
    /// Log-probabilities of the clean run after the prompt; empty where no metric asks.
    clean: Vec<f64>,
    unpatched: Unpatched,
}

/// The head: from its input to the logits that a pair's metrics read.
struct Head<'a> {
    front: &'a Wavefront,
    whole: Option<&'a Vocabulary>,
    own: &'a OwnMetrics,
}

impl Engine for StagedEngine<'_> {
    fn model(&self) -> &LanguageModel {
        self.model
    }

    fn own_metrics(&self) -> &OwnMetrics {
        &self.own
    }

    fn run(&self, plan: &Plan, done: &Done, sink: Sink<'_>) -> Result<()> {
        self.check(plan)?;
        let schedule = self.schedule(plan, done)?;
        let constants = self.constants(plan, &schedule)?;
        let sigma = match plan.pairs.iter().any(|p| p.noise.is_some()) {
            true => deviation(&self.front.embeddings(&subject_tokens(plan))?),
            false => 0.0,
        };
        let whole = match whole_vocabulary(&plan.spec) {
            true => Some(self.front.vocabulary(None)?),
            false => None,
        };
        let head = Head {
            front: &self.front,
            whole: whole.as_ref(),
            own: &self.own,
        };
        for group in &schedule.groups {
            let cells = group.waves.iter().flat_map(|w| &w.cells);
            let worked: BTreeSet<usize> = cells.map(|(pair, _)| *pair).collect();
            let wanted = |p: &usize| worked.contains(p) || !done.has_unpatched(*p);
            let wanted: Vec<usize> = group.pairs.clone().filter(wanted).collect();
            let (mut benches, runs) = self.benches(plan, &wanted, sigma)?;
            let caches = self.front.runs(&runs)?;
            if let Some(found) = caches.not_finite() {
                let of = benches.iter().rfind(|b| b.base <= found.run);
                return Err(PatchError::NotFinite {
                    pair: of.map_or_else(String::new, |b| b.pair.pair.id.clone()),
                    run: "an unpatched run".to_owned(),
                    site: found.site,
                });
            }
            for bench in &mut benches {
                bench.measure_unpatched(&caches, &head)?;
                sink(bench.batch(Vec::new()))?;
            }
            for wave in &group.waves {
                for batch in self.wave(&benches, &caches, wave, &constants, &head)? {
                    sink(batch)?;
                }
            }
        }
        Ok(())
    }
}

impl StagedEngine<'_> {
    /// The pairs of a group with the runs that they need.
    fn benches<'a>(
        &self,
        plan: &'a Plan,
        pairs: &[usize],
        sigma: f64,
    ) -> Result<(Vec<Bench<'a>>, Vec<Run>)> {
        let mut runs: Vec<Run> = Vec::new();
        let mut benches = Vec::with_capacity(pairs.len());
        for &index in pairs {
            let pair = &plan.pairs[index];
            let spec = &plan.spec;
            let continuation = pair.continuation(spec);
            let (base, source) = pair.runs(spec.direction);
            let noise = pair
                .noise
                .map(|n| (n.span.start, n.draw(sigma, plan.shape.d_model)));
            let denoise = spec.direction == Direction::Denoise;
            let mut add = |prompt: &[u32], corrupted: bool| {
                let first = runs.len();
                runs.extend(continuation.of_prompt(prompt).map(|ids| Run {
                    ids,
                    noise: noise.clone().filter(|_| corrupted),
                }));
                first
            };
            let (base, source) = (add(base, denoise), add(source, !denoise));
            let (answer, foil) = (&pair.pair.answer, &pair.pair.foil);
            let few = !whole_vocabulary(spec);
            let tokens: Vec<u32> = answer.iter().chain(foil).copied().collect();
            let renamed =
                |from: usize, count: usize| (from..from + count).map(|t| t as u32).collect();
            benches.push(Bench {
                plan,
                index,
                pair,
                continuation,
                base,
                source,
                vocabulary: match few {
                    true => Some(self.front.vocabulary(Some(&tokens))?),
                    false => None,
                },
                answer: if few {
                    renamed(0, answer.len())
                } else {
                    answer.clone()
                },
                foil: if few {
                    renamed(answer.len(), foil.len())
                } else {
                    foil.clone()
                },
                clean: Vec::new(),
                unpatched: Unpatched::default(),
            });
        }
        Ok((benches, runs))
    }

    /// One wavefront; its cells by pair.
    fn wave(
        &self,
        benches: &[Bench<'_>],
        caches: &Caches,
        wave: &Wave,
        constants: &Constants,
        head: &Head<'_>,
    ) -> Result<Vec<Batch>> {
        let mut cells = wave.cells.clone();
        cells.sort_unstable();
        let mut worlds = Vec::with_capacity(cells.len());
        let mut owners: Vec<(&Bench<'_>, Vec<usize>)> = Vec::new();
        for (pair, cell) in cells {
            if owners.last().is_none_or(|(bench, _)| bench.index != pair) {
                let Some(bench) = benches.iter().find(|b| b.index == pair) else {
                    continue;
                };
                owners.push((bench, Vec::new()));
            }
            let Some((bench, own)) = owners.last_mut() else {
                continue;
            };
            own.push(cell);
            worlds.extend(bench.worlds(cell, (self, constants)));
        }
        let out = self.front.worlds(caches, &worlds);
        let mut rest = out.as_slice();
        let mut batches = Vec::with_capacity(owners.len());
        for (bench, cells) in owners {
            let size = bench.rows() * self.front.shape().d_model;
            let (own, after) = rest.split_at(cells.len() * size);
            rest = after;
            if let Some(at) = own.iter().position(|v| !v.is_finite()) {
                let cell = &bench.pair.cells[cells[at / size]];
                let site = NamedSite::canonical(cell.at.site, cell.at.layer).name;
                let (base, _) = bench.pair.runs(bench.plan.spec.direction);
                let place = cell.place.range(base.len());
                return Err(PatchError::NotFinite {
                    pair: bench.pair.pair.id.clone(),
                    run: format!("the run patched at positions {place:?}"),
                    site,
                });
            }
            let metrics = &bench.plan.spec.metrics;
            let values = bench.measure(own, head, metrics);
            for (cell, values) in cells.iter().zip(&values) {
                let (base, _) = bench.pair.runs(bench.plan.spec.direction);
                let run = || patched_run(&bench.pair.cells[*cell], base.len());
                check_finite(metrics, values, &bench.pair.pair, run)?;
            }
            batches.push(bench.batch(cells.into_iter().zip(values).collect()));
        }
        Ok(batches)
    }
}

impl Bench<'_> {
    /// Rows of the head's input that one run or cell gives.
    fn rows(&self) -> usize {
        self.continuation.rows() * (1 + self.continuation.appended())
    }

    fn batch(&self, cells: Vec<(usize, Values)>) -> Batch {
        Batch {
            pair: self.index,
            unpatched: self.unpatched.clone(),
            cells,
        }
    }

    /// The worlds of a cell: one for each row of the continuation.
    fn worlds(
        &self,
        cell: usize,
        (engine, constants): (&StagedEngine<'_>, &Constants),
    ) -> impl Iterator<Item = World> {
        let spec = &self.plan.spec;
        let source = (self.source, self.pair.shift);
        let value = |at: &Intervention, first| {
            engine.value((&at.value, (at.site, at.layer)), first, source, constants)
        };
        let writes = self.pair.writes(spec, &self.pair.cells[cell], value);
        let read = self.pair.runs(spec.direction).0.len() - 1;
        (0..self.continuation.rows()).map(move |row| World {
            base: self.base + row,
            writes: writes.clone(),
            read,
        })
    }

    fn measure_unpatched(&mut self, caches: &Caches, head: &Head<'_>) -> Result<()> {
        let spec = &self.plan.spec;
        let (base, source) = self.pair.runs(spec.direction);
        let rows = |first: usize, prompt: usize| -> Vec<f32> {
            (first..first + self.continuation.rows())
                .flat_map(|run| caches.ln_final(run, prompt - 1..caches.positions(run)))
                .copied()
                .collect()
        };
        let (base, source) = (rows(self.base, base.len()), rows(self.source, source.len()));
        let (clean, corrupt) = match spec.direction {
            Direction::Denoise => (source, base),
            Direction::Noise => (base, source),
        };
        if spec.metrics.contains(&Metric::Kl) {
            let logits = head.logits(&clean, self);
            self.clean = self.readout(&logits, head).last.log_probs();
        }
        let mut metrics = spec.metrics.clone();
        metrics.push(spec.gate());
        let of = |rows: &[f32]| {
            let mut values = self.measure(rows, head, &metrics);
            let mut values = values.pop().unwrap_or_default();
            let gate = values.pop().unwrap_or(f64::NAN);
            (values, gate)
        };
        let (clean, corrupt) = (of(&clean), of(&corrupt));
        for (values, run) in [(&clean.0, "clean"), (&corrupt.0, "corrupted")] {
            let run = || format!("the {run} run");
            check_finite(&spec.metrics, values, &self.pair.pair, run)?;
        }
        self.unpatched = Unpatched {
            gap: clean.1 - corrupt.1,
            clean: clean.0,
            corrupt: corrupt.0,
        };
        Ok(())
    }

    fn readout<'l>(&self, logits: &'l [f32], head: &Head<'_>) -> crate::metric::Readout<'l> {
        let tokens = head.vocabulary(self).map_or(0, Vocabulary::tokens);
        let positions = 1 + self.continuation.appended();
        self.continuation.readout(logits, positions, tokens)
    }

    /// Metrics of each run or cell from its rows of the head's input.
    fn measure(&self, rows: &[f32], head: &Head<'_>, metrics: &[Metric]) -> Vec<Values> {
        let one = self.rows() * head.front.shape().d_model;
        let at_once = (ROWS_UNEMBEDDED / self.rows()).max(1) * one;
        let mut values = Vec::with_capacity(rows.len() / one.max(1));
        for rows in rows.chunks(at_once) {
            let logits = head.logits(rows, self);
            let size = logits.len() / (rows.len() / one).max(1);
            let found = logits.par_chunks(size.max(1)).map(|logits| {
                let readout = self.readout(logits, head);
                let tokens = (self.answer.as_slice(), self.foil.as_slice());
                let of_pair = (&self.pair.pair, tokens);
                (head.own).measure(&readout, metrics, of_pair, &self.clean)
            });
            values.extend(found.collect::<Vec<_>>());
        }
        values
    }
}

impl Head<'_> {
    fn vocabulary<'v>(&'v self, bench: &'v Bench<'_>) -> Option<&'v Vocabulary> {
        bench.vocabulary.as_ref().or(self.whole)
    }

    fn logits(&self, rows: &[f32], bench: &Bench<'_>) -> Vec<f32> {
        let vocabulary = self.vocabulary(bench);
        vocabulary.map_or_else(Vec::new, |v| self.front.logits(rows, v))
    }
}
