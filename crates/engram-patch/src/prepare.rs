//! Pairs as token ids.

use std::ops::Range;

use engram_core::blanks::{next_of, prompt_of};
use engram_core::{Blanks, Chats, Confounds, Located, Message, Pair, Prompt, Span};
use engram_model::{ModelError, Shape, Tokenizer, covering};
use serde::{Deserialize, Serialize};

use crate::check::{Fitness, Notice, Problem};
use crate::error::{PatchError, Result as PatchResult};

/// Which procedure a suite is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Prompts that stop before the answer; answer and foil are read after them.
    #[default]
    Standard,
    /// The published script: prompts that hold question and answer; answer and foil are phrases whose
    /// tokens' logits are averaged at the last position.
    #[serde(rename = "paper")]
    Published,
}

/// How pairs are tokenised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// What the suite is for.
    pub profile: Profile,
    /// Whether the prompts of a pair may differ in length.
    pub unequal: bool,
    /// Whether prompts that are texts are what a user says to a chat model.
    pub chat: bool,
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
    /// The answer's tokens as text.
    #[serde(default)]
    pub answer_tokens: Vec<String>,
    /// The foil's tokens as text.
    #[serde(default)]
    pub foil_tokens: Vec<String>,
    /// Tokens of the clean prompt's subject.
    pub subject: Option<Range<usize>>,
    /// Tokens of the corrupted prompt's subject.
    pub corrupt_subject: Option<Range<usize>>,
}

impl PreparedPair {
    /// Checks the ids against the vocabulary, the prompts with what is appended to them against the context, and the
    /// subjects against the prompts.
    ///
    /// # Errors
    /// [`PatchError::Plan`] with the value.
    pub fn check(&self, shape: &Shape) -> PatchResult<()> {
        let wrong = |why: String| PatchError::Plan {
            pair: self.id.clone(),
            site: None,
            why,
        };
        let texts = [
            ("the clean prompt", &self.clean),
            ("the corrupted prompt", &self.corrupt),
            ("the answer", &self.answer),
            ("the foil", &self.foil),
        ];
        for (name, ids) in texts {
            if let Some(id) = ids.iter().find(|id| **id as usize >= shape.vocab) {
                let vocab = shape.vocab;
                return Err(wrong(format!(
                    "{name}: token id {id} is outside the vocabulary of {vocab}"
                )));
            }
        }
        let prompts = [
            ("the clean prompt", &self.clean, &self.subject),
            ("the corrupted prompt", &self.corrupt, &self.corrupt_subject),
        ];
        for (name, ids, subject) in prompts {
            let length = ids.len();
            if length > shape.context {
                let context = shape.context;
                return Err(wrong(format!(
                    "{name}: {length} tokens do not fit the model's context of {context}"
                )));
            }
            if let Some(subject) = subject
                && (subject.is_empty() || subject.end > length)
            {
                return Err(wrong(format!(
                    "{name}: its subject is tokens {subject:?} of {length}"
                )));
            }
        }
        Ok(())
    }

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

/// A tokenised prompt.
struct Read<'a> {
    /// `clean` or `corrupted`.
    which: &'static str,
    given: Prompt<'a>,
    ids: Vec<u32>,
    /// Bytes of the tokens, where the prompt was given as text.
    offsets: Option<Vec<Range<usize>>>,
}

impl<'a> Read<'a> {
    fn new(
        which: &'static str,
        given: Prompt<'a>,
        tokenizer: &Tokenizer,
    ) -> Result<Read<'a>, ModelError> {
        let (ids, offsets) = match &given {
            Prompt::Ids(ids) => (ids.to_vec(), None),
            Prompt::Text(text) => {
                let (ids, offsets) = tokenizer.encode_with_offsets(text)?.into_iter().unzip();
                (ids, Some(offsets))
            }
        };
        Ok(Read {
            which,
            given,
            ids,
            offsets,
        })
    }
}

/// Tokenises a pair, and says what would keep it from being patched (sizes against a model are [`crate::check()`]'s to
/// compare) and what is to be looked at.
///
/// # Errors
/// The tokenizer's.
pub fn prepare(
    pair: &Pair,
    tokenizer: &Tokenizer,
    reading: &Reading,
) -> Result<Fitness, ModelError> {
    match as_chat(pair, tokenizer, reading)? {
        Some((pair, tokenizer)) => prepare_texts(&pair, &tokenizer, reading),
        None => prepare_texts(pair, tokenizer, reading),
    }
}

/// A pair of chats with the texts that the checkpoint's chat template makes of them, and the tokenizer for these.
fn as_chat(
    pair: &Pair,
    tokenizer: &Tokenizer,
    reading: &Reading,
) -> Result<Option<(Pair, Tokenizer)>, ModelError> {
    let user = |text: &str| vec![Message::user(text)];
    let chats = match (&pair.messages, reading.chat) {
        (Some(chats), _) => chats.clone(),
        (None, true) => Chats {
            clean: user(&pair.clean),
            corrupt: user(&pair.corrupt),
        },
        (None, false) => return Ok(None),
    };
    let text = |ids: &Option<Vec<u32>>, messages: &[Message]| match ids {
        Some(_) => Ok(String::new()),
        None => tokenizer.chat(messages),
    };
    // A byte of what the user says is another one of the chat.
    let anywhere = |span: &Option<Span>| match span {
        Some(Span::At(subject)) => Some(Span::Text(subject.text.clone())),
        span => span.clone(),
    };
    let pair = Pair {
        clean: text(&pair.clean_ids, &chats.clean)?,
        corrupt: text(&pair.corrupt_ids, &chats.corrupt)?,
        subject: anywhere(&pair.subject),
        corrupt_subject: anywhere(&pair.corrupt_subject),
        messages: None,
        ..pair.clone()
    };
    Ok(Some((pair, tokenizer.for_chat())))
}

fn prepare_texts(
    pair: &Pair,
    tokenizer: &Tokenizer,
    reading: &Reading,
) -> Result<Fitness, ModelError> {
    let (mut problems, mut notices) = (Vec::new(), Vec::new());
    let prompts = [
        Read::new("clean", pair.clean_prompt(), tokenizer)?,
        Read::new("corrupted", pair.corrupt_prompt(), tokenizer)?,
    ];
    for prompt in prompts.iter().filter(|p| p.ids.is_empty()) {
        let what = format!("{} prompt", prompt.which);
        problems.push(Problem::Empty { what });
    }
    let mut follows = |what: &'static str, next: Prompt<'_>, other: Prompt<'_>| {
        let profile = reading.profile;
        let found = problems.len();
        if profile == Profile::Standard {
            let (wrong, unusual) = blanks(what, &next, &other, &prompts);
            notices.extend(unusual);
            problems.extend(wrong);
        }
        if problems.len() > found {
            return Ok(Vec::new());
        }
        let ids = tokens_after(what, &next, &prompts, tokenizer, profile, &mut problems)?;
        if ids.is_empty() && problems.len() == found {
            let what = what.to_owned();
            problems.push(Problem::Empty { what });
        }
        Ok::<_, ModelError>(ids)
    };
    let answer = follows("answer", pair.answer_prompt(), pair.foil_prompt())?;
    let foil = follows("foil", pair.foil_prompt(), pair.answer_prompt())?;
    let mut subject_of = |span: &Option<Span>, found, prompt| {
        let span = span.as_ref()?;
        locate(span, found, prompt, &mut problems, &mut notices)
    };
    let [clean, corrupt] = &prompts;
    let subject = subject_of(&pair.subject, pair.locate_subject(), clean);
    let found = pair.locate_corrupt_subject();
    let corrupt_subject = subject_of(&pair.corrupt_subject, found, corrupt);
    let [clean, corrupt] = prompts;
    let texts = |ids: &[u32]| ids.iter().map(|id| tokenizer.token(*id)).collect();
    let (clean, corrupt) = (clean.ids, corrupt.ids);
    let prepared = PreparedPair {
        id: pair.id.clone(),
        kind: pair.kind.clone(),
        clean_tokens: texts(&clean),
        corrupt_tokens: texts(&corrupt),
        answer_tokens: texts(&answer),
        foil_tokens: texts(&foil),
        clean,
        corrupt,
        answer,
        foil,
        subject,
        corrupt_subject,
    };
    Ok(Fitness {
        pair: prepared,
        problems,
        notices,
    })
}

/// The tokens of answer or foil, which are read after both prompts: those that follow the prompt's own in the joined
/// text. The published script's phrases are tokenised alone.
fn tokens_after(
    what: &'static str,
    next: &Prompt<'_>,
    prompts: &[Read<'_>; 2],
    tokenizer: &Tokenizer,
    profile: Profile,
    problems: &mut Vec<Problem>,
) -> Result<Vec<u32>, ModelError> {
    let text = match (next, profile) {
        (Prompt::Ids(ids), _) => return Ok(ids.to_vec()),
        (Prompt::Text(text), Profile::Published) => return tokenizer.encode_bare(text),
        (Prompt::Text(text), Profile::Standard) => text,
    };
    let mut found: Option<Vec<u32>> = None;
    for Read {
        which, given, ids, ..
    } in prompts
    {
        let after = match given {
            Prompt::Text(prompt) => tokenizer.continuation(prompt, ids, text)?,
            Prompt::Ids(_) => tokenizer.continuation_of_ids(ids, text)?,
        };
        let differs = |found: &Vec<u32>| after.as_ref().is_some_and(|after| after != found);
        match &found {
            _ if after.is_none() => problems.push(Problem::Joined { what, which }),
            Some(found) if differs(found) => problems.push(Problem::Differs { what }),
            _ => found = after,
        }
    }
    Ok(found.unwrap_or_default())
}

/// The blanks between both prompts and answer or foil, and after these. Without one, answer and foil may go on with a word,
/// both of them; where only one of them has it, its author forgot it or wrote one too many.
fn blanks(
    what: &'static str,
    next: &Prompt<'_>,
    other: &Prompt<'_>,
    prompts: &[Read<'_>; 2],
) -> (Vec<Problem>, Vec<Notice>) {
    let (mut problems, mut notices) = (Vec::new(), Vec::new());
    for Read { which, given, .. } in prompts {
        let (Prompt::Text(prompt), Prompt::Text(text)) = (given, next) else {
            continue;
        };
        let (found, alike) = match other {
            Prompt::Text(other) => (
                Blanks::beside(prompt, text, other),
                Blanks::between(prompt, other) == Some(Blanks::None),
            ),
            Prompt::Ids(_) => (Blanks::between(prompt, text), true),
        };
        match found {
            None => {}
            Some(Blanks::None) if alike => notices.push(Notice::NoBlank {
                what,
                which,
                next: next_of(text),
            }),
            Some(blanks) => problems.push(Problem::Blanks {
                what,
                which,
                blanks,
                prompt: prompt_of(prompt).to_owned(),
                next: blanks.mend(text),
            }),
        }
    }
    (problems, notices)
}

/// The tokens of a subject: those that its text touches, or the span as given.
fn locate(
    span: &Span,
    found: Option<Located>,
    prompt: &Read<'_>,
    problems: &mut Vec<Problem>,
    notices: &mut Vec<Notice>,
) -> Option<Range<usize>> {
    let tokens = match (span, &found, &prompt.offsets) {
        (Span::Tokens(first, end), _, _) => {
            (first < end && *end <= prompt.ids.len()).then_some(*first..*end)
        }
        (_, Some(found), Some(offsets)) => covering(offsets, &found.bytes),
        _ => None,
    };
    let (subject, which) = (span.to_string(), prompt.which);
    match (&tokens, found) {
        (None, _) => problems.push(Problem::Subject { subject, which }),
        (Some(_), Some(Located { choices, .. })) if choices > 1 => {
            notices.push(Notice::Ambiguous {
                subject,
                which,
                choices,
            });
        }
        (Some(_), Some(found)) if found.inside_word => {
            notices.push(Notice::InsideWord { subject, which });
        }
        _ => {}
    }
    tokens
}
