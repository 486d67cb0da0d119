//! `engram stats` and `engram report`.

use anyhow::Result;
use engram_core::files;
use engram_report::summary_text;

use super::{look, print, say};
use crate::args::{FolderArgs, ReportArgs};
use crate::results::{Results, STATS, write_figures, write_report};

/// The folder of figures, where none is named.
const FIGURES: &str = "figures";

/// Runs `engram stats`.
///
/// # Errors
/// A folder without results; damaged rows.
pub fn stats(args: &FolderArgs, json: bool) -> Result<()> {
    let findings = Results::read(&args.folder)?.findings()?;
    files::write_json(&args.folder.join(STATS), &findings)?;
    print(json, &findings, || summary_text(&findings, look()))
}

/// Runs `engram report`.
///
/// # Errors
/// As [`stats`]; files that cannot be written.
pub fn report(args: &ReportArgs) -> Result<()> {
    let results = Results::read(&args.folder)?;
    let findings = results.findings()?;
    let input = results.report(findings);
    say(write_report(&args.folder, &input)?.display())?;
    if let Some(to) = &args.figures {
        let folder = to.clone().unwrap_or_else(|| args.folder.join(FIGURES));
        for path in write_figures(&folder, &input)? {
            say(path.display())?;
        }
    }
    Ok(())
}
