//! `engram stats` and `engram report`.

use anyhow::Result;
use engram_core::files;
use engram_findings::words::percent;
use engram_findings::{NullRejections, null_rejections};
use engram_report::summary_text;

use super::{print, say, table};
use crate::args::{FolderArgs, StatsArgs};
use crate::results::{Results, STATS};

/// The width of tables on stdout: a terminal's where it says, or what most have.
const WIDTH: u16 = 120;

/// Runs `engram stats`.
///
/// # Errors
/// A folder without results; damaged rows.
pub fn stats(args: &StatsArgs, json: bool) -> Result<()> {
    let results = Results::read(&args.folder)?;
    let findings = results.findings()?;
    if let Some(times) = args.nulls {
        let found = null_rejections(&results.study(), &findings, times.get())?;
        return print(json, &found, || rejections(&found));
    }
    files::write_json(&args.folder.join(STATS), &findings)?;
    print(json, &findings, || summary_text(&findings, WIDTH))
}

fn rejections(found: &[NullRejections]) -> String {
    if found.is_empty() {
        return "no test between kinds to calibrate: none has enough relations of both kinds"
            .to_owned();
    }
    let head = [
        "model",
        "site",
        "permuted",
        "rejected",
        "share",
        "interval",
        "level of the test",
    ];
    let rows = found.iter().map(|n| {
        [
            n.model.clone(),
            n.site.clone(),
            n.permuted.to_string(),
            n.rejected.to_string(),
            percent(n.share.estimate),
            format!("[{}, {}]", percent(n.share.lower), percent(n.share.upper)),
            percent(n.alpha),
        ]
    });
    table(head, rows)
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
