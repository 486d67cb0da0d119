//! `engram compare`.

use std::path::Path;

use anyhow::{Result, bail};
use engram::results::{MANIFEST, Results};
use engram_core::Pair;
use engram_core::text::plain;
use engram_findings::runs::MeasureComparison;
use engram_findings::words::{number, p_value};
use engram_findings::{Condition, PartComparison, RunComparison, compare_runs};

use super::{print, table};
use crate::args::CompareArgs;

/// Runs `engram compare`.
///
/// # Errors
/// A folder without results; nothing to pair.
pub fn compare(args: &CompareArgs, json: bool) -> Result<()> {
    let (from, to) = (Side::read(&args.from)?, Side::read(&args.to)?);
    let settings = from.results.manifest.stats;
    let mut found = Vec::new();
    for (a, b) in matched(&from, &to)? {
        let (suite_a, suite_b) = (from.suite(), to.suite());
        let (a, b) = told_apart(a, b, args);
        let compared = compare_runs((suite_a, &a), (suite_b, &b), settings)?;
        if compared.pairs == 0 {
            bail!(
                "{} and {} have no pair in common (of the same id, with the same prompts)",
                args.from.display(),
                args.to.display()
            );
        }
        found.push(compared);
    }
    print(json, &found, || {
        let texts: Vec<String> = found.iter().map(shown).collect();
        texts.join("\n")
    })
}

/// One of the two folders: all models of a study, or one.
struct Side {
    results: Results,
    only: Option<String>,
}

impl Side {
    /// A study, a sweep, or `STUDY/sweeps/MODEL`.
    fn read(folder: &Path) -> Result<Side> {
        let of_study = folder
            .parent()
            .filter(|sweeps| sweeps.file_name().is_some_and(|name| name == "sweeps"))
            .and_then(Path::parent)
            .filter(|study| study.join(MANIFEST).exists());
        let Some(study) = of_study.filter(|_| !folder.join(MANIFEST).exists()) else {
            return Ok(Side {
                results: Results::read(folder)?,
                only: None,
            });
        };
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let side = Side {
            results: Results::read(study)?,
            only: Some(name.into_owned()),
        };
        if side.conditions().is_empty() {
            let names: Vec<&str> = side
                .results
                .conditions
                .iter()
                .map(|c| c.name.as_str())
                .collect();
            bail!(
                "{}: the study has the models {}",
                folder.display(),
                names.join(", ")
            );
        }
        Ok(side)
    }

    fn suite(&self) -> &[Pair] {
        &self.results.suite.pairs
    }

    fn conditions(&self) -> Vec<&Condition> {
        let all = self.results.conditions.iter();
        all.filter(|c| self.only.as_ref().is_none_or(|name| *name == c.name))
            .collect()
    }
}

/// The one model of each side, or the models of both by name.
fn matched<'a>(from: &'a Side, to: &'a Side) -> Result<Vec<(&'a Condition, &'a Condition)>> {
    let (a, b) = (from.conditions(), to.conditions());
    if let ([a], [b]) = (a.as_slice(), b.as_slice()) {
        return Ok(vec![(a, b)]);
    }
    let by_name = a.iter().filter_map(|a| {
        let other = b.iter().find(|b| b.name == a.name)?;
        Some((*a, *other))
    });
    let found: Vec<_> = by_name.collect();
    match found.is_empty() {
        true => {
            bail!("the two have no model of the same name; name one of each: STUDY/sweeps/MODEL")
        }
        false => Ok(found),
    }
}

/// The two conditions under names that differ.
fn told_apart(a: &Condition, b: &Condition, args: &CompareArgs) -> (Condition, Condition) {
    let (mut a, mut b) = (a.clone(), b.clone());
    if a.name == b.name {
        a.name = format!("{} of {}", a.name, args.from.display());
        b.name = format!("{} of {}", b.name, args.to.display());
    }
    (a, b)
}

fn shown(found: &RunComparison) -> String {
    let (to, from) = (plain(&found.to), plain(&found.from));
    let mut text = format!("{to} against {from}, {} pairs", found.pairs);
    if found.unmatched > 0 {
        text += &format!("; {} have no partner and are left out", found.unmatched);
    }
    for sentence in &found.sentences {
        text += &format!("\n  - {}", plain(sentence));
    }
    for part in found.parts.iter().filter(|p| found.is_told(&p.measure)) {
        text += &parts(part);
    }
    for measure in (found.measures.iter()).filter(|m| found.is_told(&m.measure)) {
        text += &layers(measure);
    }
    let measures = found.measures.iter().map(|m| &m.measure);
    let silent = measures.chain(found.parts.iter().map(|p| &p.measure));
    let mut silent: Vec<String> = (silent.filter(|m| !found.is_told(m)))
        .map(engram_findings::Measure::words)
        .collect();
    silent.dedup();
    if !silent.is_empty() {
        text += "\n\nCompared as well, and shown by --json:";
        silent.iter().for_each(|m| text += &format!("\n  - {m}"));
    }
    if !found.not_compared.is_empty() {
        text += "\n\nNot compared:";
        (found.not_compared.iter()).for_each(|why| text += &format!("\n  - {why}"));
    }
    text + "\n"
}

/// A measure, layer by layer.
fn layers(found: &MeasureComparison) -> String {
    let rows = found.layers.iter().map(|l| {
        let interval = l.interval.map_or("–".to_owned(), |i| {
            format!("[{}, {}]", number(i.lower), number(i.upper))
        });
        [
            l.layer.map_or("–".to_owned(), |l| l.to_string()),
            number(l.mean_from),
            number(l.mean_to),
            number(l.difference),
            interval,
            p_value(l.wilcoxon.p_value),
            p_value(l.p_holm),
            l.cohen_d.map_or("–".to_owned(), number),
        ]
    });
    let head = [
        "layer",
        "from",
        "to",
        "difference",
        "interval",
        "Wilcoxon",
        "Holm",
        "d",
    ];
    format!(
        "\n\n{}: recovery, {} pairs in {} clusters, {}\n{}",
        found.measure.words(),
        found.pairs,
        found.clusters,
        found.over.pairs(),
        table(head, rows)
    )
}

/// The parts that differ most.
fn parts(found: &PartComparison) -> String {
    const MOST: usize = 10;
    let three = |x: f64| format!("{x:.3}");
    let rows = found.cells.iter().take(MOST).map(|c| {
        let interval = c.interval.map_or("–".to_owned(), |i| {
            format!("[{}, {}]", three(i.lower), three(i.upper))
        });
        [
            c.layer.to_string(),
            c.index.to_string(),
            c.n.to_string(),
            three(c.mean_from),
            three(c.mean_to),
            three(c.difference),
            interval,
            c.p_bh.map_or("–".to_owned(), p_value),
            if c.shown { "yes" } else { "" }.to_owned(),
        ]
    });
    let head = [
        "layer",
        "number",
        "pairs",
        "from",
        "to",
        "difference",
        "interval",
        "adjusted",
        "shown",
    ];
    format!(
        "\n\n{}: the {} of {} that differ most, {}\n{}",
        found.measure.words(),
        found.part.words(),
        found.cells.len(),
        found.over.pairs(),
        table(head, rows)
    )
}
