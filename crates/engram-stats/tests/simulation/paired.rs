//! Tests within pairs, kinds, and the intervals of means and shares.

use crate::{LEVEL, covers, holds, nominal, normal, normals, share};
use engram_stats::*;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

#[test]
fn wilcoxon_under_the_null() {
    // 15 values: exact; 60: normal. Heavy tails, still symmetric.
    for (n, trials) in [(15, 3000), (60, 2000)] {
        let rate = share(trials, 1, |rng| {
            let x: Vec<f64> = normals(rng, n).into_iter().map(|v| v.powi(3)).collect();
            wilcoxon_signed_rank(&x).unwrap().p_value <= 0.05
        });
        nominal(rate, trials);
    }
}

#[test]
fn wilcoxon_with_ties_under_the_null() {
    let rate = share(3000, 2, |rng| {
        let x: Vec<f64> = (0..20)
            .map(|_| f64::from(rng.random_range(-4..=4)))
            .collect();
        wilcoxon_signed_rank(&x).unwrap().p_value <= 0.05
    });
    nominal(rate, 3000);
}

#[test]
fn sign_flip_under_the_null() {
    let rate = share(1500, 3, |rng| {
        let x = normals(rng, 20);
        let seed = rng.random();
        sign_flip(&x, 399, seed).unwrap().p_value <= 0.05
    });
    nominal(rate, 1500);
}

#[test]
fn friedman_under_the_null() {
    let rate = share(2000, 4, |rng| {
        let rows: Vec<Vec<f64>> = (0..30).map(|_| normals(rng, 6)).collect();
        friedman(&rows).unwrap().p_value <= 0.05
    });
    nominal(rate, 2000);
}

#[test]
fn permuted_kinds_hold_their_level_where_pairs_do_not() {
    // Relations differ, kinds do not: 7 and 8 relations of 10 pairs each.
    let relation = |rng: &mut ChaCha8Rng| {
        let centre = normal(rng);
        (0..10).map(|_| centre + normal(rng)).collect::<Vec<f64>>()
    };
    let means = |kind: &[Vec<f64>]| kind.iter().map(|r| mean(r).unwrap()).collect::<Vec<_>>();
    let mut false_calls_over_pairs = 0;
    let trials = 1000;
    let rate = share(trials, 5, |rng| {
        let a: Vec<_> = (0..7).map(|_| relation(rng)).collect();
        let b: Vec<_> = (0..8).map(|_| relation(rng)).collect();
        let (pairs_a, pairs_b) = (a.concat(), b.concat());
        let over_pairs = permute_kinds(&pairs_a, &pairs_b, 99, 0).unwrap();
        false_calls_over_pairs += usize::from(over_pairs.p_value <= 0.05);
        permute_kinds(&means(&a), &means(&b), 499, 0)
            .unwrap()
            .p_value
            <= 0.05
    });
    nominal(rate, trials);
    assert!(false_calls_over_pairs as f64 / trials as f64 > 0.3);
}

#[test]
fn bootstrap_mean_covers_a_skewed_mean() {
    covers(share(500, 6, |rng| {
        let x: Vec<f64> = (0..40).map(|_| -(1.0 - rng.random::<f64>()).ln()).collect();
        let seed = rng.random();
        holds(bootstrap_mean(&x, 600, LEVEL, seed).unwrap(), 1.0)
    }));
}

#[test]
fn clusters_cover_where_values_do_not() {
    let mut covered_over_values = 0;
    let trials = 400;
    let rate = share(trials, 7, |rng| {
        let mut values = Vec::new();
        for cluster in 0..30 {
            let centre = normal(rng);
            for _ in 0..rng.random_range(2..=5) {
                values.push((cluster, centre + 0.5 * normal(rng)));
            }
        }
        let seed = rng.random();
        let plain: Vec<f64> = values.iter().map(|&(_, v)| v).collect();
        let over_values = bootstrap_mean(&plain, 400, LEVEL, seed).unwrap();
        covered_over_values += usize::from(holds(over_values, 0.0));
        holds(
            bootstrap_cluster_mean(&values, 400, LEVEL, seed).unwrap(),
            0.0,
        )
    });
    covers(rate);
    assert!((covered_over_values as f64 / trials as f64) < 0.85);
}

#[test]
fn ratio_of_means_covers() {
    // Recovery 0.4 with noise, gaps of 1 to 5, two pairs a cluster.
    covers(share(400, 8, |rng| {
        let (mut num, mut den, mut clusters) = (Vec::new(), Vec::new(), Vec::new());
        for pair in 0..60 {
            let gap = rng.random_range(1.0..5.0);
            num.push(0.4 * gap + normal(rng));
            den.push(gap);
            clusters.push(pair / 2);
        }
        let seed = rng.random();
        let found = bootstrap_ratio_of_means(&num, &den, &clusters, 400, LEVEL, seed);
        holds(found.unwrap(), 0.4)
    }));
}

#[test]
fn two_stage_covers_a_difference_between_kinds() {
    let kind = |rng: &mut ChaCha8Rng, centre: f64| {
        let relations = (0..10).map(|_| {
            let relation = centre + 0.5 * normal(rng);
            (0..8).map(|_| relation + normal(rng)).collect()
        });
        relations.collect::<Vec<Vec<f64>>>()
    };
    covers(share(400, 9, |rng| {
        let (a, b) = (kind(rng, 0.7), kind(rng, 0.2));
        let seed = rng.random();
        let found = bootstrap_two_stage_difference(&a, &b, 400, LEVEL, seed);
        holds(found.unwrap(), 0.5)
    }));
}

#[test]
fn wilson_covers() {
    for truth in [0.5, 0.75, 0.95] {
        covers(share(2000, 10, |rng| {
            let successes = (0..60).filter(|_| rng.random::<f64>() < truth).count();
            let found = proportion_interval(successes, 60, LEVEL).unwrap();
            found.lower <= truth && truth <= found.upper
        }));
    }
}
