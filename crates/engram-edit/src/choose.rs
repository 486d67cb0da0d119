//! Chooses the facts to edit and their neighbours: by default facts whose answer the model says.

use std::collections::{BTreeMap, BTreeSet};

use engram_core::{Neighbour, Suite};
use engram_corpus::CounterFact;

use crate::editor::Scored;
use crate::error::Result;
use crate::reader::Reader;
use crate::request::{Case, of_counterfact, of_suite};
use crate::score::Questions;

/// Number of facts asked at a time.
const BATCH: usize = 256;

/// The source of the facts.
#[derive(Debug, Clone, Copy)]
pub enum Facts<'a> {
    /// The pairs of a suite.
    Suite(&'a Suite),
    /// A file of CounterFact, with its new answers, paraphrases and neighbours.
    CounterFact(&'a [CounterFact]),
}

/// How facts are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChoiceSettings {
    /// Maximum number of facts per kind, spread over its relations: the first fact of each relation, then the second of
    /// each, and so on (0: no limit).
    pub most: usize,
    /// Whether to also edit facts whose answer the model does not say, and to use them as neighbours.
    pub all_facts: bool,
    /// Whether the facts are edited together or one after another: then no neighbour is a fact that is edited too.
    pub together: bool,
}

/// The chosen facts, in the order of their file.
#[derive(Debug, Clone, Default)]
pub struct Chosen {
    /// The cases, with the unedited model's scores.
    pub cases: Vec<Scored>,
    /// Number of neighbours left out because they are edited too.
    pub edited_too: usize,
    /// Number of editable facts.
    pub facts: usize,
    /// How many of these the model says: each token of the answer is the most probable one.
    pub says: usize,
    /// The editable facts, by the ids of their requests.
    pub asked: Vec<String>,
    /// Whether the unedited model prefers the right one of a fact's answer and foil. Empty here; callers that have
    /// pairs fill it in.
    pub prefers: BTreeMap<String, bool>,
    /// Facts that were left out, with the reason.
    pub left_out: Vec<String>,
}

impl Facts<'_> {
    /// A case for each editable fact. The neighbours of a suite's fact are facts whose answer the model says (all facts
    /// if `all_facts`): an edit cannot damage a fact that the model does not know.
    ///
    /// # Errors
    /// [`EditError::Model`](crate::EditError::Model) if the model cannot be run.
    pub fn cases(&self, reader: &Reader, all_facts: bool) -> Result<Vec<Case>> {
        let suite = match self {
            Facts::CounterFact(facts) => return Ok(of_counterfact(facts)),
            Facts::Suite(suite) => suite,
        };
        let said = self.said(reader, all_facts)?;
        let may = |id: &str| said.as_ref().is_none_or(|said| said.contains(id));
        Ok(of_suite(suite, &may))
    }

    /// The ids of a suite's facts whose answer the model says; `None` for CounterFact, and if all facts count.
    fn said(&self, reader: &Reader, all_facts: bool) -> Result<Option<BTreeSet<String>>> {
        let Facts::Suite(suite) = self else {
            return Ok(None);
        };
        if all_facts {
            return Ok(None);
        }
        let every = of_suite(suite, &|_| true);
        let (mut names, mut asked) = (Vec::new(), Vec::new());
        for case in &every {
            match Questions::own(reader.model().tokenizer(), case) {
                Ok(own) => {
                    names.push(case.request.id.as_str());
                    asked.push(own);
                }
                // A fact that cannot be asked counts as unknown; `choose` reports it.
                Err(error) if error.is_of_request() => {}
                Err(error) => return Err(error),
            }
        }
        let found = reader.likelihoods(&asked)?;
        let said = (names.into_iter().zip(found))
            .filter(|(_, l)| l.greedy)
            .map(|(name, _)| name.to_owned());
        Ok(Some(said.collect()))
    }
}

/// Chooses facts; none if the model says no answer.
///
/// # Errors
/// [`EditError::Model`](crate::EditError::Model) if the model cannot be run.
pub fn choose(reader: &Reader, facts: Facts<'_>, how: ChoiceSettings) -> Result<Chosen> {
    let all = facts.cases(reader, how.all_facts)?;
    let most = match how.most {
        0 => usize::MAX,
        most => most,
    };
    let mut of_kind: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    let mut cases: Vec<(usize, Scored)> = Vec::new();
    let mut chosen = Chosen::default();
    for batch in spread(&all).chunks(BATCH) {
        let (mut places, mut asked) = (Vec::new(), Vec::new());
        for &place in batch {
            let case = &all[place];
            let full = of_kind.get(&case.request.kind.as_deref()) >= Some(&most);
            if full {
                continue;
            }
            let checked = case.request.check();
            match checked.and_then(|()| Questions::of(reader.model().tokenizer(), case)) {
                Ok(Some(found)) => {
                    places.push(place);
                    asked.push(found);
                }
                Ok(None) => {}
                Err(error) if error.is_of_request() => {
                    chosen.left_out.push(error.named(&case.request.id));
                }
                Err(error) => return Err(error),
            }
        }
        chosen.facts += asked.len();
        let says = Questions::says(reader, &asked)?;
        for ((place, asked), says) in places.into_iter().zip(asked).zip(says) {
            let case = &all[place];
            let count = of_kind.entry(case.request.kind.as_deref()).or_default();
            chosen.says += usize::from(says);
            chosen.asked.push(case.request.id.clone());
            if (says || how.all_facts) && *count < most {
                *count += 1;
                cases.push((place, Scored::of(reader, case.clone(), asked, says)?));
            }
        }
    }
    cases.sort_by_key(|(place, _)| *place);
    chosen.cases = cases.into_iter().map(|(_, case)| case).collect();
    if how.together {
        keep_apart(reader, facts, how, &mut chosen)?;
    }
    Ok(chosen)
}

/// Takes neighbours from facts that are not edited.
fn keep_apart(
    reader: &Reader,
    facts: Facts<'_>,
    how: ChoiceSettings,
    chosen: &mut Chosen,
) -> Result<()> {
    let cases = chosen.cases.iter().map(|c| &c.case);
    let prompts: BTreeSet<String> = cases.clone().map(|c| c.request.prompt.clone()).collect();
    let before: usize = cases.clone().map(|c| c.neighbours.len()).sum();
    let names: BTreeSet<String> = cases.map(|c| c.request.id.clone()).collect();
    let mut apart: BTreeMap<String, Vec<Neighbour>> = BTreeMap::new();
    if let Facts::Suite(suite) = facts {
        let said = facts.said(reader, how.all_facts)?;
        let may = |id: &str| !names.contains(id) && said.as_ref().is_none_or(|s| s.contains(id));
        for case in of_suite(suite, &may) {
            apart.insert(case.request.id, case.neighbours);
        }
    }
    let mut kept = Vec::with_capacity(chosen.cases.len());
    for case in std::mem::take(&mut chosen.cases) {
        let own = apart.remove(&case.case.request.id);
        let mut neighbours = own.unwrap_or_else(|| case.case.neighbours.clone());
        neighbours.retain(|n| !prompts.contains(&n.prompt));
        kept.push(case.with_neighbours(reader, neighbours)?);
    }
    let after: usize = kept.iter().map(|c| c.case.neighbours.len()).sum();
    chosen.edited_too = before.saturating_sub(after);
    chosen.cases = kept;
    Ok(())
}

/// The order in which facts are considered: the first of every relation, then the second, and so on.
fn spread(all: &[Case]) -> Vec<usize> {
    let mut seen: BTreeMap<(Option<&str>, Option<&str>), usize> = BTreeMap::new();
    let mut ranks = Vec::with_capacity(all.len());
    for case in all {
        let request = &case.request;
        let relation = (request.kind.as_deref(), request.relation.as_deref());
        let count = seen.entry(relation).or_default();
        *count += 1;
        ranks.push(*count);
    }
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_key(|i| ranks[*i]);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::EditRequest;

    #[test]
    fn facts_are_spread_over_relations() {
        let case = |relation: &str| Case {
            request: EditRequest {
                relation: Some(relation.to_owned()),
                ..EditRequest::default()
            },
            ..Case::default()
        };
        let all = ["a", "a", "a", "b", "c", "b"].map(case);
        assert_eq!(spread(&all), [0, 3, 4, 1, 5, 2]);
    }
}
