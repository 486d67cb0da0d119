//! The study's claim as one number: are definitional facts more localised than associative ones?

use engram_findings::adjusted::AdjustedDifference;
use engram_findings::words::number;
use engram_findings::{ConditionFindings, Findings};

use super::{Table, dash, p_cell, with_interval};

/// One row for each model, site and direction: the plain difference and the same with confounds held.
pub(crate) fn claim(findings: &Findings) -> Table {
    let mut table = Table::new(
        "The claim as one number: mean normalised entropy of the first kind less that of the second, on layers that are not trivial; below 0, the first is more localised. Plain: means over relations, interval by bootstrap over relations and pairs, p by permutation of kind over relations. Then with confounds held: pairs matched one to one on the gap within 0.2 standard deviations; means over relations adjusted for the gap, p by Freedman and Lane's permutation; pairs adjusted for all that the last column names, errors clustered by relation.",
        &[
            "model",
            "kinds",
            "site",
            "direction",
            "plain",
            "p",
            "matched on the gap",
            "adjusted for the gap",
            "p",
            "adjusted for all",
            "p",
            "all that is adjusted for",
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
                tests.measure.direction.clone(),
                with_interval(entropy.test.statistic, entropy.interval, number),
                p_cell(entropy.test.p_value),
                difference(by("matched")),
                difference(gap),
                p_of(gap),
                difference(all),
                p_of(all),
                all.map_or_else(dash, |a| {
                    a.how.trim_start_matches("adjusted for ").to_owned()
                }),
            ]);
        }
    }
    table
}

/// The model's name, and a warning where it is not shown to know.
fn named(condition: &ConditionFindings) -> String {
    match condition.gate.passed {
        true => condition.name.clone(),
        false => format!(
            "{} (not shown to know: no statement on knowledge)",
            condition.name
        ),
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
