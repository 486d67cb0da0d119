//! Two models, or two runs of one, compared pair by pair: what each prefers and says, and where recovery differs.

use std::collections::BTreeMap;

use engram_core::Pair;
use engram_stats::{
    Interval, Wilcoxon, bootstrap_cluster_mean, cohen_d_paired, mean, wilcoxon_signed_rank,
};
use serde::{Deserialize, Serialize};

use crate::compare::{Comparison, compare};
use crate::context::Context;
use crate::error::{Result, if_enough};
use crate::gate::gate;
use crate::layers::{Matrix, corrected, matrix, stats};
use crate::measure::{Measure, Scope};
use crate::part_differences::{PartComparison, compare_parts, correct};
use crate::parts::PartKind;
use crate::profile::{Over, Selection};
use crate::sheet::{Sheet, Sheets, gather};
use crate::study::{Condition, Settings};
use crate::words::{layers, number, p_value, plural, site};

/// One condition against another, over the pairs that both have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunComparison {
    /// The model compared with.
    pub from: String,
    /// The other; differences are its value less that of `from`.
    pub to: String,
    /// Pairs of both.
    pub pairs: usize,
    /// Pairs that only one of the suites has, or that have other prompts there: left out.
    pub unmatched: usize,
    /// What each prefers and says: over all pairs, then by kind.
    pub knowing: Vec<Comparison>,
    /// Each measure of whole sites that both sweeps have.
    pub measures: Vec<MeasureComparison>,
    /// Heads and neurons that both sweeps have, by measure and role of the position.
    #[serde(default)]
    pub parts: Vec<PartComparison>,
    /// What is not compared, and why.
    #[serde(default)]
    pub not_compared: Vec<String>,
    /// What follows, in plain sentences.
    pub sentences: Vec<String>,
}

/// Recovery of one measure in two conditions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasureComparison {
    /// What was patched and read.
    #[serde(flatten)]
    pub measure: Measure,
    /// Which pairs: those whose answer both prefer, or eligible in both where one of the two does not pass the gate.
    pub over: Over,
    /// Pairs with a recovery in every layer of both.
    pub pairs: usize,
    /// Their clusters.
    pub clusters: usize,
    /// Each layer.
    pub layers: Vec<LayerDifference>,
}

/// One layer: recovery of `to` less that of `from`, pair by pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerDifference {
    /// The layer.
    pub layer: Option<i64>,
    /// Mean recovery in `from`.
    pub mean_from: f64,
    /// Mean recovery in `to`.
    pub mean_to: f64,
    /// Mean difference over pairs.
    pub difference: f64,
    /// Its bootstrap interval, clusters resampled; `None` with fewer than two.
    pub interval: Option<Interval>,
    /// Signed-rank test of the cluster means of the difference.
    pub wilcoxon: Wilcoxon,
    /// Adjusted over layers: no false call at all.
    pub p_holm: f64,
    /// Adjusted over layers: share of false calls.
    pub p_bh: f64,
    /// Mean over standard deviation of the cluster means; `None` where they do not vary.
    pub cohen_d: Option<f64>,
}

/// Compares two conditions of two suites, paired by the pairs' ids; a pair counts as the same where both suites give it
/// the same prompts, answer and foil.
///
/// # Errors
/// As [`crate::findings`].
pub fn compare_runs(
    (suite_from, from): (&[Pair], &Condition),
    (suite_to, to): (&[Pair], &Condition),
    settings: Settings,
) -> Result<RunComparison> {
    let by_id: BTreeMap<&str, &Pair> = suite_to.iter().map(|p| (p.id.as_str(), p)).collect();
    let same = |pair: &&Pair| {
        by_id
            .get(pair.id.as_str())
            .is_some_and(|other| asks_the_same(pair, other))
    };
    let shared: Vec<Pair> = suite_from.iter().filter(same).cloned().collect();
    let context = Context::new(&shared, settings)?;
    let (from, to) = (shared_rows(&context, from), shared_rows(&context, to));
    let (gate_from, states_from) = gate(&context, &from.name, &from.rows, &from.preferences)?;
    let (gate_to, states_to) = gate(&context, &to.name, &to.rows, &to.preferences)?;
    let knowing = compare(&context, (&from.name, &states_from), (&to.name, &states_to))?;
    let sheets_from = gather(&context, &from.name, &from.rows)?;
    let sheets_to = gather(&context, &to.name, &to.rows)?;
    // Where one of the two is not shown to know, figures are over eligible pairs for both.
    let mut gates = [gate_from, gate_to];
    let mut unknowing: Vec<&str> = ([&from.name, &to.name].into_iter().zip(&gates))
        .filter(|(_, gate)| !gate.passed)
        .map(|(name, _)| name.as_str())
        .collect();
    unknowing.dedup();
    let both_know = unknowing.is_empty();
    gates.iter_mut().for_each(|g| g.passed = both_know);
    let select_from = Selection::new(&gates[0], &states_from, None);
    let select_to = Selection::new(&gates[1], &states_to, None);
    let over = select_from.over;
    let mut not_compared = Vec::new();
    let mut measures = Vec::new();
    let [whole_from, whole_to] = [&sheets_from, &sheets_to].map(whole);
    let both = paired(
        whole_from.iter().map(|s| (&s.measure, s)),
        whole_to.iter().map(|s| (&s.measure, s)),
        [&from.name, &to.name],
        "",
        &mut not_compared,
    );
    for (sheet, other) in both {
        let tables = [matrix(&select_from, sheet), matrix(&select_to, other)];
        match of_measure(&context, &sheet.measure, over, tables)? {
            Some(found) => measures.push(found),
            None => not_compared.push(format!(
                "{}: no pair has a recovery of its own at a layer of both",
                sheet.measure.words()
            )),
        }
    }
    let mut parts = Vec::new();
    for kind in [PartKind::Head, PartKind::Neuron] {
        let of = |sheets: &'_ Sheets| -> Vec<usize> {
            let all = sheets.parts.iter().enumerate();
            all.filter(|(_, s)| s.part == kind)
                .map(|(i, _)| i)
                .collect()
        };
        let named = |sheets: &'_ Sheets, i: usize| sheets.parts[i].measure.clone();
        let (a, b) = (of(&sheets_from), of(&sheets_to));
        let names_a: Vec<Measure> = a.iter().map(|i| named(&sheets_from, *i)).collect();
        let names_b: Vec<Measure> = b.iter().map(|i| named(&sheets_to, *i)).collect();
        let both = paired(
            names_a.iter().zip(a.iter().copied()),
            names_b.iter().zip(b.iter().copied()),
            [&from.name, &to.name],
            kind.words(),
            &mut not_compared,
        );
        for (i, j) in both {
            let sheets = [&sheets_from.parts[i], &sheets_to.parts[j]];
            let found = compare_parts(&context, [&select_from, &select_to], sheets)?;
            match found {
                Some(found) => parts.push(found),
                None => not_compared.push(format!(
                    "{} of {}: none has a recovery of its own in both",
                    kind.words(),
                    sheets[0].measure.words()
                )),
            }
        }
    }
    correct(&mut parts, settings.alpha())?;
    for (name, sheets) in [(&from.name, &sheets_from), (&to.name, &sheets_to)] {
        if sheets.unread > 0 {
            let rows = plural(sheets.unread, "row");
            not_compared.push(format!("{rows} of single pattern entries of {name}"));
        }
    }
    let mut found = RunComparison {
        from: from.name.clone(),
        to: to.name.clone(),
        pairs: shared.len(),
        unmatched: suite_from.len() + suite_to.len() - 2 * shared.len(),
        knowing,
        measures,
        parts,
        not_compared,
        sentences: Vec::new(),
    };
    found.sentences = sentences(&found, &unknowing, settings.alpha());
    Ok(found)
}

/// Sheets of whole sites, at every role of the position.
fn whole(sheets: &Sheets) -> Vec<Sheet> {
    let alone = |s: &&Sheet| [Scope::All, Scope::Subject].contains(&s.measure.scope);
    let together = sheets.whole.iter().filter(alone).cloned();
    let roles = sheets.by_position.iter().flat_map(|s| s.by_scope());
    let mut all: Vec<Sheet> = together.chain(roles).collect();
    all.sort_by_cached_key(|s| s.measure.order());
    all
}

/// What both sides have: under the same name, otherwise at the same site under another. Notes what only one has.
fn paired<'a, T: Copy>(
    from: impl Iterator<Item = (&'a Measure, T)>,
    to: impl Iterator<Item = (&'a Measure, T)>,
    names: [&str; 2],
    part: &str,
    not_compared: &mut Vec<String>,
) -> Vec<(T, T)> {
    let of = |measure: &Measure| match part {
        "" => measure.words(),
        part => format!("{part} of {}", measure.words()),
    };
    let mut rest: Vec<(&Measure, T)> = to.collect();
    let mut found = Vec::new();
    for (measure, value) in from {
        let same = rest.iter().position(|(m, _)| *m == measure);
        let same = same.or_else(|| rest.iter().position(|(m, _)| m.is_same_place(measure)));
        match same {
            Some(at) => found.push((value, rest.remove(at).1)),
            None => not_compared.push(format!("{}: only {} has it", of(measure), names[0])),
        }
    }
    let only_to = rest.iter();
    not_compared.extend(only_to.map(|(m, _)| format!("{}: only {} has it", of(m), names[1])));
    found
}

fn asks_the_same(a: &Pair, b: &Pair) -> bool {
    a.clean_prompt() == b.clean_prompt()
        && a.corrupt_prompt() == b.corrupt_prompt()
        && a.answer_prompt() == b.answer_prompt()
        && a.foil_prompt() == b.foil_prompt()
}

/// A condition's rows of the context's pairs.
fn shared_rows(context: &Context<'_>, condition: &Condition) -> Condition {
    let mut shared = condition.clone();
    shared.rows.retain(|row| context.find(&row.pair).is_some());
    shared
        .preferences
        .retain(|row| context.find(&row.pair).is_some());
    shared
}

fn of_measure(
    context: &Context<'_>,
    measure: &Measure,
    over: Over,
    [from, to]: [Matrix; 2],
) -> Result<Option<MeasureComparison>> {
    let common: Vec<(usize, &[f64], &[f64])> = (from.pairs.iter().zip(&from.rows))
        .filter_map(|(pair, row)| {
            let at = to.pairs.iter().position(|p| p == pair)?;
            Some((*pair, row.as_slice(), to.rows[at].as_slice()))
        })
        .collect();
    let places: Vec<(usize, usize)> = (from.layers.iter().enumerate())
        .filter_map(|(i, layer)| Some((i, to.layers.iter().position(|l| l == layer)?)))
        .collect();
    if common.is_empty() || places.is_empty() {
        return Ok(None);
    }
    let what = || format!("the comparison at {}", measure.label);
    let settings = &context.settings;
    let mut found = Vec::new();
    let mut clusters = 0;
    for &(i, j) in &places {
        let differences: Vec<(usize, f64)> = common
            .iter()
            .map(|(pair, from, to)| (*pair, to[j] - from[i]))
            .collect();
        let column = |f: fn(f64, f64) -> f64| {
            let values: Vec<f64> = common
                .iter()
                .map(|(_, from, to)| f(from[i], to[j]))
                .collect();
            mean(&values).map_err(|source| stats(what(), source))
        };
        let by_cluster: Vec<(usize, f64)> = (differences.iter())
            .map(|(pair, v)| (context.clusters[*pair], *v))
            .collect();
        let interval = bootstrap_cluster_mean(
            &by_cluster,
            settings.resamples,
            settings.level,
            settings.seed,
        );
        let means = context.cluster_means(differences.iter().copied());
        clusters = means.len();
        found.push(LayerDifference {
            layer: from.layers[i],
            mean_from: column(|from, _| from)?,
            mean_to: column(|_, to| to)?,
            difference: column(|from, to| to - from)?,
            interval: if_enough(interval, what)?.ok(),
            wilcoxon: wilcoxon_signed_rank(&means).map_err(|source| stats(what(), source))?,
            p_holm: 1.0,
            p_bh: 1.0,
            cohen_d: if_enough(cohen_d_paired(&means), what)?.ok(),
        });
    }
    let p: Vec<f64> = found.iter().map(|l| l.wilcoxon.p_value).collect();
    let (by_holm, by_bh) = corrected(&p, what)?;
    for ((layer, holm), bh) in found.iter_mut().zip(by_holm).zip(by_bh) {
        (layer.p_holm, layer.p_bh) = (holm, bh);
    }
    Ok(Some(MeasureComparison {
        measure: measure.clone(),
        over,
        pairs: common.len(),
        clusters,
        layers: found,
    }))
}

/// `unknowing`: which of the two do not pass the gate.
fn sentences(found: &RunComparison, unknowing: &[&str], alpha: f64) -> Vec<String> {
    let (from, to) = (&found.from, &found.to);
    let mut said = Vec::new();
    if let Some(all) = found.knowing.iter().find(|c| c.kind.is_none()) {
        let verdict = match (all.p_value < alpha, all.only_to > all.only_from) {
            (false, _) => "no difference is shown".to_owned(),
            (true, true) => format!("{to} prefers the right one of more"),
            (true, false) => format!("{to} prefers the right one of fewer"),
        };
        let says = match (&all.says_from, &all.says_to) {
            (Some(a), Some(b)) => format!(
                " {from} says the answer of {} and {to} of {}.",
                a.count, b.count
            ),
            _ => String::new(),
        };
        said.push(format!(
            "Of {} that both were asked, {from} prefers the right one of {} and {to} of {}; {verdict} (exact sign test, {}).{says}",
            plural(all.pairs, "pair"),
            all.prefers_from.count,
            all.prefers_to.count,
            p_value(all.p_value)
        ));
        said.extend(all.sameness());
    }
    said.extend(unknowing.iter().map(|name| {
        format!("{name} does not pass the gate of knowing: recovery is over all eligible pairs.")
    }));
    for measure in found.measures.iter().filter(|m| found.is_told(&m.measure)) {
        let place = measure.measure.place();
        let place = match measure.measure.is_primary() {
            true => place.replacen(&measure.measure.label, &site(&measure.measure.label), 1),
            false => measure.measure.words(),
        };
        let differ = |more: bool| -> Vec<Option<i64>> {
            let layers = measure.layers.iter();
            let found = layers.filter(|l| l.p_holm < alpha && (l.difference > 0.0) == more);
            found.map(|l| l.layer).collect()
        };
        let parts: Vec<String> = [(true, "more"), (false, "less")]
            .into_iter()
            .filter(|(more, _)| !differ(*more).is_empty())
            .map(|(more, word)| format!("{word} in {to} at {}", layers(&differ(more))))
            .collect();
        let largest = (measure.layers.iter())
            .max_by(|a, b| a.difference.abs().total_cmp(&b.difference.abs()));
        let largest = largest.map_or(String::new(), |l| {
            let interval = l.interval.map_or(String::new(), |i| {
                format!(" [{}, {}]", number(i.lower), number(i.upper))
            });
            format!(
                "; largest difference {}{interval} at {}",
                number(l.difference),
                layers(&[l.layer])
            )
        });
        let over = format!(
            "{}, {}",
            plural(measure.pairs, "pair"),
            measure.over.pairs()
        );
        said.push(match parts.is_empty() {
            true => format!("{place} ({over}): no layer is shown to differ{largest}."),
            false => format!(
                "{place} ({over}): a patch restores {}{largest}.",
                parts.join(" and ")
            ),
        });
    }
    let told = found.parts.iter().filter(|p| found.is_told(&p.measure));
    said.extend(told.map(|p| p.sentence(to)));
    said
}

impl RunComparison {
    /// Whether a measure is told of in sentences: conclusions are drawn from it, or from none.
    pub fn is_told(&self, measure: &Measure) -> bool {
        let all = || {
            let parts = self.parts.iter().map(|p| &p.measure);
            self.measures.iter().map(|m| &m.measure).chain(parts)
        };
        measure.concludes_among(all()) || !all().any(|m| m.concludes_among(all()))
    }
}
