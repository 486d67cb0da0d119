//! Records in JSON: an object a line, a list of objects, objects one after another, Europe PMC's and CSL's.

use std::collections::BTreeSet;
use std::fmt;
use std::io::BufRead;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};

use super::columns::{Field, Named, Others, pmid_within, set};
use super::gather::Record;
use super::limits::{RECORD_LIMIT, TooLong};
use super::markup::{plain, spaced, year_of};
use crate::abstracts::{Abstract, Word};

/// Keys under which answers of services hold their records.
const WRAPPERS: [&str; 9] = [
    "resultList",
    "result",
    "results",
    "records",
    "articles",
    "items",
    "documents",
    "docs",
    "data",
];
/// The most names of unused keys that are kept.
const UNUSED: usize = 200;

/// Whether a line is one JSON value, to its end.
pub(crate) fn is_whole(line: &[u8]) -> bool {
    let mut value = Value::default();
    let end = line.iter().position(|byte| value.take(*byte));
    end.is_some_and(|end| {
        let rest = line.get(end + 1..).unwrap_or_default();
        rest.iter().all(u8::is_ascii_whitespace)
    })
}

/// Whether a document's first object holds records under a key of a service's answer.
pub(crate) fn is_wrapped(text: &[u8]) -> bool {
    let mut value = Value::default();
    let mut key: Option<Vec<u8>> = None;
    // A key that has ended, until its value begins.
    let mut last: Option<Vec<u8>> = None;
    for &byte in text {
        let was_string = value.in_string;
        if value.take(byte) {
            return false;
        }
        match (&mut key, was_string, value.in_string) {
            (_, false, true) if value.depth == 1 => key = Some(Vec::new()),
            (Some(name), true, true) => name.push(byte),
            (Some(_), true, false) => last = key.take(),
            _ => {}
        }
        let opens = !was_string && (byte == b'{' || byte == b'[') && value.depth == 2;
        if opens
            && let Some(name) = &last
            && WRAPPERS.iter().any(|w| w.as_bytes() == name.as_slice())
        {
            return true;
        }
        if !was_string && byte == b',' {
            last = None;
        }
    }
    false
}

/// Where in a JSON value the next byte is.
#[derive(Default)]
struct Value {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Value {
    /// Takes a byte; says whether it ends a list or an object.
    fn take(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

/// Why a document cannot be read.
pub(crate) enum Fault {
    Io(std::io::Error),
    /// What is wrong, and the line.
    Line(usize, String),
}

/// The records of a document, as bytes.
pub(crate) struct Objects<R> {
    reader: R,
    is_wrapped: bool,
    /// Lists (true) and objects (false) that are open around records.
    open: Vec<bool>,
    /// The line that is being read, from 1.
    line: usize,
    /// The line at which the record that was given last begins.
    pub begin: usize,
}

impl<R: BufRead> Objects<R> {
    pub fn new(reader: R, is_wrapped: bool) -> Objects<R> {
        Objects {
            reader,
            is_wrapped,
            open: Vec::new(),
            line: 1,
            begin: 1,
        }
    }

    /// The last line that was read whole.
    pub fn line(&self) -> usize {
        self.line - 1
    }

    /// Puts the next record into `record`; says whether there is one.
    pub fn next(&mut self, record: &mut Vec<u8>) -> Result<bool, Fault> {
        record.clear();
        loop {
            let Some(byte) = self.significant()? else {
                return match self.open.is_empty() {
                    true => Ok(false),
                    false => self.wrong("it ends within a list or an object: it is cut short"),
                };
            };
            match (byte, self.open.last()) {
                (b'{', Some(true)) => return self.value(Some(record)).map(|()| true),
                (b'{', None) if !self.is_wrapped => return self.value(Some(record)).map(|()| true),
                (b'{', None) => self.step(false),
                (b'[', None) => self.step(true),
                (b'"', Some(false)) => self.member(record)?,
                (b']', Some(true)) | (b'}', Some(false)) => {
                    self.reader.consume(1);
                    self.open.pop();
                }
                (b',', Some(_)) => self.reader.consume(1),
                (_, Some(true) | None) => return self.wrong("it is not a JSON object"),
                _ => return self.wrong("expected a key in quotes"),
            }
        }
    }

    fn step(&mut self, is_list: bool) {
        self.reader.consume(1);
        self.open.push(is_list);
    }

    /// A key and its value: goes into those that hold records, passes over others.
    fn member(&mut self, scratch: &mut Vec<u8>) -> Result<(), Fault> {
        self.value(Some(scratch))?;
        let key: String = serde_json::from_slice(scratch).unwrap_or_default();
        scratch.clear();
        if self.significant()? != Some(b':') {
            return self.wrong("expected a colon after a key");
        }
        self.reader.consume(1);
        let holds = WRAPPERS.contains(&key.as_str());
        match self.significant()? {
            Some(b'[') if holds => self.step(true),
            Some(b'{') if holds => self.step(false),
            Some(_) => self.value(None)?,
            None => return self.wrong("it ends after a key: it is cut short"),
        }
        Ok(())
    }

    /// The next byte that is no white space; it is not consumed.
    fn significant(&mut self) -> Result<Option<u8>, Fault> {
        loop {
            let buffer = self.reader.fill_buf().map_err(Fault::Io)?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let blank = (buffer.iter())
                .take_while(|b| b.is_ascii_whitespace())
                .count();
            self.line += buffer.iter().take(blank).filter(|b| **b == b'\n').count();
            let next = buffer.get(blank).copied();
            self.reader.consume(blank);
            if next.is_some() {
                return Ok(next);
            }
        }
    }

    /// Reads a value: a string, a list or an object to its end, a number or a word up to what follows it.
    fn value(&mut self, mut into: Option<&mut Vec<u8>>) -> Result<(), Fault> {
        let begin = self.line;
        let mut state = Value::default();
        let mut first = None;
        loop {
            let buffer = self.reader.fill_buf().map_err(Fault::Io)?;
            if buffer.is_empty() {
                return Err(Fault::Line(
                    begin,
                    "what begins here does not end: the file is cut short".to_owned(),
                ));
            }
            let first = *first.get_or_insert(buffer[0]);
            let (mut used, mut ended) = (0, false);
            for &byte in buffer {
                let is_plain = !matches!(first, b'"' | b'{' | b'[');
                if is_plain && (byte.is_ascii_whitespace() || b",]}".contains(&byte)) {
                    ended = true;
                    break;
                }
                used += 1;
                self.line += usize::from(byte == b'\n');
                ended = state.take(byte) || first == b'"' && !state.in_string && state.depth == 0;
                if ended {
                    break;
                }
            }
            if let Some(into) = &mut into {
                into.extend_from_slice(buffer.get(..used).unwrap_or_default());
                if into.len() > RECORD_LIMIT {
                    self.line = begin;
                    return Err(Fault::Io(TooLong.into()));
                }
            }
            self.reader.consume(used);
            if ended {
                self.begin = begin;
                return Ok(());
            }
        }
    }

    fn wrong<T>(&self, why: &str) -> Result<T, Fault> {
        Err(Fault::Line(self.line, why.to_owned()))
    }
}

/// What became of the keys of a file's objects.
#[derive(Default)]
pub(crate) struct Keys {
    /// Those that are not read.
    pub unused: BTreeSet<String>,
    /// Those that were named by hand and are there, as they were named.
    pub by_hand: BTreeSet<String>,
}

/// Reads an object as a record.
pub(crate) struct Reading<'a> {
    /// The columns that were named by hand.
    pub columns: &'a [Named],
    /// What became of the objects' keys.
    pub keys: &'a mut Keys,
    /// Whether texts hold markup, as those of services do.
    pub has_markup: bool,
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Record;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Record, D::Error> {
        from.deserialize_map(self)
    }
}

/// A year within the ways that services write one.
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

/// A text, or what is none and is passed over.
#[derive(Deserialize)]
#[serde(untagged)]
enum Loose {
    Word(Word),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct JournalInfo {
    #[serde(default)]
    journal: JournalName,
}

#[derive(Default, Deserialize)]
struct JournalName {
    #[serde(default)]
    title: Option<String>,
}

#[derive(Deserialize)]
struct KeywordList {
    #[serde(default)]
    keyword: Vec<String>,
}

#[derive(Deserialize)]
struct TypeList {
    #[serde(default, rename = "pubType")]
    kinds: Vec<String>,
}

/// `retracted` as a flag or a word.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Flag(bool),
    Word(Word),
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Record;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Record, A::Error> {
        let mut record = Record::default();
        // How well the key of each field fitted, and the key.
        let mut fits: Vec<(Field, usize, String)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let found = &mut record.found;
            match key.as_str() {
                "answers" => found.answers = map.next_value()?,
                "other_abstracts" => found.other_abstracts = map.next_value::<Others>()?,
                "journalInfo" => found.journal = map.next_value::<JournalInfo>()?.journal.title,
                "keywordList" => {
                    found.keywords = Some(map.next_value::<KeywordList>()?.keyword.join("; "));
                }
                "pubTypeList" => {
                    let kinds = map.next_value::<TypeList>()?.kinds;
                    found.retracted |= kinds
                        .iter()
                        .any(|k| k.eq_ignore_ascii_case("retracted publication"));
                }
                "dateOfRevision" => {
                    let date = map.next_value::<Word>()?.text().unwrap_or_default();
                    let digits: String = date.chars().filter(char::is_ascii_digit).collect();
                    record.revised = digits.parse().unwrap_or_default();
                }
                _ => {
                    let by_hand = self.columns.iter();
                    let by_hand = by_hand.filter(|n| n.column.eq_ignore_ascii_case(&key));
                    let named = by_hand.clone().map(|n| n.column.clone());
                    self.keys.by_hand.extend(named);
                    let place = by_hand.map(|n| (n.field, 0)).next().or_else(|| {
                        let named = |field| self.columns.iter().any(|n| n.field == field);
                        Field::of(&key)
                            .map(|(field, fit)| (field, fit + 1))
                            .filter(|(field, _)| !named(*field))
                    });
                    self.member(key, place, &mut fits, &mut record, &mut map)?;
                }
            }
        }
        let found = &mut record.found;
        if self.has_markup || fits.iter().any(|(.., key)| key == "abstractText") {
            found.title = spaced(&plain(&found.title));
            found.body = spaced(&plain(&found.body));
        }
        Ok(record)
    }
}

impl Reading<'_> {
    fn member<'de, A: MapAccess<'de>>(
        &mut self,
        key: String,
        place: Option<(Field, usize)>,
        fits: &mut Vec<(Field, usize, String)>,
        record: &mut Record,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let found: &mut Abstract = &mut record.found;
        let Some((field, fit)) = place else {
            if key.eq_ignore_ascii_case("extra") || key.eq_ignore_ascii_case("note") {
                let note = map.next_value::<serde_json::Value>()?;
                let pmid = note.as_str().and_then(pmid_within);
                found.pmid = found.pmid.take().or(pmid);
                return Ok(());
            }
            map.next_value::<IgnoredAny>()?;
            self.pass_over(key);
            return Ok(());
        };
        if let Some(at) = fits.iter().position(|(f, ..)| *f == field) {
            if fits[at].1 == fit {
                return Err(A::Error::custom(format!(
                    "the field {key:?} is there twice"
                )));
            }
            if fits[at].1 < fit {
                map.next_value::<IgnoredAny>()?;
                self.pass_over(key);
                return Ok(());
            }
            let (.., worse) = fits.remove(at);
            self.pass_over(worse);
        }
        fits.push((field, fit, key));
        match field {
            Field::Title | Field::Abstract => {
                let text = map.next_value::<Option<String>>()?;
                set(found, field, text.unwrap_or_default());
            }
            Field::Retracted => {
                found.retracted |= match map.next_value()? {
                    Flag::Flag(flag) => flag,
                    Flag::Word(word) => {
                        let mut read = Abstract::default();
                        set(&mut read, field, word.text().unwrap_or_default());
                        read.retracted
                    }
                }
            }
            Field::Year => {
                found.year = match map.next_value()? {
                    Date::Word(word) => word.text(),
                    Date::Other(_) => None,
                    Date::Parts { parts } => {
                        let first = parts.into_iter().flatten().next();
                        first.and_then(Word::text).and_then(|date| year_of(&date))
                    }
                }
            }
            Field::Pmid => {
                let text = map.next_value::<Word>()?.text();
                set(found, field, text.unwrap_or_default());
            }
            _ => match map.next_value()? {
                Loose::Word(word) => set(found, field, word.text().unwrap_or_default()),
                Loose::Other(_) => {
                    let key = fits.pop().map(|(.., key)| key);
                    self.pass_over(key.unwrap_or_default());
                }
            },
        }
        Ok(())
    }

    /// Notes a key that is not read.
    fn pass_over(&mut self, key: String) {
        if self.keys.unused.len() < UNUSED {
            self.keys.unused.insert(key.chars().take(60).collect());
        }
    }
}
