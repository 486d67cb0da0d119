//! `engram patch`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use engram_core::{Align, Confounds, Corruption, Metric, Pair, Row, Suite, files};
use engram_findings::Settings;
use engram_model::Model;
use engram_patch::{
    Batch, Done, Engine, Ineligible, Journal, NaiveEngine, Plan, PreparedPair,
    Profile as Procedure, Reading, Schedule, StagedEngine, SweepSpec, Unfit, check, ineligible,
    paper_spec, preferences_within, refuse_unfit, skip_unfit,
};
use engram_report::{Excluded, Fact, Reproduction};

use super::model::resolve;
use super::sweep_text;
use super::unfit::UnequalLengths;
use crate::args::{EngineName, PatchArgs, Profile};
use crate::memory;
use crate::progress::{Progress, note};
use crate::results::{CONFOUNDS, EXCLUDED, MANIFEST, Machine, Manifest, PATCH, SUITE};
use crate::stage::{Output, checkpoint_hash, fingerprint};

/// Runs `engram patch`.
///
/// # Errors
/// Any of input; nothing is written then.
pub fn patch(args: &PatchArgs, json: bool) -> Result<()> {
    let start = Instant::now();
    let paper = args.profile == Some(Profile::Paper);
    let device = engram_model::device(&args.device)?;
    if !device.is_cpu() && args.engine == EngineName::Staged {
        bail!(
            "--device {}: the staged engine runs on the CPU; give --engine naive with it",
            args.device
        );
    }
    let suite = suite(args)?;
    let suite_hash = (args.suite.as_ref()).map(|path| files::sha256_file(path));
    let suite_hash = suite_hash.transpose()?;
    let under_way = match &args.out {
        Some(out) if !args.plan_only => Some(UnderWay::at(out, args.resume)?),
        _ => None,
    };
    memory::holds(args.memory, &crate::model::checkpoint(&args.model)?)?;
    let (model, folder) = crate::model::open(&args.model, &device, args.bos)?;
    let spec = spec(args, &model)?;
    let reading = Reading {
        profile: if paper {
            Procedure::Paper
        } else {
            Procedure::Standard
        },
        chat: args.chat,
        unequal: args.align != Align::Strict || args.corruption == Corruption::Resample,
    };
    let prepared = prepare(&suite, &model, &reading, args.skip_unfit);
    let (pairs, mut excluded) = match &args.suite {
        Some(file) => super::named(file, prepared)?,
        None => prepared?,
    };
    let (plan, unfit) = match args.skip_unfit {
        true => Plan::of_fit(spec, model.shape(), pairs)?,
        false => (Plan::new(spec, model.shape(), pairs)?, Vec::new()),
    };
    excluded.extend(left_out(unfit));
    let kept: BTreeSet<&str> = plan.pairs.iter().map(|p| p.pair.id.as_str()).collect();
    if let Some(advice) = sweep_text::trivial_throughout(&plan) {
        note(advice);
    }
    let measured = Suite {
        pairs: suite
            .pairs
            .iter()
            .filter(|p| kept.contains(p.id.as_str()))
            .cloned()
            .collect(),
    };
    let memory = memory::allowed(args.memory, &model);
    let schedule = || {
        let nothing = Done::nothing(&plan);
        Schedule::with_rows(&plan, &nothing, memory, rayon::current_num_threads())
    };
    let Some(under_way) = under_way else {
        let schedule = schedule()?;
        let cost = sweep_text::Cost::here(&schedule);
        return super::print(json, &cost, || sweep_text::planned(&plan, &cost));
    };
    let engine: Box<dyn Engine> = match args.engine {
        EngineName::Staged => {
            // What cannot fit is said before anything is laid out or written.
            schedule()?;
            Box::new(StagedEngine::new(&model, memory)?)
        }
        EngineName::Naive => Box::new(naive_engine(memory.allowed)),
    };
    let model_hash = checkpoint_hash(&folder)?;
    let load_s = start.elapsed().as_secs_f64();

    let start = Instant::now();
    let naive = args.engine == EngineName::Naive;
    // The last bits of the naive engine's values depend on how its cells are batched and on the device.
    let naive = naive.then(|| (naive_engine(memory.allowed), args.device.clone()));
    let key = fingerprint(&(&model_hash, &plan, naive, &measured.pairs))?;
    let out = &under_way.out;
    if under_way.output.is_made_from(&key)? {
        let rows = Row::read_parquet(&out.join(PATCH))?;
        note(format!("{}: it is whole already", out.display()));
        under_way.remove()?;
        return print_rows((&measured, &rows), &model, json, out);
    }
    let (mut journal, done) = under_way.journal(&key, &plan)?;
    let done = sweep_on("patch", &*engine, &model, &plan, done, |batch| {
        journal.append(batch)
    })?;
    // Rows take the place of the weights that were laid out.
    drop(engine);
    let (mut rows, ineligible) = rows_of(&done, &plan);

    drop(done);
    let sweep_s = start.elapsed().as_secs_f64();
    if !paper {
        // A small part of what is allowed: the sweep's own caches are gone by now.
        let room = memory.allowed / 16;
        let asked = preferences_within(&model, &measured.pairs, &reading, false, room)?;
        Row::mark(&mut rows, &asked.rows);
    }
    under_way.output.fill_from(&key, |folder| {
        let mut inputs = vec![
            Fact::new("model", model_hash),
            Fact::new("begin of text", model.tokenizer().begin()),
        ];
        if args.chat {
            inputs.push(Fact::new(
                "prompts",
                "what a user says, by the chat template",
            ));
        }
        inputs.extend(
            model
                .shape()
                .served()
                .map(|s| Fact::new("grouped queries", s)),
        );
        inputs.extend(suite_hash.map(|hash| Fact::new("suite", hash)));
        let manifest = Manifest {
            engram: env!("CARGO_PKG_VERSION").to_owned(),
            title: "Sweep".to_owned(),
            command: crate::command_line(),
            reproduction: Reproduction {
                command: crate::reproducing_line(),
                seeds: vec![Fact::new("seed", args.seed.to_string())],
                versions: vec![Fact::new("engram", env!("CARGO_PKG_VERSION"))],
                inputs,
            },
            models: vec![name_of(&args.model)],
            ineligible,
            timing: BTreeMap::from([
                ("load_s".to_owned(), load_s),
                ("sweep_s".to_owned(), sweep_s),
            ]),
            machine: Machine::here(),
            ..Manifest::default()
        };
        Row::write_parquet(&folder.join(PATCH), &rows)?;
        let confounds: Vec<Confounds> = (plan.pairs.iter().map(|p| p.pair.confounds())).collect();
        Confounds::write(&folder.join(CONFOUNDS), &confounds)?;
        measured.write(&folder.join(SUITE))?;
        files::write_json(&folder.join(EXCLUDED), &excluded)?;
        files::write_json(&folder.join(MANIFEST), &manifest).map_err(anyhow::Error::from)
    })?;
    under_way.remove()?;
    print_rows((&measured, &rows), &model, json, out)
}

/// Prints a sweep's rows, or its means over pairs.
fn print_rows(
    (suite, rows): (&Suite, &Vec<Row>),
    model: &Model,
    json: bool,
    out: &Path,
) -> Result<()> {
    let text = sweep_text::shown(&suite.pairs, rows, Settings::default())?;
    super::print(json, rows, || {
        let of_keys = |r: &Row| r.head.is_some() && ["k", "v"].contains(&r.site.as_str());
        let served = model.shape().served().filter(|_| rows.iter().any(of_keys));
        text + &served.map_or(String::new(), |s| format!("\n{s}"))
    })?;
    note(out.join(PATCH).display());
    Ok(())
}

/// The reference engine, without a short cut, within some memory.
fn naive_engine(memory: u64) -> NaiveEngine {
    NaiveEngine {
        skip_trivial: false,
        memory: memory.min(NaiveEngine::default().memory),
        ..NaiveEngine::default()
    }
}

/// A sweep whose results are not whole yet: its journal stands beside the folder that they will be in.
struct UnderWay {
    out: PathBuf,
    output: Output,
    journal: PathBuf,
    resume: bool,
}

impl UnderWay {
    /// Refuses what would lose an earlier sweep's results.
    fn at(out: &Path, resume: bool) -> Result<UnderWay> {
        let journal = files::beside(out, ".partial.jsonl");
        Ok(UnderWay {
            out: out.to_owned(),
            output: Output::resumable(out, &journal, resume)?,
            journal,
            resume,
        })
    }

    fn journal(&self, key: &str, plan: &Plan) -> Result<(Journal, Done)> {
        if !(self.resume && self.journal.exists()) {
            return Ok((Journal::create(&self.journal, key)?, Done::nothing(plan)));
        }
        let (journal, resumed) = Journal::resume(&self.journal, key, plan)?;
        let at = self.journal.display();
        match resumed.damaged {
            Some(line) => note(format!(
                "{at}: line {line} is damaged; it and what follows, {} bytes, are computed again",
                resumed.cut
            )),
            None if resumed.cut > 0 => note(format!(
                "{at}: its last {} bytes were no whole batch and are computed again",
                resumed.cut
            )),
            None => {}
        }
        note(format!("{} cells are done already", resumed.done.cells()));
        Ok((journal, resumed.done))
    }

    fn remove(&self) -> Result<()> {
        match std::fs::remove_file(&self.journal) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("cannot remove {}", self.journal.display()))
            }
            _ => Ok(()),
        }
    }
}

fn name_of(folder: &Path) -> String {
    match folder.file_name() {
        Some(name) => name.to_string_lossy().into_owned(),
        None => "model".to_owned(),
    }
}

fn suite(args: &PatchArgs) -> Result<Suite> {
    if let Some(path) = &args.suite {
        return Ok(engram_corpus::read_suite(path)?);
    }
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let pair = Pair {
        id: "pair".to_owned(),
        kind: "inline".to_owned(),
        clean: text(&args.clean),
        corrupt: text(&args.corrupt),
        answer: text(&args.answer),
        foil: text(&args.foil),
        ..Pair::default()
    };
    Ok(Suite { pairs: vec![pair] })
}

fn spec(args: &PatchArgs, model: &Model) -> Result<SweepSpec> {
    if args.profile == Some(Profile::Paper) {
        return Ok(paper_spec(&model.sites()));
    }
    let mut metrics = args.metric.clone();
    if !metrics.contains(&Metric::LogitDiff) {
        metrics.insert(0, Metric::LogitDiff);
    }
    Ok(SweepSpec {
        positions: args.positions,
        direction: args.direction,
        corruption: args.corruption,
        align: args.align,
        window: args.window,
        seed: args.seed,
        samples: args.samples,
        metrics,
        ..SweepSpec::new(resolve(&model.sites(), &args.sites)?)
    })
}

/// The pairs that can be patched, and those left out where leaving out is allowed.
///
/// # Errors
/// Where it is not, all unfit pairs by name; where none is left, that.
pub fn prepare(
    suite: &Suite,
    model: &Model,
    reading: &Reading,
    skip: bool,
) -> Result<(Vec<PreparedPair>, Vec<Excluded>)> {
    let checked = check(suite, model.tokenizer(), &model.shape(), reading)?;
    for found in &checked {
        for notice in &found.notices {
            note(format!("notice: {}: {notice}", found.pair.id));
        }
    }
    if !skip {
        if let Some(error) = UnequalLengths::of(&checked) {
            bail!(error);
        }
        return Ok((refuse_unfit(checked)?, Vec::new()));
    }
    let (fit, unfit) = skip_unfit(checked);
    let excluded = left_out(unfit);
    if fit.is_empty() {
        let first = excluded
            .first()
            .map(|e| (e.pair.as_str(), e.reason.as_str()));
        let (pair, why) = first.unwrap_or(("none", "the suite has no pair"));
        bail!(
            "none of {} pairs can be patched; the first, {pair}: {why}",
            excluded.len()
        );
    }
    Ok((fit, excluded))
}

/// Names the pairs that are left out.
fn left_out(unfit: Vec<Unfit>) -> Vec<Excluded> {
    let excluded = unfit.into_iter().map(|unfit| {
        let reason = unfit.problems.join("; ");
        note(format!("left out: {} ({reason})", unfit.pair));
        Excluded {
            pair: unfit.pair,
            kind: Some(unfit.kind),
            reason,
        }
    });
    excluded.collect()
}

/// Runs a plan with progress on stderr; all rows, in the plan's order.
///
/// # Errors
/// The engine's.
pub fn sweep(label: &str, engine: &dyn Engine, model: &Model, plan: &Plan) -> Result<Vec<Row>> {
    let done = sweep_on(label, engine, model, plan, Done::nothing(plan), |_| Ok(()))?;
    Ok(rows_of(&done, plan).0)
}

/// Runs what `done` does not have of a plan, and gives all of it; each batch goes to `keep` as soon as it is there.
fn sweep_on(
    label: &str,
    engine: &dyn Engine,
    model: &Model,
    plan: &Plan,
    done: Done,
    mut keep: impl FnMut(&Batch) -> engram_patch::Result<()>,
) -> Result<Done> {
    let mut progress = Progress::new(label, engine.cells(plan) as u64);
    let mut all = done.clone();
    let mut finished = done.cells();
    engine.sweep(model, plan, &done, &mut |batch| {
        keep(&batch)?;
        finished += batch.cells.len();
        progress.at(finished as u64, &plan.pairs[batch.pair].pair.id);
        all.take(batch);
        Ok(())
    })?;
    let pairs: BTreeSet<&str> = plan.pairs.iter().map(|p| p.pair.id.as_str()).collect();
    progress.finish(&format!("{} pairs, {} rows", pairs.len(), plan.rows()));
    Ok(all)
}

/// The rows of a plan that is done. Says which pairs have no recovery, and in which metrics.
fn rows_of(done: &Done, plan: &Plan) -> (Vec<Row>, Vec<Ineligible>) {
    let results = done.results(plan);
    let ineligible = ineligible(&results);
    ineligible.iter().for_each(note);
    let rows = results.into_iter().flat_map(|r| r.rows);
    (rows.collect(), ineligible)
}
