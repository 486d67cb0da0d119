//! The published statement on editing, beside this study's edits.

use super::figures::EDITING;
use super::table::PublishedFinding;
use crate::editing::EditFindings;
use crate::words::{layer_sets, percent};

/// The statement beside a model's edits, one line for each method and kind; `None` for a model without edits.
pub(crate) fn edits(model: &str, editing: &[EditFindings]) -> Option<PublishedFinding> {
    let of_model: Vec<&EditFindings> = editing.iter().filter(|e| e.model == model).collect();
    if of_model.is_empty() {
        return None;
    }
    let lines = of_model.iter().flat_map(|found| lines(found)).collect();
    let protocol = vec!["Not run: the published scripts edit nothing.".to_owned()];
    let why = "The publication names neither a method nor a figure. Kinds are compared over relations, at each set of layers; \
        a difference at one layer that the test does not call is none.";
    Some(EDITING.beside(protocol, lines, why))
}

fn lines(found: &EditFindings) -> Vec<String> {
    let method = found.method.name();
    let Some(best) = found.best_of(None) else {
        return vec![format!(
            "{method}: no fact was edited, because the model says none."
        )];
    };
    let of_kind = found.kinds.iter().filter_map(|kind| {
        let scores = found.scores_of(&best.layers, Some(kind))?;
        let efficacy = scores.efficacy?;
        let said = efficacy.said.map_or(String::new(), |said| {
            format!(", said {}", percent(said.after))
        });
        let interval = efficacy.share.interval.map_or(String::new(), |i| {
            format!(" ({} to {})", percent(i.lower), percent(i.upper))
        });
        Some(format!(
            "{method}, {kind}, {}: efficacy {}{interval}{said}, {} edits.",
            layer_sets(std::slice::from_ref(&best.layers)),
            percent(efficacy.share.after),
            scores.edits
        ))
    });
    let tests = found.kind_tests.iter().filter(|t| t.score == "efficacy");
    of_kind.chain(tests.map(|t| t.verdict.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_without_edits_has_no_line() {
        assert_eq!(edits("config-1", &[]), None);
    }
}
