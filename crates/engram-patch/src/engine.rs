//! Engines run a plan: what they take, what they give batch by batch, and the rows made of it.

use engram_core::{Direction, Metric, Row, Site};
use engram_model::LanguageModel;
use serde::{Deserialize, Serialize};

use crate::eligibility::{Eligibility, by_pair};
use crate::error::{PatchError, Result};
use crate::metric::recovery;
use crate::own_metric::OwnMetrics;
use crate::plan::{PairPlan, Plan, PlannedCell};
use crate::reach::Fate;
use crate::spec::SweepSpec;

/// What a sweep found for one pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairResult {
    /// The pair's id.
    pub pair: String,
    /// The pair's kind.
    pub kind: String,
    /// The pair's clean–corrupt gaps, which decide in which metrics its rows have a recovery; the same for all noise
    /// samples of a pair.
    pub eligibility: Eligibility,
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

    /// The rows of all pairs whose unpatched runs are there, in the plan's order. Eligibility is of the samples that
    /// are there.
    pub fn results(&self, plan: &Plan) -> Vec<PairResult> {
        let mut results = Vec::with_capacity(plan.pairs.len());
        for samples in by_pair(&plan.pairs) {
            let runs = self.pairs[samples.clone()].iter();
            let runs: Vec<&Unpatched> = runs.filter_map(|p| p.unpatched.as_ref()).collect();
            let eligibility = Eligibility::of(&plan.spec, &runs);
            for (of_plan, done) in plan.pairs[samples.clone()].iter().zip(&self.pairs[samples]) {
                if let Some(unpatched) = &done.unpatched {
                    let values = (unpatched, done.values.as_slice());
                    results.push(result(&plan.spec, of_plan, &eligibility, values));
                }
            }
        }
        results
    }
}

/// Runs plans.
pub trait Engine {
    /// The model that the engine runs.
    fn model(&self) -> &LanguageModel;

    /// The caller's metrics that the engine can measure.
    fn own_metrics(&self) -> &OwnMetrics;

    /// Computes the cells of a plan that `done` does not have and whose value the graph does not fix,
    /// and gives them to `sink` batch by batch.
    ///
    /// # Errors
    /// [`PatchError::OtherModel`] for a plan of a model of another shape; as [`Plan::check`] for one that contradicts itself;
    /// [`PatchError::Unsupported`] for a caller's metric that the engine was not given; [`PatchError::MetricNotFinite`];
    /// [`PatchError::NotFinite`], the model's, or whatever `sink` says.
    fn sweep(&self, plan: &Plan, done: &Done, sink: Sink<'_>) -> Result<()> {
        let shape = self.model().shape();
        if plan.shape != shape {
            return Err(PatchError::OtherModel {
                plan: plan.shape.to_string(),
                model: shape.to_string(),
            });
        }
        plan.check()?;
        check_sites(plan, self.model())?;
        self.own_metrics().check(&plan.spec)?;
        self.run(plan, done, sink)
    }

    /// [`Engine::sweep`] of a plan that was checked.
    ///
    /// # Errors
    /// As [`Engine::sweep`].
    #[doc(hidden)]
    fn run(&self, plan: &Plan, done: &Done, sink: Sink<'_>) -> Result<()>;

    /// How many cells of a plan the engine computes: those that are open.
    fn cells(&self, plan: &Plan) -> usize {
        plan.open_cells()
    }

    /// Computes a whole plan; results in its order.
    ///
    /// # Errors
    /// As [`Engine::sweep`].
    fn collect(&self, plan: &Plan) -> Result<Vec<PairResult>> {
        let mut done = Done::nothing(plan);
        let nothing = done.clone();
        self.sweep(plan, &nothing, &mut |batch| {
            done.take(batch);
            Ok(())
        })?;
        Ok(done.results(plan))
    }
}

/// Refuses a plan that writes sites which the model never computes.
fn check_sites(plan: &Plan, model: &LanguageModel) -> Result<()> {
    let table = model.sites();
    for pair in &plan.pairs {
        for cell in &pair.cells {
            let sites = cell.interventions.iter().map(|i| i.site);
            if let Some(site) = sites.into_iter().find(|s| !table.sites().contains(s)) {
                return Err(PatchError::Plan {
                    pair: pair.pair.id.clone(),
                    site: Some(cell.at.name.clone()),
                    why: format!("this model has no {site}"),
                });
            }
        }
    }
    Ok(())
}

/// The rows of a pair, cells in the plan's order, from what was computed and what the graph fixes.
pub fn result(
    spec: &SweepSpec,
    plan: &PairPlan,
    eligibility: &Eligibility,
    (unpatched, values): (&Unpatched, &[Option<Values>]),
) -> PairResult {
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
                recovery: recovery.filter(|_| eligibility.in_metric(m)),
                trivial: fate != Fate::Open,
                trivial_why: fate.why().map(str::to_owned),
                ..row(spec, plan, cell, metric)
            });
        }
    }
    PairResult {
        pair: plan.pair.id.clone(),
        kind: plan.pair.kind.clone(),
        eligibility: eligibility.clone(),
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
        site,
        layer: cell.at.layer.map(|l| l as i64),
        head: first(site.has_heads()),
        position,
        token: plan.token(&cell.place, spec.direction),
        query: position.filter(|_| site == Site::Pattern),
        unit: first(site.has_neurons()),
        window: (!cell.is_own).then_some(spec.window as i64),
        direction: spec.direction,
        corruption: spec.corruption,
        sample: plan.noise.map(|n| n.sample as i64),
        align: spec.row_align(),
        metric,
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
