//! `engram run`.

use anyhow::{Context, Result};
use bytesize::ByteSize;
use engram::{Forecast, RunSettings, StageForecast};

use super::{look, print, say, table};
use crate::args::RunArgs;
use crate::invocation::provenance;
use crate::progress::Terminal;

/// Runs a study; prints the summary and the report's path.
///
/// # Errors
/// Any of input, told before the first stage starts where it can be; any of a stage.
pub fn run(args: &RunArgs, json: bool) -> Result<()> {
    if let Some(name) = &args.new {
        return super::new::study(name, args.base.as_deref());
    }
    let study = args.study.as_deref().context("no study is named")?;
    let settings = RunSettings {
        set: args.set.clone(),
        out: args.out.clone(),
        device: Some(engram_model::device(&args.device)?),
        provenance: provenance(),
    };
    let mut terminal = Terminal::default();
    if args.dry_run {
        let forecast = engram::forecast(study, &settings, &mut terminal)?;
        return print(json, &forecast, || shown(&forecast));
    }
    if let Some(last) = args.until {
        let folder = engram::run_until(study, &settings, last, &mut terminal)?;
        return print(json, &folder, || folder.display().to_string());
    }
    let ran = engram::run(study, &settings, &mut terminal)?;
    print(json, &ran.findings, || {
        ran.results.summary(&ran.findings, look())
    })?;
    if !json {
        say(format!("\n{}", ran.report.display()))?;
    }
    Ok(())
}

/// A forecast as tables and lines.
fn shown(forecast: &Forecast) -> String {
    let header = ["stage", "time", "memory", "disk", "download", "computes"];
    let rows = forecast.stages.iter().map(|stage| {
        [
            stage.name.clone(),
            time_of(stage),
            bytes(stage.memory),
            bytes(stage.disk),
            bytes(stage.download),
            stage.computes.clone(),
        ]
    });
    let machine = &forecast.machine;
    let or_unknown =
        |bytes: Option<u64>| bytes.map_or("unknown".to_owned(), |b| ByteSize(b).to_string());
    let mut text = table(header, rows);
    let files = ["stage", "reads", "writes"];
    let rows = (forecast.stages.iter()).map(|stage| {
        [
            stage.name.clone(),
            stage.reads.join(", "),
            stage.writes.join(", "),
        ]
    });
    text += &format!("\n\n{}\n", table(files, rows));
    text += &format!(
        "\n{}: about {}, {} of memory, {} of disk, {} downloaded\n",
        forecast.folder.display(),
        duration(forecast.seconds),
        ByteSize(forecast.memory),
        ByteSize(forecast.disk),
        ByteSize(forecast.download),
    );
    text += &format!(
        "this machine: {} threads, {:.0} GFLOP/s (matrix product, measured now), {} of memory and {} of disk free\n",
        machine.threads,
        machine.gflops,
        or_unknown(machine.memory),
        or_unknown(machine.disk),
    );
    for assumed in &forecast.assumed {
        text += &format!("assumed, because only the network can tell: {assumed}\n");
    }
    text
}

fn time_of(stage: &StageForecast) -> String {
    match (stage.is_there, stage.seconds) {
        (true, _) => "there".to_owned(),
        (false, Some(seconds)) => duration(seconds),
        (false, None) => "network".to_owned(),
    }
}

fn bytes(count: u64) -> String {
    match count {
        0 => "–".to_owned(),
        count => ByteSize(count).to_string(),
    }
}

/// Seconds in the largest unit that fits.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}
