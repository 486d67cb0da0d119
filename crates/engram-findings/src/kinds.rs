//! Do the kinds differ? Kind is a property of the relation, so relations are what is permuted.

mod verdict;

use std::collections::BTreeMap;

use engram_core::Metric;
use engram_stats::{
    Interval, LayerStatistic, MIN_RELATIONS_PER_KIND, PermutationTest,
    bootstrap_two_stage_difference, cliffs_delta, hedges_g, icc, max_t_kinds, mean, permute_kinds,
    relations_needed, smallest_effect_two_groups,
};
use serde::{Deserialize, Serialize};

use crate::adjusted::{AdjustedDifference, adjusted};
use crate::context::Context;
use crate::error::{Result, if_enough};
use crate::gate::{Gate, States};
use crate::layers::{corrected, matrix, stats};
use crate::localise::LocalisationSummary;
use crate::measure::Measure;
use crate::profile::{Over, Selection};
use crate::sheet::Sheet;

pub(crate) use verdict::conclude;

/// The least number of relations of each kind for a verdict between kinds.
pub const LEAST_RELATIONS: usize = MIN_RELATIONS_PER_KIND;

/// One kind against another on one measure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KindTests {
    /// What was patched and read.
    #[serde(flatten)]
    pub measure: Measure,
    /// The kind whose values are taken first in each difference.
    pub first: String,
    /// The kind that is subtracted.
    pub second: String,
    /// Which pairs.
    pub over: Over,
    /// Relations of the first kind with a pair in the test.
    pub relations_first: usize,
    /// Relations of the second kind.
    pub relations_second: usize,
    /// Difference of recovery in each layer; empty where there are too few relations.
    pub layers: Vec<KindLayerTest>,
    /// Difference of localisation; `None` where it is undefined or there are too few relations.
    pub entropy: Option<EntropyTest>,
    /// The same difference with confounds held; the logit difference only.
    #[serde(default)]
    pub adjusted: Vec<AdjustedDifference>,
    /// What so many relations can show; `None` where nothing is tested.
    #[serde(default)]
    pub power: Option<Power>,
    /// Which of the pairs are in the test, and why not all; `None` where all are.
    #[serde(default)]
    pub which: Option<String>,
    /// What this says about localisation.
    pub outcome: KindOutcome,
    /// The same in words; "no verdict" where it says nothing.
    pub verdict: String,
}

/// What a test between kinds says about localisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindOutcome {
    /// Nothing, for the reason that the verdict gives.
    NoVerdict,
    /// No difference is shown.
    NotShown,
    /// The first kind is more localised.
    First,
    /// The second kind is more localised.
    Second,
}

/// One layer: recovery of the first kind less that of the second, means over relations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KindLayerTest {
    /// The layer.
    pub layer: Option<i64>,
    /// Difference of means, and its permutation p.
    pub test: PermutationTest,
    /// Bootstrap interval of the difference, relations first and pairs within them.
    pub interval: Option<Interval>,
    /// Adjusted over layers: no false call at all.
    pub p_holm: f64,
    /// Adjusted over layers: share of false calls.
    pub p_bh: f64,
    /// Westfall and Young's max-T: no false call at all, through the correlation of layers; kinds permuted over whole
    /// relations.
    #[serde(default)]
    pub p_max_t: Option<f64>,
    /// Cliff's δ between pairs.
    pub cliffs_delta: f64,
}

/// Mean normalised entropy of the first kind less that of the second: below 0, the first kind is
/// more localised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntropyTest {
    /// Mean over the relations of the first kind.
    pub mean_first: f64,
    /// Mean over the relations of the second kind.
    pub mean_second: f64,
    /// The difference, and its permutation p.
    pub test: PermutationTest,
    /// Bootstrap interval of the difference, relations first and pairs within them.
    pub interval: Option<Interval>,
    /// Adjusted over the sites that are tested with the same metric, direction and corruption.
    pub p_holm: f64,
    /// Cliff's δ between pairs.
    pub cliffs_delta: f64,
}

impl KindOutcome {
    /// What a test says: the difference of mean entropies, its p adjusted over sites, and its interval. A difference is
    /// shown where both exclude 0.
    pub(crate) fn of(
        difference: f64,
        p_holm: f64,
        interval: Option<Interval>,
        alpha: f64,
    ) -> KindOutcome {
        let excludes_zero = interval.is_some_and(|i| i.lower > 0.0 || i.upper < 0.0);
        match p_holm < alpha && excludes_zero {
            false => KindOutcome::NotShown,
            true if difference < 0.0 => KindOutcome::First,
            true => KindOutcome::Second,
        }
    }

    /// In words, of two kinds.
    pub fn words(self, first: &str, second: &str) -> String {
        match self {
            KindOutcome::NoVerdict => "no verdict".to_owned(),
            KindOutcome::NotShown => "no difference shown".to_owned(),
            KindOutcome::First => format!("{first} more localised"),
            KindOutcome::Second => format!("{second} more localised"),
        }
    }
}

/// Values of two kinds by relation.
pub(crate) struct Groups<'a> {
    first: BTreeMap<&'a str, Vec<f64>>,
    second: BTreeMap<&'a str, Vec<f64>>,
}

impl<'a> Groups<'a> {
    pub fn new(
        context: &Context<'a>,
        kinds: [&str; 2],
        values: impl Iterator<Item = (usize, f64)> + Clone,
    ) -> Groups<'a> {
        Groups {
            first: context.by_relation(kinds[0], values.clone()),
            second: context.by_relation(kinds[1], values),
        }
    }

    pub fn too_few(&self) -> bool {
        self.first.len().min(self.second.len()) < MIN_RELATIONS_PER_KIND
    }

    fn means(side: &BTreeMap<&str, Vec<f64>>) -> Result<Vec<f64>> {
        side.values()
            .map(|v| mean(v).map_err(|e| stats("mean of a relation".to_owned(), e)))
            .collect()
    }

    /// Permutation test, bootstrap interval of the difference, Cliff's δ.
    pub fn test(&self, context: &Context<'_>) -> Result<(PermutationTest, Option<Interval>, f64)> {
        let settings = &context.settings;
        let what = || "the test between kinds".to_owned();
        let test = permute_kinds(
            &Self::means(&self.first)?,
            &Self::means(&self.second)?,
            settings.permutations,
            settings.seed,
        )
        .map_err(|e| stats(what(), e))?;
        let sides = [&self.first, &self.second].map(|s| s.values().cloned().collect::<Vec<_>>());
        let interval = bootstrap_two_stage_difference(
            &sides[0],
            &sides[1],
            settings.resamples,
            settings.level,
            settings.seed,
        );
        let delta = cliffs_delta(&sides[0].concat(), &sides[1].concat());
        Ok((
            test,
            if_enough(interval, what)?.ok(),
            delta.map_err(|e| stats(what(), e))?,
        ))
    }
}

/// Tests of one sheet between two kinds. `localised` are the sheet's indices, where it has them.
pub(crate) fn kind_tests(
    context: &Context<'_>,
    gate: &Gate,
    states: &States,
    sheet: &Sheet,
    kinds: [&str; 2],
    localised: &[LocalisationSummary],
) -> Result<KindTests> {
    let selection = Selection::new(gate, states, None);
    let matrix = matrix(&selection, sheet);
    let column = |l: usize| {
        let pairs = matrix.pairs.iter().zip(&matrix.rows);
        pairs.map(move |(&pair, row)| (pair, row[l]))
    };
    let counted = Groups::new(context, kinds, matrix.pairs.iter().map(|&pair| (pair, 0.0)));
    let mut tests = KindTests {
        measure: sheet.measure.clone(),
        first: kinds[0].to_owned(),
        second: kinds[1].to_owned(),
        over: selection.over,
        relations_first: counted.first.len(),
        relations_second: counted.second.len(),
        layers: Vec::new(),
        entropy: None,
        adjusted: Vec::new(),
        power: None,
        which: matrix.which(),
        outcome: KindOutcome::NoVerdict,
        verdict: String::new(),
    };
    if matrix.layers.is_empty() || counted.too_few() {
        return Ok(tests);
    }
    // Means of relations, one row a relation, a value a layer.
    let mut rows: [Vec<Vec<f64>>; 2] =
        [&counted.first, &counted.second].map(|side| vec![Vec::new(); side.len()]);
    for (l, &layer) in matrix.layers.iter().enumerate() {
        let groups = Groups::new(context, kinds, column(l));
        for (rows, side) in rows.iter_mut().zip([&groups.first, &groups.second]) {
            let means = Groups::means(side)?;
            rows.iter_mut()
                .zip(means)
                .for_each(|(row, mean)| row.push(mean));
        }
        let (test, interval, cliffs_delta) = groups.test(context)?;
        tests.layers.push(KindLayerTest {
            layer,
            test,
            interval,
            p_holm: 1.0,
            p_bh: 1.0,
            p_max_t: None,
            cliffs_delta,
        });
    }
    let settings = &context.settings;
    let max_t = max_t_kinds(
        &rows[0],
        &rows[1],
        LayerStatistic::T,
        settings.permutations,
        settings.seed,
    );
    if let Ok(max_t) = if_enough(max_t, || "max-T between kinds".to_owned())? {
        for (layer, p) in tests.layers.iter_mut().zip(max_t.adjusted) {
            layer.p_max_t = Some(p);
        }
    }
    let p: Vec<f64> = tests.layers.iter().map(|l| l.test.p_value).collect();
    let (by_holm, by_bh) = corrected(&p, || "the test between kinds".to_owned())?;
    for ((layer, holm), bh) in tests.layers.iter_mut().zip(by_holm).zip(by_bh) {
        (layer.p_holm, layer.p_bh) = (holm, bh);
    }
    let entropies = localised
        .iter()
        .flat_map(|summary| &summary.pairs)
        .filter_map(|p| Some((context.find(&p.pair)?, p.entropy)));
    let groups = Groups::new(context, kinds, entropies.clone());
    if !groups.too_few() {
        if sheet.measure.metric == Metric::LogitDiff {
            tests.adjusted = adjusted(context, states, kinds, entropies)?;
        }
        tests.power = power(context, &groups)?;
        let (test, interval, cliffs_delta) = groups.test(context)?;
        let centre =
            |side| mean(&Groups::means(side)?).map_err(|e| stats("mean entropy".to_owned(), e));
        tests.entropy = Some(EntropyTest {
            mean_first: centre(&groups.first)?,
            mean_second: centre(&groups.second)?,
            test,
            interval,
            p_holm: 1.0,
            cliffs_delta,
        });
    }
    Ok(tests)
}

/// The chance that a test calls an effect which is there.
const POWER: f64 = 0.8;

/// What a test between kinds can show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Power {
    /// The difference as it is found, in standard deviations of relation means (Hedges' g).
    pub effect: f64,
    /// The smallest difference that these relations show with power 0.8, in the same unit.
    pub smallest: f64,
    /// Relations of each kind that would show the difference as it is found, with power 0.8; `None` for none at all.
    pub relations_needed: Option<usize>,
    /// Intraclass correlation of pairs within relations: 0, and pairs are as good as independent.
    pub icc: Option<f64>,
    /// As many independent pairs would say as much.
    pub effective_pairs: Option<f64>,
}

fn power(context: &Context<'_>, groups: &Groups<'_>) -> Result<Option<Power>> {
    let (a, b) = (
        Groups::means(&groups.first)?,
        Groups::means(&groups.second)?,
    );
    let alpha = context.settings.alpha();
    let what = || "power of the test between kinds".to_owned();
    let Ok(effect) = if_enough(hedges_g(&a, &b), what)? else {
        return Ok(None);
    };
    let smallest =
        smallest_effect_two_groups(a.len(), b.len(), alpha, POWER).map_err(|e| stats(what(), e))?;
    let relations: Vec<Vec<f64>> = groups
        .first
        .values()
        .chain(groups.second.values())
        .cloned()
        .collect();
    let within = if_enough(icc(&relations, context.settings.level), what)?.ok();
    Ok(Some(Power {
        effect,
        smallest,
        // An effect of next to nothing takes more relations than there are.
        relations_needed: relations_needed(effect.abs(), alpha, POWER).ok(),
        icc: within.as_ref().map(|w| w.icc),
        effective_pairs: within.map(|w| w.effective_pairs),
    }))
}
