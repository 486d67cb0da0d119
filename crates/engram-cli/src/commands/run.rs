//! `engram run`.

use anyhow::{Context, Result};
use engram::RunSettings;

use super::{look, print, say};
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
    let ran = engram::run(study, &settings, &mut Terminal::default())?;
    print(json, &ran.findings, || {
        ran.results.summary(&ran.findings, look())
    })?;
    if !json {
        say(format!("\n{}", ran.report.display()))?;
    }
    Ok(())
}
