//! Which cells' recovery the graph alone fixes: abstract interpretation of one run.
//!
//! Instead of numbers the walk carries two flags for each position of each stage: whether the value
//! there certainly equals the base run's, and whether it certainly equals the source run's at the
//! position that the alignment maps it to. A value has a flag where everything that it is computed
//! from has it; attention's output where the keys that the query attends to are all mapped, too.

use std::collections::BTreeMap;
use std::ops::Range;

use engram_core::Site;
use engram_model::Shape;
use engram_model::block::{ComputedFrom, Graph};
use serde::{Deserialize, Serialize};

use crate::noise::Noise;
use crate::place::runs;
use crate::plan::appended;
use crate::prepare::PreparedPair;
use crate::spec::SweepSpec;

/// What the graph says of the logits that a metric reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// They depend on the weights.
    Open,
    /// They are the source run's: R = 1.
    Source,
    /// They are the base run's, because the patch writes what was there: R = 0.
    Same,
    /// They are the base run's, because nothing leads from the patch to them: R = 0.
    Unread,
}

impl Fate {
    /// The reason as a sentence; `None` where nothing is fixed.
    pub fn why(self) -> Option<&'static str> {
        match self {
            Fate::Open => None,
            Fate::Source => Some(
                "every path from the tokens that differ to the logits that are read passes through the patched entries",
            ),
            Fate::Same => {
                Some("both runs have the same values at the patched entries, whatever the weights")
            }
            Fate::Unread => {
                Some("no path leads from the patched entries to the logits that are read")
            }
        }
    }

    /// The recovery that the graph fixes.
    pub fn recovery(self) -> Option<f64> {
        match self {
            Fate::Open => None,
            Fate::Source => Some(1.0),
            Fate::Same | Fate::Unread => Some(0.0),
        }
    }
}

/// What a value certainly equals; `same` is whether the unpatched runs agree at this entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Equal {
    base: bool,
    source: bool,
    same: bool,
}

impl Equal {
    fn and(self, other: Equal) -> Equal {
        Equal {
            base: self.base && other.base,
            source: self.source && other.source,
            same: self.same && other.same,
        }
    }
}

type Flags = Vec<Equal>;

/// What one intervention of a cell writes, as far as the graph is concerned.
#[derive(Debug, Clone)]
pub(crate) struct GraphWrite {
    /// The site.
    pub site: Site,
    /// The layer, for sites that stand in every block.
    pub layer: Option<usize>,
    /// The positions.
    pub positions: Range<usize>,
    /// Only some heads or neurons.
    pub partial: bool,
    /// Something that neither run need have, in place of the source run's values.
    pub foreign: bool,
}

struct Patch<'a> {
    written: &'a [GraphWrite],
    /// Whether a patched entry may differ from what was there.
    differs: bool,
}

impl Patch<'_> {
    /// The flags of a site as the patch leaves them.
    fn at(&mut self, site: Site, layer: Option<usize>, mut flags: Flags) -> Flags {
        let here = self.written.iter();
        for written in here.filter(|w| (w.site, w.layer) == (site, layer)) {
            for entry in &mut flags[written.positions.clone()] {
                self.differs |= written.foreign || !entry.same;
                // The entries around a part stay what they were.
                let rest = *entry;
                entry.base = !written.foreign && rest.same && (rest.base || !written.partial);
                entry.source = !written.foreign && (rest.source || !written.partial);
            }
        }
        flags
    }
}

fn join(a: &Flags, b: &Flags) -> Flags {
    a.iter().zip(b).map(|(a, b)| a.and(*b)).collect()
}

/// An entry of an unpatched run, which both runs have where `same` says so.
fn agreeing(same: bool) -> Equal {
    Equal {
        base: true,
        source: same,
        same,
    }
}

/// How the base run's positions are mapped to the source run's, and where both agree before the first block.
pub(crate) struct Agreement {
    /// Whether the token embedding at each position of the base run equals that of its partner; tokens appended to the
    /// prompts included.
    pub tokens: Vec<bool>,
    /// Added to a position of the base run, gives that of its partner.
    pub shift: i64,
    /// Positions of the base run's prompt.
    pub prompt: usize,
    /// Positions of the source run's prompt.
    pub source: usize,
}

impl Agreement {
    /// Whether the positions that the metrics read are mapped to each other.
    pub fn ends_together(&self) -> bool {
        self.prompt as i64 + self.shift == self.source as i64
    }

    fn appended(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    fn partner(&self, position: usize) -> Option<usize> {
        let partner = usize::try_from(position as i64 + self.shift).ok()?;
        (partner < self.source + self.appended()).then_some(partner)
    }

    /// Position embeddings, whether those of partners are equal. Where positions are not embedded they differ nowhere.
    fn places(&self, shape: &Shape) -> Flags {
        let equal = self.shift == 0 || !shape.learned_positions;
        let positions = 0..self.tokens.len();
        positions
            .map(|p| agreeing(equal && self.partner(p).is_some()))
            .collect()
    }

    /// Whether the keys that a query attends to are mapped to those that its partner attends to.
    fn keys_are_mapped(&self, shape: &Shape, layer: usize, query: usize) -> bool {
        self.partner(query).is_some_and(|partner| {
            let (own, other) = (shape.attended(layer, query), shape.attended(layer, partner));
            own.start as i64 + self.shift == other.start as i64
        })
    }

    /// Each query with all keys that it attends to.
    fn attended(&self, shape: &Shape, layer: usize, keys: &Flags) -> Flags {
        let of = |query: usize| {
            let mapped = self.keys_are_mapped(shape, layer, query);
            let seen = &keys[shape.attended(layer, query)];
            seen.iter().fold(agreeing(mapped), |all, key| all.and(*key))
        };
        (0..keys.len()).map(of).collect()
    }

    /// The attention pattern of each query.
    fn pattern(&self, shape: &Shape, layer: usize, q: &Flags, k: &Flags) -> Flags {
        let scores = join(q, &self.attended(shape, layer, k));
        let of = |(query, scores): (usize, Equal)| match shape.attended(layer, query).len() {
            // With one key the pattern is 1, whatever query and key.
            1 => agreeing(self.keys_are_mapped(shape, layer, query)),
            _ => scores,
        };
        scores.into_iter().enumerate().map(of).collect()
    }
}

/// The flags of the logits after a run with one patched cell.
fn walk(shape: &Shape, agree: &Agreement, patch: &mut Patch<'_>) -> Flags {
    let graph = Graph::of(shape);
    let mut values: BTreeMap<Site, Flags> = BTreeMap::new();
    let mut stream = Site::Embed;
    let layers = (0..shape.layers).map(Some);
    let blocks = layers.map(|layer| (layer, graph.block.as_slice()));
    let stages = std::iter::once((None, graph.before.as_slice()))
        .chain(blocks)
        .chain([(None, graph.after.as_slice())]);
    for (layer, sites) in stages {
        for described in sites {
            let of = |site: &Site| values.get(site).cloned().unwrap_or_default();
            let flags = match described.made {
                ComputedFrom::OfToken => agree.tokens.iter().map(|a| agreeing(*a)).collect(),
                ComputedFrom::OfPosition => agree.places(shape),
                ComputedFrom::Stream if stream == Site::Embed => {
                    join(&of(&Site::Embed), &of(&Site::PosEmbed))
                }
                ComputedFrom::Stream => of(&stream),
                ComputedFrom::Of(read) => {
                    let all = read.iter().map(of).reduce(|a, b| join(&a, &b));
                    all.unwrap_or_default()
                }
                ComputedFrom::Scores { queries, keys } => {
                    agree.pattern(shape, layer.unwrap_or(0), &of(&queries), &of(&keys))
                }
                ComputedFrom::Weighted {
                    pattern,
                    values: weighed,
                } => {
                    let read = agree.attended(shape, layer.unwrap_or(0), &of(&weighed));
                    join(&of(&pattern), &read)
                }
            };
            values.insert(described.site, patch.at(described.site, layer, flags));
        }
        if layer.is_some() {
            stream = Site::ResidPost;
        }
    }
    values.remove(&Site::Logits).unwrap_or_default()
}

/// What the graph fixes for a cell: first for metrics that read the logits at the prompt's last
/// position, then for those that also read the positions appended after it.
pub(crate) fn fates(shape: &Shape, agree: &Agreement, written: &[GraphWrite]) -> [Fate; 2] {
    let mut patch = Patch {
        written,
        differs: false,
    };
    let logits = walk(shape, agree, &mut patch);
    let last = agree.prompt.saturating_sub(1);
    [agree.prompt, agree.tokens.len()].map(|end| {
        let read = &logits[last..end];
        if read.iter().all(|e| e.base) {
            match patch.differs {
                true => Fate::Unread,
                false => Fate::Same,
            }
        } else if agree.ends_together() && read.iter().all(|e| e.source) {
            Fate::Source
        } else {
            Fate::Open
        }
    })
}

/// Where base and source run agree before the first block.
pub(crate) fn agreement(
    spec: &SweepSpec,
    pair: &PreparedPair,
    shift: i64,
    noise: Option<&Noise>,
) -> Agreement {
    let (base, source) = runs(pair, spec.direction);
    let noisy = |p: usize| noise.is_some_and(|n| n.span.start <= p && p < n.span.end);
    let partner = |p: usize| usize::try_from(p as i64 + shift).ok();
    let same = |p: usize| match noise {
        Some(_) => !noisy(p),
        None => partner(p).and_then(|q| source.get(q)) == base.get(p),
    };
    let mut agree = Agreement {
        tokens: (0..base.len()).map(same).collect(),
        shift,
        prompt: base.len(),
        source: source.len(),
    };
    let appended = appended(pair, &spec.metrics);
    let together = agree.ends_together();
    agree.tokens.extend(std::iter::repeat_n(together, appended));
    agree
}
