//! The difference between two kinds as one number, and the same with confounds held.

use engram_findings::adjusted::AdjustedDifference;
use engram_findings::words::number;
use engram_findings::{ConditionFindings, Findings};

use super::{ReportTable, dash, p_cell, with_interval};

/// One row for each model, site and direction: the plain difference and the same with confounds held.
pub(crate) fn claim(findings: &Findings) -> ReportTable {
    let mut table = ReportTable::new(
        &caption(findings),
        &[
            "model",
            "kinds",
            "site",
            "direction",
            "corruption",
            "plain",
            "p",
            "matched on the gap",
            "adjusted for the gap",
            "p",
            "adjusted for all",
            "p",
        ],
    );
    for condition in &findings.conditions {
        for tests in condition
            .kind_tests
            .iter()
            .filter(|t| !t.adjusted.is_empty())
        {
            let Some(entropy) = &tests.entropy else {
                continue;
            };
            let by = |what: &str| tests.adjusted.iter().find(|a| a.how.starts_with(what));
            let gap = tests.adjusted.get(1);
            let all = tests.adjusted.get(2);
            table.rows.push(vec![
                named(condition),
                format!("{} − {}", tests.first, tests.second),
                tests.measure.label.clone(),
                tests.measure.direction.to_string(),
                tests.measure.corruption.to_string(),
                with_interval(entropy.test.statistic, entropy.interval, number),
                p_cell(entropy.test.p_value),
                difference(by("matched")),
                difference(gap),
                p_of(gap),
                difference(all),
                p_of(all),
            ]);
        }
    }
    table
}

/// What the columns are, and what all that is adjusted for is.
fn caption(findings: &Findings) -> String {
    let tests = findings.conditions.iter().flat_map(|c| &c.kind_tests);
    let mut all: Vec<&str> = tests
        .filter_map(|t| Some(t.adjusted.get(2)?.how.trim_start_matches("adjusted for ")))
        .collect();
    all.sort_unstable();
    all.dedup();
    let all = match all.as_slice() {
        [] => String::new(),
        sets => format!(" All: {}.", sets.join("; or ")),
    };
    format!(
        "The difference between kinds as one number: mean normalised entropy of the first kind less that of the second, on layers that are not trivial; below 0, the first is more localised. Plain: means over relations, interval by bootstrap over relations and pairs, p by permutation of kind over relations. Then with confounds held: pairs matched one to one on the gap within 0.2 standard deviations; means over relations adjusted for the gap, p by Freedman and Lane's permutation; pairs adjusted for all, errors clustered by relation.{all} No row of a model that is not shown to know says anything about knowledge."
    )
}

/// The model's name, and a warning where it is not shown to know.
fn named(condition: &ConditionFindings) -> String {
    match condition.gate.passed {
        true => condition.name.clone(),
        false => format!("{} (not shown to know)", condition.name),
    }
}

fn difference(held: Option<&AdjustedDifference>) -> String {
    let found = held.and_then(|a| Some((a.difference?, a.lower?, a.upper?)));
    found.map_or_else(dash, |(d, lower, upper)| {
        format!("{} [{}, {}]", number(d), number(lower), number(upper))
    })
}

fn p_of(held: Option<&AdjustedDifference>) -> String {
    held.and_then(|a| a.p_value).map_or_else(dash, p_cell)
}
