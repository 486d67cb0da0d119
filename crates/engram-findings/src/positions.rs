//! Recovery by layer and position: one map for each kind, and whole examples with their tokens.

use std::collections::BTreeSet;

use engram_core::{Pair, Prompt};
use engram_stats::Interval;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::Result;
use crate::gate::{Gate, PairGate, States};
use crate::layout::PositionClass;
use crate::measure::Measure;
use crate::profile::{Over, Selection, mean_and_interval};
use crate::sheet::PositionSheet;

/// Examples shown of each kind.
const EXAMPLES: usize = 4;

/// Mean recovery by layer and role of the position, for one kind. A pair with several positions of a
/// role counts once, with their mean; positions and pairs whose recovery the graph fixes are left out where not all are,
/// as in every other figure and test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PositionMap {
    /// What was patched and read; its scope says nothing here.
    #[serde(flatten)]
    pub measure: Measure,
    /// The kind.
    pub kind: String,
    /// Which pairs.
    pub over: Over,
    /// One cell for each layer and role.
    pub cells: Vec<PositionCell>,
}

/// One layer and role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PositionCell {
    /// The layer.
    pub layer: Option<i64>,
    /// The role.
    pub class: PositionClass,
    /// Pairs with such a position, as [`ProfilePoint::n`](crate::profile::ProfilePoint) counts them.
    pub n: usize,
    /// Pairs of the whole map, so that `n < of` says that this cell is over fewer.
    #[serde(default)]
    pub of: usize,
    /// Mean over them.
    pub mean: f64,
    /// Bootstrap interval of the mean, clusters resampled; `None` with fewer than two clusters.
    #[serde(default)]
    pub interval: Option<Interval>,
    /// Whether the graph alone fixes the recovery of every pair here.
    pub trivial: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trivial_why: Option<String>,
}

/// One pair's recovery by layer and position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// What was patched and read; its scope says nothing here.
    #[serde(flatten)]
    pub measure: Measure,
    /// The pair's id.
    pub pair: String,
    /// Its kind.
    pub kind: String,
    /// Clean prompt; token ids where the suite gives no text.
    pub clean: String,
    /// Corrupted prompt.
    pub corrupt: String,
    /// Answer.
    pub answer: String,
    /// Foil.
    pub foil: String,
    /// Clean less corrupt logit difference.
    pub gap: f64,
    /// Whether the model prefers the right one of answer and foil.
    pub prefers: bool,
    /// Whether it says the answer; `None` where that was not asked.
    #[serde(default)]
    pub says: Option<bool>,
    /// Tokens of the prompt written into.
    pub tokens: Vec<ExampleToken>,
    /// Every cell.
    pub cells: Vec<ExampleCell>,
}

/// A token of an example's prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExampleToken {
    /// Its position.
    pub position: i64,
    /// Its text.
    pub text: String,
    /// Its role.
    pub class: PositionClass,
}

/// One layer and position of an example.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExampleCell {
    /// The layer.
    pub layer: Option<i64>,
    /// The position.
    pub position: i64,
    /// The recovery.
    pub recovery: f64,
    /// Whether the graph alone fixes it.
    pub trivial: bool,
}

/// The maps of a sheet, one a kind.
pub(crate) fn position_maps(
    context: &Context<'_>,
    gate: &Gate,
    states: &States,
    sheet: &PositionSheet,
) -> Result<Vec<PositionMap>> {
    let mut maps = Vec::new();
    for kind in &context.kinds {
        let selection = Selection::new(gate, states, Some(kind));
        let mut cells = Vec::new();
        let mut pairs = BTreeSet::new();
        for (&(layer, class), by_pair) in &sheet.roles {
            let values: Vec<(usize, f64)> =
                (selection.cells(by_pair)).map(|(p, _, r)| (p, r)).collect();
            pairs.extend(values.iter().map(|(pair, _)| *pair));
            let (mean, interval) = mean_and_interval(context, values.iter().copied())?;
            cells.extend(mean.map(|mean| {
                PositionCell {
                    layer,
                    class,
                    n: values.len(),
                    of: 0,
                    mean,
                    interval,
                    trivial: selection.is_trivial(by_pair),
                    trivial_why: (selection.is_trivial(by_pair))
                        .then(|| by_pair.values().find_map(|c| c.trivial_why.clone()))
                        .flatten(),
                }
            }));
        }
        cells.iter_mut().for_each(|c| c.of = pairs.len());
        if !cells.is_empty() {
            maps.push(PositionMap {
                measure: sheet.measure.clone(),
                kind: kind.clone(),
                over: selection.over,
                cells,
            });
        }
    }
    Ok(maps)
}

/// The selected pairs of each kind with the largest clean–corrupt gap, no two of a cluster.
pub(crate) fn examples(
    context: &Context<'_>,
    gate: &Gate,
    states: &States,
    sheet: &PositionSheet,
) -> Vec<Example> {
    let mut examples = Vec::new();
    for kind in &context.kinds {
        let selection = Selection::new(gate, states, Some(kind));
        let mut pairs: Vec<(usize, f64)> = sheet
            .cells
            .keys()
            .filter(|p| selection.holds(**p))
            .filter_map(|p| Some((*p, states.get(p)?)))
            .map(|(p, s)| (p, s.logit_diff_clean - s.logit_diff_corrupt))
            .collect();
        pairs.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut clusters = Vec::new();
        pairs.retain(|(pair, _)| {
            let cluster = context.clusters[*pair];
            let new = !clusters.contains(&cluster);
            clusters.push(cluster);
            new
        });
        for (pair, gap) in pairs.into_iter().take(EXAMPLES) {
            if let Some(state) = states.get(&pair) {
                examples.push(example(&context.pairs[pair], pair, gap, state, sheet));
            }
        }
    }
    examples
}

fn example(
    pair: &Pair,
    index: usize,
    gap: f64,
    state: &PairGate,
    sheet: &PositionSheet,
) -> Example {
    let text = |prompt: Prompt<'_>| match prompt {
        Prompt::Text(text) => text.to_owned(),
        Prompt::Ids(ids) => format!("{ids:?}"),
    };
    let classes = &sheet.layouts[&index].classes;
    Example {
        measure: sheet.measure.clone(),
        pair: pair.id.clone(),
        kind: pair.kind.clone(),
        clean: text(pair.clean_prompt()),
        corrupt: text(pair.corrupt_prompt()),
        answer: text(pair.answer_prompt()),
        foil: text(pair.foil_prompt()),
        gap,
        prefers: state.prefers,
        says: state.says,
        tokens: sheet.tokens[&index]
            .iter()
            .map(|(&position, token)| ExampleToken {
                position,
                text: token.clone().unwrap_or_default(),
                class: classes[&position],
            })
            .collect(),
        cells: sheet.cells[&index]
            .iter()
            .filter_map(|(&(layer, position), cell)| {
                Some(ExampleCell {
                    layer,
                    position,
                    recovery: cell.recovery()?,
                    trivial: cell.trivial,
                })
            })
            .collect(),
    }
}
