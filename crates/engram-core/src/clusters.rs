//! Which pairs of a suite are not independent of each other, and why.
//!
//! Two pairs that share a prompt (clean or corrupted) ask the model the same question twice; so do two pairs of one
//! fact and its foil in different wordings. Statistics average such pairs to one value before any test.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::pair::{Pair, Prompt};

/// What two pairs have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shared {
    /// The cluster that the suite states.
    Given(String),
    /// A prompt, clean or corrupted.
    Prompt(String),
    /// A fact and its foil, in either order.
    Facts(String, String),
}

impl std::fmt::Display for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Shared::Given(name) => write!(f, "the suite's cluster \"{name}\""),
            Shared::Prompt(prompt) => write!(f, "the prompt \"{prompt}\""),
            Shared::Facts(fact, foil) => write!(f, "the facts {fact} and {foil}"),
        }
    }
}

/// The clusters of a suite: the connected components of pairs that share something ([`Shared`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clusters {
    /// The cluster of each pair, numbered from 0 in order of first occurrence.
    pub of: Vec<usize>,
    /// What is shared, and the pairs (two or more) that share it, ordered by the first pair.
    pub links: Vec<(Shared, Vec<usize>)>,
}

impl Clusters {
    /// The clusters of `pairs`, given in the order of their suite.
    pub fn of(pairs: &[Pair]) -> Clusters {
        let mut sharing: BTreeMap<Shared, Vec<usize>> = BTreeMap::new();
        for (index, pair) in pairs.iter().enumerate() {
            for shared in shared(pair) {
                let of = sharing.entry(shared).or_default();
                if of.last() != Some(&index) {
                    of.push(index);
                }
            }
        }
        let mut links: Vec<_> = (sharing.into_iter())
            .filter(|(_, pairs)| pairs.len() > 1)
            .collect();
        links.sort_by(|(a, of_a), (b, of_b)| (of_a, a).cmp(&(of_b, b)));
        let of = joined(pairs.len(), links.iter().map(|(_, of)| of.as_slice()));
        Clusters { of, links }
    }

    /// Number of clusters.
    pub fn count(&self) -> usize {
        self.of.iter().max().map_or(0, |last| last + 1)
    }

    /// The pairs of each cluster.
    pub fn members(&self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.count()];
        for (pair, cluster) in self.of.iter().enumerate() {
            members[*cluster].push(pair);
        }
        members
    }
}

/// Groups of `count` items, given sets of items that belong together: the group of each item, numbered from 0 in order
/// of first occurrence.
pub fn joined<'a>(count: usize, together: impl IntoIterator<Item = &'a [usize]>) -> Vec<usize> {
    fn root(parents: &mut [usize], mut at: usize) -> usize {
        while parents[at] != at {
            parents[at] = parents[parents[at]];
            at = parents[at];
        }
        at
    }
    let mut parents: Vec<usize> = (0..count).collect();
    for group in together {
        for two in group.windows(2) {
            let (a, b) = (root(&mut parents, two[0]), root(&mut parents, two[1]));
            parents[a.max(b)] = a.min(b);
        }
    }
    let mut numbers = BTreeMap::new();
    (0..count)
        .map(|at| {
            let next = numbers.len();
            *numbers.entry(root(&mut parents, at)).or_insert(next)
        })
        .collect()
}

/// Everything that another pair may share with this one.
fn shared(pair: &Pair) -> Vec<Shared> {
    let mut all: Vec<Shared> = pair.cluster.iter().cloned().map(Shared::Given).collect();
    let prompts = match &pair.messages {
        Some(chats) => [&chats.clean, &chats.corrupt].map(|messages| {
            let text = serde_json::to_string(messages);
            text.unwrap_or_default()
        }),
        None => [pair.clean_prompt(), pair.corrupt_prompt()].map(|prompt| match prompt {
            Prompt::Text(text) => text.trim().to_owned(),
            Prompt::Ids([]) => String::new(),
            Prompt::Ids(ids) => format!("{ids:?}"),
        }),
    };
    let prompts = prompts.into_iter().filter(|prompt| !prompt.is_empty());
    all.extend(prompts.map(Shared::Prompt));
    if let (Some(fact), Some(foil)) = (&pair.fact, &pair.foil_fact) {
        let (first, second) = (fact.min(foil).clone(), fact.max(foil).clone());
        all.push(Shared::Facts(first, second));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(clean: &str, corrupt: &str) -> Pair {
        Pair {
            clean: clean.to_owned(),
            corrupt: corrupt.to_owned(),
            ..Pair::default()
        }
    }

    #[test]
    fn flips_copies_and_chains_are_one_cluster() {
        let pairs = [
            pair("a", "b"),
            pair("x", "y"),
            pair("b", "a"),
            pair("a", "b"),
            pair("b", "c"),
        ];
        let found = Clusters::of(&pairs);
        assert_eq!(found.of, [0, 1, 0, 0, 0]);
        assert_eq!(found.members(), [vec![0, 2, 3, 4], vec![1]]);
        let prompt = |text: &str| Shared::Prompt(text.to_owned());
        let expected = [
            (prompt("a"), vec![0, 2, 3]),
            (prompt("b"), vec![0, 2, 3, 4]),
        ];
        assert_eq!(found.links, expected);
    }

    #[test]
    fn a_given_cluster_is_merged_with_what_is_found() {
        let mut pairs = [pair("a", "b"), pair("c", "d"), pair("d", "e")];
        pairs[0].cluster = Some("k".to_owned());
        pairs[1].cluster = Some("k".to_owned());
        assert_eq!(Clusters::of(&pairs).of, [0, 0, 0]);
    }

    #[test]
    fn facts_link_wordings_and_ids_and_chats_are_prompts() {
        let facts = |clean: &str, fact: &str, foil: &str| Pair {
            fact: Some(fact.to_owned()),
            foil_fact: Some(foil.to_owned()),
            ..pair(clean, &format!("not {clean}"))
        };
        let pairs = [
            facts("p", "f", "g"),
            facts("q", "g", "f"),
            facts("r", "f", "h"),
        ];
        assert_eq!(Clusters::of(&pairs).of, [0, 0, 1]);
        let ids = |clean: &[u32], corrupt: &[u32]| Pair {
            clean_ids: Some(clean.to_vec()),
            corrupt_ids: Some(corrupt.to_vec()),
            ..Pair::default()
        };
        let pairs = [ids(&[1, 2], &[1, 3]), ids(&[1, 3], &[4]), ids(&[5], &[6])];
        assert_eq!(Clusters::of(&pairs).of, [0, 0, 1]);
        // Pairs without a prompt share none.
        assert_eq!(Clusters::of(&[pair("", ""), pair("", "")]).of, [0, 1]);
    }
}
