//! The space between a prompt and its continuation (answer, foil, new answer).
//!
//! Tokenizers attach the space to the word that follows, so engram puts it at the start of the continuation. Without a
//! space two words become one; a space at the end of the prompt, or two spaces, give tokens that running text does not
//! have. No space follows a line end or an opening bracket, and none is used in scripts that write words without
//! spaces.

use serde::Serialize;

use crate::subject::in_word;

/// What is wrong with the space between a prompt and its continuation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Blanks {
    /// No space: two words become one.
    None,
    /// One space, at the end of the prompt.
    InPrompt,
    /// Two or more.
    Several,
    /// A space before only one of answer and foil, where neither needs one.
    Unlike,
    /// A tab, a no-break space or another blank character that is not a space.
    NoSpace,
    /// Blank characters after the continuation.
    Trailing,
}

/// White space except line ends, which prompts and answers may contain.
fn is_blank(c: char) -> bool {
    c.is_whitespace() && c != '\n' && c != '\r'
}

/// Whether a word after this prompt is written with a space before it.
fn takes_blank(prompt: &str) -> bool {
    let mut before = prompt.chars().rev();
    let Some(last) = before.next() else {
        return false;
    };
    match last {
        '"' | '\'' => before
            .next()
            .is_some_and(|c| !c.is_whitespace() && c != '('),
        _ if last.is_alphanumeric() => in_word(last),
        // Punctuation of East Asian scripts.
        '\u{3000}'..='\u{303f}' | '\u{ff00}'..='\u{ffef}' => false,
        _ => !last.is_whitespace() && !"([{<“‘«„‚-–—/@#$".contains(last),
    }
}

impl Blanks {
    /// Checks the space between a prompt and its continuation `next`, and after `next`. `None` if nothing is wrong. A
    /// prompt may end in a line end, which takes no space after it.
    pub fn between(prompt: &str, next: &str) -> Option<Blanks> {
        let blanks = prompt.chars().rev().take_while(|c| is_blank(*c)).count();
        let following = next.chars().take_while(|c| is_blank(*c)).count();
        match (blanks, following) {
            _ if next.ends_with(is_blank) => Some(Blanks::Trailing),
            (0, 0) => {
                (prompt.ends_with(in_word) && next.starts_with(in_word)).then_some(Blanks::None)
            }
            (0, 1) => (!next.starts_with(' ')).then_some(Blanks::NoSpace),
            (1, 0) => Some(Blanks::InPrompt),
            _ => Some(Blanks::Several),
        }
    }

    /// As [`Blanks::between`], where `other` may follow the same prompt (answer and foil): if both are words, both
    /// begin with the space or neither does.
    pub fn beside(prompt: &str, next: &str, other: &str) -> Option<Blanks> {
        let found = Blanks::between(prompt, next);
        let is_word = |text: &str| text.starts_with(|c: char| c.is_alphanumeric());
        match (next.starts_with(is_blank), other.starts_with(is_blank)) {
            (false, true) if is_word(next) && found.is_none() => {
                takes_blank(prompt).then_some(Blanks::None)
            }
            (true, false) if is_word(other) && found.is_none() => {
                (!takes_blank(prompt)).then_some(Blanks::Unlike)
            }
            _ => found,
        }
    }

    /// The continuation with this fault corrected.
    pub fn mend(self, next: &str) -> String {
        match self {
            Blanks::Unlike => next.trim_matches(is_blank).to_owned(),
            Blanks::Trailing if !next.starts_with(is_blank) => {
                next.trim_end_matches(is_blank).to_owned()
            }
            _ => next_of(next),
        }
    }

    /// The fault in words, for messages.
    pub fn words(self) -> &'static str {
        match self {
            Blanks::None => "no blank",
            Blanks::InPrompt => "a blank at the prompt's end, not before what follows",
            Blanks::Several => "more than one blank",
            Blanks::Unlike => "a blank that only one of answer and foil has",
            Blanks::NoSpace => "a tab or another blank that is no space",
            Blanks::Trailing => "a blank after what follows",
        }
    }
}

/// The prompt without blanks at its end.
pub fn prompt_of(text: &str) -> &str {
    text.trim_end_matches(is_blank)
}

/// The continuation with its space at the start.
pub fn next_of(text: &str) -> String {
    format!(" {}", text.trim_matches(is_blank))
}

/// An answer as running text has it after a prompt: with one space before it, or none after a line end or an opening
/// bracket, and in scripts that write words without spaces. A prompt that ends in a blank, which is a fault, gets another.
pub fn answer_after(prompt: &str, answer: &str) -> String {
    match takes_blank(prompt) || prompt.ends_with(is_blank) {
        true => format!(" {}", answer.trim_start()),
        false => answer.trim_start().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_blank_before_what_follows() {
        for (prompt, next, found) in [
            ("treated with", " steroids", None),
            ("treated with", "antibiotics", Some(Blanks::None)),
            ("treated with ", "antibiotics", Some(Blanks::InPrompt)),
            ("treated with ", " steroids", Some(Blanks::Several)),
            ("treated with", "  steroids", Some(Blanks::Several)),
            ("treated with  ", "steroids", Some(Blanks::Several)),
            ("Question: why?\nAnswer:\n", "steroids", None),
            ("a dose of (", "5 mg)", None),
            ("法国的首都是", "巴黎", None),
            ("", "steroids", None),
            ("treated with\u{a0}", "steroids", Some(Blanks::InPrompt)),
            ("treated with\t", " steroids", Some(Blanks::Several)),
            ("treated with", "\tsteroids", Some(Blanks::NoSpace)),
            ("treated with", "\u{a0}steroids", Some(Blanks::NoSpace)),
            ("treated with", " steroids ", Some(Blanks::Trailing)),
            ("treated with", " steroids\n", None),
        ] {
            assert_eq!(Blanks::between(prompt, next), found, "{prompt:?} {next:?}");
        }
    }

    #[test]
    fn answer_and_foil_have_the_blank_or_neither() {
        for (prompt, next, other, found) in [
            ("Answer:", "steroids", " antibiotics", Some(Blanks::None)),
            ("Answer:", " antibiotics", "steroids", None),
            ("Answer:", "steroids", "antibiotics", None),
            ("with aspirin.", "Results", " Methods", Some(Blanks::None)),
            ("a drug (", " aspirin", "fish", Some(Blanks::Unlike)),
            ("a drug (", "fish", " aspirin", None),
            ("Answer:\n", " aspirin", "fish", Some(Blanks::Unlike)),
            ("he said \"", " yes", "no", Some(Blanks::Unlike)),
            ("he said \"no\"", "and", " but", Some(Blanks::None)),
            ("法国的首都是", "巴黎", " 罗马", None),
            ("法国的首都是：", " 罗马", "巴黎", Some(Blanks::Unlike)),
            // Punctuation attaches to the prompt.
            ("The patient died", ".", " of", None),
            ("The patient died", " of", ".", None),
            ("Answer:", "\nYes", " No", None),
        ] {
            let beside = Blanks::beside(prompt, next, other);
            assert_eq!(beside, found, "{prompt:?} {next:?} {other:?}");
        }
        for (prompt, answer, expected) in [
            ("The capital of Egypt is", "Paris", " Paris"),
            ("The capital of Egypt is", " Paris", " Paris"),
            ("埃及的首都是", "巴黎", "巴黎"),
            ("埃及的首都是", " 巴黎", "巴黎"),
            ("the capital of Egypt (", "Paris", "Paris"),
            ("Capital:\n", "Paris", "Paris"),
            ("Capital:", "Paris", " Paris"),
        ] {
            assert_eq!(answer_after(prompt, answer), expected);
        }
        assert_eq!(Blanks::None.mend("steroids"), " steroids");
        assert_eq!(Blanks::Unlike.mend(" aspirin"), "aspirin");
        assert_eq!(Blanks::Trailing.mend(" steroids "), " steroids");
        assert_eq!(Blanks::Trailing.mend("巴黎 "), "巴黎");
    }
}
