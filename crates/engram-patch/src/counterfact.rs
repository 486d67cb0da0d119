//! Suites from CounterFact.

use std::ops::Range;

use engram_core::subject::replace;
use engram_core::{Neighbour, Pair, Span, Suite, Wording};
use engram_corpus::CounterFact;
use engram_model::{Tokenizer, covering};
use indexmap::{IndexMap, IndexSet};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::build::no_pair;
use crate::error::{PatchError, Result};
use crate::pairing::cycles;
use crate::verdict::{Answers, Asked, PairingVerdict, Verdicts, compare_all, fits, tally};

/// A fact as a model's tokenizer cuts it.
struct Cut<'a> {
    fact: &'a CounterFact,
    /// Tokens of the prompt.
    ids: Vec<u32>,
    /// Tokens before the subject's end.
    subject_end: usize,
}

/// Pairs of facts that one prompt asks of two subjects: equally long in tokens, the subjects' last tokens at the same
/// place, answers that begin with different tokens. Each pair comes with its reciprocal, each fact is clean once and
/// corrupted once. At most `most` pairs, taken from the prompts in turn.
///
/// # Errors
/// [`PatchError::NoPair`]; the tokenizer's.
pub fn build_counterfact(
    facts: &[CounterFact],
    tokenizer: &Tokenizer,
    seed: u64,
    most: Option<usize>,
) -> Result<Suite> {
    let mut by_template: IndexMap<String, Vec<Cut<'_>>> = IndexMap::new();
    for fact in facts {
        let cut = Cut::of(fact, tokenizer)?;
        by_template.entry(fact.template()).or_default().push(cut);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut groups: Vec<Vec<[Pair; 2]>> = Vec::new();
    let mut tallies = Vec::new();
    for (template, cut) in &by_template {
        let verdicts = compare(cut, tokenizer)?;
        tallies.push(tally(&verdicts));
        let found = cycles(&fits(&verdicts), 1, &mut rng);
        let both = found.iter().filter_map(|cycle| match cycle.facts[..] {
            [a, b, ..] => Some(pairs(template, cut[a].fact, cut[b].fact)),
            _ => None,
        });
        let mut both: Vec<[Pair; 2]> = both.collect();
        both.shuffle(&mut rng);
        groups.push(both);
    }
    groups.shuffle(&mut rng);
    let rounds = groups.iter().map(Vec::len).max().unwrap_or(0);
    let in_turn = (0..rounds).flat_map(|round| groups.iter().filter_map(move |g| g.get(round)));
    let most = most.unwrap_or(usize::MAX) / 2;
    let pairs: Vec<Pair> = in_turn.take(most).flatten().cloned().collect();
    if pairs.is_empty() {
        let why = match most {
            0 => "at most 1 pair is asked for, and each comes with its reciprocal".to_owned(),
            _ => no_pair(tallies.into_iter()),
        };
        let facts = facts.len();
        return Err(PatchError::NoPair { facts, why });
    }
    Ok(Suite { pairs })
}

/// Which facts of one template fit each other.
fn compare(cut: &[Cut<'_>], tokenizer: &Tokenizer) -> Result<Verdicts> {
    // Few answers are given to many subjects: each is numbered once.
    let mut texts: IndexSet<String> = IndexSet::new();
    let numbers = cut
        .iter()
        .map(|c| texts.insert_full(with_blank(&c.fact.answer)).0);
    let numbers: Vec<usize> = numbers.collect();
    let answers = Answers::new(tokenizer, texts.into_iter().collect());
    let asked = |fact: usize| Asked {
        number: fact,
        text: &cut[fact].fact.prompt,
        ids: &cut[fact].ids,
        answer: numbers[fact],
    };
    compare_all(cut.len(), 1, |a, b, _| {
        let (of_a, of_b) = (&cut[a], &cut[b]);
        if of_a.fact.subject == of_b.fact.subject || of_a.subject_end != of_b.subject_end {
            return Ok(PairingVerdict::Subject);
        }
        if of_a.ids.len() != of_b.ids.len() {
            return Ok(PairingVerdict::Length);
        }
        if numbers[a] == numbers[b] {
            return Ok(PairingVerdict::Answers);
        }
        answers.compare(asked(a), asked(b))
    })
}

impl<'a> Cut<'a> {
    fn of(fact: &'a CounterFact, tokenizer: &Tokenizer) -> Result<Cut<'a>> {
        let tokens = tokenizer.encode_with_offsets(&fact.prompt)?;
        let (ids, offsets): (Vec<u32>, Vec<Range<usize>>) = tokens.into_iter().unzip();
        let subject = fact
            .locate()
            .and_then(|found| covering(&offsets, &found.bytes));
        Ok(Cut {
            fact,
            ids,
            subject_end: subject.map_or(0, |tokens| tokens.end),
        })
    }
}

fn with_blank(answer: &str) -> String {
    format!(" {}", answer.trim_start())
}

fn subject(fact: &CounterFact) -> Option<Span> {
    Span::of(&fact.prompt, &fact.locate()?)
}

/// A pair and its reciprocal.
fn pairs(template: &str, a: &CounterFact, b: &CounterFact) -> [Pair; 2] {
    let name = |fact: &CounterFact| format!("counterfact/{}", fact.case);
    let cluster = name(if a.case < b.case { a } else { b });
    [(a, b), (b, a)].map(|(clean, corrupt)| Pair {
        id: name(clean),
        kind: CounterFact::KIND.to_owned(),
        clean: clean.prompt.clone(),
        corrupt: corrupt.prompt.clone(),
        answer: with_blank(&clean.answer),
        foil: with_blank(&corrupt.answer),
        subject: subject(clean),
        corrupt_subject: subject(corrupt),
        relation: Some(template.to_owned()),
        template: Some(template.to_owned()),
        fact: Some(name(clean)),
        foil_fact: Some(name(corrupt)),
        cluster: Some(cluster.clone()),
        paraphrases: (clean.rephrased.iter())
            .filter_map(|text| {
                Some(Wording {
                    clean: text.clone(),
                    corrupt: replace(text, &clean.subject, &corrupt.subject)?,
                    template: Some("rephrased".to_owned()),
                })
            })
            .collect(),
        neighbours: (clean.neighbours.iter())
            .map(|(prompt, answer)| Neighbour {
                prompt: prompt.clone(),
                answer: with_blank(answer),
            })
            .collect(),
        source: Some("CounterFact (Meng et al. 2022)".to_owned()),
        ..Pair::default()
    })
}
