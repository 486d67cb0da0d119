//! `engram run`: fetch, corpus, suite, training, sweeps, findings, report, each stage from the files of those before it.

mod check;
mod edit;
mod fetch;
mod forecast;
mod manifest;
mod published;
mod stages;
mod sweep;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use candle_core::Device;
use engram_core::files;
use engram_corpus::{FactTable, read_counterfact, read_suite};
use engram_findings::Findings;
use engram_train::TrainSettings;
use serde_json::json;

use crate::code::Code;
use crate::error::{Error, Result, Within};
use crate::model::{Opening, checkpoint_hash, resolve};
use crate::observe::Observer;
use crate::results::{MANIFEST, Provenance, Results, STATS};
use crate::stage::RunFolder;
use crate::study::{BASE, RANDOM, Study, text_of};
use crate::training::settings;

pub use forecast::{Forecast, MachineRates, StageForecast, forecast};

/// The input that says what is put before texts.
const BEGIN: &str = "begin of text";

/// How a study is run.
#[derive(Debug, Clone, Default)]
pub struct RunSettings {
    /// `key=value` laid over the study file.
    pub set: Vec<String>,
    /// The folder of the results; `runs/NAME` of the study file where none is given.
    pub out: Option<PathBuf>,
    /// The device that trainings run on ([`engram_model::device`]); the CPU where none is given.
    pub device: Option<Device>,
    /// What asked for the run, for the manifest.
    pub provenance: Provenance,
}

impl RunSettings {
    /// The folder of the results.
    fn folder(&self, study: &Path) -> PathBuf {
        let own = || Path::new("runs").join(study.file_stem().unwrap_or_default());
        self.out.clone().unwrap_or_else(own)
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Ran {
    /// The folder of the results.
    pub folder: PathBuf,
    /// What the results show.
    pub findings: Findings,
    /// The report.
    pub report: PathBuf,
    /// The results, read back.
    pub results: Results,
}

/// A step of a study: one stage, or a stage for each model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Abstracts from PubMed.
    Fetch,
    /// Training and validation texts.
    Corpus,
    /// The pairs.
    Suite,
    /// The fine-tuned models.
    Train,
    /// What the models prefer, and their sweeps.
    Sweep,
    /// The edits.
    Edit,
}

impl Step {
    /// All steps with their words, in order.
    pub const ALL: [(Step, &str); 6] = [
        (Step::Fetch, "fetch"),
        (Step::Corpus, "corpus"),
        (Step::Suite, "suite"),
        (Step::Train, "train"),
        (Step::Sweep, "sweep"),
        (Step::Edit, "edit"),
    ];
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Step, String> {
        let known = Step::ALL.map(|(_, word)| word);
        let found = Step::ALL.into_iter().find(|(_, word)| *word == text);
        let step = found.map(|(step, _)| step);
        step.ok_or_else(|| format!("the steps are {}", known.join(", ")))
    }
}

/// A study whose every name, path and value has been checked.
struct Setup {
    study: Study,
    table: Option<FactTable>,
    base: engram_model::LanguageModel,
    settings: BTreeMap<String, TrainSettings>,
    provenance: Provenance,
    /// SHA-256 of every input, by what it is.
    inputs: BTreeMap<&'static str, String>,
}

/// A study that is run, and the folder that it is run in.
struct Run<'a> {
    setup: Setup,
    folder: RunFolder,
    timing: BTreeMap<String, f64>,
    observer: &'a mut dyn Observer,
}

/// Runs a study: those of its stages whose inputs changed, then findings and report.
///
/// # Errors
/// Those of input come before the first stage starts where they can ([`Error::Faults`] with all faults of the study file);
/// [`Error::Cancelled`]; any of a stage.
pub fn run(study: &Path, settings: &RunSettings, observer: &mut dyn Observer) -> Result<Ran> {
    run_study(settings, study, observer).of_file(study)
}

/// Runs those of a study's stages up to a step whose inputs changed, and gives the folder. There are no findings and no
/// report yet; [`run`] makes the other stages later.
///
/// # Errors
/// As [`run`].
pub fn run_until(
    study: &Path,
    settings: &RunSettings,
    last: Step,
    observer: &mut dyn Observer,
) -> Result<PathBuf> {
    let mut stages = || -> Result<PathBuf> {
        let mut run = Run::resolve(settings, study, observer)?;
        run.stages(last)?;
        Ok(run.folder.path().to_owned())
    };
    stages().of_file(study)
}

fn run_study(settings: &RunSettings, study: &Path, observer: &mut dyn Observer) -> Result<Ran> {
    let start = Instant::now();
    let mut run = Run::resolve(settings, study, observer)?;
    run.stages(Step::Edit)?;
    run.timing
        .insert("total_s".to_owned(), start.elapsed().as_secs_f64());
    let folder = run.folder.path().to_owned();
    files::write_json(&folder.join(MANIFEST), &run.manifest(study)?)?;
    let results = Results::read(&folder)?;
    run.observer.note("findings: testing");
    let findings = results.findings()?;
    files::write_json(&folder.join(STATS), &findings)?;
    let report = results.write_report(&folder, &findings)?;
    Ok(Ran {
        folder,
        findings,
        report,
        results,
    })
}

impl Setup {
    /// The fact table, where the study has one.
    fn facts(&self) -> Result<&FactTable> {
        let missing = || Error::asked("facts", "the study has no fact table");
        self.table.as_ref().ok_or_else(missing)
    }
}

impl Setup {
    /// Checks all that a study names on its base model. `hash` is of the base's files.
    fn resolve(
        study: Study,
        base: engram_model::LanguageModel,
        hash: String,
        provenance: Provenance,
    ) -> Result<Setup> {
        let mut inputs = BTreeMap::from([("base", hash), (BEGIN, base.tokenizer().begin())]);
        let mut table = None;
        if let Some(file) = &study.facts {
            let found = FactTable::read(file).within(|| "the fact table")?;
            inputs.insert("facts", files::sha256_file(file)?);
            let write = study.corpus.as_ref().and_then(|c| c.write.as_ref());
            if let Some(write) = write {
                engram_corpus::write::check_settings(&found, write).within(|| "corpus.write")?;
            }
            table = Some(found);
        }
        if let Some(file) = study.corpus.as_ref().and_then(|c| c.file.as_ref()) {
            inputs.insert("corpus", files::sha256_file(file).within(|| "the corpus")?);
        }
        if let Some(file) = &study.suite.counterfact {
            inputs.insert("suite", files::sha256_file(file).within(|| "the suite")?);
            read_counterfact(file).within(|| "the suite")?;
        }
        if let Some(file) = &study.suite.file {
            inputs.insert("suite", files::sha256_file(file).within(|| "the suite")?);
            let suite = read_suite(file)?;
            if let Some(name) = study.edit.keys().next() {
                crate::edits::check_suite(&suite).within(|| format!("edit.{name}"))?;
            }
        }
        if let Some(file) = study.published.as_ref().and_then(|p| p.questions.as_ref()) {
            let hash = files::sha256_file(file).within(|| "paper.questions")?;
            inputs.insert("questions", hash);
        }
        let mut all_settings = BTreeMap::new();
        for (name, training) in &study.train {
            let overrides: Vec<String> = training
                .set
                .iter()
                .map(|(k, v)| format!("{k}={}", text_of(v)))
                .collect();
            let resolved =
                settings(&training.preset, &overrides).within(|| format!("train.{name}"))?;
            if let Some(write) = study.corpus.as_ref().and_then(|c| c.write.as_ref())
                && resolved.max_length < write.max_tokens
            {
                // Exposures are counted on whole texts: a cut would make the count a lie.
                let why = format!(
                    "max_length {} would cut texts of up to {} tokens; raise it or lower corpus.write.max_tokens",
                    resolved.max_length, write.max_tokens
                );
                return Err(Error::asked(format!("train.{name}"), why));
            }
            engram_train::check(&base, &resolved).within(|| format!("train.{name}"))?;
            all_settings.insert(name.clone(), resolved);
        }
        for (name, sweep) in &study.sweep {
            resolve(&base, &sweep.sites).within(|| format!("sweep.{name}"))?;
        }
        edit::check(&study, &base)?;
        if study.random {
            base.gpt2("a model with random weights")
                .within(|| "random")?;
        }
        if study.published.is_some() {
            // Its modules are those of the published script's GPT-2.
            base.gpt2("the published protocol").within(|| "paper")?;
        }
        Ok(Setup {
            study,
            table,
            base,
            settings: all_settings,
            provenance,
            inputs,
        })
    }
}

impl<'a> Run<'a> {
    /// Reads and checks all that the study names, so that every error of input is told before any work.
    fn resolve(
        asked: &RunSettings,
        file: &Path,
        observer: &'a mut dyn Observer,
    ) -> Result<Run<'a>> {
        let study = Study::read(file, &asked.set)?;
        let device = asked.device.clone().unwrap_or(Device::Cpu);
        let opening = Opening::default().device(&device).bos(study.bos);
        let base = opening.open(&study.base, observer);
        let base = base.within(|| "the base model")?;
        let study = Study {
            base: base.path().to_owned(),
            ..study
        };
        let hash = checkpoint_hash(&study.base)?;
        let setup = Setup::resolve(study, base.into_loaded(), hash, asked.provenance.clone())?;
        setup.check_questions(observer)?;
        let folder = RunFolder::open(&asked.folder(file), &setup.study.title)?;
        Ok(Run {
            setup,
            folder,
            timing: BTreeMap::new(),
            observer,
        })
    }

    /// The stages up to a step, each from the files of those before it.
    fn stages(&mut self, last: Step) -> Result<()> {
        if last == Step::Fetch {
            return self.abstracts().map(drop);
        }
        let corpus = self.corpus()?;
        if last == Step::Corpus {
            return Ok(());
        }
        let suite = self.suite(corpus.as_deref())?;
        self.setup.check_sweeps(&suite, self.observer)?;
        if last == Step::Suite {
            return Ok(());
        }
        let mut models = vec![(BASE.to_owned(), self.setup.study.base.clone())];
        for name in self.setup.settings.keys().cloned().collect::<Vec<_>>() {
            let corpus = corpus.as_ref().ok_or_else(|| {
                Error::asked(format!("train.{name}"), "there is no corpus to train on")
            })?;
            models.push((name.clone(), self.train(&name, corpus)?));
        }
        if self.setup.study.random {
            models.push((RANDOM.to_owned(), self.random()?));
        }
        if last == Step::Train {
            return Ok(());
        }
        for (name, model) in &models {
            let sweep = self.sweep(name, model, &suite)?;
            if last == Step::Sweep {
                continue;
            }
            self.edits(&edit::From {
                name,
                model,
                sweep: &sweep,
                suite: &suite,
                corpus: corpus.as_deref(),
            })?;
        }
        Ok(())
    }

    /// A stage, with the time that it took.
    fn stage(
        &mut self,
        name: &str,
        code: Code,
        inputs: serde_json::Value,
        work: impl FnOnce(&Setup, &Path, &mut dyn Observer) -> Result<()>,
    ) -> Result<PathBuf> {
        if self.observer.is_cancelled() {
            let kept = Some(self.folder.path().to_owned());
            return Err(Error::Cancelled { kept });
        }
        let start = Instant::now();
        let inputs =
            json!({"engram": env!("CARGO_PKG_VERSION"), "code": code, "stage": name, "of": inputs});
        let setup = &self.setup;
        let (folder, made) =
            self.folder
                .stage(name, &inputs, self.observer, |folder, observer| {
                    work(setup, folder, observer)
                })?;
        if made {
            self.timing
                .insert(format!("{name}_s"), start.elapsed().as_secs_f64());
        } else {
            self.observer.note(format!("{name}: up to date"));
        }
        Ok(folder)
    }
}
