//! Requests: a fact, its new answer, and the prompts that score the edit.

use std::collections::BTreeMap;
use std::ops::Range;

use engram_core::blanks::prompt_of;
use engram_core::subject::locate_at;
use engram_core::{Located, Neighbour, Suite};
use engram_corpus::{CounterFact, ListedEdit};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::error::{EditError, Result};

/// An edit request: the edited model should say `target_new` where the model said `target_true`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditRequest {
    /// Unique name.
    pub id: String,
    /// The prompt, which ends just before the answer.
    pub prompt: String,
    /// The subject, located in the prompt by the rule of [`engram_core::subject`].
    pub subject: String,
    /// The byte of the prompt at which the subject begins, if its text alone is ambiguous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_at: Option<usize>,
    /// The new answer, without the space before it.
    pub target_new: String,
    /// The present answer, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_true: Option<String>,
    /// The fact's kind: any word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The relation of the fact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<String>,
}

/// A request with the prompts that score it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The request.
    pub request: EditRequest,
    /// The same fact in other wordings.
    #[serde(default)]
    pub paraphrases: Vec<String>,
    /// Other facts, which must not change.
    #[serde(default)]
    pub neighbours: Vec<Neighbour>,
}

impl EditRequest {
    /// Locates the subject in the prompt.
    pub fn locate(&self) -> Option<Located> {
        locate_at(&self.prompt, &self.subject, self.subject_at)
    }

    /// The bytes of the subject in the prompt.
    ///
    /// # Errors
    /// [`EditError::Subject`] if it does not occur.
    pub fn place(&self) -> Result<Range<usize>> {
        let found = self.locate().ok_or_else(|| self.no_subject())?;
        Ok(found.bytes)
    }

    pub(crate) fn no_subject(&self) -> EditError {
        EditError::Subject {
            request: self.id.clone(),
            subject: self.subject.clone(),
            prompt: self.prompt.clone(),
        }
    }

    /// Checks what does not depend on the model.
    ///
    /// # Errors
    /// [`EditError::Subject`] if the subject does not occur in the prompt; [`EditError::SameAnswer`] if the new answer
    /// is the present one; [`EditError::Request`] for an empty subject or answer, or a prompt that ends in a space.
    pub fn check(&self) -> Result<()> {
        let wrong = |why: &str| EditError::Request {
            request: self.id.clone(),
            why: why.to_owned(),
        };
        if self.target_new.trim().is_empty() {
            return Err(wrong("the new answer is empty"));
        }
        if self.subject.is_empty() {
            return Err(wrong("the subject is empty"));
        }
        let prompt = prompt_of(&self.prompt);
        if prompt != self.prompt {
            return Err(wrong(&format!(
                "its prompt ends in a blank, which belongs to the answer: write \"{prompt}\""
            )));
        }
        self.place()?;
        let present = self.target_true.as_deref().map(str::trim);
        match present == Some(self.target_new.trim()) {
            true => Err(EditError::SameAnswer {
                request: self.id.clone(),
                answer: self.target_new.trim().to_owned(),
            }),
            false => Ok(()),
        }
    }
}

/// Refuses requests that cannot be edited together: several of one fact. A fact is a prompt and its subject, or a relation
/// and its subject.
///
/// # Errors
/// [`EditError::Repeated`] for the same new answer, [`EditError::Contradiction`] for another, of the first such request.
pub fn check_together(requests: &[EditRequest]) -> Result<()> {
    let mut seen = FactsAsked::default();
    requests.iter().try_for_each(|request| seen.add(request))
}

/// The facts of some requests, to find several of one fact.
#[derive(Debug, Default)]
pub(crate) struct FactsAsked<'a> {
    by_prompt: BTreeMap<(&'a str, &'a str), &'a EditRequest>,
    by_relation: BTreeMap<(&'a str, &'a str), &'a EditRequest>,
}

impl<'a> FactsAsked<'a> {
    /// Adds a request, or refuses it as [`check_together`] does.
    pub(crate) fn add(&mut self, request: &'a EditRequest) -> Result<()> {
        let subject = request.subject.trim();
        let prompt = (request.prompt.trim(), subject);
        let relation = request.relation.as_deref().map(|r| (r, subject));
        let of_relation = relation.and_then(|key| self.by_relation.get(&key));
        if let Some(first) = self.by_prompt.get(&prompt).or(of_relation) {
            let (id, first_id) = (request.id.clone(), first.id.clone());
            let (new, other) = (request.target_new.trim(), first.target_new.trim());
            return Err(match new == other {
                true => EditError::Repeated {
                    request: id,
                    first: first_id,
                },
                false => EditError::Contradiction {
                    request: id,
                    first: first_id,
                    answers: [new.to_owned(), other.to_owned()],
                },
            });
        }
        self.by_prompt.insert(prompt, request);
        if let Some(key) = relation {
            self.by_relation.insert(key, request);
        }
        Ok(())
    }
}

/// Maximum number of neighbours of a case; CounterFact has ten.
pub const NEIGHBOURS: usize = 10;

/// A case for every fact of a suite. Prompt and subject are those of the pair; paraphrases are its held-out wordings.
/// Neighbours are those of the pair (CounterFact), otherwise the facts of the same relation that follow it
/// (cyclically), that `may_be_neighbour` accepts by id and whose answer is not the new one. The new answer is the next
/// different answer of the relation after the fact's own, in the suite's order. Pairs without a text, a subject or
/// another answer in their relation are left out.
///
/// A fact that the model does not know should not be a neighbour: an edit cannot damage it.
pub fn of_suite(suite: &Suite, may_be_neighbour: &dyn Fn(&str) -> bool) -> Vec<Case> {
    let usable = |p: &&engram_core::Pair| {
        let text = p.clean_ids.is_none() && p.answer_ids.is_none();
        text && p.subject.as_ref().is_some_and(|s| s.text().is_some())
    };
    let mut by_relation: IndexMap<&str, Vec<&engram_core::Pair>> = IndexMap::new();
    for pair in suite.pairs.iter().filter(usable) {
        let relation = pair.relation.as_deref().unwrap_or(&pair.kind);
        by_relation.entry(relation).or_default().push(pair);
    }
    let mut cases = Vec::new();
    for (relation, pairs) in &by_relation {
        for (i, pair) in pairs.iter().enumerate() {
            let Some((span, subject)) = pair.subject.as_ref().and_then(|s| Some((s, s.text()?)))
            else {
                continue;
            };
            let subject_at = match pair.locate_subject() {
                Some(found) => found.noted(&pair.clean),
                None => span.at(),
            };
            let others = (1..pairs.len()).map(|step| pairs[(i + step) % pairs.len()]);
            let answer = pair.answer.trim();
            let Some(new) = others
                .clone()
                .map(|p| p.answer.trim())
                .find(|a| *a != answer)
            else {
                continue;
            };
            let neighbour = |p: &&engram_core::Pair| {
                let apart = p.answer.trim() != new && p.subject != pair.subject;
                apart && may_be_neighbour(&p.id)
            };
            let of_relation = others.filter(neighbour).take(NEIGHBOURS);
            let of_relation = of_relation.map(|p| Neighbour {
                prompt: p.clean.clone(),
                answer: p.answer.trim().to_owned(),
            });
            let neighbours = match pair.neighbours.is_empty() {
                true => of_relation.collect(),
                false => pair.neighbours.clone(),
            };
            cases.push(Case {
                request: EditRequest {
                    id: pair.id.clone(),
                    prompt: pair.clean.clone(),
                    subject: subject.to_owned(),
                    subject_at,
                    target_new: new.to_owned(),
                    target_true: Some(answer.to_owned()),
                    kind: Some(pair.kind.clone()),
                    relation: Some((*relation).to_owned()),
                },
                paraphrases: pair.paraphrases.iter().map(|w| w.clean.clone()).collect(),
                neighbours,
            });
        }
    }
    let place = |id: &str| suite.pairs.iter().position(|p| p.id == id);
    cases.sort_by_key(|case| place(&case.request.id));
    cases
}

/// The cases of a list of edits.
pub fn of_list(edits: Vec<ListedEdit>) -> Vec<Case> {
    let case = |edit: ListedEdit| Case {
        request: EditRequest {
            id: edit.id,
            prompt: edit.prompt,
            subject: edit.subject,
            target_new: edit.to.trim().to_owned(),
            target_true: edit.from.map(|from| from.trim().to_owned()),
            ..EditRequest::default()
        },
        paraphrases: edit.paraphrases,
        neighbours: edit.neighbours,
    };
    edits.into_iter().map(case).collect()
}

/// The cases of a file of CounterFact.
pub fn of_counterfact(facts: &[CounterFact]) -> Vec<Case> {
    let case = |fact: &CounterFact| Case {
        request: EditRequest {
            id: format!("counterfact/{}", fact.case),
            prompt: fact.prompt.clone(),
            subject: fact.subject.clone(),
            subject_at: fact.subject_at,
            target_new: fact.new_answer.trim().to_owned(),
            target_true: Some(fact.answer.trim().to_owned()),
            kind: Some(CounterFact::KIND.to_owned()),
            relation: Some(fact.template()),
        },
        paraphrases: fact.rephrased.clone(),
        neighbours: (fact.neighbours.iter())
            .map(|(prompt, answer)| Neighbour {
                prompt: prompt.clone(),
                answer: answer.trim().to_owned(),
            })
            .collect(),
    };
    facts.iter().map(case).collect()
}
