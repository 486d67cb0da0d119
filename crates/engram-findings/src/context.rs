//! The suite, indexed: what every later step looks up.

use std::collections::BTreeMap;

use engram_core::clusters::joined;
use engram_core::{Clusters, Confounds, Pair};
use indexmap::IndexSet;

use crate::error::{FindingsError, Result};
use crate::study::Settings;

/// Pairs by name, their kinds and their clusters as numbers.
pub(crate) struct Context<'a> {
    pub settings: Settings,
    pub pairs: &'a [Pair],
    /// In the order of their first pairs.
    pub kinds: Vec<String>,
    /// The cluster of each pair.
    pub clusters: Vec<usize>,
    /// The relation of each pair; relations of one kind that share a cluster are one, under the first's name.
    relations: Vec<Option<&'a str>>,
    /// What is known of pairs besides their kind.
    pub confounds: BTreeMap<usize, &'a Confounds>,
    index: BTreeMap<&'a str, usize>,
}

impl<'a> Context<'a> {
    pub fn new(pairs: &'a [Pair], settings: Settings) -> Result<Context<'a>> {
        settings.check()?;
        let mut index = BTreeMap::new();
        for (i, pair) in pairs.iter().enumerate() {
            if index.insert(pair.id.as_str(), i).is_some() {
                return Err(FindingsError::DuplicatePair {
                    pair: pair.id.clone(),
                });
            }
        }
        let clusters = Clusters::of(pairs).of;
        Ok(Context {
            settings,
            pairs,
            kinds: in_order(pairs.iter().map(|p| p.kind.as_str())),
            relations: relations(pairs, &clusters),
            clusters,
            confounds: BTreeMap::new(),
            index,
        })
    }

    /// With what is known of the pairs besides their kind.
    pub fn with_confounds(mut self, confounds: &'a [Confounds]) -> Context<'a> {
        let known = confounds
            .iter()
            .filter_map(|c| Some((self.find(&c.pair)?, c)));
        self.confounds = known.collect();
        self
    }

    /// The pair of a name.
    pub fn pair(&self, name: &str, condition: &str) -> Result<usize> {
        self.find(name).ok_or_else(|| FindingsError::UnknownPair {
            condition: condition.to_owned(),
            pair: name.to_owned(),
        })
    }

    /// The pair of a name, if there is one.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// Means of `values` over the pairs of each cluster, in the order of the clusters.
    pub fn cluster_means(&self, values: impl IntoIterator<Item = (usize, f64)>) -> Vec<f64> {
        means_by(values.into_iter().map(|(pair, v)| (self.clusters[pair], v)))
            .into_values()
            .collect()
    }

    /// The kinds of some rows in the order in which kinds are shown, that of the suite; others come after these.
    pub fn kinds_of<'k>(&self, found: impl Iterator<Item = &'k str>) -> Vec<String> {
        let mut kinds = in_order(found);
        let place = |kind: &String| self.kinds.iter().position(|k| k == kind);
        kinds.sort_by_key(|kind| place(kind).unwrap_or(usize::MAX));
        kinds
    }

    /// The relation of a pair, for tests that take relations for independent.
    pub fn relation(&self, pair: usize) -> Option<&'a str> {
        self.relations[pair]
    }

    /// Whether a relation of a kind counts as another, whose pairs it shares.
    pub fn has_merged(&self, kind: &str) -> bool {
        let mut pairs = self.pairs.iter().zip(&self.relations);
        pairs.any(|(pair, counted)| pair.kind == kind && pair.relation.as_deref() != *counted)
    }

    /// The values of each relation of `kind`; pairs without a relation are left out.
    pub fn by_relation(
        &self,
        kind: &str,
        values: impl IntoIterator<Item = (usize, f64)>,
    ) -> BTreeMap<&'a str, Vec<f64>> {
        let mut relations: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (pair, value) in values {
            let of_kind = self.pairs[pair].kind == kind;
            if let (true, Some(relation)) = (of_kind, self.relations[pair]) {
                relations.entry(relation).or_default().push(value);
            }
        }
        relations
    }
}

/// The relation of each pair, those of one kind that share a cluster under the name of the first.
fn relations<'a>(pairs: &'a [Pair], clusters: &[usize]) -> Vec<Option<&'a str>> {
    let mut numbers: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut names = Vec::new();
    let mut sharing: BTreeMap<(&str, usize), Vec<usize>> = BTreeMap::new();
    let mut of = Vec::with_capacity(pairs.len());
    for (pair, cluster) in pairs.iter().zip(clusters) {
        let number = pair.relation.as_deref().map(|relation| {
            *numbers.entry((&pair.kind, relation)).or_insert_with(|| {
                names.push(relation);
                names.len() - 1
            })
        });
        let in_cluster = sharing.entry((&pair.kind, *cluster)).or_default();
        in_cluster.extend(number);
        of.push(number);
    }
    let groups = joined(names.len(), sharing.values().map(Vec::as_slice));
    let first = |group: usize| groups.iter().position(|g| *g == group);
    let name = |number: usize| Some(names[first(groups[number])?]);
    of.into_iter().map(|number| name(number?)).collect()
}

/// Each kind once, in the order of first appearance.
fn in_order<'a>(found: impl Iterator<Item = &'a str>) -> Vec<String> {
    let kinds: IndexSet<&str> = found.collect();
    kinds.into_iter().map(str::to_owned).collect()
}

/// Means by key.
pub(crate) fn means_by<K: Ord>(values: impl Iterator<Item = (K, f64)>) -> BTreeMap<K, f64> {
    let mut sums: BTreeMap<K, (f64, usize)> = BTreeMap::new();
    for (key, value) in values {
        let entry = sums.entry(key).or_default();
        entry.0 += value;
        entry.1 += 1;
    }
    sums.into_iter()
        .map(|(key, (sum, n))| (key, sum / n as f64))
        .collect()
}
