//! The report's tables as rows of text: what the page and the terminal both show.

mod claim;
mod edits;
mod parts;
mod run;
mod tested;

use engram_core::{Direction, Metric};
use engram_findings::gate::Share;
use engram_findings::words::{number, p_value, percent};
use engram_findings::{ConditionFindings, Findings, Interval};
use serde::Serialize;

use crate::charts::place;

pub(crate) use claim::claim;
pub(crate) use edits::{
    edit_correlations, edit_helps, edit_kinds, edit_layers, edit_said, edit_scores,
};
pub(crate) use parts::parts;
pub(crate) use run::{
    departures, excluded, excluded_by_reason, metrics_left_out, modules, training, trivial, unused,
};
pub(crate) use tested::{
    each_layer, kind_layers, kind_tests, layer_tests, localisation, robustness, which,
};

/// A table: what it says, its head and its rows. The first column names the row.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct ReportTable {
    pub caption: String,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl ReportTable {
    pub fn new(caption: &str, head: &[&str]) -> ReportTable {
        ReportTable {
            caption: caption.to_owned(),
            head: head.iter().map(|h| (*h).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Without the columns that have nothing but dashes: what was not measured.
    pub fn measured(mut self) -> ReportTable {
        let (rows, nothing) = (&self.rows, dash());
        let kept: Vec<bool> = (0..self.head.len())
            .map(|i| rows.is_empty() || rows.iter().any(|row| row[i] != nothing))
            .collect();
        for row in self.rows.iter_mut().chain([&mut self.head]) {
            let mut kept = kept.iter();
            row.retain(|_| kept.next().copied().unwrap_or(true));
        }
        self
    }
}

/// Splits a table whose third and fourth column are metric and direction: rows of the logit difference
/// under denoise, without these columns, and all others.
pub(crate) fn split(table: ReportTable) -> (ReportTable, ReportTable) {
    let is_primary = |row: &Vec<String>| {
        row[2] == Metric::LogitDiff.name() && row[3] == Direction::Denoise.name()
    };
    let (mut primary, others): (Vec<_>, Vec<_>) = table.rows.into_iter().partition(is_primary);
    let mut head = table.head.clone();
    for row in primary.iter_mut().chain([&mut head]) {
        row.drain(2..4);
    }
    let caption = format!("{} Logit difference, denoise.", table.caption);
    (
        ReportTable {
            caption,
            head,
            rows: primary,
        },
        ReportTable {
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
pub(crate) fn with_interval(
    value: f64,
    interval: Option<Interval>,
    text: fn(f64) -> String,
) -> String {
    match interval {
        Some(i) => format!("{} {}", text(value), brackets(text(i.lower), text(i.upper))),
        None => text(value),
    }
}

fn brackets(lower: String, upper: String) -> String {
    format!("[{lower},{NO_BREAK}{upper}]")
}

/// What each model knows, by kind.
pub(crate) fn knowing(findings: &Findings) -> ReportTable {
    let taught = if findings.conditions.iter().any(|c| c.taught) {
        " Own wordings are those that training texts have; paraphrases were held back from training."
    } else {
        ""
    };
    let caption = format!(
        "What each model prefers and says. It prefers the right one of a pair where answer beats foil on the clean prompt and foil beats answer on the corrupted one (chance: a quarter); it says the answer where greedy decoding gives it (chance: next to none); an answer beats its foil by chance in a half. Used: pairs that are eligible and whose right one it prefers, which conclusions rest on.{taught} Brackets are {} intervals, the wider of Wilson's, in which a cluster is a trial, and of a bootstrap over clusters.",
        percent(findings.settings.level)
    );
    let mut table = ReportTable::new(
        &caption,
        &[
            "model",
            "kind",
            "pairs",
            "clusters",
            "eligible",
            "prefers",
            "says",
            "used",
            "answer beats foil, own wordings",
            "answer beats foil, paraphrases",
            "prompts answered right",
            "p",
            "above chance",
        ],
    );
    for condition in &findings.conditions {
        for kind in &condition.gate.kinds {
            table.rows.push(vec![
                condition.name.clone(),
                kind.kind.clone().unwrap_or_else(|| "all".to_owned()),
                kind.pairs.to_string(),
                kind.clusters.to_string(),
                kind.eligible.to_string(),
                share(&kind.prefers),
                kind.says.as_ref().map_or_else(dash, share),
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
pub(crate) fn comparisons(findings: &Findings) -> ReportTable {
    let mut table = ReportTable::new(
        "Pairs whose right one each of two models prefers, over the pairs that both were asked; exact two-sided sign test on the pairs of which only one of them does. Beside it the pairs whose answer each says.",
        &[
            "models",
            "kind",
            "pairs",
            "the first prefers",
            "the second prefers",
            "only the first",
            "only the second",
            "p",
            "the first says",
            "the second says",
        ],
    );
    for c in &findings.comparisons {
        table.rows.push(vec![
            format!("{} → {}", c.from, c.to),
            c.kind.clone().unwrap_or_else(|| "all".to_owned()),
            c.pairs.to_string(),
            percent(c.prefers_from.estimate),
            percent(c.prefers_to.estimate),
            c.only_from.to_string(),
            c.only_to.to_string(),
            p_cell(c.p_value),
            c.says_from.map_or_else(dash, |s| percent(s.estimate)),
            c.says_to.map_or_else(dash, |s| percent(s.estimate)),
        ]);
    }
    table
}

/// Recovery by layer: the numbers of the figure, primary metric.
pub(crate) fn recovery(findings: &Findings) -> ReportTable {
    let mut table = ReportTable::new(
        "Recovery by layer and kind (logit difference): mean over pairs with its bootstrap interval over clusters, and the headline, a ratio of means. Pairs whose recovery the graph alone fixes are left out, where it does not fix all.",
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
        if profile.measure.metric != Metric::LogitDiff {
            continue;
        }
        for point in &profile.layers {
            let Some(mean) = point.mean else { continue };
            table.rows.push(vec![
                condition.name.clone(),
                place(&profile.measure),
                profile.measure.direction.to_string(),
                profile.kind.clone(),
                point.layer.map_or_else(dash, |l| l.to_string()),
                match point.n < point.of {
                    true => format!("{} of {}", point.n, point.of),
                    false => point.n.to_string(),
                },
                with_interval(mean, point.interval, number),
                maybe(point.headline),
                if point.trivial { "yes" } else { "" }.to_owned(),
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
