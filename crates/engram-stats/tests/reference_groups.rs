//! Two groups, clusters and intervals, compared with scipy (`fixtures/stats.py`).

use engram_stats::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    pratt: Vec<PrattCase>,
    mann_whitney: Vec<MannWhitneyCase>,
    cluster_permutation: ClusterPermutationCase,
    percentile: PercentileCase,
    cluster_bootstrap: ClusterBootstrapCase,
    effect_interval: EffectIntervalCase,
}

#[derive(Deserialize)]
struct PrattCase {
    x: Vec<f64>,
    exact: bool,
    p: f64,
}

#[derive(Deserialize)]
struct MannWhitneyCase {
    a: Vec<f64>,
    b: Vec<f64>,
    exact: bool,
    u: f64,
    p: f64,
}

#[derive(Deserialize)]
struct ClusterPermutationCase {
    a: Vec<Vec<f64>>,
    b: Vec<Vec<f64>>,
    difference: f64,
    splits: usize,
    p: f64,
}

#[derive(Deserialize)]
struct PercentileCase {
    x: Vec<f64>,
    #[serde(flatten)]
    ends: EndsCase,
}

#[derive(Deserialize)]
struct ClusterBootstrapCase {
    clusters: Vec<Vec<f64>>,
    #[serde(flatten)]
    ends: EndsCase,
}

#[derive(Deserialize)]
struct EffectIntervalCase {
    a: Vec<f64>,
    b: Vec<f64>,
    cohen_d: EndsCase,
    cliffs_delta: EndsCase,
}

#[derive(Deserialize)]
struct EndsCase {
    lower: f64,
    upper: f64,
    se: f64,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../../../fixtures/stats.json")).unwrap()
}

#[track_caller]
fn same(found: f64, expected: f64) {
    let tolerance = 1e-9 * expected.abs().max(1e-300);
    assert!(
        (found - expected).abs() <= tolerance,
        "found {found:e}, expected {expected:e}"
    );
}

/// Ends that agree up to the noise of two bootstraps, in standard errors.
#[track_caller]
fn close(found: Interval, expected: &EndsCase, errors: f64) {
    let allowed = errors * expected.se;
    assert!((found.lower - expected.lower).abs() < allowed, "{found:?}");
    assert!((found.upper - expected.upper).abs() < allowed, "{found:?}");
}

#[test]
fn pratts_zeros_are_scipys() {
    for case in reference().pratt {
        let found = wilcoxon_signed_rank_with(&case.x, ZeroMethod::Pratt).unwrap();
        assert_eq!(found.method == WilcoxonMethod::Exact, case.exact);
        same(found.p_value, case.p);
    }
}

#[test]
fn mann_whitney_is_scipys() {
    for case in reference().mann_whitney {
        let found = mann_whitney(&case.a, &case.b).unwrap();
        assert_eq!(found.u, case.u);
        assert_eq!(found.cliffs_delta, cliffs_delta(&case.a, &case.b).unwrap());
        assert_eq!(found.method == WilcoxonMethod::Exact, case.exact);
        same(found.p_value, case.p);
    }
}

#[test]
fn relabelled_clusters_are_those_enumerated() {
    let case = reference().cluster_permutation;
    let found = permute_clusters(&case.a, &case.b, case.splits, 0).unwrap();
    assert!(found.exact);
    assert_eq!(found.permutations, case.splits);
    same(found.statistic, case.difference);
    same(found.p_value, case.p);
    let sampled = permute_clusters(&case.a, &case.b, case.splits - 1, 4).unwrap();
    assert!((sampled.p_value - case.p).abs() < 4.0 * (0.25 / case.splits as f64).sqrt());
}

#[test]
fn percentiles_are_scipys() {
    let case = reference().percentile;
    let found = mean_interval(&case.x, Resampling::percentile(100_000, 0.95, 1)).unwrap();
    assert_eq!(found.method, IntervalMethod::Percentile);
    close(found, &case.ends, 0.04);
}

#[test]
fn clusters_resampled_are_scipys() {
    let case = reference().cluster_bootstrap;
    let clusters = case.clusters.iter().enumerate();
    let values: Vec<(usize, f64)> = clusters
        .flat_map(|(id, values)| values.iter().map(move |&v| (id, v)))
        .collect();
    let found = bootstrap_cluster_mean(&values, 100_000, 0.95, 1).unwrap();
    assert_eq!(found.method, IntervalMethod::Bca);
    close(found, &case.ends, 0.06);
}

#[test]
fn intervals_of_effect_sizes_are_scipys() {
    let case = reference().effect_interval;
    let how = Resampling::bca(20_000, 0.95, 1);
    let d = cohen_d_paired_interval(&case.a, how).unwrap();
    close(d, &case.cohen_d, 0.1);
    let delta = cliffs_delta_interval(&case.a, &case.b, how).unwrap();
    close(delta, &case.cliffs_delta, 0.12);
}
