//! Regressions, adjusted kinds, matching, power and intraclass correlation.

use crate::{LEVEL, covers, holds, nominal, normal, share};
use engram_stats::*;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Clusters of 3 to 8 observations, a covariate of the cluster and one of the
/// observation, and y = `slopes` times these + a cluster's effect + noise.
fn observations(
    rng: &mut ChaCha8Rng,
    clusters: usize,
    slopes: [f64; 2],
) -> (Vec<f64>, Vec<DesignColumn>, Vec<usize>) {
    let (mut y, mut ids) = (Vec::new(), Vec::new());
    let (mut outer, mut inner) = (Vec::new(), Vec::new());
    for cluster in 0..clusters {
        let (x, effect) = (normal(rng), 0.6 * normal(rng));
        for _ in 0..rng.random_range(3..=8) {
            let z = normal(rng);
            y.push(slopes[0] * x + slopes[1] * z + effect + 0.8 * normal(rng));
            outer.push(x);
            inner.push(z);
            ids.push(cluster);
        }
    }
    let columns = vec![
        DesignColumn::new("outer", outer),
        DesignColumn::new("inner", inner),
    ];
    (y, columns, ids)
}

#[test]
fn clustered_errors_cover_where_classical_ones_do_not() {
    let trials = 1000;
    let mut classical = 0;
    covers(share(trials, 31, |rng| {
        let (y, columns, ids) = observations(rng, 40, [0.3, 0.5]);
        let covered = |errors| {
            let term = &ols(&y, &columns, errors, LEVEL).unwrap().terms[1];
            term.lower <= 0.3 && 0.3 <= term.upper
        };
        classical += usize::from(covered(Errors::Classical));
        covered(Errors::Clustered(&ids))
    }));
    assert!((classical as f64) < 0.85 * trials as f64);
}

#[test]
fn added_columns_are_called_at_the_level() {
    // CR1 with 40 clusters is a little liberal: 0.05 to 0.08.
    let how = Resampling::percentile(2, LEVEL, 0);
    let rate = share(1000, 32, |rng| {
        let (y, columns, ids) = observations(rng, 40, [0.0, 0.0]);
        let found = r_squared_gain(&y, &[], &columns, &ids, how).unwrap();
        found.p_value <= 0.05
    });
    assert!((0.035..=0.085).contains(&rate), "{rate}");
}

#[test]
fn the_gain_in_r_squared_covers() {
    // Var y = 0.3² + 0.7² + 0.6² + 0.8².
    let truth = 0.49 / (0.09 + 0.49 + 1.0);
    covers(share(400, 33, |rng| {
        let (y, columns, ids) = observations(rng, 40, [0.3, 0.7]);
        let how = Resampling::bca(400, LEVEL, rng.random());
        let found = r_squared_gain(&y, &columns[..1], &columns[1..], &ids, how);
        holds(found.unwrap().gain, truth)
    }));
}

/// Eight relations of each kind, which differ in the gap only; y follows it.
fn kinds(rng: &mut ChaCha8Rng, gap_apart: f64) -> (Vec<f64>, Vec<bool>, Vec<usize>, Vec<f64>) {
    let (mut y, mut first, mut ids, mut gaps) = (vec![], vec![], vec![], vec![]);
    for relation in 0..16 {
        let of_first = relation < 8;
        let centre = if of_first { gap_apart } else { 0.0 } + 0.5 * normal(rng);
        let effect = 0.4 * normal(rng);
        for _ in 0..rng.random_range(6..=20) {
            let gap = centre + normal(rng);
            y.push(0.8 * gap + effect + 0.5 * normal(rng));
            first.push(of_first);
            ids.push(relation);
            gaps.push(gap);
        }
    }
    (y, first, ids, gaps)
}

#[test]
fn adjusted_kinds_hold_their_level_where_kinds_alone_do_not() {
    let trials = 1000;
    let (mut alone, mut covered) = (0, 0);
    let rate = share(trials, 34, |rng| {
        let (y, first, ids, gaps) = kinds(rng, 1.0);
        let pairs = KindPairs {
            y: &y,
            first_kind: &first,
            relations: &ids,
            covariates: &[],
        };
        let plain = permute_kinds_adjusted(pairs, 199, LEVEL, 1).unwrap();
        alone += usize::from(plain.test.p_value <= 0.05);
        let covariates = [DesignColumn::new("gap", gaps)];
        let pairs = KindPairs {
            covariates: &covariates,
            ..pairs
        };
        let found = permute_kinds_adjusted(pairs, 399, LEVEL, 1).unwrap();
        covered += usize::from(found.relations.lower <= 0.0 && 0.0 <= found.relations.upper);
        found.test.p_value <= 0.05
    });
    nominal(rate, trials);
    covers(covered as f64 / trials as f64);
    assert!(alone as f64 > 0.3 * trials as f64);
}

#[test]
fn matched_differences_cover_where_plain_ones_do_not() {
    let trials = 300;
    let (mut plain, mut before, mut after) = (0, 0.0, 0.0);
    let rate = share(trials, 35, |rng| {
        let (y, first, ids, gaps) = kinds(rng, 0.8);
        let of = |kind: bool| -> (Vec<(usize, f64)>, Vec<f64>) {
            let rows = (0..y.len()).filter(|&i| first[i] == kind);
            rows.map(|i| ((ids[i], y[i]), gaps[i])).unzip()
        };
        let ((a, gaps_a), (b, gaps_b)) = (of(true), of(false));
        let matching = match_nearest(&gaps_a, &gaps_b, 0.2).unwrap();
        before += matching.smd_before.abs() / trials as f64;
        after += matching.smd_after.abs() / trials as f64;
        let how = Resampling::bca(400, LEVEL, rng.random());
        plain += usize::from(holds(
            cluster_difference_interval(&a, &b, how).unwrap(),
            0.0,
        ));
        let found = matched_difference_interval(&a, &b, &matching.pairs, how);
        holds(found.unwrap(), 0.0)
    });
    assert!(before > 0.5 && after < 0.1, "{before} {after}");
    // Conservative, as the pigeonhole bootstrap is.
    assert!(rate >= 0.92, "{rate}");
    assert!((plain as f64) < 0.7 * trials as f64, "{plain}");
}

#[test]
fn the_number_of_pairs_has_the_power_that_was_asked_for() {
    for d in [0.5, 0.9] {
        let n = pairs_needed(d, 0.05, 0.8).unwrap();
        let rate = share(1000, 36, |rng| {
            let x: Vec<f64> = (0..n).map(|_| d + normal(rng)).collect();
            sign_flip(&x, 399, rng.random()).unwrap().p_value <= 0.05
        });
        assert!((0.75..=0.86).contains(&rate), "{d} {n} {rate}");
    }
    // Relations of two kinds, by their permutation.
    let n = relations_needed(1.3, 0.05, 0.8).unwrap();
    let rate = share(1000, 37, |rng| {
        let a: Vec<f64> = (0..n).map(|_| 1.3 + normal(rng)).collect();
        let b: Vec<f64> = (0..n).map(|_| normal(rng)).collect();
        permute_kinds(&a, &b, 399, rng.random()).unwrap().p_value <= 0.05
    });
    assert!((0.75..=0.86).contains(&rate), "{n} {rate}");
}

#[test]
fn intraclass_correlation_covers_and_counts_pairs() {
    // Between 0.5, within 1: 1/3; relations of 2 to 9 pairs.
    let sizes: Vec<usize> = (0..20).map(|i| 2 + i * 5 % 8).collect();
    let (mut means, mut effective) = (Vec::new(), 0.0);
    let trials = 1500;
    covers(share(trials, 38, |rng| {
        let mut relation = |&n: &usize| {
            let centre = 0.5_f64.sqrt() * normal(rng);
            (0..n).map(|_| centre + normal(rng)).collect()
        };
        let relations: Vec<Vec<f64>> = sizes.iter().map(&mut relation).collect();
        let found = icc(&relations, LEVEL).unwrap();
        means.push(mean(&relations.concat()).unwrap());
        effective += found.effective_pairs / trials as f64;
        found.lower <= 1.0 / 3.0 && 1.0 / 3.0 <= found.upper
    }));
    // The mean of all pairs varies as that of so many independent ones.
    let independent = 1.5 / std_dev(&means).unwrap().powi(2);
    assert!(
        (effective / independent - 1.0).abs() < 0.12,
        "{effective} {independent}"
    );
}
