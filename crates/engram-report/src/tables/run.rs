//! Tables of the run: training, departures, modules, what was left out.

use std::collections::BTreeSet;

use engram_findings::Findings;
use engram_findings::words::{number, percent};
use indexmap::IndexMap;

use super::{ReportTable, brackets, dash};
use crate::charts::place;
use crate::input::{EpochPoint, ReportInput, TrainingCurve};

/// Modules of the published protocol.
pub(crate) fn modules(findings: &Findings) -> ReportTable {
    let mut table = ReportTable::new(
        "Every module under the published protocol: recovery from overwriting its whole output.",
        &[
            "model",
            "module",
            "kind",
            "pairs",
            "mean",
            "ratio of means",
            "trivial",
        ],
    );
    for condition in &findings.conditions {
        for module in condition.protocol.iter().flat_map(|p| &p.modules) {
            table.rows.push(vec![
                condition.name.clone(),
                module.module.clone(),
                module.kind.clone(),
                module.n.to_string(),
                module.mean.map_or_else(|| "undefined".to_owned(), percent),
                module
                    .headline
                    .map_or_else(|| "undefined".to_owned(), percent),
                if module.trivial { "yes" } else { "" }.to_owned(),
            ]);
        }
    }
    table
}

/// What the graph alone fixes, and why.
pub(crate) fn trivial(findings: &Findings) -> ReportTable {
    let mut table = ReportTable::new(
        "Recovery that the graph alone fixes, whatever the weights: left out of every test.",
        &["site or module", "layers", "why"],
    );
    let mut found: IndexMap<(String, String), BTreeSet<i64>> = IndexMap::new();
    let mut note = |name: String, why: &Option<String>, layer: Option<i64>| {
        let why = why
            .clone()
            .unwrap_or_else(|| "fixed by the graph".to_owned());
        found.entry((name, why)).or_default().extend(layer);
    };
    for condition in &findings.conditions {
        for profile in &condition.profiles {
            for point in profile.layers.iter().filter(|p| p.trivial) {
                note(place(&profile.measure), &point.trivial_why, point.layer);
            }
        }
        for map in &condition.positions {
            for cell in map.cells.iter().filter(|c| c.trivial) {
                let name = format!("{}, {}", place(&map.measure), cell.class.words());
                note(name, &cell.trivial_why, cell.layer);
            }
        }
        for module in condition.protocol.iter().flat_map(|p| &p.modules) {
            if module.trivial {
                let name = format!("{} (published protocol)", module.part);
                note(name, &module.trivial_why, module.layer);
            }
        }
    }
    for ((name, why), layers) in found {
        table.rows.push(vec![name, ranges(&layers), why]);
    }
    table
}

/// `0 to 11`, `0, 3 to 5`.
fn ranges(layers: &BTreeSet<i64>) -> String {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for &layer in layers {
        match runs.last_mut() {
            Some(run) if run.1 + 1 == layer => run.1 = layer,
            _ => runs.push((layer, layer)),
        }
    }
    let words = runs.iter().map(|&(a, b)| match b - a {
        0 => a.to_string(),
        _ => format!("{a} to {b}"),
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() {
        dash()
    } else {
        words.join(", ")
    }
}

/// How each model was trained.
pub(crate) fn training(input: &ReportInput) -> ReportTable {
    let mut table = ReportTable::new(
        "Training. Validation losses are in nats per token; presets count padding differently in their own, so that models are compared on real tokens. The mean over batches is what transformers' Trainer reports of the own count.",
        &[
            "model",
            "steps",
            "epochs",
            "best epoch",
            "stopped early",
            "highest rate",
            "validation loss, own count",
            "mean over batches",
            "on real tokens",
            "on answer tokens",
            "base model, real tokens",
            "difference by text",
        ],
    );
    for curve in &input.curves {
        let best = best(curve);
        table.rows.push(vec![
            curve.condition.clone(),
            curve.steps.last().map_or_else(dash, |s| s.step.to_string()),
            curve
                .epochs
                .last()
                .map_or_else(dash, |e| e.epoch.to_string()),
            curve.best_epoch.map_or_else(dash, |e| e.to_string()),
            if curve.stopped_early { "yes" } else { "no" }.to_owned(),
            curve.rate.map_or_else(dash, |rate| match rate.reached {
                true => format!("{:.2e}", rate.highest),
                false => format!(
                    "{:.2e}, never {:e}: {} of {} warm-up steps",
                    rate.highest, rate.setting, rate.steps, rate.warmup_steps
                ),
            }),
            loss(best.map(|e| e.validation_loss_preset)),
            loss(best.and_then(|e| e.validation_loss_batches)),
            loss(best.map(|e| e.validation_loss_tokens)),
            loss(best.and_then(|e| e.validation_loss_answers)),
            loss(curve.base_validation_loss),
            curve.validation_by_text.map_or_else(dash, |d| {
                format!(
                    "{} {}",
                    loss(Some(d.mean_difference)),
                    brackets(loss(Some(d.low)), loss(Some(d.high)))
                )
            }),
        ]);
    }
    table
}

fn loss(x: Option<f64>) -> String {
    x.map_or_else(dash, |x| format!("{x:.3}").replace('-', "−"))
}

/// The evaluation whose weights were kept.
fn best(curve: &TrainingCurve) -> Option<&EpochPoint> {
    let best = curve.best_epoch?;
    curve.epochs.iter().find(|e| e.epoch == best)
}

/// Settings that are not their preset's.
pub(crate) fn departures(input: &ReportInput) -> ReportTable {
    let mut table = ReportTable::new(
        "Where training departs from its preset.",
        &["model", "setting", "preset", "used", "why"],
    );
    for curve in &input.curves {
        for d in &curve.departures {
            let cells = [&curve.condition, &d.setting, &d.preset, &d.used, &d.why];
            table.rows.push(cells.map(Clone::clone).to_vec());
        }
    }
    table
}

/// Pairs not measured, counted by reason.
pub(crate) fn excluded_by_reason(input: &ReportInput) -> ReportTable {
    let mut table = ReportTable::new(
        "Pairs and facts that were not measured, by reason.",
        &["why", "kind", "how many"],
    );
    let mut found: IndexMap<(&str, &str), usize> = IndexMap::new();
    for e in &input.excluded {
        let kind = e.kind.as_deref().unwrap_or("–");
        *found.entry((&e.reason, kind)).or_default() += 1;
    }
    found.sort_by(|a, m, b, n| n.cmp(m).then(a.cmp(b)));
    for ((why, kind), count) in found {
        let cells = [why.to_owned(), kind.to_owned(), count.to_string()];
        table.rows.push(cells.to_vec());
    }
    table
}

/// Pairs not measured, each.
pub(crate) fn excluded(input: &ReportInput) -> ReportTable {
    let mut table = ReportTable::new(
        "Pairs and facts that were not measured.",
        &["pair", "kind", "why"],
    );
    for e in &input.excluded {
        let kind = e.kind.clone().unwrap_or_else(dash);
        table
            .rows
            .push(vec![e.pair.clone(), kind, e.reason.clone()]);
    }
    table
}

/// Pairs that a metric leaves out.
pub(crate) fn metrics_left_out(findings: &Findings) -> ReportTable {
    let mut table = ReportTable::new(
        "Pairs that are eligible by the logit difference and left out of another metric or corruption, whose own gap is too small.",
        &[
            "model",
            "metric",
            "corruption",
            "pairs",
            "left out",
            "which",
        ],
    );
    for condition in &findings.conditions {
        for metric in &condition.metrics_left_out {
            table.rows.push(vec![
                condition.name.clone(),
                metric.metric.to_string(),
                metric.corruption.to_string(),
                metric.pairs.to_string(),
                metric.left_out.len().to_string(),
                metric.left_out.join(", "),
            ]);
        }
    }
    table
}

/// Pairs that were measured and enter no conclusion.
pub(crate) fn unused(findings: &Findings) -> ReportTable {
    let mut table = ReportTable::new(
        "Pairs that were measured and enter no conclusion.",
        &[
            "model",
            "pair",
            "kind",
            "logit difference, clean",
            "corrupted",
            "why",
        ],
    );
    for condition in &findings.conditions {
        for pair in &condition.gate.pairs {
            let why = match (pair.eligible, pair.prefers) {
                (true, true) => continue,
                (true, false) => "the model does not prefer the right one",
                (false, _) => "clean − corrupt too small",
            };
            table.rows.push(vec![
                condition.name.clone(),
                pair.pair.clone(),
                pair.kind.clone(),
                number(pair.logit_diff_clean),
                number(pair.logit_diff_corrupt),
                why.to_owned(),
            ]);
        }
    }
    table
}
