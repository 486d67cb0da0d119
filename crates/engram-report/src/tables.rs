//! The report's tables as rows of text: what the page and the terminal both show.

use std::collections::BTreeSet;

use engram_findings::gate::Share;
use engram_findings::kinds::KindTests;
use engram_findings::layers::LayerTests;
use engram_findings::words::{number, p_value, percent};
use engram_findings::{ConditionFindings, Findings, Interval};
use indexmap::IndexMap;
use serde::Serialize;

use crate::charts::place;
use crate::input::{ReportInput, TrainingCurve};

/// A table: what it says, its head and its rows. The first column names the row.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Table {
    pub caption: String,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(caption: &str, head: &[&str]) -> Table {
        Table {
            caption: caption.to_owned(),
            head: head.iter().map(|h| (*h).to_owned()).collect(),
            rows: Vec::new(),
        }
    }
}

/// Splits a table whose third and fourth column are metric and direction: rows of the logit difference
/// under denoise, without these columns, and all others.
pub(crate) fn split(table: Table) -> (Table, Table) {
    let is_primary = |row: &Vec<String>| row[2] == "logit_diff" && row[3] == "denoise";
    let (mut primary, others): (Vec<_>, Vec<_>) = table.rows.into_iter().partition(is_primary);
    let mut head = table.head.clone();
    for row in primary.iter_mut().chain([&mut head]) {
        row.drain(2..4);
    }
    let caption = format!("{} Logit difference, denoise.", table.caption);
    (
        Table {
            caption,
            head,
            rows: primary,
        },
        Table {
            rows: others,
            ..table
        },
    )
}

/// A space at which no line breaks.
pub(crate) const NO_BREAK: &str = "\u{a0}";

fn dash() -> String {
    "–".to_owned()
}

fn share(share: &Share) -> String {
    format!(
        "{} of {}, {} {}",
        share.count,
        share.of,
        percent(share.estimate),
        brackets(percent(share.lower), percent(share.upper))
    )
}

fn maybe(x: Option<f64>) -> String {
    x.map_or_else(dash, number)
}

fn p(x: Option<f64>) -> String {
    x.map_or_else(dash, p_cell)
}

/// A p value without its letter, for columns that carry it.
fn p_cell(p: f64) -> String {
    let text = p_value(p);
    let text = text.trim_start_matches("p ").trim_start_matches("= ");
    text.replace(' ', NO_BREAK)
}

/// A value and its interval, which is not broken over lines.
fn with_interval(value: f64, interval: Option<Interval>, text: fn(f64) -> String) -> String {
    match interval {
        Some(i) => format!("{} {}", text(value), brackets(text(i.lower), text(i.upper))),
        None => text(value),
    }
}

fn brackets(lower: String, upper: String) -> String {
    format!("[{lower},{NO_BREAK}{upper}]")
}

/// What each model knows, by kind.
pub(crate) fn knowing(findings: &Findings) -> Table {
    let mut table = Table::new(
        "What each model knows. A pair is known where the model prefers the answer on the clean prompt and the foil on the corrupted one (chance: a quarter); answers are preferred by chance in a half. Brackets are 95% intervals, the wider of Wilson's and of a bootstrap over clusters.",
        &[
            "model",
            "kind",
            "pairs",
            "eligible",
            "known",
            "used",
            "answer preferred, trained wordings",
            "answer preferred, held-back wordings",
            "prompts answered right",
            "p",
            "above chance",
        ],
    );
    table.caption = table
        .caption
        .replace("95%", &percent(findings.settings.level));
    for condition in &findings.conditions {
        for kind in &condition.gate.kinds {
            table.rows.push(vec![
                condition.name.clone(),
                kind.kind.clone().unwrap_or_else(|| "all".to_owned()),
                kind.pairs.to_string(),
                kind.eligible.to_string(),
                share(&kind.known),
                kind.used.to_string(),
                kind.trained.as_ref().map_or_else(dash, share),
                kind.held_back.as_ref().map_or_else(dash, share),
                percent(kind.right),
                p(kind.p_right),
                if kind.passed { "yes" } else { "no" }.to_owned(),
            ]);
        }
    }
    table
}

/// Models against each other.
pub(crate) fn comparisons(findings: &Findings) -> Table {
    let mut table = Table::new(
        "Pairs known by each of two models, over the pairs that both were asked; exact two-sided sign test on the pairs that only one of them knows.",
        &[
            "models",
            "kind",
            "pairs",
            "known by the first",
            "known by the second",
            "only the first",
            "only the second",
            "p",
        ],
    );
    for c in &findings.comparisons {
        table.rows.push(vec![
            format!("{} → {}", c.from, c.to),
            c.kind.clone().unwrap_or_else(|| "all".to_owned()),
            c.pairs.to_string(),
            percent(c.known_from.estimate),
            percent(c.known_to.estimate),
            c.only_from.to_string(),
            c.only_to.to_string(),
            p_cell(c.p_value),
        ]);
    }
    table
}

fn layers(found: &[Option<i64>]) -> String {
    let names: Vec<String> = found.iter().flatten().map(i64::to_string).collect();
    if names.is_empty() {
        dash()
    } else {
        names.join(", ")
    }
}

/// Omnibus tests over layers.
pub(crate) fn layer_tests(findings: &Findings) -> Table {
    let mut table = Table::new(
        "Do layers differ? Friedman's test on cluster means, trivial layers left out; beside it the layers that stand above or below the pair's own mean over layers (Wilcoxon's signed-rank test, Holm over layers).",
        &[
            "model",
            "site",
            "metric",
            "direction",
            "kind",
            "pairs",
            "clusters",
            "χ²",
            "df",
            "p",
            "Kendall's W",
            "layers above",
            "layers below",
        ],
    );
    let alpha = findings.settings.alpha();
    for (condition, test) in each(findings, |c| &c.layer_tests) {
        let mut row = vec![
            condition.name.clone(),
            place(&test.measure),
            test.measure.metric.clone(),
            test.measure.direction.clone(),
            test.kind.clone().unwrap_or_else(|| "all".to_owned()),
            test.pairs.to_string(),
            test.clusters.to_string(),
        ];
        match &test.friedman {
            Some(friedman) => row.extend([
                number(friedman.chi_squared),
                friedman.df.to_string(),
                p_cell(friedman.p_value),
                number(friedman.kendall_w),
                layers(&test.standing_out(true, alpha)),
                layers(&test.standing_out(false, alpha)),
            ]),
            None => row.extend([
                test.note.clone().unwrap_or_else(dash),
                dash(),
                dash(),
                dash(),
                dash(),
                dash(),
            ]),
        }
        table.rows.push(row);
    }
    table
}

/// Every layer of the primary measures.
pub(crate) fn each_layer(findings: &Findings) -> Table {
    let mut table = Table::new(
        "Each layer against the pair's own mean over layers (logit difference, denoise): Wilcoxon's signed-rank test on cluster means.",
        &[
            "model",
            "site",
            "kind",
            "layer",
            "R less own mean",
            "W₊",
            "n",
            "p",
            "Holm",
            "Benjamini–Hochberg",
            "rank-biserial r",
            "Cohen's d",
        ],
    );
    let primary = |t: &&(&ConditionFindings, &LayerTests)| t.1.measure.is_primary();
    for (condition, test) in each(findings, |c| &c.layer_tests).iter().filter(primary) {
        for layer in &test.layers {
            table.rows.push(vec![
                condition.name.clone(),
                place(&test.measure),
                test.kind.clone().unwrap_or_else(|| "all".to_owned()),
                layer.layer.map_or_else(dash, |l| l.to_string()),
                number(layer.excess),
                layer.wilcoxon.w_plus.to_string(),
                layer.wilcoxon.n_used.to_string(),
                p_cell(layer.wilcoxon.p_value),
                p_cell(layer.p_holm),
                p_cell(layer.p_bh),
                number(layer.wilcoxon.rank_biserial),
                maybe(layer.cohen_d),
            ]);
        }
    }
    table
}

/// Tests between kinds.
pub(crate) fn kind_tests(findings: &Findings) -> Table {
    let mut table = Table::new(
        "Do the kinds differ in how localised recovery is? Mean normalised entropy over layers (1: spread evenly, 0: one layer), means over relations; kind permuted over relations, Holm over sites.",
        &[
            "model",
            "site",
            "metric",
            "direction",
            "kinds",
            "relations",
            "entropies",
            "difference",
            "p",
            "Holm",
            "Cliff's δ",
            "verdict",
        ],
    );
    let adds_up = |t: &&(&ConditionFindings, &KindTests)| t.1.measure.adds_up();
    for (condition, test) in each(findings, |c| &c.kind_tests).iter().filter(adds_up) {
        let mut row = vec![
            condition.name.clone(),
            place(&test.measure),
            test.measure.metric.clone(),
            test.measure.direction.clone(),
            format!("{} − {}", test.first, test.second),
            format!("{} and {}", test.relations_first, test.relations_second),
        ];
        match &test.entropy {
            Some(entropy) => row.extend([
                format!(
                    "{} and {}",
                    number(entropy.mean_first),
                    number(entropy.mean_second)
                ),
                with_interval(entropy.test.statistic, entropy.interval, number),
                p_cell(entropy.test.p_value),
                p_cell(entropy.p_holm),
                number(entropy.cliffs_delta),
            ]),
            None => row.extend(std::iter::repeat_n(dash(), 5)),
        }
        row.push(test.verdict.clone());
        table.rows.push(row);
    }
    table
}

/// Layers in which kinds differ.
pub(crate) fn kind_layers(findings: &Findings) -> Table {
    let mut table = Table::new(
        "Recovery of one kind less that of the other, layer by layer (logit difference, denoise): means over relations, kind permuted over relations.",
        &[
            "model",
            "site",
            "kinds",
            "layer",
            "difference",
            "p",
            "Holm",
            "Benjamini–Hochberg",
            "Cliff's δ",
        ],
    );
    let primary = |t: &&(&ConditionFindings, &KindTests)| t.1.measure.is_primary();
    for (condition, test) in each(findings, |c| &c.kind_tests).iter().filter(primary) {
        for layer in &test.layers {
            table.rows.push(vec![
                condition.name.clone(),
                place(&test.measure),
                format!("{} − {}", test.first, test.second),
                layer.layer.map_or_else(dash, |l| l.to_string()),
                with_interval(layer.test.statistic, layer.interval, number),
                p_cell(layer.test.p_value),
                p_cell(layer.p_holm),
                p_cell(layer.p_bh),
                number(layer.cliffs_delta),
            ]);
        }
    }
    table
}

/// Localisation by kind.
pub(crate) fn localisation(findings: &Findings) -> Table {
    let mut table = Table::new(
        "How localised recovery is, medians over pairs. Undefined: pairs with too little positive recovery in all layers together.",
        &[
            "model",
            "site",
            "metric",
            "direction",
            "kind",
            "pairs",
            "undefined",
            "entropy",
            "Gini",
            "layers holding 80%",
            "of layers",
        ],
    );
    for (condition, summary) in each(findings, |c| &c.localisation) {
        table.rows.push(vec![
            condition.name.clone(),
            place(&summary.measure),
            summary.measure.metric.clone(),
            summary.measure.direction.clone(),
            summary.kind.clone(),
            summary.pairs.len().to_string(),
            summary.undefined.to_string(),
            maybe(summary.entropy),
            maybe(summary.gini),
            summary.layers_80.map_or_else(dash, |l| l.to_string()),
            summary.layers.to_string(),
        ]);
    }
    table
}

/// Recovery by layer: the numbers of the figure, primary metric.
pub(crate) fn recovery(findings: &Findings) -> Table {
    let mut table = Table::new(
        "Recovery by layer and kind (logit difference): mean over pairs with its bootstrap interval over clusters, and the headline, a ratio of means.",
        &[
            "model",
            "site",
            "direction",
            "kind",
            "layer",
            "pairs",
            "mean",
            "headline",
            "trivial",
        ],
    );
    for (condition, profile) in each(findings, |c| &c.profiles) {
        if profile.measure.metric != "logit_diff" {
            continue;
        }
        for point in &profile.layers {
            let Some(mean) = point.mean else { continue };
            table.rows.push(vec![
                condition.name.clone(),
                place(&profile.measure),
                profile.measure.direction.clone(),
                profile.kind.clone(),
                point.layer.map_or_else(dash, |l| l.to_string()),
                point.n.to_string(),
                with_interval(mean, point.interval, number),
                maybe(point.headline),
                if point.trivial { "yes" } else { "" }.to_owned(),
            ]);
        }
    }
    table
}

/// Modules of the published protocol.
pub(crate) fn modules(findings: &Findings) -> Table {
    let mut table = Table::new(
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
        for module in condition.paper.iter().flat_map(|p| &p.modules) {
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
pub(crate) fn trivial(findings: &Findings) -> Table {
    let mut table = Table::new(
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
        for module in condition.paper.iter().flat_map(|p| &p.modules) {
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
pub(crate) fn training(input: &ReportInput) -> Table {
    let mut table = Table::new(
        "Training. Validation losses are in nats per token; the two configurations count padding differently in their own, so they are compared on real tokens.",
        &[
            "model",
            "steps",
            "epochs",
            "best epoch",
            "stopped early",
            "validation loss, own count",
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
            loss(best.map(|e| e.validation_loss_preset)),
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
fn best(curve: &TrainingCurve) -> Option<&crate::input::EpochPoint> {
    let best = curve.best_epoch?;
    curve.epochs.iter().find(|e| e.epoch == best)
}

/// Settings that are not their preset's.
pub(crate) fn departures(input: &ReportInput) -> Table {
    let mut table = Table::new(
        "Where training departs from the published configuration.",
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

/// Pairs not measured.
pub(crate) fn excluded(input: &ReportInput) -> Table {
    let mut table = Table::new(
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

/// Pairs that were measured and enter no conclusion.
pub(crate) fn unused(findings: &Findings) -> Table {
    let mut table = Table::new(
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
            let why = match (pair.eligible, pair.knows) {
                (true, true) => continue,
                (true, false) => "not known",
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

fn each<'a, T>(
    findings: &'a Findings,
    f: fn(&'a ConditionFindings) -> &'a [T],
) -> Vec<(&'a ConditionFindings, &'a T)> {
    let rows = |c: &'a ConditionFindings| f(c).iter().map(move |t| (c, t));
    findings.conditions.iter().flat_map(rows).collect()
}
