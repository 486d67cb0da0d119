//! `engram run`: corpus, suite, training, sweeps, findings, report, each stage from the files of those before it.

mod check;
mod edit;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::Device;
use engram_core::{Confounds, Pair, PreferenceRow, Row, Suite, files};
use engram_corpus::{Abstract, FactTable, read, read_counterfact, read_suite, stats};
use engram_model::Model;
use engram_patch::{
    BuildSettings, Plan, Profile, Reading, StagedEngine, SweepSpec, build, build_counterfact,
    build_paper, paper_spec, preferences,
};
use engram_report::{Excluded, Fact, Reproduction};
use engram_train::{Keep, TrainSettings, TrainingRecord};
use serde_json::json;

use crate::args::RunArgs;
use crate::commands::corpus::{read_corpus, tell_leaks, training_texts, with_tokenizer};
use crate::commands::edit::check_suite;
use crate::commands::model::resolve;
use crate::commands::patch::{prepare, sweep};
use crate::commands::train::{CHECKPOINT_EVERY, Recipe, fine_tune, settings, warn_of_rate};
use crate::commands::{counterfact, look, named, print, say, thousands};
use crate::confounds::confounds;
use crate::curve::Origin;
use crate::memory;
use crate::progress::note;
use crate::results::{
    CONFOUNDS, CORPUS, EXCLUDED, MANIFEST, Machine, Manifest, PAPER, PAPER_SUITE, PATCH,
    PREFERENCES, Results, STATS, SUITE, TRAINING,
};
use crate::stage::{RunFolder, checkpoint_hash, done_with, partial, under_way};
use crate::study::{BASE, RANDOM, Study, Sweep, Training, text_of};

/// Training texts.
pub const TRAIN: &str = "train.jsonl";
const VALIDATION: &str = "validation.jsonl";

/// The input that says what is put before texts.
const BEGIN: &str = "begin of text";

/// A study whose every name, path and value has been checked, and the folder that it is run in.
struct Run {
    study: Study,
    folder: RunFolder,
    table: Option<FactTable>,
    base: Model,
    settings: BTreeMap<String, TrainSettings>,
    /// SHA-256 of every input, by what it is.
    inputs: BTreeMap<&'static str, String>,
    timing: BTreeMap<String, f64>,
}

/// Runs a study; prints the summary and the report's path.
///
/// # Errors
/// Any of input, told before the first stage starts where it can be; any of a stage.
pub fn run(args: &RunArgs, as_json: bool) -> Result<()> {
    if let Some(name) = &args.new {
        return crate::commands::new::study(name, args.base.as_deref());
    }
    let study = args.study.as_deref().context("no study is named")?;
    named(study, run_study(args, study, as_json))
}

fn run_study(args: &RunArgs, study: &Path, as_json: bool) -> Result<()> {
    let start = Instant::now();
    let mut run = Run::resolve(args, study)?;
    let corpus = run.corpus()?;
    let suite = run.suite(corpus.as_deref())?;
    run.check_sweeps(&suite)?;
    let mut models = BTreeMap::from([(BASE.to_owned(), run.study.base.clone())]);
    for name in run.settings.keys().cloned().collect::<Vec<_>>() {
        let corpus = corpus.as_ref().context("there is no corpus to train on")?;
        models.insert(name.clone(), run.train(&name, corpus)?);
    }
    if run.study.random {
        models.insert(RANDOM.to_owned(), run.random()?);
    }
    for name in run
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
    note("findings: testing");
    let findings = results.findings()?;
    files::write_json(&folder.join(STATS), &findings)?;
    print(as_json, &findings, || results.summary(&findings, look()))?;
    let report = results.write_report(&folder, findings)?;
    if !as_json {
        say(format!("\n{}", report.display()))?;
    }
    Ok(())
}

impl Run {
    /// Reads and checks all that the study names, so that every error of input is told before any work.
    fn resolve(args: &RunArgs, file: &Path) -> Result<Run> {
        let study = Study::read(file, &args.set)?;
        let device = engram_model::device(&args.device)?;
        let (base, folder) =
            crate::model::open(&study.base, &device, study.bos).context("the base model")?;
        let study = Study {
            base: folder,
            ..study
        };
        let mut inputs = BTreeMap::from([
            ("base", checkpoint_hash(&study.base)?),
            (BEGIN, base.tokenizer().begin()),
        ]);
        let mut table = None;
        if let Some(file) = &study.facts {
            let found = FactTable::read(file).context("the fact table")?;
            inputs.insert("facts", files::sha256_file(file)?);
            let write = study.corpus.as_ref().and_then(|c| c.write.as_ref());
            if let Some(write) = write {
                engram_corpus::write::check_settings(&found, write).context("corpus.write")?;
            }
            table = Some(found);
        }
        if let Some(file) = study.corpus.as_ref().and_then(|c| c.file.as_ref()) {
            inputs.insert("corpus", files::sha256_file(file).context("the corpus")?);
        }
        if let Some(file) = &study.suite.counterfact {
            inputs.insert("suite", files::sha256_file(file).context("the suite")?);
            read_counterfact(file).context("the suite")?;
        }
        if let Some(file) = &study.suite.file {
            inputs.insert("suite", files::sha256_file(file).context("the suite")?);
            let suite = read_suite(file)?;
            if let Some(name) = study.edit.keys().next() {
                check_suite(&suite).with_context(|| format!("edit.{name}: the suite"))?;
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
                settings(&training.preset, &overrides).with_context(|| format!("train.{name}"))?;
            if let Some(write) = study.corpus.as_ref().and_then(|c| c.write.as_ref())
                && resolved.max_length < write.max_tokens
            {
                // Exposures are counted on whole texts: a cut would make the count a lie.
                bail!(
                    "train.{name}: max_length {} would cut texts of up to {} tokens; raise it or lower corpus.write.max_tokens",
                    resolved.max_length,
                    write.max_tokens
                );
            }
            engram_train::check(&base, &resolved).with_context(|| format!("train.{name}"))?;
            all_settings.insert(name.clone(), resolved);
        }
        for (name, sweep) in &study.sweep {
            resolve(&base.sites(), &sweep.sites).with_context(|| format!("sweep.{name}"))?;
        }
        edit::check(&study, &base)?;
        if study.random {
            base.gpt2("a model with random weights").context("random")?;
        }
        let out = match &args.out {
            Some(out) => out.clone(),
            None => Path::new("runs").join(file.file_stem().unwrap_or_default()),
        };
        let folder = RunFolder::open(&out, &study.title)?;
        Ok(Run {
            study,
            folder,
            table,
            base,
            settings: all_settings,
            inputs,
            timing: BTreeMap::new(),
        })
    }

    /// A stage, with the time that it took.
    fn stage(
        &mut self,
        name: &str,
        inputs: serde_json::Value,
        work: impl FnOnce(&Run, &Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let start = Instant::now();
        let inputs = json!({"engram": env!("CARGO_PKG_VERSION"), "stage": name, "of": inputs});
        let (folder, made) = self
            .folder
            .stage(name, &inputs, |folder| work(self, folder))?;
        if made {
            self.timing
                .insert(format!("{name}_s"), start.elapsed().as_secs_f64());
        } else {
            note(format!("{name}: up to date"));
        }
        Ok(folder)
    }

    /// Training and validation texts, and what they hold, where there is training.
    fn corpus(&mut self) -> Result<Option<PathBuf>> {
        let Some(source) = self.study.corpus.clone() else {
            return Ok(None);
        };
        let inputs = json!([source, self.study.seed, self.inputs]);
        let made = self.stage("corpus", inputs, |run, folder| {
            let study = &run.study;
            let mut facts = Vec::new();
            let (train, validation) = match (&source.file, &source.write) {
                (Some(file), _) => {
                    facts.push(Fact::new(
                        "source",
                        file.file_name().unwrap_or_default().to_string_lossy(),
                    ));
                    let texts = training_texts(file, source.keep_retracted)?;
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
            let leaked = tell_leaks(&train, &validation);
            facts.extend(run.count(&source.terms, &train, &validation)?);
            facts.push(Fact::new(
                "validation texts equal or nearly equal to a training text",
                thousands(leaked),
            ));
            files::write_json(&folder.join(CORPUS), &facts)?;
            Ok(())
        });
        made.map(Some)
    }

    /// The fact table, where the study has one.
    fn facts(&self) -> Result<&FactTable> {
        self.table.as_ref().context("the study has no fact table")
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

    /// The pairs, those of the published protocol, and what was left out.
    fn suite(&mut self, corpus: Option<&Path>) -> Result<PathBuf> {
        let paper = self.study.paper.as_ref().map(|p| p.pairs);
        let taught = corpus
            .map(|c| files::sha256_file(&c.join(TRAIN)))
            .transpose()?;
        let inputs = json!([
            self.study.suite,
            paper,
            self.study.seed,
            self.inputs,
            taught
        ]);
        self.stage("suite", inputs, |run, folder| {
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
                    build_counterfact(&counterfact(file)?, tokenizer, settings.seed, most)?
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
            let (pairs, unfit) = prepare(&suite, &run.base, &Reading::default(), true)?;
            excluded.extend(unfit);
            let fit = |id: &str| pairs.iter().any(|p| p.id == id);
            let kept: Vec<Pair> = suite.pairs.into_iter().filter(|p| fit(&p.id)).collect();
            Confounds::write(&folder.join(CONFOUNDS), &confounds(&kept, &pairs, corpus)?)?;
            Suite { pairs: kept }.write(&folder.join(SUITE))?;
            if let Some(pairs) = paper {
                let settings = BuildSettings {
                    max_pairs_per_kind: Some(pairs.div_ceil(2)),
                    ..settings
                };
                let built = build_paper(run.facts()?, tokenizer, &settings)?;
                let found = built.suite.pairs.len();
                if found < pairs {
                    note(format!("suite: {found} of {pairs} pairs of the published protocol (pairs come in whole cycles)"));
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
        let settings = self.settings[name].clone();
        // Another number of threads gives other last bits.
        let threads = Machine::here().threads;
        let device = format!("{:?}", self.base.device().location());
        let inputs = json!([settings, hashes, self.inputs["base"], threads, device]);
        let stage = format!("models/{name}");
        let keep = Keep {
            folder: partial(&self.folder.path().join(&stage)),
            every: CHECKPOINT_EVERY,
            resume: true,
        };
        let made = self.stage(&stage, inputs.clone(), |run, folder| {
            under_way(&run.folder.path().join(&stage), &inputs)?;
            let train = read_corpus(&texts[0])?;
            let validation = read_corpus(&texts[1])?;
            let recipe = Recipe {
                name,
                base: &run.base,
                train: &train,
                validation: &validation,
                settings: &settings,
            };
            fine_tune(&recipe, &keep, folder).map(drop)
        })?;
        done_with(&keep.folder)?;
        let record: TrainingRecord = files::read_json(&made.join(TRAINING))?;
        warn_of_rate(name, record.rate.as_ref());
        Ok(made)
    }

    /// A model of the base's sizes whose weights are drawn.
    fn random(&mut self) -> Result<PathBuf> {
        let inputs = json!([self.study.seed, self.inputs["base"]]);
        self.stage("models/random", inputs, |run, folder| {
            let config = run.base.gpt2("a model with random weights")?;
            let tokenizer = run.base.tokenizer().clone();
            Ok(Model::random(config, tokenizer, run.study.seed)?.write(folder)?)
        })
    }

    /// What a model prefers, and what its sweeps found.
    fn sweep(&mut self, name: &str, model: &Path, suite: &Path) -> Result<PathBuf> {
        let asked: Vec<_> = self
            .study
            .sweep
            .values()
            .filter(|s| s.models.iter().any(|m| m == name))
            .cloned()
            .collect();
        let paper = self
            .study
            .paper
            .as_ref()
            .is_some_and(|p| p.models.iter().any(|m| m == name));
        let files_hashed = [SUITE, PAPER_SUITE].map(|f| files::sha256_file(&suite.join(f)).ok());
        let gap = self.study.stats.eligible_gap;
        let inputs = json!([
            asked,
            paper,
            files_hashed,
            checkpoint_hash(model)?,
            self.inputs[BEGIN],
            gap,
            self.study.seed
        ]);
        let (model, suite) = (model.to_owned(), suite.to_owned());
        self.stage(&format!("sweeps/{name}"), inputs, |run, folder| {
            let model = Model::read(&model, &Device::Cpu)?.with_bos(run.study.bos)?;
            let engine = StagedEngine::new(&model, memory::allowed(None, &model))?;
            let pairs = Suite::read(&suite.join(SUITE))?;
            let preferred = preferences(&model, &pairs.pairs, &Reading::default(), true)?;
            for (pair, template, why) in &preferred.left_out {
                note(format!(
                    "{name}: {pair} not asked in {} ({why})",
                    template.as_deref().unwrap_or("its wording")
                ));
            }
            PreferenceRow::write_parquet(&folder.join(PREFERENCES), &preferred.rows)?;
            let (prepared, _) = prepare(&pairs, &model, &Reading::default(), false)?;
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
                    note(format!(
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
                rows.extend(sweep(&label, &engine, &model, &plan)?);
            }
            Row::mark(&mut rows, &preferred.rows);
            Row::write_parquet(&folder.join(PATCH), &rows)?;
            if paper {
                let pairs = Suite::read(&suite.join(PAPER_SUITE))?;
                let reading = Reading {
                    profile: Profile::Paper,
                    ..Reading::default()
                };
                let (prepared, _) = prepare(&pairs, &model, &reading, false)?;
                let spec = SweepSpec {
                    eligible_gap: gap,
                    ..paper_spec(&model.sites())
                };
                let plan = Plan::new(spec, model.shape(), prepared)?;
                let rows = sweep(
                    &format!("{name}, the published protocol"),
                    &engine,
                    &model,
                    &plan,
                )?;
                Row::write_parquet(&folder.join(PAPER), &rows)?;
            }
            Ok(())
        })
    }

    /// What is patched and measured in a sweep of a model.
    fn spec(&self, sweep: &Sweep, model: &Model) -> Result<SweepSpec> {
        Ok(SweepSpec {
            positions: sweep.positions,
            direction: sweep.direction,
            corruption: sweep.corruption,
            window: sweep.window,
            seed: self.study.seed,
            metrics: sweep.metrics.clone(),
            eligible_gap: self.study.stats.eligible_gap,
            ..SweepSpec::new(resolve(&model.sites(), &sweep.sites)?)
        })
    }

    fn manifest(&self, file: &Path) -> Result<Manifest> {
        let study = &self.study;
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
        for (name, settings) in &self.settings {
            seeds.push(Fact::new(format!("training of {name}"), settings.seed));
        }
        let mut inputs: Vec<Fact> = self.inputs.iter().map(|(k, v)| Fact::new(*k, v)).collect();
        inputs.push(Fact::new("study file", files::sha256_file(file)?));
        inputs.extend(
            self.base
                .shape()
                .served()
                .map(|s| Fact::new("grouped queries", s)),
        );
        let threads = Fact::new("threads", Machine::here().threads);
        Ok(Manifest {
            engram: env!("CARGO_PKG_VERSION").to_owned(),
            title: study.title.clone(),
            command: crate::command_line(),
            reproduction: Reproduction {
                command: crate::reproducing_line(),
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
