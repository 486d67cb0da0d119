//! A citation while its document is read, and the record that it becomes.

use super::super::gather::VersionedRecord;
use super::super::markup::{self, labelled, year_of};
use super::super::tagged::{address, english_first, not_available, other_body};
use super::super::values;
use super::Dialect;
use super::dialects::Field;
use crate::abstracts::{Abstract, OtherAbstract, some_text};

/// A citation while it is read.
#[derive(Default)]
pub(super) struct Citation {
    pub(super) depth: usize,
    pub(super) found: Abstract,
    pub(super) version: Option<u32>,
    /// Year, month and day of the last revision.
    pub(super) revised: [u32; 3],
    pub(super) body: Vec<String>,
    pub(super) others: Vec<Other>,
    pub(super) vernacular: String,
    pub(super) book: String,
    pub(super) journal_short: String,
    pub(super) keywords: Vec<String>,
    /// Headings within an abstract, outer first, until their part begins.
    pub(super) heading: Option<String>,
    /// The article's language, which its abstract has unless it names another.
    pub(super) language: Option<String>,
    /// The id in EndNote's or Europe PMC's collection, and the collection.
    pub(super) number: Option<String>,
    pub(super) collection: String,
}

/// An abstract in another language while it is read.
#[derive(Default)]
pub(super) struct Other {
    pub(super) language: Option<String>,
    pub(super) parts: Vec<String>,
}

impl Citation {
    pub(super) fn set(&mut self, field: Field, label: Option<&str>, value: String) {
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

    pub(super) fn whole(self, dialect: Dialect) -> VersionedRecord {
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
        VersionedRecord {
            found,
            version: match dialect {
                Dialect::Pubmed => self.version.unwrap_or(1),
                _ => 0,
            },
            revised: year * 10_000 + month.min(99) * 100 + day.min(99),
        }
    }
}
