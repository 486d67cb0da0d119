//! Which role each position of a prompt has: before the subject, its tokens, after it, the answer's.

use std::collections::BTreeMap;
use std::ops::Range;

use engram_core::subject::locate;
use engram_core::{Direction, Pair, Span};
use serde::{Deserialize, Serialize};

/// The role of a position in its prompt, so that prompts of unequal length share one map.
///
/// The subject is the pair's own (`corrupt_subject` under denoise, `subject` under noise: tokens are
/// those of the prompt written into). Where it is not given or not found, the text in which the two
/// prompts differ stands for it. Where neither can be told, every position but the last is
/// [`PositionClass::Elsewhere`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionClass {
    /// Before the subject.
    BeforeSubject,
    /// The first of several subject tokens.
    SubjectFirst,
    /// Between the subject's first and last token.
    SubjectMiddle,
    /// The subject's last token, or its only one.
    SubjectLast,
    /// After the subject, before the last token.
    AfterSubject,
    /// The last token, where the answer is read, whatever else it is.
    Last,
    /// Any other position of a prompt whose subject is not known.
    Elsewhere,
}

impl PositionClass {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            PositionClass::BeforeSubject => "before subject",
            PositionClass::SubjectFirst => "subject, first",
            PositionClass::SubjectMiddle => "subject, middle",
            PositionClass::SubjectLast => "subject, last",
            PositionClass::AfterSubject => "after subject",
            PositionClass::Last => "last token",
            PositionClass::Elsewhere => "elsewhere",
        }
    }
}

/// The positions of one prompt.
pub(crate) struct Layout {
    pub classes: BTreeMap<i64, PositionClass>,
}

/// Classes of the positions whose tokens (of the prompt written into) are given.
pub(crate) fn layout(
    pair: &Pair,
    direction: Direction,
    tokens: &BTreeMap<i64, Option<String>>,
) -> Layout {
    let last = tokens.keys().next_back().copied().unwrap_or(0);
    let span = subject_tokens(pair, direction, tokens);
    let classes = tokens.keys().map(|&position| {
        let class = match &span {
            _ if position == last => PositionClass::Last,
            None => PositionClass::Elsewhere,
            Some(span) if position < span.start => PositionClass::BeforeSubject,
            Some(span) if position >= span.end => PositionClass::AfterSubject,
            Some(span) if position == span.end - 1 => PositionClass::SubjectLast,
            Some(span) if position == span.start => PositionClass::SubjectFirst,
            Some(_) => PositionClass::SubjectMiddle,
        };
        (position, class)
    });
    Layout {
        classes: classes.collect(),
    }
}

fn subject_tokens(
    pair: &Pair,
    direction: Direction,
    tokens: &BTreeMap<i64, Option<String>>,
) -> Option<Range<i64>> {
    let denoise = direction == Direction::Denoise;
    let (subject, prompt, found) = if denoise {
        let found = pair.locate_corrupt_subject();
        (&pair.corrupt_subject, &pair.corrupt, found)
    } else {
        (&pair.subject, &pair.clean, pair.locate_subject())
    };
    if let Some(Span::Tokens(start, end)) = subject {
        let (start, end) = (i64::try_from(*start).ok()?, i64::try_from(*end).ok()?);
        return (start < end).then_some(start..end);
    }
    let texts: Vec<&str> = (0..tokens.len() as i64)
        .map(|position| tokens.get(&position)?.as_deref())
        .collect::<Option<_>>()?;
    let text = texts.concat();
    // The tokens' texts may begin with more than the prompt: a special token, SentencePiece's first blank.
    let before = text.strip_suffix(prompt.as_str()).map(str::len);
    let named = match (before, found) {
        (Some(before), Some(found)) => Some(before + found.bytes.start..before + found.bytes.end),
        (None, _) => (subject.as_ref().and_then(Span::text))
            .and_then(|subject| Some(locate(&text, subject)?.bytes)),
        (Some(_), None) => None,
    };
    let bytes = named.or_else(|| {
        let (own, other) = if denoise {
            (&pair.corrupt, &pair.clean)
        } else {
            (&pair.clean, &pair.corrupt)
        };
        let found = differing(own, other)?;
        Some(before? + found.start..before? + found.end)
    })?;
    let mut end = 0;
    let touched: Vec<i64> = texts
        .iter()
        .zip(0..)
        .filter_map(|(token, position)| {
            let start = end;
            end += token.len();
            (start < bytes.end && end > bytes.start).then_some(position)
        })
        .collect();
    Some(*touched.first()?..*touched.last()? + 1)
}

/// The bytes of `own` between what it shares with `other` at the beginning and at the end.
fn differing(own: &str, other: &str) -> Option<Range<usize>> {
    let shared = |(a, b): &(char, char)| a == b;
    let prefix: usize = own
        .chars()
        .zip(other.chars())
        .take_while(shared)
        .map(|(c, _)| c.len_utf8())
        .sum();
    let rest = (&own[prefix..], &other[prefix..]);
    let suffix: usize = rest
        .0
        .chars()
        .rev()
        .zip(rest.1.chars().rev())
        .take_while(shared)
        .map(|(c, _)| c.len_utf8())
        .sum();
    let end = own.len() - suffix;
    (prefix < end).then_some(prefix..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(words: &[&str]) -> BTreeMap<i64, Option<String>> {
        (0..).zip(words.iter().map(|w| Some((*w).into()))).collect()
    }

    fn pair() -> Pair {
        Pair {
            clean: "Known Dravet syndrome is due to".into(),
            corrupt: "Known Rett syndrome is due to".into(),
            corrupt_subject: Some(Span::Text("Rett syndrome".into())),
            ..Pair::default()
        }
    }

    fn classes(pair: &Pair, words: &[&str]) -> Vec<PositionClass> {
        layout(pair, Direction::Denoise, &tokens(words))
            .classes
            .into_values()
            .collect()
    }

    const WORDS: [&str; 7] = ["Known", " R", "ett", " syndrome", " is", " due", " to"];

    #[test]
    fn the_named_subject_gives_the_classes() {
        use PositionClass::*;
        let expected = [
            BeforeSubject,
            SubjectFirst,
            SubjectMiddle,
            SubjectLast,
            AfterSubject,
            AfterSubject,
            Last,
        ];
        assert_eq!(classes(&pair(), &WORDS), expected);
        let by_tokens = Pair {
            corrupt_subject: Some(Span::Tokens(1, 4)),
            ..pair()
        };
        assert_eq!(classes(&by_tokens, &WORDS), expected);
    }

    #[test]
    fn without_a_subject_the_difference_stands_for_it() {
        use PositionClass::*;
        let unnamed = Pair {
            corrupt_subject: None,
            ..pair()
        };
        assert_eq!(
            classes(&unnamed, &WORDS)[..4],
            [BeforeSubject, SubjectFirst, SubjectLast, AfterSubject]
        );
        let unknown = Pair::default();
        assert_eq!(classes(&unknown, &WORDS)[..2], [Elsewhere, Elsewhere]);
        assert_eq!(classes(&unknown, &WORDS)[6], Last);
    }
}
