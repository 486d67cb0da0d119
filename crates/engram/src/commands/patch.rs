//! `engram patch`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use candle_core::Device;
use engram_core::{Metric, Pair, Row, Suite, files};
use engram_model::Model;
use engram_patch::{
    Engine, NaiveEngine, Plan, PreparedPair, Profile as Procedure, Reading, SweepSpec, check,
    paper_spec, refuse_unfit, skip_unfit,
};
use engram_report::{Excluded, Fact, Reproduction};

use super::model::resolve;
use crate::args::{EngineName, PatchArgs, Profile};
use crate::progress::Progress;
use crate::results::{EXCLUDED, MANIFEST, Machine, Manifest, PATCH, SUITE};
use crate::stage::{checkpoint_hash, must_be_free, whole_folder};

/// Runs `engram patch`.
///
/// # Errors
/// Any of input; nothing is written then.
pub fn patch(args: &PatchArgs, json: bool) -> Result<()> {
    let start = Instant::now();
    let paper = args.profile == Some(Profile::Paper);
    let suite = suite(args)?;
    must_be_free(&args.out)?;
    let model = Model::read(&args.model, &Device::Cpu)?;
    let load_s = start.elapsed().as_secs_f64();
    let spec = spec(args, &model)?;
    let reading = Reading {
        bos: None,
        profile: if paper {
            Procedure::Paper
        } else {
            Procedure::Standard
        },
    };
    let (pairs, excluded) = prepare(&suite, &model, &reading, args.skip_unfit)?;
    let kept: Vec<&str> = pairs.iter().map(|p| p.id.as_str()).collect();
    let measured = Suite {
        pairs: suite
            .pairs
            .iter()
            .filter(|p| kept.contains(&p.id.as_str()))
            .cloned()
            .collect(),
    };
    let plan = Plan::new(spec, model.shape(), pairs)?;
    let EngineName::Naive = args.engine;
    let engine = NaiveEngine {
        skip_trivial: false,
        ..NaiveEngine::default()
    };
    let rows = whole_folder(&args.out, |folder| {
        let start = Instant::now();
        let rows = sweep("patch", &engine, &model, &plan)?;
        let sweep_s = start.elapsed().as_secs_f64();
        let mut inputs = vec![Fact::new("model", checkpoint_hash(&args.model)?)];
        if let Some(path) = &args.suite {
            inputs.push(Fact::new("suite", files::sha256_file(path)?));
        }
        let manifest = Manifest {
            engram: env!("CARGO_PKG_VERSION").to_owned(),
            title: "Sweep".to_owned(),
            command: crate::command_line(None),
            reproduction: Reproduction {
                command: crate::command_line(Some("--out")),
                seeds: Vec::new(),
                versions: vec![Fact::new("engram", env!("CARGO_PKG_VERSION"))],
                inputs,
            },
            models: vec![name_of(&args.model)],
            timing: BTreeMap::from([
                ("load_s".to_owned(), load_s),
                ("sweep_s".to_owned(), sweep_s),
            ]),
            machine: Machine::here(),
            ..Manifest::default()
        };
        Row::write_parquet(&folder.join(PATCH), &rows)?;
        measured.write(&folder.join(SUITE))?;
        files::write_json(&folder.join(EXCLUDED), &excluded)?;
        files::write_json(&folder.join(MANIFEST), &manifest)?;
        Ok(rows)
    })?;
    super::print(json, &rows, || shown(&rows))?;
    eprintln!("{}", args.out.join(PATCH).display());
    Ok(())
}

fn name_of(folder: &Path) -> String {
    match folder.file_name() {
        Some(name) => name.to_string_lossy().into_owned(),
        None => "model".to_owned(),
    }
}

fn suite(args: &PatchArgs) -> Result<Suite> {
    if let Some(path) = &args.suite {
        return Ok(Suite::read(path)?);
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
    if !skip {
        return Ok((refuse_unfit(checked)?, Vec::new()));
    }
    let (fit, unfit) = skip_unfit(checked);
    for pair in &unfit {
        eprintln!("left out: {} ({})", pair.pair, pair.problems.join("; "));
    }
    if fit.is_empty() {
        bail!("none of {} pairs can be patched", unfit.len());
    }
    let excluded = unfit.into_iter().map(|u| Excluded {
        pair: u.pair,
        kind: Some(u.kind),
        reason: u.problems.join("; "),
    });
    Ok((fit, excluded.collect()))
}

/// Runs a plan with progress on stderr; all rows, in the plan's order.
///
/// # Errors
/// The engine's.
pub fn sweep(label: &str, engine: &dyn Engine, model: &Model, plan: &Plan) -> Result<Vec<Row>> {
    let mut progress = Progress::new(label, plan.pairs.len() as u64);
    let mut rows = Vec::new();
    let mut done = 0;
    engine.sweep(model, plan, &mut |result| {
        done += 1;
        rows.extend(result.rows);
        progress.at(done, &result.pair);
        Ok(())
    })?;
    progress.finish(&format!("{done} pairs, {} rows", rows.len()));
    Ok(rows)
}

/// Mean recovery by cell for a person; a suite's rows are for `engram stats`.
fn shown(rows: &[Row]) -> String {
    const MOST: usize = 60;
    let first = rows.first().map(|r| r.pair.clone()).unwrap_or_default();
    let of_first: Vec<&Row> = rows.iter().filter(|r| r.pair == first).collect();
    let table_rows = of_first.iter().take(MOST).map(|r| {
        [
            r.name.clone(),
            r.position.map_or("all".to_owned(), |p| p.to_string()),
            r.token.as_ref().map_or(String::new(), |t| format!("{t:?}")),
            r.metric.clone(),
            format!("{:.4}", r.clean),
            format!("{:.4}", r.corrupt),
            format!("{:.4}", r.patched),
            r.recovery.map_or("–".to_owned(), |v| format!("{v:.3}")),
            if r.trivial { "yes" } else { "" }.to_owned(),
        ]
    });
    let header = [
        "site", "position", "token", "metric", "clean", "corrupt", "patched", "recovery", "trivial",
    ];
    let mut text = super::table(header, table_rows);
    let others = rows.len() - of_first.len().min(MOST);
    if others > 0 {
        text += &format!("\n… and {others} more rows; `engram stats` sums them up");
    }
    text
}
