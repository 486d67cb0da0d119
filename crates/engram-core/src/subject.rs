//! Locates a subject in its prompt: one rule for suites, patching, edits and figures.
//!
//! 1. A known place is used: a [`SubjectAt`], or the `{}` of a template that yields the prompt when the subject is
//!    inserted.
//! 2. Otherwise the last occurrence as a whole word.
//! 3. Otherwise the last occurrence at the beginning of a word ("seizure" in "seizures").
//! 4. Otherwise the last occurrence anywhere.
//!
//! Words consist of letters, digits, combining marks and underscores; hyphens and apostrophes separate words ("rat" is
//! a word of "rat-like", "Alzheimer" one of "Alzheimer's"). In scripts without spaces between words (Han, kana, Thai,
//! Lao, Khmer, Myanmar) every letter borders on a word boundary.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::pair::Span;

/// A subject with its place in the prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectAt {
    /// The subject's text.
    pub text: String,
    /// The byte of the prompt (UTF-8) at which it begins.
    pub at: usize,
}

/// A subject located in a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Its bytes in the prompt.
    pub bytes: Range<usize>,
    /// Number of occurrences of equal rank under the rule, this one included; more than 1 is ambiguous.
    pub choices: usize,
    /// Whether the subject occurs only inside another word.
    pub inside_word: bool,
}

impl Located {
    /// A subject at a known place, as a template gives it.
    pub fn known(bytes: Range<usize>) -> Located {
        Located {
            bytes,
            choices: 1,
            inside_word: false,
        }
    }

    /// The byte that must be stored with the subject's text so that [`locate_at`] finds it here again. `None` if the
    /// text alone suffices, or if the place was ambiguous in the first place.
    pub fn noted(&self, prompt: &str) -> Option<usize> {
        let alone = locate(prompt, prompt.get(self.bytes.clone())?);
        let sure = self.choices == 1 && alone.as_ref() != Some(self);
        sure.then_some(self.bytes.start)
    }
}

/// Locates a subject by its text alone (rules 2 to 4). `None` if it is empty or does not occur.
pub fn locate(prompt: &str, subject: &str) -> Option<Located> {
    let occurrences = || prompt.match_indices(subject).map(|(start, _)| start);
    if subject.is_empty() {
        return None;
    }
    let ends = |start: usize| is_border(prompt, start + subject.len());
    let begins = |start: usize| is_border(prompt, start);
    let whole = |start: &usize| begins(*start) && ends(*start);
    let last_of = |fits: &dyn Fn(&usize) -> bool| {
        let (mut count, mut last) = (0, None);
        for start in occurrences().filter(|start| fits(start)) {
            (count, last) = (count + 1, Some(start));
        }
        last.map(|start| (start, count))
    };
    let (found, inside_word) = match (last_of(&whole), last_of(&|start| begins(*start))) {
        (Some(found), _) | (None, Some(found)) => (found, false),
        (None, None) => (last_of(&|_| true)?, true),
    };
    Some(Located {
        bytes: found.0..found.0 + subject.len(),
        choices: found.1,
        inside_word,
    })
}

/// Locates a subject at a known byte, or by its text alone if the byte is not known.
pub fn locate_at(prompt: &str, subject: &str, at: Option<usize>) -> Option<Located> {
    let Some(at) = at else {
        return locate(prompt, subject);
    };
    let found = !subject.is_empty() && prompt.get(at..)?.starts_with(subject);
    found.then(|| Located::known(at..at + subject.len()))
}

/// Replaces every occurrence of a subject that [`locate`] could choose. `None` if it does not occur.
pub fn replace(text: &str, subject: &str, by: &str) -> Option<String> {
    let mut rest = text;
    let mut replaced = String::new();
    // From the end, so that a replacement does not move the occurrences before it.
    while let Some(found) = locate(rest, subject) {
        replaced = format!("{by}{}{replaced}", &rest[found.bytes.end..]);
        rest = &rest[..found.bytes.start];
        if found.choices == 1 {
            break;
        }
    }
    (rest.len() < text.len()).then(|| format!("{rest}{replaced}"))
}

impl Span {
    /// The span of a located subject: its text, with its place if that must be stored.
    pub fn of(prompt: &str, found: &Located) -> Option<Span> {
        let text = prompt.get(found.bytes.clone())?.to_owned();
        Some(match found.noted(prompt) {
            Some(at) => Span::At(SubjectAt { text, at }),
            None => Span::Text(text),
        })
    }

    /// The subject's text; `None` for a span of tokens.
    pub fn text(&self) -> Option<&str> {
        match self {
            Span::Text(text) | Span::At(SubjectAt { text, .. }) => Some(text),
            Span::Tokens(..) => None,
        }
    }

    /// The byte at which the subject begins, if given.
    pub fn at(&self) -> Option<usize> {
        match self {
            Span::At(SubjectAt { at, .. }) => Some(*at),
            Span::Text(_) | Span::Tokens(..) => None,
        }
    }

    /// Locates a subject given as text in its prompt; `template` may have `{}` in place of the subject.
    pub fn locate(&self, prompt: &str, template: Option<&str>) -> Option<Located> {
        let subject = self.text()?;
        let at = self.at().or_else(|| slot(template?, prompt, subject));
        locate_at(prompt, subject, at)
    }
}

/// The byte of a template's `{}`, if inserting the subject yields the prompt.
fn slot(template: &str, prompt: &str, subject: &str) -> Option<usize> {
    let (before, after) = template.split_once("{}")?;
    let rest = prompt.strip_prefix(before)?.strip_prefix(subject)?;
    (rest == after).then_some(before.len())
}

/// Whether a word begins or ends at a byte of a text.
fn is_border(text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back();
    let after = text[at..].chars().next();
    !(before.is_some_and(in_word) && after.is_some_and(in_word))
}

/// Whether a character continues the word of the letter beside it.
pub fn in_word(c: char) -> bool {
    let unspaced = matches!(
        u32::from(c),
        0x0e00..=0x0eff // Thai, Lao
            | 0x1000..=0x109f // Myanmar
            | 0x1780..=0x17ff // Khmer
            | 0x3040..=0x30ff // kana
            | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3ffff // Han
    );
    let mark = ('\u{300}'..='\u{36f}').contains(&c);
    (c.is_alphanumeric() || mark || c == '_') && !unspaced
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place, the number of equal candidates, and whether it is inside a word.
    fn found(prompt: &str, subject: &str) -> Option<(usize, usize, bool)> {
        locate(prompt, subject).map(|f| (f.bytes.start, f.choices, f.inside_word))
    }

    #[test]
    fn words_come_before_their_beginnings_and_these_before_parts() {
        let separated = "In the rat the drug was separated by";
        assert_eq!(found(separated, "rat"), Some((7, 1, false)));
        assert_eq!(found(separated, " rat"), Some((6, 1, false)));
        assert_eq!(found("The rats were separated", "rat"), Some((4, 1, false)));
        assert_eq!(found("It was separated", "rat"), Some((11, 1, true)));
        assert_eq!(
            found("A rat, a rat: both separated", "rat"),
            Some((9, 2, false))
        );
        assert_eq!(found("separated, separately", "rat"), Some((15, 2, true)));
        assert_eq!(found("It was separated", "mouse"), None);
        assert_eq!(found("It", ""), None);
    }

    #[test]
    fn borders_are_what_is_no_letter_digit_mark_or_underscore() {
        assert_eq!(found("a rat-like rate", "rat"), Some((2, 1, false)));
        assert_eq!(found("Alzheimer's", "Alzheimer"), Some((0, 1, false)));
        assert_eq!(found("IL-6R and IL-6", "IL-6"), Some((10, 1, false)));
        assert_eq!(found("cafe\u{301} or cafe", "cafe"), Some((10, 1, false)));
        assert_eq!(found("rat_1 or (rat)", "rat"), Some((10, 1, false)));
        assert_eq!(found("ératé, rat", "rat"), Some((9, 1, false)));
        // Without spaces between words every occurrence has equal rank.
        assert_eq!(found("東京は日本の東京", "東京"), Some((18, 2, false)));
    }

    #[test]
    fn a_known_place_counts() {
        let prompt = "A rat is a rat in";
        let text = Span::Text("rat".to_owned());
        let in_template = text.locate(prompt, Some("A {} is a rat in"));
        assert_eq!(in_template, Some(Located::known(2..5)));
        // A template's name, or a template that does not yield the prompt, is ignored.
        for template in ["relation/1", "The {} is a rat in", "A {} is a dog in"] {
            assert_eq!(text.locate(prompt, Some(template)), locate(prompt, "rat"));
        }
        let span = Span::of(prompt, &Located::known(2..5)).unwrap();
        assert_eq!(
            serde_json::to_string(&span).unwrap(),
            r#"{"text":"rat","at":2}"#
        );
        assert_eq!(span.locate(prompt, None), Some(Located::known(2..5)));
        for at in [3, 99, usize::MAX] {
            assert_eq!(locate_at(prompt, "rat", Some(at)), None);
        }
        assert_eq!(locate_at("é", "é", Some(1)), None, "within a character");
        // A place that follows from the text needs no note; an ambiguous place stays ambiguous.
        for (prompt, subject) in [("A rat is separated", "rat"), (prompt, "rat")] {
            let alone = locate(prompt, subject).unwrap();
            assert_eq!(Span::of(prompt, &alone), Some(Span::Text("rat".to_owned())));
        }
    }

    #[test]
    fn a_span_is_read_in_each_of_its_forms_and_in_no_other() {
        let read = |json: &str| serde_json::from_str::<Span>(json);
        assert_eq!(read(r#""rat""#).unwrap(), Span::Text("rat".to_owned()));
        assert_eq!(read("[2, 4]").unwrap(), Span::Tokens(2, 4));
        assert_eq!(read(r#"{"text": "rat", "at": 7}"#).unwrap().at(), Some(7));
        for wrong in [r#"{"text": "rat", "byte": 7}"#, "[2]", "7", r#"{"at": 7}"#] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains("expected a subject"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_subject_is_replaced_where_it_is_a_word() {
        let replaced = |text: &str, by: &str| replace(text, "rat", by);
        assert_eq!(
            replaced("A rat, separated from a rat", "rat dog").unwrap(),
            "A rat dog, separated from a rat dog"
        );
        assert_eq!(replaced("rats", "dog").unwrap(), "dogs");
        assert_eq!(replaced("dog", "rat"), None);
    }
}
