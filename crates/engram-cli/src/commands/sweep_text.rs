//! A sweep's plan and rows for a person.

use engram::sweep::Cost;
use engram_core::text::thousands;
use engram_core::{Metric, Pair, Row};
use engram_findings::cells::{CellMean, cell_means};
use engram_findings::words::number;
use engram_findings::{Interval, Settings};

use super::table;

/// The most rows of a table.
const MOST: usize = 60;
/// How many heads or neurons a sweep of them ends with.
const TOP: usize = 10;

/// What a sweep costs.
pub fn cost(cost: &Cost) -> String {
    let rows = cost
        .figures()
        .map(|(name, figure)| [name.to_owned(), figure]);
    table(["plan", ""], rows)
}

/// The rows of a pair, or means over pairs and noise samples; the heads or neurons with the largest means.
///
/// # Errors
/// As [`cell_means`].
pub fn shown(pairs: &[Pair], rows: &[Row], settings: Settings) -> engram_findings::Result<String> {
    let sampled = rows.iter().any(|r| r.sample.is_some_and(|s| s > 0));
    if pairs.len() == 1 && !sampled && !rows.iter().any(|r| r.head.or(r.unit).is_some()) {
        return Ok(of_pair(rows));
    }
    let means = cell_means(pairs, rows, settings)?;
    let mut text = match pairs.len() == 1 && !sampled {
        true => of_pair(rows),
        false => of_suite(&means, pairs.len(), &settings)?,
    };
    text += &top(&means, &settings)?;
    Ok(text)
}

/// Rows as they are stored, without columns that are empty throughout.
fn of_pair(rows: &[Row]) -> String {
    let position = |r: &Row| r.position.map_or("all".to_owned(), |p| p.to_string());
    let columns = [
        Column::of("name", rows, |r| r.name.clone()),
        Column::of("head", rows, |r| whole(r.head)),
        Column::of("unit", rows, |r| whole(r.unit)),
        Column::of("position", rows, position),
        Column::of("token", rows, |r| {
            r.token.as_ref().map_or(String::new(), |t| format!("{t:?}"))
        }),
        Column::of("metric", rows, |r| r.metric.to_string()),
        Column::of("clean", rows, |r| format!("{:.4}", r.clean)),
        Column::of("corrupt", rows, |r| format!("{:.4}", r.corrupt)),
        Column::of("patched", rows, |r| format!("{:.4}", r.patched)),
        Column::of("recovery", rows, |r| {
            r.recovery.map_or("–".to_owned(), |v| format!("{v:.3}"))
        }),
        Column::of("trivial", rows, |r| yes(r.trivial)),
    ];
    columns_text(columns.into(), rows.len(), "rows")
}

/// Means over the pairs that have a recovery.
fn of_suite(
    means: &[CellMean],
    pairs: usize,
    settings: &Settings,
) -> engram_findings::Result<String> {
    let intervals = means.iter().take(MOST).map(|m| m.interval(settings));
    let intervals = intervals.collect::<engram_findings::Result<Vec<_>>>()?;
    let text = columns_text(
        mean_columns(means, &intervals, settings),
        means.len(),
        "cells",
    );
    Ok(format!("Mean recovery over {pairs} pairs\n{text}"))
}

fn mean_columns(
    means: &[CellMean],
    intervals: &[Option<Interval>],
    settings: &Settings,
) -> Vec<Column> {
    let shown = &means[..intervals.len()];
    let level = format!("{}% interval", (settings.level * 100.0).round());
    let between = |i: &Option<Interval>| {
        i.map_or("–".to_owned(), |i| {
            format!("[{}, {}]", number(i.lower), number(i.upper))
        })
    };
    vec![
        Column::of("name", shown, |m| m.name.clone()),
        Column::of("head", shown, |m| whole(m.head)),
        Column::of("unit", shown, |m| whole(m.unit)),
        Column::of("position", shown, |m| m.place.words().to_owned()),
        Column::of("metric", shown, |m| m.metric.to_string()),
        Column::of("pairs", shown, |m| m.values.len().to_string()),
        Column::of("recovery", shown, |m| {
            m.mean().map_or("–".to_owned(), number)
        }),
        Column::of(&level, intervals, between),
        Column::of("trivial", shown, |m| yes(m.trivial)),
    ]
}

/// The heads or neurons with the largest means, by size, of the metric that the sweep reads first.
fn top(means: &[CellMean], settings: &Settings) -> engram_findings::Result<String> {
    let metric = means.first().map_or(Metric::LogitDiff, |m| m.metric);
    let parts = means.iter().filter(|m| {
        m.head.or(m.unit).is_some() && !m.trivial && m.metric == metric && m.mean().is_some()
    });
    let mut parts: Vec<CellMean> = parts.cloned().collect();
    let size = |m: &CellMean| m.mean().unwrap_or_default().abs();
    parts.sort_by(|a, b| size(b).total_cmp(&size(a)));
    let measured = parts.len();
    parts.truncate(TOP);
    let Some(first) = parts.first() else {
        return Ok(String::new());
    };
    let what = if first.head.is_some() {
        "heads"
    } else {
        "neurons"
    };
    let intervals = parts.iter().map(|m| m.interval(settings));
    let intervals = intervals.collect::<engram_findings::Result<Vec<_>>>()?;
    let text = columns_text(
        mean_columns(&parts, &intervals, settings),
        parts.len(),
        "cells",
    );
    Ok(format!(
        "\n\nLargest mean recovery of {} {what} ({metric}, eligible pairs, by size)\n{text}",
        thousands(measured)
    ))
}

fn whole(number: Option<i64>) -> String {
    number.map_or(String::new(), |n| n.to_string())
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "" }.to_owned()
}

/// A column of a table, its first cells only.
struct Column {
    name: String,
    cells: Vec<String>,
}

impl Column {
    fn of<T>(name: &str, items: &[T], text: impl Fn(&T) -> String) -> Column {
        Column {
            name: name.to_owned(),
            cells: items.iter().take(MOST).map(text).collect(),
        }
    }
}

/// Columns that are not empty throughout, and how many of `all` are not shown.
fn columns_text(columns: Vec<Column>, all: usize, what: &str) -> String {
    let columns: Vec<Column> = (columns.into_iter())
        .filter(|c| c.cells.iter().any(|cell| !cell.is_empty()))
        .collect();
    let shown = columns.first().map_or(0, |c| c.cells.len());
    let names = columns.iter().map(|c| c.name.as_str());
    let rows = (0..shown).map(|row| columns.iter().map(|c| c.cells[row].clone()).collect());
    let text = super::wide_table(names, rows);
    match all - shown {
        0 => text,
        more => format!(
            "{text}\n… and {} more {what}; every row is in patch.parquet",
            thousands(more)
        ),
    }
}
