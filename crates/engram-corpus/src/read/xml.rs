//! PubMed's XML as a stream: efetch answers, baseline and update files, one citation at a time.
//!
//! Entities are never expanded from a document's own declarations and nothing is fetched: a document
//! that declares entities is refused, and of references only XML's five and numbers are known.

use std::io::BufRead;
use std::sync::Arc;

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesStart, Event};

use crate::abstracts::{Abstract, some_text};

/// Elements within elements: a citation with formulae has some twenty.
const DEPTH: usize = 128;
/// The document elements that are read.
const ROOTS: [&str; 3] = [
    "PubmedArticleSet",
    "MedlineCitationSet",
    "PubmedBookArticleSet",
];

/// Something that a document holds.
#[derive(Debug)]
pub(crate) enum Found {
    /// A citation; fields that it lacks are absent, title and body may both be empty.
    Citation(Abstract),
    /// A PMID that is to be deleted.
    Deleted(String),
}

/// What is wrong with a document, and where.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Bytes from the (decompressed) start.
    pub byte: u64,
    pub why: String,
    /// Where reading failed, not the document.
    pub io: Option<std::io::Error>,
}

/// A citation under way.
#[derive(Default)]
struct Citation {
    depth: usize,
    found: Abstract,
    body: Vec<String>,
    other: Vec<String>,
    vernacular: String,
    book: String,
    journal_short: String,
    keywords: Vec<String>,
}

/// A text that is being read: from the element at this depth.
struct Text {
    depth: usize,
    field: Field,
    label: Option<String>,
    text: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    Pmid,
    Deleted,
    Title,
    Vernacular,
    BookTitle,
    Body,
    Other,
    Journal,
    JournalShort,
    Year,
    YearInText,
    Keyword,
}

/// A document being read.
pub(crate) struct Document<R> {
    reader: Reader<R>,
    buffer: Vec<u8>,
    path: Vec<String>,
    citation: Option<Citation>,
    text: Option<Text>,
    rooted: bool,
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
            rooted: false,
        }
    }

    /// The next citation or deletion; none at the end of a whole document.
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
            Event::Text(text) => self.add(&text.xml10_content()),
            Event::CData(text) => self.add(&text.xml10_content()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(character)) => self.add(character.encode_utf8(&mut [0; 4])),
                Ok(None) => {
                    let name = reference.xml10_content();
                    match resolve_xml_entity(&name) {
                        Some(text) => self.add(text),
                        None => {
                            return self.wrong(format!(
                                "it refers to the entity &{};, which is none of XML's own; entities are not fetched or expanded",
                                name.chars().take(40).collect::<String>()
                            ));
                        }
                    }
                }
                Err(error) => return self.wrong(error.to_string()),
            },
            Event::Decl(declaration) => {
                if let Some(Ok(encoding)) = declaration.encoding() {
                    let known = ["utf-8", "utf8", "us-ascii", "ascii"];
                    if !known.contains(&encoding.to_ascii_lowercase().as_str()) {
                        return self.wrong(format!(
                            "its encoding is {encoding}; convert it to UTF-8 first"
                        ));
                    }
                }
            }
            Event::DocType(kind) => {
                let kind = kind.xml10_content();
                if kind.contains("<!ENTITY") {
                    return self.wrong(
                        "its DOCTYPE declares entities, which PubMed's files never do; they are not expanded",
                    );
                }
            }
            Event::Eof => {
                return match self.path.last() {
                    Some(open) => {
                        self.wrong(format!("it ends inside <{open}>: the file is truncated"))
                    }
                    None if !self.rooted => self.wrong("it holds no element"),
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
            if !ROOTS.contains(&name.as_str()) {
                return self.wrong(format!(
                    "its document element is <{}>, none of PubMed's ({})",
                    name.chars().take(40).collect::<String>(),
                    ROOTS.join(", ")
                ));
            }
            self.rooted = true;
        }
        if self.path.len() >= DEPTH {
            return self.wrong(format!("its elements are nested deeper than {DEPTH}"));
        }
        self.path.push(name);
        if self.text.is_some() {
            return Ok(());
        }
        let name = self.path.last().map_or("", String::as_str);
        let begins = matches!(
            name,
            "PubmedArticle" | "PubmedBookArticle" | "MedlineCitation"
        );
        if self.citation.is_none() && begins {
            self.citation = Some(Citation {
                depth: self.path.len(),
                ..Citation::default()
            });
        }
        let Some(field) = self.field() else {
            return Ok(());
        };
        let label = match field {
            Field::Body | Field::Other => self.label(start)?,
            _ => None,
        };
        self.text = Some(Text {
            depth: self.path.len(),
            field,
            label,
            text: String::new(),
        });
        Ok(())
    }

    /// What the element that was just opened is to the citation.
    fn field(&self) -> Option<Field> {
        let at = |back: usize| {
            let index = self.path.len().checked_sub(back + 1)?;
            self.path.get(index).map(String::as_str)
        };
        let (name, parent) = (at(0)?, at(1)?);
        if (name, parent) == ("PMID", "DeleteCitation") {
            return Some(Field::Deleted);
        }
        let citation = self.citation.as_ref()?;
        let pmid = citation.found.pmid.is_none();
        let year = citation.found.year.is_none();
        match (name, parent) {
            ("PMID", "MedlineCitation" | "BookDocument") if pmid => Some(Field::Pmid),
            ("ArticleTitle", "Article" | "BookDocument") => Some(Field::Title),
            ("VernacularTitle", _) => Some(Field::Vernacular),
            ("BookTitle", "Book") => Some(Field::BookTitle),
            ("AbstractText", "Abstract") => Some(Field::Body),
            ("AbstractText", "OtherAbstract") => Some(Field::Other),
            ("Title", "Journal") => Some(Field::Journal),
            ("ISOAbbreviation", "Journal") | ("MedlineTA", _) => Some(Field::JournalShort),
            ("Year", "PubDate") if year => Some(Field::Year),
            ("MedlineDate", "PubDate") if year => Some(Field::YearInText),
            ("Keyword", "KeywordList") => Some(Field::Keyword),
            _ => None,
        }
    }

    /// An abstract part's heading, as PubMed shows it; parts that only say that they have none have none.
    fn label(&self, start: &BytesStart<'_>) -> Result<Option<String>, Fault> {
        let value = match start.try_get_attribute("Label") {
            Ok(Some(attribute)) => attribute.normalized_value(XmlVersion::default()),
            Ok(None) => return Ok(None),
            Err(error) => return self.wrong(error.to_string()),
        };
        match value {
            Ok(label) => {
                let label = spaced(&label);
                let none = label.is_empty()
                    || ["UNLABELLED", "UNLABELED", "UNASSIGNED"]
                        .contains(&label.to_uppercase().as_str());
                Ok((!none).then_some(label))
            }
            Err(error) => self.wrong(error.to_string()),
        }
    }

    fn add(&mut self, text: &str) {
        if let Some(under_way) = &mut self.text {
            under_way.text.push_str(text);
        }
    }

    /// Ends the innermost element: a text goes to its field, a citation is found.
    fn close(&mut self) -> Option<Found> {
        let depth = self.path.len();
        if let Some(text) = self.text.take_if(|t| t.depth == depth) {
            let value = spaced(&text.text);
            if text.field == Field::Deleted {
                return some_text(value).map(Found::Deleted);
            }
            if let Some(citation) = &mut self.citation {
                citation.set(text.field, text.label, value);
            }
        }
        let citation = self.citation.take_if(|c| c.depth == depth)?;
        Some(Found::Citation(citation.whole()))
    }
}

enum Step {
    On,
    Found(Box<Found>),
    End,
}

impl Citation {
    fn set(&mut self, field: Field, label: Option<String>, value: String) {
        if value.is_empty() {
            return;
        }
        let part = |value: String| match label {
            Some(label) => format!("{label}: {value}"),
            None => value,
        };
        match field {
            Field::Pmid => self.found.pmid = Some(value),
            Field::Title => self.found.title = value,
            Field::Vernacular => self.vernacular = value,
            Field::BookTitle => self.book = value,
            Field::Body => self.body.push(part(value)),
            Field::Other => self.other.push(part(value)),
            Field::Journal => self.found.journal = Some(value),
            Field::JournalShort => self.journal_short = value,
            Field::Year => self.found.year = Some(value),
            Field::YearInText => self.found.year = year_of(&value),
            Field::Keyword => self.keywords.push(value),
            Field::Deleted => {}
        }
    }

    fn whole(self) -> Abstract {
        let mut found = self.found;
        if found.title.is_empty() {
            found.title = match self.vernacular.is_empty() {
                true => self.book.clone(),
                false => self.vernacular,
            };
        }
        let parts = match self.body.is_empty() {
            true => self.other,
            false => self.body,
        };
        found.body = parts.join(" ");
        let short = [self.journal_short, self.book];
        found.journal = found
            .journal
            .or_else(|| short.into_iter().find_map(some_text));
        found.keywords = some_text(self.keywords.join("; "));
        found.url = found
            .pmid
            .as_ref()
            .map(|pmid| format!("https://pubmed.ncbi.nlm.nih.gov/{pmid}/"));
        found
    }
}

/// The first four digits in a row ("1998 Dec-1999 Jan").
pub(crate) fn year_of(date: &str) -> Option<String> {
    date.split(|c: char| !c.is_ascii_digit())
        .find(|digits| digits.len() == 4)
        .map(str::to_owned)
}

/// Stretches of white space as one space, none at the ends.
pub(crate) fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
