//! `engram run`: corpus, suite, training, sweeps, findings, report, each stage from the files of those before it.

mod check;
mod edit;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::Device;
use engram_core::text::thousands;
use engram_core::{Confounds, Pair, PreferenceRow, Row, Suite, files};
use engram_corpus::{Abstract, FactTable, read, read_counterfact, read_suite, stats};
use engram_findings::Findings;
use engram_patch::{
    BuildSettings, Plan, Profile, Reading, StagedEngine, SweepSpec, build, build_counterfact,
    build_paper, paper_spec, preferences,
};
use engram_report::{Excluded, Fact, Reproduction};
use engram_train::{CheckpointSettings, TrainSettings, TrainingRecord};
use serde_json::json;

use crate::code::{self, Code};
use crate::confounds::confounds;
use crate::corpus::{counterfact, leaks, read_corpus, training_texts, with_tokenizer};
use crate::curve::Origin;
use crate::error::{Error, Result, Within};
use crate::memory;
use crate::model::{Opening, checkpoint_hash, resolve};
use crate::observe::Observer;
use crate::pairs::prepare;
use crate::results::{
    CONFOUNDS, CORPUS, EXCLUDED, MANIFEST, Machine, Manifest, PAPER, PAPER_SUITE, PATCH,
    PREFERENCES, Provenance, Results, STATS, SUITE, TRAIN, TRAINING, VALIDATION,
};
use crate::stage::{RunFolder, done_with, partial, under_way};
use crate::study::{BASE, RANDOM, Study, Sweep, Training, text_of};
use crate::sweep::sweep_plan;
use crate::training::{CHECKPOINT_EVERY, Recipe, fine_tune, settings, warn_of_rate};

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

/// A study whose every name, path and value has been checked.
struct Setup {
    study: Study,
    table: Option<FactTable>,
    base: engram_model::Model,
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

fn run_study(settings: &RunSettings, study: &Path, observer: &mut dyn Observer) -> Result<Ran> {
    let start = Instant::now();
    let mut run = Run::resolve(settings, study, observer)?;
    let corpus = run.corpus()?;
    let suite = run.suite(corpus.as_deref())?;
    run.setup.check_sweeps(&suite, run.observer)?;
    let mut models = BTreeMap::from([(BASE.to_owned(), run.setup.study.base.clone())]);
    for name in run.setup.settings.keys().cloned().collect::<Vec<_>>() {
        let corpus = (corpus.as_ref()).ok_or_else(|| {
            Error::asked(format!("train.{name}"), "there is no corpus to train on")
        })?;
        models.insert(name.clone(), run.train(&name, corpus)?);
    }
    if run.setup.study.random {
        models.insert(RANDOM.to_owned(), run.random()?);
    }
    for name in run
        .setup
        .study
        .models()
        .iter()
        .map(|n| (*n).to_owned())
        .collect::<Vec<_>>()
    {
        let sweep = run.sweep(&name, &models[&name], &suite)?;
        run.edits(&edit::From {
            name: &name,
            model: &models[&name],
            sweep: &sweep,
            suite: &suite,
            corpus: corpus.as_deref(),
        })?;
    }
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

    fn count(
        &self,
        terms: &[String],
        train: &[Abstract],
        validation: &[Abstract],
    ) -> Result<Vec<Fact>> {
        let terms: Vec<&str> = terms.iter().map(String::as_str).collect();
        let mut facts = vec![Fact::new("training texts", thousands(train.len()))];
        facts.push(Fact::new("validation texts", thousands(validation.len())));
        let all: Vec<Abstract> = train.iter().chain(validation).cloned().collect();
        let counted = with_tokenizer(self.base.tokenizer(), |t| {
            Ok(stats::stats(&all, &terms, Some(t))?)
        })?;
        facts.push(Fact::new("words", thousands(counted.words)));
        facts.push(Fact::new(
            "tokens",
            thousands(counted.tokens.unwrap_or_default()),
        ));
        for mention in counted.mentions {
            let value = format!(
                "{} as a whole word, {} anywhere",
                thousands(mention.whole_words),
                thousands(mention.substrings)
            );
            facts.push(Fact::new(format!("mentions of {}", mention.term), value));
        }
        Ok(facts)
    }

    /// What is patched and measured in a sweep of a model.
    fn spec(&self, sweep: &Sweep, model: &engram_model::Model) -> Result<SweepSpec> {
        Ok(SweepSpec {
            positions: sweep.positions,
            direction: sweep.direction,
            corruption: sweep.corruption,
            window: sweep.window,
            seed: self.study.seed,
            metrics: sweep.metrics.clone(),
            eligible_gap: self.study.stats.eligible_gap,
            ..SweepSpec::new(resolve(model, &sweep.sites)?)
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
        let base = base.into_loaded();
        let mut inputs = BTreeMap::from([
            ("base", checkpoint_hash(&study.base)?),
            (BEGIN, base.tokenizer().begin()),
        ]);
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
        let out = match &asked.out {
            Some(out) => out.clone(),
            None => Path::new("runs").join(file.file_stem().unwrap_or_default()),
        };
        let folder = RunFolder::open(&out, &study.title)?;
        Ok(Run {
            setup: Setup {
                study,
                table,
                base,
                settings: all_settings,
                provenance: asked.provenance.clone(),
                inputs,
            },
            folder,
            timing: BTreeMap::new(),
            observer,
        })
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

    /// Training and validation texts, and what they hold, where there is training.
    fn corpus(&mut self) -> Result<Option<PathBuf>> {
        let Some(source) = self.setup.study.corpus.clone() else {
            return Ok(None);
        };
        let inputs = json!([source, self.setup.study.seed, self.setup.inputs]);
        let made = self.stage(
            "corpus",
            code::of_texts(),
            inputs,
            |run, folder, observer| {
                let study = &run.study;
                let mut facts = Vec::new();
                let (train, validation) = match (&source.file, &source.write) {
                    (Some(file), _) => {
                        facts.push(Fact::new(
                            "source",
                            file.file_name().unwrap_or_default().to_string_lossy(),
                        ));
                        let texts = training_texts(file, source.keep_retracted, observer)?;
                        facts.extend(same_texts(&texts));
                        engram_corpus::split_texts(texts, source.split, study.seed)?
                    }
                    (None, write) => {
                        let write = write.clone().unwrap_or_default();
                        let written = with_tokenizer(run.base.tokenizer(), |t| {
                            Ok(engram_corpus::write_texts(run.facts()?, &write, t)?)
                        })?;
                        written.save(folder)?;
                        facts.push(Fact::new("source", "texts written from the fact table"));
                        facts.push(Fact::new("facts taught", written.exposures.len()));
                        facts.push(Fact::new("exposures of each fact", write.exposures));
                        facts.push(Fact::new("wordings of each fact", write.wordings));
                        (written.train_records(), written.validation_records())
                    }
                };
                read::write(&folder.join(TRAIN), &train)?;
                read::write(&folder.join(VALIDATION), &validation)?;
                let leaked = leaks(&train, &validation, observer);
                facts.extend(run.count(&source.terms, &train, &validation)?);
                facts.push(Fact::new(
                    "validation texts equal or nearly equal to a training text",
                    thousands(leaked),
                ));
                files::write_json(&folder.join(CORPUS), &facts)?;
                Ok(())
            },
        );
        made.map(Some)
    }

    /// The pairs, those of the published protocol, and what was left out.
    fn suite(&mut self, corpus: Option<&Path>) -> Result<PathBuf> {
        let paper = self.setup.study.paper.as_ref().map(|p| p.pairs);
        let taught = corpus
            .map(|c| files::sha256_file(&c.join(TRAIN)))
            .transpose()?;
        let inputs = json!([
            self.setup.study.suite,
            paper,
            self.setup.study.seed,
            self.setup.inputs,
            taught
        ]);
        self.stage("suite", code::of_pairs(), inputs, |run, folder, observer| {
            let settings = BuildSettings {
                seed: run.study.seed,
                max_pairs_per_kind: Some(run.study.suite.max_pairs_per_kind)
                    .filter(|most| *most > 0),
                ..BuildSettings::default()
            };
            let tokenizer = run.base.tokenizer();
            let mut excluded = Vec::new();
            let source = &run.study.suite;
            let suite = match (&source.file, &source.counterfact) {
                (Some(file), _) => read_suite(file)?,
                (None, Some(file)) => {
                    let most = settings.max_pairs_per_kind;
                    build_counterfact(&counterfact(file, observer)?, tokenizer, settings.seed, most)?
                }
                (None, None) => {
                    let built = build(run.facts()?, tokenizer, &settings)?;
                    excluded.extend(built.unpaired.into_iter().map(|u| Excluded {
                        pair: u.fact,
                        kind: Some(u.kind),
                        reason: u.reason,
                    }));
                    built.suite
                }
            };
            let (pairs, unfit) = prepare(&suite, &run.base, &Reading::default(), true, observer)?;
            excluded.extend(unfit);
            let fit = |id: &str| pairs.iter().any(|p| p.id == id);
            let kept: Vec<Pair> = suite.pairs.into_iter().filter(|p| fit(&p.id)).collect();
            Confounds::write(&folder.join(CONFOUNDS), &confounds(&kept, &pairs, corpus, observer)?)?;
            Suite { pairs: kept }.write(&folder.join(SUITE))?;
            if let Some(pairs) = paper {
                let settings = BuildSettings {
                    max_pairs_per_kind: Some(pairs.div_ceil(2)),
                    ..settings
                };
                let built = build_paper(run.facts()?, tokenizer, &settings)?;
                let found = built.suite.pairs.len();
                if found < pairs {
                    observer.note(format!("suite: {found} of {pairs} pairs of the published protocol (pairs come in whole cycles)"));
                }
                built.suite.write(&folder.join(PAPER_SUITE))?;
            }
            files::write_json(&folder.join(EXCLUDED), &excluded)?;
            Ok(())
        })
    }

    /// A fine-tuned model.
    fn train(&mut self, name: &str, corpus: &Path) -> Result<PathBuf> {
        let texts = [TRAIN, VALIDATION].map(|f| corpus.join(f));
        let hashes = [
            files::sha256_file(&texts[0])?,
            files::sha256_file(&texts[1])?,
        ];
        let settings = self.setup.settings[name].clone();
        // Another number of threads gives other last bits.
        let threads = Machine::here().threads;
        let device = format!("{:?}", self.setup.base.device().location());
        let inputs = json!([settings, hashes, self.setup.inputs["base"], threads, device]);
        let stage = format!("models/{name}");
        let stage_folder = self.folder.path().join(&stage);
        let keep = CheckpointSettings {
            folder: partial(&stage_folder),
            every: CHECKPOINT_EVERY,
            resume: true,
        };
        let made = self.stage(
            &stage,
            code::of_training(),
            inputs.clone(),
            |run, folder, observer| {
                under_way(&stage_folder, &inputs, observer)?;
                let train = read_corpus(&texts[0], observer)?;
                let validation = read_corpus(&texts[1], observer)?;
                let recipe = Recipe {
                    name,
                    base: &run.base,
                    train: &train,
                    validation: &validation,
                    settings: &settings,
                };
                fine_tune(&recipe, &keep, folder, observer).map(drop)
            },
        )?;
        done_with(&keep.folder)?;
        let record: TrainingRecord = files::read_json(&made.join(TRAINING))?;
        warn_of_rate(name, record.rate.as_ref(), self.observer);
        Ok(made)
    }

    /// A model of the base's sizes whose weights are drawn.
    fn random(&mut self) -> Result<PathBuf> {
        let inputs = json!([self.setup.study.seed, self.setup.inputs["base"]]);
        self.stage(
            "models/random",
            code::of_training(),
            inputs,
            |run, folder, _| {
                let config = run.base.gpt2("a model with random weights")?;
                let tokenizer = run.base.tokenizer().clone();
                let model = engram_model::Model::random(config, tokenizer, run.study.seed)?;
                Ok(model.write(folder)?)
            },
        )
    }

    /// What a model prefers, and what its sweeps found.
    fn sweep(&mut self, name: &str, model: &Path, suite: &Path) -> Result<PathBuf> {
        let asked: Vec<_> = self
            .setup
            .study
            .sweep
            .values()
            .filter(|s| s.models.iter().any(|m| m == name))
            .cloned()
            .collect();
        let paper = self
            .setup
            .study
            .paper
            .as_ref()
            .is_some_and(|p| p.models.iter().any(|m| m == name));
        let files_hashed = [SUITE, PAPER_SUITE].map(|f| files::sha256_file(&suite.join(f)).ok());
        let gap = self.setup.study.stats.eligible_gap;
        let inputs = json!([
            asked,
            paper,
            files_hashed,
            checkpoint_hash(model)?,
            self.setup.inputs[BEGIN],
            gap,
            self.setup.study.seed
        ]);
        let (model, suite) = (model.to_owned(), suite.to_owned());
        self.stage(&format!("sweeps/{name}"), code::of_sweep(), inputs, |run, folder, observer| {
            let model = engram_model::Model::read(&model, &Device::Cpu)?;
            let model = model.with_bos(run.study.bos)?;
            let engine = StagedEngine::new(&model, memory::allowed(None, &model))?;
            let pairs = Suite::read(&suite.join(SUITE))?;
            let preferred = preferences(&model, &pairs.pairs, &Reading::default(), true)?;
            for (pair, template, why) in &preferred.left_out {
                observer.note(format!(
                    "{name}: {pair} not asked in {} ({why})",
                    template.as_deref().unwrap_or("its wording")
                ));
            }
            PreferenceRow::write_parquet(&folder.join(PREFERENCES), &preferred.rows)?;
            let (prepared, _) = prepare(&pairs, &model, &Reading::default(), false, observer)?;
            let prefers: BTreeSet<&str> = (preferred.rows.iter())
                .filter(|row| !row.held_back && row.prefers())
                .map(|row| row.pair.as_str())
                .collect();
            let mut rows = Vec::new();
            for sweep_of in &asked {
                let spec = run.spec(sweep_of, &model)?;
                let mut patched = prepared.clone();
                if sweep_of.known {
                    patched.retain(|p| prefers.contains(p.id.as_str()));
                    observer.note(format!(
                        "{name}: of {} of {} pairs the model prefers the right one; these are patched",
                        patched.len(),
                        prepared.len()
                    ));
                }
                if patched.is_empty() {
                    continue;
                }
                let plan = Plan::new(spec, model.shape(), patched)?;
                let label = format!(
                    "{name}, {} by {}",
                    sweep_of.sites.join(" and "),
                    sweep_of.positions
                );
                rows.extend(sweep_plan(&label, &engine, &plan, observer)?);
            }
            Row::mark(&mut rows, &preferred.rows);
            Row::write_parquet(&folder.join(PATCH), &rows)?;
            if paper {
                let pairs = Suite::read(&suite.join(PAPER_SUITE))?;
                let reading = Reading {
                    profile: Profile::Paper,
                    ..Reading::default()
                };
                let (prepared, _) = prepare(&pairs, &model, &reading, false, observer)?;
                let spec = SweepSpec {
                    eligible_gap: gap,
                    ..paper_spec(&model.sites())
                };
                let plan = Plan::new(spec, model.shape(), prepared)?;
                let label = format!("{name}, the published protocol");
                let rows = sweep_plan(&label, &engine, &plan, observer)?;
                Row::write_parquet(&folder.join(PAPER), &rows)?;
            }
            Ok(())
        })
    }

    fn manifest(&self, file: &Path) -> Result<Manifest> {
        let study = &self.setup.study;
        // Stages that were up to date keep the time that they took when they were made.
        let earlier = files::read_json::<Manifest>(&self.folder.path().join(MANIFEST));
        let mut timing = earlier.map(|m| m.timing).unwrap_or_default();
        timing.extend(self.timing.clone());
        let mut seeds = vec![
            Fact::new("study", study.seed),
            Fact::new("statistics", study.stats.seed),
        ];
        if let Some(write) = study.corpus.as_ref().and_then(|c| c.write.as_ref()) {
            seeds.push(Fact::new("texts", write.seed));
        }
        for (name, settings) in &self.setup.settings {
            seeds.push(Fact::new(format!("training of {name}"), settings.seed));
        }
        let mut inputs: Vec<Fact> = self
            .setup
            .inputs
            .iter()
            .map(|(k, v)| Fact::new(*k, v))
            .collect();
        inputs.push(Fact::new("study file", files::sha256_file(file)?));
        inputs.extend(
            self.setup
                .base
                .shape()
                .served()
                .map(|s| Fact::new("grouped queries", s)),
        );
        let threads = Fact::new("threads", Machine::here().threads);
        Ok(Manifest {
            engram: env!("CARGO_PKG_VERSION").to_owned(),
            title: study.title.clone(),
            command: self.setup.provenance.command.clone(),
            reproduction: Reproduction {
                command: self.setup.provenance.reproducing.clone(),
                seeds,
                versions: vec![Fact::new("engram", env!("CARGO_PKG_VERSION")), threads],
                inputs,
            },
            stats: study.stats,
            models: study.models().into_iter().map(str::to_owned).collect(),
            replicates: (study.train.iter())
                .filter_map(|(name, t)| Some((name.clone(), t.replicates.clone()?)))
                .collect(),
            edits: (study.edit.iter())
                .map(|(name, edit)| (name.clone(), edit.models.clone()))
                .collect(),
            training: study.train.iter().map(origin).collect(),
            ineligible: Vec::new(),
            timing,
            machine: Machine::here(),
        })
    }
}

/// How many texts of a corpus are equal or nearly equal to an earlier one; nothing where none is.
fn same_texts(texts: &[Abstract]) -> Option<Fact> {
    let own: Vec<String> = texts.iter().map(Abstract::own_text).collect();
    let groups = engram_corpus::near::groups(own.iter().map(String::as_str));
    let later = texts.len() - groups.iter().max().map_or(0, |last| last + 1);
    let value = format!("{later}, on the side of the split of the first");
    (later > 0).then(|| Fact::new("texts equal or nearly equal to an earlier one", value))
}

fn origin((name, training): (&String, &Training)) -> (String, Origin) {
    let origin = Origin {
        preset: Some(training.preset.clone()),
        why: training.why.clone().into_iter().collect(),
    };
    (name.clone(), origin)
}
