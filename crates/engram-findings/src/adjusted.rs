//! Is the difference between kinds one of kind, or of what else sets them apart? The same difference with the clean–corrupt
//! gap and other confounds held.

use std::collections::{BTreeMap, BTreeSet};

use engram_core::Confounds;
use engram_stats::{
    DesignColumn, KindPairs, Resampling, StatsError, match_nearest, matched_difference_interval,
    permute_kinds_adjusted,
};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{Result, if_enough};
use crate::gate::States;
use crate::words::{list, number};

/// The largest distance of matched gaps, in standard deviations (Austin 2011).
const CALIPER: f64 = 0.2;
/// What the gap is called among the confounds.
const GAP: &str = "clean–corrupt gap";

/// The difference of mean normalised entropy between kinds, the first less the second, with something held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdjustedDifference {
    /// `matched on …` or `adjusted for …`.
    pub how: String,
    /// Pairs of each kind in it.
    pub pairs: [usize; 2],
    /// The difference; `None` where it cannot be told, for the reason in `note`.
    pub difference: Option<f64>,
    /// Lower end of its interval: of matched pairs by the bootstrap over relations, adjusted for the gap by t over relation
    /// means, adjusted for all by t over pairs with errors clustered by relation.
    pub lower: Option<f64>,
    /// Upper end.
    pub upper: Option<f64>,
    /// Adjusted for the gap: kinds permuted over relations, what the gap explains put aside (Freedman and Lane 1983).
    /// Adjusted for all, which leaves too few relations for that: of t. `None` for matched pairs, whose interval says what
    /// there is to say.
    pub p_value: Option<f64>,
    /// How unlike the kinds were, and what was left out.
    pub note: String,
}

/// One pair: its entropy and its relation as a number.
struct Value {
    pair: usize,
    relation: usize,
    first: bool,
    entropy: f64,
}

/// The difference matched on the gap, adjusted for the gap, and adjusted for all confounds that are known.
pub(crate) fn adjusted(
    context: &Context<'_>,
    states: &States,
    kinds: [&str; 2],
    entropies: impl Iterator<Item = (usize, f64)>,
) -> Result<Vec<AdjustedDifference>> {
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let values: Vec<Value> = entropies
        .filter_map(|(pair, entropy)| {
            let of = &context.pairs[pair];
            let first = kinds.iter().position(|k| of.kind == *k)? == 0;
            let next = numbers.len();
            let relation = *numbers.entry(context.relation(pair)?).or_insert(next);
            Some(Value {
                pair,
                relation,
                first,
                entropy,
            })
        })
        .collect();
    let gap: Vec<f64> = (values.iter())
        .map(|v| {
            states
                .get(&v.pair)
                .map_or(0.0, |s| s.logit_diff_clean - s.logit_diff_corrupt)
        })
        .collect();
    let gap = DesignColumn::new(GAP, gap);
    let mut all = vec![gap.clone()];
    all.extend(columns(context, &values));
    let mut found = vec![matched(context, &values, &gap)?];
    found.push(held(context, &values, vec![gap], Over::Relations)?);
    if all.len() > 1 {
        found.push(held(context, &values, all, Over::Pairs)?);
    }
    Ok(found)
}

/// The confounds that are known of every pair, counts of mentions as ln(1 + n).
fn columns(context: &Context<'_>, values: &[Value]) -> Vec<DesignColumn> {
    type Get = fn(&Confounds) -> Option<f64>;
    let known: [(&str, Get); 6] = [
        ("prompt's tokens", |c| Some(c.prompt_tokens as f64)),
        ("subject's tokens", |c| c.subject_tokens.map(|n| n as f64)),
        ("subject's position", |c| {
            c.subject_position.map(|n| n as f64)
        }),
        ("answer's tokens", |c| Some(c.answer_tokens as f64)),
        ("answer's mentions", |c| {
            c.answer_mentions.map(|n| (n as f64).ln_1p())
        }),
        ("exposures", |c| c.exposures.map(|n| n as f64)),
    ];
    let of = |get: Get| -> Option<Vec<f64>> {
        values
            .iter()
            .map(|v| get(context.confounds.get(&v.pair)?))
            .collect()
    };
    known
        .into_iter()
        .filter_map(|(name, get)| Some(DesignColumn::new(name, of(get)?)))
        .collect()
}

fn matched(
    context: &Context<'_>,
    values: &[Value],
    gap: &DesignColumn,
) -> Result<AdjustedDifference> {
    let settings = &context.settings;
    let side = |first: bool| -> (Vec<(usize, f64)>, Vec<f64>) {
        let of = values
            .iter()
            .zip(&gap.values)
            .filter(|(v, _)| v.first == first);
        of.map(|(v, gap)| ((v.relation, v.entropy), *gap)).unzip()
    };
    let ((a, gaps_a), (b, gaps_b)) = (side(true), side(false));
    let what = || "matching on the gap".to_owned();
    let mut found = AdjustedDifference {
        how: format!("matched on the {GAP}"),
        pairs: [0, 0],
        difference: None,
        lower: None,
        upper: None,
        p_value: None,
        note: String::new(),
    };
    let matching = match if_enough(match_nearest(&gaps_a, &gaps_b, CALIPER), what)? {
        Ok(matching) => matching,
        Err(why) => {
            found.note = why;
            return Ok(found);
        }
    };
    let relations: BTreeSet<usize> = matching.pairs.iter().map(|(i, _)| a[*i].0).collect();
    found.pairs = [matching.pairs.len(); 2];
    found.note = format!(
        "standardised mean difference of the gap {} before, {} after; {} of {} and {} of {} pairs have a partner",
        number(matching.smd_before),
        number(matching.smd_after),
        matching.pairs.len(),
        a.len(),
        matching.pairs.len(),
        b.len()
    );
    if relations.len() < 2 {
        return Ok(found);
    }
    let how = Resampling::bca(settings.resamples, settings.level, settings.seed);
    match if_enough(
        matched_difference_interval(&a, &b, &matching.pairs, how),
        what,
    )? {
        Ok(interval) => {
            found.difference = Some(interval.estimate);
            (found.lower, found.upper) = (Some(interval.lower), Some(interval.upper));
        }
        Err(why) => found.note = format!("{}; {why}", found.note),
    }
    Ok(found)
}

/// What is regressed: means of relations, of which there are few, or pairs, which are not independent.
#[derive(Clone, Copy, PartialEq)]
enum Over {
    Relations,
    Pairs,
}

/// The coefficient of the kind beside `covariates`; one that says nothing of its own is left out, and named.
fn held(
    context: &Context<'_>,
    values: &[Value],
    mut covariates: Vec<DesignColumn>,
    over: Over,
) -> Result<AdjustedDifference> {
    let settings = &context.settings;
    let y: Vec<f64> = values.iter().map(|v| v.entropy).collect();
    let first_kind: Vec<bool> = values.iter().map(|v| v.first).collect();
    let relations: Vec<usize> = values.iter().map(|v| v.relation).collect();
    let count = |first: bool| values.iter().filter(|v| v.first == first).count();
    let mut left_out = Vec::new();
    let tested = loop {
        let pairs = KindPairs {
            y: &y,
            first_kind: &first_kind,
            relations: &relations,
            covariates: &covariates,
        };
        let tested =
            permute_kinds_adjusted(pairs, settings.permutations, settings.level, settings.seed);
        let Err(StatsError::Collinear { column }) = &tested else {
            break tested;
        };
        let before = covariates.len();
        covariates.retain(|c| c.name != *column);
        if covariates.len() == before {
            // The kind itself is what the covariates determine.
            break tested;
        }
        left_out.push(column.clone());
    };
    let names: Vec<String> = covariates.iter().map(|c| c.name.clone()).collect();
    let mut found = AdjustedDifference {
        how: format!("adjusted for {}", list(&names)),
        pairs: [count(true), count(false)],
        difference: None,
        lower: None,
        upper: None,
        p_value: None,
        note: String::new(),
    };
    if !left_out.is_empty() {
        found.note = format!(
            "left out, since they say nothing of their own: {}",
            list(&left_out)
        );
    }
    match if_enough(tested, || "the adjusted test between kinds".to_owned())? {
        Ok(tested) => {
            let (term, p) = match over {
                Over::Relations => (tested.relations, tested.test.p_value),
                Over::Pairs => (tested.pairs.clone(), tested.pairs.p_value),
            };
            found.difference = Some(term.estimate);
            (found.lower, found.upper) = (Some(term.lower), Some(term.upper));
            found.p_value = Some(p);
        }
        Err(why) => found.note = why,
    }
    Ok(found)
}
