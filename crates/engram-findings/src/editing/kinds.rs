//! Do edits of one kind hold better? Kind is a property of the relation, so relations are what is permuted.

use std::collections::BTreeMap;

use engram_core::EditRow;
use engram_stats::{
    Interval, MIN_RELATIONS_PER_KIND, PermutationTest, bootstrap_two_stage_difference, holm, mean,
    permute_kinds,
};
use serde::{Deserialize, Serialize};

use crate::editing::scores::PARTS;
use crate::editing::sheet::Sheet;
use crate::error::{Result, if_enough};
use crate::layers::stats;
use crate::words::{layer_sets, number, p_value};

/// One kind against another by one score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EditKindTests {
    /// `efficacy`, `paraphrase` or `neighbourhood` (their magnitudes after the edit), or `S` of a fact.
    pub score: String,
    /// The kind whose values are taken first in each difference.
    pub first: String,
    /// The kind that is subtracted.
    pub second: String,
    /// Relations of the first kind.
    pub relations_first: usize,
    /// Relations of the second kind.
    pub relations_second: usize,
    /// The difference at each set of layers; empty where there are too few relations.
    pub layers: Vec<EditKindLayer>,
    /// The answer in words; says why where there is none.
    pub verdict: String,
}

/// One set of layers: mean of the first kind less that of the second, means over relations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EditKindLayer {
    /// The layers.
    pub layers: Vec<usize>,
    /// Mean over the relations of the first kind.
    pub mean_first: f64,
    /// Mean over the relations of the second kind.
    pub mean_second: f64,
    /// The difference, and its permutation p.
    pub test: PermutationTest,
    /// Bootstrap interval of the difference, relations first and facts within them.
    pub interval: Option<Interval>,
    /// Adjusted over sets of layers: no false call at all.
    pub p_holm: f64,
}

/// Values by relation.
type ByRelation<'a> = BTreeMap<&'a str, Vec<f64>>;

/// Every two kinds by every score.
pub(crate) fn kind_tests(sheet: &Sheet<'_>) -> Result<Vec<EditKindTests>> {
    let mut all = Vec::new();
    for (i, first) in sheet.kinds.iter().enumerate() {
        for second in &sheet.kinds[i + 1..] {
            for (name, of) in PARTS {
                let value = |row: &EditRow| of(&row.after).map(|won| won.magnitude);
                all.extend(tests(sheet, name, &value, [first, second])?);
            }
            let s = |row: &EditRow| Some(row.after.harmonic());
            all.extend(tests(sheet, "S", &s, [first, second])?);
        }
    }
    Ok(all)
}

/// The tests of one score; `None` where no fact has it.
fn tests(
    sheet: &Sheet<'_>,
    score: &str,
    value: &dyn Fn(&EditRow) -> Option<f64>,
    kinds: [&str; 2],
) -> Result<Option<EditKindTests>> {
    let side = |layers: &[usize], kind: &str| {
        let mut found = ByRelation::new();
        for row in sheet.of(layers, Some(kind)) {
            if let (Some(relation), Some(value)) = (&row.relation, value(row)) {
                found.entry(relation).or_default().push(value);
            }
        }
        found
    };
    let sides: Vec<(&[usize], [ByRelation<'_>; 2])> = (sheet.rows.keys())
        .map(|layers| (*layers, kinds.map(|kind| side(layers, kind))))
        .collect();
    // As many as every set of layers has.
    let least = |i: usize| {
        let counts = sides.iter().map(|(_, s)| s[i].len());
        counts.min().unwrap_or(0)
    };
    let counts = [least(0), least(1)];
    if counts == [0, 0] {
        return Ok(None);
    }
    let mut found = EditKindTests {
        score: score.to_owned(),
        first: kinds[0].to_owned(),
        second: kinds[1].to_owned(),
        relations_first: counts[0],
        relations_second: counts[1],
        layers: Vec::new(),
        verdict: String::new(),
    };
    if counts[0].min(counts[1]) >= MIN_RELATIONS_PER_KIND {
        for (layers, sides) in &sides {
            found.layers.push(test(sheet, layers, sides)?);
        }
        let p: Vec<f64> = found.layers.iter().map(|l| l.test.p_value).collect();
        let adjusted = holm(&p).map_err(|e| stats(sheet.what.clone(), e))?;
        (found.layers.iter_mut().zip(adjusted)).for_each(|(l, p)| l.p_holm = p);
    }
    found.verdict = verdict(&found, sheet.settings.alpha());
    Ok(Some(found))
}

fn test(sheet: &Sheet<'_>, layers: &[usize], sides: &[ByRelation<'_>; 2]) -> Result<EditKindLayer> {
    let failed = |e| stats(sheet.what.clone(), e);
    let settings = &sheet.settings;
    let mut means = Vec::new();
    for side in sides {
        let of_relations = side.values().map(|values| mean(values));
        means.push(
            of_relations
                .collect::<std::result::Result<Vec<f64>, _>>()
                .map_err(failed)?,
        );
    }
    let test = permute_kinds(&means[0], &means[1], settings.permutations, settings.seed)
        .map_err(failed)?;
    let values = [&sides[0], &sides[1]].map(|s| s.values().cloned().collect::<Vec<_>>());
    let interval = bootstrap_two_stage_difference(
        &values[0],
        &values[1],
        settings.resamples,
        settings.level,
        settings.seed,
    );
    Ok(EditKindLayer {
        layers: layers.to_vec(),
        mean_first: mean(&means[0]).map_err(failed)?,
        mean_second: mean(&means[1]).map_err(failed)?,
        test,
        interval: if_enough(interval, || sheet.what.clone())?.ok(),
        p_holm: 1.0,
    })
}

/// A difference counts where both the test and the interval show it.
fn verdict(tests: &EditKindTests, alpha: f64) -> String {
    let (first, second) = (&tests.first, &tests.second);
    let score = match tests.score.as_str() {
        "S" => "S",
        "neighbourhood" => "what is kept of neighbours",
        score => score,
    };
    if tests.layers.is_empty() {
        return format!(
            "No verdict between kinds: {} {first} and {} {second} relations have edits, and fewer than {MIN_RELATIONS_PER_KIND} of a kind cannot tell kinds apart.",
            tests.relations_first, tests.relations_second
        );
    }
    let shown = |l: &&EditKindLayer| {
        let apart = l.interval.is_some_and(|i| i.lower > 0.0 || i.upper < 0.0);
        l.p_holm < alpha && apart
    };
    let size = |a: &&EditKindLayer, b: &&EditKindLayer| {
        let size = |l: &EditKindLayer| l.test.statistic.abs();
        size(a).total_cmp(&size(b))
    };
    let side = |above: bool, more: &str, less: &str| {
        let layers = tests.layers.iter().filter(shown);
        let layers: Vec<&EditKindLayer> = layers
            .filter(|l| (l.test.statistic > 0.0) == above)
            .collect();
        let most = layers.iter().copied().max_by(size)?;
        let sets: Vec<Vec<usize>> = layers.iter().map(|l| l.layers.clone()).collect();
        Some(format!(
            "After edits of {more} facts {score} is greater than after those of {less} facts at {} (at {} {}).",
            layer_sets(&sets),
            layer_sets(std::slice::from_ref(&most.layers)),
            figures(most)
        ))
    };
    let both = [side(true, first, second), side(false, second, first)];
    let found: Vec<String> = both.into_iter().flatten().collect();
    if !found.is_empty() {
        return found.join(" ");
    }
    let most = tests.layers.iter().max_by(size);
    format!(
        "No difference in {score} between edits of {first} and {second} facts is shown at any layer{}.",
        most.map_or(String::new(), |l| format!(
            " (the largest, at {}: {})",
            layer_sets(std::slice::from_ref(&l.layers)),
            figures(l)
        ))
    )
}

fn figures(layer: &EditKindLayer) -> String {
    let interval = layer.interval.map_or(String::new(), |i| {
        format!(" [{}, {}]", number(i.lower), number(i.upper))
    });
    format!(
        "{} against {}, difference {}{interval}, {} after Holm",
        number(layer.mean_first),
        number(layer.mean_second),
        number(layer.test.statistic),
        p_value(layer.p_holm)
    )
}
