//! Interventions as values: what a patched run is changed by, and the cells that callers make of several.

use std::sync::Arc;

use engram_core::{Align, NamedSite, Part, Select, Site};
use engram_model::Shape;
use engram_model::block::describe;
use serde::{Deserialize, Serialize};

pub use engram_model::wavefront::RowFunction;

use crate::place::{Place, Tokens};
use crate::prepare::PreparedPair;
use crate::spec::SweepSpec;
use crate::term::{self, Term};

/// What an intervention puts in place of the present value, which is that of the run as the interventions before it leave
/// it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Value {
    /// The source run's value at the site: the clean run's under denoise, the corrupted run's under noise; at the position
    /// that the alignment maps to the one that is patched.
    Source,
    /// 0.
    Zero,
    /// The site's mean over all tokens of the clean prompts of all pairs; a pattern has none.
    Mean,
    /// These values at every position: one row of the site ([`engram_model::block::Described::width`]).
    Row(#[serde(with = "shared")] Arc<Vec<f32>>),
    /// A row of the site for each position that is patched, in order: [positions, width].
    Rows(#[serde(with = "shared")] Arc<Vec<f32>>),
    /// The present value with `scale` times another added (steering; Turner et al. 2023).
    Added {
        /// What is added.
        value: Box<Value>,
        /// How many times.
        scale: f32,
    },
    /// What the site has where it alone reads some terms of the residual stream otherwise; everything else reads this
    /// run's own. The site is a destination of a circuit: some heads of q, k or v, ln1 (all of them), ln2 (the MLP) or
    /// ln_final (the logits).
    Reading(Vec<Term>),
    /// What a function makes of the present value. A plan that has one cannot be written to a file.
    #[serde(skip)]
    Function(RowFunction),
}

/// Values that are shared in memory are a list in files.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(values: &Arc<Vec<f32>>, to: S) -> Result<S::Ok, S::Error> {
        values.as_slice().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Vec<f32>>, D::Error> {
        Vec::deserialize(from).map(Arc::new)
    }
}

impl Value {
    /// Some values at every position.
    pub fn row(values: impl Into<Vec<f32>>) -> Value {
        Value::Row(Arc::new(values.into()))
    }

    /// `scale` times this, added to the present value.
    #[must_use]
    pub fn added(self, scale: f32) -> Value {
        let value = Box::new(self);
        Value::Added { value, scale }
    }

    /// What a function makes of the present value: see [`RowFunction`].
    pub fn function(function: impl Fn(usize, &mut [f32]) + Send + Sync + 'static) -> Value {
        Value::Function(RowFunction::new(function))
    }

    /// Whether it is a function's, which cannot be written to a file.
    pub fn has_function(&self) -> bool {
        match self.inner() {
            Value::Reading(terms) => terms.iter().any(|term| term.value.has_function()),
            inner => matches!(inner, Value::Function(_)),
        }
    }

    /// Whether some of it is the source run's.
    pub(crate) fn has_source(&self) -> bool {
        match self.inner() {
            Value::Reading(terms) => terms.iter().any(|term| term.value.has_source()),
            inner => *inner == Value::Source,
        }
    }

    /// Whether nothing but the source run's values takes the place of what was there.
    pub(crate) fn is_source(&self) -> bool {
        match self {
            Value::Reading(terms) => terms.iter().all(|term| term.value == Value::Source),
            value => *value == Value::Source,
        }
    }

    /// What is put there in the end, with all that it is added to left out.
    pub(crate) fn inner(&self) -> &Value {
        match self {
            Value::Added { value, .. } => value.inner(),
            _ => self,
        }
    }

    /// What is wrong with the value at a site for so many positions.
    fn fault(&self, at: &Intervention, shape: &Shape, positions: usize) -> Option<String> {
        let width = describe(at.site, shape).width;
        let given = |rows: &[f32], count: usize, what: &str| match width {
            None => Some(
                "a pattern's rows differ in length; change them by a function (Value::Function)"
                    .to_owned(),
            ),
            Some(width) if rows.len() != count * width => Some(format!(
                "{} values are given for {what} of {width} values",
                rows.len()
            )),
            Some(_) => (rows.iter().find(|v| !v.is_finite()))
                .map(|value| format!("the value {value} is given, which is not finite")),
        };
        let is_scale = matches!(
            at.site,
            Site::Ln1Scale | Site::Ln2Scale | Site::LnFinalScale
        );
        match self {
            Value::Zero if is_scale => Some("it would divide by 0".to_owned()),
            Value::Mean if at.site == Site::Logits && shape.capped => {
                let why = "this model's logits are capped: their mean is no token's logits";
                Some(why.to_owned())
            }
            Value::Source | Value::Zero | Value::Function(_) => None,
            Value::Mean if at.site == Site::Pattern => {
                Some("patterns of different prompts have no mean".to_owned())
            }
            Value::Mean => None,
            Value::Row(row) => given(row, 1, "a row"),
            Value::Rows(rows) => given(rows, positions, &format!("{positions} rows")),
            // The intervention looks at it.
            Value::Reading(_) => None,
            Value::Added { scale, .. } if !scale.is_finite() => {
                Some(format!("the scale {scale} is not finite"))
            }
            Value::Added { value, .. } if matches!(value.inner(), Value::Reading(_)) => {
                let why = "a reading cannot be added; add within the terms that are read";
                Some(why.to_owned())
            }
            // Nothing is added.
            Value::Added { value, .. } if **value == Value::Zero => None,
            Value::Added { value, .. } => value.fault(at, shape, positions),
        }
    }
}

/// One site of a run, changed at some positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intervention {
    /// The site.
    pub site: Site,
    /// The layer, for sites that stand in every block.
    pub layer: Option<usize>,
    /// Only these heads or neurons; all where `None`.
    pub part: Option<Part>,
    /// The positions of the prompt.
    pub place: Place,
    /// What it is changed to.
    pub value: Value,
}

impl Intervention {
    /// What is wrong with it in a run of `prompt` tokens: a layer, a part, a position or a value that the model does not
    /// have.
    pub(crate) fn fault(&self, shape: &Shape, prompt: usize) -> Option<String> {
        let is_there = match self.site {
            Site::MlpUp => shape.gated,
            Site::PosEmbed => shape.learned_positions,
            Site::ResidMid => !shape.parallel,
            _ => true,
        };
        if !is_there {
            return Some(format!("this model has no {}", self.site));
        }
        let layers = shape.layers;
        if self.layer.is_some() != self.site.has_layer() || self.layer.is_some_and(|l| l >= layers)
        {
            return Some(match self.layer {
                Some(layer) if self.site.has_layer() => {
                    format!("layer {layer} of a model of {layers}")
                }
                Some(layer) => format!("layer {layer} of a site that stands once in the model"),
                None => "it has no layer".to_owned(),
            });
        }
        if let Some(Part { start, end }) = self.part {
            let count = describe(self.site, shape).parts.unwrap_or(0);
            if start >= end || end > count {
                return Some(format!("heads or neurons {start} to {end} of {count}"));
            }
        }
        let place = self.place.range(prompt);
        if place.start > place.end || place.end > prompt {
            return Some(format!("positions {place:?} of {prompt} tokens"));
        }
        match &self.value {
            Value::Reading(terms) => term::fault(self, terms, shape, prompt),
            value => value.fault(self, shape, place.len()),
        }
    }

    /// Each value that is put somewhere in the end, with its site: its own, or those of the terms that it reads.
    pub(crate) fn values(&self) -> impl Iterator<Item = ((Site, Option<usize>), &Value)> {
        let (own, terms) = match &self.value {
            Value::Reading(terms) => (None, terms.as_slice()),
            value => (Some(((self.site, self.layer), value)), [].as_slice()),
        };
        let of_terms = terms.iter().map(|t| ((t.site, t.layer), &t.value));
        own.into_iter().chain(of_terms)
    }
}

/// Where a caller's cell is patched, in prompts of any length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// At every position.
    All,
    /// At the last one.
    Last,
    /// At the subject's.
    Subject,
    /// At one position of the prompt that is written into, counted from 0.
    Position(usize),
}

/// A cell of the caller's: interventions that are made in one run.
///
/// ```
/// use engram_core::{NamedSite, Site};
/// use engram_patch::{At, Cell, Value};
///
/// let resid = |layer| NamedSite::canonical(Site::ResidPre, Some(layer));
/// // Twice a direction, added to the residual stream of layer 3 at the last position; the clean run's value at layer 5.
/// let cell = Cell::new("steered")
///     .with(resid(3), At::Last, Value::row(vec![0.5; 128]).added(2.0))
///     .with(resid(5), At::Position(2), Value::Source);
/// assert_eq!(cell.interventions.len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The name that its rows have.
    pub name: String,
    /// Each site with its place and value. Those of one site are made in this order; otherwise the forward pass decides. A
    /// site of heads without brackets (`z.3`) is all of them together.
    pub interventions: Vec<(NamedSite, At, Value)>,
}

impl Cell {
    /// Without an intervention yet.
    pub fn new(name: impl Into<String>) -> Cell {
        Cell {
            name: name.into(),
            interventions: Vec::new(),
        }
    }

    /// With one more.
    #[must_use]
    pub fn with(mut self, site: NamedSite, at: At, value: Value) -> Cell {
        self.interventions.push((site, at, value));
        self
    }

    /// What is made of it in a pair: the partners of alignment are the positions `mapped`.
    pub(crate) fn planned(
        &self,
        spec: &SweepSpec,
        pair: &PreparedPair,
        mapped: Tokens,
    ) -> Result<Vec<Intervention>, String> {
        let prompt = crate::place::runs(pair, spec.direction).0.len();
        let align = spec.align;
        let of = |(site, at, value): &(NamedSite, At, Value)| -> Result<Intervention, String> {
            let from_source = value.has_source();
            if from_source && site.site == Site::Pattern && align != Align::Strict {
                return Err("a pattern's keys are positions of one prompt".to_owned());
            }
            let place = match at {
                At::All if from_source && (mapped.start, mapped.end) != (0, prompt) => {
                    Place::Mapped(mapped)
                }
                At::All => Place::All,
                At::Last => Place::At(prompt.saturating_sub(1)),
                At::Position(position) => Place::At(*position),
                At::Subject => Place::Span(crate::place::subject(pair, spec.direction)?),
            };
            let positions = place.range(prompt);
            let is_within = positions.start >= mapped.start && positions.end <= mapped.end;
            if from_source && positions.end <= prompt && !is_within {
                return Err(format!(
                    "positions {positions:?} have no partner under alignment {align}"
                ));
            }
            let part = match site.select {
                Select::Some(part) => Some(part),
                Select::Whole => None,
                // A bare name of a site of heads.
                Select::Each if site.site.has_heads() => None,
                Select::Each | Select::Groups(_) => {
                    return Err(format!(
                        "{} stands for several parts; a cell is one run: name one part, or the whole as {}[:]",
                        site.name, site.site
                    ));
                }
            };
            Ok(Intervention {
                site: site.site,
                layer: site.layer,
                part,
                place,
                value: value.clone(),
            })
        };
        let named = |all: &(NamedSite, At, Value)| of(all).map_err(|why| self.says(&all.0, &why));
        self.interventions.iter().map(named).collect()
    }

    /// A fault of one of its interventions, with the names of both.
    pub(crate) fn says(&self, site: &NamedSite, why: &str) -> String {
        format!("cell {}, site {}: {why}", self.name, site.name)
    }
}

/// What is wrong with the positions that an intervention takes values from, in a source run of `source` tokens.
pub(crate) fn without_partner(
    intervention: &Intervention,
    shift: i64,
    (prompt, source): (usize, usize),
) -> Option<String> {
    if !intervention.value.has_source() {
        return None;
    }
    if intervention.site == Site::Pattern && shift != 0 {
        return Some("a pattern's keys are positions of one prompt".to_owned());
    }
    let mut positions = intervention.place.range(prompt);
    let outside = |from: i64| from < 0 || from >= source as i64;
    let position = positions.find(|p| outside(*p as i64 + shift))?;
    let from = position as i64 + shift;
    Some(format!(
        "position {position} takes that of {from}, of {source} tokens"
    ))
}
