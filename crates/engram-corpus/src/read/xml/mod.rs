//! Reads citations in XML as a stream: PubMed (efetch responses, baseline and update files), JATS, Europe PMC and
//! EndNote.
//!
//! Entities declared in a document are never expanded, and nothing is fetched: a document that declares entities is
//! rejected. Only XML's five predefined entities and character references are known.

mod citation;
mod dialects;

use std::io::BufRead;
use std::sync::Arc;

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesStart, Event};

use self::citation::Citation;
use self::dialects::Field;
use super::gather::VersionedRecord;
use super::inline::Text;
use super::markup::{self, label, spaced};
use super::values;

/// Maximum nesting of elements; a citation with formulae has about twenty levels.
const DEPTH: usize = 128;

/// The dialect of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Pubmed,
    Jats,
    EuropePmc,
    EndNote,
}

/// The root elements of supported documents.
const ROOTS: [(&str, Dialect); 8] = [
    ("PubmedArticleSet", Dialect::Pubmed),
    ("MedlineCitationSet", Dialect::Pubmed),
    ("PubmedBookArticleSet", Dialect::Pubmed),
    ("article", Dialect::Jats),
    ("articles", Dialect::Jats),
    ("pmc-articleset", Dialect::Jats),
    ("responseWrapper", Dialect::EuropePmc),
    ("xml", Dialect::EndNote),
];

/// An item of a document.
#[derive(Debug)]
pub(crate) enum Found {
    /// A citation; missing fields are absent, and both title and body may be empty.
    Citation(Box<VersionedRecord>),
    /// A deletion of a PMID: of one version, or of all.
    Deleted(String, Option<u32>),
}

/// What is wrong with a document, and where.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Offset in the decompressed file.
    pub byte: u64,
    pub why: String,
    /// The I/O error, if reading failed.
    pub io: Option<std::io::Error>,
}

/// The text of an open element at this depth.
struct Open {
    depth: usize,
    field: Field,
    label: Option<String>,
    text: Text,
}

/// A document while it is read.
pub(crate) struct Document<R> {
    reader: Reader<R>,
    buffer: Vec<u8>,
    path: Vec<String>,
    citation: Option<Citation>,
    text: Option<Open>,
    dialect: Option<Dialect>,
}

impl<R: BufRead> Document<R> {
    pub fn new(reader: R) -> Document<R> {
        let mut reader = Reader::from_reader(reader);
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.check_comments = false;
        Document {
            reader,
            buffer: Vec::new(),
            path: Vec::new(),
            citation: None,
            text: None,
            dialect: None,
        }
    }

    /// The next citation or deletion; `None` at the end of a complete document.
    pub fn next(&mut self) -> Result<Option<Found>, Fault> {
        loop {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.clear();
            let event = match self.reader.read_event_into(&mut buffer) {
                Ok(event) => event,
                Err(quick_xml::Error::Io(error)) => {
                    let io = Arc::try_unwrap(error)
                        .unwrap_or_else(|e| std::io::Error::new(e.kind(), e.to_string()));
                    return Err(self.fault("it cannot be read", Some(io)));
                }
                Err(error) => {
                    return Err(
                        self.fault(format!("{error}: the file is damaged or truncated"), None)
                    );
                }
            };
            let found = self.take(event)?;
            self.buffer = buffer;
            match found {
                Step::On => {}
                Step::Found(found) => return Ok(Some(*found)),
                Step::End => return Ok(None),
            }
        }
    }

    fn fault(&self, why: impl Into<String>, io: Option<std::io::Error>) -> Fault {
        Fault {
            byte: self
                .reader
                .error_position()
                .max(self.reader.buffer_position()),
            why: why.into(),
            io,
        }
    }

    fn wrong<T>(&self, why: impl Into<String>) -> Result<T, Fault> {
        Err(self.fault(why, None))
    }

    fn take(&mut self, event: Event<'_>) -> Result<Step, Fault> {
        match event {
            Event::Start(start) => self.open(&start)?,
            Event::End(_) => {
                let found = self.close();
                self.path.pop();
                return Ok(found.map_or(Step::On, |f| Step::Found(Box::new(f))));
            }
            Event::Text(text) => {
                let text = text.xml10_content();
                if self.path.is_empty() && !text.trim().is_empty() {
                    let start: String = text.trim().chars().take(40).collect();
                    return self.wrong(format!(
                        "text outside of the document's element: {start:?}; another file's content, or damage"
                    ));
                }
                self.add(&text);
            }
            Event::CData(text) => self.add(&text.xml10_content()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(character)) => self.add(character.encode_utf8(&mut [0; 4])),
                Ok(None) => {
                    let name = reference.xml10_content();
                    match resolve_xml_entity(&name) {
                        Some(text) => self.add(text),
                        None => {
                            return self.wrong(format!(
                                "it refers to the entity &{};, which is not one of XML's own; entities are not fetched or expanded",
                                name.chars().take(40).collect::<String>()
                            ));
                        }
                    }
                }
                Err(error) => return self.wrong(error.to_string()),
            },
            Event::DocType(kind) => {
                let kind = kind.xml10_content();
                if kind.contains("<!ENTITY") {
                    return self.wrong(
                        "its DOCTYPE declares entities, which files of citations never do; they are not expanded",
                    );
                }
            }
            Event::Eof => {
                return match self.path.last() {
                    Some(open) => {
                        self.wrong(format!("it ends inside <{open}>: the file is truncated"))
                    }
                    None if self.dialect.is_none() => self.wrong("it holds no element"),
                    None => Ok(Step::End),
                };
            }
            _ => {}
        }
        Ok(Step::On)
    }

    fn open(&mut self, start: &BytesStart<'_>) -> Result<(), Fault> {
        let name = AsRef::<str>::as_ref(&start.local_name()).to_owned();
        if self.path.is_empty() {
            self.root(&name)?;
        }
        if self.path.len() >= DEPTH {
            return self.wrong(format!("its elements are nested deeper than {DEPTH}"));
        }
        let name = match self.dialect {
            Some(Dialect::EndNote) if name == "style" => self.style(start)?,
            _ => name,
        };
        self.path.push(name);
        if let Some(open) = &mut self.text {
            open.text.open(&self.path);
            return Ok(());
        }
        let name = self.path.last().map_or("", String::as_str);
        let Some(dialect) = self.dialect else {
            return Ok(());
        };
        let begins = match dialect {
            Dialect::Pubmed => matches!(
                name,
                "PubmedArticle" | "PubmedBookArticle" | "MedlineCitation"
            ),
            Dialect::Jats => name == "article",
            Dialect::EuropePmc => name == "result",
            Dialect::EndNote => name == "record",
        };
        if self.citation.is_none() && begins {
            self.citation = Some(Citation {
                depth: self.path.len(),
                ..Citation::default()
            });
        }
        let field = match dialect {
            Dialect::Pubmed => self.of_pubmed(start)?,
            Dialect::Jats => self.of_jats(start)?,
            Dialect::EuropePmc => self.of_europe_pmc(),
            Dialect::EndNote => self.of_endnote(),
        };
        let Some(field) = field else {
            return Ok(());
        };
        let label = match field {
            Field::Body | Field::Other => match dialect {
                Dialect::Pubmed => self.attribute(start, "Label")?.and_then(|l| label(&l)),
                _ => self.citation.as_mut().and_then(|c| c.heading.take()),
            },
            _ => None,
        };
        self.text = Some(Open {
            depth: self.path.len(),
            field,
            label,
            text: Text::default(),
        });
        Ok(())
    }

    /// EndNote's formatted text, as the corresponding element of other dialects.
    fn style(&self, start: &BytesStart<'_>) -> Result<String, Fault> {
        let face = self.attribute(start, "face")?.unwrap_or_default();
        let is = |kind| face.split_whitespace().any(|word| word == kind);
        Ok(match () {
            () if is("superscript") => "sup",
            () if is("subscript") => "sub",
            () => "style",
        }
        .to_owned())
    }

    /// Sets the dialect by the root element.
    fn root(&mut self, name: &str) -> Result<(), Fault> {
        let Some((_, dialect)) = ROOTS.iter().find(|(root, _)| *root == name) else {
            let what = match name {
                "eSummaryResult" => " (PubMed's summaries, which have no abstracts)",
                "eSearchResult" => " (a search's answer, which has only PMIDs)",
                "html" => " (a web page)",
                _ => "",
            };
            let roots = ROOTS.map(|(root, _)| root);
            return self.wrong(format!(
                "its document element is <{}>{what}, none of PubMed's, JATS's, Europe PMC's and EndNote's ({})",
                name.chars().take(40).collect::<String>(),
                roots.join(", ")
            ));
        };
        if self.dialect.is_some_and(|before| before != *dialect) {
            return self.wrong(format!(
                "a second document begins with <{name}>: two formats in one file"
            ));
        }
        self.dialect = Some(*dialect);
        Ok(())
    }

    /// Name of the element `back` levels above the one just opened.
    fn above(&self, back: usize) -> &str {
        let index = self.path.len().checked_sub(back + 1);
        let name = index.and_then(|index| self.path.get(index));
        name.map_or("", String::as_str)
    }

    fn is_within(&self, name: &str) -> bool {
        self.path.iter().rev().skip(1).any(|n| n == name)
    }

    fn attribute(&self, start: &BytesStart<'_>, name: &str) -> Result<Option<String>, Fault> {
        let value = match start.try_get_attribute(name) {
            Ok(Some(attribute)) => attribute.normalized_value(XmlVersion::default()),
            Ok(None) => return Ok(None),
            Err(error) => return self.wrong(error.to_string()),
        };
        match value {
            Ok(value) => Ok(Some(value.into_owned())),
            Err(error) => self.wrong(error.to_string()),
        }
    }

    fn add(&mut self, text: &str) {
        if let Some(open) = &mut self.text {
            open.text.add(text);
        }
    }

    /// Closes the innermost element: its text is stored in its field, or a citation ends.
    fn close(&mut self) -> Option<Found> {
        let depth = self.path.len();
        if let Some(open) = &mut self.text {
            open.text.close(&self.path);
        }
        if let Some(open) = self.text.take_if(|open| open.depth == depth) {
            let text = open.text.end();
            let value = match self.dialect {
                Some(Dialect::EuropePmc) => markup::plain(&text),
                _ => markup::twice_escaped(&text),
            };
            let value = spaced(&value);
            if let Field::Deleted(version) = open.field {
                return values::pmid(&value).map(|pmid| Found::Deleted(pmid, version));
            }
            if let Some(citation) = &mut self.citation {
                citation.set(open.field, open.label.as_deref(), value);
            }
        }
        let citation = self.citation.take_if(|c| c.depth == depth)?;
        let dialect = self.dialect.unwrap_or(Dialect::Pubmed);
        Some(Found::Citation(Box::new(citation.whole(dialect))))
    }
}

enum Step {
    On,
    Found(Box<Found>),
    End,
}
