//! Finds the records in JSON: one object per line, a list of objects, consecutive objects, responses of Europe PMC and
//! CSL.

use std::io::BufRead;

use super::columns::AbstractField;
use super::limits::{RECORD_LIMIT, TooLong};

/// Keys under which responses of services hold their records.
const WRAPPERS: [&str; 10] = [
    "message",
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
/// Whether a line is one complete JSON value.
pub(crate) fn is_whole(line: &[u8]) -> bool {
    let mut value = Value::default();
    let end = line.iter().position(|byte| value.take(*byte));
    end.is_some_and(|end| {
        let rest = line.get(end + 1..).unwrap_or_default();
        rest.iter().all(u8::is_ascii_whitespace)
    })
}

/// Whether a second object follows that of the first line: one object per line.
pub(crate) fn is_lines(text: &[u8]) -> bool {
    let end = text.iter().position(|byte| *byte == b'\n');
    let (line, rest) = text.split_at(end.unwrap_or(text.len()));
    is_whole(line) && rest.trim_ascii_start().starts_with(b"{")
}

/// Whether a document's first object is a service's response: it holds records under a known key, and no title or
/// abstract itself.
pub(crate) fn is_wrapped(text: &[u8]) -> bool {
    let mut value = Value::default();
    let mut key: Option<Vec<u8>> = None;
    // The last key, until its value begins.
    let mut last: Option<Vec<u8>> = None;
    let mut holds = false;
    for &byte in text {
        let was_string = value.in_string;
        if value.take(byte) {
            break;
        }
        match (&mut key, was_string, value.in_string) {
            (_, false, true) if value.depth == 1 && is_text(last.as_deref()) => return false,
            (_, false, true) if value.depth == 1 => key = Some(Vec::new()),
            (Some(name), true, true) => name.push(byte),
            (Some(_), true, false) => last = key.take(),
            _ => {}
        }
        let opens = !was_string && (byte == b'{' || byte == b'[') && value.depth == 2;
        holds |= opens
            && (last.as_ref())
                .is_some_and(|n| WRAPPERS.iter().any(|w| w.as_bytes() == n.as_slice()));
        if !was_string && byte == b',' && value.depth == 1 {
            last = None;
        }
    }
    holds
}

/// Whether a key means a title or an abstract.
fn is_text(key: Option<&[u8]>) -> bool {
    let key = key.and_then(|key| std::str::from_utf8(key).ok());
    let field = key.and_then(AbstractField::of).map(|(field, _)| field);
    matches!(field, Some(AbstractField::Title | AbstractField::Abstract))
}

/// The scanner's state within a JSON value.
#[derive(Default)]
struct Value {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Value {
    /// Takes a byte; returns whether it ends a list or object.
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
    /// The line and what is wrong there.
    Line(usize, String),
}

/// The records of a document, as bytes.
pub(crate) struct Objects<R> {
    reader: R,
    is_wrapped: bool,
    /// Lists (true) and objects (false) open around the records.
    open: Vec<bool>,
    /// The current line, from 1.
    line: usize,
    /// The first line of the last record.
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

    /// The last line that was read completely.
    pub fn line(&self) -> usize {
        self.line - 1
    }

    /// Reads the next record into `record`; returns whether there is one.
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

    /// Reads a key and its value: enters values that hold records, skips others.
    fn member(&mut self, scratch: &mut Vec<u8>) -> Result<(), Fault> {
        self.value(Some(scratch))?;
        let key: String = serde_json::from_slice(scratch).unwrap_or_default();
        scratch.clear();
        if self.significant()? != Some(b':') {
            return self.wrong("expected a colon after a key");
        }
        self.reader.consume(1);
        let holds = WRAPPERS.contains(&key.as_str());
        let next = self.significant()?;
        if next == Some(b'"') && self.open.len() == 1 && is_text(Some(key.as_bytes())) {
            return self.wrong(&format!(
                "the object holds records and has a {key:?} itself: it is ambiguous which is the record"
            ));
        }
        match next {
            Some(b'[') if holds => self.step(true),
            Some(b'{') if holds => self.step(false),
            Some(_) => self.value(None)?,
            None => return self.wrong("it ends after a key: it is cut short"),
        }
        Ok(())
    }

    /// The next byte that is not white space; it is not consumed.
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

    /// Reads a value: a string, list or object to its end, a number or word up to the following byte.
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
