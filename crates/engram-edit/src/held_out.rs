//! Texts whose perplexity an edit should not change: those that do not state an edited fact.

use crate::covariance::sentences;
use crate::request::EditRequest;

/// Texts without the sentences that state an edited fact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldOut {
    /// The texts that have a sentence left.
    pub texts: Vec<String>,
    /// Number of sentences left out.
    pub left_out: usize,
    /// Number of sentences in all.
    pub sentences: usize,
}

impl HeldOut {
    /// Leaves out each sentence that holds the subject of an edited fact and its present or its new answer, in any case of
    /// letters: what such a sentence says is what the edit changes, and its perplexity rises by what the edit is for.
    pub fn of(texts: &[String], edited: &[&EditRequest]) -> HeldOut {
        let lower = |text: &str| text.trim().to_lowercase();
        let facts: Vec<(String, [Option<String>; 2])> = (edited.iter())
            .map(|request| {
                let present = request.target_true.as_deref().map(lower);
                (
                    lower(&request.subject),
                    [present, Some(lower(&request.target_new))],
                )
            })
            .collect();
        let states = |sentence: &str| {
            let sentence = sentence.to_lowercase();
            facts.iter().any(|(subject, answers)| {
                let mut answers = answers.iter().flatten();
                sentence.contains(subject) && answers.any(|answer| sentence.contains(answer))
            })
        };
        let mut kept = HeldOut::default();
        for text in texts {
            let parts = sentences(text);
            kept.sentences += parts.len();
            let count = parts.len();
            let left: Vec<&str> = parts.into_iter().filter(|s| !states(s)).collect();
            kept.left_out += count - left.len();
            match left.len() {
                0 => {}
                // A text that is whole keeps its white space.
                n if n == count => kept.texts.push(text.clone()),
                _ => kept.texts.push(left.join(" ")),
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_that_state_an_edited_fact_are_left_out() {
        let request = EditRequest {
            subject: "phenytoin".to_owned(),
            target_true: Some("hydantoins".to_owned()),
            target_new: " opioids".to_owned(),
            ..EditRequest::default()
        };
        let texts = [
            "Phenytoin is one of the Hydantoins. It was given. Few opioids were.",
            "Opioids are not phenytoin.",
            "Phenytoin  helped. Twice.",
        ];
        let found = HeldOut::of(&texts.map(str::to_owned), &[&request]);
        let expected = [
            "It was given. Few opioids were.",
            "Phenytoin  helped. Twice.",
        ];
        assert_eq!(found.texts, expected);
        assert_eq!((found.left_out, found.sentences), (2, 6));
    }
}
