//! Permutation tests: signs flipped within pairs, kinds permuted over relations.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::descriptive::mean_of;
use crate::error::{StatsError, check, check_count};

/// The least number of relations of each kind for which kinds are compared.
///
/// With 6 and 6 there are 924 splits, so the smallest two-sided p is 2/924 =
/// 0.0022, which stays below 0.05 when corrected over the 12 layers of GPT-2
/// small. With 5 and 5 it is 2/252 = 0.0079, and 12 × 0.0079 = 0.095: whatever
/// the data, no layer could be called.
pub const MIN_RELATIONS_PER_KIND: usize = 6;

/// Result of a permutation test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PermutationTest {
    /// The statistic as observed.
    pub statistic: f64,
    /// Two-sided p value: the share of arrangements at least as far from zero.
    /// Of m random arrangements, b of them that far, it is (b + 1) / (m + 1).
    pub p_value: f64,
    /// Arrangements looked at.
    pub permutations: usize,
    /// Whether these were all that there are.
    pub exact: bool,
}

/// Counts arrangements at least as extreme as the observed one.
struct Tally {
    observed: f64,
    extreme: usize,
    seen: usize,
}

impl Tally {
    /// `scale` bounds the statistic; differences below 10⁻¹² of it are rounding,
    /// since the same terms are summed in another order.
    fn new(statistic: f64, scale: f64) -> Self {
        Self {
            observed: statistic.abs() - 1e-12 * scale,
            extreme: 0,
            seen: 0,
        }
    }

    fn add(&mut self, statistic: f64) {
        self.seen += 1;
        self.extreme += usize::from(statistic.abs() >= self.observed);
    }

    fn finish(self, statistic: f64, exact: bool) -> PermutationTest {
        let (extreme, seen) = (self.extreme as f64, self.seen as f64);
        PermutationTest {
            statistic,
            p_value: if exact {
                extreme / seen
            } else {
                // The observed arrangement is one of those possible (Phipson & Smyth 2010).
                (extreme + 1.0) / (seen + 1.0)
            },
            permutations: self.seen,
            exact,
        }
    }
}

/// Two-sided sign-flip test that the mean of `x` is zero, for `x` symmetric
/// around zero under the null. Statistic: the mean.
///
/// All 2ⁿ sign assignments are looked at if they are no more than
/// `permutations`, else `permutations` random ones drawn from `seed`.
///
/// # Errors
/// `x` is empty or holds a value that is not finite; `permutations` is 0.
pub fn sign_flip(x: &[f64], permutations: usize, seed: u64) -> Result<PermutationTest, StatsError> {
    check(x, "sign_flip", 1)?;
    check_count(permutations, "permutations", 1)?;
    let n = x.len();
    let observed = mean_of(x);
    let mut tally = Tally::new(observed, x.iter().map(|v| v.abs()).sum::<f64>() / n as f64);
    let assignments = u32::try_from(n)
        .ok()
        .and_then(|n| 1_usize.checked_shl(n))
        .filter(|&all| all <= permutations);
    if let Some(all) = assignments {
        for signs in 0..all {
            tally.add(signed_sum(x, signs as u64) / n as f64);
        }
    } else {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..permutations {
            let sum: f64 = x
                .chunks(64)
                .map(|part| signed_sum(part, rng.random::<u64>()))
                .sum();
            tally.add(sum / n as f64);
        }
    }
    Ok(tally.finish(observed, assignments.is_some()))
}

/// Sum of at most 64 values, negated where their bit in `signs` is set.
fn signed_sum(x: &[f64], signs: u64) -> f64 {
    x.iter()
        .enumerate()
        .map(|(i, v)| if signs >> i & 1 == 1 { -v } else { *v })
        .sum()
}

/// Two-sided test between kinds: kinds permuted over relations.
///
/// The kind is a property of the relation, not of the pair, so relations are
/// what is exchangeable. Each slice holds one mean per relation of that kind;
/// the statistic is the mean of `relation_means_a` minus that of
/// `relation_means_b`. All splits of the relations are looked at if they are no
/// more than `permutations`, else `permutations` random ones drawn from `seed`.
///
/// # Errors
/// [`StatsError::TooFewRelations`] with fewer than [`MIN_RELATIONS_PER_KIND`]
/// of a kind; a value that is not finite; `permutations` is 0.
pub fn permute_kinds(
    relation_means_a: &[f64],
    relation_means_b: &[f64],
    permutations: usize,
    seed: u64,
) -> Result<PermutationTest, StatsError> {
    let (size_a, size_b) = (relation_means_a.len(), relation_means_b.len());
    if size_a.min(size_b) < MIN_RELATIONS_PER_KIND {
        return Err(StatsError::TooFewRelations {
            found_a: size_a,
            found_b: size_b,
            needed: MIN_RELATIONS_PER_KIND,
        });
    }
    check(relation_means_a, "relation_means_a", 1)?;
    check(relation_means_b, "relation_means_b", 1)?;
    check_count(permutations, "permutations", 1)?;

    let statistic = mean_of(relation_means_a) - mean_of(relation_means_b);
    let mut pool = [relation_means_a, relation_means_b].concat();
    // Centred, the second kind's sum is minus the first's, and one sum is enough.
    let centre = mean_of(&pool);
    pool.iter_mut().for_each(|v| *v -= centre);
    let per_sum = 1.0 / size_a as f64 + 1.0 / size_b as f64;
    let largest = pool.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let mut tally = Tally::new(statistic, 2.0 * (largest + centre.abs()));

    let splits = splits(pool.len(), size_a);
    let exact = splits <= permutations as u128;
    if exact {
        let mut chosen: Vec<usize> = (0..size_a).collect();
        loop {
            let sum: f64 = chosen.iter().map(|&i| pool[i]).sum();
            tally.add(sum * per_sum);
            if !next_combination(&mut chosen, pool.len()) {
                break;
            }
        }
    } else {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..permutations {
            // The first part of a Fisher–Yates shuffle draws the first kind.
            for i in 0..size_a {
                let j = rng.random_range(i..pool.len());
                pool.swap(i, j);
            }
            tally.add(pool[..size_a].iter().sum::<f64>() * per_sum);
        }
    }
    Ok(tally.finish(statistic, exact))
}

/// n over k, or `u128::MAX` where it does not fit.
fn splits(n: usize, k: usize) -> u128 {
    (0..k.min(n - k)).fold(1_u128, |c, i| {
        c.checked_mul((n - i) as u128)
            .map_or(u128::MAX, |c| c / (i as u128 + 1))
    })
}

/// Steps to the next k-subset of 0..n in lexicographic order; false after the last.
fn next_combination(chosen: &mut [usize], n: usize) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_one_sign_is_the_smallest_p() {
        let x: Vec<f64> = (1..=10).map(f64::from).collect();
        let result = sign_flip(&x, 1024, 0).unwrap();
        assert!(result.exact);
        assert_eq!(result.permutations, 1024);
        assert_eq!(result.p_value, 2.0 / 1024.0);
        let sampled = sign_flip(&x, 1023, 0).unwrap();
        assert!(!sampled.exact);
        assert_eq!(sampled.permutations, 1023);
    }

    #[test]
    fn more_values_than_bits() {
        let shifted: Vec<f64> = (0..200).map(|i| f64::from(i % 7) + 1.0).collect();
        assert_eq!(sign_flip(&shifted, 999, 1).unwrap().p_value, 1.0 / 1000.0);
        let balanced: Vec<f64> = (0..200).map(|i| f64::from(i % 2) - 0.5).collect();
        assert_eq!(sign_flip(&balanced, 999, 1).unwrap().p_value, 1.0);
    }

    #[test]
    fn separated_kinds_have_the_smallest_p() {
        let low = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let high = low.map(|v| v + 10.0);
        let result = permute_kinds(&high, &low, 924, 0).unwrap();
        assert!(result.exact);
        assert_eq!(result.permutations, 924);
        assert!((result.statistic - 10.0).abs() < 1e-12);
        assert!((result.p_value - 2.0 / 924.0).abs() < 1e-15);
        assert!(!permute_kinds(&high, &low, 923, 0).unwrap().exact);
    }

    #[test]
    fn no_verdict_over_few_relations() {
        assert_eq!(
            permute_kinds(&[0.0; 5], &[0.0; 9], 100, 0),
            Err(StatsError::TooFewRelations {
                found_a: 5,
                found_b: 9,
                needed: 6
            })
        );
    }

    #[test]
    fn combinations_are_counted_and_walked() {
        assert_eq!(splits(16, 8), 12_870);
        assert_eq!(splits(14, 6), 3_003);
        assert_eq!(splits(400, 200), u128::MAX);
        let mut chosen = vec![0, 1, 2];
        let mut seen = std::collections::BTreeSet::from([chosen.clone()]);
        while next_combination(&mut chosen, 7) {
            assert!(seen.insert(chosen.clone()));
        }
        assert_eq!(seen.len(), 35);
    }
}
