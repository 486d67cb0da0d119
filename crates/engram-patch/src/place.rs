//! Positions: where a cell is patched, and which positions of the two prompts are partners.

use std::ops::Range;

use engram_core::{Align, Direction, Positions};
use serde::{Deserialize, Serialize};

use crate::prepare::PreparedPair;
use crate::spec::SweepSpec;

/// The positions of the prompt that a cell covers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Every position of the prompt.
    All,
    /// One position.
    At(usize),
    /// The subject's.
    Span(Tokens),
    /// Every position that has a partner in the other prompt.
    Mapped(Tokens),
}

/// Some tokens of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tokens {
    /// First.
    pub start: usize,
    /// One past the last.
    pub end: usize,
}

impl Place {
    /// The position, where it is a single one.
    pub fn position(&self) -> Option<usize> {
        match self {
            Place::At(position) => Some(*position),
            Place::All | Place::Span(_) | Place::Mapped(_) => None,
        }
    }

    /// The positions as a range, in a prompt of `prompt` tokens.
    pub fn range(&self, prompt: usize) -> Range<usize> {
        match self {
            Place::All => 0..prompt,
            Place::At(position) => *position..position.saturating_add(1),
            Place::Span(span) | Place::Mapped(span) => span.start..span.end,
        }
    }
}

/// The prompt written into and the prompt whose values are written.
pub(crate) fn runs(pair: &PreparedPair, direction: Direction) -> (&[u32], &[u32]) {
    match direction {
        Direction::Denoise => (&pair.corrupt, &pair.clean),
        Direction::Noise => (&pair.clean, &pair.corrupt),
    }
}

/// How far apart partners stand, and the positions of the run written into that have one.
pub(crate) fn mapping(spec: &SweepSpec, pair: &PreparedPair) -> Result<(i64, Tokens), String> {
    let (base, source) = runs(pair, spec.direction);
    let shift = |base: usize, source: usize| source as i64 - base as i64;
    Ok(match spec.align {
        Align::Strict => (
            0,
            Tokens {
                start: 0,
                end: base.len(),
            },
        ),
        Align::Last => (
            shift(base.len(), source.len()),
            Tokens {
                start: base.len().saturating_sub(source.len()),
                end: base.len(),
            },
        ),
        Align::Subject => {
            let clean = subject(pair, Direction::Noise)?;
            let corrupt = within(&pair.corrupt_subject, &pair.corrupt, "corrupted")?;
            let (base, source) = match spec.direction {
                Direction::Denoise => (corrupt, clean),
                Direction::Noise => (clean, corrupt),
            };
            let both = base.end.min(source.end);
            (
                shift(base.end, source.end),
                Tokens {
                    start: base.end - both,
                    end: base.end,
                },
            )
        }
    })
}

/// The subject's tokens in the prompt written into. A corrupted prompt for which no subject is given has it where the clean
/// prompt has it, if both are of one length.
pub(crate) fn subject(pair: &PreparedPair, direction: Direction) -> Result<Tokens, String> {
    let corrupt = pair.corrupt_subject.as_ref();
    match direction {
        Direction::Denoise if corrupt.is_some() => {
            within(&pair.corrupt_subject, &pair.corrupt, "corrupted")
        }
        Direction::Denoise if pair.clean.len() != pair.corrupt.len() => {
            within(&None, &pair.corrupt, "corrupted")
        }
        Direction::Denoise => within(&pair.subject, &pair.corrupt, "corrupted"),
        Direction::Noise => within(&pair.subject, &pair.clean, "clean"),
    }
}

/// A subject's tokens within a prompt.
fn within(subject: &Option<Range<usize>>, prompt: &[u32], which: &str) -> Result<Tokens, String> {
    match subject {
        None => {
            let field = match which {
                "clean" => "subject",
                _ => "corrupt_subject",
            };
            Err(format!(
                "no subject is given for the {which} prompt; give it as {field}"
            ))
        }
        Some(span) if span.is_empty() || span.end > prompt.len() => Err(format!(
            "the subject's tokens {} to {} are not all within the {which} prompt of {} tokens",
            span.start,
            span.end,
            prompt.len()
        )),
        Some(span) => Ok(Tokens {
            start: span.start,
            end: span.end,
        }),
    }
}

/// Where the cells of a pair are.
pub(crate) fn places(
    spec: &SweepSpec,
    pair: &PreparedPair,
    mapped: Tokens,
) -> Result<Vec<Place>, String> {
    let prompt = runs(pair, spec.direction).0.len();
    let whole = mapped.start == 0 && mapped.end == prompt;
    let no_partner = |what: &str| {
        let align = spec.align;
        Err(format!(
            "no cell is left to patch: {what} has no partner under alignment {align}"
        ))
    };
    Ok(match spec.positions {
        Positions::Each => (mapped.start..mapped.end).map(Place::At).collect(),
        Positions::All if whole => vec![Place::All],
        Positions::All => vec![Place::Mapped(mapped)],
        Positions::Last if mapped.end < prompt => return no_partner("the last position"),
        Positions::Last => vec![Place::At(prompt - 1)],
        Positions::Subject => {
            let span = subject(pair, spec.direction)?;
            let (start, end) = (span.start.max(mapped.start), span.end.min(mapped.end));
            if start >= end {
                return no_partner("the subject");
            }
            vec![Place::Span(Tokens { start, end })]
        }
    })
}
