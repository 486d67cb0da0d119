//! What follows from the tests, in plain sentences that claim no more than the tests show.

use std::collections::BTreeMap;

use crate::compare::Comparison;
use crate::findings::{ConditionFindings, Findings, MetricLeftOut};
use crate::gate::{KindGate, Share};
use crate::kinds::{KindOutcome, KindTests};
use crate::layers::LayerTests;
use crate::words::{layers, list, number, p_value, percent, plural, site};

/// The sentences of one model.
pub(crate) fn conclusions(findings: &Findings, condition: &ConditionFindings) -> Vec<String> {
    let alpha = findings.settings.alpha();
    let mut said = vec![condition.gate.sentence.clone()];
    said.extend(preferred(condition, findings.has_kinds()));
    said.extend(against_base(findings, condition));
    said.extend(same_as(findings, condition));
    said.extend(condition.metrics_left_out.iter().map(left_out));
    if !condition.gate.passed {
        if !condition.profiles.is_empty() {
            said.push(format!(
                "The recovery profiles of {} are shown for comparison only: layers differ in any network, trained or not.",
                condition.name
            ));
        }
        return said;
    }
    for tests in condition
        .layer_tests
        .iter()
        .filter(|t| t.kind.is_none() && condition.concludes_from(&t.measure) && t.measure.adds_up())
    {
        said.push(layer_sentence(tests, alpha));
    }
    for tests in condition
        .kind_tests
        .iter()
        .filter(|t| condition.concludes_from(&t.measure) && t.measure.adds_up())
    {
        said.push(format!("{}: {}", site(&tests.measure.label), tests.verdict));
    }
    let robust = condition.robustness.iter();
    said.extend(robust.map(|r| format!("Robustness. {}", r.sentence)));
    let repeated = findings
        .replicates
        .iter()
        .filter(|r| r.model == condition.name);
    said.extend(repeated.map(|r| format!("Seeds. {}", r.sentence)));
    said
}

/// The shortest summary of one model; `None` where it was asked nothing.
pub(crate) fn headline(
    condition: &ConditionFindings,
    kinds: &[String],
    alpha: f64,
) -> Option<String> {
    let name = &condition.name;
    let unknown =
        || format!("{name}: no conclusion, since it is not shown to know more than chance.");
    match (kinds, condition.gate.passed) {
        ([], _) => None,
        (_, false) => Some(unknown()),
        ([_], true) => Some(layers_in_short(condition, alpha)),
        (_, true) => Some(kinds_in_short(condition)),
    }
}

/// Whether layers differ, for a suite of one kind.
fn layers_in_short(condition: &ConditionFindings, alpha: f64) -> String {
    let tests = condition.layer_tests.iter().filter(|t| {
        t.kind.is_none() && condition.concludes_from(&t.measure) && t.measure.adds_up()
    });
    let tested: Vec<(&str, f64)> = tests
        .filter_map(|t| Some((t.measure.label.as_str(), t.friedman.as_ref()?.p_value)))
        .collect();
    let differ = tested.iter().filter(|(_, p)| *p < alpha);
    let differ: Vec<String> = differ
        .map(|(label, p)| format!("{label} ({})", p_value(*p)))
        .collect();
    let what = match (tested.len(), differ.len()) {
        (0, _) => "layers could not be tested".to_owned(),
        (_, 0) => "no difference between layers is shown".to_owned(),
        (all, some) => {
            let silent = if some < all {
                "; no difference is shown at other sites"
            } else {
                ""
            };
            format!("layers differ at {}{silent}", list(&differ))
        }
    };
    format!("{}: knows more than chance; {what}.", condition.name)
}

/// Whether kinds are told apart.
fn kinds_in_short(condition: &ConditionFindings) -> String {
    let name = &condition.name;
    let tests: Vec<&KindTests> = condition
        .kind_tests
        .iter()
        .filter(|t| condition.concludes_from(&t.measure) && t.measure.adds_up())
        .collect();
    let mut told: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for test in &tests {
        let kind = match test.outcome {
            KindOutcome::First => &test.first,
            KindOutcome::Second => &test.second,
            KindOutcome::NotShown | KindOutcome::NoVerdict => continue,
        };
        let p = test.entropy.as_ref().map(|e| p_value(e.p_holm));
        let place = format!("{} ({})", test.measure.label, p.unwrap_or_default());
        told.entry(kind).or_default().push(place);
    }
    if !told.is_empty() {
        let count: usize = told.values().map(Vec::len).sum();
        let silent = if count < tests.len() {
            "; no difference is shown at other sites"
        } else {
            ""
        };
        let told: Vec<String> = told
            .iter()
            .map(|(kind, places)| format!("for {kind} facts at {}", list(places)))
            .collect();
        format!(
            "{name}: recovery is more localised {}{silent}.",
            list(&told)
        )
    } else if tests.iter().any(|t| t.outcome == KindOutcome::NotShown) {
        format!("{name}: the kinds are not shown to differ in how localised recovery is.")
    } else {
        format!(
            "{name}: knows more than chance, but there is no verdict on where each kind is kept."
        )
    }
}

/// The most pairs that a sentence names.
const NAMED: usize = 5;

/// Pairs that a metric leaves out, counted and named.
fn left_out(metric: &MetricLeftOut) -> String {
    let mut names: Vec<String> = metric.left_out.iter().take(NAMED).cloned().collect();
    if metric.left_out.len() > NAMED {
        names.push(format!("{} others", metric.left_out.len() - NAMED));
    }
    format!(
        "Metric {} ({}) leaves out {} of {} eligible by the logit difference, whose own gap in it is too small: {}.",
        metric.metric,
        metric.corruption,
        metric.left_out.len(),
        plural(metric.pairs, "pair"),
        list(&names)
    )
}

/// What the model prefers and says, of each kind where there are several, and which of the two conclusions rest on.
fn preferred(condition: &ConditionFindings, has_kinds: bool) -> Vec<String> {
    let named = condition.gate.kinds.iter().filter(|k| k.kind.is_some());
    let mut said: Vec<String> = named
        .map(|kind| {
            let noun = match &kind.kind {
                Some(name) if has_kinds => format!("{name} pair"),
                _ => "pair".to_owned(),
            };
            let says = kind.says.as_ref().map_or(String::new(), |says| {
                format!(" It says the answer, so that greedy decoding gives it, of {} ({}).", says.count, share(says))
            });
            format!(
                "Of {} it prefers the right one of {} ({}): answer on the clean prompt, foil on the corrupted one; a model that answers by chance does of a quarter.{says}{}",
                plural(kind.pairs, &noun),
                kind.prefers.count,
                share(&kind.prefers),
                wordings(kind, condition.taught)
            )
        })
        .collect();
    let all = condition.gate.kind(None);
    if let (true, Some(all)) = (condition.gate.passed, all) {
        said.push(format!(
            "What follows about layers{} and parts rests on the {} that are eligible and whose answer the model prefers, whether it says it or not.",
            if has_kinds { ", kinds" } else { "" },
            plural(all.used, "pair")
        ));
    }
    said
}

/// How often answer beats foil in the pairs' own wordings and in paraphrases; `taught` where training had the former.
fn wordings(kind: &KindGate, taught: bool) -> String {
    let (own, others) = if taught {
        ("trained wordings", "wordings held back from training")
    } else {
        ("the pairs' own wordings", "paraphrases")
    };
    let of = |found: &Option<Share>, wordings: &str| {
        let found = found.as_ref()?;
        Some(format!("in {} of {wordings}", share(found)))
    };
    let parts = [of(&kind.trained, own), of(&kind.held_back, others)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        return String::new();
    }
    format!(" It prefers the answer {} (chance: a half).", list(&parts))
}

fn share(share: &Share) -> String {
    format!(
        "{} [{}, {}]",
        percent(share.estimate),
        percent(share.lower),
        percent(share.upper)
    )
}

fn against_base(findings: &Findings, condition: &ConditionFindings) -> Option<String> {
    let found = findings
        .comparisons
        .iter()
        .find(|c| c.from == "base" && c.to == condition.name && c.kind.is_none())?;
    let verdict = if found.p_value >= findings.settings.alpha() {
        "no difference is shown"
    } else if found.only_to > found.only_from {
        "it prefers the right one of more"
    } else {
        "it prefers the right one of fewer"
    };
    let says = match (&found.says_from, &found.says_to) {
        (Some(from), Some(to)) => format!(
            " It says {} answers, the base model {}.",
            to.count, from.count
        ),
        _ => String::new(),
    };
    Some(format!(
        "Against the base model, on the same {}: it prefers the right one of {}, the base model of {}; {verdict} ({}).{says}",
        plural(found.pairs, "pair"),
        found.prefers_to.count,
        found.prefers_from.count,
        p_value(found.p_value)
    ))
}

/// That the model hardly differs from another that the study compares it with, the base model first.
fn same_as(findings: &Findings, condition: &ConditionFindings) -> Option<String> {
    let of = |c: &&Comparison| c.to == condition.name && c.kind.is_none();
    findings
        .comparisons
        .iter()
        .filter(of)
        .find_map(Comparison::sameness)
}

fn layer_sentence(tests: &LayerTests, alpha: f64) -> String {
    let label = site(&tests.measure.label);
    let which = tests
        .which
        .as_ref()
        .map_or(String::new(), |w| format!(" {w}."));
    let Some(friedman) = &tests.friedman else {
        let why = tests.note.as_deref().unwrap_or("too little to test");
        return format!("{label}: no test over layers ({why}).");
    };
    let figures = format!(
        "Friedman over {} and {}: {}, W = {}",
        plural(tests.layers.len(), "layer"),
        plural(tests.clusters, "cluster"),
        p_value(friedman.p_value),
        number(friedman.kendall_w)
    );
    if friedman.p_value >= alpha {
        return format!("{label}: no difference between layers is shown ({figures}).{which}");
    }
    let mut parts = Vec::new();
    for (above, verb) in [(true, "more"), (false, "less")] {
        let found = tests.standing_out(above, alpha);
        if !found.is_empty() {
            parts.push(format!(
                "{verb} than the pair's own average at {}",
                layers(&found)
            ));
        }
    }
    if let (true, Some(why)) = (parts.is_empty(), tests.too_few(alpha)) {
        return format!("{label}: layers differ ({figures}); which ones stand out, {why}.{which}");
    }
    if parts.is_empty() {
        return format!(
            "{label}: layers differ ({figures}), but no single one stands out after Holm's correction.{which}"
        );
    }
    format!(
        "{label}: layers differ ({figures}); a patch restores {} (Wilcoxon, Holm).{which}",
        list(&parts)
    )
}
