//! Suites built from facts, and checked against a model: which pairs a sweep patches, where, and what becomes of the others.

use std::fmt;
use std::path::Path;

use engram_core::clusters::Shared;
use engram_core::{Align, Clusters, NamedSite, Pair, Positions, Site, Suite};
use engram_corpus::CounterFact;
use engram_model::Shape;
use engram_patch::{Fitness, Plan, Reading, SweepSpec, build_counterfact, check};
use serde::{Serialize, Serializer};

use crate::corpus::counterfact;
use crate::error::Result;
use crate::observe::Observer;

/// A suite whose pairs were held against a model under an alignment.
#[derive(Debug, Clone)]
pub struct CheckedSuite {
    /// The pairs, in the order of the suite.
    pub pairs: Vec<CheckedPair>,
    /// Which pairs are not independent.
    pub clusters: Clusters,
    /// The alignment.
    pub align: Align,
}

/// A pair's fitness, and what a sweep does with the pair.
#[derive(Debug, Clone, Serialize)]
pub struct CheckedPair {
    /// Its tokens, its problems and notices.
    #[serde(flatten)]
    pub fitness: Fitness,
    /// What `patch` does with the pair.
    pub patch: Patched,
    /// The number of its cluster.
    pub cluster: usize,
}

/// What a sweep over all positions does with a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patched {
    /// It refuses the pair for the problems of its fitness.
    Unfit,
    /// It refuses the pair for this reason.
    Refused(String),
    /// It patches the pair.
    At {
        /// How many positions are patched.
        positions: usize,
        /// Tokens of the corrupted prompt.
        length: usize,
        /// How many tokens later a position's partner is in the clean prompt.
        shift: i64,
    },
}

impl Patched {
    /// Whether the pair is patched.
    pub fn is_patched(&self) -> bool {
        matches!(self, Patched::At { .. })
    }

    fn of(fitness: &Fitness, shape: &Shape, align: Align) -> Patched {
        if !fitness.is_fit() {
            return Patched::Unfit;
        }
        let site = NamedSite::canonical(Site::ResidPre, Some(0));
        let spec = SweepSpec {
            positions: Positions::Each,
            align,
            ..SweepSpec::new(vec![site])
        };
        let (plan, unfit) = match Plan::of_fit(spec, shape.clone(), vec![fitness.pair.clone()]) {
            Ok(planned) => planned,
            Err(error) => return Patched::Refused(error.to_string()),
        };
        match (plan.pairs.first(), unfit.first()) {
            (Some(pair), _) => Patched::At {
                positions: pair.cells.len(),
                length: fitness.pair.corrupt.len(),
                shift: pair.shift,
            },
            (None, Some(unfit)) => Patched::Refused(unfit.problems.join("; ")),
            (None, None) => Patched::Refused("nothing is left to patch".to_owned()),
        }
    }
}

impl fmt::Display for Patched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Patched::Unfit => f.write_str("refuses it, with the suite; --skip-unfit leaves it out"),
            Patched::Refused(why) => {
                write!(
                    f,
                    "refuses it, with the suite ({why}); --skip-unfit leaves it out"
                )
            }
            Patched::At {
                positions,
                length,
                shift: 0,
            } if positions == length => write!(f, "patches it at {positions} positions"),
            Patched::At {
                positions,
                length,
                shift,
            } => {
                let away = match shift {
                    0 => "tokens away",
                    1.. => "tokens later",
                    _ => "tokens earlier",
                };
                let by = shift.unsigned_abs();
                write!(
                    f,
                    "patches it at {positions} of {length} positions; their partners are {by} {away} in the clean prompt"
                )
            }
        }
    }
}

impl Serialize for Patched {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Pairs of one cluster that the suite does not give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCluster {
    /// Their ids.
    pub pairs: Vec<String>,
    /// What they share.
    pub shared: Vec<Shared>,
}

impl CheckedSuite {
    /// Holds a suite against a model.
    ///
    /// # Errors
    /// [`crate::Error::Patch`] where a prompt cannot be tokenised.
    pub fn of(
        suite: &Suite,
        model: &engram_model::LanguageModel,
        align: Align,
    ) -> Result<CheckedSuite> {
        let shape = model.shape();
        let reading = Reading {
            unequal: align != Align::Strict,
            ..Reading::default()
        };
        let clusters = Clusters::of(&suite.pairs);
        let checked = check(suite, model.tokenizer(), &shape, &reading)?;
        let pairs =
            (checked.into_iter().zip(&clusters.of)).map(|(fitness, &cluster)| CheckedPair {
                patch: Patched::of(&fitness, &shape, align),
                fitness,
                cluster,
            });
        Ok(CheckedSuite {
            pairs: pairs.collect(),
            clusters,
            align,
        })
    }

    /// How many pairs a sweep refuses.
    pub fn unfit(&self) -> usize {
        let pairs = self.pairs.iter();
        pairs.filter(|p| !p.patch.is_patched()).count()
    }

    /// How many pairs have a notice.
    pub fn noticed(&self) -> usize {
        let pairs = self.pairs.iter();
        pairs.filter(|p| !p.fitness.notices.is_empty()).count()
    }

    /// Whether the two prompts of a pair differ in length.
    pub fn is_unequal(&self) -> bool {
        let lengths = |p: &CheckedPair| (p.fitness.pair.clean.len(), p.fitness.pair.corrupt.len());
        let mut lengths = self.pairs.iter().map(lengths);
        lengths.any(|(clean, corrupt)| clean != corrupt)
    }
}

/// The clusters of more than one pair that a suite does not give itself, of the clusters of its pairs.
pub fn found_clusters(pairs: &[Pair], clusters: &Clusters) -> Vec<FoundCluster> {
    let given = |of: &[usize]| {
        let mut names = of.iter().map(|i| &pairs[*i].cluster);
        let first = names.next().and_then(Option::as_ref);
        first.is_some() && names.all(|name| name.as_ref() == first)
    };
    let members = clusters.members().into_iter();
    let found = members.filter(|of| of.len() > 1 && !given(of));
    let described = found.map(|of| {
        let links = clusters.links.iter();
        let shared = links.filter(|(_, by)| of.contains(&by[0]));
        FoundCluster {
            pairs: of.iter().map(|i| pairs[*i].id.clone()).collect(),
            shared: shared.map(|(shared, _)| shared.clone()).collect(),
        }
    });
    described.collect()
}

/// Builds a suite from a file of CounterFact, at most `most` pairs of a kind; gives the number of its facts too. A subject
/// that a prompt has several times is a notice.
///
/// # Errors
/// As [`counterfact`]; [`crate::Error::Patch`] where no pair can be built.
pub fn of_counterfact(
    path: &Path,
    model: &engram_model::LanguageModel,
    (seed, most): (u64, Option<usize>),
    observer: &mut dyn Observer,
) -> Result<(Suite, usize)> {
    let facts = counterfact(path, observer)?;
    let suite = build_counterfact(&facts, model.tokenizer(), seed, most)?;
    for (fact, times) in facts.iter().filter_map(ambiguous) {
        let (case, subject) = (fact.case, &fact.subject);
        observer.note(format!(
            "notice: case {case}: the prompt has the subject \"{subject}\" {times} times, and the last is taken"
        ));
    }
    Ok((suite, facts.len()))
}

/// A fact whose subject could be in several places of its prompt, and in how many.
fn ambiguous(fact: &CounterFact) -> Option<(&CounterFact, usize)> {
    let choices = fact.locate()?.choices;
    (choices > 1).then_some((fact, choices))
}
