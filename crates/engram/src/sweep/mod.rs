//! A sweep from pairs to rows: prepared, planned, run, gone on with, written.

mod cost;
mod folder;
mod planned;
mod result;

use std::collections::BTreeSet;
use std::sync::Arc;

use engram_core::{Align, Corruption, Direction, Metric, NamedSite, Pair, Positions, Suite};
use engram_patch::{
    Cell, LogitMetric, OwnMetrics, Plan, Profile, Reading, SweepSpec, published_spec,
};

use crate::error::{Error, Result};
use crate::memory;
use crate::model::Model;
use crate::observe::{Observer, Silent};
use crate::pairs::{left_out, prepare};
use crate::results::Provenance;

pub use cost::{Cost, trivial_throughout};
pub use folder::SweepFolder;
pub use planned::PlannedSweep;
pub(crate) use planned::sweep_plan;
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
/// println!("{}", sweep.plan()?.cost()?);
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
    own: OwnMetrics,
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
            own: OwnMetrics::default(),
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

    /// Cells of the caller's, beside those of the sites: each a run with interventions of any kind. A sweep that has
    /// functions among them cannot be resumed, and runs in memory only.
    #[must_use]
    pub fn cells(mut self, cells: impl IntoIterator<Item = Cell>) -> Sweep<'m> {
        self.spec.cells = cells.into_iter().collect();
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
        let own = self.spec.metrics.iter();
        all.extend(own.filter(|m| matches!(m, Metric::Own(_))));
        self.spec.metrics = all;
        self
    }

    /// A metric of the caller's, measured beside the others; rows name it `own:` and its name. Such a sweep cannot be
    /// resumed, and runs in memory only.
    ///
    /// # Errors
    /// [`Error::Patch`] for a name that is none; [`Error::Asked`] for a least gap below 0 or none.
    pub fn measure(mut self, metric: impl LogitMetric + 'static) -> Result<Sweep<'m>> {
        let gap = (metric.name().to_owned(), metric.least_gap());
        if !gap.1.is_finite() || gap.1 < 0.0 {
            let why = format!("its least gap is {}; it must be 0 or more", gap.1);
            return Err(Error::asked(format!("metric \"{}\"", gap.0), why));
        }
        let name = self.own.add(Arc::new(metric))?;
        self.spec.own_gaps.push(gap);
        self.spec.metrics.retain(|m| *m != Metric::Own(name));
        self.spec.metrics.push(Metric::Own(name));
        Ok(self)
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
        let SweepSpec {
            cells, own_gaps, ..
        } = self.spec.clone();
        let mut spec = published_spec(&self.model.sites());
        let own = self.spec.metrics.iter();
        (spec.metrics).extend(own.filter(|m| matches!(m, Metric::Own(_))));
        self.spec = SweepSpec {
            cells,
            own_gaps,
            ..spec
        };
        self.reading.profile = Profile::Published;
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

    /// Whether the model can be patched as asked, whatever the pairs.
    ///
    /// # Errors
    /// [`Error::Patch`] for sites that it does not have, and for settings that exclude each other.
    pub fn check(&self) -> Result<()> {
        Ok(self.spec.check(&self.model.shape())?)
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
        // A plan has a pair once for each noise sample.
        let kept: BTreeSet<&str> = plan.pairs.iter().map(|p| p.pair.id.as_str()).collect();
        let pairs = self.suite.pairs.iter();
        let pairs = pairs.filter(|p| kept.contains(p.id.as_str()));
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
