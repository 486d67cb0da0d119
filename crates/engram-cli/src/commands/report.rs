//! `engram stats` and `engram report`.

use std::path::Path;

use anyhow::Result;
use engram::Within;
use engram::results::{PATCH, Results, STATS, write_figures, write_report};
use engram_core::files;
use engram_findings::words::percent;
use engram_findings::{Findings, NullRejections, null_rejections};
use engram_report::{Fonts, not_drawn};

use super::{look, print, say, table};
use crate::args::{ReportArgs, StatsArgs};
use crate::progress::{Terminal, note};

/// The folder of figures, where none is named.
const FIGURES: &str = "figures";

/// The findings of a folder's results; errors name the file of a sweep's rows, or the study's folder.
fn findings_of(folder: &Path, results: &Results) -> Result<Findings> {
    let rows = folder.join(PATCH);
    let named_by = if rows.exists() { &rows } else { folder };
    Ok(results.findings().of_file(named_by)?)
}

/// Runs `engram stats`.
///
/// # Errors
/// A folder without results; damaged rows.
pub fn stats(args: &StatsArgs, json: bool) -> Result<()> {
    let results = Results::read(&args.folder)?;
    let findings = findings_of(&args.folder, &results)?;
    if let Some(times) = args.nulls {
        let found = null_rejections(&results.study(), &findings, times)?;
        return print(json, &found, || rejections(&found));
    }
    files::write_json(&args.folder.join(STATS), &findings)?;
    print(json, &findings, || results.summary(&findings, look()))
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
/// As [`stats`]; files that cannot be written.
pub fn report(args: &ReportArgs) -> Result<()> {
    let results = Results::read(&args.folder)?;
    let findings = findings_of(&args.folder, &results)?;
    let input = results.report(&findings);
    say(write_report(&args.folder, &input)?.display())?;
    if let Some(to) = &args.figures {
        let folder = to.clone().unwrap_or_else(|| args.folder.join(FIGURES));
        let fonts = match &args.font {
            Some(file) => Fonts::named(file)?,
            None => Fonts::system(),
        };
        let paths = write_figures(&folder, &input, &fonts, &mut Terminal::default())?;
        if paths.is_empty() {
            note("no figure is drawn: nothing was measured that has one");
        }
        for path in paths {
            say(path.display())?;
        }
        for sentence in not_drawn(&input.findings) {
            note(sentence);
        }
    }
    Ok(())
}
