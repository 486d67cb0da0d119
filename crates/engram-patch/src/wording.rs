//! The prompts of a relation's facts, and which facts can stand against each other in which wording.

use engram_corpus::{Cloze, Fact, Relation};
use engram_model::Tokenizer;

use crate::error::Result;
use crate::pairing::Fits;

/// Why two facts cannot be paired in a wording, or that they can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// The answer is cut into other tokens after this prompt than alone.
    Joined,
    /// Another number of tokens, or another text around the subject.
    Length,
    /// Answers that are equal, both true of one subject, or begin with the same token.
    Answers,
    Fits,
}

/// [fact][fact][wording].
type Verdicts = Vec<Vec<Vec<Verdict>>>;

/// The prompts of one relation.
#[derive(Debug)]
pub(crate) struct Prompts {
    verdicts: Verdicts,
    /// In wordings held back.
    held_back: Verdicts,
    wordings: usize,
    /// Characters of the first token of each fact's answer, blanks left out.
    first_chars: Vec<f64>,
}

impl Prompts {
    pub(crate) fn wordings(&self) -> usize {
        self.wordings
    }

    pub(crate) fn first_chars(&self, fact: usize) -> f64 {
        self.first_chars[fact]
    }

    pub(crate) fn fits_held_back(&self, a: usize, b: usize, wording: usize) -> bool {
        self.held_back[a][b][wording] == Verdict::Fits
    }

    pub(crate) fn fits(&self) -> Fits {
        let fits = |row: &Vec<Verdict>| row.iter().map(|v| *v == Verdict::Fits).collect();
        let rows = self.verdicts.iter();
        rows.map(|row| row.iter().map(fits).collect()).collect()
    }

    /// Why a fact found no partner: what stood in the way of the one that came nearest.
    pub(crate) fn why_alone(&self, fact: usize) -> String {
        let others = self.verdicts[fact].iter().enumerate();
        let nearest = others
            .filter(|(b, _)| *b != fact)
            .flat_map(|(_, v)| v)
            .max();
        let reason = match nearest {
            None => "it is the only fact of its relation",
            Some(Verdict::Joined) => {
                "its prompts and answers are cut into other tokens together than apart"
            }
            Some(Verdict::Length) => {
                "no other fact of its relation has an input of as many tokens in the same wording"
            }
            Some(Verdict::Answers) => {
                "every other fact with an input of as many tokens has the same answer, one that is true of both, or one that begins with the same token"
            }
            Some(Verdict::Fits) => "all facts that it fits are paired with others",
        };
        reason.to_owned()
    }
}

/// Whether an answer may serve as the other's foil, as the table says.
fn true_of_one_only(a: &Fact, b: &Fact) -> bool {
    let same = |x: &str, y: &str| x.to_lowercase() == y.to_lowercase();
    !same(&a.answer, &b.answer)
        && !a.also.iter().any(|also| same(also, &b.answer))
        && !b.also.iter().any(|also| same(also, &a.answer))
}

/// Compares every two facts in each of `wordings`.
fn compare(
    facts: usize,
    wordings: usize,
    verdict: impl Fn(usize, usize, usize) -> Result<Verdict>,
) -> Result<Verdicts> {
    let row = |a, b| {
        (0..wordings)
            .map(|w| verdict(a, b, w))
            .collect::<Result<Vec<_>>>()
    };
    let mut all = vec![vec![vec![Verdict::Length; wordings]; facts]; facts];
    for (a, b) in (0..facts).flat_map(|a| (0..a).map(move |b| (a, b))) {
        let found = row(a, b)?;
        all[a][b].clone_from(&found);
        all[b][a] = found;
    }
    Ok(all)
}

fn first_chars(tokenizer: &Tokenizer, answers: &[Vec<u32>]) -> Vec<f64> {
    let chars = |ids: &Vec<u32>| {
        let token = ids.first().map(|id| tokenizer.token(*id));
        token.map_or(0, |t| t.trim().chars().count()) as f64
    };
    answers.iter().map(chars).collect()
}

/// A fact's prompt in one cloze.
struct Filled {
    text: String,
    ids: Vec<u32>,
    around: (String, String),
}

fn fill(cloze: &Cloze, fact: &Fact, tokenizer: &Tokenizer) -> Result<Filled> {
    let rendered = cloze.text.render(fact);
    let subject = rendered.subject.unwrap_or_default();
    let around = (
        rendered.text[..subject.start].to_owned(),
        rendered.text[subject.end..].to_owned(),
    );
    Ok(Filled {
        ids: tokenizer.encode(&rendered.text)?,
        text: rendered.text,
        around,
    })
}

/// Prompts that stop before the answer, which follows after a space.
pub(crate) fn statement_prompts(relation: &Relation, tokenizer: &Tokenizer) -> Result<Prompts> {
    let facts = &relation.facts;
    let spaced: Vec<String> = facts.iter().map(|f| format!(" {}", f.answer)).collect();
    let answers = spaced.iter().map(|a| tokenizer.encode(a));
    let answers = answers.collect::<Result<Vec<_>, _>>()?;
    let table = |held_back: bool| -> Result<Verdicts> {
        let clozes = relation.clozes(held_back);
        let filled = facts
            .iter()
            .map(|f| clozes.iter().map(|c| fill(c, f, tokenizer)).collect())
            .collect::<Result<Vec<Vec<Filled>>>>()?;
        let joins = |fact: usize, w: usize, answer: usize| -> Result<bool> {
            let prompt = &filled[fact][w];
            let joined = tokenizer.encode(&format!("{}{}", prompt.text, spaced[answer]))?;
            Ok(joined == [prompt.ids.as_slice(), &answers[answer]].concat())
        };
        compare(facts.len(), clozes.len(), |a, b, w| {
            let (of_a, of_b) = (&filled[a][w], &filled[b][w]);
            if of_a.ids.len() != of_b.ids.len() || of_a.around != of_b.around {
                return Ok(Verdict::Length);
            }
            if !true_of_one_only(&facts[a], &facts[b]) || answers[a].first() == answers[b].first() {
                return Ok(Verdict::Answers);
            }
            for (fact, answer) in [(a, a), (a, b), (b, a), (b, b)] {
                if !joins(fact, w, answer)? {
                    return Ok(Verdict::Joined);
                }
            }
            Ok(Verdict::Fits)
        })
    };
    Ok(Prompts {
        verdicts: table(false)?,
        held_back: table(true)?,
        wordings: relation.clozes(false).len(),
        first_chars: first_chars(tokenizer, &answers),
    })
}

/// Question, space and answer, the answers as they stand.
pub(crate) fn question_prompts(relation: &Relation, tokenizer: &Tokenizer) -> Result<Prompts> {
    let facts = &relation.facts;
    let answers = facts.iter().map(|f| tokenizer.encode(&f.answer));
    let answers = answers.collect::<Result<Vec<_>, _>>()?;
    let input = |subject: usize, answer: usize| -> Result<Vec<u32>> {
        let question = relation.question.render(&facts[subject]).text;
        Ok(tokenizer.encode(&format!("{question} {}", facts[answer].answer))?)
    };
    let verdicts = compare(facts.len(), 1, |a, b, _| {
        if answers[a].len() != answers[b].len() {
            return Ok(Verdict::Length);
        }
        for (own, other) in [(a, b), (b, a)] {
            if input(own, own)?.len() != input(own, other)?.len() {
                return Ok(Verdict::Length);
            }
        }
        Ok(match true_of_one_only(&facts[a], &facts[b]) {
            true => Verdict::Fits,
            false => Verdict::Answers,
        })
    })?;
    Ok(Prompts {
        verdicts,
        held_back: Vec::new(),
        wordings: 1,
        first_chars: first_chars(tokenizer, &answers),
    })
}
