//! Does the difference between kinds survive other ways of measuring it, and the loss of any one relation or wording?

use std::collections::BTreeSet;

use engram_stats::{Interval, MIN_RELATIONS_PER_KIND, mean, permute_kinds};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::Result;
use crate::findings::ConditionFindings;
use crate::kinds::{KindTests, Outcome};
use crate::layers::stats;
use crate::measure::Scope;
use crate::words::{number, p_value, site};

/// The difference in localisation between two kinds at one site, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Robustness {
    /// The site.
    pub site: String,
    /// The kind whose values are taken first in each difference.
    pub first: String,
    /// The kind that is subtracted.
    pub second: String,
    /// The logit difference under denoise with swapped prompts, which conclusions are drawn from; then every other
    /// metric, direction, corruption and alignment that was swept.
    pub variants: Vec<Variant>,
    /// What happens without any one relation, then without any one wording.
    pub left_out: Vec<LeftOut>,
    /// The same in words.
    pub sentence: String,
}

/// One way of measuring.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// What is other than in the primary measure; empty for that itself.
    pub changed: String,
    /// Difference of mean normalised entropies.
    pub difference: f64,
    /// Its bootstrap interval.
    pub interval: Option<Interval>,
    /// Its permutation p, not adjusted.
    pub p_value: f64,
    /// What it says.
    pub outcome: Outcome,
}

/// The primary difference with something left out, one at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    /// `relation` or `wording`.
    pub what: String,
    /// How many were left out in turn.
    pub count: usize,
    /// The smallest difference.
    pub lowest: f64,
    /// The largest.
    pub highest: f64,
    /// How often p falls on the other side of the threshold.
    pub turned: usize,
    /// What turns it, by name.
    pub by: Vec<String>,
}

/// Robustness of every primary test between kinds on contributions that add up.
pub(crate) fn robustness(
    context: &Context<'_>,
    condition: &ConditionFindings,
) -> Result<Vec<Robustness>> {
    let (tests, localised) = (&condition.kind_tests, &condition.localisation);
    let is_main = |t: &&KindTests| {
        t.measure.adds_up() && condition.concludes_from(&t.measure) && t.entropy.is_some()
    };
    let mut found = Vec::new();
    for main in tests.iter().filter(is_main) {
        let same_place = |t: &&KindTests| {
            t.measure.label == main.measure.label
                && t.measure.scope == Scope::All
                && (&t.first, &t.second) == (&main.first, &main.second)
        };
        let mut variants: Vec<Variant> = tests
            .iter()
            .filter(same_place)
            .filter_map(|t| variant(t, main))
            .collect();
        variants.sort_by_key(|v| !v.changed.is_empty());
        let values: Vec<(usize, f64)> = localised
            .iter()
            .filter(|l| l.measure == main.measure)
            .flat_map(|l| &l.pairs)
            .filter_map(|p| Some((context.find(&p.pair)?, p.entropy)))
            .collect();
        let mut left_out = Vec::new();
        for (what, of) in [
            (
                "relation",
                relation_of as fn(&Context<'_>, usize) -> Option<String>,
            ),
            ("wording", template_of),
        ] {
            left_out.extend(leave_out(context, main, &values, what, of)?);
        }
        let alpha = context.settings.alpha();
        let sentence = sentence(main, &variants, &left_out, alpha);
        found.push(Robustness {
            site: main.measure.label.clone(),
            first: main.first.clone(),
            second: main.second.clone(),
            variants,
            left_out,
            sentence,
        });
    }
    Ok(found)
}

fn variant(test: &KindTests, main: &KindTests) -> Option<Variant> {
    let entropy = test.entropy.as_ref()?;
    let (a, b) = (&test.measure, &main.measure);
    let parts = [
        ("metric", &a.metric, &b.metric),
        ("direction", &a.direction, &b.direction),
        ("corruption", &a.corruption, &b.corruption),
        ("alignment", &a.align, &b.align),
    ];
    let changed = parts.into_iter().filter(|(_, a, b)| a != b);
    let changed: Vec<String> = changed.map(|(name, a, _)| format!("{name} {a}")).collect();
    Some(Variant {
        changed: changed.join(", "),
        difference: entropy.test.statistic,
        interval: entropy.interval,
        p_value: entropy.test.p_value,
        outcome: test.outcome,
    })
}

fn relation_of(context: &Context<'_>, pair: usize) -> Option<String> {
    context.pairs[pair].relation.clone()
}

fn template_of(context: &Context<'_>, pair: usize) -> Option<String> {
    context.pairs[pair].template.clone()
}

fn leave_out(
    context: &Context<'_>,
    main: &KindTests,
    values: &[(usize, f64)],
    what: &str,
    of: fn(&Context<'_>, usize) -> Option<String>,
) -> Result<Option<LeftOut>> {
    let names: BTreeSet<String> = values.iter().filter_map(|(p, _)| of(context, *p)).collect();
    let alpha = context.settings.alpha();
    let whole = main
        .entropy
        .as_ref()
        .is_some_and(|e| e.test.p_value < alpha);
    let mut found: Option<LeftOut> = None;
    for name in &names {
        let kept = values
            .iter()
            .copied()
            .filter(|(p, _)| of(context, *p).as_ref() != Some(name));
        let sides = [&main.first, &main.second].map(|kind| context.by_relation(kind, kept.clone()));
        if sides.iter().any(|s| s.len() < MIN_RELATIONS_PER_KIND) {
            continue;
        }
        let mut means = Vec::new();
        for side in &sides {
            let of_side: Vec<f64> = side
                .values()
                .map(|v| mean(v).map_err(|e| stats("mean of a relation".to_owned(), e)))
                .collect::<Result<_>>()?;
            means.push(of_side);
        }
        let settings = &context.settings;
        let test = permute_kinds(&means[0], &means[1], settings.permutations, settings.seed)
            .map_err(|e| stats("a test between kinds".to_owned(), e))?;
        let turned = (test.p_value < alpha) != whole;
        let found = found.get_or_insert_with(|| LeftOut {
            what: what.to_owned(),
            count: 0,
            lowest: f64::INFINITY,
            highest: f64::NEG_INFINITY,
            turned: 0,
            by: Vec::new(),
        });
        found.count += 1;
        found.lowest = found.lowest.min(test.statistic);
        found.highest = found.highest.max(test.statistic);
        if turned {
            found.turned += 1;
            found.by.push(name.clone());
        }
    }
    Ok(found)
}

fn sentence(main: &KindTests, variants: &[Variant], left_out: &[LeftOut], alpha: f64) -> String {
    let place = site(&main.measure.label);
    let Some(first) = variants.first() else {
        return format!("{place}: nothing to compare with.");
    };
    let shown = |v: &Variant| v.p_value < alpha;
    let others = &variants[1..];
    let agree = others.iter().filter(|v| {
        shown(v) == shown(first)
            && (!shown(first) || v.difference.signum() == first.difference.signum())
    });
    let what = match shown(first) {
        true => "a difference in localisation",
        false => "no difference in localisation",
    };
    let mut text = format!(
        "{place}: {what} between {} and {} facts ({}, {})",
        main.first,
        main.second,
        number(first.difference),
        p_value(first.p_value)
    );
    if !others.is_empty() {
        text += &format!(
            "; {} of {} other ways of measuring say the same",
            agree.count(),
            others.len()
        );
    }
    for left in left_out {
        text += &format!(
            "; without any one {} the difference is {} to {}, and {} of {} turn the result",
            left.what,
            number(left.lowest),
            number(left.highest),
            left.turned,
            left.count
        );
    }
    text + "."
}
