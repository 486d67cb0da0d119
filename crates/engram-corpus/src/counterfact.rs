//! CounterFact (Meng et al. 2022): Wikidata facts as prompts, each with paraphrases, a false answer for the edit, and
//! neighbouring facts that must not change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use engram_core::subject::locate_at;
use engram_core::{Located, files};
use serde::Deserialize;

use crate::error::{CorpusError, Result};

/// A fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterFact {
    /// Its number in the collection.
    pub case: u64,
    /// The prompt, which ends just before the answer.
    pub prompt: String,
    /// The subject; it occurs in the prompt.
    pub subject: String,
    /// The byte of the prompt at which the subject begins, if the record has `{}` there and the text alone is
    /// ambiguous.
    pub subject_at: Option<usize>,
    /// The true answer, without the space before it.
    pub answer: String,
    /// The new answer of the edit.
    pub new_answer: String,
    /// Paraphrases of the prompt.
    pub rephrased: Vec<String>,
    /// Prompts about other subjects with their answers, which the edit must not change.
    pub neighbours: Vec<(String, String)>,
}

impl CounterFact {
    /// The kind of its facts, in suites and edits that are made from it.
    pub const KIND: &str = "counterfact";

    /// The subject in the prompt.
    pub fn locate(&self) -> Option<Located> {
        locate_at(&self.prompt, &self.subject, self.subject_at)
    }

    /// The prompt with `{}` in place of the subject.
    pub fn template(&self) -> String {
        match self.locate() {
            Some(Located { bytes, .. }) => {
                let (before, after) = (&self.prompt[..bytes.start], &self.prompt[bytes.end..]);
                format!("{before}{{}}{after}")
            }
            None => self.prompt.clone(),
        }
    }
}

/// A record in the flat form.
#[derive(Deserialize)]
struct Flat {
    case_id: u64,
    prompt: String,
    subject: String,
    ground_truth: String,
    target_new: String,
    #[serde(default)]
    rephrase_prompt: Option<String>,
    #[serde(default)]
    locality_prompt: Option<String>,
    #[serde(default)]
    locality_ground_truth: Option<String>,
}

/// A record in the published form.
#[derive(Deserialize)]
struct Published {
    case_id: u64,
    requested_rewrite: Rewrite,
    #[serde(default)]
    paraphrase_prompts: Vec<String>,
    #[serde(default)]
    neighborhood_prompts: Vec<String>,
}

#[derive(Deserialize)]
struct Rewrite {
    prompt: String,
    subject: String,
    target_true: Target,
    target_new: Target,
}

#[derive(Deserialize)]
struct Target {
    str: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Record {
    Flat(Flat),
    Published(Published),
}

impl From<Record> for CounterFact {
    fn from(record: Record) -> CounterFact {
        match record {
            Record::Flat(record) => CounterFact {
                case: record.case_id,
                prompt: record.prompt,
                subject: record.subject,
                subject_at: None,
                neighbours: (record.locality_prompt)
                    .zip(record.locality_ground_truth)
                    .into_iter()
                    .collect(),
                answer: record.ground_truth,
                new_answer: record.target_new,
                rephrased: record.rephrase_prompt.into_iter().collect(),
            },
            Record::Published(record) => {
                let rewrite = record.requested_rewrite;
                // A neighbour shares the fact's true answer.
                let answer = rewrite.target_true.str;
                let neighbours = record.neighborhood_prompts.into_iter();
                let prompt = rewrite.prompt.replacen("{}", &rewrite.subject, 1);
                let place = rewrite.prompt.find("{}");
                let place = place.map(|at| Located::known(at..at + rewrite.subject.len()));
                CounterFact {
                    case: record.case_id,
                    subject_at: place.and_then(|found| found.noted(&prompt)),
                    prompt,
                    subject: rewrite.subject,
                    neighbours: neighbours.map(|p| (p, answer.clone())).collect(),
                    answer,
                    new_answer: rewrite.target_new.str,
                    rephrased: record.paraphrase_prompts,
                }
            }
        }
    }
}

/// The usable records of a collection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collection {
    /// The facts, in the order of the file.
    pub facts: Vec<CounterFact>,
    /// Numbers of records that were left out, with the reason.
    pub left_out: Vec<(u64, String)>,
}

/// Reads a collection: a JSON array of records in the flat or the published form. Of records with the same prompt and
/// true answer the first is kept. If one prompt has several true answers, none is the right one, and all its records
/// are left out.
///
/// # Errors
/// [`CorpusError::Core`] for a file that does not parse; [`CorpusError::CounterFact`] for an unusable record.
pub fn read_counterfact(path: &Path) -> Result<Collection> {
    let records: Vec<Record> = files::read_json(path)?;
    let facts: Vec<CounterFact> = records.into_iter().map(CounterFact::from).collect();
    let mut cases = BTreeSet::new();
    for fact in &facts {
        let wrong = |why| CorpusError::CounterFact {
            path: path.to_owned(),
            case: fact.case,
            why,
        };
        if fact.locate().is_none() {
            return Err(wrong("the subject does not occur in the prompt"));
        }
        if fact.answer.trim().is_empty() {
            return Err(wrong("it has no answer"));
        }
        if !cases.insert(fact.case) {
            return Err(wrong(
                "a record before it has the same case_id; give each its own",
            ));
        }
    }
    Ok(distinct(facts))
}

fn distinct(facts: Vec<CounterFact>) -> Collection {
    let mut by_prompt: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    let prompt = |fact: &CounterFact| fact.prompt.split_whitespace().collect::<Vec<_>>().join(" ");
    for fact in &facts {
        let answer = fact.answer.trim().to_owned();
        by_prompt
            .entry(prompt(fact))
            .or_default()
            .push((fact.case, answer));
    }
    let mut found = Collection::default();
    for fact in facts {
        let answers = by_prompt.get(&prompt(&fact)).map_or(&[][..], Vec::as_slice);
        let own = fact.answer.trim();
        let why = if let Some((case, other)) = answers.iter().find(|(_, other)| other != own) {
            format!(
                "its prompt has two true answers, \"{own}\" and, in record {case}, \"{other}\": {}",
                fact.prompt
            )
        } else {
            match answers.first() {
                Some((first, _)) if *first != fact.case => {
                    format!("it repeats record {first}: {}", fact.prompt)
                }
                _ => {
                    found.facts.push(fact);
                    continue;
                }
            }
        };
        found.left_out.push((fact.case, why));
    }
    found
}
