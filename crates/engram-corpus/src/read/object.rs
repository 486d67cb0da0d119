//! A record from a JSON object: keys are matched like column names.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::columns::{AbstractField, Named, Others, set};
use super::gather::VersionedRecord;
use super::markup::{plain, spaced, year_of};
use super::values;
use crate::abstracts::{Abstract, Word, english, some_text};

/// Maximum number of unused key names that are stored.
const UNUSED: usize = 200;

/// Which keys of a file's objects were used.
#[derive(Default)]
pub(crate) struct Keys {
    /// Unused keys.
    pub unused: BTreeSet<String>,
    /// Keys named by hand that were found, as they were named.
    pub by_hand: BTreeSet<String>,
}

/// Settings for reading an object as a record.
pub(crate) struct ObjectSeed<'a> {
    /// The columns named by hand.
    pub columns: &'a [Named],
    /// Which keys were used.
    pub keys: &'a mut Keys,
    /// Whether the object is in a service's response, whose texts are HTML.
    pub is_wrapped: bool,
    /// Whether the object is a line of JSONL, whose texts are plain. It may be engram's own, in which `language` is the
    /// abstract's.
    pub is_line: bool,
}

/// Keys of engram's own lines. Other programs give the article's language, not the abstract's.
const OWN: [&str; 12] = [
    "pmid",
    "title",
    "abstract",
    "journal",
    "keywords",
    "url",
    "year",
    "source",
    "answers",
    "language",
    "retracted",
    "other_abstracts",
];

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_> {
    type Value = VersionedRecord;

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        from: D,
    ) -> Result<VersionedRecord, D::Error> {
        from.deserialize_map(self)
    }
}

/// A year in one of the forms that services write.
#[derive(Deserialize)]
#[serde(untagged)]
enum Date {
    Parts {
        #[serde(rename = "date-parts")]
        parts: Vec<Vec<Word>>,
    },
    Word(Word),
    Other(IgnoredAny),
}

/// A text; other types are ignored.
#[derive(Deserialize)]
#[serde(untagged)]
enum Loose {
    Flag(bool),
    Word(Word),
    Other(IgnoredAny),
}

/// A text, or a list of texts that are joined.
struct Texts(String);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Texts, D::Error> {
        from.deserialize_any(TextsVisitor)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a string or a list of strings")
    }

    fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
        Ok(Texts(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Texts, E> {
        Ok(Texts(String::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
        let mut all: Vec<String> = Vec::new();
        while let Some(Texts(text)) = list.next_element()? {
            all.extend(some_text(text));
        }
        Ok(Texts(all.join(" ")))
    }
}

#[derive(Default, Deserialize)]
struct JournalInfo {
    #[serde(default)]
    journal: Option<JournalName>,
}

#[derive(Default, Deserialize)]
struct JournalName {
    #[serde(default)]
    title: Option<String>,
}

#[derive(Default, Deserialize)]
struct KeywordList {
    #[serde(default)]
    keyword: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
struct TypeList {
    #[serde(default, rename = "pubType")]
    kinds: Option<Vec<String>>,
}

impl<'de> Visitor<'de> for ObjectSeed<'_> {
    type Value = VersionedRecord;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<VersionedRecord, A::Error> {
        let mut record = VersionedRecord::default();
        // For each field: the rank of the best key so far, and the key.
        let mut fits: Vec<(AbstractField, usize, String)> = Vec::new();
        let mut is_own = self.is_line;
        while let Some(key) = map.next_key::<String>()? {
            is_own &= OWN.contains(&key.as_str());
            let found = &mut record.found;
            match key.as_str() {
                "answers" => found.answers = map.next_value()?,
                "other_abstracts" => found.other_abstracts = map.next_value::<Others>()?,
                "journalInfo" => {
                    let info = map.next_value::<Option<JournalInfo>>()?;
                    found.journal = info.and_then(|i| i.journal).and_then(|j| j.title);
                }
                "keywordList" => {
                    let list = map.next_value::<Option<KeywordList>>()?;
                    let words = list.and_then(|l| l.keyword).unwrap_or_default();
                    found.keywords = some_text(words.join("; "));
                }
                "pubTypeList" => {
                    let kinds = map.next_value::<Option<TypeList>>()?.and_then(|l| l.kinds);
                    let mut kinds = kinds.iter().flatten();
                    found.retracted |= kinds.any(|kind| values::is_retracted_kind(kind));
                }
                "dateOfRevision" => {
                    let date = map.next_value::<Word>()?.text().unwrap_or_default();
                    let digits: String = date.chars().filter(char::is_ascii_digit).collect();
                    record.revised = digits.parse().unwrap_or_default();
                }
                "language"
                    if self
                        .columns
                        .iter()
                        .all(|n| n.field != AbstractField::Language) =>
                {
                    found.language = match map.next_value()? {
                        Loose::Word(word) => word.text().filter(|l| !english(l)),
                        _ => None,
                    };
                }
                _ => self.member(key, &mut fits, found, &mut map)?,
            }
        }
        let found = &mut record.found;
        let is_by_hand = self
            .columns
            .iter()
            .any(|n| n.field == AbstractField::Language);
        if !is_own && !is_by_hand && found.language.take().is_some() {
            self.pass_over("language".to_owned());
        }
        if self.is_wrapped || fits.iter().any(|(.., key)| key == "abstractText") {
            found.title = spaced(&plain(&found.title));
            found.body = spaced(&plain(&found.body));
        } else if !self.is_line && found.answers.is_empty() {
            // Rich text of a reference manager.
            found.title = plain(&found.title);
            found.body = plain(&found.body);
        }
        Ok(record)
    }
}

impl ObjectSeed<'_> {
    /// Takes a key's value for its field, unless a key of better rank has given a value that is not empty.
    fn member<'de, A: MapAccess<'de>>(
        &mut self,
        key: String,
        fits: &mut Vec<(AbstractField, usize, String)>,
        found: &mut Abstract,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let Some((field, fit)) = self.place(&key) else {
            if key.eq_ignore_ascii_case("extra") || key.eq_ignore_ascii_case("note") {
                let note = map.next_value::<serde_json::Value>()?;
                let pmid = note.as_str().and_then(values::pmid_noted);
                found.pmid = found.pmid.take().or(pmid);
                return Ok(());
            }
            map.next_value::<IgnoredAny>()?;
            self.pass_over(key);
            return Ok(());
        };
        if fits.iter().any(|(.., other)| *other == key) {
            let why = format!("the field {key:?} is there twice");
            return Err(A::Error::custom(why));
        }
        let mut read = Abstract::default();
        // Values under engram's own field names must have the right type.
        let is_strict = fit <= 1;
        let is_set = match field {
            AbstractField::Title | AbstractField::Abstract if is_strict => {
                set(&mut read, field, &map.next_value::<Texts>()?.0)
            }
            AbstractField::Pmid if is_strict => {
                let text = map.next_value::<Word>()?.text();
                set(&mut read, field, &text.unwrap_or_default())
            }
            AbstractField::Year => {
                read.year = match map.next_value()? {
                    Date::Word(word) => word.text().map(|year| values::year(&year)),
                    Date::Other(_) => None,
                    Date::Parts { parts } => {
                        let first = parts.into_iter().flatten().next();
                        first.and_then(Word::text).and_then(|date| year_of(&date))
                    }
                };
                read.year.is_some()
            }
            _ => match map.next_value()? {
                Loose::Word(word) => set(&mut read, field, &word.text().unwrap_or_default()),
                Loose::Flag(flag) if field == AbstractField::Retracted => {
                    set(&mut read, field, &flag.to_string())
                }
                Loose::Flag(_) | Loose::Other(_) => {
                    self.pass_over(key);
                    return Ok(());
                }
            },
        };
        let before = fits.iter().position(|(other, ..)| *other == field);
        match before {
            Some(at) if field != AbstractField::Retracted => {
                if !is_set || fits[at].1 <= fit {
                    self.pass_over(key);
                    return Ok(());
                }
                let (.., worse) = fits.remove(at);
                self.pass_over(worse);
            }
            _ if !is_set => return Ok(()),
            _ => {}
        }
        take(field, found, read);
        fits.push((field, fit, key));
        Ok(())
    }

    /// The field of a key, and the rank of the key: 0 if it was named by hand.
    fn place(&mut self, key: &str) -> Option<(AbstractField, usize)> {
        let by_hand = self.columns.iter();
        let mut by_hand = by_hand.filter(|n| n.column.eq_ignore_ascii_case(key));
        if let Some(named) = by_hand.next() {
            self.keys.by_hand.insert(named.column.clone());
            return Some((named.field, 0));
        }
        let named = |field| self.columns.iter().any(|n| n.field == field);
        let (field, fit) = AbstractField::of(key)?;
        (!named(field)).then_some((field, fit + 1))
    }

    /// Notes an unused key.
    fn pass_over(&mut self, key: String) {
        if self.keys.unused.len() < UNUSED {
            self.keys.unused.insert(key.chars().take(60).collect());
        }
    }
}

/// Moves one field of `read` to `found`.
fn take(field: AbstractField, found: &mut Abstract, read: Abstract) {
    match field {
        AbstractField::Title => found.title = read.title,
        AbstractField::Abstract => found.body = read.body,
        AbstractField::Pmid => found.pmid = read.pmid,
        AbstractField::Journal => found.journal = read.journal,
        AbstractField::Keywords => found.keywords = read.keywords,
        AbstractField::Url => found.url = read.url,
        AbstractField::Year => found.year = read.year,
        AbstractField::Source => found.source = read.source,
        AbstractField::Language => found.language = read.language,
        AbstractField::Retracted => found.retracted |= read.retracted,
    }
}
