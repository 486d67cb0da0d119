//! Does the difference between kinds survive other ways of measuring it, and the loss of any one relation or wording?

use std::collections::BTreeSet;

use engram_stats::{Interval, holm};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::Result;
use crate::findings::ConditionFindings;
use crate::kinds::{Groups, KindOutcome, KindTests};
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
    /// What the test says that conclusions are drawn from, p adjusted over sites: the verdict that stands elsewhere.
    pub outcome: KindOutcome,
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
    /// The same adjusted over the sites measured this way.
    pub p_holm: f64,
    /// What it says, by the adjusted p and the interval, as the primary measure's verdict does.
    pub outcome: KindOutcome,
    /// Whether it says what the primary measure says.
    pub agrees: bool,
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
    /// How often the verdict, p adjusted over sites, is another.
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
    let told = |t: &&KindTests| is_main(t) && t.outcome != KindOutcome::NoVerdict;
    for main in tests.iter().filter(told) {
        let same_kinds = |t: &&KindTests| (&t.first, &t.second) == (&main.first, &main.second);
        let same_place = |t: &&KindTests| {
            t.measure.label == main.measure.label && t.measure.scope == Scope::All && same_kinds(t)
        };
        let mut variants: Vec<Variant> = tests
            .iter()
            .filter(same_place)
            .filter_map(|t| variant(t, main))
            .collect();
        variants.sort_by_key(|v| !v.changed.is_empty());
        // The sites that the verdict's p is adjusted over, the verdict's own first.
        let mut family: Vec<&KindTests> = (tests.iter())
            .filter(|t| t.entropy.is_some() && same_kinds(t) && same_reading(t, main))
            .collect();
        family.sort_by_key(|t| t.measure != main.measure);
        let values: Vec<Vec<(usize, f64)>> = (family.iter())
            .map(|test| {
                let of_site = localised.iter().filter(|l| l.measure == test.measure);
                let pairs = of_site.flat_map(|l| &l.pairs);
                pairs
                    .filter_map(|p| Some((context.find(&p.pair)?, p.entropy)))
                    .collect()
            })
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
        found.push(Robustness {
            site: main.measure.label.clone(),
            first: main.first.clone(),
            second: main.second.clone(),
            outcome: main.outcome,
            sentence: sentence(main, &variants, &left_out, context.settings.alpha()),
            variants,
            left_out,
        });
    }
    Ok(found)
}

/// Whether two measures differ in the site alone.
fn same_reading(a: &KindTests, b: &KindTests) -> bool {
    let of = |t: &KindTests| {
        let m = &t.measure;
        (m.metric, m.direction, m.corruption, m.align)
    };
    of(a) == of(b)
}

fn variant(test: &KindTests, main: &KindTests) -> Option<Variant> {
    let entropy = test.entropy.as_ref()?;
    let (a, b) = (&test.measure, &main.measure);
    let parts = [
        (a.metric != b.metric, format!("metric {}", a.metric)),
        (
            a.direction != b.direction,
            format!("direction {}", a.direction),
        ),
        (
            a.corruption != b.corruption,
            format!("corruption {}", a.corruption),
        ),
        (a.align != b.align, format!("alignment {}", a.align)),
    ];
    let changed = parts.into_iter().filter(|(differs, _)| *differs);
    let changed: Vec<String> = changed.map(|(_, words)| words).collect();
    Some(Variant {
        changed: changed.join(", "),
        difference: entropy.test.statistic,
        interval: entropy.interval,
        p_value: entropy.test.p_value,
        p_holm: entropy.p_holm,
        outcome: test.outcome,
        agrees: test.outcome == main.outcome,
    })
}

fn relation_of(context: &Context<'_>, pair: usize) -> Option<String> {
    context.pairs[pair].relation.clone()
}

fn template_of(context: &Context<'_>, pair: usize) -> Option<String> {
    context.pairs[pair].template.clone()
}

/// Tests again without each relation or wording: at all sites that p is adjusted over, whose values are `values`.
fn leave_out(
    context: &Context<'_>,
    main: &KindTests,
    values: &[Vec<(usize, f64)>],
    what: &str,
    of: fn(&Context<'_>, usize) -> Option<String>,
) -> Result<Option<LeftOut>> {
    let own = values.first().map(Vec::as_slice).unwrap_or_default();
    let names: BTreeSet<String> = own.iter().filter_map(|(p, _)| of(context, *p)).collect();
    let alpha = context.settings.alpha();
    let mut found: Option<LeftOut> = None;
    for name in &names {
        let mut tests = Vec::new();
        for of_site in values {
            let kept =
                (of_site.iter().copied()).filter(|(p, _)| of(context, *p).as_ref() != Some(name));
            let groups = Groups::new(context, [&main.first, &main.second], kept);
            // A site without enough relations left has no test; without one at the site itself there is none to turn.
            if groups.too_few() {
                if tests.is_empty() {
                    break;
                }
                continue;
            }
            let (test, interval, _) = groups.test(context)?;
            tests.push((test, interval));
        }
        let Some((test, interval)) = tests.first() else {
            continue;
        };
        let p: Vec<f64> = tests.iter().map(|(t, _)| t.p_value).collect();
        let p_holm = holm(&p).map_err(|e| stats("a test between kinds".to_owned(), e))?[0];
        let outcome = KindOutcome::of(test.statistic, p_holm, *interval, alpha);
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
        if outcome != main.outcome {
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
    let (one, two) = (&main.first, &main.second);
    let verdict = match main.outcome {
        KindOutcome::NoVerdict => "no verdict on localisation".to_owned(),
        KindOutcome::NotShown => {
            format!("no difference in localisation between {one} and {two} facts is shown")
        }
        KindOutcome::First | KindOutcome::Second => {
            format!(
                "a difference in localisation is shown, {}",
                main.outcome.words(one, two)
            )
        }
    };
    let mut text = format!(
        "{place}: {verdict} ({}, {} after Holm{})",
        number(first.difference),
        p_value(first.p_holm),
        // The verdict is not that of the p which is printed.
        match main.outcome == KindOutcome::NotShown && first.p_holm < alpha {
            true => ", but no interval that excludes 0",
            false => "",
        }
    );
    let others = &variants[1..];
    if !others.is_empty() {
        let each: Vec<String> = (others.iter())
            .map(|v| {
                let p = format!("{} after Holm", p_value(v.p_holm));
                match v.agrees {
                    true => format!("{} agrees ({p})", v.changed),
                    false => {
                        format!(
                            "{} does not: {} ({p})",
                            v.changed,
                            v.outcome.words(one, two)
                        )
                    }
                }
            })
            .collect();
        text += &format!(
            "; {} of {} other ways of measuring say the same: {}",
            others.iter().filter(|v| v.agrees).count(),
            others.len(),
            each.join("; ")
        );
    }
    for left in left_out {
        text += &format!(
            "; without any one {} the difference is {} to {}, and {} of {} turn the verdict",
            left.what,
            number(left.lowest),
            number(left.highest),
            left.turned,
            left.count
        );
    }
    text + "."
}
