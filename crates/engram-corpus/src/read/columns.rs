//! Which column of a table, or key of a JSON object, is which field.

use std::path::Path;

use crate::abstracts::{Abstract, OtherAbstract, english, some_text};
use crate::error::{CorpusError, Result};

/// A field of an abstract that a column can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// PubMed's number.
    Pmid,
    /// The title.
    Title,
    /// The abstract.
    Abstract,
    /// The journal.
    Journal,
    /// Keywords.
    Keywords,
    /// An address.
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

/// Names of columns, best first, without blanks, marks and case. They are those that PubMed, Europe PMC, Zotero, Scopus,
/// Web of Science, CSL-JSON, RIS and data sets of texts have.
const NAMES: [(Field, &[&str]); 10] = [
    (
        Field::Pmid,
        &["pmid", "pubmedid", "pubmed", "pubmedidentifier", "pm"],
    ),
    (
        Field::Title,
        &["title", "articletitle", "documenttitle", "ti", "papertitle"],
    ),
    (
        Field::Abstract,
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
        Field::Journal,
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
        Field::Keywords,
        &[
            "keywords",
            "keyword",
            "authorkeywords",
            "manualtags",
            "kw",
            "de",
        ],
    ),
    (Field::Url, &["url", "link", "ur"]),
    (
        Field::Year,
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
    (Field::Source, &["source"]),
    (Field::Language, &["language", "lang"]),
    (Field::Retracted, &["retracted"]),
];

impl Field {
    /// The field of a name as a corpus in JSONL has it.
    ///
    /// # Errors
    /// What the names are.
    pub fn parse(name: &str) -> Result<Field, String> {
        let found = NAMES.iter().find(|(_, names)| names[0] == plain(name));
        found.map(|(field, _)| *field).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|(_, names)| names[0]).collect();
            format!("{name:?} is no field; the fields are {}", names.join(", "))
        })
    }

    /// The field that a column of this name gives, and how well the name fits (0: best).
    pub(crate) fn of(name: &str) -> Option<(Field, usize)> {
        let name = plain(name);
        NAMES.iter().find_map(|(field, names)| {
            let at = names.iter().position(|n| *n == name)?;
            Some((*field, at))
        })
    }
}

/// A column's name for comparison: "Abstract Note" and "abstract_note" are one.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// A column that is named by hand: `abstract=body`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// What it gives.
    pub field: Field,
    /// Its name in the file.
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
            field: Field::parse(field)?,
            column: column.trim().to_owned(),
        })
    }
}

/// What each column is.
#[derive(Debug)]
enum Place {
    Field(Field),
    /// Zotero's "Extra", whose lines may say "PMID: 123".
    Extra,
    Unused,
}

/// Which column is which.
pub(crate) struct Columns {
    places: Vec<Place>,
    header: Vec<String>,
}

impl Columns {
    /// The columns of a header.
    ///
    /// # Errors
    /// [`CorpusError::NoColumn`] where neither a title nor an abstract is found, or a column that was named by hand is not.
    pub fn of(header: &[&str], by_hand: &[Named], path: &Path) -> Result<Columns> {
        let header: Vec<String> = header.iter().map(|n| n.trim().to_owned()).collect();
        let missing = |wanted: String| CorpusError::NoColumn {
            path: path.to_owned(),
            wanted,
            found: header.join(", ").chars().take(200).collect(),
        };
        let mut places: Vec<Place> = header.iter().map(|_| Place::Unused).collect();
        let mut taken = Vec::new();
        for named in by_hand {
            let same = |n: &String| n.eq_ignore_ascii_case(&named.column);
            let at = header.iter().position(same);
            let at = at.ok_or_else(|| missing(named.column.clone()))?;
            places[at] = Place::Field(named.field);
            taken.push(named.field);
        }
        let mut fit: Vec<(Field, usize, usize)> = (header.iter().enumerate())
            .filter(|(at, _)| matches!(places[*at], Place::Unused))
            .filter_map(|(at, name)| Field::of(name).map(|(field, fit)| (field, fit, at)))
            .collect();
        fit.sort_unstable();
        for (field, _, at) in fit {
            if !taken.contains(&field) {
                places[at] = Place::Field(field);
                taken.push(field);
            }
        }
        for (place, name) in places.iter_mut().zip(&header) {
            if matches!(place, Place::Unused) && plain(name) == "extra" {
                *place = Place::Extra;
            }
        }
        if !taken.contains(&Field::Title) && !taken.contains(&Field::Abstract) {
            return Err(missing("Title or Abstract".to_owned()));
        }
        Ok(Columns { places, header })
    }

    /// How many columns of a header are known, to tell by which mark they are parted.
    pub fn known(header: &[&str]) -> usize {
        let known = header.iter().filter(|n| Field::of(n).is_some());
        known.count()
    }

    /// How many columns there are.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// Whether the column at this place is read.
    pub fn wants(&self, at: usize) -> bool {
        !matches!(self.places.get(at), None | Some(Place::Unused))
    }

    /// The names of the columns that are not read.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        let all = self.places.iter().zip(&self.header);
        all.filter(|(place, name)| matches!(place, Place::Unused) && !name.is_empty())
            .map(|(_, name)| name.as_str())
    }

    /// The record of a row; `field` gives the cell of a column.
    pub fn record<'a>(&self, field: impl Fn(usize) -> &'a str) -> Abstract {
        let mut found = Abstract::default();
        for (at, place) in self.places.iter().enumerate() {
            let value = field(at);
            match place {
                Place::Unused => {}
                Place::Extra if found.pmid.is_none() => found.pmid = pmid_within(value),
                Place::Extra => {}
                Place::Field(wanted) => set(&mut found, *wanted, value.to_owned()),
            }
        }
        found
    }
}

/// Sets a field to a text.
pub(crate) fn set(found: &mut Abstract, field: Field, value: String) {
    match field {
        Field::Pmid => found.pmid = some_text(whole(value)).or(found.pmid.take()),
        Field::Title => found.title = value,
        Field::Abstract => found.body = value,
        Field::Journal => found.journal = some_text(value),
        Field::Keywords => found.keywords = some_text(value),
        Field::Url => found.url = some_text(value),
        Field::Year => found.year = some_text(whole(value)),
        Field::Source => found.source = some_text(value),
        Field::Language => found.language = some_text(value).filter(|l| !english(l)),
        Field::Retracted => {
            found.retracted = matches!(
                value.trim().to_lowercase().as_str(),
                "true" | "1" | "yes" | "retracted"
            );
        }
    }
}

/// A number as tools that hold every number as a float write it ("1.0", "3.1e7"), as a whole one; others stay.
pub(crate) fn whole(text: String) -> String {
    let number = text.trim();
    if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
        return number.to_owned();
    }
    let is_float = number.starts_with(|c: char| c.is_ascii_digit())
        && number.contains(['.', 'e', 'E'])
        && (number.chars()).all(|c| c.is_ascii_digit() || ".eE+".contains(c));
    match number.parse::<f64>() {
        // Above 2^53 a float is no longer one whole number.
        Ok(value) if is_float && value.fract() == 0.0 && value < 9e15 => {
            format!("{value:.0}")
        }
        _ => text,
    }
}

/// The number of "PMID: 123" within a note.
pub(crate) fn pmid_within(note: &str) -> Option<String> {
    let at = note.find("PMID")?;
    let rest = note.get(at + 4..)?.trim_start_matches([':', ' ', '-', '=']);
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    some_text(digits)
}

/// Abstracts in other languages, as a corpus in JSONL lists them.
pub(crate) type Others = Vec<OtherAbstract>;
