//! Where to edit: the set of layers with the greatest S, and whether it is shown to be better than the others.

use std::collections::BTreeMap;

use engram_core::EditRow;
use engram_stats::{
    Interval, PermutationTest, cohen_d_paired, holm, mean_interval, pairs_needed, sign_flip,
};
use serde::{Deserialize, Serialize};

use crate::editing::scores::EditScores;
use crate::editing::sheet::Sheet;
use crate::error::{Result, if_enough};
use crate::layers::stats;
use crate::words::{layer_sets, p_value, percent, plural, share_with};

/// The set of layers with the greatest S, held against every other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BestLayer {
    /// The kind; `None` for all facts.
    pub kind: Option<String>,
    /// The layers.
    pub layers: Vec<usize>,
    /// Their S, the harmonic mean of the mean shares.
    pub harmonic: f64,
    /// Facts edited at every set of layers, over which the comparisons are paired.
    pub facts: usize,
    /// Against every other set of layers, in their order.
    pub others: Vec<LayerComparison>,
    /// The others that are not shown to be worse.
    pub not_told_apart: Vec<Vec<usize>>,
    /// The layers to edit, where that is shown: every other is worse after Holm, and efficacy is above 50 %, interval
    /// and all.
    pub recommended: Option<Vec<usize>>,
    /// That, or why not and what it would take, in words.
    pub sentence: String,
}

/// The best set of layers less another, paired by fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerComparison {
    /// The other layers.
    pub layers: Vec<usize>,
    /// Mean difference of S of a fact, and the sign-flip test over clusters of facts.
    pub test: PermutationTest,
    /// Bootstrap interval of the mean difference, over clusters.
    pub interval: Option<Interval>,
    /// Adjusted over the other sets of layers: no false call at all.
    pub p_holm: f64,
}

/// The chance that a test calls a difference which is there.
const POWER: f64 = 0.8;
/// An edit that fails as often as not is none.
const LEAST_EFFICACY: f64 = 0.5;

/// The best set of layers of a kind among its scores; `None` where there are none.
pub(crate) fn best(
    sheet: &Sheet<'_>,
    scores: &[EditScores],
    kind: Option<&str>,
) -> Result<Option<BestLayer>> {
    let of_kind: Vec<&EditScores> = scores
        .iter()
        .filter(|s| s.kind.as_deref() == kind && s.edits > 0)
        .collect();
    // The first of equals.
    let better = |a: &&&EditScores, b: &&&EditScores| a.harmonic.after.total_cmp(&b.harmonic.after);
    let Some(first) = of_kind.iter().rev().max_by(better).copied() else {
        return Ok(None);
    };
    let mut found = BestLayer {
        kind: kind.map(str::to_owned),
        layers: first.layers.clone(),
        harmonic: first.harmonic.after,
        facts: 0,
        others: Vec::new(),
        not_told_apart: Vec::new(),
        recommended: None,
        sentence: String::new(),
    };
    let others: Vec<&EditScores> = of_kind
        .iter()
        .filter(|s| s.layers != first.layers)
        .copied()
        .collect();
    // The facts that every set of layers has.
    let mut elsewhere: BTreeMap<&str, usize> = BTreeMap::new();
    for other in &others {
        for row in sheet.of(&other.layers, kind) {
            *elsewhere.entry(&row.request).or_default() += 1;
        }
    }
    let mut rows = sheet.of(&first.layers, kind);
    rows.retain(|r| elsewhere.get(r.request.as_str()).copied().unwrap_or(0) == others.len());
    found.facts = rows.len();
    let what = || sheet.what.clone();
    let mut differences = Vec::new();
    if !rows.is_empty() {
        for other in &others {
            let by_cluster = differences_from(sheet, &rows, &other.layers);
            let settings = &sheet.settings;
            let test = sign_flip(&by_cluster, settings.permutations, settings.seed)
                .map_err(|e| stats(what(), e))?;
            let interval = if_enough(mean_interval(&by_cluster, sheet.resampling()), what)?.ok();
            found.others.push(LayerComparison {
                layers: other.layers.clone(),
                test,
                interval,
                p_holm: 1.0,
            });
            differences.push(by_cluster);
        }
        let p: Vec<f64> = found.others.iter().map(|o| o.test.p_value).collect();
        if !p.is_empty() {
            let adjusted = holm(&p).map_err(|e| stats(what(), e))?;
            found
                .others
                .iter_mut()
                .zip(adjusted)
                .for_each(|(o, p)| o.p_holm = p);
        }
    }
    let alpha = sheet.settings.alpha();
    let worse = |o: &&LayerComparison| o.p_holm < alpha && o.test.statistic > 0.0;
    let alike = found.others.iter().filter(|o| !worse(o));
    found.not_told_apart = alike.map(|o| o.layers.clone()).collect();
    let efficacy = first.efficacy.and_then(|e| e.share.interval);
    let holds = efficacy.is_some_and(|i| i.lower > LEAST_EFFICACY);
    let shown = !found.others.is_empty() && found.not_told_apart.is_empty();
    found.recommended = (holds && shown).then(|| first.layers.clone());
    found.sentence = match (holds, shown) {
        (true, true) => recommendation(sheet, first, &found),
        (false, _) => not_holding(sheet, first),
        (true, false) => not_shown(sheet, first, &found, &differences),
    };
    Ok(Some(found))
}

/// S of each fact at the best layers less S at others, means of clusters.
fn differences_from(sheet: &Sheet<'_>, rows: &[&EditRow], other: &[usize]) -> Vec<f64> {
    let there: BTreeMap<&str, f64> = (sheet.of(other, None).iter())
        .map(|r| (r.request.as_str(), r.after.harmonic()))
        .collect();
    let differences = rows.iter().map(|r| {
        let less = there.get(r.request.as_str()).copied().unwrap_or(0.0);
        (sheet.cluster(&r.request), r.after.harmonic() - less)
    });
    crate::context::means_by(differences)
        .into_values()
        .collect()
}

/// `definitional facts`, `facts`.
fn facts_of(kind: Option<&str>) -> String {
    kind.map_or("facts".to_owned(), |kind| format!("{kind} facts"))
}

/// The scores at the best layers, in words.
fn figures(of: &EditScores) -> String {
    let parts = [
        ("efficacy", of.efficacy),
        ("paraphrase", of.paraphrase),
        ("neighbours", of.neighbourhood),
    ];
    let mut words: Vec<String> = (parts.iter())
        .filter_map(|(name, part)| {
            let share = part.as_ref()?.share;
            Some(format!(
                "{name} {}",
                share_with(share.after, share.interval)
            ))
        })
        .collect();
    words.push(format!("S {}", percent(of.harmonic.after)));
    words.push(plural(of.edits, "fact"));
    words.join(", ")
}

fn recommendation(sheet: &Sheet<'_>, of: &EditScores, best: &BestLayer) -> String {
    let p = best.others.iter().map(|o| o.p_holm).fold(0.0, f64::max);
    format!(
        "Edit {} at {} with {}: {}; S is shown to be lower at every other ({} at the most, after Holm).",
        facts_of(of.kind.as_deref()),
        layer_sets(std::slice::from_ref(&of.layers)),
        sheet.method,
        figures(of),
        p_value(p)
    )
}

fn not_holding(sheet: &Sheet<'_>, of: &EditScores) -> String {
    let why = match of.efficacy.map(|e| e.share) {
        Some(share) if share.interval.is_some() => format!(
            "efficacy there is {}, not shown to be above {}; other settings, or a larger clamp, may make edits hold",
            share_with(share.after, share.interval),
            percent(LEAST_EFFICACY)
        ),
        _ => "an interval of efficacy takes facts of two clusters".to_owned(),
    };
    format!(
        "No layer is recommended for {} with {}: the greatest S is at {} ({}), but {why}.",
        facts_of(of.kind.as_deref()),
        sheet.method,
        layer_sets(std::slice::from_ref(&of.layers)),
        figures(of)
    )
}

fn not_shown(
    sheet: &Sheet<'_>,
    of: &EditScores,
    best: &BestLayer,
    differences: &[Vec<f64>],
) -> String {
    let (kind, here) = (
        facts_of(of.kind.as_deref()),
        layer_sets(std::slice::from_ref(&of.layers)),
    );
    if best.others.is_empty() {
        return format!(
            "No layer is recommended for {kind} with {}: edits were at {here} only ({}); edits at other layers would say whether it is better.",
            sheet.method,
            figures(of)
        );
    }
    // As many clusters as would tell the nearest rival apart, each test at Holm's strictest threshold.
    let alpha = sheet.settings.alpha() / best.others.len() as f64;
    let rivals = best.others.iter().zip(differences);
    let rivals = rivals.filter(|(o, _)| best.not_told_apart.contains(&o.layers));
    let needed: Option<usize> = rivals
        .map(|(_, d)| {
            let effect = cohen_d_paired(d).ok().filter(|effect| *effect > 0.0)?;
            pairs_needed(effect, alpha, POWER).ok()
        })
        .try_fold(0, |most, n| Some(most.max(n?)));
    let needed = match needed {
        Some(n) => format!(
            "if the differences are as found, some {n} independent facts would show them"
        ),
        None => "the difference found is none, or the other way, so that more facts of the same sort would not show one"
            .to_owned(),
    };
    format!(
        "No one layer is shown to be best for {kind} with {}: the greatest S is at {here} ({}), and {} {} not shown to be worse; {needed}.",
        sheet.method,
        figures(of),
        layer_sets(&best.not_told_apart),
        if best.not_told_apart.len() == 1 {
            "is"
        } else {
            "are"
        },
    )
}
