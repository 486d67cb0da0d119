//! Everything that a study shows, as one value: what `stats.json` holds.

use std::collections::BTreeMap;

use engram_core::{Corruption, Metric, Pair, Row};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::compare::{Comparison, compare};
use crate::conclude::{conclusions, headline};
use crate::context::Context;
use crate::editing::{EditFindings, editing};
use crate::error::{FindingsError, Result};
use crate::gate::{Gate, States, gate};
use crate::kinds::{KindTests, conclude, kind_tests};
use crate::layers::{LayerTests, layer_tests};
use crate::localise::{LocalisationSummary, localise};
use crate::measure::{Measure, Scope};
use crate::parts::{PartCell, PartGrid, part_grids};
use crate::positions::{Example, PositionMap, examples, position_maps};
use crate::profile::{LayerProfile, profiles};
use crate::published::{Protocol, PublishedFinding, beside, edits, protocol};
use crate::replicates::{Replicates, replicates};
use crate::robustness::{Robustness, robustness};
use crate::sheet::gather;
use crate::study::{Condition, Settings, StudyResults};

/// Everything that a study shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// How it was tested.
    pub settings: Settings,
    /// The suite, counted: one entry a kind.
    pub suite: Vec<KindCount>,
    /// The shortest summary, a sentence a model: whether the kinds are told apart; of one kind, whether layers are.
    pub headline: Vec<String>,
    /// Each model, in the order of the study.
    pub conditions: Vec<ConditionFindings>,
    /// Each model against the base model, then the others against each other.
    pub comparisons: Vec<Comparison>,
    /// Trainings under several seeds.
    #[serde(default)]
    pub replicates: Vec<Replicates>,
    /// Each model's edits, in the order of the study.
    #[serde(default)]
    pub editing: Vec<EditFindings>,
}

impl Findings {
    /// The question that [`Findings::headline`] answers; `None` where the suite has no pair.
    pub fn question(&self) -> Option<&'static str> {
        match self.suite.as_slice() {
            [] => None,
            [_] => Some("Do layers differ in what they restore?"),
            _ => Some("Is one kind of knowledge kept in fewer layers than another?"),
        }
    }

    /// Whether kinds can be compared: the suite has two or more.
    pub fn has_kinds(&self) -> bool {
        self.suite.len() > 1
    }

    /// The findings of a model by its name.
    pub fn condition(&self, name: &str) -> Option<&ConditionFindings> {
        self.conditions.iter().find(|c| c.name == name)
    }
}

/// What a suite holds of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindCount {
    /// The kind.
    pub kind: String,
    /// Pairs.
    pub pairs: usize,
    /// Clusters of pairs that share facts.
    pub clusters: usize,
    /// Relations.
    pub relations: usize,
}

/// What one model shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConditionFindings {
    /// The model's name in the study.
    pub name: String,
    /// Whether the study trained it on texts that hold the pairs in their own wording.
    #[serde(default)]
    pub taught: bool,
    /// What it knows.
    pub gate: Gate,
    /// What follows, in plain sentences, in the order in which they are read.
    pub conclusions: Vec<String>,
    /// Recovery by layer.
    pub profiles: Vec<LayerProfile>,
    /// Do layers differ?
    pub layer_tests: Vec<LayerTests>,
    /// Do kinds differ?
    pub kind_tests: Vec<KindTests>,
    /// How localised are contributions?
    pub localisation: Vec<LocalisationSummary>,
    /// What of the tests between kinds survives.
    #[serde(default)]
    pub robustness: Vec<Robustness>,
    /// Recovery by layer and role of the position.
    pub positions: Vec<PositionMap>,
    /// Single heads and neurons.
    #[serde(default)]
    pub parts: Vec<PartGrid>,
    /// Metrics that pairs are left out of for a gap that is too small in that metric.
    #[serde(default)]
    pub metrics_left_out: Vec<MetricLeftOut>,
    /// Single pairs by layer and token.
    pub examples: Vec<Example>,
    /// The published protocol, where it was run.
    #[serde(rename = "paper")]
    pub protocol: Option<Protocol>,
    /// The published figures beside this model's; empty in a study that does not ask for them.
    #[serde(default, alias = "seed")]
    pub published: Vec<PublishedFinding>,
    /// Rows not read: single entries of attention patterns.
    pub unread_rows: usize,
}

impl ConditionFindings {
    /// Whether conclusions are drawn from a measure: [`Measure::concludes_among`] all that were swept.
    pub fn concludes_from(&self, measure: &Measure) -> bool {
        measure.concludes_among(self.profiles.iter().map(|p| &p.measure))
    }

    /// Everything that was measured, in the order of reports.
    fn measures(&self) -> Vec<&Measure> {
        let profiles = self.profiles.iter().map(|p| &p.measure);
        let positions = self.positions.iter().map(|p| &p.measure);
        let parts = self.parts.iter().map(|p| &p.measure);
        let mut all: Vec<&Measure> = profiles.chain(positions).chain(parts).collect();
        all.sort_by_cached_key(|m| m.order());
        all
    }

    /// Whether a measure is one that the terminal and the figures for a paper show: the logit difference under denoise;
    /// where nothing was swept so, the metric and direction that come first.
    pub fn is_main(&self, measure: &Measure) -> bool {
        match self.measures().first() {
            Some(first) => same_reading(first, measure),
            None => false,
        }
    }

    /// The metrics and directions that are measured and not shown there, in words.
    pub fn beside_main(&self) -> Vec<String> {
        let all = self.measures();
        let mut others: Vec<String> = Vec::new();
        for measure in all.iter().filter(|m| !self.is_main(m)) {
            let words = format!("{} under {}", measure.metric, measure.direction);
            if !others.contains(&words) {
                others.push(words);
            }
        }
        others
    }

    /// The heads or neurons of the measures that [`Self::is_main`] names, all pairs together and all roles of the
    /// position: those of the largest mean first, trivial ones left out. One entry for each site and kind of part.
    pub fn top_parts(&self, most: usize) -> Vec<Vec<(&PartGrid, &PartCell)>> {
        let mut sites: Vec<Vec<(&PartGrid, &PartCell)>> = Vec::new();
        let main = |g: &&PartGrid| g.kind.is_none() && self.is_main(&g.measure);
        for grid in self.parts.iter().filter(main) {
            let cells = grid.cells.iter().filter(|c| !c.trivial);
            let cells = cells.map(|cell| (grid, cell));
            let same = |of: &&mut Vec<(&PartGrid, &PartCell)>| {
                let first = of.first().map(|(g, _)| (g.measure.at(Scope::All), g.part));
                first == Some((grid.measure.at(Scope::All), grid.part))
            };
            match sites.iter_mut().find(same) {
                Some(of_site) => of_site.extend(cells),
                None => sites.push(cells.collect()),
            }
        }
        for of_site in &mut sites {
            of_site.sort_by(|a, b| b.1.mean.total_cmp(&a.1.mean));
            of_site.truncate(most);
        }
        sites.retain(|of_site| !of_site.is_empty());
        sites
    }
}

fn same_reading(a: &Measure, b: &Measure) -> bool {
    (a.metric, a.direction) == (b.metric, b.direction)
}

/// Pairs that a metric leaves out: their gap is large enough in the logit difference, and not in this metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricLeftOut {
    /// The metric.
    pub metric: Metric,
    /// What the corrupted run is.
    pub corruption: Corruption,
    /// Eligible pairs that were measured with it.
    pub pairs: usize,
    /// Of these, the ids of those without a recovery.
    pub left_out: Vec<String>,
}

fn metrics_left_out(context: &Context<'_>, states: &States, rows: &[Row]) -> Vec<MetricLeftOut> {
    let mut found: IndexMap<(Metric, Corruption), BTreeMap<usize, bool>> = IndexMap::new();
    for row in rows {
        let pair = context.find(&row.pair);
        let Some(pair) = pair.filter(|p| states.get(p).is_some_and(|s| s.eligible)) else {
            continue;
        };
        let of_metric = found.entry((row.metric, row.corruption)).or_default();
        *of_metric.entry(pair).or_default() |= row.recovery.is_some();
    }
    let all = found.into_iter().map(|((metric, corruption), pairs)| {
        let without = pairs.iter().filter(|(_, has)| !**has);
        MetricLeftOut {
            metric,
            corruption,
            left_out: (without.map(|(pair, _)| context.pairs[*pair].id.clone())).collect(),
            pairs: pairs.len(),
        }
    });
    all.filter(|m| !m.left_out.is_empty()).collect()
}

/// Refuses rows of one condition that [`findings`] would refuse, before their values are computed: two for one cell, a
/// pair that the suite does not have.
///
/// # Errors
/// As [`findings`].
pub fn check_rows(suite: &[Pair], settings: Settings, condition: &str, rows: &[Row]) -> Result<()> {
    let context = Context::new(suite, settings)?;
    gather(&context, condition, rows).map(drop)
}

/// Draws findings from a study. Pure: the same study gives the same findings, to the bit.
///
/// # Errors
/// A value that is not finite, with its pair and site; a row of a pair that the suite does not have;
/// two rows for one cell; a pair whose logit difference was not measured; a name given twice; settings
/// outside their range.
pub fn findings(study: &StudyResults<'_>) -> Result<Findings> {
    let context = Context::new(study.suite, study.settings)?.with_confounds(study.confounds);
    let published = study
        .published
        .map(|pairs| Context::new(pairs, study.settings));
    let published = published.transpose()?;
    let mut conditions = Vec::new();
    let mut states: Vec<(&str, States)> = Vec::new();
    for condition in study.conditions {
        if states.iter().any(|(name, _)| *name == condition.name) {
            return Err(FindingsError::DuplicateCondition {
                condition: condition.name.clone(),
            });
        }
        let (found, known) = of_condition(&context, published.as_ref(), condition)?;
        conditions.push(found);
        states.push((&condition.name, known));
    }
    // The base model first, so that every comparison that it is in starts from it.
    states.sort_by_key(|(name, _)| *name != "base");
    let mut comparisons = Vec::new();
    for (i, (from, of_from)) in states.iter().enumerate() {
        for (to, of_to) in &states[i + 1..] {
            comparisons.extend(compare(&context, (from, of_from), (to, of_to))?);
        }
    }
    let mut findings = Findings {
        settings: study.settings,
        suite: counts(&context),
        headline: (conditions.iter())
            .filter_map(|c| headline(c, &context.kinds, study.settings.alpha()))
            .collect(),
        replicates: replicates(study.conditions, &conditions)?,
        conditions,
        comparisons,
        editing: editing(study)?,
    };
    for condition in &mut findings.conditions {
        if !condition.published.is_empty() {
            let of_edits = edits(&condition.name, &findings.editing);
            condition.published.extend(of_edits);
        }
    }
    let all: Vec<Vec<String>> = findings
        .conditions
        .iter()
        .map(|c| conclusions(&findings, c))
        .collect();
    for (condition, sentences) in findings.conditions.iter_mut().zip(all) {
        condition.conclusions = sentences;
    }
    Ok(findings)
}

fn counts(context: &Context<'_>) -> Vec<KindCount> {
    let of = |kind: &str| {
        let pairs = context.pairs.iter().zip(&context.clusters);
        let pairs: Vec<_> = pairs.filter(|(p, _)| p.kind == kind).collect();
        let mut clusters: Vec<usize> = pairs.iter().map(|(_, c)| **c).collect();
        let mut relations: Vec<_> = pairs
            .iter()
            .filter_map(|(p, _)| p.relation.as_ref())
            .collect();
        clusters.sort_unstable();
        clusters.dedup();
        relations.sort_unstable();
        relations.dedup();
        KindCount {
            kind: kind.to_owned(),
            pairs: pairs.len(),
            clusters: clusters.len(),
            relations: relations.len(),
        }
    };
    context.kinds.iter().map(|kind| of(kind)).collect()
}

fn of_condition(
    context: &Context<'_>,
    published: Option<&Context<'_>>,
    condition: &Condition,
) -> Result<(ConditionFindings, States)> {
    let name = condition.name.as_str();
    let (gate, states) = gate(context, name, &condition.rows, &condition.preferences)?;
    let sheets = gather(context, name, &condition.rows)?;
    let mut found = ConditionFindings {
        name: name.to_owned(),
        taught: condition.taught,
        gate,
        conclusions: Vec::new(),
        profiles: Vec::new(),
        layer_tests: Vec::new(),
        kind_tests: Vec::new(),
        localisation: Vec::new(),
        robustness: Vec::new(),
        positions: Vec::new(),
        parts: Vec::new(),
        metrics_left_out: metrics_left_out(context, &states, &condition.rows),
        examples: Vec::new(),
        protocol: match published {
            Some(context) => protocol(context, name, &condition.published)?,
            None => None,
        },
        published: Vec::new(),
        unread_rows: sheets.unread,
    };
    for sheet in &sheets.whole {
        let gate = &found.gate;
        found
            .profiles
            .extend(profiles(context, gate, &states, sheet)?);
        if !sheet.measure.is_tested() || sheet.layers.keys().all(Option::is_none) {
            continue;
        }
        let named = context.kinds.iter().map(|k| Some(k.as_str()));
        for kind in std::iter::once(None).chain(named) {
            let tests = layer_tests(context, gate, &states, sheet, kind)?;
            if kind.is_none() || tests.pairs > 0 {
                found.layer_tests.push(tests);
            }
        }
        let mut localised = Vec::new();
        if sheet.measure.adds_up() {
            for kind in &context.kinds {
                localised.extend(localise(context, gate, &states, sheet, kind)?);
            }
        }
        for (i, first) in context.kinds.iter().enumerate() {
            for second in &context.kinds[i + 1..] {
                let tests = kind_tests(context, gate, &states, sheet, [first, second], &localised)?;
                found.kind_tests.push(tests);
            }
        }
        found.localisation.extend(localised);
    }
    conclude(context, &found.gate, &mut found.kind_tests)?;
    if found.gate.passed {
        found.robustness = robustness(context, &found)?;
    }
    for sheet in &sheets.by_position {
        let gate = &found.gate;
        found
            .positions
            .extend(position_maps(context, gate, &states, sheet)?);
        if sheet.measure.is_tested() {
            found
                .examples
                .extend(examples(context, gate, &states, sheet));
        }
    }
    found.parts = part_grids(context, &found.gate, &states, &sheets.parts)?;
    if published.is_some() {
        found.published = beside(context, &found, &states)?;
    }
    Ok((found, states))
}
