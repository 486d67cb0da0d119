//! Maps table columns and JSON keys to the fields of an abstract.

use std::cell::Cell;
use std::path::Path;

use super::markup::plain as without_markup;
use super::values;
use crate::abstracts::{Abstract, OtherAbstract, english, some_text};
use crate::error::{CorpusError, Result};

/// A field of an abstract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AbstractField {
    /// PubMed id.
    Pmid,
    /// The title.
    Title,
    /// The abstract.
    Abstract,
    /// The journal.
    Journal,
    /// Keywords.
    Keywords,
    /// Address of the article.
    Url,
    /// The year of publication.
    Year,
    /// The collection.
    Source,
    /// The language of the abstract.
    Language,
    /// Whether the article was retracted.
    Retracted,
}

/// Known column names, best first, without spaces, punctuation and case: those of PubMed, Europe PMC, Zotero, Scopus,
/// Web of Science, CSL-JSON, RIS and text data sets.
const NAMES: [(AbstractField, &[&str]); 10] = [
    (
        AbstractField::Pmid,
        &[
            "pmid",
            "pubmedid",
            "pubmed",
            "pubmedidentifier",
            "medlinepmid",
            "pm",
        ],
    ),
    (
        AbstractField::Title,
        &["title", "articletitle", "documenttitle", "ti", "papertitle"],
    ),
    (
        AbstractField::Abstract,
        &[
            "abstract",
            "abstractnote",
            "abstracttext",
            "ab",
            "n2",
            "summary",
            "text",
            "body",
            "content",
        ],
    ),
    (
        AbstractField::Journal,
        &[
            "journal",
            "journaltitle",
            "journalbook",
            "publicationtitle",
            "sourcetitle",
            "containertitle",
            "publicationname",
            "journalname",
            "so",
            "jt",
            "jo",
        ],
    ),
    (
        AbstractField::Keywords,
        &[
            "keywords",
            "keyword",
            "authorkeywords",
            "manualtags",
            "kw",
            "de",
        ],
    ),
    (AbstractField::Url, &["url", "link", "ur"]),
    (
        AbstractField::Year,
        &[
            "year",
            "publicationyear",
            "pubyear",
            "py",
            "publicationdate",
            "pubdate",
            "date",
            "issued",
        ],
    ),
    (AbstractField::Source, &["source"]),
    // Other programs use this name for the article's language, not the abstract's: used only if named by hand.
    (AbstractField::Language, &["language"]),
    (
        AbstractField::Retracted,
        &[
            "retracted",
            "documenttype",
            "publicationtype",
            "publicationtypes",
            "dt",
        ],
    ),
];

impl AbstractField {
    /// The field with this name (as in JSONL corpora).
    ///
    /// # Errors
    /// The list of names.
    pub fn parse(name: &str) -> Result<AbstractField, String> {
        let found = NAMES.iter().find(|(_, names)| names[0] == plain(name));
        found.map(|(field, _)| *field).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|(_, names)| names[0]).collect();
            format!("{name:?} is no field; the fields are {}", names.join(", "))
        })
    }

    /// The field for a column of this name, and the rank of the name (0: best).
    pub(crate) fn of(name: &str) -> Option<(AbstractField, usize)> {
        let name = plain(name);
        let named = NAMES
            .iter()
            .filter(|(field, _)| *field != AbstractField::Language);
        named.clone().find_map(|(field, names)| {
            let at = names.iter().position(|n| *n == name)?;
            Some((*field, at))
        })
    }
}

/// A normalised column name: "Abstract Note" and "abstract_note" are equal.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// A column named by hand: `abstract=body`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The field.
    pub field: AbstractField,
    /// The column's name in the file.
    pub column: String,
}

impl std::str::FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Named, String> {
        let (field, column) = text
            .split_once('=')
            .ok_or_else(|| "expected FIELD=COLUMN, as in abstract=body".to_owned())?;
        if column.trim().is_empty() {
            return Err("the column's name is missing".to_owned());
        }
        Ok(Named {
            field: AbstractField::parse(field)?,
            column: column.trim().to_owned(),
        })
    }
}

/// The columns of a table by field.
pub(crate) struct Columns {
    header: Vec<String>,
    /// Fields and their columns; for a field with several columns, a record uses the first that is not empty.
    places: Vec<(AbstractField, usize)>,
    /// Zotero's "Extra" column, in which a line may say "PMID: 123".
    extra: Option<usize>,
    /// For each column, whether it is among these.
    is_read: Vec<bool>,
    /// For each column, whether a record took a field from it.
    used: Vec<Cell<bool>>,
}

impl Columns {
    /// The columns of a header.
    ///
    /// # Errors
    /// [`CorpusError::NoColumn`] if there is neither a title nor an abstract, or a column named by hand is missing.
    pub fn of(header: &[&str], by_hand: &[Named], path: &Path) -> Result<Columns> {
        let header: Vec<String> = header.iter().map(|n| n.trim().to_owned()).collect();
        let missing = |wanted: String| CorpusError::NoColumn {
            path: path.to_owned(),
            wanted,
            found: header.join(", ").chars().take(200).collect(),
        };
        let mut places = Vec::new();
        for named in by_hand {
            let same = |n: &String| n.eq_ignore_ascii_case(&named.column);
            let at = header.iter().position(same);
            let at = at.ok_or_else(|| missing(named.column.clone()))?;
            places.push((named.field, at));
        }
        let is_by_hand = |at: usize| places.iter().any(|(_, place)| *place == at);
        let mut fit: Vec<(AbstractField, usize, usize)> = (header.iter().enumerate())
            .filter(|(at, _)| !is_by_hand(*at))
            .filter_map(|(at, name)| AbstractField::of(name).map(|(field, fit)| (field, fit, at)))
            .filter(|(field, ..)| by_hand.iter().all(|named| named.field != *field))
            .collect();
        fit.sort_unstable();
        places.extend(fit.into_iter().map(|(field, _, at)| (field, at)));
        let extra = header.iter().position(|name| plain(name) == "extra");
        let extra = extra.filter(|at| places.iter().all(|(_, place)| place != at));
        let is_text =
            |field: &AbstractField| [AbstractField::Title, AbstractField::Abstract].contains(field);
        if !places.iter().any(|(field, _)| is_text(field)) {
            return Err(missing("Title or Abstract".to_owned()));
        }
        let mut is_read = vec![false; header.len()];
        for at in places.iter().map(|(_, at)| *at).chain(extra) {
            is_read[at] = true;
        }
        let used = header.iter().map(|_| Cell::new(false)).collect();
        Ok(Columns {
            header,
            places,
            extra,
            is_read,
            used,
        })
    }

    /// Whether a row is a header: it contains a title or an abstract column.
    pub fn is_header(row: &[&str]) -> bool {
        Columns::of(row, &[], Path::new("")).is_ok()
    }

    /// Number of known columns in a header, to detect the separator.
    pub fn known(header: &[&str]) -> usize {
        let known = header.iter().filter(|n| AbstractField::of(n).is_some());
        known.count()
    }

    /// How many columns there are.
    pub fn count(&self) -> usize {
        self.header.len()
    }

    /// The names of the columns.
    pub fn names(&self) -> String {
        self.header.join(", ")
    }

    /// Whether the column at this place is read.
    pub fn wants(&self, at: usize) -> bool {
        self.is_read.get(at).is_some_and(|is_read| *is_read)
    }

    /// Names of columns that no record used and that are not the best for their field.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        let is_best = |at: usize| {
            let own = self.places.iter().position(|(_, place)| *place == at);
            own.is_some_and(|own| {
                let field = self.places[own].0;
                self.places[..own].iter().all(|(other, _)| *other != field)
            })
        };
        let all = self.header.iter().zip(&self.used).enumerate();
        all.filter(move |(at, (name, used))| {
            !name.is_empty() && !used.get() && !is_best(*at) && self.extra != Some(*at)
        })
        .map(|(_, (name, _))| name.as_str())
    }

    /// The record of a row; `field` gives the cell of a column.
    pub fn record<'a>(&self, field: impl Fn(usize) -> &'a str) -> Abstract {
        let mut found = Abstract::default();
        for (wanted, at) in &self.places {
            if set(&mut found, *wanted, field(*at)) {
                self.used[*at].set(true);
            }
        }
        if found.pmid.is_none() {
            found.pmid = self.extra.and_then(|at| values::pmid_noted(field(at)));
        }
        // Tables have no markup of their own; tags are a program's rich text.
        found.title = without_markup(&found.title);
        found.body = without_markup(&found.body);
        found
    }
}

/// Sets a field unless it is set; returns whether it has this text now. A publication type can only mark an article as
/// retracted.
pub(crate) fn set(found: &mut Abstract, field: AbstractField, value: &str) -> bool {
    let value = values::cell(value);
    let own = || Some(value.to_owned());
    match field {
        AbstractField::Title => fill(&mut found.title, value),
        AbstractField::Abstract if values::is_no_abstract(value) => false,
        AbstractField::Abstract => fill(&mut found.body, value),
        AbstractField::Pmid => fill_word(&mut found.pmid, values::pmid(value)),
        AbstractField::Journal => fill_word(&mut found.journal, own()),
        AbstractField::Keywords => fill_word(&mut found.keywords, own()),
        AbstractField::Url => fill_word(&mut found.url, own()),
        AbstractField::Year => fill_word(&mut found.year, Some(values::year(value))),
        AbstractField::Source => fill_word(&mut found.source, own()),
        AbstractField::Language => fill_word(&mut found.language, own().filter(|l| !english(l))),
        AbstractField::Retracted => {
            let is_yes = ["true", "1", "yes"].contains(&value.trim().to_lowercase().as_str());
            let says_so = is_yes || values::is_retracted_kind(value);
            found.retracted |= says_so;
            says_so
        }
    }
}

fn fill(text: &mut String, value: &str) -> bool {
    let is_set = text.trim().is_empty() && !value.is_empty();
    if is_set {
        value.clone_into(text);
    }
    is_set
}

fn fill_word(word: &mut Option<String>, value: Option<String>) -> bool {
    let value = value.and_then(some_text).filter(|_| word.is_none());
    let is_set = value.is_some();
    *word = value.or(word.take());
    is_set
}

/// Abstracts in other languages, as listed in JSONL corpora.
pub(crate) type Others = Vec<OtherAbstract>;
