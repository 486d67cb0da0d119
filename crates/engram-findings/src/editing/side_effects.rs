//! What else moved: every other fact after each edit.

use std::collections::BTreeMap;

use engram_core::edit::TOGETHER;
use engram_core::{EditRow, FactChange};
use indexmap::{IndexMap, IndexSet};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::editing::EditResults;
use crate::words::{layer_sets, list, percent, plural};

/// What moved with the edits of one set of layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SideEffects {
    /// The layers.
    pub layers: Vec<usize>,
    /// The edits, in the order of the suite, or of the edits where it has none of them: a row of the matrix each; one called `all` where they were made at once.
    pub edits: Vec<String>,
    /// The facts looked at, in the same order: a column each.
    pub facts: Vec<String>,
    /// Each fact's kind.
    pub kinds: Vec<Option<String>>,
    /// Each fact's relation.
    pub relations: Vec<Option<String>>,
    /// Change of the mean log-probability of a fact's answer (nats, to three decimals), `[edit][fact]`; `None` for the
    /// edited fact itself.
    pub change: Vec<Vec<Option<f64>>>,
    /// Facts that were known and no longer are: index of the edit, index of the fact.
    pub lost: Vec<[usize; 2]>,
    /// By what the other fact has in common with the edited one; empty for edits made at once.
    pub spread: Vec<Spread>,
}

impl SideEffects {
    /// The shares lost, in words.
    pub(crate) fn sentence(&self) -> String {
        let cells = self.change.iter().flatten().flatten().count();
        let share = self.lost.len() as f64 / cells.max(1) as f64;
        let parts: Vec<String> = (self.spread.iter())
            .map(|s| format!("{} in the {}", percent(s.lost), s.closeness))
            .collect();
        let parts = match parts.is_empty() {
            true => String::new(),
            false => format!(": {}", list(&parts)),
        };
        format!(
            "Edits at {} lose {} of the other facts{parts} ({} looked at).",
            layer_sets(std::slice::from_ref(&self.layers)),
            percent(share),
            plural(self.facts.len(), "fact")
        )
    }
}

/// The other facts of one closeness.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// `same relation`, `same kind` (another relation), `other kind`.
    pub closeness: String,
    /// Edits times other facts.
    pub cells: usize,
    /// Mean change (nats).
    pub change: f64,
    /// Mean size of the change (nats).
    pub size: f64,
    /// The share lost, of those that were looked at.
    pub lost: f64,
}

/// What edits of some layers moved; `None` where that was not measured.
pub(crate) fn side_effects(
    context: &Context<'_>,
    results: &EditResults,
    layers: &[usize],
) -> Option<SideEffects> {
    let moved: Vec<&FactChange> = results
        .moved
        .iter()
        .filter(|m| m.layers == layers)
        .collect();
    if moved.is_empty() {
        return None;
    }
    let rows: IndexMap<&str, &EditRow> = (results.rows.iter())
        .map(|r| (r.request.as_str(), r))
        .collect();
    // Facts that no suite has stand in the order of their edits.
    let place = |name: &str| {
        let in_suite = context.find(name).unwrap_or(usize::MAX);
        (in_suite, rows.get_index_of(name).unwrap_or(usize::MAX))
    };
    let names = |of: fn(&FactChange) -> &str| {
        let mut names: IndexSet<&str> = moved.iter().map(|m| of(m)).collect();
        names.sort_by_cached_key(|name| place(name));
        names
    };
    let (edits, facts) = (names(|m| &m.request), names(|m| &m.fact));
    let mut change = vec![vec![None; facts.len()]; edits.len()];
    let mut lost = Vec::new();
    for one in &moved {
        let (Some(edit), Some(fact)) = (
            edits.get_index_of(one.request.as_str()),
            facts.get_index_of(one.fact.as_str()),
        ) else {
            continue;
        };
        change[edit][fact] = Some((one.change * 1000.0).round() / 1000.0);
        if one.lost {
            lost.push([edit, fact]);
        }
    }
    lost.sort_unstable();
    let of = |fact: &str| -> [Option<&str>; 2] {
        let row = rows
            .get(fact)
            .map(|r| [r.kind.as_deref(), r.relation.as_deref()]);
        row.unwrap_or_else(|| match context.find(fact) {
            Some(i) => {
                let pair = &context.pairs[i];
                [Some(pair.kind.as_str()), pair.relation.as_deref()]
            }
            None => [None, None],
        })
    };
    Some(SideEffects {
        layers: layers.to_vec(),
        kinds: facts.iter().map(|f| of(f)[0].map(str::to_owned)).collect(),
        relations: facts.iter().map(|f| of(f)[1].map(str::to_owned)).collect(),
        change,
        lost,
        spread: spread(&moved, &of),
        edits: edits.into_iter().map(str::to_owned).collect(),
        facts: facts.into_iter().map(str::to_owned).collect(),
    })
}

/// The other facts by closeness, the closest first.
fn spread<'a>(moved: &[&FactChange], of: &dyn Fn(&str) -> [Option<&'a str>; 2]) -> Vec<Spread> {
    const CLOSENESS: [&str; 3] = ["same relation", "same kind", "other kind"];
    let closeness = |m: &FactChange| {
        let [[kind, relation], [other_kind, other_relation]] = [of(&m.request), of(&m.fact)];
        match (relation == other_relation, kind == other_kind) {
            (true, true) => 0,
            (_, true) => 1,
            _ => 2,
        }
    };
    let mut groups: BTreeMap<usize, Vec<&FactChange>> = BTreeMap::new();
    for one in moved.iter().filter(|m| m.request != TOGETHER) {
        groups.entry(closeness(one)).or_default().push(one);
    }
    let of_group = |(place, group): (usize, Vec<&FactChange>)| {
        let n = group.len() as f64;
        let mean = |value: fn(&FactChange) -> f64| group.iter().map(|m| value(m)).sum::<f64>() / n;
        Spread {
            closeness: CLOSENESS[place].to_owned(),
            cells: group.len(),
            change: mean(|m| m.change),
            size: mean(|m| m.change.abs()),
            lost: mean(|m| f64::from(u8::from(m.lost))),
        }
    };
    groups.into_iter().map(of_group).collect()
}
