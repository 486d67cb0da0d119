//! Values compared with scipy and statsmodels (`fixtures/stats.py`).

use engram_stats::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    friedman: Vec<FriedmanCase>,
    wilcoxon: Vec<WilcoxonCase>,
    sign_flip: Vec<SignFlipCase>,
    kinds: Vec<KindsCase>,
    multiplicity: Vec<MultiplicityCase>,
    bootstrap: Vec<BootstrapCase>,
    ratio: RatioCase,
    two_sample: TwoSampleCase,
    proportion: Vec<ProportionCase>,
    effect: EffectCase,
    quantile: QuantileCase,
}

#[derive(Deserialize)]
struct FriedmanCase {
    rows: Vec<Vec<f64>>,
    chi_squared: f64,
    p: f64,
}

#[derive(Deserialize)]
struct WilcoxonCase {
    x: Vec<f64>,
    name: String,
    w_plus: f64,
    p: f64,
}

#[derive(Deserialize)]
struct SignFlipCase {
    x: Vec<f64>,
    mean: f64,
    p: f64,
}

#[derive(Deserialize)]
struct KindsCase {
    a: Vec<f64>,
    b: Vec<f64>,
    splits: usize,
    p: f64,
}

#[derive(Deserialize)]
struct MultiplicityCase {
    p: Vec<f64>,
    holm: Vec<f64>,
    bh: Vec<f64>,
}

#[derive(Deserialize)]
struct BootstrapCase {
    x: Vec<f64>,
    lower: f64,
    upper: f64,
    se: f64,
}

#[derive(Deserialize)]
struct RatioCase {
    num: Vec<f64>,
    den: Vec<f64>,
    lower: f64,
    upper: f64,
    se: f64,
}

#[derive(Deserialize)]
struct TwoSampleCase {
    a: Vec<f64>,
    b: Vec<f64>,
    lower: f64,
    upper: f64,
    se: f64,
}

#[derive(Deserialize)]
struct ProportionCase {
    successes: usize,
    n: usize,
    p0: f64,
    level: f64,
    p: f64,
    lower: f64,
    upper: f64,
}

#[derive(Deserialize)]
struct EffectCase {
    a: Vec<f64>,
    b: Vec<f64>,
    hedges_g: f64,
    cliffs_delta: f64,
    cohen_d_paired: f64,
}

#[derive(Deserialize)]
struct QuantileCase {
    x: Vec<f64>,
    at: Vec<f64>,
    quantiles: Vec<f64>,
    sd: f64,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../../../fixtures/stats.json")).unwrap()
}

/// Equal to nine digits, small numbers too.
#[track_caller]
fn same(found: f64, expected: f64) {
    let tolerance = 1e-9 * expected.abs().max(1e-300);
    assert!(
        (found - expected).abs() <= tolerance,
        "found {found:e}, expected {expected:e}"
    );
}

/// Ends that agree up to the noise of two bootstraps, of 100,000 resamples each:
/// 0.06 standard errors, where leaving out the acceleration shifts the skewed
/// cases by more.
#[track_caller]
fn close(found: Interval, lower: f64, upper: f64, se: f64) {
    assert_eq!(found.method, IntervalMethod::Bca);
    assert!((found.lower - lower).abs() < 0.06 * se, "{found:?} {lower}");
    assert!((found.upper - upper).abs() < 0.06 * se, "{found:?} {upper}");
}

#[test]
fn friedman_is_scipys() {
    for case in reference().friedman {
        let found = friedman(&case.rows).unwrap();
        same(found.chi_squared, case.chi_squared);
        same(found.p_value, case.p);
    }
}

#[test]
fn wilcoxon_is_scipys() {
    for case in reference().wilcoxon {
        let found = wilcoxon_signed_rank(&case.x).unwrap();
        let exact = case.name.starts_with("exact");
        assert_eq!(
            found.method == WilcoxonMethod::Exact,
            exact,
            "{}",
            case.name
        );
        assert_eq!(found.w_plus, case.w_plus, "{}", case.name);
        same(found.p_value, case.p);
    }
}

#[test]
fn sign_flip_is_scipys() {
    for case in reference().sign_flip {
        let found = sign_flip(&case.x, 1 << case.x.len(), 0).unwrap();
        assert!(found.exact);
        same(found.statistic, case.mean);
        same(found.p_value, case.p);
        // Sampled, it is near: four standard errors of the share.
        let sampled = sign_flip(&case.x, 200, 9).unwrap();
        assert!((sampled.p_value - case.p).abs() < 4.0 * (0.25_f64 / 200.0).sqrt());
    }
}

#[test]
fn permuted_kinds_are_those_enumerated() {
    for case in reference().kinds {
        let found = permute_kinds(&case.a, &case.b, 10_000, 0).unwrap();
        assert!(found.exact);
        assert_eq!(found.permutations, case.splits);
        same(found.p_value, case.p);
        let sampled = permute_kinds(&case.a, &case.b, 900, 9).unwrap();
        assert!(!sampled.exact);
        assert!((sampled.p_value - case.p).abs() < 4.0 * (0.25_f64 / 900.0).sqrt());
    }
}

#[test]
fn corrections_are_statsmodels() {
    for case in reference().multiplicity {
        let holm = holm(&case.p).unwrap();
        let bh = benjamini_hochberg(&case.p).unwrap();
        assert_eq!((holm.len(), bh.len()), (case.p.len(), case.p.len()));
        for i in 0..case.p.len() {
            same(holm[i], case.holm[i]);
            same(bh[i], case.bh[i]);
        }
    }
}

#[test]
fn bca_is_scipys() {
    let reference = reference();
    for case in reference.bootstrap {
        let found = bootstrap_mean(&case.x, 100_000, 0.95, 1).unwrap();
        close(found, case.lower, case.upper, case.se);
    }
    let case = reference.ratio;
    let ids: Vec<usize> = (0..case.num.len()).collect();
    let found = bootstrap_ratio_of_means(&case.num, &case.den, &ids, 100_000, 0.95, 2).unwrap();
    close(found, case.lower, case.upper, case.se);
}

#[test]
fn two_stage_with_single_pairs_is_scipys_two_samples() {
    let case = reference().two_sample;
    let relations = |x: Vec<f64>| x.into_iter().map(|v| vec![v]).collect::<Vec<_>>();
    let (a, b) = (relations(case.a), relations(case.b));
    let found = bootstrap_two_stage_difference(&a, &b, 100_000, 0.95, 3).unwrap();
    close(found, case.lower, case.upper, case.se);
}

#[test]
fn proportions_are_scipys_and_statsmodels() {
    for case in reference().proportion {
        let p = binomial_test_greater(case.successes, case.n, case.p0).unwrap();
        same(p, case.p);
        let found = proportion_interval(case.successes, case.n, case.level).unwrap();
        assert!((found.lower - case.lower).abs() < 1e-9);
        assert!((found.upper - case.upper).abs() < 1e-9);
    }
}

#[test]
fn effect_sizes_are_those_of_other_tests() {
    let case = reference().effect;
    same(hedges_g(&case.a, &case.b).unwrap(), case.hedges_g);
    same(cliffs_delta(&case.a, &case.b).unwrap(), case.cliffs_delta);
    same(cohen_d_paired(&case.a).unwrap(), case.cohen_d_paired);
}

#[test]
fn quantiles_are_numpys() {
    let case = reference().quantile;
    for (at, expected) in case.at.into_iter().zip(case.quantiles) {
        same(quantile(&case.x, at).unwrap(), expected);
    }
    same(std_dev(&case.x).unwrap(), case.sd);
}
