//! Sign-flip test of a mean, within pairs.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::descriptive::mean_of;
use crate::error::{StatsError, check, check_count};
use crate::permutation::{PermutationTest, Tally, sign_assignments};

/// Two-sided sign-flip test that the mean of `x` is zero, for `x` symmetric around zero under the null hypothesis.
/// Statistic: the mean.
///
/// All 2ⁿ sign assignments are used if there are no more than `permutations`, otherwise `permutations` random ones
/// drawn from `seed`.
///
/// # Errors
/// `x` is empty or holds a value that is not finite; `permutations` is 0.
pub fn sign_flip(x: &[f64], permutations: usize, seed: u64) -> Result<PermutationTest, StatsError> {
    check(x, "sign_flip", 1)?;
    check_count(permutations, "permutations", 1)?;
    let n = x.len();
    let observed = mean_of(x);
    let mut tally = Tally::new(observed, x.iter().map(|v| v.abs()).sum::<f64>() / n as f64);
    let assignments = sign_assignments(n, permutations);
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
}
