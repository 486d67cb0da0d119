//! MEDLINE text (`.nbib`, efetch's `rettype=medline`): fields of four letters, records parted by blank lines.

use crate::abstracts::{Abstract, some_text};
use crate::pubmed::{spaced, year_of};

/// A record under way: fields in their order.
#[derive(Default)]
pub(crate) struct Record {
    fields: Vec<(String, String)>,
}

impl Record {
    /// Takes a line that is not blank.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some((tag, value)) = field(line) {
            self.fields.push((tag.to_owned(), value.to_owned()));
            return Ok(());
        }
        match self.fields.last_mut() {
            Some((_, value)) if line.starts_with(' ') => {
                value.push(' ');
                value.push_str(line.trim());
                Ok(())
            }
            _ => Err(
                "neither a field (\"AB  - …\") nor the continuation of one (six spaces)".to_owned(),
            ),
        }
    }

    /// Whether it has no field yet.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The record; leaves an empty one.
    pub fn whole(&mut self) -> Abstract {
        let fields = std::mem::take(&mut self.fields);
        let first = |tag: &str| {
            let found = fields.iter().find(|(t, _)| t == tag);
            found.map(|(_, value)| spaced(value)).and_then(some_text)
        };
        let keywords: Vec<String> = fields
            .iter()
            .filter(|(tag, _)| tag == "OT")
            .map(|(_, value)| spaced(value))
            .collect();
        let pmid = first("PMID");
        Abstract {
            title: ["TI", "TT", "BTI"]
                .into_iter()
                .find_map(first)
                .unwrap_or_default(),
            body: ["AB", "OAB"]
                .into_iter()
                .find_map(first)
                .unwrap_or_default(),
            journal: ["JT", "TA"].into_iter().find_map(first),
            keywords: some_text(keywords.join("; ")),
            year: first("DP").and_then(|date| year_of(&date)),
            url: pmid
                .as_ref()
                .map(|pmid| format!("https://pubmed.ncbi.nlm.nih.gov/{pmid}/")),
            pmid,
            ..Abstract::default()
        }
    }
}

/// Whether a file's first line is one of this format's.
pub(crate) fn begins(line: &[u8]) -> bool {
    std::str::from_utf8(line).is_ok_and(|line| field(line).is_some())
}

/// `TI  - The title` as tag and value.
fn field(line: &str) -> Option<(&str, &str)> {
    let (tag, rest) = line.split_at_checked(4)?;
    let tag = tag.trim_end();
    let value = rest.strip_prefix('-')?;
    let good = tag.starts_with(|c: char| c.is_ascii_uppercase())
        && tag
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    good.then_some((tag, value.trim()))
}
