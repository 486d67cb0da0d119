//! Permutation test of a difference within strata.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::descriptive::mean_of;
use crate::error::{StatsError, check, check_count, check_length};
use crate::permutation::{PermutationTest, Tally, next_combination, shuffle_front, splits};

/// One stratum: its values, centred, those of the first group in front.
struct Stratum {
    pool: Vec<f64>,
    size_a: usize,
}

/// Two-sided test that two groups do not differ within strata (subjects that
/// carry both kinds of fact, say): labels permuted within each stratum only, so
/// that differences between strata can neither make nor hide an effect.
///
/// `a[s]` and `b[s]` hold the values of stratum s. The statistic is the mean of
/// the differences within strata, weighted by n_a n_b / (n_a + n_b): the
/// coefficient of the group in a regression with a term for every stratum. A
/// stratum with only one of the groups adds nothing. All arrangements are looked
/// at if they are no more than `permutations`, else `permutations` random ones.
///
/// # Errors
/// Slices of unequal length, no stratum with both groups, a value that is not
/// finite, or `permutations` is 0.
pub fn permute_within_strata(
    a: &[Vec<f64>],
    b: &[Vec<f64>],
    permutations: usize,
    seed: u64,
) -> Result<PermutationTest, StatsError> {
    check_length(b.len(), a.len(), || "strata of b".to_owned())?;
    check_count(permutations, "permutations", 1)?;
    let mut strata = Vec::new();
    let (mut weights, mut largest) = (0.0, 0.0_f64);
    for (a, b) in a.iter().zip(b) {
        check(a, "strata of a", 0)?;
        check(b, "strata of b", 0)?;
        if a.is_empty() || b.is_empty() {
            continue;
        }
        let (n_a, n_b) = (a.len() as f64, b.len() as f64);
        weights += n_a * n_b / (n_a + n_b);
        let mut pool = [a.as_slice(), b].concat();
        let centre = mean_of(&pool);
        largest = pool.iter().fold(largest, |m, v| m.max(v.abs()));
        pool.iter_mut().for_each(|v| *v -= centre);
        strata.push(Stratum {
            pool,
            size_a: a.len(),
        });
    }
    check_count(strata.len(), "strata with both groups", 1)?;

    // Weight times difference is the first group's centred sum.
    let first = |s: &Stratum| s.pool[..s.size_a].iter().sum::<f64>();
    let statistic = strata.iter().map(first).sum::<f64>() / weights;
    let mut tally = Tally::new(statistic, 2.0 * largest);
    let all = strata.iter().fold(1_u128, |all, s| {
        all.saturating_mul(splits(s.pool.len(), s.size_a))
    });
    let exact = all <= permutations as u128;
    if exact {
        every_arrangement(&strata, |sum| tally.add(sum / weights));
    } else {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..permutations {
            let mut sum = 0.0;
            for stratum in &mut strata {
                shuffle_front(&mut stratum.pool, stratum.size_a, &mut rng);
                sum += first(stratum);
            }
            tally.add(sum / weights);
        }
    }
    Ok(tally.finish(statistic, exact))
}

/// Hands over the sum of the first groups for every choice of them.
fn every_arrangement(strata: &[Stratum], mut see: impl FnMut(f64)) {
    let start = |s: &Stratum| (0..s.size_a).collect::<Vec<usize>>();
    let mut chosen: Vec<Vec<usize>> = strata.iter().map(start).collect();
    loop {
        see(strata
            .iter()
            .zip(&chosen)
            .map(|(s, chosen)| chosen.iter().map(|&i| s.pool[i]).sum::<f64>())
            .sum());
        // The first stratum that can step does; those before it start again.
        let stepped = strata.iter().zip(&mut chosen).any(|(s, chosen)| {
            let stepped = next_combination(chosen, s.pool.len());
            if !stepped {
                *chosen = start(s);
            }
            stepped
        });
        if !stepped {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stratum_is_the_two_sample_test() {
        let (a, b) = (vec![1.0, 4.0, 2.5, 6.0], vec![0.5, 1.5, 3.0]);
        let plain = crate::permute_two_samples(&a, &b, 35, 0).unwrap();
        let found = permute_within_strata(&[a], &[b], 35, 0).unwrap();
        assert_eq!((found.p_value, found.exact), (plain.p_value, true));
        assert!((found.statistic - plain.statistic).abs() < 1e-12);
    }

    #[test]
    fn strata_of_two_are_signs() {
        // One value of each group a stratum: a sign-flip test of the differences.
        let a = [3.0, 1.0, 4.0, 1.5, 5.0].map(|v| vec![v]);
        let b = [2.0, 1.5, 1.0, 1.0, 2.5].map(|v| vec![v]);
        let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a[0] - b[0]).collect();
        let signs = crate::sign_flip(&differences, 32, 0).unwrap();
        let found = permute_within_strata(&a, &b, 32, 0).unwrap();
        assert_eq!((found.permutations, found.p_value), (32, signs.p_value));
        assert!((found.statistic - signs.statistic).abs() < 1e-12);
    }

    #[test]
    fn bad_input_is_named() {
        let one = [vec![1.0]];
        assert!(permute_within_strata(&one, &[], 9, 0).is_err());
        assert!(permute_within_strata(&one, &[vec![f64::NAN]], 9, 0).is_err());
        assert!(matches!(
            permute_within_strata(&one, &[vec![]], 9, 0),
            Err(StatsError::TooFew { found: 0, .. })
        ));
    }
}
