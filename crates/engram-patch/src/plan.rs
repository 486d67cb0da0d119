//! What a sweep computes: every cell of every pair, in a stated order, with what the graph alone says
//! of it. Pure: no tensors.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use engram_core::{Align, Corruption, Direction, Metric, NamedSite, Part, Positions, Select, Site};
use engram_model::Shape;
use serde::{Deserialize, Serialize};

use crate::error::{PatchError, Result};
use crate::noise::Noise;
use crate::prepare::PreparedPair;
use crate::reach::{Agreement, Fate, Written, fates};
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
            Place::At(position) => *position..*position + 1,
            Place::Span(span) | Place::Mapped(span) => span.start..span.end,
        }
    }
}

/// One site at one layer, patched at some positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedCell {
    /// The site under the name by which it was asked for.
    pub at: NamedSite,
    /// The heads or neurons that it covers; all where `None`.
    pub part: Option<Part>,
    /// The layers that it covers; one `None` for a site that stands once in the model.
    pub layers: Vec<Option<usize>>,
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
    /// Whether the graph fixes the cell's value in every one of some metrics.
    pub fn is_fixed(&self, metrics: &[Metric]) -> bool {
        metrics.iter().all(|m| self.fate(*m) != Fate::Open)
    }

    /// Whether its values must be computed: the graph does not fix them, and no earlier cell has them.
    pub fn is_open(&self, metrics: &[Metric]) -> bool {
        self.same_as.is_none() && !self.is_fixed(metrics)
    }

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
    /// Added to a position of the run written into, gives the position that its values come from.
    pub shift: i64,
    /// The noise of the corrupted run, where that is what corrupts it.
    pub noise: Option<Noise>,
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
        let pairs = match spec.corruption {
            Corruption::Resample => crate::noise::resampled(pairs, spec.seed)?,
            _ => pairs,
        };
        let mut planned = Vec::with_capacity(pairs.len());
        for (index, mut pair) in pairs.into_iter().enumerate() {
            if let Corruption::Gaussian(_) = spec.corruption {
                pair.corrupt.clone_from(&pair.clean);
                pair.corrupt_tokens.clone_from(&pair.clean_tokens);
                pair.corrupt_subject.clone_from(&pair.subject);
            }
            let first = PairPlan::new(&spec, &shape, pair, None)?;
            match spec.corruption {
                Corruption::Gaussian(factor) => {
                    for noise in Noise::samples(&spec, &first.pair, factor, index)? {
                        let pair = first.pair.clone();
                        planned.push(PairPlan::new(&spec, &shape, pair, Some(noise))?);
                    }
                }
                _ => planned.push(first),
            }
        }
        let pairs = planned;
        Ok(Plan { spec, shape, pairs })
    }

    /// Number of cells whose values must be computed.
    pub fn open_cells(&self) -> usize {
        let cells = self.pairs.iter().flat_map(|p| &p.cells);
        cells.filter(|c| c.is_open(&self.spec.metrics)).count()
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

/// Site, layers and positions of a cell, and its heads or neurons.
type Where<'a, P> = (Site, Vec<Option<usize>>, &'a Place, P);

impl PairPlan {
    fn new(
        spec: &SweepSpec,
        shape: &Shape,
        pair: PreparedPair,
        noise: Option<Noise>,
    ) -> Result<PairPlan> {
        let wrong = |why: String| PatchError::Pair {
            pair: pair.id.clone(),
            why,
        };
        let (base, source) = runs(&pair, spec.direction);
        if spec.align == Align::Strict && base.len() != source.len() || base.is_empty() {
            return Err(wrong(format!(
                "the clean prompt has {} tokens, the corrupted one {}; --align last or subject brings prompts of unequal length together",
                pair.clean.len(),
                pair.corrupt.len()
            )));
        }
        if pair.answer.is_empty() || pair.foil.is_empty() {
            return Err(wrong("the answer or the foil has no token".to_owned()));
        }
        let no_subject = || wrong("no subject is given, or none within the prompt".to_owned());
        let (shift, mapped) = mapping(spec, &pair).ok_or_else(no_subject)?;
        let places = places(spec, &pair, mapped).ok_or_else(no_subject)?;
        if places.is_empty() {
            return Err(wrong(format!(
                "no cell is left to patch: the last position has no partner under alignment {}",
                spec.align
            )));
        }
        let prompt = base.len();
        let agree = agreement(spec, &pair, shift, noise.as_ref());
        // What the graph fixes is the same for every head and neuron.
        let mut known: BTreeMap<Where<'_, bool>, [Fate; 2]> = BTreeMap::new();
        let mut seen: BTreeMap<Where<'_, Option<Part>>, usize> = BTreeMap::new();
        // Names that overlap (`z.3[5]` and `z.3`) ask for a cell once.
        let mut asked: BTreeSet<(String, Option<Part>, &Place)> = BTreeSet::new();
        let mut cells: Vec<PlannedCell> = Vec::with_capacity(spec.sites.len() * places.len());
        for at in &spec.sites {
            let layers = window(at, spec.window, shape.layers);
            let count = axis(at.site, shape);
            for part in parts(at, count)? {
                // A group that is all of them is the whole.
                let partial = part.filter(|p| count.is_some_and(|count| p.end - p.start < count));
                for place in &places {
                    let name = match part {
                        Some(p) if p.end - p.start > 1 => {
                            format!("{}[{}:{}]", at.name, p.start, p.end)
                        }
                        _ => at.name.clone(),
                    };
                    if !asked.insert((name.clone(), part, place)) {
                        continue;
                    }
                    let key = (at.site, layers.clone(), place, partial.is_some());
                    let [fate, fate_continued] = *known.entry(key).or_insert_with(|| {
                        let written = Written {
                            site: at.site,
                            layers: &layers,
                            positions: place.range(prompt),
                            partial: partial.is_some(),
                            constant: spec.writes_constants(),
                        };
                        fates(shape, &agree, prompt, written).map(|fate| {
                            match (fate, spec.align) {
                                // Values of another position, or of another prompt around them.
                                (Fate::Source, Align::Last | Align::Subject) => Fate::Open,
                                _ => fate,
                            }
                        })
                    });
                    let index = cells.len();
                    let first = (at.site, layers.clone(), place, partial);
                    let first = *seen.entry(first).or_insert(index);
                    cells.push(PlannedCell {
                        at: at.clone().named(name),
                        part,
                        layers: layers.clone(),
                        place: place.clone(),
                        same_as: (first < index).then_some(first),
                        fate,
                        fate_continued,
                    });
                }
            }
        }
        Ok(PairPlan {
            pair,
            shift,
            noise,
            cells,
        })
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
            Place::All | Place::Mapped(_) => None,
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

/// Where base and source run agree before the first block.
fn agreement(
    spec: &SweepSpec,
    pair: &PreparedPair,
    shift: i64,
    noise: Option<&Noise>,
) -> Agreement {
    let (base, source) = runs(pair, spec.direction);
    let noisy = |p: usize| noise.is_some_and(|n| n.span.start <= p && p < n.span.end);
    let same = |p: usize| match noise {
        Some(_) => !noisy(p),
        None => shift == 0 && base.get(p) == source.get(p),
    };
    let appended = std::iter::repeat_n(shift == 0, appended(pair, &spec.metrics));
    Agreement {
        tokens: (0..base.len()).map(same).chain(appended).collect(),
        positions: shift == 0,
    }
}

/// The layers that a cell at `at` covers: a window centred on its own, clipped to the model (Meng et
/// al. 2022, causal tracing).
fn window(at: &NamedSite, width: usize, layers: usize) -> Vec<Option<usize>> {
    match at.layer {
        None => vec![None],
        Some(layer) => {
            let end = (layer + width - width / 2).min(layers);
            (layer.saturating_sub(width / 2)..end).map(Some).collect()
        }
    }
}

/// How many heads or neurons a site has; `None` where it has neither.
fn axis(site: Site, shape: &Shape) -> Option<usize> {
    match site {
        Site::K | Site::V => Some(shape.kv_heads),
        site if site.has_heads() => Some(shape.heads),
        site if site.has_neurons() => Some(shape.d_mlp),
        _ => None,
    }
}

/// The heads or neurons of each cell of a site that has `count`.
fn parts(at: &NamedSite, count: Option<usize>) -> Result<Vec<Option<Part>>> {
    let Some(count) = count else {
        return Ok(vec![None]);
    };
    let groups = |size: usize| {
        (0..count)
            .step_by(size.max(1))
            .map(|start| {
                let end = (start + size).min(count);
                Some(Part { start, end })
            })
            .collect()
    };
    Ok(match at.select {
        Select::Whole => vec![None],
        Select::Each => groups(1),
        Select::Groups(size) => groups(size),
        Select::Some(part) if part.end <= count => vec![Some(part)],
        Select::Some(_) => {
            return Err(PatchError::NoSuchPart {
                name: at.name.clone(),
                count,
            });
        }
    })
}

/// How far apart partners stand, and the positions of the run written into that have one.
fn mapping(spec: &SweepSpec, pair: &PreparedPair) -> Option<(i64, Tokens)> {
    let (base, source) = runs(pair, spec.direction);
    let shift = |base: usize, source: usize| source as i64 - base as i64;
    Some(match spec.align {
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
            let corrupt = pair.corrupt_subject.as_ref()?;
            let (base, source) = match spec.direction {
                Direction::Denoise => (corrupt, pair.subject.as_ref()?),
                Direction::Noise => (pair.subject.as_ref()?, corrupt),
            };
            let both = base.len().min(source.len());
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

fn places(spec: &SweepSpec, pair: &PreparedPair, mapped: Tokens) -> Option<Vec<Place>> {
    let prompt = runs(pair, spec.direction).0.len();
    let inside = |p: &usize| mapped.start <= *p && *p < mapped.end;
    let whole = mapped.start == 0 && mapped.end == prompt;
    Some(match spec.positions {
        Positions::Each => (mapped.start..mapped.end).map(Place::At).collect(),
        Positions::All if whole => vec![Place::All],
        Positions::All => vec![Place::Mapped(mapped)],
        Positions::Last => {
            let last = prompt.checked_sub(1)?;
            Some(last)
                .filter(inside)
                .map(Place::At)
                .into_iter()
                .collect()
        }
        Positions::Subject => {
            let span = match spec.direction {
                Direction::Denoise => pair.corrupt_subject.as_ref().or(pair.subject.as_ref()),
                Direction::Noise => pair.subject.as_ref(),
            }?;
            let (start, end) = (span.start.max(mapped.start), span.end.min(mapped.end));
            (start < end && span.end <= prompt).then(|| vec![Place::Span(Tokens { start, end })])?
        }
    })
}
