//! A sweep's plan and rows for a person.

use bytesize::ByteSize;
use engram_core::{Metric, Pair, Positions, Row};
use engram_findings::cells::{CellMean, cell_means};
use engram_findings::words::number;
use engram_findings::{Interval, Settings};
use engram_model::wavefront::Wavefront;
use engram_patch::{Fate, Plan, Schedule};
use serde::Serialize;

use super::{table, thousands};

/// The most rows of a table.
const MOST: usize = 60;
/// How many heads or neurons a sweep of them ends with.
const TOP: usize = 10;

/// What a sweep costs on this machine.
#[derive(Serialize)]
pub struct Cost<'a> {
    #[serde(flatten)]
    schedule: &'a Schedule,
    /// The machine's rate of a bare matrix product, as `bench sweep` measures it.
    gemm_gflops: f64,
    /// Time of the sweep's operations at that rate, in seconds.
    seconds: f64,
}

impl Cost<'_> {
    /// Measures this machine's rate, which takes about a second.
    pub fn here(schedule: &Schedule) -> Cost<'_> {
        let rate = Wavefront::product_rate(1024, 768, 3072);
        Cost {
            schedule,
            gemm_gflops: rate / 1e9,
            seconds: schedule.flops as f64 / rate,
        }
    }
}

/// A plan.
pub fn planned(plan: &Plan, cost: &Cost<'_>) -> String {
    let schedule = cost.schedule;
    let waves: usize = schedule.groups.iter().map(|g| g.waves.len()).sum();
    let giga = |flops: u64| format!("{:.2} GFLOP", flops as f64 / 1e9);
    let rows = [
        ("pairs", thousands(plan.pairs.len())),
        ("cells", thousands(schedule.cells)),
        (
            "fixed by the graph, or the same cell under another name",
            thousands(schedule.fixed),
        ),
        ("groups of pairs", thousands(schedule.groups.len())),
        ("wavefronts", thousands(waves)),
        ("work", giga(schedule.flops)),
        (
            "work of a forward pass for each cell",
            giga(schedule.flops_naive),
        ),
        (
            "time on this machine, about",
            format!(
                "{} ({:.0} GFLOP/s)",
                seconds(cost.seconds),
                cost.gemm_gflops
            ),
        ),
        (
            "memory, the model's included",
            ByteSize::b(schedule.bytes).to_string(),
        ),
        ("memory allowed", ByteSize::b(schedule.memory).to_string()),
    ];
    table(
        ["plan", ""],
        rows.map(|(name, value)| [name.to_owned(), value]),
    )
}

fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.2} s"),
        s if s < 600.0 => format!("{s:.0} s"),
        s => format!("{:.0} min", s / 60.0),
    }
}

/// Where the graph fixes every row of a sweep: that, why, and what to ask for instead.
pub fn trivial_throughout(plan: &Plan) -> Option<String> {
    let spec = &plan.spec;
    let cells = || plan.pairs.iter().flat_map(|p| &p.cells);
    if !cells().all(|cell| cell.is_fixed(&spec.metrics)) {
        return None;
    }
    let fates = cells().flat_map(|cell| spec.metrics.iter().map(|m| cell.fate(*m)));
    let mut why: Vec<&str> = fates.clone().filter_map(Fate::why).collect();
    why.sort_unstable();
    why.dedup();
    let restored = fates.clone().any(|fate| fate == Fate::Source);
    let instead = match (spec.positions, restored) {
        (Positions::Each, _) => {
            "a site or layer whose values differ between the two prompts and are read later: resid_pre, attn_out, mlp_out"
        }
        (_, true) => {
            "single positions (--positions each), or what a block adds to the stream (attn_out, mlp_out)"
        }
        (_, false) => "single positions (--positions each), or an earlier layer",
    };
    Some(format!(
        "every row of this sweep is trivial, whatever the weights: {}. Ask for {instead}",
        why.join("; ")
    ))
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
        Column::of("metric", rows, |r| r.metric.clone()),
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
        Column::of("metric", shown, |m| m.metric.clone()),
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
    let metric = means
        .first()
        .map_or(Metric::LogitDiff.name(), |m| &m.metric);
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
