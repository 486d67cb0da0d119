//! What a sweep computes: every cell of every pair, in a stated order, with what the graph alone says
//! of it. Pure: no tensors.

use std::collections::BTreeMap;
use std::ops::Range;

use engram_core::{Direction, Metric, NamedSite, Positions, Site};
use engram_model::Shape;
use serde::{Deserialize, Serialize};

use crate::error::{PatchError, Result};
use crate::prepare::PreparedPair;
use crate::reach::{Fate, fates};
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
            Place::All | Place::Span(_) => None,
        }
    }

    /// The positions as a range, in a prompt of `prompt` tokens.
    pub fn range(&self, prompt: usize) -> Range<usize> {
        match self {
            Place::All => 0..prompt,
            Place::At(position) => *position..*position + 1,
            Place::Span(span) => span.start..span.end,
        }
    }
}

/// One site at one layer, patched at some positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedCell {
    /// The site under the name by which it was asked for.
    pub at: NamedSite,
    /// The positions.
    pub place: Place,
    /// An earlier cell of this pair that is the same under another name: its values serve here too.
    pub same_as: Option<usize>,
    /// What the graph fixes where a metric reads the logits at the prompt's last position.
    pub fate: Fate,
    /// What it fixes where a metric also reads after appended tokens of answer and foil.
    pub fate_continued: Fate,
}

impl PlannedCell {
    /// What the graph fixes for a metric.
    pub fn fate(&self, metric: Metric) -> Fate {
        match metric.reads_continuation() {
            true => self.fate_continued,
            false => self.fate,
        }
    }
}

/// The cells of one pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairPlan {
    /// The pair.
    pub pair: PreparedPair,
    /// Its cells: sites in the order asked, positions ascending within each.
    pub cells: Vec<PlannedCell>,
}

/// A whole sweep, ready for any engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What was asked for, without repetitions.
    pub spec: SweepSpec,
    /// The model's sizes.
    pub shape: Shape,
    /// One entry a pair, in the order given.
    pub pairs: Vec<PairPlan>,
}

impl Plan {
    /// Lays out a sweep.
    ///
    /// # Errors
    /// [`PatchError::Unsupported`], [`PatchError::Empty`], [`PatchError::NoSuchLayer`];
    /// [`PatchError::Pair`] for a pair whose prompts differ in length or that lacks the subject asked for.
    pub fn new(spec: SweepSpec, shape: Shape, pairs: Vec<PreparedPair>) -> Result<Plan> {
        let mut spec = spec;
        spec.check(&shape)?;
        spec.sites = without_repetitions(spec.sites);
        spec.metrics = without_repetitions(spec.metrics);
        if pairs.is_empty() {
            return Err(PatchError::Empty {
                why: "there is no pair",
            });
        }
        let pairs = pairs
            .into_iter()
            .map(|pair| PairPlan::new(&spec, &shape, pair))
            .collect::<Result<_>>()?;
        Ok(Plan { spec, shape, pairs })
    }

    /// Number of cells over all pairs.
    pub fn cells(&self) -> usize {
        self.pairs.iter().map(|p| p.cells.len()).sum()
    }
}

fn without_repetitions<T: PartialEq>(values: Vec<T>) -> Vec<T> {
    let mut kept: Vec<T> = Vec::with_capacity(values.len());
    for value in values {
        if !kept.contains(&value) {
            kept.push(value);
        }
    }
    kept
}

impl PairPlan {
    fn new(spec: &SweepSpec, shape: &Shape, pair: PreparedPair) -> Result<PairPlan> {
        let wrong = |why: String| PatchError::Pair {
            pair: pair.id.clone(),
            why,
        };
        let (base, source) = runs(&pair, spec.direction);
        if base.len() != source.len() || base.is_empty() {
            return Err(wrong(format!(
                "the clean prompt has {} tokens, the corrupted one {}",
                pair.clean.len(),
                pair.corrupt.len()
            )));
        }
        if pair.answer.is_empty() || pair.foil.is_empty() {
            return Err(wrong("the answer or the foil has no token".to_owned()));
        }
        let places = places(spec, &pair)
            .ok_or_else(|| wrong("no subject is given, or none within the prompt".to_owned()))?;
        let appended = appended(&pair, &spec.metrics);
        let mut seen: BTreeMap<(Site, Option<usize>, &Place), usize> = BTreeMap::new();
        let mut cells: Vec<PlannedCell> = Vec::with_capacity(spec.sites.len() * places.len());
        for at in &spec.sites {
            for place in &places {
                let index = cells.len();
                let first = *seen.entry((at.site, at.layer, place)).or_insert(index);
                let (same_as, [fate, fate_continued]) = match cells.get(first) {
                    Some(cell) => (Some(first), [cell.fate, cell.fate_continued]),
                    None => {
                        let at = (at.site, at.layer);
                        (
                            None,
                            fates(shape.layers, (base, source), appended, at, place),
                        )
                    }
                };
                cells.push(PlannedCell {
                    at: at.clone(),
                    place: place.clone(),
                    same_as,
                    fate,
                    fate_continued,
                });
            }
        }
        Ok(PairPlan { pair, cells })
    }

    /// The prompt written into and the prompt whose values are written.
    pub fn runs(&self, direction: Direction) -> (&[u32], &[u32]) {
        runs(&self.pair, direction)
    }

    /// The text of the tokens that a cell covers, of the prompt written into; `None` for all positions.
    pub fn token(&self, place: &Place, direction: Direction) -> Option<String> {
        let tokens = match direction {
            Direction::Denoise => &self.pair.corrupt_tokens,
            Direction::Noise => &self.pair.clean_tokens,
        };
        match place {
            Place::All => None,
            _ => tokens.get(place.range(tokens.len())).map(|t| t.concat()),
        }
    }
}

/// The prompt written into and the prompt whose values are written.
fn runs(pair: &PreparedPair, direction: Direction) -> (&[u32], &[u32]) {
    match direction {
        Direction::Denoise => (&pair.corrupt, &pair.clean),
        Direction::Noise => (&pair.clean, &pair.corrupt),
    }
}

/// How many tokens of answer or foil stand after the prompt where the metrics read them.
pub(crate) fn appended(pair: &PreparedPair, metrics: &[Metric]) -> usize {
    match metrics.iter().any(|m| m.reads_continuation()) {
        true => pair.answer.len().max(pair.foil.len()).saturating_sub(1),
        false => 0,
    }
}

fn places(spec: &SweepSpec, pair: &PreparedPair) -> Option<Vec<Place>> {
    let prompt = pair.clean.len();
    Some(match spec.positions {
        Positions::Each => (0..prompt).map(Place::At).collect(),
        Positions::All => vec![Place::All],
        Positions::Last => vec![Place::At(prompt.checked_sub(1)?)],
        Positions::Subject => {
            let span = match spec.direction {
                Direction::Denoise => pair.corrupt_subject.as_ref().or(pair.subject.as_ref()),
                Direction::Noise => pair.subject.as_ref(),
            }?;
            let inside = span.start < span.end && span.end <= prompt;
            inside.then(|| {
                vec![Place::Span(Tokens {
                    start: span.start,
                    end: span.end,
                })]
            })?
        }
    })
}
