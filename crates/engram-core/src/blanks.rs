//! The blank between a prompt and what is to follow it: one, at the beginning of what follows, since that is where tokenizers
//! put it. With none two words become one, with two or one in the prompt the tokens are others than a text would have.

use serde::Serialize;

use crate::subject::in_word;

/// What is amiss between a prompt and what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Blanks {
    /// None, and two words become one.
    None,
    /// One, in the prompt.
    InPrompt,
    /// Two or more.
    Several,
}

impl Blanks {
    /// Between two texts; `None` where nothing is amiss. Only blanks count: a prompt may end in a line's end, which takes
    /// none after it.
    pub fn between(prompt: &str, next: &str) -> Option<Blanks> {
        let blanks = prompt.len() - prompt.trim_end_matches(' ').len();
        let following = next.len() - next.trim_start_matches(' ').len();
        match (blanks, following) {
            (0, 0) => {
                (prompt.ends_with(in_word) && next.starts_with(in_word)).then_some(Blanks::None)
            }
            (0, 1) => None,
            (1, 0) => Some(Blanks::InPrompt),
            _ => Some(Blanks::Several),
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Blanks::None => "no blank",
            Blanks::InPrompt => "a blank at the prompt's end, not before what follows",
            Blanks::Several => "more than one blank",
        }
    }
}

/// A prompt as it is to be written.
pub fn prompt_of(text: &str) -> &str {
    text.trim_end_matches(' ')
}

/// What follows a prompt as it is to be written.
pub fn next_of(text: &str) -> String {
    format!(" {}", text.trim_start_matches(' '))
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
        ] {
            assert_eq!(Blanks::between(prompt, next), found, "{prompt:?} {next:?}");
        }
    }
}
