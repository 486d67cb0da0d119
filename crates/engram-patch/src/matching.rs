//! Maximum matchings: of any graph (Edmonds 1965), and of a bipartite one (Kuhn 1955).

use std::collections::VecDeque;

const NONE: usize = usize::MAX;

/// A maximum matching of an undirected graph: for each vertex its partner. `edges[v]` lists v's
/// neighbours; which of several maximum matchings is found depends on their order alone.
pub(crate) fn maximum_matching(edges: &[Vec<usize>]) -> Vec<Option<usize>> {
    let mut search = Blossom {
        edges,
        partner: vec![NONE; edges.len()],
        parent: Vec::new(),
        base: Vec::new(),
    };
    for root in 0..edges.len() {
        if search.partner[root] == NONE {
            let end = search.augmenting_path(root);
            search.flip(end);
        }
    }
    let partner = search.partner.into_iter();
    partner.map(|p| (p != NONE).then_some(p)).collect()
}

struct Blossom<'a> {
    edges: &'a [Vec<usize>],
    partner: Vec<usize>,
    /// The vertex from which an inner vertex was reached.
    parent: Vec<usize>,
    /// The base of the blossom that a vertex was shrunk into; itself where it was not.
    base: Vec<usize>,
}

impl Blossom<'_> {
    /// The free vertex at the end of an augmenting path from `root`, if there is one.
    fn augmenting_path(&mut self, root: usize) -> Option<usize> {
        let n = self.edges.len();
        self.parent = vec![NONE; n];
        self.base = (0..n).collect();
        let mut outer = vec![false; n];
        outer[root] = true;
        let mut queue = VecDeque::from([root]);
        while let Some(v) = queue.pop_front() {
            for &to in &self.edges[v] {
                if self.base[v] == self.base[to] || self.partner[v] == to {
                    continue;
                }
                let odd_cycle = to == root
                    || (self.partner[to] != NONE && self.parent[self.partner[to]] != NONE);
                if odd_cycle {
                    self.shrink(v, to, &mut outer, &mut queue);
                } else if self.parent[to] == NONE {
                    self.parent[to] = v;
                    match self.partner[to] {
                        NONE => return Some(to),
                        next => {
                            outer[next] = true;
                            queue.push_back(next);
                        }
                    }
                }
            }
        }
        None
    }

    /// Shrinks the odd cycle that the edge between two outer vertices closes.
    fn shrink(&mut self, v: usize, to: usize, outer: &mut [bool], queue: &mut VecDeque<usize>) {
        let top = self.common_base(v, to);
        let mut inside = vec![false; self.base.len()];
        self.mark(v, top, to, &mut inside);
        self.mark(to, top, v, &mut inside);
        for u in 0..self.base.len() {
            if inside[self.base[u]] {
                self.base[u] = top;
                if !outer[u] {
                    outer[u] = true;
                    queue.push_back(u);
                }
            }
        }
    }

    fn common_base(&self, mut a: usize, mut b: usize) -> usize {
        let mut seen = vec![false; self.base.len()];
        loop {
            a = self.base[a];
            seen[a] = true;
            if self.partner[a] == NONE {
                break;
            }
            a = self.parent[self.partner[a]];
        }
        loop {
            b = self.base[b];
            if seen[b] {
                return b;
            }
            b = self.parent[self.partner[b]];
        }
    }

    fn mark(&mut self, mut v: usize, top: usize, mut child: usize, inside: &mut [bool]) {
        while self.base[v] != top {
            let partner = self.partner[v];
            inside[self.base[v]] = true;
            inside[self.base[partner]] = true;
            self.parent[v] = child;
            child = partner;
            v = self.parent[partner];
        }
    }

    /// Matches along the path that ends at `end`.
    fn flip(&mut self, end: Option<usize>) {
        let mut v = end.unwrap_or(NONE);
        while v != NONE {
            let before = self.parent[v];
            let next = self.partner[before];
            self.partner[v] = before;
            self.partner[before] = v;
            v = next;
        }
    }
}

/// A maximum assignment of left to right vertices: for each left one its right one. `edges[l]` lists
/// the right vertices that l may take.
pub(crate) fn assign(edges: &[Vec<usize>], right: usize) -> Vec<Option<usize>> {
    fn give(
        left: usize,
        edges: &[Vec<usize>],
        taken: &mut [Option<usize>],
        seen: &mut [bool],
    ) -> bool {
        for &r in &edges[left] {
            if std::mem::replace(&mut seen[r], true) {
                continue;
            }
            if taken[r].is_none_or(|other| give(other, edges, taken, seen)) {
                taken[r] = Some(left);
                return true;
            }
        }
        false
    }
    let mut taken = vec![None; right];
    for left in 0..edges.len() {
        give(left, edges, &mut taken, &mut vec![false; right]);
    }
    let mut of_left = vec![None; edges.len()];
    for (r, left) in taken.into_iter().enumerate() {
        if let Some(left) = left {
            of_left[left] = Some(r);
        }
    }
    of_left
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// The size of a maximum matching by trying everything.
    fn by_force(adjacent: &[Vec<bool>], free: u32) -> usize {
        let Some(v) = (0..adjacent.len()).find(|v| free >> v & 1 == 1) else {
            return 0;
        };
        let rest = free & !(1 << v);
        let partners = (0..adjacent.len()).filter(|u| rest >> u & 1 == 1 && adjacent[v][*u]);
        partners
            .map(|u| 1 + by_force(adjacent, rest & !(1 << u)))
            .fold(by_force(adjacent, rest), usize::max)
    }

    #[test]
    fn matchings_are_maximum() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for round in 0..400 {
            let n = rng.random_range(1..10);
            let density = rng.random_range(0.1..0.7);
            let mut adjacent = vec![vec![false; n]; n];
            for (a, b) in (0..n).flat_map(|a| (0..a).map(move |b| (a, b))) {
                let edge = rng.random_bool(density);
                (adjacent[a][b], adjacent[b][a]) = (edge, edge);
            }
            let edges: Vec<Vec<usize>> = adjacent
                .iter()
                .map(|row| (0..n).filter(|b| row[*b]).collect())
                .collect();
            let partner = maximum_matching(&edges);
            for (v, p) in partner.iter().enumerate() {
                if let Some(p) = *p {
                    assert!(adjacent[v][p] && partner[p] == Some(v), "round {round}");
                }
            }
            let size = partner.iter().flatten().count() / 2;
            assert_eq!(size, by_force(&adjacent, (1 << n) - 1), "round {round}");
        }
    }

    #[test]
    fn assignments_are_maximum() {
        let edges = [vec![0], vec![0, 1], vec![1, 2], vec![2]];
        let found = assign(&edges, 3);
        assert_eq!(found.iter().flatten().count(), 3);
        assert_eq!(assign(&[vec![0, 1], vec![0]], 2), [Some(1), Some(0)]);
    }
}
