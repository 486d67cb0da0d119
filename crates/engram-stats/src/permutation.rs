//! Shared parts of permutation tests: the result, the tally of arrangements, and the ways to split units into two
//! groups.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Result of a permutation test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PermutationTest {
    /// The statistic as observed.
    pub statistic: f64,
    /// Two-sided p value: the share of arrangements at least as far from zero as observed; for m random arrangements of
    /// which b are that far, (b + 1) / (m + 1).
    pub p_value: f64,
    /// Number of arrangements used.
    pub permutations: usize,
    /// Whether these were all possible arrangements.
    pub exact: bool,
}

/// Counts arrangements at least as extreme as the observed one.
pub(crate) struct Tally {
    observed: f64,
    extreme: usize,
    seen: usize,
}

impl Tally {
    /// `scale` bounds the statistic; differences below 10⁻¹² of it are rounding,
    /// since the same terms are summed in another order.
    pub fn new(statistic: f64, scale: f64) -> Self {
        Self {
            observed: statistic.abs() - 1e-12 * scale,
            extreme: 0,
            seen: 0,
        }
    }

    pub fn add(&mut self, statistic: f64) {
        self.seen += 1;
        self.extreme += usize::from(statistic.abs() >= self.observed);
    }

    pub fn finish(self, statistic: f64, exact: bool) -> PermutationTest {
        PermutationTest {
            statistic,
            p_value: share(self.extreme, self.seen, exact),
            permutations: self.seen,
            exact,
        }
    }
}

/// p of `extreme` arrangements among `seen`: all there are, or random ones.
pub(crate) fn share(extreme: usize, seen: usize, exact: bool) -> f64 {
    if exact {
        extreme as f64 / seen as f64
    } else {
        // The observed arrangement is one of those possible (Phipson & Smyth 2010).
        (extreme + 1) as f64 / (seen + 1) as f64
    }
}

/// Number of assignments of signs to `n` values, if no more than `at_most`.
pub(crate) fn sign_assignments(n: usize, at_most: usize) -> Option<usize> {
    u32::try_from(n)
        .ok()
        .and_then(|n| 1_usize.checked_shl(n))
        .filter(|&all| all <= at_most)
}

/// n over k, or `u128::MAX` where it does not fit.
pub(crate) fn splits(n: usize, k: usize) -> u128 {
    (0..k.min(n - k)).fold(1_u128, |c, i| {
        c.checked_mul((n - i) as u128)
            .map_or(u128::MAX, |c| c / (i as u128 + 1))
    })
}

/// Steps to the next k-subset of 0..n in lexicographic order; false after the last.
pub(crate) fn next_combination(chosen: &mut [usize], n: usize) -> bool {
    let k = chosen.len();
    let Some(i) = (0..k).rev().find(|&i| chosen[i] < n - k + i) else {
        return false;
    };
    chosen[i] += 1;
    for j in i + 1..k {
        chosen[j] = chosen[j - 1] + 1;
    }
    true
}

/// Moves a random k-subset to the front: the first part of a Fisher–Yates shuffle.
pub(crate) fn shuffle_front<T>(items: &mut [T], k: usize, rng: &mut ChaCha8Rng) {
    for i in 0..k {
        let j = rng.random_range(i..items.len());
        items.swap(i, j);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_are_counted_and_walked() {
        assert_eq!(splits(16, 8), 12_870);
        assert_eq!(splits(14, 6), 3_003);
        assert_eq!(splits(5, 0), 1);
        assert_eq!(splits(400, 200), u128::MAX);
        let mut chosen = vec![0, 1, 2];
        let mut seen = std::collections::BTreeSet::from([chosen.clone()]);
        while next_combination(&mut chosen, 7) {
            assert!(seen.insert(chosen.clone()));
        }
        assert_eq!(seen.len(), 35);
        assert!(!next_combination(&mut [], 7));
    }

    #[test]
    fn signs_are_counted() {
        assert_eq!(sign_assignments(10, 1024), Some(1024));
        assert_eq!(sign_assignments(10, 1023), None);
        assert_eq!(sign_assignments(64, usize::MAX), None);
    }
}
