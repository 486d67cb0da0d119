//! Invariances of two-group tests, layers and models under reordering, rescaling and renaming.

use engram_stats::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn quarters(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<f64>> {
    vec((-20_i32..=20).prop_map(|v| f64::from(v) / 4.0), len)
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-8 * (1.0 + a.abs().max(b.abs()))
}

fn mapped(x: &[f64], f: impl Fn(f64) -> f64) -> Vec<f64> {
    x.iter().map(|&v| f(v)).collect()
}

fn reversed<T: Clone>(x: &[T]) -> Vec<T> {
    x.iter().rev().cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mann_whitney_sees_order_only_and_mirrors(a in quarters(1..30), b in quarters(1..40)) {
        let plain = mann_whitney(&a, &b).unwrap();
        prop_assert!(plain.p_value > 0.0 && plain.p_value <= 1.0);
        prop_assert_eq!(plain.cliffs_delta, cliffs_delta(&a, &b).unwrap());
        let swapped = mann_whitney(&b, &a).unwrap();
        prop_assert!(near(swapped.p_value, plain.p_value));
        prop_assert_eq!(swapped.cliffs_delta, -plain.cliffs_delta);
        let bent = |x: &[f64]| reversed(&mapped(x, |v| (v / 3.0).exp()));
        prop_assert_eq!(mann_whitney(&bent(&a), &bent(&b)).unwrap(), plain);
    }

    #[test]
    fn relabelled_clusters_ignore_names_and_order(
        a in vec(quarters(1..4), 2..5), b in vec(quarters(1..4), 2..5), by in 0.1_f64..10.0,
    ) {
        let plain = permute_clusters(&a, &b, 100, 0).unwrap();
        prop_assert!(plain.exact);
        let turned = |x: &[Vec<f64>]| -> Vec<Vec<f64>> {
            x.iter().rev().map(|c| reversed(&mapped(c, |v| by * v + 1.0))).collect()
        };
        let other = permute_clusters(&turned(&b), &turned(&a), 100, 0).unwrap();
        prop_assert_eq!(other.p_value, plain.p_value);
        prop_assert!(near(other.statistic, -by * plain.statistic));
    }

    #[test]
    fn max_t_ignores_the_order_of_rows_and_layers_and_the_scale_of_layers(
        rows in vec(vec(-5.0_f64..5.0, 4), 6..9), by in 0.1_f64..10.0,
    ) {
        let plain = max_t_sign_flip(&rows, LayerStatistic::T, 512, 0).unwrap();
        prop_assert!(plain.exact);
        for (p, adjusted) in plain.p_value.iter().zip(&plain.adjusted) {
            prop_assert!(p <= adjusted && *adjusted <= 1.0);
        }
        let turned: Vec<Vec<f64>> = rows
            .iter()
            .rev()
            .map(|row| reversed(&[by * row[0], row[1], row[2], -row[3]]))
            .collect();
        let other = max_t_sign_flip(&turned, LayerStatistic::T, 512, 0).unwrap();
        prop_assert_eq!(reversed(&other.adjusted), plain.adjusted);
        prop_assert_eq!(reversed(&other.p_value), plain.p_value);
        prop_assert!(near(-other.statistic[0], plain.statistic[3]));
    }

    #[test]
    fn regressions_ignore_order_names_and_units(
        rows in vec((-5.0_f64..5.0, -5.0_f64..5.0, 0_usize..8), 20..40),
        by in 0.1_f64..10.0, shift in -20.0_f64..20.0,
    ) {
        let run = |rows: &[(f64, f64, usize)], by: f64, shift: f64| {
            let y: Vec<f64> = rows.iter().map(|r| r.0).collect();
            let x = rows.iter().map(|r| by * r.1 + shift).collect();
            let ids: Vec<usize> = rows.iter().map(|r| r.2).collect();
            ols(&y, &[DesignColumn::new("x", x)], Errors::Clustered(&ids), 0.95)
        };
        let Ok(plain) = run(&rows, 1.0, 0.0) else { return Ok(()) };
        let renamed: Vec<_> = rows.iter().rev().map(|r| (r.0, r.1, 99 - r.2)).collect();
        let other = run(&renamed, by, shift).unwrap();
        prop_assert!(near(other.terms[1].estimate * by, plain.terms[1].estimate));
        prop_assert!(near(other.terms[1].std_error * by, plain.terms[1].std_error));
        prop_assert!(near(other.terms[1].p_value, plain.terms[1].p_value));
        prop_assert!(near(other.r_squared, plain.r_squared));
        prop_assert!((0.0..=1.0).contains(&plain.r_squared));
        let slope = &plain.terms[1];
        prop_assert!(slope.lower < slope.estimate && slope.estimate < slope.upper);
    }

    #[test]
    fn matches_are_near_single_and_ignore_units(
        a in vec(-5.0_f64..5.0, 4..30), b in vec(-5.0_f64..5.0, 4..30),
        by in 0.1_f64..10.0, caliper in 0.1_f64..2.0,
    ) {
        let Ok(found) = match_nearest(&a, &b, caliper) else { return Ok(()) };
        let mut used = (vec![0; a.len()], vec![0; b.len()]);
        for &(i, j) in &found.pairs {
            prop_assert!((a[i] - b[j]).abs() <= found.caliper);
            used.0[i] += 1;
            used.1[j] += 1;
        }
        prop_assert!(used.0.iter().chain(&used.1).all(|&n| n <= 1));
        // No two that were left are near each other.
        let free = |used: &[i32]| (0..used.len()).filter(|&i| used[i] == 0).collect::<Vec<_>>();
        for &i in &free(&used.0) {
            for &j in &free(&used.1) {
                prop_assert!((a[i] - b[j]).abs() > found.caliper);
            }
        }
        let swapped = match_nearest(&b, &a, caliper).unwrap();
        let mut mirrored: Vec<_> = swapped.pairs.iter().map(|&(j, i)| (i, j)).collect();
        mirrored.sort_unstable();
        prop_assert_eq!(&mirrored, &found.pairs);
        prop_assert!(near(swapped.smd_after, -found.smd_after));
        let moved = |x: &[f64]| mapped(x, |v| v * by);
        let other = match_nearest(&moved(&a), &moved(&b), caliper).unwrap();
        prop_assert!(near(other.smd_before, found.smd_before));
    }

    #[test]
    fn intraclass_correlation_ignores_units_and_order(
        relations in vec(vec(-5.0_f64..5.0, 2..6), 3..8), by in 0.1_f64..10.0,
    ) {
        let plain = icc(&relations, 0.9).unwrap();
        prop_assert!(plain.lower <= plain.icc && plain.icc <= plain.upper && plain.upper <= 1.0);
        let n = plain.pairs as f64;
        prop_assert!(plain.effective_pairs <= n + 1e-9);
        let moved: Vec<Vec<f64>> = relations
            .iter()
            .rev()
            .map(|x| reversed(&mapped(x, |v| 3.0 - by * v)))
            .collect();
        let other = icc(&moved, 0.9).unwrap();
        prop_assert!(near(other.icc, plain.icc) && near(other.lower, plain.lower));
        prop_assert!(near(other.effective_pairs, plain.effective_pairs));
    }

    #[test]
    fn power_grows_with_everything(d in 0.05_f64..2.0, n in 2_usize..60) {
        let power = power_paired(d, n, 0.05).unwrap();
        prop_assert!((0.05 - 1e-9..=1.0).contains(&power));
        prop_assert!(near(power_paired(-d, n, 0.05).unwrap(), power));
        prop_assert!(power_paired(1.2 * d, n, 0.05).unwrap() >= power - 1e-12);
        prop_assert!(power_paired(d, n + 1, 0.05).unwrap() >= power - 1e-12);
        prop_assert!(power_paired(d, n, 0.01).unwrap() <= power);
    }
}
