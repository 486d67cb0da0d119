//! What moved with edits, as the page's script reads it: facts by kind and relation, values to three decimals.

use engram_findings::Findings;
use engram_findings::editing::{EditFindings, SideEffects};
use engram_findings::words::layer_set;
use indexmap::IndexSet;
use serde_json::{Value, json};

use super::edits::key;
use super::{ends, short, with};
use crate::editing::ALL_FACTS;

/// One matrix for each edits whose side effects were measured.
pub(super) fn side_effects(findings: &Findings) -> Vec<Value> {
    let row = |of: &EditFindings| Some(matrix(of, of.side_effects.as_ref()?));
    findings.editing.iter().filter_map(row).collect()
}

fn matrix(of: &EditFindings, effects: &SideEffects) -> Value {
    let columns = in_order(of, effects);
    let place = |fact: &String| columns.iter().position(|&c| effects.facts[c] == *fact);
    let mut rows: Vec<usize> = (0..effects.edits.len()).collect();
    rows.sort_by_key(|&row| place(&effects.edits[row]).unwrap_or(usize::MAX));
    let facts = columns
        .iter()
        .map(|&c| json!([effects.facts[c], effects.kinds[c], effects.relations[c]]));
    let change = |row: usize| -> Vec<Option<f64>> {
        columns.iter().map(|&c| effects.change[row][c]).collect()
    };
    let lost = effects.lost.iter().filter_map(|[edit, fact]| {
        let row = rows.iter().position(|r| r == edit)?;
        Some([row, columns.iter().position(|c| c == fact)?])
    });
    let more = json!({
        "layers": layer_set(&effects.layers),
        "facts": facts.collect::<Vec<_>>(),
        "edits": rows.iter().map(|&row| &effects.edits[row]).collect::<Vec<_>>(),
        "change": rows.iter().map(|&row| change(row)).collect::<Vec<_>>(),
        "lost": lost.collect::<Vec<_>>(),
        "shares": shares(of, effects),
    });
    with(key(of), more)
}

/// Facts in the order of the matrix: by kind, then by relation, each as first met.
fn in_order(of: &EditFindings, effects: &SideEffects) -> Vec<usize> {
    let relations: IndexSet<&Option<String>> = effects.relations.iter().collect();
    let kind = |fact: usize| {
        let kind = effects.kinds[fact].as_ref();
        of.kinds.iter().position(|k| Some(k) == kind)
    };
    let mut facts: Vec<usize> = (0..effects.facts.len()).collect();
    facts.sort_by_key(|&fact| {
        let relation = relations.get_index_of(&effects.relations[fact]);
        (kind(fact).unwrap_or(usize::MAX), relation)
    });
    facts
}

/// The shares lost: after edits of each kind, and by what a fact has in common with the edited one.
fn shares(of: &EditFindings, effects: &SideEffects) -> Vec<Value> {
    let mut shares = Vec::new();
    for scores in of.scores.iter().filter(|s| s.layers == effects.layers) {
        let Some(lost) = scores.lost else { continue };
        let row = json!({
            "group": "Lost after edits of", "name": scores.kind.as_deref().unwrap_or(ALL_FACTS),
            "share": short(lost.value), "of": scores.edits,
        });
        shares.push(with(row, ends(lost.interval)));
    }
    shares.extend(effects.spread.iter().map(|spread| {
        json!({
            "group": "Lost among facts of the", "name": spread.closeness, "share": short(spread.lost),
            "of": spread.cells, "change": short(spread.change),
        })
    }));
    shares
}
