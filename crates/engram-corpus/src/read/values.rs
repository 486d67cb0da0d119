//! The meaning of field values, in any format: PMIDs, empty cells, stock phrases, retractions, dates.

use chrono::{Datelike, Days, NaiveDate};

use crate::abstracts::some_text;

/// Placeholders for empty cells, as written by data frames and spreadsheets.
const NOTHING: [&str; 7] = ["NA", "N/A", "#N/A", "<NA>", "NaN", "None", "null"];

/// Phrases, letters only, used instead of an abstract.
const NO_ABSTRACT: [&str; 8] = [
    "noabstract",
    "noabstractavailable",
    "noabstractisavailable",
    "noabstractavailableforthisarticle",
    "noabstractprovided",
    "abstractnotavailable",
    "abstractunavailable",
    "thereisnoabstractavailableforthisarticle",
];

/// A cell's text; empty if the whole cell is a placeholder.
pub(crate) fn cell(text: &str) -> &str {
    let says_nothing = NOTHING.iter().any(|n| n.eq_ignore_ascii_case(text.trim()));
    if says_nothing { "" } else { text }
}

/// Whether a text only says that there is no abstract.
pub(crate) fn is_no_abstract(text: &str) -> bool {
    // The longest phrase has 41 letters.
    text.len() < 100 && {
        let letters = text.chars().filter(|c| c.is_alphabetic());
        let letters: String = letters.flat_map(char::to_lowercase).collect();
        NO_ABSTRACT.contains(&letters.as_str())
    }
}

/// A PMID as digits, without a label ("PMID: 1", "MEDLINE:1"), address or leading zeros; `None` for 0 and for other
/// texts. Text may follow ("31000002 (https://…)").
pub(crate) fn pmid(text: &str) -> Option<String> {
    if let Some(found) = pmid_of_address(text.trim()) {
        return Some(found);
    }
    let text = whole(text.trim());
    let letters = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (label, rest) = text.split_at(letters);
    let is_label = ["", "pmid", "pubmed", "medline", "med"]
        .iter()
        .any(|l| l.eq_ignore_ascii_case(label));
    let rest = rest.trim_start_matches([':', '=', '-', ' ']);
    is_label.then(|| digits(rest)).flatten()
}

/// The digits at a text's start, without leading zeros, if they are a separate number.
fn digits(text: &str) -> Option<String> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(length);
    let is_own = rest
        .chars()
        .next()
        .is_none_or(|c| c.is_whitespace() || "()[]/?#&;,".contains(c));
    let digits = digits.trim_start_matches('0');
    some_text(digits.to_owned()).filter(|_| is_own)
}

/// The PMID in an address at PubMed.
pub(crate) fn pmid_of_address(url: &str) -> Option<String> {
    let hosts = ["pubmed.ncbi.nlm.nih.gov/", "ncbi.nlm.nih.gov/pubmed/"];
    // A number may come before the address ("31000002 (http://…)").
    let is_address = ["http", "www.", hosts[0], hosts[1]]
        .iter()
        .any(|start| url.starts_with(start));
    let found = hosts.iter().find_map(|host| url.split_once(host));
    found
        .filter(|_| is_address)
        .and_then(|(_, rest)| digits(rest))
}

/// The number of "PMID: 123" at the start of a note or of one of its lines. Elsewhere it belongs to another article
/// ("Erratum in: JAMA. 2020;3:4. PMID: 123").
pub(crate) fn pmid_noted(note: &str) -> Option<String> {
    note.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix("PMID")?;
        digits(rest.trim_start_matches([':', ' ', '-', '=']))
    })
}

/// A whole number that a tool has written as a float ("1.0", "3.1e7"); other texts are unchanged.
pub(crate) fn whole(text: &str) -> String {
    let number = text.trim();
    if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
        return number.to_owned();
    }
    let is_float = number.starts_with(|c: char| c.is_ascii_digit())
        && number.contains(['.', 'e', 'E'])
        && (number.chars()).all(|c| c.is_ascii_digit() || ".eE+".contains(c));
    match number.parse::<f64>() {
        // Above 2^53 a float does not identify one whole number.
        Ok(value) if is_float && value.fract() == 0.0 && value < 9e15 => {
            format!("{value:.0}")
        }
        _ => text.to_owned(),
    }
}

/// A year as given. A number of days since 1899-12-30 (spreadsheet dates, 1900 system) gives its year.
pub(crate) fn year(text: &str) -> String {
    let text = whole(text);
    match text.parse::<f64>() {
        // 1954-10-03 to 2119-01-11.
        Ok(days) if (20_000.0..=80_000.0).contains(&days) => NaiveDate::from_ymd_opt(1899, 12, 30)
            .and_then(|first| first.checked_add_days(Days::new(days as u64)))
            .map_or(text, |day| day.year().to_string()),
        _ => text,
    }
}

/// Whether a title marks the article as retracted, in the style of journals, PubMed and Web of Science. A survey of
/// "retracted articles" is not one.
pub(crate) fn is_retracted_title(title: &str) -> bool {
    let title = title.trim_start().trim_start_matches(['[', '(', '*']);
    let word = ["RETRACTED ARTICLE", "RETRACTED"].into_iter().find(|word| {
        let start = title.get(..word.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(word))
    });
    let begins = word.is_some_and(|word| {
        let (start, rest) = title.split_at(word.len());
        rest.trim_start().starts_with([':', ']', ')'])
            || word == "RETRACTED ARTICLE"
                && start == word
                && !rest.starts_with(char::is_alphanumeric)
    });
    let title = title.trim_end_matches(['.', ' ']).to_lowercase();
    begins || title.ends_with("(retracted article)") || title.contains("(retracted article. see ")
}

/// Whether one of a record's publication types, separated by semicolons, commas or bars, is that of retracted articles.
pub(crate) fn is_retracted_kind(kinds: &str) -> bool {
    kinds.split([';', ',', '|']).any(|kind| {
        let kind = kind.trim().to_lowercase();
        ["retracted publication", "retracted article", "retracted"].contains(&kind.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pmid_is_its_digits() {
        for (text, right) in [
            ("31000001", Some("31000001")),
            (" 031000001 ", Some("31000001")),
            ("PMID: 31000001", Some("31000001")),
            ("pmid31000001", Some("31000001")),
            ("MEDLINE:31000001", Some("31000001")),
            (
                "https://pubmed.ncbi.nlm.nih.gov/31000001/",
                Some("31000001"),
            ),
            (
                "http://www.ncbi.nlm.nih.gov/pubmed/31000001?x=1",
                Some("31000001"),
            ),
            (
                "31000002 (http://www.ncbi.nlm.nih.gov/pubmed/31000003)",
                Some("31000002"),
            ),
            ("3.1e7", Some("31000000")),
            ("1.0", Some("1")),
            ("0", None),
            ("", None),
            ("NA", None),
            ("nan", None),
            ("PMC123", None),
            ("10.1/x", None),
            ("1.5", None),
            ("12a", None),
        ] {
            assert_eq!(pmid(text).as_deref(), right, "{text}");
        }
    }

    #[test]
    fn serial_dates_have_a_year() {
        // Excel: DATE(2020,1,1) is 43831, DATE(2019,12,31) is 43830; 60 days later is 2020-03-01.
        let days = [
            "43831", "43830", "43891", "36526", "43831.75", "2019", "2019-03",
        ];
        let years = ["2020", "2019", "2020", "2000", "2020", "2019", "2019-03"];
        assert_eq!(days.map(year), years);
    }

    #[test]
    fn retractions_are_told_from_what_is_about_them() {
        for title in [
            "RETRACTED: It was wrong.",
            "Retracted: It was wrong.",
            "[RETRACTED] It was wrong.",
            "RETRACTED ARTICLE: It was wrong",
            "[Retracted Article] It was wrong",
            "RETRACTED ARTICLE It was wrong",
            "It was wrong (Retracted article. See vol. 5, pg. 2, 2010)",
            "It was wrong (Retracted Article)",
        ] {
            assert!(is_retracted_title(title), "{title}");
        }
        for title in [
            "Retracted articles in the biomedical literature: a survey",
            "RETRACTED ARTICLES IN PUBMED",
            "Retraction: It was wrong",
            "Retracted publications",
        ] {
            assert!(!is_retracted_title(title), "{title}");
        }
        assert!(is_retracted_kind("Article; Retracted Publication"));
        assert!(is_retracted_kind("Retracted"));
        assert!(!is_retracted_kind("Retraction of Publication"));
    }
}
