//! Engines run a plan. This one is slow and obvious: a whole forward pass for every cell.

use engram_core::{Corruption, Direction, Metric, NamedSite, Row, Site};
use engram_model::{Capture, Model, NoTap, Shape, Tap};
use indexmap::IndexSet;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::continuation::Continuation;
use crate::error::{PatchError, Result};
use crate::metric::{Readout, recovery};
use crate::noise::{deviation, subject_tokens};
use crate::plan::{PairPlan, Plan, PlannedCell};
use crate::reach::Fate;
use crate::spec::SweepSpec;
use crate::worlds::{Constants, Means, Noisy, Sources, Worlds, first_not_finite};

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

/// A pair's metrics in one run, in the order of the spec.
pub type Values = Vec<f64>;

/// The metrics of a pair's unpatched runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Unpatched {
    /// On the clean run.
    pub clean: Values,
    /// On the corrupted run.
    pub corrupt: Values,
    /// The clean–corrupt gap of the metric on which eligibility is decided.
    pub gap: f64,
}

/// Some finished cells of one pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Index of the pair in the plan.
    pub pair: usize,
    /// Its unpatched runs.
    pub unpatched: Unpatched,
    /// Index of each cell in the pair's plan, and its metrics.
    pub cells: Vec<(usize, Values)>,
}

/// Receives finished cells as soon as they are there.
pub type Sink<'a> = &'a mut dyn FnMut(Batch) -> Result<()>;

/// What is already computed of each pair of a plan.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Done {
    pairs: Vec<DonePair>,
}

/// What is computed of a pair: its unpatched runs, and metrics by cell.
#[derive(Debug, Clone, Default, PartialEq)]
struct DonePair {
    unpatched: Option<Unpatched>,
    values: Vec<Option<Values>>,
}

impl Done {
    /// Nothing of a plan.
    pub fn nothing(plan: &Plan) -> Done {
        let pair = |p: &PairPlan| DonePair {
            unpatched: None,
            values: vec![None; p.cells.len()],
        };
        Done {
            pairs: plan.pairs.iter().map(pair).collect(),
        }
    }

    /// Takes a batch in; cells and pairs that the plan does not have are left out.
    pub fn take(&mut self, batch: Batch) {
        let Some(pair) = self.pairs.get_mut(batch.pair) else {
            return;
        };
        pair.unpatched = Some(batch.unpatched);
        for (cell, values) in batch.cells {
            if let Some(slot) = pair.values.get_mut(cell) {
                *slot = Some(values);
            }
        }
    }

    /// Whether a cell's metrics are there.
    pub fn has(&self, pair: usize, cell: usize) -> bool {
        let pair = self.pairs.get(pair);
        pair.is_some_and(|p| p.values.get(cell).is_some_and(Option::is_some))
    }

    /// Whether a pair's unpatched runs are there.
    pub fn has_unpatched(&self, pair: usize) -> bool {
        self.pairs.get(pair).is_some_and(|p| p.unpatched.is_some())
    }

    /// Number of cells whose metrics are there.
    pub fn cells(&self) -> usize {
        let values = self.pairs.iter().flat_map(|p| &p.values);
        values.filter(|v| v.is_some()).count()
    }

    /// The rows of all pairs whose unpatched runs are there, in the plan's order.
    pub fn results(&self, plan: &Plan) -> Vec<PairResult> {
        let pairs = plan.pairs.iter().zip(&self.pairs);
        pairs
            .filter_map(|(of_plan, done)| {
                let unpatched = done.unpatched.as_ref()?;
                Some(result(&plan.spec, of_plan, unpatched, &done.values))
            })
            .collect()
    }
}

/// Runs plans.
pub trait Engine {
    /// Computes the cells of a plan that `done` does not have and whose value the graph does not fix,
    /// and gives them to `sink` batch by batch.
    ///
    /// # Errors
    /// [`PatchError::NotFinite`], the model's, or whatever `sink` says.
    fn sweep(&self, model: &Model, plan: &Plan, done: &Done, sink: Sink<'_>) -> Result<()>;

    /// Computes a whole plan; results in its order.
    ///
    /// # Errors
    /// As [`Engine::sweep`].
    fn collect(&self, model: &Model, plan: &Plan) -> Result<Vec<PairResult>> {
        let mut done = Done::nothing(plan);
        let nothing = done.clone();
        self.sweep(model, plan, &nothing, &mut |batch| {
            done.take(batch);
            Ok(())
        })?;
        Ok(done.results(plan))
    }
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

/// What a pair's runs have in common.
struct Bench<'a> {
    model: &'a Model,
    spec: &'a SweepSpec,
    plan: &'a PairPlan,
    continuation: Continuation,
    vocab: usize,
    /// Log-probabilities of the clean run at the prompt's last position; empty where no metric asks.
    clean: Vec<f64>,
    /// Standard deviation of the suite's subject embeddings, where noise falls on them.
    sigma: f64,
}

impl Engine for NaiveEngine {
    fn sweep(&self, model: &Model, plan: &Plan, done: &Done, sink: Sink<'_>) -> Result<()> {
        let sigma = match plan.pairs.iter().any(|p| p.noise.is_some()) {
            true => deviation(&embeddings(model, &subject_tokens(plan))?),
            false => 0.0,
        };
        let constants = constants(model, plan)?;
        for (index, pair) in plan.pairs.iter().enumerate() {
            self.pair(model, plan, (index, pair), sigma, &constants, done, sink)?;
        }
        Ok(())
    }
}

/// Token embeddings, flat.
fn embeddings(model: &Model, tokens: &[u32]) -> Result<Vec<f32>> {
    let mut capture = Capture::of([(Site::Embed, None)]);
    let mut values = Vec::new();
    for token in tokens {
        model.forward(&[vec![*token]], &mut capture)?;
        if let Some(row) = capture.get(Site::Embed, None) {
            values.extend(row.flatten_all()?.to_vec1::<f32>()?);
        }
    }
    Ok(values)
}

/// What cells are set to where that is no run's value: 0, or the mean over all tokens of all clean prompts.
fn constants(model: &Model, plan: &Plan) -> Result<Constants> {
    match plan.spec.corruption {
        Corruption::Zero => return Ok(Constants::Zero),
        Corruption::Mean => {}
        _ => return Ok(Constants::None),
    }
    let sites: IndexSet<_> = (plan.pairs.iter().flat_map(|p| &p.cells))
        .flat_map(|c| c.layers.iter().map(|l| (c.at.site, *l)))
        .collect();
    let mut means = Means::default();
    for pair in &plan.pairs {
        let mut capture = Capture::of(sites.iter().copied());
        let prompt = std::slice::from_ref(&pair.pair.clean);
        model.forward(prompt, &mut capture)?;
        means.add(&capture)?;
    }
    Ok(Constants::Means(means))
}

impl NaiveEngine {
    #[allow(clippy::too_many_arguments)]
    fn pair(
        &self,
        model: &Model,
        whole: &Plan,
        (index, plan): (usize, &PairPlan),
        sigma: f64,
        constants: &Constants,
        done: &Done,
        sink: Sink<'_>,
    ) -> Result<()> {
        let (spec, shape) = (&whole.spec, &whole.shape);
        let to_end = spec.metrics.iter().any(|m| m.reads_continuation());
        let mut bench = Bench {
            model,
            spec,
            plan,
            continuation: Continuation::of(&plan.pair.answer, &plan.pair.foil, to_end),
            vocab: shape.vocab,
            clean: Vec::new(),
            sigma,
        };
        let open: Vec<usize> = (0..plan.cells.len())
            .filter(|i| plan.cells[*i].same_as.is_none())
            .filter(|i| !(self.skip_trivial && plan.cells[*i].is_fixed(&spec.metrics)))
            .filter(|i| !done.has(index, *i))
            .collect();
        if open.is_empty() && done.has_unpatched(index) {
            return Ok(());
        }
        let (unpatched, sources) = bench.unpatched(&open)?;
        sink(Batch {
            pair: index,
            unpatched: unpatched.clone(),
            cells: Vec::new(),
        })?;
        let rows = bench.continuation.rows();
        let longest = plan.pair.clean.len().max(plan.pair.corrupt.len());
        let bytes = row_bytes(shape, longest + bench.continuation.appended());
        let most = (self.memory / bytes.max(1)).min(self.batch as u64) as usize;
        for batch in open.chunks((most / rows).max(1)) {
            let found = bench.patched(batch, &sources, constants)?;
            sink(Batch {
                pair: index,
                unpatched: unpatched.clone(),
                cells: batch.iter().copied().zip(found).collect(),
            })?;
        }
        Ok(())
    }
}

impl Bench<'_> {
    /// Both unpatched runs, and the source run's values at the sites of `cells`.
    fn unpatched(&mut self, cells: &[usize]) -> Result<(Unpatched, Sources)> {
        let (base, source) = self.plan.runs(self.spec.direction);
        let sites: IndexSet<_> = cells
            .iter()
            .map(|i| &self.plan.cells[*i])
            .flat_map(|c| c.layers.iter().map(|l| (c.at.site, *l)))
            .collect();
        let mut capture = Capture::of(sites);
        let denoise = self.spec.direction == Direction::Denoise;
        let of_source = self.alone(source, !denoise, &mut capture)?;
        let of_base = self.alone(base, denoise, &mut NoTap)?;
        let (of_clean, of_corrupt) = match self.spec.direction {
            Direction::Denoise => (of_source, of_base),
            Direction::Noise => (of_base, of_source),
        };
        if self.spec.metrics.contains(&Metric::Kl) {
            self.clean = self.readout(&of_clean).last.log_probs();
        }
        let gate = [self.spec.gate()];
        let gap = self.measure(&of_clean, &gate)[0] - self.measure(&of_corrupt, &gate)[0];
        let unpatched = Unpatched {
            clean: self.measure(&of_clean, &self.spec.metrics),
            corrupt: self.measure(&of_corrupt, &self.spec.metrics),
            gap,
        };
        Ok((unpatched, Sources::of(&capture)?))
    }

    /// One unpatched run: [rows, 1 + appended, vocab], flat.
    fn alone(&self, prompt: &[u32], corrupted: bool, tap: &mut dyn Tap) -> Result<Vec<f32>> {
        let ids: Vec<Vec<u32>> = self.continuation.of_prompt(prompt).collect();
        let mut tap = Noisy::of(self.noise(corrupted, ids.len()), tap);
        let logits = self.read(&ids, prompt.len(), &mut tap)?;
        if !logits.iter().all(|v| v.is_finite()) {
            return Err(PatchError::NotFinite {
                pair: self.plan.pair.id.clone(),
                run: "an unpatched run".to_owned(),
                site: first_not_finite(self.model, &ids)?,
            });
        }
        Ok(logits)
    }

    /// What is added to the embeddings of the first `rows` rows of a batch.
    fn noise(&self, corrupted: bool, rows: usize) -> Option<(usize, usize, Vec<f32>)> {
        let noise = self.plan.noise.filter(|_| corrupted)?;
        let d = self.model.shape().d_model;
        Some((rows, noise.span.start, noise.draw(self.sigma, d)))
    }

    /// The metrics of the base run patched at each of `cells`.
    fn patched(
        &self,
        cells: &[usize],
        sources: &Sources,
        constants: &Constants,
    ) -> Result<Vec<Values>> {
        let (base, _) = self.plan.runs(self.spec.direction);
        let rows = self.continuation.rows();
        let ids: Vec<Vec<u32>> = cells
            .iter()
            .flat_map(|_| self.continuation.of_prompt(base))
            .collect();
        let planned: Vec<&PlannedCell> = cells.iter().map(|i| &self.plan.cells[*i]).collect();
        let mut worlds = Worlds::of(&planned, rows, (base.len(), self.plan.shift), sources);
        worlds.constants = constants;
        worlds.d_head = self.model.shape().d_head;
        let corrupted = self.spec.direction == Direction::Denoise;
        let mut worlds = Noisy::of(self.noise(corrupted, ids.len()), &mut worlds);
        let logits = self.read(&ids, base.len(), &mut worlds)?;
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
                    let place = cell.place.range(base.len());
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
    fn read(&self, ids: &[Vec<u32>], prompt: usize, tap: &mut dyn Tap) -> Result<Vec<f32>> {
        let logits = self.model.forward_from(ids, prompt - 1, tap)?;
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
}

/// The rows of a pair, cells in the plan's order, from what was computed and what the graph fixes.
pub fn result(
    spec: &SweepSpec,
    plan: &PairPlan,
    unpatched: &Unpatched,
    values: &[Option<Values>],
) -> PairResult {
    let eligible = unpatched.gap >= spec.eligible_gap;
    let mut rows = Vec::with_capacity(plan.cells.len() * spec.metrics.len());
    for (index, cell) in plan.cells.iter().enumerate() {
        let found = values.get(cell.same_as.unwrap_or(index));
        let found = found.and_then(|v| v.as_ref());
        for (m, &metric) in spec.metrics.iter().enumerate() {
            let (clean, corrupt) = (unpatched.clean[m], unpatched.corrupt[m]);
            let fate = cell.fate(metric);
            let patched = match found {
                Some(values) => values[m],
                None => fixed(spec.direction, fate, clean, corrupt),
            };
            let recovery = recovery(spec.direction, clean, corrupt, patched);
            rows.push(Row {
                clean,
                corrupt,
                patched,
                recovery: recovery.filter(|_| eligible),
                trivial: fate != Fate::Open,
                trivial_why: fate.why().map(str::to_owned),
                ..row(spec, plan, cell, metric)
            });
        }
    }
    PairResult {
        pair: plan.pair.id.clone(),
        kind: plan.pair.kind.clone(),
        eligible,
        gap: unpatched.gap,
        rows,
    }
}

/// A row with what names it.
fn row(spec: &SweepSpec, plan: &PairPlan, cell: &PlannedCell, metric: Metric) -> Row {
    let (site, part) = (cell.at.site, cell.part);
    let position = cell.place.position().map(|p| p as i64);
    let first = |is: bool| part.filter(|_| is).map(|p| p.start as i64);
    Row {
        pair: plan.pair.id.clone(),
        kind: plan.pair.kind.clone(),
        name: cell.at.name.clone(),
        site: site.name().to_owned(),
        layer: cell.at.layer.map(|l| l as i64),
        head: first(site.has_heads()),
        position,
        token: plan.token(&cell.place, spec.direction),
        query: position.filter(|_| site == Site::Pattern),
        unit: first(site.has_neurons()),
        window: Some(spec.window as i64),
        direction: spec.direction.name().to_owned(),
        corruption: spec.corruption.to_string(),
        sample: plan.noise.map(|n| n.sample as i64),
        align: spec.align_name().to_owned(),
        metric: metric.name().to_owned(),
        ..Row::default()
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
