//! Sentences with placeholders for subject and answer.

use std::ops::Range;

use super::Fact;

/// A sentence, or the beginning of one, with placeholders: `{subject}`, `{Subject}` (first letter
/// capitalised), `{answer}`, and for the subject's number `{is}`, `{has}`, `{does}`, `{was}` and the
/// verb suffix `{s}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Subject {
        capital: bool,
    },
    Answer,
    /// A word that agrees with the subject in number.
    Agreement {
        singular: &'static str,
        plural: &'static str,
    },
}

/// A template filled in for a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Bytes of the subject's last occurrence, if any.
    pub subject: Option<Range<usize>>,
    /// Bytes of the answer, if the template has a placeholder for it.
    pub answer: Option<Range<usize>>,
}

const KNOWN: &str = "{subject} {Subject} {answer} {is} {has} {does} {was} {s}";

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// A message about an unknown placeholder or unbalanced braces.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let after = &rest[open + 1..];
            let close = match after.find(['{', '}']) {
                Some(close) if rest[open..].starts_with('{') && after[close..].starts_with('}') => {
                    close
                }
                _ => return Err(format!("{text:?} has a brace without its partner")),
            };
            if open > 0 {
                pieces.push(Piece::Literal(rest[..open].to_owned()));
            }
            pieces.push(placeholder(&after[..close]).ok_or_else(|| {
                format!(
                    "{text:?} has the placeholder {{{}}}; known: {KNOWN}",
                    &after[..close]
                )
            })?);
            rest = &after[close + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.to_owned()));
        }
        Ok(Template {
            text: text.to_owned(),
            pieces,
        })
    }

    /// The template as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The template with a fact's subject and answer filled in.
    pub fn render(&self, fact: &Fact) -> Rendered {
        let mut rendered = Rendered {
            text: String::new(),
            subject: None,
            answer: None,
        };
        for piece in &self.pieces {
            let start = rendered.text.len();
            match piece {
                Piece::Literal(literal) => rendered.text.push_str(literal),
                Piece::Agreement { singular, plural } => {
                    rendered
                        .text
                        .push_str(if fact.plural { plural } else { singular });
                }
                Piece::Subject { capital } => {
                    let mut letters = fact.subject.chars();
                    if let (true, Some(first)) = (*capital, letters.next()) {
                        rendered.text.extend(first.to_uppercase());
                        rendered.text.push_str(letters.as_str());
                    } else {
                        rendered.text.push_str(&fact.subject);
                    }
                    rendered.subject = Some(start..rendered.text.len());
                }
                Piece::Answer => {
                    rendered.text.push_str(&fact.answer);
                    rendered.answer = Some(start..rendered.text.len());
                }
            }
        }
        rendered
    }

    /// Number of placeholders for the answer.
    pub(super) fn answers(&self) -> usize {
        self.pieces.iter().filter(|p| **p == Piece::Answer).count()
    }

    /// Whether it has a placeholder for the subject.
    pub(super) fn has_subject(&self) -> bool {
        self.pieces
            .iter()
            .any(|p| matches!(p, Piece::Subject { .. }))
    }

    /// Whether it begins with a subject in lower case.
    pub(super) fn begins_small(&self) -> bool {
        self.pieces.first() == Some(&Piece::Subject { capital: false })
    }
}

fn placeholder(name: &str) -> Option<Piece> {
    let agreement = |singular, plural| Piece::Agreement { singular, plural };
    Some(match name {
        "subject" => Piece::Subject { capital: false },
        "Subject" => Piece::Subject { capital: true },
        "answer" => Piece::Answer,
        "is" => agreement("is", "are"),
        "has" => agreement("has", "have"),
        "does" => agreement("does", "do"),
        "was" => agreement("was", "were"),
        "s" => agreement("s", ""),
        _ => return None,
    })
}
