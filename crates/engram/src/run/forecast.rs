//! `engram run --dry-run`: every stage of a study with its time, memory, disk and network, before anything is run.
//!
//! Sizes are exact where the files are there: texts are tokenised, pairs are built, sweeps are planned. A base model that
//! has not been downloaded is replaced by one of its published sizes, and abstracts that have not been fetched by texts of
//! a typical length; the forecast lists these assumptions. Times are operations over the machine's measured rate of a
//! matrix product, times the efficiency that each kind of work reaches (`cost.rs`).

mod cost;
mod disk;
mod outcome;
mod stand_in;

use std::path::{Path, PathBuf};

use engram_core::Suite;
use engram_core::text::thousands;
use engram_corpus::Abstract;
use engram_model::wavefront::Wavefront;
use engram_patch::{Plan, Reading, SweepSpec, published_spec};
use engram_train::plan;

pub use outcome::{Forecast, MachineRates, StageForecast};

use self::cost::Cost;
use self::stand_in::{Base, assumed_texts};
use super::published::reading;
use super::{RunSettings, Setup};
use crate::error::{Result, Within};
use crate::memory;
use crate::observe::Observer;
use crate::results::{ABSTRACTS, MANIFEST, PATCH, REPORT};
use crate::study::{BASE, CorpusSource, RANDOM, Study, StudySweep};
use crate::training::texts;

/// Citations of one request to PubMed, and bytes of one in its answer and as an abstract in JSONL.
const CITATIONS: usize = 200;
const CITATION_BYTES: u64 = 20_000;
const ABSTRACT_BYTES: u64 = 2_000;
/// Bytes of a result row in Parquet.
const ROW_BYTES: u64 = 24;
/// Bytes of a report's page beside its data.
const REPORT_BYTES: u64 = 2 << 20;

/// What a study will do on this machine. Nothing is downloaded, trained or written.
///
/// # Errors
/// Errors of input, as [`run`](super::run()) has them before its first stage; [`crate::Error::Asked`] for a study that needs more
/// memory or disk than there is.
pub fn forecast(
    file: &Path,
    settings: &RunSettings,
    observer: &mut dyn Observer,
) -> Result<Forecast> {
    resolved(file, settings, observer).of_file(file)
}

fn resolved(file: &Path, settings: &RunSettings, observer: &mut dyn Observer) -> Result<Forecast> {
    let study = Study::read(file, &settings.set)?;
    let folder = settings.folder(file);
    let base = Base::of(&study, observer).within(|| "the base model")?;
    let (download, is_stand_in) = (base.download, base.is_stand_in);
    let study = Study {
        base: base.path,
        ..study
    };
    let hash = "(forecast)".to_owned();
    let setup = Setup::resolve(study, base.model, hash, settings.provenance.clone())?;
    let mut work = Work {
        cost: Cost::of(&setup.base.shape(), rate()),
        setup,
        folder: folder.clone(),
        is_stand_in,
        stages: Vec::new(),
        assumed: base.assumed,
        rows: 0,
    };
    work.base(download);
    let texts = work.corpus(observer)?;
    let suites = work.suite(observer)?;
    work.trainings(texts.as_ref())?;
    for name in work
        .setup
        .study
        .models()
        .iter()
        .map(|m| (*m).to_owned())
        .collect::<Vec<_>>()
    {
        work.sweep(&name, &suites, observer)?;
        work.edits(&name, &suites.own);
    }
    work.report();
    let forecast = work.finished();
    forecast.check()?;
    Ok(forecast)
}

/// Rate of a matrix product in operations a second: the best of a few, because other programs only take from it.
fn rate() -> f64 {
    let rates = (0..3).map(|_| Wavefront::product_rate(1024, 768, 3072));
    rates.fold(1.0, f64::max)
}

/// A forecast under way.
struct Work {
    setup: Setup,
    folder: PathBuf,
    cost: Cost,
    /// Whether the base model is a stand-in, which has no words.
    is_stand_in: bool,
    stages: Vec<StageForecast>,
    assumed: Vec<String>,
    /// Result rows of all sweeps.
    rows: u64,
}

/// What is asked.
struct Suites {
    own: Suite,
    published: Option<Suite>,
}

impl Setup {
    /// Where the pairs are from.
    fn asked_from(&self) -> String {
        let suite = &self.study.suite;
        let file = suite.file.as_ref().or(suite.counterfact.as_ref());
        let file = file.or(self.study.facts.as_ref());
        file.map_or(String::new(), |file| file.display().to_string())
    }
}

impl Work {
    fn add(&mut self, mut stage: StageForecast) {
        stage.is_there = self.folder.join(&stage.name).exists();
        self.stages.push(stage);
    }

    /// Bytes of the base's weights in memory.
    fn weights(&self) -> u64 {
        4 * self.setup.base.shape().parameters as u64
    }

    fn base(&mut self, download: u64) {
        if download > 0 {
            let stage = StageForecast {
                name: BASE.to_owned(),
                reads: vec![self.setup.study.base.display().to_string()],
                computes: "download into the hub's cache".to_owned(),
                disk: download,
                download,
                ..StageForecast::default()
            };
            self.add(stage);
        }
    }

    /// Training and validation texts, those of the network assumed.
    fn corpus(&mut self, observer: &mut dyn Observer) -> Result<Option<[Vec<Abstract>; 2]>> {
        let Some(source) = self.setup.study.corpus.clone() else {
            return Ok(None);
        };
        let mut file = source.file.clone();
        if let Some(fetch) = &source.fetch {
            let count = fetch.most as u64;
            self.add(StageForecast {
                name: "fetch".to_owned(),
                reads: vec![format!("PubMed: {}", fetch.query)],
                computes: format!(
                    "a search and {} requests of up to {CITATIONS} citations",
                    fetch.most.div_ceil(CITATIONS)
                ),
                writes: vec![format!("{} abstracts", thousands(fetch.most))],
                disk: 2 * count * ABSTRACT_BYTES,
                download: count * CITATION_BYTES,
                ..StageForecast::default()
            });
            let there = self.folder.join("fetch").join(ABSTRACTS);
            file = there.exists().then_some(there);
        }
        let texts = match (&source, &file) {
            (
                CorpusSource {
                    fetch: Some(asked), ..
                },
                None,
            ) => {
                self.assumed.push(format!(
                    "PubMed has {} abstracts for the query, of {} tokens each",
                    thousands(asked.most),
                    stand_in::TOKENS
                ));
                let held_out = (asked.most as f64 * source.split).round() as usize;
                let train = asked.most.saturating_sub(held_out);
                [train, held_out].map(|count| assumed_texts(count, &self.setup.base))
            }
            _ => {
                let texts = self.setup.texts(&source, file.as_deref(), observer)?;
                [texts.train, texts.validation]
            }
        };
        let counts = texts.each_ref().map(Vec::len);
        self.add(StageForecast {
            name: "corpus".to_owned(),
            reads: vec![match (&file, &source.write) {
                (Some(file), _) => file.display().to_string(),
                (None, Some(_)) => self
                    .setup
                    .study
                    .facts
                    .iter()
                    .map(|f| f.display().to_string())
                    .collect(),
                (None, None) => "fetch".to_owned(),
            }],
            computes: "split, nearly equal texts, mentions".to_owned(),
            writes: vec![format!(
                "{} training and {} validation texts",
                thousands(counts[0]),
                thousands(counts[1])
            )],
            seconds: Some(self.cost.texts(counts[0] + counts[1])),
            memory: self.weights(),
            disk: texts
                .iter()
                .flatten()
                .map(|a| a.text().len() as u64 + 100)
                .sum(),
            ..StageForecast::default()
        });
        Ok(Some(texts))
    }

    fn suite(&mut self, observer: &mut dyn Observer) -> Result<Suites> {
        let suites = match self.is_stand_in {
            true => {
                let (suites, assumed) = stand_in::suites(&self.setup)?;
                self.assumed.push(assumed);
                suites
            }
            false => Suites {
                own: self.setup.built_suite(observer)?.0,
                published: self.setup.published_suite(observer)?,
            },
        };
        let asked = |suite: &Suite| suite.pairs.len();
        let published = suites.published.as_ref().map_or(0, asked);
        self.add(StageForecast {
            name: "suite".to_owned(),
            reads: vec![self.setup.asked_from()],
            computes: "pairs of equal length, and their confounds".to_owned(),
            writes: vec![format!(
                "{} pairs, {} of the published protocol",
                thousands(asked(&suites.own)),
                thousands(published)
            )],
            seconds: Some(self.cost.pairs(asked(&suites.own) + published)),
            memory: self.weights(),
            disk: 1000 * (asked(&suites.own) + published) as u64,
            ..StageForecast::default()
        });
        Ok(suites)
    }

    fn trainings(&mut self, corpus: Option<&[Vec<Abstract>; 2]>) -> Result<()> {
        let Some([train, validation]) = corpus.map(|c| c.each_ref().map(|side| texts(side))) else {
            return Ok(());
        };
        let parameters = self.weights();
        for (name, settings) in self.setup.settings.clone() {
            let plan = plan(&self.setup.base, &train, &validation, &settings)
                .within(|| format!("train.{name}"))?;
            let epochs = plan.total_steps.div_ceil(plan.steps_per_epoch.max(1));
            self.add(StageForecast {
                name: format!("models/{name}"),
                reads: vec![BASE.to_owned(), "corpus".to_owned()],
                computes: format!(
                    "at most {epochs} epochs, {} steps of {} sequences, {} tokens an epoch; early stopping may end it sooner",
                    thousands(plan.total_steps),
                    plan.sequences_per_step,
                    thousands(plan.tokens_per_epoch),
                ),
                writes: vec!["a checkpoint".to_owned()],
                seconds: Some(self.cost.training(&plan)),
                memory: plan.memory_bytes,
                // The checkpoint, and while it is trained weights, best weights and two moments, one file being replaced.
                disk: parameters + 8 * parameters,
                ..StageForecast::default()
            });
        }
        if self.setup.study.random {
            self.add(StageForecast {
                name: format!("models/{RANDOM}"),
                reads: vec![BASE.to_owned()],
                computes: "random weights".to_owned(),
                writes: vec!["a checkpoint".to_owned()],
                seconds: Some(self.cost.drawing()),
                memory: 2 * parameters,
                disk: parameters,
                ..StageForecast::default()
            });
        }
        Ok(())
    }

    /// What a model prefers, its sweeps, and its sweep under the published protocol.
    fn sweep(&mut self, name: &str, suites: &Suites, observer: &mut dyn Observer) -> Result<()> {
        let setup = &self.setup;
        let sweeps: Vec<&StudySweep> = (setup.study.sweep.values())
            .filter(|s| s.models.iter().any(|m| m == name))
            .collect();
        let (mut flops, mut bytes, mut rows) = (0, 0, 0);
        let mut plans = |suite: &Suite, spec: SweepSpec, reading: &Reading| -> Result<()> {
            let metrics = spec.metrics.len() as u64;
            let (plan, schedule) = setup.scheduled(suite, spec, (reading, true), observer)?;
            flops += schedule.flops;
            bytes = u64::max(bytes, schedule.bytes);
            rows += Plan::cells(&plan) as u64 * metrics;
            Ok(())
        };
        for sweep in &sweeps {
            plans(
                &suites.own,
                setup.spec(sweep, &setup.base)?,
                &Reading::default(),
            )?;
        }
        let published = suites
            .published
            .as_ref()
            .filter(|_| setup.study.asks_published(name));
        if let Some(suite) = published {
            plans(suite, published_spec(&setup.base.sites()), &reading())?;
        }
        let mut asked: Vec<&str> = sweeps
            .iter()
            .flat_map(|s| &s.sites)
            .map(String::as_str)
            .collect();
        asked.sort_unstable();
        asked.dedup();
        let mut computes = vec![format!("preferences over {} pairs", suites.own.pairs.len())];
        computes.extend((!asked.is_empty()).then(|| format!("patches of {}", asked.join(", "))));
        computes.extend(published.map(|_| "the published protocol".to_owned()));
        let seconds = self.cost.sweep(flops) + self.cost.preferences(&suites.own);
        let memory = u64::max(bytes, 2 * self.weights());
        self.rows += rows;
        self.add(StageForecast {
            name: format!("sweeps/{name}"),
            reads: vec![
                format!("models/{name}").replace("models/base", BASE),
                "suite".to_owned(),
            ],
            computes: computes.join("; "),
            writes: vec![format!("{PATCH}, {} rows", thousands(rows as usize))],
            seconds: Some(seconds),
            memory,
            disk: 2 * rows * ROW_BYTES,
            ..StageForecast::default()
        });
        Ok(())
    }

    fn edits(&mut self, name: &str, suite: &Suite) {
        for (edit_name, edit) in self.setup.study.edit.clone() {
            if !edit.models.iter().any(|m| m == name) {
                continue;
            }
            let (facts, sets, seconds) = self.cost.edits(&edit, suite);
            self.add(StageForecast {
                name: format!("edits/{edit_name}/{name}"),
                reads: vec![
                    format!("models/{name}").replace("models/base", BASE),
                    "suite".to_owned(),
                ],
                computes: format!(
                    "{} of at most {facts} facts at {sets} layers, those that the model says",
                    edit.method.name()
                ),
                writes: vec!["edits.jsonl".to_owned()],
                seconds: Some(seconds),
                memory: 4 * self.weights(),
                disk: (facts * sets) as u64 * 3000,
                ..StageForecast::default()
            });
        }
    }

    fn report(&mut self) {
        self.add(StageForecast {
            name: REPORT.to_owned(),
            reads: vec!["all stages".to_owned()],
            computes: "tests, intervals, figures".to_owned(),
            writes: vec![
                MANIFEST.to_owned(),
                "stats.json".to_owned(),
                REPORT.to_owned(),
            ],
            seconds: Some(self.cost.report(self.rows)),
            memory: 1 << 30,
            disk: REPORT_BYTES,
            ..StageForecast::default()
        });
    }

    fn finished(self) -> Forecast {
        let left = || self.stages.iter().filter(|s| !s.is_there);
        Forecast {
            title: self.setup.study.title.clone(),
            machine: MachineRates {
                threads: rayon::current_num_threads(),
                gflops: self.cost.rate() / 1e9,
                memory: memory::available(),
                disk: disk::free(&self.folder),
            },
            seconds: left().filter_map(|s| s.seconds).sum(),
            memory: left().map(|s| s.memory).max().unwrap_or(0),
            disk: left().map(|s| s.disk).sum(),
            download: left().map(|s| s.download).sum(),
            folder: self.folder,
            assumed: self.assumed,
            stages: self.stages,
        }
    }
}
