//! The reference engine, slow and obvious: a whole forward pass for every cell.

use engram_core::{Direction, Metric, NamedSite, Site};
use engram_model::{Capture, LanguageModel, NoTap, Shape, Tap};
use indexmap::IndexSet;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::continuation::ContinuationRows;
use crate::engine::{Batch, Done, Engine, Sink, Unpatched, Values};
use crate::error::{PatchError, Result};
use crate::intervention::{Intervention, Value};
use crate::metric::Readout;
use crate::noise::{deviation, subject_tokens};
use crate::own_metric::{OwnMetrics, check_finite};
use crate::plan::{PairPlan, Plan, PlannedCell, patched_run};
use crate::spec::SweepSpec;
use crate::worlds::{Means, Noisy, RowNoise, Sources, Worlds, first_not_finite};

/// How the reference engine works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NaiveSettings {
    /// The most rows of one batch.
    pub batch: usize,
    /// The most bytes that the activations of one batch may take, by estimate.
    pub memory: u64,
    /// Whether cells whose value the graph fixes get it without a run.
    pub skip_trivial: bool,
}

impl Default for NaiveSettings {
    fn default() -> NaiveSettings {
        NaiveSettings {
            batch: 64,
            memory: 1 << 30,
            skip_trivial: true,
        }
    }
}

/// The reference: one full forward pass for every cell, the cells of a pair batched.
#[derive(Debug, Clone)]
pub struct NaiveEngine<'m> {
    model: &'m LanguageModel,
    settings: NaiveSettings,
    own: OwnMetrics,
}

impl<'m> NaiveEngine<'m> {
    /// For a model.
    pub fn new(model: &'m LanguageModel, settings: NaiveSettings) -> NaiveEngine<'m> {
        NaiveEngine {
            model,
            settings,
            own: OwnMetrics::default(),
        }
    }

    /// The same with metrics of the caller's.
    #[must_use]
    pub fn measuring(self, own: OwnMetrics) -> NaiveEngine<'m> {
        NaiveEngine { own, ..self }
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
    model: &'a LanguageModel,
    spec: &'a SweepSpec,
    plan: &'a PairPlan,
    /// Index of the pair in the plan.
    index: usize,
    continuation: ContinuationRows,
    vocab: usize,
    /// Log-probabilities of the clean run at the prompt's last position; empty where no metric asks.
    clean: Vec<f64>,
    /// Standard deviation of the suite's subject embeddings, where noise falls on them.
    sigma: f64,
    means: &'a Means,
    own: &'a OwnMetrics,
}

impl Engine for NaiveEngine<'_> {
    fn model(&self) -> &LanguageModel {
        self.model
    }

    fn own_metrics(&self) -> &OwnMetrics {
        &self.own
    }

    fn cells(&self, plan: &Plan) -> usize {
        let cells = plan.pairs.iter().flat_map(|p| &p.cells);
        cells.filter(|c| self.computes(&plan.spec, c)).count()
    }

    fn run(&self, plan: &Plan, done: &Done, sink: Sink<'_>) -> Result<()> {
        let model = self.model;
        let sigma = match plan.pairs.iter().any(|p| p.noise.is_some()) {
            true => deviation(&embeddings(model, &subject_tokens(plan))?),
            false => 0.0,
        };
        let means = means(model, plan)?;
        for (index, pair) in plan.pairs.iter().enumerate() {
            let wanted = |i: &usize| self.computes(&plan.spec, &pair.cells[*i]);
            let computed: Vec<usize> = (0..pair.cells.len()).filter(wanted).collect();
            if computed.iter().all(|i| done.has(index, *i)) && done.has_unpatched(index) {
                continue;
            }
            let bench = Bench {
                model,
                spec: &plan.spec,
                plan: pair,
                index,
                continuation: pair.continuation(&plan.spec),
                vocab: plan.shape.vocab,
                clean: Vec::new(),
                sigma,
                means: &means,
                own: &self.own,
            };
            let left = |cell: &usize| !done.has(index, *cell);
            self.pair(bench, &plan.shape, (&computed, left), sink)?;
        }
        Ok(())
    }
}

/// Token embeddings, flat.
fn embeddings(model: &LanguageModel, tokens: &[u32]) -> Result<Vec<f32>> {
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

/// The means over all tokens of all clean prompts, at the sites that are set to them.
fn means(model: &LanguageModel, plan: &Plan) -> Result<Means> {
    let cells = plan.pairs.iter().flat_map(|p| &p.cells);
    let all = cells.flat_map(|c| &c.interventions);
    let set = all.flat_map(Intervention::values);
    let set = set.filter(|(_, value)| *value.inner() == Value::Mean);
    let sites: IndexSet<_> = set.map(|(site, _)| site).collect();
    let mut means = Means::default();
    if sites.is_empty() {
        return Ok(means);
    }
    for pair in &plan.pairs {
        let mut capture = Capture::of(sites.iter().copied());
        let prompt = std::slice::from_ref(&pair.pair.clean);
        model.forward(prompt, &mut capture)?;
        means.add(&capture)?;
    }
    Ok(means)
}

impl NaiveEngine<'_> {
    fn computes(&self, spec: &SweepSpec, cell: &PlannedCell) -> bool {
        match self.settings.skip_trivial {
            true => cell.is_open(&spec.metrics),
            false => cell.same_as.is_none(),
        }
    }

    /// The batches of one pair's cells in which some are `left`. Cells fall into the same batches whatever is done
    /// already: matrix products of other sizes may give other last bits.
    fn pair(
        &self,
        mut bench: Bench<'_>,
        shape: &Shape,
        (cells, left): (&[usize], impl Fn(&usize) -> bool),
        sink: Sink<'_>,
    ) -> Result<()> {
        let (index, pair) = (bench.index, &bench.plan.pair);
        let longest = pair.clean.len().max(pair.corrupt.len());
        let (unpatched, sources) = bench.unpatched(cells)?;
        sink(Batch {
            pair: index,
            unpatched: unpatched.clone(),
            cells: Vec::new(),
        })?;
        let rows = bench.continuation.rows();
        let bytes = row_bytes(shape, longest + bench.continuation.appended());
        let most = (self.settings.memory / bytes.max(1)).min(self.settings.batch as u64) as usize;
        let batches = cells.chunks((most / rows).max(1));
        for batch in batches.filter(|batch| batch.iter().any(&left)) {
            let found = bench.patched(batch, &sources)?;
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
            .flat_map(|c| &c.interventions)
            .flat_map(Intervention::values)
            .filter(|(_, value)| *value.inner() == Value::Source)
            .map(|(site, _)| site)
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
        for (values, run) in [
            (&unpatched.clean, "clean"),
            (&unpatched.corrupt, "corrupted"),
        ] {
            let run = || format!("the {run} run");
            check_finite(&self.spec.metrics, values, &self.plan.pair, run)?;
        }
        Ok((unpatched, Sources::of(&capture)?))
    }

    /// One unpatched run: [rows, 1 + appended, vocab], flat.
    fn alone(&self, prompt: &[u32], corrupted: bool, tap: &mut dyn Tap) -> Result<Vec<f32>> {
        let ids: Vec<Vec<u32>> = self.continuation.of_prompt(prompt).collect();
        let noise = self.noise(corrupted, ids.len());
        let mut tap = Noisy::of(noise.clone(), tap);
        let logits = self.read(&ids, prompt.len(), &mut tap)?;
        if !logits.iter().all(|v| v.is_finite()) {
            return Err(PatchError::NotFinite {
                pair: self.plan.pair.id.clone(),
                run: "an unpatched run".to_owned(),
                site: first_not_finite(self.model, &ids, noise)?,
            });
        }
        Ok(logits)
    }

    /// What is added to the embeddings of the first `rows` rows of a batch.
    fn noise(&self, corrupted: bool, rows: usize) -> Option<RowNoise> {
        let noise = self.plan.noise.filter(|_| corrupted)?;
        let d = self.model.shape().d_model;
        Some((rows, noise.span.start, noise.draw(self.sigma, d)))
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
        let values = (self.model, sources, self.means);
        let mut worlds = Worlds::of(&planned, rows, (base.len(), self.plan.shift), values);
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
                let values = values.ok_or_else(|| {
                    let place = cell.place.range(base.len());
                    let at = NamedSite::canonical(cell.at.site, cell.at.layer).name;
                    PatchError::NotFinite {
                        pair: self.plan.pair.id.clone(),
                        run: format!("the run patched at positions {place:?}"),
                        site: at,
                    }
                })?;
                let run = || patched_run(cell, base.len());
                check_finite(&self.spec.metrics, &values, &self.plan.pair, run)?;
                Ok(values)
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
        let of_pair = (pair, (pair.answer.as_slice(), pair.foil.as_slice()));
        self.own.measure(&readout, metrics, of_pair, &self.clean)
    }
}
