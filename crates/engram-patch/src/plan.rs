//! What a sweep computes: every cell of every pair, in a stated order, with what the graph alone says
//! of it. Pure: no tensors.

use std::collections::{BTreeMap, BTreeSet};

use engram_core::{Align, Corruption, Direction, Metric, NamedSite, Part, Select, Site};
use engram_model::Shape;
use engram_model::block::describe;
use serde::{Deserialize, Serialize};

use crate::check::Unfit;
use crate::error::{PatchError, Result};
use crate::intervention::{Intervention, Value, without_partner};
use crate::noise::{Noise, resampled};
use crate::place::{Place, mapping, places, runs};
use crate::prepare::PreparedPair;
use crate::reach::{Fate, GraphWrite, agreement, fates};
use crate::spec::SweepSpec;
use crate::term::conflict;

/// A run that is to be made: a base run with interventions, and what names its rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedCell {
    /// The site under the name by which it was asked for; of a caller's cell, its first site under the cell's name.
    pub at: NamedSite,
    /// The heads or neurons that it covers; all where `None`.
    pub part: Option<Part>,
    /// The positions; all where interventions differ in them.
    pub place: Place,
    /// What is changed in the run: one intervention for each layer of a window, or the caller's.
    pub interventions: Vec<Intervention>,
    /// An earlier cell of this pair that is the same under another name: its values serve here too.
    pub same_as: Option<usize>,
    /// Whether it is the caller's, and not a site's.
    pub is_own: bool,
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

/// A cell's run, in words.
pub(crate) fn patched_run(cell: &PlannedCell, prompt: usize) -> String {
    let place = cell.place.range(prompt);
    format!("the run patched at {}, positions {place:?}", cell.at.name)
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
    /// Lays out a sweep of all pairs.
    ///
    /// # Errors
    /// [`PatchError::Unsupported`], [`PatchError::Contradiction`], [`PatchError::Empty`],
    /// [`PatchError::NoSuchLayer`], [`PatchError::NoSuchPart`]; [`PatchError::Pair`] for a pair whose prompts differ in
    /// length or that lacks the subject asked for, [`PatchError::Unfit`] for several.
    pub fn new(spec: SweepSpec, shape: Shape, pairs: Vec<PreparedPair>) -> Result<Plan> {
        let total = pairs.len();
        let (plan, unfit) = Plan::of_fit(spec, shape, pairs)?;
        match unfit.is_empty() {
            true => Ok(plan),
            false => Err(refused(&unfit, total)),
        }
    }

    /// Lays out a sweep of those pairs that it can patch, and says of the others why it cannot. A pair's draws of noise
    /// and prompts are the same whichever others are left out.
    ///
    /// # Errors
    /// As [`Plan::new`], except that a pair is an error only where none is left.
    pub fn of_fit(
        spec: SweepSpec,
        shape: Shape,
        pairs: Vec<PreparedPair>,
    ) -> Result<(Plan, Vec<Unfit>)> {
        let mut spec = spec;
        spec.check(&shape)?;
        spec.sites = without_repetitions(spec.sites);
        spec.metrics = without_repetitions(spec.metrics);
        if pairs.is_empty() {
            return Err(PatchError::Empty {
                why: "there is no pair",
            });
        }
        let mut planned = Vec::with_capacity(pairs.len());
        let mut unfit = Vec::new();
        for (index, pair) in corrupted(&spec, &pairs).enumerate() {
            let pair = pair.and_then(|pair| pair.check(&shape).map(|()| pair));
            match pair.and_then(|pair| PairPlan::samples(&spec, &shape, pair, index)) {
                Ok(samples) => planned.extend(samples),
                Err(PatchError::Pair { pair, why }) => unfit.push(Unfit {
                    pair,
                    kind: pairs[index].kind.clone(),
                    problems: vec![why],
                }),
                Err(other) => return Err(other),
            }
        }
        if planned.is_empty() {
            return Err(refused(&unfit, unfit.len()));
        }
        let pairs = planned;
        Ok((Plan { spec, shape, pairs }, unfit))
    }

    /// Checks that every number of the plan is one that its model has: token ids, lengths, subjects, noise, layers, positions,
    /// heads and neurons. A plan that was made by [`Plan::new`] is; one that was read or changed may not be.
    ///
    /// # Errors
    /// [`PatchError::Plan`] with the pair, the site and the value.
    pub fn check(&self) -> Result<()> {
        self.pairs.iter().try_for_each(|pair| {
            pair.pair.check(&self.shape)?;
            pair.check(&self.shape, &self.spec)
        })
    }

    /// Number of cells whose values must be computed.
    pub fn open_cells(&self) -> usize {
        let cells = self.pairs.iter().flat_map(|p| &p.cells);
        cells.filter(|c| c.is_open(&self.spec.metrics)).count()
    }

    /// Number of rows of the results: cells by metrics.
    pub fn rows(&self) -> usize {
        self.cells() * self.spec.metrics.len()
    }

    /// Number of cells over all pairs.
    pub fn cells(&self) -> usize {
        self.pairs.iter().map(|p| p.cells.len()).sum()
    }
}

/// The error of pairs that a sweep cannot patch.
fn refused(unfit: &[Unfit], total: usize) -> PatchError {
    match unfit {
        [one] => PatchError::Pair {
            pair: one.pair.clone(),
            why: one.problems.join("; "),
        },
        _ => PatchError::unfit(unfit, total),
    }
}

/// The pairs with what corrupts their second run.
fn corrupted<'a>(
    spec: &SweepSpec,
    pairs: &'a [PreparedPair],
) -> Box<dyn Iterator<Item = Result<PreparedPair>> + 'a> {
    match spec.corruption {
        Corruption::Resample => Box::new(resampled(pairs, spec.seed)),
        Corruption::Gaussian(_) => Box::new(pairs.iter().map(|pair| {
            Ok(PreparedPair {
                corrupt: pair.clean.clone(),
                corrupt_tokens: pair.clean_tokens.clone(),
                corrupt_subject: pair.subject.clone(),
                ..pair.clone()
            })
        })),
        _ => Box::new(pairs.iter().cloned().map(Ok)),
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
    /// Checks noise and cells against the prompts and the model.
    fn check(&self, shape: &Shape, spec: &SweepSpec) -> Result<()> {
        let wrong = |site: Option<&PlannedCell>, why: String| PatchError::Plan {
            pair: self.pair.id.clone(),
            site: site.map(|cell| cell.at.name.clone()),
            why,
        };
        let (base, source) = self.runs(spec.direction);
        let appended = self.continuation(spec).appended();
        let longest = base.len().max(source.len());
        if longest + appended > shape.context {
            let context = shape.context;
            let why = format!(
                "{longest} tokens and {appended} of the answer do not fit the model's context of {context}"
            );
            return Err(wrong(None, why));
        }
        if let Some(noise) = &self.noise
            && noise.span.end > base.len().min(source.len())
        {
            let (end, length) = (noise.span.end, base.len());
            let why = format!("noise on positions to {end} of a prompt of {length} tokens");
            return Err(wrong(None, why));
        }
        for (index, cell) in self.cells.iter().enumerate() {
            let wrong = |why| wrong(Some(cell), why);
            if cell.interventions.is_empty() {
                return Err(wrong("it has no intervention".to_owned()));
            }
            if let Some(why) = conflict(&cell.interventions, base.len()) {
                return Err(wrong(why));
            }
            for intervention in &cell.interventions {
                let lengths = (base.len(), source.len());
                let fault = intervention.fault(shape, base.len());
                if let Some(why) =
                    fault.or_else(|| without_partner(intervention, self.shift, lengths))
                {
                    return Err(wrong(why));
                }
            }
            if cell.same_as.is_some_and(|first| first >= index) {
                return Err(wrong("it is the same as a later cell".to_owned()));
            }
        }
        Ok(())
    }

    /// The plans of a pair: one for each sample of noise, or one.
    fn samples(
        spec: &SweepSpec,
        shape: &Shape,
        pair: PreparedPair,
        index: usize,
    ) -> Result<Vec<PairPlan>> {
        let Corruption::Gaussian(factor) = spec.corruption else {
            return Ok(vec![PairPlan::new(spec, shape, pair, None)?]);
        };
        let samples = Noise::samples(spec, &pair, factor, index)?;
        let plan = |noise| PairPlan::new(spec, shape, pair.clone(), Some(noise));
        samples.into_iter().map(plan).collect()
    }

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
        let (shift, mapped) = mapping(spec, &pair).map_err(wrong)?;
        let places = match spec.sites.is_empty() {
            true => Vec::new(),
            false => places(spec, &pair, mapped).map_err(wrong)?,
        };
        let prompt = base.len();
        let agree = agreement(spec, &pair, shift, noise.as_ref());
        let value = match spec.corruption {
            Corruption::Zero => Value::Zero,
            Corruption::Mean => Value::Mean,
            Corruption::Swap | Corruption::Gaussian(_) | Corruption::Resample => Value::Source,
        };
        // What the graph fixes is the same for every head and neuron.
        let mut known: BTreeMap<Where<'_, bool>, [Fate; 2]> = BTreeMap::new();
        let mut seen: BTreeMap<Where<'_, Option<Part>>, usize> = BTreeMap::new();
        // Names that overlap (`z.3[5]` and `z.3`) ask for a cell once.
        let mut asked: BTreeSet<(String, Option<Part>, &Place)> = BTreeSet::new();
        let mut cells: Vec<PlannedCell> = Vec::with_capacity(spec.sites.len() * places.len());
        for at in &spec.sites {
            let layers = window(at, spec.window, shape.layers);
            let count = describe(at.site, shape).parts;
            for part in parts(at, count) {
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
                    let interventions = layers.iter().map(|layer| Intervention {
                        site: at.site,
                        layer: *layer,
                        part,
                        place: place.clone(),
                        value: value.clone(),
                    });
                    let interventions: Vec<Intervention> = interventions.collect();
                    let key = (at.site, layers.clone(), place, partial.is_some());
                    let [fate, fate_continued] = *known.entry(key).or_insert_with(|| {
                        fates(shape, &agree, &written(&interventions, shape, prompt))
                    });
                    let index = cells.len();
                    let first = (at.site, layers.clone(), place, partial);
                    let first = *seen.entry(first).or_insert(index);
                    cells.push(PlannedCell {
                        at: at.clone().named(name),
                        part,
                        place: place.clone(),
                        interventions,
                        same_as: (first < index).then_some(first),
                        is_own: false,
                        fate,
                        fate_continued,
                    });
                }
            }
        }
        for cell in &spec.cells {
            let interventions = cell.planned(spec, &pair, mapped).map_err(wrong)?;
            let lengths = (prompt, source.len());
            for (intervention, (at, _, _)) in interventions.iter().zip(&cell.interventions) {
                let fault = intervention.fault(shape, prompt);
                if let Some(why) = fault.or_else(|| without_partner(intervention, shift, lengths)) {
                    return Err(wrong(cell.says(at, &why)));
                }
            }
            if let (Some(why), Some((at, _, _))) =
                (conflict(&interventions, prompt), cell.interventions.first())
            {
                return Err(wrong(cell.says(at, &why)));
            }
            let first = interventions.first().zip(cell.interventions.first());
            let Some((first, (at, _, _))) = first else {
                return Err(wrong(format!("cell {} has no intervention", cell.name)));
            };
            let together = interventions.iter().all(|i| i.place == first.place);
            let written = written(&interventions, shape, prompt);
            let [fate, fate_continued] = fates(shape, &agree, &written);
            cells.push(PlannedCell {
                at: at.clone().named(cell.name.clone()),
                part: first.part,
                place: if together {
                    first.place.clone()
                } else {
                    Place::All
                },
                interventions,
                same_as: None,
                is_own: true,
                fate,
                fate_continued,
            });
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

/// How many tokens of answer or foil stand after the prompt where the metrics read them.
pub(crate) fn appended(pair: &PreparedPair, metrics: &[Metric]) -> usize {
    match metrics.iter().any(|m| m.reads_continuation()) {
        true => pair.answer.len().max(pair.foil.len()).saturating_sub(1),
        false => 0,
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

/// What the graph is told of a cell's interventions.
fn written(interventions: &[Intervention], shape: &Shape, prompt: usize) -> Vec<GraphWrite> {
    let of = |intervention: &Intervention| {
        let count = describe(intervention.site, shape).parts;
        let part = intervention.part;
        GraphWrite {
            site: intervention.site,
            layer: intervention.layer,
            positions: intervention.place.range(prompt),
            partial: part.is_some_and(|p| count.is_some_and(|count| p.end - p.start < count)),
            foreign: intervention.value != Value::Source,
        }
    };
    interventions.iter().map(of).collect()
}

/// The heads or neurons of each cell of a site that has `count`.
fn parts(at: &NamedSite, count: Option<usize>) -> Vec<Option<Part>> {
    let Some(count) = count else {
        return vec![None];
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
    match at.select {
        Select::Whole => vec![None],
        Select::Each => groups(1),
        Select::Groups(size) => groups(size),
        Select::Some(part) => vec![Some(part)],
    }
}
