//! Recovery by layer and position: one map for each kind, and whole examples with their tokens.

use std::collections::BTreeMap;

use engram_core::{Pair, Prompt};
use engram_stats::Interval;
use serde::{Deserialize, Serialize};

use crate::context::{Context, means_by};
use crate::error::Result;
use crate::gate::{Gate, States};
use crate::layout::PositionClass;
use crate::measure::Measure;
use crate::profile::{Over, Selection, mean_and_interval};
use crate::sheet::PositionSheet;

/// Examples shown of each kind.
const EXAMPLES: usize = 4;

/// Mean recovery by layer and role of the position, for one kind. A pair with several positions of a
/// role counts once, with their mean.
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
    /// Pairs with such a position.
    pub n: usize,
    /// Mean over them.
    pub mean: f64,
    /// Bootstrap interval of the mean, clusters resampled; `None` with fewer than two clusters.
    #[serde(default)]
    pub interval: Option<Interval>,
    /// Whether every row here is trivial.
    pub trivial: bool,
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
    /// Whether the model knows the pair.
    pub knows: bool,
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
        let mut places: BTreeMap<_, (Vec<(usize, f64)>, bool)> = BTreeMap::new();
        for (&pair, cells) in sheet.cells.iter().filter(|(p, _)| selection.holds(**p)) {
            let classes = &sheet.layouts[&pair].classes;
            let own = means_by(cells.iter().filter_map(|(&(layer, position), cell)| {
                Some(((layer, classes[&position]), cell.recovery()?))
            }));
            for (place, value) in own {
                let entry = places.entry(place).or_insert_with(|| (Vec::new(), true));
                entry.0.push((pair, value));
            }
            for ((layer, position), cell) in cells {
                if let Some(entry) = places.get_mut(&(*layer, classes[position])) {
                    entry.1 &= cell.trivial;
                }
            }
        }
        let mut cells = Vec::new();
        for ((layer, class), (values, trivial)) in places {
            let (mean, interval) = mean_and_interval(context, values.iter().copied())?;
            cells.extend(mean.map(|mean| PositionCell {
                layer,
                class,
                n: values.len(),
                mean,
                interval,
                trivial,
            }));
        }
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
            let knows = states.get(&pair).is_some_and(|s| s.knows);
            examples.push(example(&context.pairs[pair], pair, gap, knows, sheet));
        }
    }
    examples
}

fn example(pair: &Pair, index: usize, gap: f64, knows: bool, sheet: &PositionSheet) -> Example {
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
        knows,
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
