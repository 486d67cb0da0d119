//! Invariances under reordering, rescaling and renaming, and properties of every result.

use engram_stats::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// Values with ties: multiples of a quarter.
fn quarters(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<f64>> {
    vec((-20_i32..=20).prop_map(|v| f64::from(v) / 4.0), len)
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
}

fn scaled(x: &[f64], by: f64) -> Vec<f64> {
    x.iter().map(|v| v * by).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn friedman_ignores_the_order_of_blocks_and_columns(
        rows in vec(quarters(4), 2..12), shift in 0_usize..12,
    ) {
        let Ok(plain) = friedman(&rows) else { return Ok(()) };
        let mut reordered = rows.clone();
        let blocks = reordered.len();
        reordered.rotate_left(shift % blocks);
        prop_assert_eq!(friedman(&reordered).unwrap(), plain);
        reordered.iter_mut().for_each(|row| row.rotate_left(shift % 4));
        let relabelled = friedman(&reordered).unwrap();
        prop_assert!(near(relabelled.chi_squared, plain.chi_squared));
        prop_assert!((-1e-12..=1.0 + 1e-12).contains(&plain.kendall_w));
        prop_assert!((0.0..=1.0).contains(&plain.p_value));
    }

    #[test]
    fn friedman_sees_only_the_order_within_a_block(rows in vec(quarters(5), 2..10)) {
        let moved: Vec<Vec<f64>> = rows
            .iter()
            .enumerate()
            .map(|(i, row)| row.iter().map(|v| (v / 4.0).exp() + 10.0 * i as f64).collect())
            .collect();
        prop_assert_eq!(friedman(&rows).ok(), friedman(&moved).ok());
    }

    #[test]
    fn wilcoxon_ignores_order_and_scale_and_mirrors(x in quarters(1..60), by in 0.01_f64..100.0) {
        let plain = wilcoxon_signed_rank(&x).unwrap();
        let reversed: Vec<f64> = x.iter().rev().copied().collect();
        prop_assert_eq!(wilcoxon_signed_rank(&reversed).unwrap(), plain);
        prop_assert_eq!(wilcoxon_signed_rank(&scaled(&x, by)).unwrap(), plain);
        let mirrored = wilcoxon_signed_rank(&scaled(&x, -1.0)).unwrap();
        prop_assert_eq!(mirrored.p_value, plain.p_value);
        prop_assert_eq!(mirrored.rank_biserial, -plain.rank_biserial);
        prop_assert!(plain.p_value > 0.0 && plain.p_value <= 1.0);
    }

    #[test]
    fn sign_flip_ignores_order_scale_and_sign(x in quarters(1..9), by in 0.01_f64..100.0) {
        let plain = sign_flip(&x, 512, 0).unwrap();
        prop_assert!(plain.exact);
        let reversed: Vec<f64> = x.iter().rev().map(|v| -v * by).collect();
        let other = sign_flip(&reversed, 512, 0).unwrap();
        prop_assert_eq!(other.p_value, plain.p_value);
        prop_assert!(near(other.statistic, -by * plain.statistic));
    }

    #[test]
    fn permuted_kinds_ignore_order_location_and_names(
        a in quarters(6), b in quarters(6..8), shift in -5.0_f64..5.0, by in 0.1_f64..10.0,
    ) {
        let plain = permute_kinds(&a, &b, 2000, 0).unwrap();
        prop_assert!(plain.exact);
        let swapped = permute_kinds(&b, &a, 2000, 0).unwrap();
        prop_assert_eq!(swapped.p_value, plain.p_value);
        prop_assert_eq!(swapped.statistic, -plain.statistic);
        let moved = |x: &[f64]| x.iter().rev().map(|v| v * by + shift).collect::<Vec<_>>();
        let other = permute_kinds(&moved(&a), &moved(&b), 2000, 0).unwrap();
        prop_assert_eq!(other.p_value, plain.p_value);
        prop_assert!(near(other.statistic, by * plain.statistic));
    }

    #[test]
    fn corrections_only_raise_and_keep_the_order(p in vec(0.0_f64..=1.0, 1..30)) {
        let holm_p = holm(&p).unwrap();
        let bh = benjamini_hochberg(&p).unwrap();
        for i in 0..p.len() {
            prop_assert!(holm_p[i] >= p[i] && holm_p[i] <= 1.0);
            prop_assert!(bh[i] >= p[i] && bh[i] <= holm_p[i] + 1e-12);
            for j in 0..p.len() {
                if p[i] <= p[j] {
                    prop_assert!(holm_p[i] <= holm_p[j] && bh[i] <= bh[j]);
                }
            }
        }
        let reversed: Vec<f64> = p.iter().rev().copied().collect();
        let back: Vec<f64> = holm(&reversed).unwrap().into_iter().rev().collect();
        prop_assert_eq!(back, holm_p);
    }

    #[test]
    fn intervals_move_with_their_values_and_not_with_names(
        values in vec((0_usize..9, -5.0_f64..5.0), 4..40), by in 0.1_f64..10.0, seed: u64,
    ) {
        let Ok(plain) = bootstrap_cluster_mean(&values, 200, 0.9, seed) else { return Ok(()) };
        prop_assert!(plain.lower <= plain.upper);
        let renamed: Vec<_> = values.iter().map(|&(c, v)| (1000 - 7 * c, v)).collect();
        prop_assert_eq!(bootstrap_cluster_mean(&renamed, 200, 0.9, seed).unwrap(), plain);
        let stretched: Vec<_> = values.iter().map(|&(c, v)| (c, v * by)).collect();
        let other = bootstrap_cluster_mean(&stretched, 200, 0.9, seed).unwrap();
        prop_assert!(near(other.lower, plain.lower * by));
        prop_assert!(near(other.upper, plain.upper * by));
        let wider = bootstrap_cluster_mean(&values, 200, 0.99, seed).unwrap();
        prop_assert!(wider.lower <= plain.lower && wider.upper >= plain.upper);
    }

    #[test]
    fn cliffs_delta_is_a_count(a in quarters(1..12), b in quarters(1..12)) {
        let mut excess = 0_i32;
        for x in &a {
            for y in &b {
                excess += i32::from(x > y) - i32::from(x < y);
            }
        }
        let expected = f64::from(excess) / (a.len() * b.len()) as f64;
        prop_assert_eq!(cliffs_delta(&a, &b).unwrap(), expected);
        prop_assert_eq!(cliffs_delta(&b, &a).unwrap(), -expected);
    }

    #[test]
    fn localisation_ignores_order_and_scale(x in vec(-1.0_f64..1.0, 1..20), by in 1.0_f64..10.0) {
        let Some(plain) = localisation(&x) else {
            prop_assert!(x.iter().map(|v| v.max(0.0)).sum::<f64>() < MIN_TOTAL_RECOVERY);
            return Ok(());
        };
        let layers = x.len() as f64;
        prop_assert!(near(plain.shares.iter().sum(), 1.0));
        prop_assert!((0.0..=1.0).contains(&plain.entropy));
        prop_assert!((0.0..=1.0 - 1.0 / layers + 1e-12).contains(&plain.gini));
        // The definition: mean absolute difference over twice the mean share 1/L.
        let differences: f64 = plain
            .shares
            .iter()
            .flat_map(|p| plain.shares.iter().map(move |q| (p - q).abs()))
            .sum();
        prop_assert!(near(plain.gini, differences / (2.0 * layers)));
        let reversed: Vec<f64> = x.iter().rev().map(|v| v * by).collect();
        let other = localisation(&reversed).unwrap();
        prop_assert!(near(other.entropy, plain.entropy) && near(other.gini, plain.gini));
        prop_assert_eq!(other.layers_80, plain.layers_80);
    }
}
