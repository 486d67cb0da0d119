//! The prompts of a relation's facts, and which facts can stand against each other in which wording.

use engram_corpus::{Cloze, Fact, Relation};
use engram_model::Tokenizer;

use crate::error::Result;
use crate::pairing::Fits;
use crate::verdict::{Answers, Asked, PairingVerdict, Tally, Verdicts, compare_all, fits, tally};

/// The prompts of one relation.
#[derive(Debug)]
pub(crate) struct Prompts {
    verdicts: Verdicts,
    /// In wordings held back.
    held_back: Verdicts,
    wordings: usize,
    /// Characters of the first token of each fact's answer after its prompt in each wording.
    first_chars: Vec<Vec<f64>>,
}

impl Prompts {
    pub(crate) fn wordings(&self) -> usize {
        self.wordings
    }

    pub(crate) fn first_chars(&self, fact: usize, wording: usize) -> f64 {
        self.first_chars[fact][wording]
    }

    /// How near every two facts come to fitting.
    pub(crate) fn tally(&self) -> Tally {
        tally(&self.verdicts)
    }

    pub(crate) fn fits_held_back(&self, a: usize, b: usize, wording: usize) -> bool {
        self.held_back[a][b][wording] == PairingVerdict::Fits
    }

    pub(crate) fn fits(&self) -> Fits {
        fits(&self.verdicts)
    }

    /// Why a fact found no partner.
    pub(crate) fn why_alone(&self, fact: usize) -> String {
        let mut others = Tally::default();
        let row = self.verdicts[fact].iter().enumerate();
        for (_, wordings) in row.filter(|(b, _)| *b != fact) {
            match wordings.iter().max() {
                Some(PairingVerdict::Fits) => {
                    return "all facts that it fits are paired with others".to_owned();
                }
                Some(nearest) => others.add(*nearest),
                None => {}
            }
        }
        match others.total() {
            0 => "it is the only fact of its relation".to_owned(),
            total => format!("no other fact of its relation fits; of {total}: {others}"),
        }
    }
}

/// Whether an answer may serve as the other's foil, as the table says.
fn true_of_one_only(a: &Fact, b: &Fact) -> bool {
    let same = |x: &str, y: &str| x.to_lowercase() == y.to_lowercase();
    !same(&a.answer, &b.answer)
        && !a.also.iter().any(|also| same(also, &b.answer))
        && !b.also.iter().any(|also| same(also, &a.answer))
}

/// Characters of a token's text, blanks left out.
fn chars(tokenizer: &Tokenizer, token: Option<&u32>) -> f64 {
    let text = token.map(|id| tokenizer.token(*id));
    text.map_or(0, |t| t.trim().chars().count()) as f64
}

/// A fact's prompt in one cloze.
struct Filled {
    text: String,
    ids: Vec<u32>,
    around: (String, String),
}

impl Filled {
    /// The prompt of a fact in a wording, of so many, with the fact's own answer.
    fn asked(&self, fact: usize, wording: usize, wordings: usize) -> Asked<'_> {
        Asked {
            number: fact * wordings + wording,
            text: &self.text,
            ids: &self.ids,
            answer: fact,
        }
    }
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
    let fill_all = |held_back: bool| -> Result<Vec<Vec<Filled>>> {
        let clozes = relation.clozes(held_back);
        let row = |fact| clozes.iter().map(|c| fill(c, fact, tokenizer)).collect();
        facts.iter().map(row).collect()
    };
    let table = |filled: &[Vec<Filled>], answers: &Answers<'_>| -> Result<Verdicts> {
        let wordings = filled.first().map_or(0, Vec::len);
        compare_all(facts.len(), wordings, |a, b, w| {
            let (of_a, of_b) = (&filled[a][w], &filled[b][w]);
            if of_a.around != of_b.around {
                return Ok(PairingVerdict::Around);
            }
            if of_a.ids.len() != of_b.ids.len() {
                return Ok(PairingVerdict::Length);
            }
            if !true_of_one_only(&facts[a], &facts[b]) {
                return Ok(PairingVerdict::Answers);
            }
            answers.compare(of_a.asked(a, w, wordings), of_b.asked(b, w, wordings))
        })
    };
    let trained = fill_all(false)?;
    let answers = Answers::new(tokenizer, spaced.clone());
    let verdicts = table(&trained, &answers)?;
    let first_chars = (trained.iter().enumerate())
        .map(|(fact, row)| {
            let of_wording = |(w, filled): (usize, &Filled)| -> Result<f64> {
                let answer = answers.after(filled.asked(fact, w, row.len()), fact)?;
                Ok(chars(tokenizer, answer.unwrap_or_default().first()))
            };
            row.iter().enumerate().map(of_wording).collect()
        })
        .collect::<Result<_>>()?;
    Ok(Prompts {
        verdicts,
        held_back: table(&fill_all(true)?, &Answers::new(tokenizer, spaced))?,
        wordings: relation.clozes(false).len(),
        first_chars,
    })
}

/// Question, space and answer, the answers as they stand.
pub(crate) fn question_prompts(relation: &Relation, tokenizer: &Tokenizer) -> Result<Prompts> {
    let facts = &relation.facts;
    let answers = facts.iter().map(|f| tokenizer.encode_bare(&f.answer));
    let answers = answers.collect::<Result<Vec<_>, _>>()?;
    let input = |subject: usize, answer: usize| -> Result<Vec<u32>> {
        let question = relation.question.render(&facts[subject]).text;
        Ok(tokenizer.encode(&format!("{question} {}", facts[answer].answer))?)
    };
    let verdicts = compare_all(facts.len(), 1, |a, b, _| {
        if answers[a].len() != answers[b].len() {
            return Ok(PairingVerdict::AnswerLength);
        }
        for (own, other) in [(a, b), (b, a)] {
            if input(own, own)?.len() != input(own, other)?.len() {
                return Ok(PairingVerdict::Length);
            }
        }
        Ok(match true_of_one_only(&facts[a], &facts[b]) {
            true => PairingVerdict::Fits,
            false => PairingVerdict::Answers,
        })
    })?;
    Ok(Prompts {
        verdicts,
        held_back: Vec::new(),
        wordings: 1,
        first_chars: (answers.iter())
            .map(|ids| vec![chars(tokenizer, ids.first())])
            .collect(),
    })
}
