//! Why two facts cannot be paired.

use std::cell::RefCell;
use std::collections::BTreeMap;

use engram_model::Tokenizer;

use crate::error::Result;
use crate::pairing::Fits;

/// Why two facts cannot be paired in a wording, or that they can; in the order in which it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PairingVerdict {
    /// Another text around the subject.
    Around,
    /// Subjects that are equal, or end at another token.
    Subject,
    /// Another number of tokens.
    Length,
    /// Answers of another number of tokens (the published script compares whole answers).
    AnswerLength,
    /// Answers that are equal or both true of one subject.
    Answers,
    /// Joining an answer to a prompt changes the prompt's own tokens.
    Joined,
    /// An answer is cut otherwise after the one prompt than after the other.
    Differs,
    /// Answers that begin with the same token.
    SameStart,
    Fits,
}

impl PairingVerdict {
    /// What such pairs have.
    fn phrase(self) -> &'static str {
        match self {
            PairingVerdict::Around => "another text around the subject",
            PairingVerdict::Subject => "the same subject, or one that ends at another token",
            PairingVerdict::Length => "prompts of another number of tokens",
            PairingVerdict::AnswerLength => "answers of another number of tokens",
            PairingVerdict::Answers => "the same answer, or one that is true of both",
            PairingVerdict::Joined => {
                "a prompt whose own tokens change when an answer is joined to it"
            }
            PairingVerdict::Differs => {
                "an answer with other tokens after the one prompt than the other"
            }
            PairingVerdict::SameStart => "answers that begin with the same token",
            PairingVerdict::Fits => "nothing against it",
        }
    }
}

/// How many pairs of facts met which verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally(BTreeMap<PairingVerdict, usize>);

impl Tally {
    pub(crate) fn add(&mut self, verdict: PairingVerdict) {
        *self.0.entry(verdict).or_default() += 1;
    }

    pub(crate) fn merge(&mut self, other: &Tally) {
        for (verdict, count) in &other.0 {
            *self.0.entry(*verdict).or_default() += count;
        }
    }

    pub(crate) fn total(&self) -> usize {
        self.0.values().sum()
    }
}

/// "12 with prompts of another number of tokens, 1 with …", the most frequent first.
impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut counts: Vec<_> = self.0.iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let parts = counts
            .iter()
            .map(|(v, n)| format!("{n} with {}", v.phrase()));
        f.write_str(&parts.collect::<Vec<_>>().join(", "))
    }
}

/// The tokens of an answer after a prompt, by the numbers of both; none where joining changes the prompt's.
type Joined = BTreeMap<(usize, usize), Option<Vec<u32>>>;

/// Prompts, and answers after them, each joined once.
pub(crate) struct Answers<'a> {
    tokenizer: &'a Tokenizer,
    /// The answers' texts as they follow a prompt.
    texts: Vec<String>,
    known: RefCell<Joined>,
}

/// A prompt, and its own tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// Its number: no two prompts share one.
    pub number: usize,
    pub text: &'a str,
    pub ids: &'a [u32],
    /// The number of its answer.
    pub answer: usize,
}

impl<'a> Answers<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer, texts: Vec<String>) -> Answers<'a> {
        Answers {
            tokenizer,
            texts,
            known: RefCell::default(),
        }
    }

    /// The tokens of an answer after a prompt; `None` if joining changes the prompt's own.
    pub(crate) fn after(&self, prompt: Asked<'_>, answer: usize) -> Result<Option<Vec<u32>>> {
        let key = (prompt.number, answer);
        if let Some(found) = self.known.borrow().get(&key) {
            return Ok(found.clone());
        }
        let text = &self.texts[answer];
        let found = self.tokenizer.continuation(prompt.text, prompt.ids, text)?;
        self.known.borrow_mut().insert(key, found.clone());
        Ok(found)
    }

    /// Whether both answers can be read after both prompts and told apart by their first tokens.
    pub(crate) fn compare(&self, a: Asked<'_>, b: Asked<'_>) -> Result<PairingVerdict> {
        let mut firsts = Vec::new();
        for answer in [a.answer, b.answer] {
            match (self.after(a, answer)?, self.after(b, answer)?) {
                (Some(of_a), Some(of_b)) if of_a == of_b => firsts.push(of_a.first().copied()),
                (Some(_), Some(_)) => return Ok(PairingVerdict::Differs),
                _ => return Ok(PairingVerdict::Joined),
            }
        }
        Ok(match firsts[..] {
            [Some(one), Some(other)] if one != other => PairingVerdict::Fits,
            _ => PairingVerdict::SameStart,
        })
    }
}

/// [fact][fact][wording], symmetric.
pub(crate) type Verdicts = Vec<Vec<Vec<PairingVerdict>>>;

/// Compares every two facts in each of `wordings`.
pub(crate) fn compare_all(
    facts: usize,
    wordings: usize,
    verdict: impl Fn(usize, usize, usize) -> Result<PairingVerdict>,
) -> Result<Verdicts> {
    let row = |a, b| {
        (0..wordings)
            .map(|w| verdict(a, b, w))
            .collect::<Result<Vec<_>>>()
    };
    let mut all = vec![vec![vec![PairingVerdict::Around; wordings]; facts]; facts];
    for (a, b) in (0..facts).flat_map(|a| (0..a).map(move |b| (a, b))) {
        let found = row(a, b)?;
        all[a][b].clone_from(&found);
        all[b][a] = found;
    }
    Ok(all)
}

/// Who can be paired with whom.
pub(crate) fn fits(verdicts: &Verdicts) -> Fits {
    let fits = |row: &Vec<PairingVerdict>| row.iter().map(|v| *v == PairingVerdict::Fits).collect();
    let rows = verdicts.iter();
    rows.map(|row| row.iter().map(fits).collect()).collect()
}

/// For each two facts the verdict that came nearest to fitting, over the wordings.
pub(crate) fn tally(verdicts: &Verdicts) -> Tally {
    let mut tally = Tally::default();
    for (a, row) in verdicts.iter().enumerate() {
        let nearest = row[..a].iter().filter_map(|wordings| wordings.iter().max());
        nearest.for_each(|verdict| tally.add(*verdict));
    }
    tally
}
