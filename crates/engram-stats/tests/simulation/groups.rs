//! Two groups of values or clusters, and the intervals of effect sizes.

use crate::{LEVEL, covers, holds, nominal, normal, normals, share};
use engram_stats::*;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

#[test]
fn mann_whitney_under_the_null() {
    // Exact, normal, and with ties; of one skewed distribution.
    for (n_a, n_b, digits) in [(8, 11, 1e6), (60, 45, 1e6), (12, 15, 2.0)] {
        let trials = 2000;
        let rate = share(trials, 11, |rng| {
            let mut draw = |n: usize| -> Vec<f64> {
                let value = |v: f64| (v.exp() * digits).round() / digits;
                normals(rng, n).into_iter().map(value).collect()
            };
            let (a, b) = (draw(n_a), draw(n_b));
            mann_whitney(&a, &b).unwrap().p_value <= 0.05
        });
        nominal(rate, trials);
    }
}

#[test]
fn two_samples_under_the_null() {
    let trials = 1500;
    let rate = share(trials, 12, |rng| {
        let mut draw = |n| -> Vec<f64> { normals(rng, n).into_iter().map(f64::exp).collect() };
        let (a, b) = (draw(9), draw(20));
        permute_two_samples(&a, &b, 399, rng.random())
            .unwrap()
            .p_value
            <= 0.05
    });
    nominal(rate, trials);
}

/// `n` clusters of one to five values that share a centre.
fn clusters(rng: &mut ChaCha8Rng, n: usize) -> Vec<Vec<f64>> {
    let mut cluster = || {
        let centre = normal(rng);
        let size = rng.random_range(1..=5);
        (0..size).map(|_| centre + 0.5 * normal(rng)).collect()
    };
    (0..n).map(|_| cluster()).collect()
}

#[test]
fn relabelled_clusters_hold_their_level_where_values_do_not() {
    let trials = 1000;
    let mut over_values = 0;
    let rate = share(trials, 13, |rng| {
        let (a, b) = (clusters(rng, 9), clusters(rng, 12));
        let plain = permute_two_samples(&a.concat(), &b.concat(), 199, 0).unwrap();
        over_values += usize::from(plain.p_value <= 0.05);
        permute_clusters(&a, &b, 399, 0).unwrap().p_value <= 0.05
    });
    nominal(rate, trials);
    assert!(over_values as f64 / trials as f64 > 0.15);
}

#[test]
fn differences_of_clusters_cover() {
    covers(share(400, 14, |rng| {
        let named = |from: usize, clusters: Vec<Vec<f64>>| -> Vec<(usize, f64)> {
            let of = |(id, x): (usize, Vec<f64>)| x.into_iter().map(move |v| (from + id, v));
            clusters.into_iter().enumerate().flat_map(of).collect()
        };
        let (a, b) = (named(0, clusters(rng, 25)), named(99, clusters(rng, 30)));
        let how = Resampling::bca(400, LEVEL, rng.random());
        holds(cluster_difference_interval(&a, &b, how).unwrap(), 0.0)
    }));
}

#[test]
fn two_stages_cover_a_mean_and_a_ratio() {
    for ends in [Ends::Bca, Ends::Percentile] {
        covers(share(400, 15, |rng| {
            let mut relation = || {
                let centre = 0.5 + 0.3 * normal(rng);
                (0..6).map(|_| centre + normal(rng)).collect()
            };
            let relations: Vec<Vec<f64>> = (0..15).map(|_| relation()).collect();
            let how = Resampling {
                ends,
                ..Resampling::bca(400, LEVEL, rng.random())
            };
            holds(two_stage_mean_interval(&relations, how).unwrap(), 0.5)
        }));
    }
    // Recovery 0.4, its relation's own 0.1 off, of gaps from 1 to 5.
    covers(share(400, 16, |rng| {
        let mut relation = || {
            let recovery = 0.4 + 0.1 * normal(rng);
            let mut pair = || {
                let gap = rng.random_range(1.0..5.0);
                (recovery * gap + normal(rng), gap)
            };
            (0..6).map(|_| pair()).collect()
        };
        let relations: Vec<Vec<(f64, f64)>> = (0..15).map(|_| relation()).collect();
        let how = Resampling::bca(400, LEVEL, rng.random());
        holds(two_stage_ratio_interval(&relations, how).unwrap(), 0.4)
    }));
}

#[test]
fn intervals_of_effect_sizes_cover() {
    // Half a standard deviation; δ = 2 Φ(0.5 / √2) − 1.
    let delta = 0.276_326_390_168_237;
    let shifted = |rng: &mut ChaCha8Rng, n| -> Vec<f64> {
        normals(rng, n).into_iter().map(|v| v + 0.5).collect()
    };
    covers(share(400, 17, |rng| {
        let x = shifted(rng, 40);
        let how = Resampling::bca(400, LEVEL, rng.random());
        holds(cohen_d_paired_interval(&x, how).unwrap(), 0.5)
    }));
    covers(share(400, 18, |rng| {
        let (a, b) = (shifted(rng, 30), normals(rng, 35));
        let how = Resampling::bca(400, LEVEL, rng.random());
        holds(hedges_g_interval(&a, &b, how).unwrap(), 0.5)
    }));
    covers(share(400, 19, |rng| {
        let (a, b) = (shifted(rng, 30), normals(rng, 35));
        let how = Resampling::bca(400, LEVEL, rng.random());
        holds(cliffs_delta_interval(&a, &b, how).unwrap(), delta)
    }));
    covers(share(400, 20, |rng| {
        let x = normals(rng, 40);
        let how = Resampling::bca(400, LEVEL, rng.random());
        holds(rank_biserial_interval(&x, how).unwrap(), 0.0)
    }));
}
