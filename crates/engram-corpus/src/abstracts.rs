//! One abstract.

use serde::{Deserialize, Deserializer, Serialize};

/// An abstract as a corpus holds it. Only a title or a body is needed; fields that are not named here
/// are passed over. Empty texts of optional fields are read as absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abstract {
    /// PubMed's number; a JSON number is taken too.
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
        texts.map(|text| text.len() as u64).sum::<u64>() + 64
    }

    /// Title, a space and the abstract; the one of them alone where the other is empty.
    pub fn text(&self) -> String {
        match (self.title.is_empty(), self.body.is_empty()) {
            (false, false) => format!("{} {}", self.title, self.body),
            (false, true) => self.title.clone(),
            _ => self.body.clone(),
        }
    }

    /// What keeps this from being a record of a corpus, if anything.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.title.trim().is_empty() && self.body.trim().is_empty() {
            return Some("the record has neither a title nor an abstract".into());
        }
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
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a text, a number or a list of texts")]
    enum Word {
        Text(String),
        Number(i64),
        List(Vec<String>),
    }
    let word = match Option::<Word>::deserialize(deserializer)? {
        None => return Ok(None),
        Some(Word::Text(text)) => text,
        Some(Word::Number(number)) => number.to_string(),
        Some(Word::List(list)) => list.join("; "),
    };
    Ok(some_text(word))
}

/// Nothing for a text that is empty or blank.
pub(crate) fn some_text(text: String) -> Option<String> {
    if text.trim().is_empty() {
        None
    } else {
        Some(text)
    }
}
