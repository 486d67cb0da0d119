//! What keeps a pair from being patched, said before any work.

use std::collections::BTreeMap;

use engram_core::{Blanks, Prompt, Suite};
use engram_model::{Shape, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::error::{PatchError, Result};
use crate::prepare::{PreparedPair, Profile, Reading, prepare};

/// One thing that keeps a pair from being patched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Problem {
    /// Nothing there.
    #[error("the {what} is empty")]
    Empty {
        /// Which text.
        what: String,
    },
    /// Prompts that cannot be laid over each other.
    #[error("the clean prompt has {clean} tokens, the corrupted one {corrupt}")]
    Length {
        /// Tokens of the clean prompt.
        clean: usize,
        /// Tokens of the corrupted prompt.
        corrupt: usize,
    },
    /// Nothing differs.
    #[error("clean and corrupted prompt are the same")]
    SamePrompts,
    /// A logit difference that is always 0.
    #[error("answer and foil begin with the same token \"{token}\"")]
    SameStart {
        /// The token.
        token: String,
    },
    /// A mean difference that is always 0.
    #[error("answer and foil are the same tokens")]
    SameAnswers,
    /// A prompt whose tokens are others when a continuation follows.
    #[error(
        "joining the {what} to the {which} prompt changes the prompt's own tokens (a blank missing before the {what}, or one too many after the prompt?)"
    )]
    Joined {
        /// `answer` or `foil`.
        what: &'static str,
        /// `clean` or `corrupted`.
        which: &'static str,
    },
    /// A continuation that is not the same tokens after both prompts.
    #[error("the {what} has other tokens after the corrupted prompt than after the clean one")]
    Differs {
        /// `answer` or `foil`.
        what: &'static str,
    },
    /// Longer than the model can read.
    #[error("{length} tokens with the answer do not fit the model's context of {context}")]
    Context {
        /// Tokens of the prompt and of all but the last of the continuation.
        length: usize,
        /// The model's context.
        context: usize,
    },
    /// A token that the model does not have.
    #[error("token id {id} is outside the vocabulary of {vocab}")]
    Vocabulary {
        /// The id.
        id: u32,
        /// The number of embeddings.
        vocab: usize,
    },
    /// Blanks that its author cannot have meant.
    #[error("{}: write \"{prompt}\" and \"{next}\"", amiss(*blanks, which, what))]
    Blanks {
        /// `answer` or `foil`.
        what: &'static str,
        /// `clean` or `corrupted`.
        which: &'static str,
        /// What is amiss.
        blanks: Blanks,
        /// The prompt as it is to be.
        prompt: String,
        /// Answer or foil as it is to be.
        next: String,
    },
    /// A subject that is not where it should be.
    #[error("the subject {subject} is not found in the {which} prompt")]
    Subject {
        /// The subject as given.
        subject: String,
        /// `clean` or `corrupted`.
        which: &'static str,
    },
    /// Two pairs of one name.
    #[error("the id is given to {times} pairs")]
    DuplicateId {
        /// How many.
        times: usize,
    },
}

/// One thing about a pair that its author may not have meant. The pair can be patched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Notice {
    /// A subject in several places.
    #[error(
        "the subject {subject} is ambiguous: the {which} prompt has it {choices} times, and the last is taken (choose one: {{\"text\": TEXT, \"at\": BYTE}})"
    )]
    Ambiguous {
        /// The subject as given.
        subject: String,
        /// `clean` or `corrupted`.
        which: &'static str,
        /// How often it occurs.
        choices: usize,
    },
    /// A subject that is no word.
    #[error("the subject {subject} is found inside another word only in the {which} prompt")]
    InsideWord {
        /// The subject as given.
        subject: String,
        /// `clean` or `corrupted`.
        which: &'static str,
    },
    /// One prompt with two answers.
    #[error("its clean prompt has another answer in pair {pair}: \"{other}\"")]
    Contradicts {
        /// The pair that has it.
        pair: String,
        /// The answer there.
        other: String,
    },
    /// A kind that no other pair has: a typing error, perhaps.
    #[error("no other pair is of the kind \"{kind}\"{}", meant(near))]
    LoneKind {
        /// The kind.
        kind: String,
        /// A kind of other pairs that resembles it.
        near: Option<String>,
    },
    /// Two words made one, in answer and foil alike.
    #[error(
        "the {what} has no blank before it and makes one word with the {which} prompt's end; if it is a word of its own, write \"{next}\""
    )]
    NoBlank {
        /// `answer` or `foil`.
        what: &'static str,
        /// `clean` or `corrupted`.
        which: &'static str,
        /// Answer or foil as a word of its own.
        next: String,
    },
}

fn amiss(blanks: Blanks, which: &str, what: &str) -> String {
    match blanks {
        Blanks::Trailing => format!("a blank at the end of the {what}"),
        blanks => format!(
            "{} between the {which} prompt and the {what}",
            blanks.words()
        ),
    }
}

fn meant(near: &Option<String>) -> String {
    near.as_ref()
        .map_or("; a typing error?".to_owned(), |near| {
            format!("; a typing error for \"{near}\"?")
        })
}

/// A pair as tokens, what keeps it from being patched, and what is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fitness {
    /// The pair; it may be used only where there is no problem.
    pub pair: PreparedPair,
    /// What is wrong with it; nothing, for a pair that is fit.
    pub problems: Vec<Problem>,
    /// What its author may not have meant.
    pub notices: Vec<Notice>,
}

/// A pair that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfit {
    /// The pair's id.
    pub pair: String,
    /// The pair's kind.
    pub kind: String,
    /// Its problems as sentences.
    pub problems: Vec<String>,
}

impl Fitness {
    /// Whether the pair can be patched.
    pub fn is_fit(&self) -> bool {
        self.problems.is_empty()
    }

    fn unfit(&self) -> Unfit {
        Unfit {
            pair: self.pair.id.clone(),
            kind: self.pair.kind.clone(),
            problems: self.problems.iter().map(Problem::to_string).collect(),
        }
    }
}

/// Tokenises every pair of a suite and says of each what keeps it from being patched, in the suite's order.
///
/// # Errors
/// The tokenizer's.
pub fn check(
    suite: &Suite,
    tokenizer: &Tokenizer,
    shape: &Shape,
    reading: &Reading,
) -> Result<Vec<Fitness>> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for pair in &suite.pairs {
        *times.entry(&pair.id).or_default() += 1;
    }
    let mut answers: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    let lone = lone_kinds(suite);
    suite
        .pairs
        .iter()
        .map(|pair| {
            let mut found = prepare(pair, tokenizer, reading)?;
            let sizes = sizes(&found.pair, tokenizer, shape, reading);
            found.problems.extend(sizes);
            if let Prompt::Text(clean) = pair.clean_prompt()
                && !clean.is_empty()
            {
                let (first, answer) = *answers.entry(clean).or_insert((&pair.id, &pair.answer));
                if answer.trim() != pair.answer.trim() {
                    found.notices.push(Notice::Contradicts {
                        pair: first.to_owned(),
                        other: answer.to_owned(),
                    });
                }
            }
            match times.get(pair.id.as_str()) {
                Some(&times) if times > 1 => found.problems.push(Problem::DuplicateId { times }),
                _ => {}
            }
            found.notices.extend(lone.get(pair.kind.as_str()).cloned());
            Ok(found)
        })
        .collect()
}

/// A kind is alone where only one pair has it, and another kind has several pairs or resembles it.
fn lone_kinds(suite: &Suite) -> BTreeMap<&str, Notice> {
    /// Jaro-Winkler similarity of a word and itself with a letter left out, doubled or exchanged; "definitional" and
    /// "associative" have 0.6.
    const NEAR: f64 = 0.85;
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for pair in &suite.pairs {
        *times.entry(&pair.kind).or_default() += 1;
    }
    let several = times.values().any(|n| *n > 1);
    let once = times.iter().filter(|(_, n)| **n == 1);
    once.filter_map(|(kind, _)| {
        let like = |other: &str| strsim::jaro_winkler(&kind.to_lowercase(), &other.to_lowercase());
        let others = times.keys().filter(|other| *other != kind);
        let near = others
            .map(|other| (like(other), *other))
            .filter(|(like, _)| *like > NEAR)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let near = near.map(|(_, other)| other.to_owned());
        (several || near.is_some()).then(|| {
            let notice = Notice::LoneKind {
                kind: (*kind).to_owned(),
                near,
            };
            (*kind, notice)
        })
    })
    .collect()
}

fn sizes(
    pair: &PreparedPair,
    tokenizer: &Tokenizer,
    shape: &Shape,
    reading: &Reading,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let (clean, corrupt) = (pair.clean.len(), pair.corrupt.len());
    let profile = reading.profile;
    if clean != corrupt && !reading.unequal {
        problems.push(Problem::Length { clean, corrupt });
    } else if pair.clean == pair.corrupt && clean > 0 {
        problems.push(Problem::SamePrompts);
    }
    match (pair.answer.first(), pair.foil.first(), profile) {
        (Some(a), Some(b), Profile::Standard) if a == b => problems.push(Problem::SameStart {
            token: tokenizer.token(*a),
        }),
        (Some(_), Some(_), Profile::Published) if pair.answer == pair.foil => {
            problems.push(Problem::SameAnswers);
        }
        _ => {}
    }
    let appended = match profile {
        Profile::Standard => pair.answer.len().max(pair.foil.len()).saturating_sub(1),
        Profile::Published => 0,
    };
    let length = clean.max(corrupt) + appended;
    if length > shape.context {
        problems.push(Problem::Context {
            length,
            context: shape.context,
        });
    }
    let ids = [&pair.clean, &pair.corrupt, &pair.answer, &pair.foil];
    if let Some(&id) = ids
        .into_iter()
        .flatten()
        .find(|id| **id as usize >= shape.vocab)
    {
        problems.push(Problem::Vocabulary {
            id,
            vocab: shape.vocab,
        });
    }
    problems
}

/// All pairs, if all are fit.
///
/// # Errors
/// [`PatchError::Unfit`], which names every pair that is not and why; [`PatchError::Empty`].
pub fn refuse_unfit(checked: Vec<Fitness>) -> Result<Vec<PreparedPair>> {
    let total = checked.len();
    let (fit, unfit) = skip_unfit(checked);
    if !unfit.is_empty() {
        return Err(PatchError::unfit(&unfit, total));
    }
    if fit.is_empty() {
        return Err(PatchError::Empty {
            why: "the suite has no pair",
        });
    }
    Ok(fit)
}

/// The pairs that are fit, and those left out with their reasons.
pub fn skip_unfit(checked: Vec<Fitness>) -> (Vec<PreparedPair>, Vec<Unfit>) {
    let mut fit = Vec::new();
    let mut unfit = Vec::new();
    for found in checked {
        match found.is_fit() {
            true => fit.push(found.pair),
            false => unfit.push(found.unfit()),
        }
    }
    (fit, unfit)
}
