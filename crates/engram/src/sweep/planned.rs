//! A sweep that is planned: what it costs, and its run.

use std::time::Instant;

use candle_core::Device;
use engram_core::{Row, Suite};
use engram_patch::{
    Batch, Done, Engine, Ineligible, Memory, NaiveEngine, NaiveSettings, PatchError, Plan, Profile,
    Schedule, StagedEngine, ineligible, preferences_within,
};
use engram_report::{Excluded, NamedValue};

use super::{Cost, EngineKind, Sweep, SweepFolder, SweepResult};
use crate::code;
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::stage::fingerprint;

/// The key of a sweep with functions: that of no other.
const OF_FUNCTIONS: &str = "functions";

/// A sweep whose pairs are prepared and whose cells are known.
#[derive(Debug)]
pub struct PlannedSweep<'a, 'm> {
    pub(super) sweep: &'a Sweep<'m>,
    pub(super) plan: Plan,
    /// The pairs that are patched.
    pub(super) suite: Suite,
    /// Those that are left out, and why.
    pub(super) excluded: Vec<Excluded>,
    pub(super) memory: Memory,
}

impl<'m> PlannedSweep<'_, 'm> {
    /// The cells of each pair.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The pairs that are left out, and why.
    pub fn excluded(&self) -> &[Excluded] {
        &self.excluded
    }

    /// Work, memory and wavefronts of the sweep, without a measurement.
    ///
    /// # Errors
    /// [`Error::Patch`] with the least memory that would do, where it does not fit.
    pub fn schedule(&self) -> Result<Schedule> {
        let (nothing, threads) = (Done::nothing(&self.plan), rayon::current_num_threads());
        Ok(Schedule::with_rows(
            &self.plan,
            &nothing,
            self.memory,
            threads,
        )?)
    }

    /// What the sweep costs on this machine, whose rate is measured in about a second.
    ///
    /// # Errors
    /// As [`PlannedSweep::schedule`].
    pub fn cost(&self) -> Result<Cost> {
        Ok(Cost::here(self.schedule()?, self.plan.pairs.len()))
    }

    /// Runs the sweep; its results are in memory, and nothing is written.
    ///
    /// # Errors
    /// As [`Sweep::run`].
    pub fn run(self, observer: &mut dyn Observer) -> Result<SweepResult> {
        let start = Instant::now();
        let (engine, key) = (self.engine()?, self.key()?);
        let nothing = Done::nothing(&self.plan);
        let done = self.done(&*engine, nothing, observer, |_| Ok(()))?;
        drop(engine);
        self.result(key, done, start, observer)
    }

    /// Runs the sweep into a folder.
    ///
    /// # Errors
    /// As [`Sweep::run_in`].
    pub fn run_in(self, folder: &SweepFolder, observer: &mut dyn Observer) -> Result<SweepResult> {
        if self.has_functions() {
            let why = "what a function computes has no name by which a broken-off sweep could be resumed; run the sweep in memory";
            return Err(Error::asked("a sweep with functions of its own", why));
        }
        let engine = self.engine()?;
        let start = Instant::now();
        let key = self.key()?;
        if let Some(rows) = folder.whole(&key, observer)? {
            return self.whole(key, rows);
        }
        let (mut journal, done) = folder.journal(&key, &self.plan, observer)?;
        let done = self.done(&*engine, done, observer, |batch| journal.append(batch));
        let done = done.map_err(|error| folder.kept(error))?;
        // Rows take the place of the weights that were laid out.
        drop(engine);
        let result = self.result(key, done, start, observer)?;
        folder.fill(&result)?;
        Ok(result)
    }

    fn engine(&self) -> Result<Box<dyn Engine + 'm>> {
        let model = self.sweep.model;
        Ok(match self.sweep.engine {
            EngineKind::Staged => {
                if !model.device().is_cpu() {
                    let why = "it runs on the CPU; take the naive engine on another device";
                    return Err(Error::asked("the staged engine", why));
                }
                // What cannot fit is said before anything is laid out or written.
                self.schedule()?;
                Box::new(StagedEngine::new(model, self.memory)?.measuring(self.sweep.own.clone()))
            }
            EngineKind::Naive => {
                Box::new(NaiveEngine::new(model, self.naive()).measuring(self.sweep.own.clone()))
            }
        })
    }

    /// The reference engine, without a short cut, within the memory that is allowed.
    fn naive(&self) -> NaiveSettings {
        NaiveSettings {
            skip_trivial: false,
            memory: self.memory.allowed.min(NaiveSettings::default().memory),
            ..NaiveSettings::default()
        }
    }

    /// A hash of all that the values depend on.
    fn key(&self) -> Result<String> {
        if self.has_functions() {
            return Ok(OF_FUNCTIONS.to_owned());
        }
        let model = self.sweep.model;
        let naive = self.sweep.engine == EngineKind::Naive;
        // The last bits of the naive engine's values depend on how its cells are batched and on the device.
        let naive = naive.then(|| (self.naive(), device_name(model.device())));
        let of = (model.hash()?, &self.plan, naive, &self.suite.pairs);
        fingerprint(&(of, code::of_sweep()))
    }

    /// Whether a cell changes values by a function, or a metric is the caller's: neither has a name in files.
    fn has_functions(&self) -> bool {
        if !self.sweep.own.is_empty() {
            return true;
        }
        let cells = self.sweep.spec.cells.iter();
        let mut values = cells.flat_map(|cell| &cell.interventions);
        values.any(|(_, _, value)| value.has_function())
    }

    /// Runs what `done` does not have; each batch goes to `keep` as soon as it is there.
    fn done(
        &self,
        engine: &dyn Engine,
        done: Done,
        observer: &mut dyn Observer,
        keep: impl FnMut(&Batch) -> engram_patch::Result<()>,
    ) -> Result<Done> {
        sweep_on("patch", engine, &self.plan, done, observer, keep)
    }

    fn result(
        self,
        key: String,
        done: Done,
        start: Instant,
        observer: &mut dyn Observer,
    ) -> Result<SweepResult> {
        let (mut rows, ineligible) = rows_of(&done, &self.plan, observer);
        drop(done);
        let sweep_s = start.elapsed().as_secs_f64();
        let sweep = self.sweep;
        if sweep.reading.profile != Profile::Published {
            // A small part of what is allowed: the sweep's own caches are gone by now.
            let room = self.memory.allowed / 16;
            let pairs = &self.suite.pairs;
            let asked = preferences_within(sweep.model, pairs, &sweep.reading, false, room)?;
            Row::mark(&mut rows, &asked.rows);
        }
        Ok(SweepResult {
            ineligible,
            timing: [
                ("load_s".to_owned(), sweep.model.loaded_in().as_secs_f64()),
                ("sweep_s".to_owned(), sweep_s),
            ]
            .into(),
            ..self.whole(key, rows)?
        })
    }

    /// The result of rows.
    fn whole(self, key: String, rows: Vec<Row>) -> Result<SweepResult> {
        let sweep = self.sweep;
        let model = sweep.model;
        let mut inputs = vec![
            NamedValue::new("model", model.hash()?),
            NamedValue::new("begin of text", model.tokenizer().begin()),
        ];
        if sweep.reading.chat {
            let how = "what a user says, by the chat template";
            inputs.push(NamedValue::new("prompts", how));
        }
        let served = model.shape().served();
        inputs.extend(served.map(|s| NamedValue::new("grouped queries", s)));
        let hash = sweep.suite_hash.clone();
        inputs.extend(hash.map(|hash| NamedValue::new("suite", hash)));
        let confounds = self.plan.pairs.iter().map(|p| p.pair.confounds());
        Ok(SweepResult {
            confounds: confounds.collect(),
            suite: self.suite,
            rows,
            excluded: self.excluded,
            ineligible: Vec::new(),
            model: model.name(),
            inputs,
            seed: self.plan.spec.seed,
            provenance: sweep.provenance.clone(),
            timing: Default::default(),
            key,
        })
    }
}

/// A device as `--device` names it.
fn device_name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".to_owned(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// Runs a plan; all rows, in the plan's order.
///
/// # Errors
/// [`Error::Patch`], the engine's; [`Error::Cancelled`].
pub(crate) fn sweep_plan(
    label: &str,
    engine: &dyn Engine,
    plan: &Plan,
    observer: &mut dyn Observer,
) -> Result<Vec<Row>> {
    let nothing = Done::nothing(plan);
    let done = sweep_on(label, engine, plan, nothing, observer, |_| Ok(()))?;
    Ok(rows_of(&done, plan, observer).0)
}

/// Runs what `done` does not have of a plan, and gives all of it; each batch goes to `keep` as soon as it is there.
fn sweep_on(
    label: &str,
    engine: &dyn Engine,
    plan: &Plan,
    done: Done,
    observer: &mut dyn Observer,
    mut keep: impl FnMut(&Batch) -> engram_patch::Result<()>,
) -> Result<Done> {
    observer.begins(label, engine.cells(plan) as u64);
    let mut all = done.clone();
    let mut finished = done.cells();
    let swept = engine.sweep(plan, &done, &mut |batch| {
        keep(&batch)?;
        finished += batch.cells.len();
        observer.at(finished as u64, &plan.pairs[batch.pair].pair.id);
        all.take(batch);
        match observer.is_cancelled() {
            true => Err(PatchError::Cancelled),
            false => Ok(()),
        }
    });
    match swept {
        Err(PatchError::Cancelled) => return Err(Error::Cancelled { kept: None }),
        swept => swept?,
    }
    let mut pairs: Vec<&str> = plan.pairs.iter().map(|p| p.pair.id.as_str()).collect();
    pairs.sort_unstable();
    pairs.dedup();
    observer.ends(&format!("{} pairs, {} rows", pairs.len(), plan.rows()));
    Ok(all)
}

/// The rows of a plan that is done. Tells which pairs have no recovery, and in which metrics.
fn rows_of(done: &Done, plan: &Plan, observer: &mut dyn Observer) -> (Vec<Row>, Vec<Ineligible>) {
    let results = done.results(plan);
    let ineligible = ineligible(&results);
    ineligible.iter().for_each(|pair| observer.note(pair));
    let rows = results.into_iter().flat_map(|r| r.rows);
    (rows.collect(), ineligible)
}
