//! Facts of one relation closed in cycles: each is clean once and corrupted once.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::matching::{assign, maximum_matching};

/// Which wordings two facts can be paired in: `fits[a][b][wording]`, symmetric.
pub(crate) type Fits = Vec<Vec<Vec<bool>>>;

/// Facts in a circle: each is clean with the next as its corruption. Two or three of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cycle {
    /// The facts.
    pub(crate) facts: Vec<usize>,
    /// The wording.
    pub(crate) wording: usize,
}

impl Cycle {
    /// Clean and corrupted fact of each pair.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let next = self.facts.iter().cycle().skip(1);
        self.facts.iter().copied().zip(next.copied())
    }
}

/// Wordings in which all of `facts` fit each other.
fn common(fits: &Fits, facts: &[usize], wordings: usize) -> Vec<usize> {
    let fits_in = |w: &usize| {
        let mut pairs = facts.iter().enumerate();
        pairs.all(|(i, a)| facts[i + 1..].iter().all(|b| fits[*a][*b][*w]))
    };
    (0..wordings).filter(fits_in).collect()
}

/// As many reciprocal pairs as there can be, then as many of the odd facts as can be closed into
/// three-cycles with one of those pairs; wordings are taken in turn, so that none is used much more
/// than another.
pub(crate) fn cycles(fits: &Fits, wordings: usize, rng: &mut ChaCha8Rng) -> Vec<Cycle> {
    let facts = fits.len();
    let mut order: Vec<usize> = (0..facts).collect();
    order.shuffle(rng);
    // The graph is laid out in shuffled order: which maximum matching is found depends on it.
    let edges: Vec<Vec<usize>> = order
        .iter()
        .map(|a| {
            let fits_some = |b: usize| fits[*a][b].iter().any(|w| *w);
            (0..facts).filter(|i| fits_some(order[*i])).collect()
        })
        .collect();
    let partner = maximum_matching(&edges);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut odd = Vec::new();
    for (i, partner) in partner.iter().enumerate() {
        match partner {
            Some(p) if i < *p => groups.push(vec![order[i], order[*p]]),
            Some(_) => {}
            None => odd.push(order[i]),
        }
    }
    let triangles: Vec<Vec<usize>> = odd
        .iter()
        .map(|fact| {
            let closes = |g: &usize| {
                let three = [groups[*g][0], groups[*g][1], *fact];
                !common(fits, &three, wordings).is_empty()
            };
            (0..groups.len()).filter(closes).collect()
        })
        .collect();
    for (fact, group) in odd.iter().zip(assign(&triangles, groups.len())) {
        if let Some(group) = group {
            groups[group].push(*fact);
        }
    }
    let mut turn: Vec<usize> = (0..wordings).collect();
    turn.shuffle(rng);
    in_turn(fits, groups, &turn)
}

/// Gives each group the wording used least so far among those that it can have, the groups with the
/// least choice first.
fn in_turn(fits: &Fits, groups: Vec<Vec<usize>>, turn: &[usize]) -> Vec<Cycle> {
    let mut choices: Vec<(Vec<usize>, Vec<usize>)> = groups
        .into_iter()
        .map(|facts| (common(fits, &facts, turn.len()), facts))
        .collect();
    choices.sort_by_key(|(wordings, _)| wordings.len());
    let mut used = vec![0; turn.len()];
    let mut cycles: Vec<Cycle> = Vec::new();
    for (wordings, facts) in choices {
        let in_order = turn.iter().copied().filter(|w| wordings.contains(w));
        if let Some(wording) = in_order.min_by_key(|w| used[*w]) {
            used[wording] += facts.len();
            cycles.push(Cycle { facts, wording });
        }
    }
    cycles.sort_by_key(|c| c.facts.iter().copied().min());
    cycles
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    #[test]
    fn facts_are_clean_once_and_corrupted_once_and_wordings_take_turns() {
        for seed in 0..50 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let (n, wordings) = (11, 3);
            let mut fits = vec![vec![vec![false; wordings]; n]; n];
            for (a, b) in (0..n).flat_map(|a| (0..a).map(move |b| (a, b))) {
                let fit: Vec<bool> = (0..wordings).map(|_| rng.random_bool(0.5)).collect();
                (fits[a][b], fits[b][a]) = (fit.clone(), fit);
            }
            let found = cycles(&fits, wordings, &mut ChaCha8Rng::seed_from_u64(seed));
            assert_eq!(
                found,
                cycles(&fits, wordings, &mut ChaCha8Rng::seed_from_u64(seed))
            );
            let (mut clean, mut corrupt) = (vec![0; n], vec![0; n]);
            for cycle in &found {
                for (a, b) in cycle.pairs() {
                    assert!(fits[a][b][cycle.wording]);
                    clean[a] += 1;
                    corrupt[b] += 1;
                }
            }
            assert_eq!(clean, corrupt);
            assert!(clean.iter().all(|c| *c <= 1));
        }
    }

    #[test]
    fn an_odd_fact_closes_a_circle_of_three() {
        let fits = vec![vec![vec![true; 4]; 7]; 7]
            .into_iter()
            .enumerate()
            .map(|(a, mut row)| {
                row[a] = vec![false; 4];
                row
            })
            .collect();
        let found = cycles(&fits, 4, &mut ChaCha8Rng::seed_from_u64(1));
        let mut sizes: Vec<usize> = found.iter().map(|c| c.facts.len()).collect();
        sizes.sort();
        assert_eq!(sizes, [2, 2, 3]);
        let mut wordings: Vec<usize> = found.iter().map(|c| c.wording).collect();
        wordings.sort();
        wordings.dedup();
        assert_eq!(wordings.len(), 3, "each cycle has a wording of its own");
    }
}
