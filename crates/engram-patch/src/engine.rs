//! Engines run a plan. This one is slow and obvious: a whole forward pass for every cell.

use engram_core::{Direction, Metric, NamedSite, Row};
use engram_model::{Capture, Model, Shape, Tap};
use indexmap::IndexSet;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::continuation::Continuation;
use crate::error::{PatchError, Result};
use crate::metric::{Readout, recovery};
use crate::plan::{PairPlan, Plan, PlannedCell};
use crate::reach::Fate;
use crate::spec::SweepSpec;
use crate::worlds::{Sources, Worlds, first_not_finite};

/// What a sweep found for one pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairResult {
    /// The pair's id.
    pub pair: String,
    /// The pair's kind.
    pub kind: String,
    /// Whether the clean–corrupt gap is large enough; where not, every recovery is null.
    pub eligible: bool,
    /// That gap: of the logit difference (of the mean logit difference in the published script's way).
    pub gap: f64,
    /// One row for each cell and metric, cells in the plan's order.
    pub rows: Vec<Row>,
}

/// Receives each pair's results as soon as they are there, in the plan's order.
pub type Sink<'a> = &'a mut dyn FnMut(PairResult) -> Result<()>;

/// Runs plans.
pub trait Engine {
    /// Computes every cell of a plan and gives the results, pair by pair, to `sink`.
    ///
    /// # Errors
    /// [`PatchError::NotFinite`], the model's, or whatever `sink` says.
    fn sweep(&self, model: &Model, plan: &Plan, sink: Sink<'_>) -> Result<()>;
}

/// The reference: one full forward pass for every cell, the cells of a pair batched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NaiveEngine {
    /// The most rows of one batch.
    pub batch: usize,
    /// The most bytes that the activations of one batch may take, by estimate.
    pub memory: u64,
    /// Whether cells whose value the graph fixes get it without a run.
    pub skip_trivial: bool,
}

impl Default for NaiveEngine {
    fn default() -> NaiveEngine {
        NaiveEngine {
            batch: 64,
            memory: 1 << 30,
            skip_trivial: true,
        }
    }
}

/// Bytes that one row of `positions` tokens takes at once: what a block holds, and the logits.
pub(crate) fn row_bytes(shape: &Shape, positions: usize) -> u64 {
    let block = 12 * shape.d_model
        + 3 * shape.d_mlp
        + shape.heads * (positions + shape.d_model)
        + 3 * shape.vocab;
    4 * (positions * block) as u64
}

/// A pair's metrics in one run, in the order of the spec.
type Values = Vec<f64>;

/// What a pair's runs have in common.
struct Bench<'a> {
    model: &'a Model,
    spec: &'a SweepSpec,
    plan: &'a PairPlan,
    continuation: Continuation,
    prompt: usize,
    vocab: usize,
    /// Log-probabilities of the clean run at the prompt's last position; empty where no metric asks.
    clean: Vec<f64>,
}

/// The unpatched runs of a pair.
struct Unpatched {
    clean: Values,
    corrupt: Values,
    gap: f64,
    sources: Sources,
}

impl Engine for NaiveEngine {
    fn sweep(&self, model: &Model, plan: &Plan, sink: Sink<'_>) -> Result<()> {
        for pair in &plan.pairs {
            sink(self.pair(model, &plan.spec, &plan.shape, pair)?)?;
        }
        Ok(())
    }
}

impl NaiveEngine {
    fn pair(
        &self,
        model: &Model,
        spec: &SweepSpec,
        shape: &Shape,
        plan: &PairPlan,
    ) -> Result<PairResult> {
        let to_end = spec.metrics.iter().any(|m| m.reads_continuation());
        let mut bench = Bench {
            model,
            spec,
            plan,
            continuation: Continuation::of(&plan.pair.answer, &plan.pair.foil, to_end),
            prompt: plan.pair.clean.len(),
            vocab: shape.vocab,
            clean: Vec::new(),
        };
        let open: Vec<usize> = (0..plan.cells.len())
            .filter(|i| plan.cells[*i].same_as.is_none())
            .filter(|i| !(self.skip_trivial && bench.is_fixed(&plan.cells[*i])))
            .collect();
        let unpatched = bench.unpatched(&open)?;

        let mut values: Vec<Option<Values>> = vec![None; plan.cells.len()];
        let rows = bench.continuation.rows();
        let bytes = row_bytes(shape, bench.prompt + bench.continuation.appended());
        let most = (self.memory / bytes.max(1)).min(self.batch as u64) as usize;
        for batch in open.chunks((most / rows).max(1)) {
            for (cell, found) in batch.iter().zip(bench.patched(batch, &unpatched.sources)?) {
                values[*cell] = Some(found);
            }
        }
        Ok(bench.result(&unpatched, values))
    }
}

impl Bench<'_> {
    /// Whether the graph fixes the cell's value in every metric asked for.
    fn is_fixed(&self, cell: &PlannedCell) -> bool {
        let metrics = &self.spec.metrics;
        metrics.iter().all(|m| cell.fate(*m) != Fate::Open)
    }

    /// Both unpatched runs, and the source run's values at the sites of `cells`.
    fn unpatched(&mut self, cells: &[usize]) -> Result<Unpatched> {
        let (base, source) = self.plan.runs(self.spec.direction);
        let mut ids: Vec<Vec<u32>> = self.continuation.of_prompt(source).collect();
        ids.extend(self.continuation.of_prompt(base));
        let sites: IndexSet<_> = cells
            .iter()
            .map(|i| &self.plan.cells[*i].at)
            .map(|at| (at.site, at.layer))
            .collect();
        let mut capture = Capture::of(sites);
        let logits = self.read(&ids, &mut capture)?;
        if !logits.iter().all(|v| v.is_finite()) {
            return Err(PatchError::NotFinite {
                pair: self.plan.pair.id.clone(),
                run: "an unpatched run".to_owned(),
                site: first_not_finite(self.model, &ids)?,
            });
        }
        let (of_source, of_base) = logits.split_at(logits.len() / 2);
        let (of_clean, of_corrupt) = match self.spec.direction {
            Direction::Denoise => (of_source, of_base),
            Direction::Noise => (of_base, of_source),
        };
        if self.spec.metrics.contains(&Metric::Kl) {
            self.clean = self.readout(of_clean).last.log_probs();
        }
        let gate = [self.spec.gate()];
        let gap = self.measure(of_clean, &gate)[0] - self.measure(of_corrupt, &gate)[0];
        Ok(Unpatched {
            clean: self.measure(of_clean, &self.spec.metrics),
            corrupt: self.measure(of_corrupt, &self.spec.metrics),
            gap,
            sources: Sources::of(&capture)?,
        })
    }

    /// The metrics of the base run patched at each of `cells`.
    fn patched(&self, cells: &[usize], sources: &Sources) -> Result<Vec<Values>> {
        let (base, _) = self.plan.runs(self.spec.direction);
        let rows = self.continuation.rows();
        let ids: Vec<Vec<u32>> = cells
            .iter()
            .flat_map(|_| self.continuation.of_prompt(base))
            .collect();
        let planned: Vec<&PlannedCell> = cells.iter().map(|i| &self.plan.cells[*i]).collect();
        let mut worlds = Worlds::of(&planned, rows, self.prompt, sources);
        let logits = self.read(&ids, &mut worlds)?;
        let worlds = logits.par_chunks(logits.len() / cells.len().max(1));
        let found: Vec<Option<Values>> = worlds
            .map(|logits| {
                let finite = logits.iter().all(|v| v.is_finite());
                finite.then(|| self.measure(logits, &self.spec.metrics))
            })
            .collect();
        found
            .into_iter()
            .zip(&planned)
            .map(|(values, cell)| {
                values.ok_or_else(|| {
                    let place = cell.place.range(self.prompt);
                    let at = NamedSite::canonical(cell.at.site, cell.at.layer).name;
                    PatchError::NotFinite {
                        pair: self.plan.pair.id.clone(),
                        run: format!("the run patched at positions {place:?}"),
                        site: at,
                    }
                })
            })
            .collect()
    }

    /// The logits from the prompt's last position on: [rows, 1 + appended, vocab], flat.
    fn read(&self, ids: &[Vec<u32>], tap: &mut dyn Tap) -> Result<Vec<f32>> {
        let logits = self.model.forward_from(ids, self.prompt - 1, tap)?;
        Ok(logits.flatten_all()?.to_vec1()?)
    }

    fn readout<'l>(&self, logits: &'l [f32]) -> Readout<'l> {
        let positions = 1 + self.continuation.appended();
        self.continuation.readout(logits, positions, self.vocab)
    }

    fn measure(&self, logits: &[f32], metrics: &[Metric]) -> Values {
        let (readout, pair) = (self.readout(logits), &self.plan.pair);
        let measure = |m: &Metric| readout.measure(*m, &pair.answer, &pair.foil, &self.clean);
        metrics.iter().map(measure).collect()
    }

    fn result(&self, unpatched: &Unpatched, values: Vec<Option<Values>>) -> PairResult {
        let pair = &self.plan.pair;
        let eligible = unpatched.gap >= self.spec.eligible_gap;
        let mut rows = Vec::with_capacity(values.len() * self.spec.metrics.len());
        for (index, cell) in self.plan.cells.iter().enumerate() {
            let found = values.get(cell.same_as.unwrap_or(index));
            let found = found.and_then(|v| v.as_ref());
            for (m, &metric) in self.spec.metrics.iter().enumerate() {
                let (clean, corrupt) = (unpatched.clean[m], unpatched.corrupt[m]);
                let fate = cell.fate(metric);
                let patched = match found {
                    Some(values) => values[m],
                    None => fixed(self.spec.direction, fate, clean, corrupt),
                };
                let mut row = self.row(cell, metric);
                row.clean = clean;
                row.corrupt = corrupt;
                row.patched = patched;
                row.recovery =
                    recovery(self.spec.direction, clean, corrupt, patched).filter(|_| eligible);
                row.trivial = fate != Fate::Open;
                row.trivial_why = fate.why().map(str::to_owned);
                rows.push(row);
            }
        }
        PairResult {
            pair: pair.id.clone(),
            kind: pair.kind.clone(),
            eligible,
            gap: unpatched.gap,
            rows,
        }
    }

    /// A row with what names it.
    fn row(&self, cell: &PlannedCell, metric: Metric) -> Row {
        Row {
            pair: self.plan.pair.id.clone(),
            kind: self.plan.pair.kind.clone(),
            name: cell.at.name.clone(),
            site: cell.at.site.name().to_owned(),
            layer: cell.at.layer.map(|l| l as i64),
            position: cell.place.position().map(|p| p as i64),
            token: self.plan.token(&cell.place, self.spec.direction),
            window: Some(self.spec.window as i64),
            direction: self.spec.direction.name().to_owned(),
            corruption: self.spec.corruption.to_string(),
            align: self.spec.align_name().to_owned(),
            metric: metric.name().to_owned(),
            ..Row::default()
        }
    }
}

/// The patched value that the graph fixes: the source run's or the base run's.
fn fixed(direction: Direction, fate: Fate, clean: f64, corrupt: f64) -> f64 {
    let (base, source) = match direction {
        Direction::Denoise => (corrupt, clean),
        Direction::Noise => (clean, corrupt),
    };
    match fate {
        Fate::Source => source,
        Fate::Same | Fate::Unread => base,
        Fate::Open => f64::NAN,
    }
}
