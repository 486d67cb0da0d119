//! Pairs: a clean and a corrupted prompt with answer, foil and subject.

use serde::{Deserialize, Serialize};

use crate::subject::{Located, SubjectAt};

/// Where the subject is in a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a subject: a text, {\"text\": TEXT, \"at\": BYTE} or [FIRST TOKEN, END]"
)]
pub enum Span {
    /// The subject's text, located in the prompt by the rule of [`crate::subject`].
    Text(String),
    /// The subject's text and its first byte in the prompt.
    At(SubjectAt),
    /// First token, and one past the last.
    Tokens(usize, usize),
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Span::Text(text) => write!(f, "\"{text}\""),
            Span::At(SubjectAt { text, at }) => write!(f, "\"{text}\" at byte {at}"),
            Span::Tokens(first, end) => write!(f, "[{first}, {end}]"),
        }
    }
}

/// A message of a chat as chat templates expect it: `role`, `content` and any other key that the template reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Message(pub serde_json::Map<String, serde_json::Value>);

impl Message {
    /// A message of the user.
    pub fn user(content: &str) -> Message {
        let entry = |(key, value): (&str, &str)| (key.to_owned(), value.into());
        let entries = [("role", "user"), ("content", content)].into_iter();
        Message(entries.map(entry).collect())
    }
}

/// The prompts of a pair as chats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chats {
    /// The clean prompt.
    pub clean: Vec<Message>,
    /// The corrupted prompt.
    pub corrupt: Vec<Message>,
}

/// A prompt given as text or as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt<'a> {
    /// Text, tokenised as it is.
    Text(&'a str),
    /// Token ids.
    Ids(&'a [u32]),
}

/// A pair's prompts in another wording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wording {
    /// The clean prompt.
    pub clean: String,
    /// The corrupted prompt.
    pub corrupt: String,
    /// The template of the wording, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// A prompt about a related fact, whose answer must not change when the pair's fact is edited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// The prompt.
    pub prompt: String,
    /// Its answer.
    pub answer: String,
}

/// A clean prompt, a corrupted prompt, the answer to the clean prompt and the foil, which answers the corrupted one.
/// Strings are concatenated as written: leading spaces are up to the author.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// Unique name.
    pub id: String,
    /// Any word; findings compare kinds.
    pub kind: String,
    /// Clean prompt.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub clean: String,
    /// Corrupted prompt.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub corrupt: String,
    /// The answer to the clean prompt.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answer: String,
    /// The answer to the corrupted prompt.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub foil: String,
    /// Chats instead of `clean` and `corrupt`: the checkpoint's chat template turns them into texts that end where the
    /// model's answer begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Chats>,
    /// Token ids instead of `clean`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean_ids: Option<Vec<u32>>,
    /// Token ids instead of `corrupt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupt_ids: Option<Vec<u32>>,
    /// Token ids instead of `answer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_ids: Option<Vec<u32>>,
    /// Token ids instead of `foil`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foil_ids: Option<Vec<u32>>,
    /// The clean prompt's subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Span>,
    /// The corrupted prompt's subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupt_subject: Option<Span>,
    /// The relation of both facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<String>,
    /// The wording: the name of the relation's cloze frame, or the prompt with `{}` in place of the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The clean fact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fact: Option<String>,
    /// The corrupted fact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foil_fact: Option<String>,
    /// The cluster; pairs of one cluster are not independent. Pairs that share a prompt, or a fact and its foil, are
    /// clustered anyway ([`crate::clusters`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The pair in wordings held out from training.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paraphrases: Vec<Wording>,
    /// Prompts whose answers must not change when the fact is edited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neighbours: Vec<Neighbour>,
    /// The source of the fact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

fn either<'a>(ids: &'a Option<Vec<u32>>, text: &'a str) -> Prompt<'a> {
    match ids {
        Some(ids) => Prompt::Ids(ids),
        None => Prompt::Text(text),
    }
}

fn locate(subject: &Option<Span>, prompt: &Prompt<'_>, pair: &Pair) -> Option<Located> {
    match prompt {
        Prompt::Text(prompt) => subject.as_ref()?.locate(prompt, pair.template.as_deref()),
        Prompt::Ids(_) => None,
    }
}

impl Pair {
    /// A pair of texts with id "pair" and kind "given". Strings are concatenated as written: answer and foil begin
    /// with a space unless the prompt ends in one.
    pub fn new(clean: &str, corrupt: &str, answer: &str, foil: &str) -> Pair {
        Pair {
            id: "pair".to_owned(),
            kind: "given".to_owned(),
            clean: clean.to_owned(),
            corrupt: corrupt.to_owned(),
            answer: answer.to_owned(),
            foil: foil.to_owned(),
            ..Pair::default()
        }
    }

    /// The clean prompt.
    pub fn clean_prompt(&self) -> Prompt<'_> {
        either(&self.clean_ids, &self.clean)
    }

    /// The corrupted prompt.
    pub fn corrupt_prompt(&self) -> Prompt<'_> {
        either(&self.corrupt_ids, &self.corrupt)
    }

    /// The answer.
    pub fn answer_prompt(&self) -> Prompt<'_> {
        either(&self.answer_ids, &self.answer)
    }

    /// The foil.
    pub fn foil_prompt(&self) -> Prompt<'_> {
        either(&self.foil_ids, &self.foil)
    }

    /// The subject in the clean prompt; `None` unless both are texts and the subject occurs.
    pub fn locate_subject(&self) -> Option<Located> {
        locate(&self.subject, &self.clean_prompt(), self)
    }

    /// The subject in the corrupted prompt; `None` unless both are texts and the subject occurs.
    pub fn locate_corrupt_subject(&self) -> Option<Located> {
        locate(&self.corrupt_subject, &self.corrupt_prompt(), self)
    }
}
