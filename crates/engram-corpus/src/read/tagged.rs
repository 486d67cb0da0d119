//! Records in tagged lines: MEDLINE (`.nbib`, efetch's `rettype=medline`) and RIS.
//!
//! MEDLINE: `PMID-` begins a record; indented lines continue the previous field; blank lines are ignored. RIS: `TY  -`
//! begins a record and `ER  -` ends it; lines without a tag continue the previous field.

use super::gather::VersionedRecord;
use super::markup::{plain, spaced, year_of};
use super::values::{self, pmid_noted, pmid_of_address};
use crate::abstracts::{Abstract, OtherAbstract, english, some_text};

/// Maximum number of fields in a record; an article with a thousand authors has a few thousand.
const FIELDS_LIMIT: usize = 100_000;

/// The two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Medline,
    Ris,
}

/// A file's records while it is read.
pub(crate) struct Tagged {
    kind: Kind,
    fields: Vec<(String, String)>,
    /// Whether a RIS record is open.
    is_open: bool,
    /// Whether the file writes one space before the dash instead of two.
    is_narrow: bool,
    /// First line of the record.
    pub begin: usize,
    /// Number of non-blank lines outside of records.
    pub outside: usize,
}

impl Tagged {
    pub fn new(kind: Kind) -> Tagged {
        Tagged {
            kind,
            fields: Vec::new(),
            is_open: false,
            is_narrow: false,
            begin: 0,
            outside: 0,
        }
    }

    /// Adds a line; returns the record that it ends.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub fn line(&mut self, number: usize, line: &str) -> Result<Option<VersionedRecord>, String> {
        // Concatenated files have byte order marks in the middle.
        let line = line.trim_start_matches('\u{feff}');
        if line.trim().is_empty() {
            return Ok(None);
        }
        if self.fields.len() > FIELDS_LIMIT {
            return Err(format!("the record has more than {FIELDS_LIMIT} fields"));
        }
        match self.kind {
            Kind::Medline => self.medline(number, line),
            Kind::Ris => self.ris(number, line),
        }
    }

    fn medline(&mut self, number: usize, line: &str) -> Result<Option<VersionedRecord>, String> {
        if let Some((tag, value)) = medline(line) {
            if tag == "TY" {
                return Err("a record of RIS within MEDLINE text: two formats in one file".into());
            }
            let ended = match tag == "PMID" && !self.fields.is_empty() {
                true => self.take(),
                false => None,
            };
            if self.fields.is_empty() {
                self.begin = number;
            }
            self.fields.push((tag.to_owned(), value.to_owned()));
            return Ok(ended);
        }
        match self.fields.last_mut() {
            Some((_, value)) if line.starts_with([' ', '\t']) => {
                value.push(' ');
                value.push_str(line.trim());
                Ok(None)
            }
            _ => Err(
                "neither a field (\"AB  - …\") nor the continuation of one (six spaces)".to_owned(),
            ),
        }
    }

    fn ris(&mut self, number: usize, line: &str) -> Result<Option<VersionedRecord>, String> {
        if line.starts_with("PMID-") {
            return Err("a record of MEDLINE within RIS: two formats in one file".into());
        }
        if !self.is_open && begins_ris(line.as_bytes()) {
            self.is_narrow = line.starts_with("TY -");
        }
        match ris(line, self.is_narrow) {
            Some(("TY", value)) => {
                let ended = self.take();
                self.is_open = true;
                self.begin = number;
                self.fields.push(("TY".to_owned(), value.to_owned()));
                Ok(ended)
            }
            Some(("ER", _)) => {
                self.is_open = false;
                Ok(self.take())
            }
            Some((tag, value)) if self.is_open => {
                self.fields.push((tag.to_owned(), value.to_owned()));
                Ok(None)
            }
            Some(("EF", _)) => Ok(None),
            _ => {
                match self.fields.last_mut() {
                    // In keywords and notes, line breaks matter.
                    Some((_, value)) if self.is_open => {
                        value.push('\n');
                        value.push_str(line.trim());
                    }
                    _ => self.outside += 1,
                }
                Ok(None)
            }
        }
    }

    /// The last record of the file.
    ///
    /// # Errors
    /// A message if the file is truncated.
    pub fn end(&mut self) -> Result<Option<VersionedRecord>, String> {
        match self.is_open {
            true => Err(format!(
                "the record that begins at line {} has no end (\"ER  - \"): the file is cut short",
                self.begin
            )),
            false => Ok(self.take()),
        }
    }

    fn take(&mut self) -> Option<VersionedRecord> {
        let fields = Fields(std::mem::take(&mut self.fields));
        if fields.0.is_empty() {
            return None;
        }
        Some(match self.kind {
            Kind::Medline => fields.medline(),
            Kind::Ris => fields.ris(),
        })
    }
}

/// The fields of a record, in their order.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn all(&self, tag: &str) -> impl Iterator<Item = String> {
        let found = self.0.iter().filter(move |(t, _)| t == tag);
        found.map(|(_, value)| spaced(value)).filter_map(some_text)
    }

    /// The lines of all fields with a tag.
    fn lines<'a>(&'a self, tag: &'a str) -> impl Iterator<Item = String> + 'a {
        let found = self.0.iter().filter(move |(t, _)| t == tag);
        let lines = found.flat_map(|(_, value)| value.lines());
        lines.map(spaced).filter_map(some_text)
    }

    /// The first field of the first of these tags that occurs.
    fn first(&self, tags: &[&str]) -> Option<String> {
        tags.iter().find_map(|tag| self.all(tag).next())
    }

    /// All fields of the first of these tags that occurs, joined.
    fn joined(&self, tags: &[&str], by: &str) -> Option<String> {
        tags.iter()
            .find_map(|tag| some_text(self.all(tag).collect::<Vec<_>>().join(by)))
    }

    fn medline(&self) -> VersionedRecord {
        let pmid = self.first(&["PMID"]);
        let title = self.first(&["TI"]).filter(|t| !not_available(t));
        let title = title.or_else(|| self.first(&["TT", "BTI", "TI"]));
        let mut body = self.joined(&["AB"], " ");
        let mut others = self.others();
        let mut language = None;
        if body.is_none() && !others.is_empty() {
            let main = others.remove(english_first(&others));
            (body, language) = (Some(main.body), main.language);
        }
        let is_retracted = self.first(&["RIN", "RRI"]).is_some()
            || self.all("PT").any(|kind| values::is_retracted_kind(&kind));
        let revised = self.first(&["LR"]).and_then(|date| date.parse().ok());
        VersionedRecord {
            found: Abstract {
                title: spaced(&plain(&title.unwrap_or_default())),
                body: spaced(&plain(&body.unwrap_or_default())),
                journal: self.first(&["JT", "TA"]),
                keywords: self.joined(&["OT"], "; "),
                year: self.first(&["DP"]).and_then(|date| year_of(&date)),
                url: pmid.as_deref().map(address),
                pmid,
                language,
                retracted: is_retracted,
                other_abstracts: others,
                ..Abstract::default()
            },
            version: 1,
            revised: revised.unwrap_or_default(),
        }
    }

    /// MEDLINE's abstracts in other languages: `OAB`, with the language in `OABL`.
    fn others(&self) -> Vec<OtherAbstract> {
        let mut all: Vec<OtherAbstract> = Vec::new();
        for (tag, value) in &self.0 {
            match (tag.as_str(), all.last_mut()) {
                ("OAB", _) => all.push(OtherAbstract {
                    language: None,
                    body: other_body(value),
                }),
                ("OABL", Some(last)) => last.language = some_text(spaced(value)),
                _ => {}
            }
        }
        all.retain(|other| !other.body.is_empty());
        // Without OABL and without an English abstract, it is in the article's language.
        let own = self.first(&["LA"]);
        for other in &mut all {
            let language = other.language.take().or_else(|| own.clone());
            other.language = language.filter(|l| !english(l));
        }
        all
    }

    fn ris(&self) -> VersionedRecord {
        let database = self.first(&["DB", "DP"]).unwrap_or_default().to_lowercase();
        let is_pubmed = database.contains("pubmed") || database.contains("medline");
        let digits = |text: &String| text.len() <= 8 && text.bytes().all(|b| b.is_ascii_digit());
        // AN is the id in the database of DB; without DB, seven or eight digits are PubMed's.
        let number = self.first(&["AN"]).filter(|number| {
            digits(number) && (is_pubmed || database.is_empty() && number.len() >= 7)
        });
        let url = self.first(&["UR", "LK", "L2", "L1"]);
        let notes = ["N1", "C1", "C2", "M1", "M2"];
        let noted =
            || (notes.iter().flat_map(|tag| self.lines(tag))).find_map(|note| pmid_noted(&note));
        // Scopus writes the PMID as C2.
        let scopus = || {
            self.first(&["C2"])
                .filter(|c| database.contains("scopus") && digits(c))
        };
        let addressed = || self.all("UR").find_map(|url| pmid_of_address(&url));
        let title = self.first(&["TI", "T1", "CT", "BT"]).unwrap_or_default();
        let body = self.joined(&["AB", "N2"], " ").unwrap_or_default();
        Abstract {
            pmid: (number.and_then(|number| values::pmid(&number)))
                .or_else(noted)
                .or_else(scopus)
                .or_else(addressed),
            title: spaced(&plain(&title)),
            body: spaced(&plain(&body)),
            journal: self.first(&["T2", "JF", "JO", "JA", "J2", "J1"]),
            keywords: some_text(self.lines("KW").collect::<Vec<_>>().join("; ")),
            url,
            year: self
                .first(&["PY", "Y1", "DA"])
                .and_then(|date| year_of(&date)),
            // EndNote's type of work.
            retracted: self.all("M3").any(|kind| values::is_retracted_kind(&kind)),
            ..Abstract::default()
        }
        .into()
    }
}

/// Address of a citation at PubMed.
pub(crate) fn address(pmid: &str) -> String {
    format!("https://pubmed.ncbi.nlm.nih.gov/{pmid}/")
}

/// Whether a title says that there is no English one.
pub(crate) fn not_available(title: &str) -> bool {
    let letters: String = title.chars().filter(|c| c.is_alphabetic()).collect();
    letters.eq_ignore_ascii_case("notavailable")
}

/// Index of the abstract without a language (English), otherwise 0.
pub(crate) fn english_first(others: &[OtherAbstract]) -> usize {
    let english = others.iter().position(|other| other.language.is_none());
    english.unwrap_or_default()
}

/// The text of an abstract in another language; empty if it only says that the publisher has one.
pub(crate) fn other_body(text: &str) -> String {
    let text = spaced(text);
    let text = text.strip_prefix("Publisher: ").unwrap_or(&text);
    match text.starts_with("Abstract available from the publisher") {
        true => String::new(),
        false => text.to_owned(),
    }
}

/// Whether a line begins a RIS record.
pub(crate) fn begins_ris(line: &[u8]) -> bool {
    let is = |line, is_narrow| matches!(ris(line, is_narrow), Some(("TY", _)));
    std::str::from_utf8(line).is_ok_and(|line| is(line, false) || is(line, true))
}

/// Whether a file's first line is MEDLINE.
pub(crate) fn begins_medline(line: &[u8]) -> bool {
    std::str::from_utf8(line).is_ok_and(|line| medline(line).is_some())
}

/// `TI  - The title` as tag and value.
fn medline(line: &str) -> Option<(&str, &str)> {
    let (tag, rest) = line.split_at_checked(4)?;
    let tag = tag.trim_end();
    let value = rest.strip_prefix('-')?;
    let good = tag.starts_with(|c: char| c.is_ascii_uppercase())
        && tag
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    good.then_some((tag, value.trim()))
}

/// As [`medline`], for RIS: a letter, a letter or digit, two spaces, a dash. Some programs write one space throughout;
/// in other files "T1 - weighted" continues a field.
fn ris(line: &str, is_narrow: bool) -> Option<(&str, &str)> {
    let (tag, rest) = line.split_at_checked(2)?;
    let mut bytes = tag.bytes();
    let good = bytes.next().is_some_and(|b| b.is_ascii_uppercase())
        && bytes.all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    let value = rest.strip_prefix(if is_narrow { " -" } else { "  -" })?;
    // Some programs omit the space after the dash; after two spaces it is still a tag.
    let is_plain = !is_narrow || value.is_empty() || value.starts_with(' ');
    (good && is_plain).then_some((tag, value.trim()))
}
