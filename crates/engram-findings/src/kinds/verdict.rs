//! What the tests between kinds say, in words.

use std::collections::BTreeMap;

use engram_stats::{MIN_RELATIONS_PER_KIND, holm, least_p_kinds};

use super::{EntropyTest, KindOutcome, KindTests};
use crate::context::Context;
use crate::error::Result;
use crate::gate::Gate;
use crate::layers::stats;
use crate::words::{difference, least_p, number, p_value};

/// Adjusts the entropy tests over sites, and says what they show.
pub(crate) fn conclude(context: &Context<'_>, gate: &Gate, tests: &mut [KindTests]) -> Result<()> {
    let family = |t: &KindTests| {
        let m = &t.measure;
        let kinds = [t.first.clone(), t.second.clone()];
        (m.metric, m.direction, m.corruption, m.align, kinds)
    };
    let mut families: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (i, test) in tests.iter().enumerate() {
        if test.entropy.is_some() {
            families.entry(family(test)).or_default().push(i);
        }
    }
    for members in families.values() {
        let p: Vec<f64> = members
            .iter()
            .filter_map(|&i| Some(tests[i].entropy.as_ref()?.test.p_value))
            .collect();
        let by_holm = holm(&p).map_err(|e| stats("the test between kinds".to_owned(), e))?;
        for (&i, p) in members.iter().zip(by_holm) {
            if let Some(entropy) = &mut tests[i].entropy {
                entropy.p_holm = p;
            }
        }
    }
    for test in tests {
        let sites = families.get(&family(test)).map_or(1, Vec::len);
        (test.outcome, test.verdict) = verdict(context, test, gate, sites);
    }
    Ok(())
}

/// What a test says, in words; it is one of so many `sites` that are tested together.
fn verdict(
    context: &Context<'_>,
    test: &KindTests,
    gate: &Gate,
    sites: usize,
) -> (KindOutcome, String) {
    let alpha = context.settings.alpha();
    let none = |why: String| (KindOutcome::NoVerdict, why);
    let (first, second) = (&test.first, &test.second);
    if !gate.passed_by(first) || !gate.passed_by(second) {
        return none("No verdict: the model is not shown to know facts of both kinds.".to_owned());
    }
    let counts = [test.relations_first, test.relations_second];
    if counts.into_iter().min().unwrap_or(0) < MIN_RELATIONS_PER_KIND {
        let merged = match [first, second]
            .into_iter()
            .any(|kind| context.has_merged(kind))
        {
            true => " Relations whose pairs share prompts or facts count as one.",
            false => "",
        };
        return none(format!(
            "No verdict: {} {first} and {} {second} relations have pairs in the test, and fewer than {MIN_RELATIONS_PER_KIND} of a kind cannot tell kinds apart.{merged}",
            counts[0], counts[1]
        ));
    }
    if !test.measure.adds_up() {
        return none(
            "No verdict on localisation: recovery at this site does not add up over layers."
                .to_owned(),
        );
    }
    let Some(entropy) = &test.entropy else {
        return none(format!(
            "No verdict: localisation is defined in fewer than {MIN_RELATIONS_PER_KIND} relations of a kind."
        ));
    };
    let figures = format!(
        "mean normalised entropy {} against {}, difference {}{}, {} after Holm",
        number(entropy.mean_first),
        number(entropy.mean_second),
        difference(entropy.test.statistic),
        entropy.interval.map_or_else(String::new, |i| format!(
            " [{}, {}]",
            difference(i.lower),
            difference(i.upper)
        )),
        p_value(entropy.p_holm),
    );
    let outcome = KindOutcome::of(
        entropy.test.statistic,
        entropy.p_holm,
        entropy.interval,
        alpha,
    );
    let (more, less) = match outcome {
        KindOutcome::First => (first, second),
        KindOutcome::Second => (second, first),
        KindOutcome::NotShown | KindOutcome::NoVerdict => {
            return (
                outcome,
                format!(
                    "No difference in localisation between {first} and {second} facts is shown ({figures}).{}{}{}",
                    why_not_shown(entropy, counts, sites, alpha),
                    held_in_words(test),
                    power_in_words(test)
                ),
            );
        }
    };
    (
        outcome,
        format!(
            "Recovery is more localised for {more} than for {less} facts ({figures}).{}",
            held_in_words(test)
        ),
    )
}

/// Why no difference is shown, where that is not the p that is printed.
fn why_not_shown(entropy: &EntropyTest, relations: [usize; 2], sites: usize, alpha: f64) -> String {
    let least = (least_p_kinds(relations[0], relations[1]) * sites as f64).min(1.0);
    match entropy.interval {
        _ if least >= alpha => format!(
            " There are too few relations to show one: {} and {} allow no p below {} after Holm.",
            relations[0],
            relations[1],
            least_p(least)
        ),
        None if entropy.p_holm < alpha => {
            " Its p alone would show one; but nothing varies within the kinds, so that there is no interval to bear it out."
                .to_owned()
        }
        Some(_) if entropy.p_holm < alpha => {
            " Its p alone would show one, but its interval holds 0.".to_owned()
        }
        _ => String::new(),
    }
}

/// The difference with confounds held, in words.
fn held_in_words(test: &KindTests) -> String {
    let known = test.adjusted.iter().filter_map(|a| {
        let (difference, lower, upper) = (a.difference?, a.lower?, a.upper?);
        let p = a
            .p_value
            .map_or(String::new(), |p| format!(", {}", p_value(p)));
        Some(format!(
            "{} {} [{}, {}]{p}",
            a.how,
            number(difference),
            number(lower),
            number(upper)
        ))
    });
    let known: Vec<String> = known.collect();
    match known.is_empty() {
        true => String::new(),
        false => format!(" The same difference {}.", known.join("; ")),
    }
}

/// What so many relations can show, in words.
fn power_in_words(test: &KindTests) -> String {
    let Some(power) = &test.power else {
        return match test.entropy.is_some() {
            true => {
                " There is no effect size: relations do not vary within their kinds.".to_owned()
            }
            false => String::new(),
        };
    };
    let needed = power.relations_needed.map_or(String::new(), |n| {
        format!(", which {n} relations of each kind would show")
    });
    format!(
        " So many relations show a difference of {} standard deviations four times in five; the one found is {}{needed}.",
        number(power.smallest),
        number(power.effect.abs())
    )
}
