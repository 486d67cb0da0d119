//! What edits do not hold up to: new answers that are not said, optimisations that did not converge, prompts that no edit
//! is about and that change.

use engram_core::EditRow;

use crate::editing::EditFindings;
use crate::words::{layer_set, percent, plural};

/// The share of unrelated prompts that may change before it is a warning.
const MOST_CHANGED: f64 = 0.1;

/// A sentence for each warning, about the set of layers with the greatest S.
pub(crate) fn warnings(found: &EditFindings, rows: &[EditRow]) -> Vec<String> {
    let Some(best) = found.best_of(None) else {
        return Vec::new();
    };
    let rows: Vec<&EditRow> = rows.iter().filter(|r| r.layers == best.layers).collect();
    let at = match best.layers.as_slice() {
        [_] => format!("at layer {}", layer_set(&best.layers)),
        _ => format!("at layers {}", layer_set(&best.layers)),
    };
    let edits = plural(rows.len(), "edit");
    let mut all = Vec::new();
    let said = |row: &EditRow| row.after.efficacy.and_then(|e| e.said);
    let silent: Vec<&&EditRow> = rows.iter().filter(|r| said(r) == Some(0.0)).collect();
    if let Some(first) = silent.first() {
        let wins = silent.iter().filter(|r| {
            let won = r.after.efficacy.map(|e| e.score);
            won == Some(1.0)
        });
        all.push(format!(
            "Warning: {} of {edits} {at} {} not said, {} among them: greedy decoding gives something else, although p(new) > p(true) after {}.",
            silent.len(),
            if silent.len() == 1 { "is" } else { "are" },
            first.request,
            wins.count()
        ));
    }
    let stuck = rows.iter().filter(|r| r.fit.converged == Some(false));
    let stuck: Vec<&&EditRow> = stuck.collect();
    if let Some(first) = stuck.first() {
        all.push(format!(
            "Warning: the optimisation of {} of {edits} {at} did not converge, {} among them.",
            stuck.len(),
            first.request
        ));
    }
    let probe = (found.scores_of(&best.layers, None)).and_then(|s| s.probe);
    if let Some(probe) = probe.filter(|p| p.value > MOST_CHANGED) {
        all.push(format!(
            "Warning: after an edit {at} the model says another token after {} of the prompts that no edit is about.",
            percent(probe.value)
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use engram_core::Method;

    use super::*;
    use crate::editing::{EditResults, editing};
    use crate::study::StudyResults;

    fn said_of(results: EditResults) -> Vec<String> {
        let study = StudyResults {
            suite: &[],
            published: None,
            confounds: &[],
            conditions: &[],
            edits: &[results],
            settings: crate::Settings::default(),
        };
        let found = editing(&study).unwrap().remove(0);
        let warned = found.conclusions.into_iter();
        warned.filter(|s| s.starts_with("Warning")).collect()
    }

    fn results() -> EditResults {
        let score = |said| engram_core::Score {
            efficacy: Some(engram_core::WinRate {
                score: 1.0,
                magnitude: 0.1,
                said: Some(said),
                probability: Some(0.5),
            }),
            ..engram_core::Score::default()
        };
        let row = |name: &str, said| EditRow {
            request: name.to_owned(),
            method: Method::Rome,
            layers: vec![1],
            before: score(0.0),
            after: score(said),
            ..EditRow::default()
        };
        EditResults {
            name: "each".to_owned(),
            model: "base".to_owned(),
            rows: vec![row("a", 1.0), row("b", 0.0), row("c", 1.0)],
            facts: 3,
            says: 3,
            ..EditResults::default()
        }
    }

    #[test]
    fn what_does_not_hold_is_said() {
        let mut results = results();
        let warned = said_of(results.clone());
        let expected = "Warning: 1 of 3 edits at layer 1 is not said, b among them: greedy decoding gives something else, although p(new) > p(true) after 1.";
        assert_eq!(warned, [expected]);
        results.rows[1].after.efficacy = results.rows[0].after.efficacy;
        assert!(said_of(results.clone()).is_empty());
        results.rows[2].fit.converged = Some(false);
        let expected =
            "Warning: the optimisation of 1 of 3 edits at layer 1 did not converge, c among them.";
        assert_eq!(said_of(results), [expected]);
    }
}
