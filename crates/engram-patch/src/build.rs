//! Suites from a fact table.

use std::collections::BTreeMap;

use engram_core::hash::fnv1a;
use engram_core::{Located, Pair, Span, Suite, Wording};
use engram_corpus::{Fact, FactTable, Relation, Rendered};
use engram_model::Tokenizer;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::balance::{Balance, Group, Inclusion, balance};
use crate::error::{PatchError, Result};
use crate::pairing::{Cycle, cycles};
use crate::verdict::Tally;
use crate::wording::{Prompts, statement_prompts};

/// How a suite is built.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuildSettings {
    /// Decides which of several equally good pairings is taken.
    pub seed: u64,
    /// The most pairs of one kind.
    pub max_pairs_per_kind: Option<usize>,
    /// The difference between kinds in the length of first answer tokens, in standard deviations,
    /// from which pairs are dropped.
    pub balance: f64,
    /// No kind is brought below so many pairs to balance.
    pub floor: usize,
}

impl Default for BuildSettings {
    fn default() -> BuildSettings {
        BuildSettings {
            seed: 0,
            max_pairs_per_kind: None,
            balance: 0.25,
            floor: 60,
        }
    }
}

/// A fact that is in no pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpaired {
    /// The fact's id.
    pub fact: String,
    /// The kind of its relation.
    pub kind: String,
    /// Why.
    pub reason: String,
}

/// A suite and what is to be known about how it came to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// The pairs, in the order of the table.
    pub suite: Suite,
    /// Facts without a pair, in the order of the table.
    pub unpaired: Vec<Unpaired>,
    /// How far the kinds are balanced.
    pub balance: Balance,
}

/// What makes a pair of two facts of a relation in a wording.
pub(crate) type Compose = fn(&Relation, &Prompts, (usize, usize), &Cycle, &str) -> Pair;

/// Pairs each fact with another of its relation in a trained cloze in which both prompts have the same
/// number of tokens, read the same apart from the subject, and call for answers that begin with
/// different tokens, neither of them true of the other. Reciprocal pairs first (as many as there can
/// be), odd facts closed in three-cycles. Clozes held back become `paraphrases`.
///
/// # Errors
/// [`PatchError::NoPair`]; the tokenizer's.
pub fn build(table: &FactTable, tokenizer: &Tokenizer, settings: &BuildSettings) -> Result<Built> {
    let prompts = |relation: &Relation| statement_prompts(relation, tokenizer);
    assemble(table, settings, settings.balance, prompts, statement_pair)
}

pub(crate) fn assemble(
    table: &FactTable,
    settings: &BuildSettings,
    target: f64,
    prompts: impl Fn(&Relation) -> Result<Prompts>,
    compose: Compose,
) -> Result<Built> {
    let mut groups = Vec::new();
    let mut found: Vec<(usize, Cycle)> = Vec::new();
    let mut all_prompts = Vec::new();
    for (r, relation) in table.relations.iter().enumerate() {
        let prompts = prompts(relation)?;
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        // A stream of its own, so that a relation's pairs do not hang on the relations before it.
        rng.set_stream(fnv1a(relation.name.as_bytes()));
        for cycle in cycles(&prompts.fits(), prompts.wordings(), &mut rng) {
            groups.push(Group {
                kind: relation.kind.clone(),
                relation: relation.name.clone(),
                chars: cycle
                    .facts
                    .iter()
                    .map(|f| prompts.first_chars(*f, cycle.wording))
                    .collect(),
                fate: Inclusion::Yes,
            });
            found.push((r, cycle));
        }
        all_prompts.push(prompts);
    }
    let balance = balance(
        &mut groups,
        target,
        settings.floor,
        settings.max_pairs_per_kind,
    );

    let mut suite = Suite::default();
    let mut reasons: BTreeMap<(usize, usize), String> = BTreeMap::new();
    let mut pairs: BTreeMap<(usize, usize), Pair> = BTreeMap::new();
    for ((r, cycle), group) in found.iter().zip(&groups) {
        let relation = &table.relations[*r];
        let names = cycle.facts.iter().map(|f| relation.facts[*f].id());
        let cluster = names.min().unwrap_or_default();
        for (clean, corrupt) in cycle.pairs() {
            let reason = match group.fate {
                Inclusion::Yes => {
                    let pair = compose(
                        relation,
                        &all_prompts[*r],
                        (clean, corrupt),
                        cycle,
                        &cluster,
                    );
                    pairs.insert((*r, clean), pair);
                    continue;
                }
                Inclusion::DroppedToBalance => {
                    "left out to balance the kinds by the length of first answer tokens"
                }
                Inclusion::DroppedToCap => "left out because enough pairs of its kind are there",
            };
            reasons.insert((*r, clean), reason.to_owned());
        }
    }
    let mut dropped: BTreeMap<String, usize> = BTreeMap::new();
    for reason in reasons.values() {
        *dropped.entry(reason.clone()).or_default() += 1;
    }
    let mut unpaired = Vec::new();
    for (r, relation) in table.relations.iter().enumerate() {
        for (f, fact) in relation.facts.iter().enumerate() {
            match pairs.remove(&(r, f)) {
                Some(pair) => suite.pairs.push(pair),
                None => unpaired.push(Unpaired {
                    fact: fact.id(),
                    kind: relation.kind.clone(),
                    reason: (reasons.remove(&(r, f)))
                        .unwrap_or_else(|| all_prompts[r].why_alone(f)),
                }),
            }
        }
    }
    if suite.pairs.is_empty() {
        let why = match found.len() {
            0 => no_pair(all_prompts.iter().map(Prompts::tally)),
            _ => why_dropped(&dropped),
        };
        let facts = unpaired.len();
        return Err(PatchError::NoPair { facts, why });
    }
    Ok(Built {
        suite,
        unpaired,
        balance,
    })
}

/// Why there is no pair where no two facts fit.
pub(crate) fn no_pair(tallies: impl Iterator<Item = Tally>) -> String {
    let mut all = Tally::default();
    tallies.for_each(|tally| all.merge(&tally));
    match all.total() {
        0 => "no two of them are of one relation".to_owned(),
        total => format!("of {total} possible pairs {all}"),
    }
}

/// Why there is no pair where some were found.
fn why_dropped(dropped: &BTreeMap<String, usize>) -> String {
    let parts = dropped.iter().map(|(reason, n)| format!("{n} {reason}"));
    let parts = parts.collect::<Vec<_>>().join(", ");
    format!("all pairs that were found are {parts}; pairs come in circles of two or three")
}

/// What pairs of both forms have in common.
pub(crate) fn pair_of(relation: &Relation, clean: &Fact, corrupt: &Fact, cluster: &str) -> Pair {
    Pair {
        id: clean.id(),
        kind: relation.kind.clone(),
        relation: Some(relation.name.clone()),
        fact: Some(clean.id()),
        foil_fact: Some(corrupt.id()),
        cluster: Some(cluster.to_owned()),
        source: Some(clean.source.clone()),
        ..Pair::default()
    }
}

fn statement_pair(
    relation: &Relation,
    prompts: &Prompts,
    (clean, corrupt): (usize, usize),
    cycle: &Cycle,
    cluster: &str,
) -> Pair {
    let trained = relation.clozes(false);
    let cloze = trained[cycle.wording];
    let (a, b) = (&relation.facts[clean], &relation.facts[corrupt]);
    let (of_a, of_b) = (cloze.text.render(a), cloze.text.render(b));
    let held_back = relation.clozes(true);
    let paraphrases = held_back
        .iter()
        .enumerate()
        .filter(|(h, _)| prompts.fits_held_back(clean, corrupt, *h))
        .map(|(_, cloze)| Wording {
            clean: cloze.text.render(a).text,
            corrupt: cloze.text.render(b).text,
            template: Some(cloze.template.clone()),
        })
        .collect();
    Pair {
        answer: format!(" {}", a.answer),
        foil: format!(" {}", b.answer),
        subject: subject(&of_a, &of_a.text),
        corrupt_subject: subject(&of_b, &of_b.text),
        clean: of_a.text,
        corrupt: of_b.text,
        template: Some(cloze.template.clone()),
        paraphrases,
        ..pair_of(relation, a, b, cluster)
    }
}

/// The subject that a template names, in a prompt that begins with the template.
pub(crate) fn subject(rendered: &Rendered, prompt: &str) -> Option<Span> {
    let found = Located::known(rendered.subject.clone()?);
    Span::of(prompt, &found)
}
