//! A sweep from pairs to rows: prepared, planned, run, gone on with, written.

mod cost;
mod folder;
mod result;

use std::time::Instant;

use candle_core::Device;
use engram_core::{Align, Corruption, Direction, Metric, NamedSite, Pair, Positions, Row, Suite};
use engram_patch::{
    Batch, Done, Engine, Ineligible, Memory, NaiveEngine, NaiveSettings, PatchError, Plan, Profile,
    Reading, Schedule, StagedEngine, SweepSpec, ineligible, paper_spec, preferences_within,
};
use engram_report::{Excluded, Fact};

use crate::code;
use crate::error::{Error, Result};
use crate::memory;
use crate::model::Model;
use crate::observe::{Observer, Silent};
use crate::pairs::{left_out, prepare};
use crate::results::Provenance;
use crate::stage::fingerprint;

pub use cost::{Cost, trivial_throughout};
pub use folder::SweepFolder;
pub use result::SweepResult;

/// Which engine runs a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum EngineKind {
    /// Only what a patch changes, all patched runs together, on the CPU.
    #[default]
    Staged,
    /// A whole forward pass for each cell, on the model's device: the reference.
    Naive,
}

/// A sweep of a model, to be planned and run.
///
/// ```no_run
/// use engram::{Model, Pair, Positions, Silent, Sweep};
///
/// let model = Model::open("SmolLM2-135M.gguf")?;
/// let pair = Pair::new("The capital of France is", "The capital of Italy is", " Paris", " Rome");
/// let sweep = Sweep::of(&model).sites("resid_pre")?.positions(Positions::Each).pairs([pair]);
/// println!("{}", sweep.plan()?.cost());
/// let result = sweep.run(&mut Silent)?;
/// println!("{:?}", result.recovery(0));
/// result.write("runs/capitals")?;
/// # Ok::<(), engram::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Sweep<'m> {
    model: &'m Model,
    spec: SweepSpec,
    reading: Reading,
    suite: Suite,
    suite_hash: Option<String>,
    skip_unfit: bool,
    engine: EngineKind,
    memory: Option<u64>,
    provenance: Provenance,
}

impl<'m> Sweep<'m> {
    /// A sweep of whole outputs at each position, denoised by the pair's own clean run, measured by the logit difference; of
    /// no site and no pair yet.
    pub fn of(model: &'m Model) -> Sweep<'m> {
        Sweep {
            model,
            spec: SweepSpec {
                positions: Positions::Each,
                ..SweepSpec::new(Vec::new())
            },
            reading: Reading::default(),
            suite: Suite::default(),
            suite_hash: None,
            skip_unfit: false,
            engine: EngineKind::Staged,
            memory: None,
            provenance: Provenance::default(),
        }
    }

    /// The sites that are patched, by any of their names, separated by commas.
    ///
    /// # Errors
    /// [`Error::Core`] for a name that matches nothing, with near matches.
    pub fn sites(self, names: &str) -> Result<Sweep<'m>> {
        let names: Vec<&str> = names.split(',').collect();
        let sites = self.model.resolve(&names)?;
        Ok(self.named_sites(sites))
    }

    /// The sites that are patched.
    #[must_use]
    pub fn named_sites(mut self, sites: Vec<NamedSite>) -> Sweep<'m> {
        self.spec.sites = sites;
        self
    }

    /// Where each site is patched.
    #[must_use]
    pub fn positions(mut self, positions: Positions) -> Sweep<'m> {
        self.spec.positions = positions;
        self
    }

    /// Which run is written into.
    #[must_use]
    pub fn direction(mut self, direction: Direction) -> Sweep<'m> {
        self.spec.direction = direction;
        self
    }

    /// What the corrupted run is.
    #[must_use]
    pub fn corruption(mut self, corruption: Corruption) -> Sweep<'m> {
        self.spec.corruption = corruption;
        self.read_unequal()
    }

    /// How positions of prompts of unequal lengths are brought together.
    #[must_use]
    pub fn align(mut self, align: Align) -> Sweep<'m> {
        self.spec.align = align;
        self.read_unequal()
    }

    fn read_unequal(mut self) -> Sweep<'m> {
        self.reading.unequal =
            self.spec.align != Align::Strict || self.spec.corruption == Corruption::Resample;
        self
    }

    /// How many layers one cell covers.
    #[must_use]
    pub fn window(mut self, layers: usize) -> Sweep<'m> {
        self.spec.window = layers;
        self
    }

    /// What is measured beside the logit difference, which always is.
    #[must_use]
    pub fn metrics(mut self, metrics: impl IntoIterator<Item = Metric>) -> Sweep<'m> {
        let mut all: Vec<Metric> = metrics.into_iter().collect();
        if !all.contains(&Metric::LogitDiff) {
            all.insert(0, Metric::LogitDiff);
        }
        self.spec.metrics = all;
        self
    }

    /// What random draws are made from, and how many noise samples a pair has.
    #[must_use]
    pub fn draws(mut self, seed: u64, samples: usize) -> Sweep<'m> {
        (self.spec.seed, self.spec.samples) = (seed, samples);
        self
    }

    /// The published script's way: whole outputs are overwritten, at its sites, by its metric; rows say so.
    #[must_use]
    pub fn published(mut self) -> Sweep<'m> {
        self.spec = paper_spec(&self.model.sites());
        self.reading.profile = Profile::Paper;
        self
    }

    /// Prompts are what a user says, by the checkpoint's chat template.
    #[must_use]
    pub fn chat(mut self, chat: bool) -> Sweep<'m> {
        self.reading.chat = chat;
        self
    }

    /// Pairs that cannot be patched are left out and named, in place of an error.
    #[must_use]
    pub fn skip_unfit(mut self, skip: bool) -> Sweep<'m> {
        self.skip_unfit = skip;
        self
    }

    /// The engine.
    #[must_use]
    pub fn engine(mut self, engine: EngineKind) -> Sweep<'m> {
        self.engine = engine;
        self
    }

    /// The most bytes that the process may take, weights and caches together; half of what is free where none is given.
    #[must_use]
    pub fn memory(mut self, bytes: Option<u64>) -> Sweep<'m> {
        self.memory = bytes;
        self
    }

    /// The pairs.
    #[must_use]
    pub fn pairs(mut self, pairs: impl IntoIterator<Item = Pair>) -> Sweep<'m> {
        self.suite = Suite {
            pairs: pairs.into_iter().collect(),
        };
        self
    }

    /// The pairs of a suite, and the hash of the file that they are from, for the manifest.
    #[must_use]
    pub fn suite(mut self, suite: Suite, hash: Option<String>) -> Sweep<'m> {
        (self.suite, self.suite_hash) = (suite, hash);
        self
    }

    /// What asked for the sweep, for the manifest.
    #[must_use]
    pub fn provenance(mut self, provenance: Provenance) -> Sweep<'m> {
        self.provenance = provenance;
        self
    }

    /// Prepares the pairs and plans the sweep; nothing is computed, and notices are not heard.
    ///
    /// # Errors
    /// As [`Sweep::plan_with`].
    pub fn plan(&self) -> Result<PlannedSweep<'_, 'm>> {
        self.plan_with(&mut Silent)
    }

    /// As [`Sweep::plan`], with notices: pairs that are left out, and a sweep that is trivial throughout.
    ///
    /// # Errors
    /// [`Error::Unequal`], [`Error::NoneFits`] and [`Error::Patch`] for pairs that cannot be patched and for settings that
    /// exclude each other; [`Error::Patch`] with the least memory that would do where it does not fit.
    pub fn plan_with(&self, observer: &mut dyn Observer) -> Result<PlannedSweep<'_, 'm>> {
        let prepared = prepare(
            &self.suite,
            self.model,
            &self.reading,
            self.skip_unfit,
            observer,
        );
        let (pairs, mut excluded) = prepared?;
        let (spec, shape) = (self.spec.clone(), self.model.shape());
        let (plan, unfit) = match self.skip_unfit {
            true => Plan::of_fit(spec, shape, pairs)?,
            false => (Plan::new(spec, shape, pairs)?, Vec::new()),
        };
        excluded.extend(left_out(unfit, observer));
        if let Some(advice) = trivial_throughout(&plan) {
            observer.note(advice);
        }
        Ok(PlannedSweep {
            suite: self.measured(&plan),
            memory: memory::allowed(self.memory, self.model),
            sweep: self,
            plan,
            excluded,
        })
    }

    /// The pairs that a plan has.
    fn measured(&self, plan: &Plan) -> Suite {
        let kept = |id: &str| plan.pairs.iter().any(|p| p.pair.id == id);
        let pairs = self.suite.pairs.iter().filter(|p| kept(&p.id));
        Suite {
            pairs: pairs.cloned().collect(),
        }
    }

    /// Plans and runs the sweep; its results are in memory, and nothing is written.
    ///
    /// # Errors
    /// As [`Sweep::plan_with`]; [`Error::Patch`] where a value is not finite; [`Error::Cancelled`].
    pub fn run(&self, observer: &mut dyn Observer) -> Result<SweepResult> {
        self.plan_with(observer)?.run(observer)
    }

    /// Plans and runs the sweep into a folder. What is done is kept in a journal beside it, so that a sweep that was broken
    /// off or cancelled can be resumed.
    ///
    /// # Errors
    /// As [`Sweep::run`]; [`Error::OtherInputs`] and [`Error::Patch`] where the folder or its journal is of another sweep;
    /// [`Error::Core`] for files that cannot be written.
    pub fn run_in(&self, folder: &SweepFolder, observer: &mut dyn Observer) -> Result<SweepResult> {
        self.plan_with(observer)?.run_in(folder, observer)
    }
}

/// A sweep whose pairs are prepared and whose cells are known.
#[derive(Debug)]
pub struct PlannedSweep<'a, 'm> {
    sweep: &'a Sweep<'m>,
    plan: Plan,
    /// The pairs that are patched.
    suite: Suite,
    /// Those that are left out, and why.
    excluded: Vec<Excluded>,
    memory: Memory,
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
    pub fn try_cost(&self) -> Result<Cost> {
        Ok(Cost::here(self.schedule()?, self.plan.pairs.len()))
    }

    /// As [`PlannedSweep::try_cost`], to be shown: a sweep that does not fit into memory says so.
    pub fn cost(&self) -> String {
        self.try_cost()
            .map_or_else(|e| e.to_string(), |cost| cost.to_string())
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
                Box::new(StagedEngine::new(model, self.memory)?)
            }
            EngineKind::Naive => Box::new(NaiveEngine::new(model, self.naive())),
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
        let model = self.sweep.model;
        let naive = self.sweep.engine == EngineKind::Naive;
        // The last bits of the naive engine's values depend on how its cells are batched and on the device.
        let naive = naive.then(|| (self.naive(), device_name(model.device())));
        let of = (model.hash()?, &self.plan, naive, &self.suite.pairs);
        fingerprint(&(of, code::of_sweep()))
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
        if sweep.reading.profile != Profile::Paper {
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
            Fact::new("model", model.hash()?),
            Fact::new("begin of text", model.tokenizer().begin()),
        ];
        if sweep.reading.chat {
            let how = "what a user says, by the chat template";
            inputs.push(Fact::new("prompts", how));
        }
        let served = model.shape().served();
        inputs.extend(served.map(|s| Fact::new("grouped queries", s)));
        let hash = sweep.suite_hash.clone();
        inputs.extend(hash.map(|hash| Fact::new("suite", hash)));
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
