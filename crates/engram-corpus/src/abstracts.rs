//! One abstract.

use engram_core::subject::in_word;
use serde::{Deserialize, Deserializer, Serialize};

/// An abstract of a corpus. Only a title or a body is required; unknown fields are ignored. Empty texts of optional
/// fields count as absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abstract {
    /// The PubMed id; in files also a whole JSON number.
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
    /// Address of the article.
    #[serde(
        default,
        deserialize_with = "word",
        skip_serializing_if = "Option::is_none"
    )]
    pub url: Option<String>,
    /// Year of publication as given ("2019", "2019 Mar"); in files also a JSON number.
    #[serde(
        default,
        deserialize_with = "word",
        skip_serializing_if = "Option::is_none"
    )]
    pub year: Option<String>,
    /// The collection.
    #[serde(
        default,
        deserialize_with = "word",
        skip_serializing_if = "Option::is_none"
    )]
    pub source: Option<String>,
    /// Byte ranges (first, one past the last) of answers in [`Abstract::text`]. Texts written from a fact table have
    /// them, so that the loss on answers can be reported separately.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<[usize; 2]>,
    /// The language of the abstract as the source gives it ("spa"), if it is known not to be English.
    #[serde(
        default,
        deserialize_with = "word",
        skip_serializing_if = "Option::is_none"
    )]
    pub language: Option<String>,
    /// Whether the article was retracted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retracted: bool,
    /// Abstracts in further languages; not part of [`Abstract::text`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_abstracts: Vec<OtherAbstract>,
}

/// An abstract in a language other than the main one.
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
    /// Approximate size in bytes, in memory or as a line of JSONL.
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

    /// The text by which abstracts are compared for duplicates: the body, with the title if it has fewer than 20 words,
    /// so that short stock phrases ("No abstract available.") do not count as equal texts. In scripts without spaces
    /// between words each character counts as a word.
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

    /// Title, a space and the body; if one is empty, the other alone.
    pub fn text(&self) -> String {
        match (self.title.is_empty(), self.body.is_empty()) {
            (false, false) => format!("{} {}", self.title, self.body),
            (false, true) => self.title.clone(),
            _ => self.body.clone(),
        }
    }

    /// What is wrong with the record; `None` if nothing is.
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

/// A text; `null` is the empty text.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.unwrap_or_default())
}

/// A text, a number or a list of texts; `null` and the empty text mean none.
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
    /// A number that a tool stores as a float: only whole ones are accepted.
    Float(#[serde(deserialize_with = "whole_float")] i64),
    /// A list of texts.
    List(Vec<String>),
    /// `null`.
    Nothing,
}

impl Word {
    /// The text; `None` if it is blank.
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
    // Above 2^53 a float does not identify one whole number.
    match value.fract() == 0.0 && value.abs() < 9e15 {
        true => Ok(value as i64),
        false => Err(serde::de::Error::custom("expected a whole number")),
    }
}

/// Whether a letter belongs to a script without spaces between words, such as Han, kana and Thai.
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

/// `None` for a blank text.
pub(crate) fn some_text(text: String) -> Option<String> {
    if text.trim().is_empty() {
        None
    } else {
        Some(text)
    }
}
