//! `engram stats` and `engram report`.

use anyhow::Result;
use engram_core::files;
use engram_report::summary_text;

use super::{print, say};
use crate::args::FolderArgs;
use crate::results::{Results, STATS};

/// The width of tables on stdout: a terminal's where it says, or what most have.
const WIDTH: u16 = 120;

/// Runs `engram stats`.
///
/// # Errors
/// A folder without results; damaged rows.
pub fn stats(args: &FolderArgs, json: bool) -> Result<()> {
    let findings = Results::read(&args.folder)?.findings()?;
    files::write_json(&args.folder.join(STATS), &findings)?;
    print(json, &findings, || summary_text(&findings, WIDTH))
}

/// Runs `engram report`.
///
/// # Errors
/// As [`stats`].
pub fn report(args: &FolderArgs) -> Result<()> {
    let results = Results::read(&args.folder)?;
    let findings = results.findings()?;
    say(results.write_report(&args.folder, findings)?.display())
}
