//! The elements of each dialect, and the field of a citation that each fills.

use std::io::BufRead;

use quick_xml::events::BytesStart;

use super::citation::Other;
use super::{Document, Fault};
use crate::abstracts::english;

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Field {
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

impl<R: BufRead> Document<R> {
    /// The field of the element that was just opened, in PubMed's XML.
    pub(super) fn of_pubmed(&mut self, start: &BytesStart<'_>) -> Result<Option<Field>, Fault> {
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

    /// As [`Document::of_pubmed`], for JATS.
    pub(super) fn of_jats(&mut self, start: &BytesStart<'_>) -> Result<Option<Field>, Fault> {
        /// Abstract types that are the abstract itself, not highlights, a graphical abstract or a lay summary.
        const MAIN: [&str; 4] = ["structured", "unstructured", "section", "main"];
        let (name, parent) = (self.above(0).to_owned(), self.above(1).to_owned());
        let grand = self.above(2).to_owned();
        if name == "article" {
            let language = self.attribute(start, "xml:lang")?;
            // A nested article does not change the language of the outer one.
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
                    // Parts that follow go to this abstract instead of the main one.
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

    /// As [`Document::of_pubmed`], for Europe PMC's responses.
    pub(super) fn of_europe_pmc(&self) -> Option<Field> {
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

    /// As [`Document::of_pubmed`], for EndNote's exports.
    pub(super) fn of_endnote(&self) -> Option<Field> {
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
}
