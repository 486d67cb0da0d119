//! Suites from CounterFact.

use engram_core::{Neighbour, Pair, Span, Suite, Wording};
use engram_corpus::CounterFact;
use engram_model::Tokenizer;
use indexmap::IndexMap;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::error::Result;
use crate::pairing::cycles;

/// The kind of every pair: a contingent link between things that have meanings of their own.
const KIND: &str = "associative";

/// A fact as a model's tokenizer cuts it.
struct Asked<'a> {
    fact: &'a CounterFact,
    /// Tokens of the prompt.
    length: usize,
    /// Tokens before the subject's end.
    subject_end: usize,
    /// First token of the answer.
    answer: Option<u32>,
}

/// Pairs of facts that one prompt asks of two subjects: equally long in tokens, the subjects' last tokens at the same
/// place, answers that begin with different tokens. Each pair comes with its reciprocal, each fact is clean once and
/// corrupted once. At most `most` pairs, taken from the prompts in turn.
///
/// # Errors
/// The tokenizer's.
pub fn build_counterfact(
    facts: &[CounterFact],
    tokenizer: &Tokenizer,
    seed: u64,
    most: Option<usize>,
) -> Result<Suite> {
    let mut by_template: IndexMap<String, Vec<Asked<'_>>> = IndexMap::new();
    for fact in facts {
        let asked = Asked::of(fact, tokenizer)?;
        by_template.entry(fact.template()).or_default().push(asked);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut groups: Vec<Vec<[Pair; 2]>> = Vec::new();
    for (template, asked) in &by_template {
        let fits = |a: &Asked<'_>, b: &Asked<'_>| vec![a.fits(b)];
        let fits = asked
            .iter()
            .map(|a| asked.iter().map(|b| fits(a, b)).collect());
        let found = cycles(&fits.collect(), 1, &mut rng);
        let both = found.iter().filter_map(|cycle| match cycle.facts[..] {
            [a, b, ..] => Some(pairs(template, asked[a].fact, asked[b].fact)),
            _ => None,
        });
        let mut both: Vec<[Pair; 2]> = both.collect();
        both.shuffle(&mut rng);
        groups.push(both);
    }
    groups.shuffle(&mut rng);
    let mut suite = Suite::default();
    let rounds = groups.iter().map(Vec::len).max().unwrap_or(0);
    for round in 0..rounds {
        for both in groups.iter().filter_map(|group| group.get(round)) {
            if most.is_some_and(|most| suite.pairs.len() + 2 > most) {
                return Ok(suite);
            }
            suite.pairs.extend(both.iter().cloned());
        }
    }
    Ok(suite)
}

impl<'a> Asked<'a> {
    fn of(fact: &'a CounterFact, tokenizer: &Tokenizer) -> Result<Asked<'a>> {
        let tokens = tokenizer.encode_with_offsets(&fact.prompt)?;
        let end = fact.prompt.find(&fact.subject).unwrap_or(0) + fact.subject.len();
        Ok(Asked {
            fact,
            length: tokens.len(),
            subject_end: tokens.iter().filter(|(_, at)| at.start < end).count(),
            answer: tokenizer
                .encode(&with_blank(&fact.answer))?
                .first()
                .copied(),
        })
    }

    fn fits(&self, other: &Asked<'_>) -> bool {
        let places = (self.length, self.subject_end) == (other.length, other.subject_end);
        let told_apart = self.answer.is_some() && self.answer != other.answer;
        places && told_apart && self.fact.subject != other.fact.subject
    }
}

fn with_blank(answer: &str) -> String {
    format!(" {}", answer.trim_start())
}

/// A pair and its reciprocal.
fn pairs(template: &str, a: &CounterFact, b: &CounterFact) -> [Pair; 2] {
    let name = |fact: &CounterFact| format!("counterfact/{}", fact.case);
    let cluster = name(if a.case < b.case { a } else { b });
    [(a, b), (b, a)].map(|(clean, corrupt)| Pair {
        id: name(clean),
        kind: KIND.to_owned(),
        clean: clean.prompt.clone(),
        corrupt: corrupt.prompt.clone(),
        answer: with_blank(&clean.answer),
        foil: with_blank(&corrupt.answer),
        subject: Some(Span::Text(clean.subject.clone())),
        corrupt_subject: Some(Span::Text(corrupt.subject.clone())),
        relation: Some(template.to_owned()),
        template: Some(template.to_owned()),
        fact: Some(name(clean)),
        foil_fact: Some(name(corrupt)),
        cluster: Some(cluster.clone()),
        paraphrases: (clean.rephrased.iter())
            .filter(|text| text.contains(&clean.subject))
            .map(|text| Wording {
                clean: text.clone(),
                corrupt: text.replace(&clean.subject, &corrupt.subject),
                template: Some("rephrased".to_owned()),
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
