//! XML of citations as a stream, one at a time: PubMed's (efetch answers, baseline and update files), JATS, Europe PMC's
//! and EndNote's.
//!
//! Entities are never expanded from a document's own declarations and nothing is fetched: a document
//! that declares entities is refused, and of references only XML's five and numbers are known.

use std::io::BufRead;
use std::sync::Arc;

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesStart, Event};

use super::gather::Record;
use super::inline::Text;
use super::markup::{self, label, labelled, spaced, year_of};
use super::tagged::{address, english_first, not_available, other_body};
use super::values;
use crate::abstracts::{Abstract, OtherAbstract, english, some_text};

/// Elements within elements: a citation with formulae has some twenty.
const DEPTH: usize = 128;

/// Whose XML a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Pubmed,
    Jats,
    EuropePmc,
    EndNote,
}

/// The document elements that are read.
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

/// Something that a document holds.
#[derive(Debug)]
pub(crate) enum Found {
    /// A citation; fields that it lacks are absent, title and body may both be empty.
    Citation(Box<Record>),
    /// A PMID that is to be deleted, and of which version: without one, all.
    Deleted(String, Option<u32>),
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
    version: Option<u32>,
    /// Year, month and day of the last revision.
    revised: [u32; 3],
    body: Vec<String>,
    others: Vec<Other>,
    vernacular: String,
    book: String,
    journal_short: String,
    keywords: Vec<String>,
    /// Headings within an abstract, the outer first, until their part begins.
    heading: Option<String>,
    /// The article's language, which its abstract has unless it names another.
    language: Option<String>,
    /// The identifier in EndNote's or Europe PMC's collection, and which that is.
    number: Option<String>,
    collection: String,
}

/// An abstract in another language under way.
#[derive(Default)]
struct Other {
    language: Option<String>,
    parts: Vec<String>,
}

/// A text that is being read: from the element at this depth.
struct Open {
    depth: usize,
    field: Field,
    label: Option<String>,
    text: Text,
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    Pmid,
    Deleted(Option<u32>),
    Title,
    Vernacular,
    BookTitle,
    Body,
    Other,
    /// A heading within an abstract.
    Heading,
    Journal,
    JournalShort,
    Year,
    YearInText,
    /// Year, month or day of the last revision.
    Revised(usize),
    RevisedInText,
    Keyword,
    Kind,
    Number,
    Collection,
    Url,
}

/// A document being read.
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
                                "it refers to the entity &{};, which is none of XML's own; entities are not fetched or expanded",
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

    /// EndNote's text of one face, as the element that other dialects have for it.
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

    /// Tells whose document it is by its element.
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

    /// The name of the element so many levels above the one that was just opened.
    fn above(&self, back: usize) -> &str {
        let index = self.path.len().checked_sub(back + 1);
        let name = index.and_then(|index| self.path.get(index));
        name.map_or("", String::as_str)
    }

    fn is_within(&self, name: &str) -> bool {
        self.path.iter().rev().skip(1).any(|n| n == name)
    }

    /// What the element that was just opened is to a citation of PubMed's.
    fn of_pubmed(&mut self, start: &BytesStart<'_>) -> Result<Option<Field>, Fault> {
        let (name, parent) = (self.above(0).to_owned(), self.above(1).to_owned());
        let is_pmid = name == "PMID";
        let version = match is_pmid {
            true => self.attribute(start, "Version")?,
            false => None,
        };
        let version = version.and_then(|v| v.trim().parse::<u32>().ok());
        if is_pmid && parent == "DeleteCitation" {
            return Ok(Some(Field::Deleted(version)));
        }
        let language = match name == "OtherAbstract" {
            true => self.attribute(start, "Language")?,
            false => None,
        };
        let reference = match name == "CommentsCorrections" {
            true => self.attribute(start, "RefType")?,
            false => None,
        };
        let Some(citation) = &mut self.citation else {
            return Ok(None);
        };
        let is_first = citation.found.pmid.is_none();
        let year = citation.found.year.is_none();
        Ok(match (name.as_str(), parent.as_str()) {
            ("PMID", "MedlineCitation" | "BookDocument") if is_first => {
                citation.version = version;
                Some(Field::Pmid)
            }
            ("OtherAbstract", _) => {
                citation.others.push(Other {
                    language: language.filter(|l| !english(l)),
                    parts: Vec::new(),
                });
                None
            }
            ("CommentsCorrections", _) => {
                let is_retracted = ["RetractionIn", "RetractedandRepublishedIn"];
                citation.found.retracted |=
                    reference.is_some_and(|kind| is_retracted.contains(&kind.as_str()));
                None
            }
            ("ArticleTitle", "Article" | "BookDocument") => Some(Field::Title),
            ("VernacularTitle", _) => Some(Field::Vernacular),
            ("BookTitle", "Book") => Some(Field::BookTitle),
            ("AbstractText", "Abstract") => Some(Field::Body),
            ("AbstractText", "OtherAbstract") => Some(Field::Other),
            ("Title", "Journal") => Some(Field::Journal),
            ("ISOAbbreviation", "Journal") | ("MedlineTA", _) => Some(Field::JournalShort),
            ("Year", "PubDate") if year => Some(Field::Year),
            ("MedlineDate", "PubDate") if year => Some(Field::YearInText),
            ("Year", "DateRevised") => Some(Field::Revised(0)),
            ("Month", "DateRevised") => Some(Field::Revised(1)),
            ("Day", "DateRevised") => Some(Field::Revised(2)),
            ("Keyword", "KeywordList") => Some(Field::Keyword),
            ("PublicationType", "PublicationTypeList" | "BookDocument") => Some(Field::Kind),
            _ => None,
        })
    }

    /// As [`Document::of_pubmed`], of JATS.
    fn of_jats(&mut self, start: &BytesStart<'_>) -> Result<Option<Field>, Fault> {
        /// Types of abstracts that are the abstract itself, not highlights, a picture or a summary for lay readers.
        const MAIN: [&str; 4] = ["structured", "unstructured", "section", "main"];
        let (name, parent) = (self.above(0).to_owned(), self.above(1).to_owned());
        let grand = self.above(2).to_owned();
        if name == "article" {
            let language = self.attribute(start, "xml:lang")?;
            // An article within it does not change the outer one's.
            if let Some(citation) = &mut self.citation
                && citation.depth == self.path.len()
            {
                citation.language = language;
            }
            return Ok(None);
        }
        if name == "trans-abstract" || name == "abstract" && parent == "article-meta" {
            let language = self.attribute(start, "xml:lang")?;
            let kind = self.attribute(start, "abstract-type")?;
            if let Some(citation) = &mut self.citation {
                citation.heading = None;
                let language = match name.as_str() {
                    "abstract" => language.or_else(|| citation.language.clone()),
                    _ => language,
                };
                let language = language.filter(|l| !english(l));
                let is_other = name == "trans-abstract"
                    || kind.is_some_and(|kind| !MAIN.contains(&kind.as_str()))
                    || language.is_some()
                    || !citation.body.is_empty();
                if is_other {
                    // Told apart from the main one by being here.
                    citation.others.push(Other {
                        language,
                        parts: Vec::new(),
                    });
                }
                citation.collection = match is_other {
                    true => "other".to_owned(),
                    false => String::new(),
                };
            }
            return Ok(None);
        }
        let is_pmid = name == "article-id"
            && parent == "article-meta"
            && self.attribute(start, "pub-id-type")?.as_deref() == Some("pmid");
        let in_abstract = self.is_within("abstract") || self.is_within("trans-abstract");
        let in_meta = self.is_within("article-meta");
        let Some(citation) = &self.citation else {
            return Ok(None);
        };
        let body = match citation.collection.is_empty() {
            true => Field::Body,
            false => Field::Other,
        };
        Ok(match (name.as_str(), parent.as_str()) {
            _ if is_pmid => Some(Field::Pmid),
            ("article-title", "title-group") if grand == "article-meta" => Some(Field::Title),
            ("title", _) if in_meta && in_abstract => Some(Field::Heading),
            ("p" | "list-item", _) if in_meta && in_abstract => Some(body),
            ("journal-title", _) if !in_meta => Some(Field::Journal),
            ("year", "pub-date") if in_meta && citation.found.year.is_none() => Some(Field::Year),
            ("kwd", _) if in_meta => Some(Field::Keyword),
            _ => None,
        })
    }

    /// As [`Document::of_pubmed`], of Europe PMC's answers.
    fn of_europe_pmc(&self) -> Option<Field> {
        match (self.above(0), self.above(1)) {
            ("pmid", "result") => Some(Field::Pmid),
            ("title", "result") => Some(Field::Title),
            ("abstractText", "result") => Some(Field::Body),
            ("title", "journal") | ("journalTitle", "result") => Some(Field::Journal),
            ("pubYear", "result") => Some(Field::Year),
            ("keyword", "keywordList") => Some(Field::Keyword),
            ("pubType", "pubTypeList") => Some(Field::Kind),
            ("dateOfRevision", "result") => Some(Field::RevisedInText),
            _ => None,
        }
    }

    /// As [`Document::of_pubmed`], of EndNote's exports.
    fn of_endnote(&self) -> Option<Field> {
        match (self.above(0), self.above(1)) {
            ("title", "titles") => Some(Field::Title),
            ("secondary-title", "titles") | ("full-title", "periodical") => Some(Field::Journal),
            ("abbr-1", "periodical") => Some(Field::JournalShort),
            ("abstract", "record") => Some(Field::Body),
            ("year", "dates") => Some(Field::YearInText),
            ("keyword", "keywords") => Some(Field::Keyword),
            ("accession-num", _) => Some(Field::Number),
            ("remote-database-name", _) => Some(Field::Collection),
            ("url", _) => Some(Field::Url),
            ("work-type", "record") => Some(Field::Kind),
            _ => None,
        }
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

    /// Ends the innermost element: a text goes to its field, a citation is found.
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

impl Citation {
    fn set(&mut self, field: Field, label: Option<&str>, value: String) {
        if value.is_empty() {
            return;
        }
        match field {
            Field::Pmid => self.found.pmid = values::pmid(&value),
            Field::Title => self.found.title = value,
            Field::Vernacular => self.vernacular = value,
            Field::BookTitle => self.book = value,
            Field::Body => self.body.push(labelled(label, value)),
            Field::Other => {
                if let Some(other) = self.others.last_mut() {
                    other.parts.push(labelled(label, value));
                }
            }
            Field::Heading => {
                let is_name = ["ABSTRACT", "SUMMARY"].contains(&value.to_uppercase().as_str());
                let inner = markup::label(&value).filter(|_| !is_name);
                self.heading = match (self.heading.take(), inner) {
                    (Some(outer), Some(inner)) => Some(format!("{outer}: {inner}")),
                    (outer, inner) => inner.or(outer),
                };
            }
            Field::Journal => self.found.journal = self.found.journal.take().or(Some(value)),
            Field::JournalShort => self.journal_short = value,
            Field::Year => self.found.year = Some(value),
            Field::YearInText => self.found.year = year_of(&value),
            Field::Revised(part) => self.revised[part] = value.parse().unwrap_or_default(),
            Field::RevisedInText => {
                let mut parts = value.split('-').map(|p| p.parse().unwrap_or_default());
                self.revised = std::array::from_fn(|_| parts.next().unwrap_or_default());
            }
            Field::Keyword => self.keywords.push(value),
            Field::Kind => self.found.retracted |= values::is_retracted_kind(&value),
            Field::Number => self.number = Some(value),
            Field::Collection => self.collection = value.to_lowercase(),
            Field::Url => self.found.url = self.found.url.take().or(Some(value)),
            Field::Deleted(_) => {}
        }
    }

    fn whole(self, dialect: Dialect) -> Record {
        let mut found = self.found;
        if not_available(&found.title) && !self.vernacular.is_empty() {
            found.title.clear();
        }
        if found.title.is_empty() {
            found.title = match self.vernacular.is_empty() {
                true => self.book.clone(),
                false => self.vernacular,
            };
        }
        let mut others: Vec<OtherAbstract> = (self.others.into_iter())
            .map(|other| OtherAbstract {
                language: other.language,
                body: other_body(&other.parts.join(" ")),
            })
            .filter(|other| !other.body.is_empty())
            .collect();
        found.body = self.body.join(" ");
        if found.body.is_empty() && !others.is_empty() {
            let main = others.remove(english_first(&others));
            (found.body, found.language) = (main.body, main.language);
        }
        found.other_abstracts = others;
        let short = [self.journal_short, self.book];
        found.journal = found
            .journal
            .or_else(|| short.into_iter().find_map(some_text));
        found.keywords = some_text(self.keywords.join("; "));
        if dialect == Dialect::EndNote {
            let is_pubmed = self.collection.contains("pubmed")
                || self.collection.contains("medline")
                || self.collection.contains("nlm");
            found.pmid = self.number.filter(|number| {
                number.bytes().all(|b| b.is_ascii_digit())
                    && number.len() <= 8
                    && (is_pubmed || self.collection.is_empty() && number.len() >= 7)
            });
        }
        found.url = found.url.or_else(|| found.pmid.as_deref().map(address));
        let [year, month, day] = self.revised.map(|part| part.min(9999));
        Record {
            found,
            version: match dialect {
                Dialect::Pubmed => self.version.unwrap_or(1),
                _ => 0,
            },
            revised: year * 10_000 + month.min(99) * 100 + day.min(99),
        }
    }
}
