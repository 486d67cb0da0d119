//! `engram patch`.

use anyhow::{Result, bail};
use engram::sweep::EngineKind;
use engram::{Model, Opening, SweepFolder, SweepResult, memory, model};
use engram_core::{Pair, Site, Suite, files};
use engram_findings::Settings;

use super::sweep_text;
use crate::args::{EngineName, PatchArgs, ProfileName};
use crate::invocation::provenance;
use crate::progress::{Terminal, note};

/// Runs `engram patch`.
///
/// # Errors
/// Any of input; nothing is written then.
pub fn patch(args: &PatchArgs, json: bool) -> Result<()> {
    let mut terminal = Terminal::default();
    let device = engram_model::device(&args.device)?;
    if !device.is_cpu() && args.engine == EngineName::Staged {
        bail!(
            "--device {}: the staged engine runs on the CPU; give --engine naive with it",
            args.device
        );
    }
    let suite = suite(args)?;
    let hash = args.suite.as_ref().map(|path| files::sha256_file(path));
    let hash = hash.transpose()?;
    let folder = match &args.out {
        Some(out) if !args.plan_only => Some(SweepFolder::open(out, args.resume)?),
        _ => None,
    };
    let memory = args.memory.map(|m| m.as_u64());
    memory::holds(memory, &model::checkpoint(&args.model, &mut terminal)?)?;
    let opening = Opening::default().device(&device).bos(args.bos);
    let model = opening.open(&args.model, &mut terminal)?;
    let sweep = sweep(args, &model)?.suite(suite, hash).memory(memory);
    sweep.check()?;
    let planned = sweep.plan_with(&mut terminal);
    let planned = match &args.suite {
        Some(file) => engram::Within::of_file(planned, file)?,
        None => planned?,
    };
    let Some(folder) = folder else {
        let cost = planned.cost()?;
        return super::print(json, &cost, || sweep_text::cost(&cost));
    };
    let result = planned.run_in(&folder, &mut terminal)?;
    print_rows(&result, &model, json)?;
    note(folder.path().join(engram::results::PATCH).display());
    Ok(())
}

/// The sweep that is asked for, of no pair yet.
fn sweep<'m>(args: &PatchArgs, model: &'m Model) -> Result<engram::Sweep<'m>> {
    let sweep = engram::Sweep::of(model)
        .engine(match args.engine {
            EngineName::Staged => EngineKind::Staged,
            EngineName::Naive => EngineKind::Naive,
        })
        .skip_unfit(args.skip_unfit)
        .chat(args.chat)
        .provenance(provenance());
    if args.profile == Some(ProfileName::Paper) {
        return Ok(sweep.published());
    }
    Ok(sweep
        .named_sites(model.resolve(&args.sites)?)
        .positions(args.positions)
        .direction(args.direction)
        .corruption(args.corruption)
        .align(args.align)
        .window(args.window)
        .metrics(args.metric.clone())
        .draws(args.seed, args.samples))
}

/// Prints a sweep's rows, or its means over pairs.
fn print_rows(result: &SweepResult, model: &Model, json: bool) -> Result<()> {
    let rows = &result.rows;
    let text = sweep_text::shown(&result.suite.pairs, rows, Settings::default())?;
    super::print(json, rows, || {
        let of_keys = |r: &engram::Row| r.head.is_some() && matches!(r.site, Site::K | Site::V);
        let served = model.shape().served().filter(|_| rows.iter().any(of_keys));
        text + &served.map_or(String::new(), |s| format!("\n{s}"))
    })
}

fn suite(args: &PatchArgs) -> Result<Suite> {
    if let Some(path) = &args.suite {
        return Ok(engram_corpus::read_suite(path)?);
    }
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (clean, corrupt) = (text(&args.clean), text(&args.corrupt));
    let pair = Pair::new(&clean, &corrupt, &text(&args.answer), &text(&args.foil));
    Ok(Suite { pairs: vec![pair] })
}
