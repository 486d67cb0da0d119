//! One abstract.

use engram_core::subject::in_word;
use serde::{Deserialize, Deserializer, Serialize};

/// An abstract as a corpus holds it. Only a title or a body is needed; fields that are not named here
/// are passed over. Empty texts of optional fields are read as absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abstract {
    /// PubMed's number; a whole JSON number is taken too.
    #[serde(default, deserialize_with = "word")]
    pub pmid: Option<String>,
    /// Title.
    #[serde(default, deserialize_with = "text")]
    pub title: String,
    /// The abstract itself (`abstract` in files).
    #[serde(default, rename = "abstract", deserialize_with = "text")]
    pub body: String,
    /// Journal.
    #[serde(
        default,
        deserialize_with = "word",
        skip_serializing_if = "Option::is_none"
    )]
    pub journal: Option<String>,
    /// Keywords, as one text; a JSON list is joined with "; ".
    #[serde(
        default,
        deserialize_with = "word",
        skip_serializing_if = "Option::is_none"
    )]
    pub keywords: Option<String>,
    /// Where it can be read.
    #[serde(
        default,
        deserialize_with = "word",
        skip_serializing_if = "Option::is_none"
    )]
    pub url: Option<String>,
    /// Year of publication, as given ("2019", "2019 Mar"); a JSON number is taken too.
    #[serde(
        default,
        deserialize_with = "word",
        skip_serializing_if = "Option::is_none"
    )]
    pub year: Option<String>,
    /// The collection it is from.
    #[serde(
        default,
        deserialize_with = "word",
        skip_serializing_if = "Option::is_none"
    )]
    pub source: Option<String>,
    /// Where answers of facts stand: first byte and one past the last, in [`Abstract::text`]. Texts
    /// written from a fact table have them, so that the loss on answers can be told from the whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<[usize; 2]>,
    /// The language of the abstract where it is known not to be English, as the source gives it ("spa").
    #[serde(
        default,
        deserialize_with = "word",
        skip_serializing_if = "Option::is_none"
    )]
    pub language: Option<String>,
    /// Whether the article was retracted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retracted: bool,
    /// Abstracts in further languages; [`Abstract::text`] has none of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_abstracts: Vec<OtherAbstract>,
}

/// An abstract in another language than the main one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherAbstract {
    /// The language, as the source gives it ("fre").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The text.
    #[serde(rename = "abstract")]
    pub body: String,
}

impl Abstract {
    /// About the bytes that it takes in memory, or as a line of JSONL.
    pub(crate) fn size(&self) -> u64 {
        let others = [
            &self.pmid,
            &self.journal,
            &self.keywords,
            &self.url,
            &self.year,
            &self.source,
        ];
        let texts = others
            .into_iter()
            .flatten()
            .chain([&self.title, &self.body]);
        let further = self.other_abstracts.iter().map(|other| &other.body);
        let all = texts.chain(further);
        all.map(|text| text.len() as u64).sum::<u64>() + 64
    }

    /// The text by which abstracts are compared: the abstract, with the title where it has fewer than 20 words, so
    /// that short standing phrases ("No abstract available.") are not taken for one text. In scripts without blanks
    /// between words a character counts as one.
    pub fn own_text(&self) -> String {
        const ENOUGH: usize = 20;
        let mut words = 0;
        for word in self.body.split_whitespace() {
            words += word.chars().filter(|c| unspaced(*c)).count().max(1);
            if words >= ENOUGH {
                return self.body.clone();
            }
        }
        self.text()
    }

    /// Whether there is neither a title nor an abstract.
    pub(crate) fn is_empty(&self) -> bool {
        self.title.trim().is_empty() && self.body.trim().is_empty()
    }

    /// Title, a space and the abstract; the one of them alone where the other is empty.
    pub fn text(&self) -> String {
        match (self.title.is_empty(), self.body.is_empty()) {
            (false, false) => format!("{} {}", self.title, self.body),
            (false, true) => self.title.clone(),
            _ => self.body.clone(),
        }
    }

    /// What is wrong with the record, if anything.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.answers.is_empty() {
            return None;
        }
        let text = self.text();
        self.answers
            .iter()
            .find(|[start, end]| text.get(*start..*end).is_none_or(str::is_empty))
            .map(|[start, end]| {
                format!(
                    "answer span [{start}, {end}] is no part of the text of {} bytes",
                    text.len()
                )
            })
    }
}

/// A text, where `null` is the empty one.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.unwrap_or_default())
}

/// A text, a number or a list of texts, where nothing and the empty text are the same.
fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Word::deserialize(deserializer).map(Word::text)
}

/// A text, a whole number or a list of these.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a text, a number that is whole, or a list of texts"
)]
pub(crate) enum Word {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// A number that a tool holds as a float: only whole ones are taken.
    Float(#[serde(deserialize_with = "whole_float")] i64),
    /// A list of texts.
    List(Vec<String>),
    /// `null`.
    Nothing,
}

impl Word {
    /// The text, if there is one that is not blank.
    pub fn text(self) -> Option<String> {
        some_text(match self {
            Word::Text(text) => text,
            Word::Number(number) | Word::Float(number) => number.to_string(),
            Word::List(list) => list.join("; "),
            Word::Nothing => return None,
        })
    }
}

/// A float that is a whole number.
fn whole_float<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    // Above 2^53 a float is no longer one whole number.
    match value.fract() == 0.0 && value.abs() < 9e15 {
        true => Ok(value as i64),
        false => Err(serde::de::Error::custom("expected a whole number")),
    }
}

/// Whether a letter is of a script without blanks between words, such as Han, kana and Thai.
pub(crate) fn unspaced(c: char) -> bool {
    c.is_alphanumeric() && !in_word(c)
}

/// Whether a language is English, by its name or code.
pub(crate) fn english(language: &str) -> bool {
    let language = language.trim().to_lowercase();
    ["en", "eng", "english"].contains(&language.as_str())
        || language.starts_with("en-")
        || language.starts_with("en_")
}

/// Nothing for a text that is empty or blank.
pub(crate) fn some_text(text: String) -> Option<String> {
    if text.trim().is_empty() {
        None
    } else {
        Some(text)
    }
}
