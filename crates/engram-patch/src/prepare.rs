//! Pairs as token ids.

use std::ops::Range;

use engram_core::{Confounds, Pair, Prompt, Span};
use engram_model::{ModelError, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::check::Problem;

/// Which procedure a suite is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Prompts that stop before the answer; answer and foil are read after them.
    #[default]
    Standard,
    /// The published script: prompts that hold question and answer; answer and foil are phrases whose
    /// tokens' logits are averaged at the last position.
    Paper,
}

/// How pairs are tokenised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// A token put before every prompt.
    pub bos: Option<u32>,
    /// What the suite is for.
    pub profile: Profile,
    /// Whether the prompts of a pair may differ in length.
    pub unequal: bool,
}

/// A pair as token ids, with its tokens as text for people to read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedPair {
    /// The pair's id.
    pub id: String,
    /// The pair's kind.
    pub kind: String,
    /// Clean prompt.
    pub clean: Vec<u32>,
    /// Corrupted prompt.
    pub corrupt: Vec<u32>,
    /// What the clean prompt calls for.
    pub answer: Vec<u32>,
    /// What the corrupted prompt calls for.
    pub foil: Vec<u32>,
    /// The clean prompt's tokens as text.
    pub clean_tokens: Vec<String>,
    /// The corrupted prompt's tokens as text.
    pub corrupt_tokens: Vec<String>,
    /// Tokens of the clean prompt's subject.
    pub subject: Option<Range<usize>>,
    /// Tokens of the corrupted prompt's subject.
    pub corrupt_subject: Option<Range<usize>>,
}

impl PreparedPair {
    /// What of the pair's confounds its tokens show.
    pub fn confounds(&self) -> Confounds {
        Confounds {
            pair: self.id.clone(),
            prompt_tokens: self.clean.len(),
            answer_tokens: self.answer.len(),
            subject_tokens: self.subject.as_ref().map(ExactSizeIterator::len),
            subject_position: (self.subject.as_ref()).and_then(|s| s.end.checked_sub(1)),
            ..Confounds::default()
        }
    }
}

/// A tokenised prompt; offsets where it was given as text.
struct Tokenised {
    ids: Vec<u32>,
    offsets: Option<Vec<Range<usize>>>,
}

fn tokenise(prompt: &Prompt<'_>, tokenizer: &Tokenizer) -> Result<Tokenised, ModelError> {
    Ok(match prompt {
        Prompt::Ids(ids) => Tokenised {
            ids: ids.to_vec(),
            offsets: None,
        },
        Prompt::Text(text) => {
            let (ids, offsets) = tokenizer.encode_with_offsets(text)?.into_iter().unzip();
            Tokenised {
                ids,
                offsets: Some(offsets),
            }
        }
    })
}

/// Tokenises a pair. What would keep it from being patched comes back as problems; the pair is usable
/// only where there are none (sizes against a model are [`crate::check()`]'s to compare).
///
/// # Errors
/// The tokenizer's.
pub fn prepare(
    pair: &Pair,
    tokenizer: &Tokenizer,
    reading: &Reading,
) -> Result<(PreparedPair, Vec<Problem>), ModelError> {
    let mut problems = Vec::new();
    let clean = tokenise(&pair.clean_prompt(), tokenizer)?;
    let corrupt = tokenise(&pair.corrupt_prompt(), tokenizer)?;
    let answer = tokenise(&pair.answer_prompt(), tokenizer)?.ids;
    let foil = tokenise(&pair.foil_prompt(), tokenizer)?.ids;
    for (what, ids) in [
        ("clean prompt", &clean.ids),
        ("corrupted prompt", &corrupt.ids),
        ("answer", &answer),
        ("foil", &foil),
    ] {
        if ids.is_empty() {
            problems.push(Problem::Empty { what });
        }
    }
    if reading.profile == Profile::Standard && problems.is_empty() {
        problems.extend(join_problems(pair, tokenizer)?);
    }
    let subject = locate(
        pair.subject.as_ref(),
        &pair.clean_prompt(),
        &clean,
        "clean",
        &mut problems,
    );
    let corrupt_subject = locate(
        pair.corrupt_subject.as_ref(),
        &pair.corrupt_prompt(),
        &corrupt,
        "corrupted",
        &mut problems,
    );
    let lead = reading.bos.iter().len();
    let with_bos = |ids: Vec<u32>| -> Vec<u32> { reading.bos.into_iter().chain(ids).collect() };
    let shift = |span: Option<Range<usize>>| span.map(|s| s.start + lead..s.end + lead);
    let texts = |ids: &[u32]| ids.iter().map(|id| tokenizer.token(*id)).collect();
    let (clean, corrupt) = (with_bos(clean.ids), with_bos(corrupt.ids));
    let prepared = PreparedPair {
        id: pair.id.clone(),
        kind: pair.kind.clone(),
        clean_tokens: texts(&clean),
        corrupt_tokens: texts(&corrupt),
        clean,
        corrupt,
        answer,
        foil,
        subject: shift(subject),
        corrupt_subject: shift(corrupt_subject),
    };
    Ok((prepared, problems))
}

/// Where prompt and continuation, written as one text, are cut into other tokens than apart. Both are
/// read after both prompts.
fn join_problems(pair: &Pair, tokenizer: &Tokenizer) -> Result<Vec<Problem>, ModelError> {
    let mut problems = Vec::new();
    for (prompt, where_) in [
        (pair.clean_prompt(), "clean"),
        (pair.corrupt_prompt(), "corrupted"),
    ] {
        for (next, what) in [
            (pair.answer_prompt(), "answer"),
            (pair.foil_prompt(), "foil"),
        ] {
            let (Prompt::Text(prompt), Prompt::Text(next)) = (&prompt, &next) else {
                continue;
            };
            if !joins(tokenizer, prompt, next)? {
                problems.push(Problem::Joined {
                    what,
                    prompt: where_,
                });
            }
        }
    }
    Ok(problems)
}

/// Whether two texts written as one are cut into the same tokens as apart.
///
/// # Errors
/// The tokenizer's.
pub fn joins(tokenizer: &Tokenizer, prompt: &str, next: &str) -> Result<bool, ModelError> {
    let mut apart = tokenizer.encode(prompt)?;
    apart.extend(tokenizer.encode(next)?);
    Ok(tokenizer.encode(&format!("{prompt}{next}"))? == apart)
}

/// The tokens of a subject: those that a text's last occurrence touches, or the span as given.
fn locate(
    span: Option<&Span>,
    prompt: &Prompt<'_>,
    tokens: &Tokenised,
    which: &'static str,
    problems: &mut Vec<Problem>,
) -> Option<Range<usize>> {
    let found = match (span?, prompt, &tokens.offsets) {
        (Span::Tokens(first, end), _, _) => {
            (first < end && *end <= tokens.ids.len()).then_some(*first..*end)
        }
        (Span::Text(text), Prompt::Text(prompt), Some(offsets)) => prompt
            .rfind(text.as_str())
            .filter(|_| !text.is_empty())
            .and_then(|start| {
                let end = start + text.len();
                let touches = |o: &Range<usize>| o.start < end && o.end > start;
                let first = offsets.iter().position(touches)?;
                let last = offsets.iter().rposition(touches)?;
                Some(first..last + 1)
            }),
        _ => None,
    };
    if found.is_none() {
        let subject = match span? {
            Span::Text(text) => format!("\"{text}\""),
            Span::Tokens(first, end) => format!("[{first}, {end}]"),
        };
        problems.push(Problem::Subject { subject, which });
    }
    found
}
