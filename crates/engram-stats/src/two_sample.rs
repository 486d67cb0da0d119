//! Permutation tests between two groups: values, clusters or relations relabelled.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::error::{StatsError, check, check_count};
use crate::permutation::{PermutationTest, Tally, next_combination, shuffle_front, splits};
use crate::sums::{Sums, single};

/// The smallest number of relations of each kind for which kinds are compared.
///
/// With 6 and 6 there are 924 splits, so the smallest two-sided p is 2/924 = 0.0022, which stays below 0.05 when
/// corrected over the 12 layers of GPT-2 small. With 5 and 5 it is 2/252 = 0.0079, and 12 × 0.0079 = 0.095: no layer
/// could be significant, whatever the data.
pub const MIN_RELATIONS_PER_KIND: usize = 6;

/// Two-sided test that two groups of independent values have one distribution. Statistic: mean(`a`) − mean(`b`).
///
/// All splits of the values are used if there are no more than `permutations`, otherwise `permutations` random ones
/// drawn from `seed`. If the groups may differ in spread, the null hypothesis is equal distributions, not equal means.
///
/// # Errors
/// An empty group, a value that is not finite, or `permutations` is 0.
pub fn permute_two_samples(
    a: &[f64],
    b: &[f64],
    permutations: usize,
    seed: u64,
) -> Result<PermutationTest, StatsError> {
    check(a, "values of a", 1)?;
    check(b, "values of b", 1)?;
    check_count(permutations, "permutations", 1)?;
    Ok(relabel(single(a), single(b), permutations, seed))
}

/// Two-sided test between two groups of clusters: whole clusters are relabelled, because values within one are not
/// exchangeable. Each inner vector holds the values of a cluster; the statistic is the mean over the values of `a`
/// minus that over those of `b`, so that under every labelling a cluster is weighted by its size.
///
/// All splits of the clusters are used if there are no more than `permutations`, otherwise `permutations` random ones
/// drawn from `seed`.
///
/// # Errors
/// A group without clusters, an empty cluster, a value that is not finite, or `permutations` is 0.
pub fn permute_clusters(
    a: &[Vec<f64>],
    b: &[Vec<f64>],
    permutations: usize,
    seed: u64,
) -> Result<PermutationTest, StatsError> {
    check_count(permutations, "permutations", 1)?;
    let group = |clusters: &[Vec<f64>], what| {
        check_count(clusters.len(), what, 1)?;
        clusters.iter().try_for_each(|x| check(x, what, 1))?;
        Ok(clusters.iter().map(|x| Sums::over(single(x))).collect())
    };
    let (a, b) = (group(a, "clusters of a")?, group(b, "clusters of b")?);
    Ok(relabel(a, b, permutations, seed))
}

/// Two-sided test between kinds, with kinds permuted over relations.
///
/// The kind is a property of the relation, not of the pair, so relations are the exchangeable units. Each slice holds
/// one mean per relation of that kind; the statistic is the mean of `relation_means_a` minus that of
/// `relation_means_b`. All splits of the relations are used if there are no more than `permutations`, otherwise
/// `permutations` random ones drawn from `seed`.
///
/// # Errors
/// [`StatsError::TooFewRelations`] with fewer than [`MIN_RELATIONS_PER_KIND`] of a kind; a value that is not finite;
/// `permutations` is 0.
pub fn permute_kinds(
    relation_means_a: &[f64],
    relation_means_b: &[f64],
    permutations: usize,
    seed: u64,
) -> Result<PermutationTest, StatsError> {
    check_relations(relation_means_a.len(), relation_means_b.len())?;
    check(relation_means_a, "relation_means_a", 1)?;
    check(relation_means_b, "relation_means_b", 1)?;
    check_count(permutations, "permutations", 1)?;
    Ok(relabel(
        single(relation_means_a),
        single(relation_means_b),
        permutations,
        seed,
    ))
}

/// Fails for kinds with fewer than [`MIN_RELATIONS_PER_KIND`] relations.
pub(crate) fn check_relations(found_a: usize, found_b: usize) -> Result<(), StatsError> {
    if found_a.min(found_b) < MIN_RELATIONS_PER_KIND {
        return Err(StatsError::TooFewRelations {
            found_a,
            found_b,
            needed: MIN_RELATIONS_PER_KIND,
        });
    }
    Ok(())
}

/// Test of the difference of means over units that are sums and counts.
fn relabel(a: Vec<Sums>, b: Vec<Sums>, permutations: usize, seed: u64) -> PermutationTest {
    let size_a = a.len();
    let total = |units: &[Sums]| Sums::over(units.iter().copied());
    let statistic = total(&a).ratio() - total(&b).ratio();
    let mut pool = [a, b].concat();
    let all = total(&pool);
    let centre = all.ratio();
    let largest = pool
        .iter()
        .fold(0.0_f64, |m, unit| m.max((unit.ratio() - centre).abs()));
    let mut tally = Tally::new(statistic, 2.0 * (largest + centre.abs()));
    // Centred, the second group's sum is minus the first's, and one sum is enough.
    pool.iter_mut()
        .for_each(|unit| unit.num -= centre * unit.den);
    let difference = |first: Sums| first.num * (1.0 / first.den + 1.0 / (all.den - first.den));

    let exact = splits(pool.len(), size_a) <= permutations as u128;
    if exact {
        let mut chosen: Vec<usize> = (0..size_a).collect();
        loop {
            tally.add(difference(Sums::over(chosen.iter().map(|&i| pool[i]))));
            if !next_combination(&mut chosen, pool.len()) {
                break;
            }
        }
    } else {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..permutations {
            shuffle_front(&mut pool, size_a, &mut rng);
            tally.add(difference(total(&pool[..size_a])));
        }
    }
    tally.finish(statistic, exact)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn clusters_of_one_are_values() {
        let (a, b) = ([1.0, 4.0, 2.5, 6.0], [0.5, 1.5, 3.0]);
        let alone = |x: &[f64]| x.iter().map(|&v| vec![v]).collect::<Vec<_>>();
        for permutations in [35, 34] {
            assert_eq!(
                permute_two_samples(&a, &b, permutations, 3).unwrap(),
                permute_clusters(&alone(&a), &alone(&b), permutations, 3).unwrap()
            );
        }
    }

    #[test]
    fn clusters_are_relabelled_whole() {
        // Three clusters a side: 20 splits, whatever the number of values.
        let a = [vec![5.0; 4], vec![6.0], vec![7.0, 7.0]];
        let b = [vec![1.0; 3], vec![2.0; 9], vec![3.0]];
        let found = permute_clusters(&a, &b, 20, 0).unwrap();
        assert!(found.exact);
        assert_eq!((found.permutations, found.p_value), (20, 0.1));
        assert!((found.statistic - (40.0 / 7.0 - 24.0 / 13.0)).abs() < 1e-12);
        assert!(permute_clusters(&a, &[], 20, 0).is_err());
        assert!(permute_clusters(&a, &[vec![]], 20, 0).is_err());
    }
}
