//! BibTeX: entries are found by their braces; the crate `biblatex` parses the fields of an entry and resolves LaTeX
//! commands.

use std::collections::BTreeSet;

use biblatex::{Bibliography, Chunk, ChunksRef, Entry, RawBibliography, RawChunk};

use super::gather::VersionedRecord;
use super::latex;
use super::limits::RECORD_LIMIT;
use super::markup::{spaced, year_of};
use super::values;
use crate::abstracts::{Abstract, some_text};

/// Maximum size of a file's `@string` definitions, with which every entry is parsed.
const STRINGS_LIMIT: usize = 64 << 10;
/// Maximum nesting of braces.
const DEPTH: usize = 1000;

/// The entries of a file while it is read.
#[derive(Default)]
pub(crate) struct Entries {
    /// The open entry, from its `@`, with braces.
    entry: String,
    depth: usize,
    /// Whether the open entry uses parentheses, and is inside a quoted text.
    is_round: bool,
    in_quotes: bool,
    begin: usize,
    strings: String,
    /// Bytes of the longest definition.
    longest: usize,
    /// Lines outside of entries that are neither blank nor comments.
    pub outside: usize,
}

/// The line and what is wrong there.
type Fault = (usize, String);

impl Entries {
    /// Whether an entry is open.
    pub fn is_open(&self) -> bool {
        !self.entry.is_empty()
    }

    /// Adds a line with its end; returns the records that end in it.
    pub fn line(&mut self, number: usize, line: &str) -> Result<Vec<VersionedRecord>, Fault> {
        let mut ended = Vec::new();
        let mut rest = line.trim_start_matches('\u{feff}');
        if self.depth > 0 && begins(rest) {
            return Err((
                self.begin,
                format!(
                    "the entry that begins here is not closed before the next, at line {number}"
                ),
            ));
        }
        loop {
            if !self.is_open() {
                let is_comment = rest.trim_start().starts_with('%');
                let Some((at, kind)) = next_entry(rest).filter(|_| !is_comment) else {
                    self.pass_over(rest)?;
                    return Ok(ended);
                };
                self.pass_over(rest.get(..at).unwrap_or_default())?;
                rest = rest.get(at + kind.len()..).unwrap_or_default();
                self.is_round = rest.starts_with('(');
                rest = rest.get(1..).unwrap_or_default();
                self.entry.push_str(kind);
                self.entry.push('{');
                (self.begin, self.depth, self.in_quotes) = (number, 1, false);
            }
            let mut end = None;
            for (at, byte) in rest.bytes().enumerate() {
                let ends = match byte {
                    b'{' if self.depth == DEPTH => {
                        let why = format!("its braces are nested deeper than {DEPTH}");
                        return Err((number, why));
                    }
                    b'{' => {
                        self.depth += 1;
                        false
                    }
                    b'}' if !self.is_round || self.depth > 1 => {
                        self.depth = self.depth.saturating_sub(1);
                        self.depth == 0
                    }
                    b'"' if self.depth == 1 => {
                        self.in_quotes = !self.in_quotes;
                        false
                    }
                    b')' => self.is_round && self.depth == 1 && !self.in_quotes,
                    _ => false,
                };
                if ends {
                    end = Some(at);
                    break;
                }
            }
            let Some(end) = end else {
                self.entry.push_str(rest);
                return Ok(ended);
            };
            self.entry.push_str(rest.get(..end).unwrap_or_default());
            self.entry.push('}');
            self.depth = 0;
            rest = rest.get(end + 1..).unwrap_or_default();
            let entry = std::mem::take(&mut self.entry);
            ended.extend(self.record(&entry).map_err(|why| (self.begin, why))?);
        }
    }

    /// Fails if the file ends inside an entry.
    pub fn end(&self) -> Result<(), Fault> {
        match self.is_open() {
            true => Err((
                self.begin,
                "the entry that begins here is never closed: the file is cut short".to_owned(),
            )),
            false => Ok(()),
        }
    }

    /// Counts text outside of entries, which BibTeX treats as comments.
    fn pass_over(&mut self, text: &str) -> Result<(), Fault> {
        let text = text.trim();
        if text.starts_with("TY  -") || text.starts_with("PMID-") {
            let why = "a record of another format within BibTeX: two formats in one file";
            return Err((self.begin + 1, why.to_owned()));
        }
        if !text.is_empty() && !text.starts_with('%') && text != "," {
            self.outside += 1;
        }
        Ok(())
    }

    fn record(&mut self, entry: &str) -> Result<Option<VersionedRecord>, String> {
        let (kind, inside) = entry.split_once('{').unwrap_or((entry, ""));
        match kind.trim_start_matches('@').trim().to_lowercase().as_str() {
            "comment" | "preamble" => return Ok(None),
            "string" => return self.string(entry, inside).map(|()| None),
            _ => {}
        }
        // Some programs write entries without a key.
        let has_key = inside
            .split(',')
            .next()
            .is_some_and(|k| !k.trim().is_empty());
        let text = match has_key {
            true => format!("{}{entry}", self.strings),
            false => format!("{}{kind}{{key{inside}", self.strings),
        };
        // Every "=" or "#" may refer to a string.
        let named = entry.bytes().filter(|b| *b == b'#' || *b == b'=').count();
        if named.saturating_mul(self.longest) > RECORD_LIMIT {
            return Err("its strings may expand to more than a record holds".to_owned());
        }
        let text = latex::ended(&text);
        let text = format!("{}{text}", unknown_strings(&text).unwrap_or_default());
        let parsed = Bibliography::parse(&text).map_err(|e| e.to_string())?;
        Ok(parsed.iter().next().map(|entry| record(entry, &text)))
    }
}

impl Entries {
    /// Stores a definition. A definition in terms of other strings could expand exponentially.
    fn string(&mut self, entry: &str, inside: &str) -> Result<(), String> {
        let value = inside.split_once('=').map_or("", |(_, value)| value.trim());
        if !value.starts_with(['{', '"']) || value.contains('#') {
            return Err("a @string that is put together from others is not read".to_owned());
        }
        if self.strings.len() + entry.len() > STRINGS_LIMIT {
            return Err(format!(
                "its @string definitions have more than {STRINGS_LIMIT} bytes"
            ));
        }
        self.longest = self.longest.max(value.len());
        self.strings.push_str(entry);
        self.strings.push('\n');
        Ok(())
    }
}

/// Definitions of undefined strings in an entry's fields: bibliography styles define journals (`journal = jama`). Each
/// stands for its name; titles and abstracts cannot be such strings.
fn unknown_strings(text: &str) -> Option<String> {
    let raw = RawBibliography::parse(text).ok()?;
    let fields = raw.entries.first()?.v.fields.iter();
    let others = fields.filter(|field| {
        let texts = ["title", "abstract"].iter();
        texts
            .clone()
            .all(|name| !name.eq_ignore_ascii_case(field.key.v))
    });
    let is_known = |name: &str| raw.abbreviations.iter().any(|known| known.key.v == name);
    let named = others.flat_map(|field| &field.value.v);
    let names: BTreeSet<&str> = named
        .filter_map(|chunk| match chunk.v {
            RawChunk::Abbreviation(name) if !is_known(name) => Some(name),
            _ => None,
        })
        .collect();
    let define = |name: &&str| format!("@string{{{name} = {{{name}}}}}\n");
    Some(names.iter().map(define).collect())
}

/// Where an entry begins in a line, and its `@article` without the opening brace.
fn next_entry(line: &str) -> Option<(usize, &str)> {
    line.match_indices('@').find_map(|(at, _)| {
        let rest = line.get(at..)?;
        let letters = rest.get(1..)?.bytes();
        let letters = letters.take_while(u8::is_ascii_alphabetic).count();
        let after = rest.get(1 + letters..)?;
        let blank = after.len() - after.trim_start().len();
        let opens = after.trim_start().starts_with(['{', '(']);
        (letters > 0 && opens).then(|| (at, rest.get(..1 + letters + blank).unwrap_or_default()))
    })
}

/// Whether a line begins an entry: `@article{` at its start.
fn begins(line: &str) -> bool {
    let Some((kind, _)) = line.strip_prefix('@').and_then(|l| l.split_once('{')) else {
        return false;
    };
    !kind.trim().is_empty() && kind.trim().bytes().all(|b| b.is_ascii_alphabetic())
}

/// The record of an entry; `source` is its text.
fn record(entry: &Entry, source: &str) -> VersionedRecord {
    let field = |names: &[&str]| {
        let found = names.iter().find_map(|name| entry.get(name));
        let found = found.map(|chunks| spaced(&text(chunks)));
        found.and_then(some_text)
    };
    let eprint = field(&["eprinttype", "archiveprefix"])
        .filter(|kind| kind.to_lowercase().contains("pubmed"))
        .and_then(|_| field(&["eprint"]));
    let noted = || {
        let notes = ["note", "annote", "annotation"].into_iter();
        // Taken from the source, because biblatex joins lines.
        notes.filter_map(|name| entry.get(name)).find_map(|chunks| {
            let (first, last) = (chunks.first()?, chunks.last()?);
            let note = source.get(first.span.start..last.span.end)?;
            values::pmid_noted(note.trim_start_matches(['{', '"']))
        })
    };
    let kind = field(&["type"]).unwrap_or_default();
    Abstract {
        pmid: (field(&["pmid"]).and_then(|pmid| values::pmid(&pmid)))
            .or_else(|| eprint.and_then(|pmid| values::pmid(&pmid)))
            .or_else(noted),
        title: field(&["title"]).unwrap_or_default(),
        body: field(&["abstract"]).unwrap_or_default(),
        journal: field(&["journal", "journaltitle", "booktitle"]),
        keywords: field(&["keywords"]),
        url: field(&["url"]),
        year: field(&["year", "date"]).and_then(|date| year_of(&date)),
        retracted: values::is_retracted_kind(&kind),
        ..Abstract::default()
    }
    .into()
}

/// A field's text without LaTeX commands.
fn text(chunks: ChunksRef<'_>) -> String {
    let mut text = String::new();
    for chunk in chunks {
        match &chunk.v {
            // A command that biblatex does not know is left unchanged.
            Chunk::Normal(part) | Chunk::Verbatim(part) if part.contains('\\') => {
                latex::add(&mut text, part, false);
            }
            Chunk::Normal(part) | Chunk::Verbatim(part) => text.push_str(part),
            Chunk::Math(part) => latex::add(&mut text, part, true),
        }
    }
    text
}
