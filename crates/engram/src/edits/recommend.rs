//! Which layer to edit, where none is named: what a short sweep over the request's own facts recommends.

use std::collections::BTreeSet;

use engram_core::ProbeEffect;
use engram_edit::tokens::continued;
use engram_edit::{Case, EditError, Editor, Method, Probe, Reader};

use super::editable::Editable;
use super::request::Making;
use crate::error::{Error, Result};
use crate::observe::Observer;

/// Facts that are edited at each candidate.
const FACTS: usize = 3;

/// Candidates at most.
const CANDIDATES: usize = 5;

/// Layers that are edited together by methods that take several.
const TOGETHER: usize = 3;

/// A recommended set of layers, and what it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Recommended {
    /// The layers.
    pub layers: Vec<usize>,
    /// The reason, in a sentence.
    pub sentence: String,
}

/// How the edits of one candidate did.
struct Trial {
    layers: Vec<usize>,
    /// The share of prompts, paraphrases among them, after which the edited model says the new answer.
    said: f64,
    /// The mean probability of their new answers.
    probability: f64,
    probe: ProbeEffect,
}

/// The sets of layers that are tried: evenly over the first two thirds of the network, where MLPs write what later
/// layers read (Meng et al. 2022; Geva et al. 2023).
pub fn candidates(layers: usize, method: Method) -> Vec<Vec<usize>> {
    let width = match Editor::is_rank_one(method) {
        true => 1,
        false => TOGETHER.min(layers),
    };
    let last = (2 * layers / 3).min(layers - width);
    let count = CANDIDATES.min(last + 1);
    let mut firsts: Vec<usize> = (0..count)
        .map(|i| (i * last) / (count - 1).max(1))
        .collect();
    firsts.dedup();
    (firsts.into_iter())
        .map(|first| (first..first + width).collect())
        .collect()
}

impl Editable {
    /// Edits the first facts at a few sets of layers, and gives the one at which most of them are said; of equals the one
    /// that changes unrelated prompts least. `how.layers` is not read.
    ///
    /// # Errors
    /// As [`Editable::edit`]; [`Error::Asked`] where the facts can be edited at none.
    pub fn recommend(
        &self,
        cases: &[Case],
        how: &Making<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Recommended> {
        let reader = self.reader();
        let sets = candidates(reader.model().architecture().layers(), how.method);
        let all: BTreeSet<usize> = sets.iter().flatten().copied().collect();
        let all: Vec<usize> = all.into_iter().collect();
        let found = match Editor::needs_covariance(how.method) {
            true => self.covariances(how.settings, how.kept, &all, observer)?,
            false => Vec::new(),
        };
        let mut editor = Editor::new(reader, how.method, how.settings.clone(), found)?;
        editor.preserve(self.keys());
        let cases = &cases[..cases.len().min(FACTS)];
        let probe = Probe::of(reader)?;
        observer.begins("layers, tried", sets.len() as u64);
        let mut trials: Vec<Trial> = Vec::new();
        let mut refused = None;
        for (done, layers) in sets.iter().enumerate() {
            match trial(&editor, cases, layers, &probe) {
                Ok(trial) => trials.push(trial),
                Err(Error::Edit(error)) if error.is_of_request() => refused = Some(error),
                Err(error) => return Err(error),
            }
            observer.at(done as u64 + 1, "");
        }
        observer.ends(&format!("{} sets of layers", sets.len()));
        let better = |a: &&Trial, b: &&Trial| {
            (a.said.total_cmp(&b.said))
                .then(b.probe.kl.total_cmp(&a.probe.kl))
                .then(a.probability.total_cmp(&b.probability))
        };
        let Some(best) = trials.iter().max_by(better) else {
            let none = || Error::asked("--layer", "the facts can be edited at none of those tried");
            return Err(refused.map_or_else(none, Error::Edit));
        };
        let tried: Vec<String> = sets.iter().map(|set| named(set)).collect();
        Ok(Recommended {
            layers: best.layers.clone(),
            sentence: format!(
                "layer {}: of layers {}, tried on {} of the request's facts, its edits are said most ({:.0} %) with the least change of unrelated prompts (KL {:.3} nats); --layer names another",
                named(&best.layers),
                tried.join(", "),
                cases.len(),
                100.0 * best.said,
                best.probe.kl
            ),
        })
    }
}

fn named(layers: &[usize]) -> String {
    match layers {
        [first, .., last] => format!("{first}-{last}"),
        [only] => only.to_string(),
        [] => String::new(),
    }
}

fn trial(editor: &Editor<'_>, cases: &[Case], layers: &[usize], probe: &Probe) -> Result<Trial> {
    let groups: Vec<&[Case]> = match editor.is_together() {
        true => vec![cases],
        false => cases.chunks(1).collect(),
    };
    let (mut said, mut probability, mut prompts) = (0usize, 0.0, 0usize);
    let mut sum = ProbeEffect::default();
    for group in &groups {
        let requests: Vec<_> = group.iter().map(|c| c.request.clone()).collect();
        let edited = editor.edit(&requests, layers, &mut |_| {})?;
        let after: Reader = editor.read_edited(edited.changes, layers)?;
        let asked = group.iter().flat_map(|case| {
            let prompts = std::iter::once(&case.request.prompt).chain(&case.paraphrases);
            let tokenizer = after.model().tokenizer();
            prompts.map(|prompt| continued(tokenizer, prompt, &case.request.target_new))
        });
        let asked: Vec<_> = asked.collect::<Result<_, EditError>>()?;
        prompts += asked.len();
        for found in after.likelihoods(&asked)? {
            said += usize::from(found.greedy);
            probability += found.probability();
        }
        let changed = probe.changed(&after)?;
        sum.kl += changed.kl / groups.len() as f64;
        sum.changed += changed.changed / groups.len() as f64;
    }
    Ok(Trial {
        layers: layers.to_vec(),
        said: said as f64 / prompts.max(1) as f64,
        probability: probability / prompts.max(1) as f64,
        probe: sum,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_spread_over_the_first_two_thirds() {
        let one = |layers| -> Vec<usize> {
            let sets = candidates(layers, Method::RRome);
            sets.into_iter().map(|set| set[0]).collect()
        };
        assert_eq!(one(1), [0]);
        assert_eq!(one(2), [0, 1]);
        assert_eq!(one(8), [0, 1, 2, 3, 5]);
        assert_eq!(one(30), [0, 5, 10, 15, 20]);
        let three = candidates(8, Method::Memit);
        assert_eq!(three.first(), Some(&vec![0, 1, 2]));
        assert_eq!(three.last(), Some(&vec![5, 6, 7]));
        assert_eq!(candidates(2, Method::Memit), [vec![0, 1]]);
    }
}
