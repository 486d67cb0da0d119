//! The smallest p value that a permutation test can give for a number of units.

/// For [`crate::sign_flip`] and the exact signed-rank test with `n` units, two-sided: 2 / 2ⁿ, since the observed signs
/// and their negation are always equally extreme.
pub fn least_p_sign_flip(n: usize) -> f64 {
    0.5f64
        .powi(i32::try_from(n).unwrap_or(i32::MAX) - 1)
        .min(1.0)
}

/// For [`crate::permute_kinds`] with `a` and `b` relations, two-sided, over all splits: 1 / C(a + b, a); twice that if
/// `a` = `b`, since the split and its mirror image are then equally extreme.
pub fn least_p_kinds(a: usize, b: usize) -> f64 {
    let choices = (1..=a).map(|i| (b + i) as f64 / i as f64).product::<f64>();
    let as_extreme = if a == b { 2.0 } else { 1.0 };
    (as_extreme / choices).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{permute_kinds, sign_flip, wilcoxon_signed_rank};

    #[test]
    fn no_data_go_below() {
        for n in 1..=8 {
            let x: Vec<f64> = (1..=n).map(|i| i as f64).collect();
            let least = least_p_sign_flip(n);
            assert_eq!(sign_flip(&x, 1 << 10, 0).unwrap().p_value, least);
            assert!((wilcoxon_signed_rank(&x).unwrap().p_value - least).abs() < 1e-12);
        }
        for (a, b) in [(6, 6), (6, 7), (8, 6)] {
            let low: Vec<f64> = (0..a).map(|i| i as f64 / 100.0).collect();
            let high: Vec<f64> = (0..b).map(|i| 10.0 + i as f64 / 100.0).collect();
            let p = permute_kinds(&low, &high, 1 << 20, 0).unwrap().p_value;
            assert!(p >= least_p_kinds(a, b) - 1e-15, "{a} {b}: {p}");
        }
        let p = permute_kinds(&[1.0; 6], &[2.0; 6], 1000, 0)
            .unwrap()
            .p_value;
        assert!((p - least_p_kinds(6, 6)).abs() < 1e-15);
        assert!((p - 2.0 / 924.0).abs() < 1e-15);
    }
}
