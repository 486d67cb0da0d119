//! Regressions, layers, matching, power and intraclass correlation, compared with statsmodels, scipy and enumerations
//! (`fixtures/stats_models.py`).

use engram_stats::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    regression: Vec<RegressionCase>,
    adjusted_kind: AdjustedKindCase,
    max_t_sign: MaxTSignCase,
    max_t_kinds: MaxTKindsCase,
    matching: MatchingCase,
    power: Vec<PowerCase>,
    icc: IccCase,
}

#[derive(Deserialize)]
struct RegressionCase {
    y: Vec<f64>,
    columns: Vec<Vec<f64>>,
    clusters: Vec<usize>,
    classical: TermsCase,
    clustered: TermsCase,
    reduced: f64,
    wald_f: f64,
    wald_p: f64,
    gain: [f64; 3],
}

#[derive(Deserialize)]
struct TermsCase {
    estimate: Vec<f64>,
    std_error: Vec<f64>,
    p: Vec<f64>,
    lower: Vec<f64>,
    upper: Vec<f64>,
    r_squared: f64,
    adjusted_r_squared: f64,
    residual_sd: f64,
}

#[derive(Deserialize)]
struct AdjustedKindCase {
    y: Vec<f64>,
    first_kind: Vec<bool>,
    relations: Vec<usize>,
    gap: Vec<f64>,
    difference: f64,
    over_relations: [f64; 5],
    over_pairs: [f64; 5],
    t: f64,
    p: f64,
}

#[derive(Deserialize)]
struct StepDownCase {
    p: Vec<f64>,
    adjusted: Vec<f64>,
}

#[derive(Deserialize)]
struct MaxTSignCase {
    rows: Vec<Vec<f64>>,
    t: Vec<f64>,
    by_t: StepDownCase,
    by_mean: StepDownCase,
}

#[derive(Deserialize)]
struct MaxTKindsCase {
    a: Vec<Vec<f64>>,
    b: Vec<Vec<f64>>,
    t: Vec<f64>,
    by_t: StepDownCase,
    by_mean: StepDownCase,
}

#[derive(Deserialize)]
struct MatchingCase {
    a: Vec<f64>,
    b: Vec<f64>,
    caliper_sd: f64,
    pairs: Vec<(usize, usize)>,
    before: f64,
    after: f64,
}

#[derive(Deserialize)]
struct PowerCase {
    d: f64,
    n: usize,
    alpha: f64,
    paired: f64,
    groups: f64,
    pairs_needed: usize,
    relations_needed: usize,
    smallest: f64,
}

#[derive(Deserialize)]
struct IccCase {
    relations: Vec<Vec<f64>>,
    f: f64,
    p: f64,
    icc: f64,
    effective: f64,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../../../fixtures/stats_models.json")).unwrap()
}

#[track_caller]
fn near(found: f64, expected: f64, digits: f64) {
    assert!(
        (found - expected).abs() <= digits * expected.abs(),
        "found {found:e}, expected {expected:e}"
    );
}

#[track_caller]
fn same(found: f64, expected: f64) {
    near(found, expected, 1e-8);
}

#[track_caller]
fn same_terms(found: &Regression, expected: &TermsCase) {
    assert_eq!(found.terms.len(), expected.estimate.len());
    for (i, term) in found.terms.iter().enumerate() {
        same(term.estimate, expected.estimate[i]);
        same(term.std_error, expected.std_error[i]);
        same(term.p_value, expected.p[i]);
        same(term.lower, expected.lower[i]);
        same(term.upper, expected.upper[i]);
    }
    same(found.r_squared, expected.r_squared);
    same(found.adjusted_r_squared, expected.adjusted_r_squared);
    same(found.residual_sd, expected.residual_sd);
}

#[test]
fn regressions_are_statsmodels() {
    for case in reference().regression {
        let names =
            |(i, values): (usize, &Vec<f64>)| DesignColumn::new(format!("x{i}"), values.clone());
        let columns: Vec<DesignColumn> = case.columns.iter().enumerate().map(names).collect();
        let classical = ols(&case.y, &columns, Errors::Classical, 0.95).unwrap();
        same_terms(&classical, &case.classical);
        let errors = Errors::Clustered(&case.clusters);
        let clustered = ols(&case.y, &columns, errors, 0.95).unwrap();
        same_terms(&clustered, &case.clustered);

        let how = Resampling::bca(20_000, 0.95, 3);
        let (reduced, added) = columns.split_at(1);
        let found = r_squared_gain(&case.y, reduced, added, &case.clusters, how).unwrap();
        same(found.reduced, case.reduced);
        same(found.full, case.clustered.r_squared);
        same(found.f, case.wald_f);
        same(found.p_value, case.wald_p);
        let [lower, upper, se] = case.gain;
        assert!((found.gain.lower - lower).abs() < 0.12 * se, "{found:?}");
        assert!((found.gain.upper - upper).abs() < 0.12 * se, "{found:?}");
    }
}

#[test]
fn adjusted_kinds_are_freedman_and_lanes() {
    let case = reference().adjusted_kind;
    let covariates = [DesignColumn::new("gap", case.gap)];
    let pairs = KindPairs {
        y: &case.y,
        first_kind: &case.first_kind,
        relations: &case.relations,
        covariates: &covariates,
    };
    let found = permute_kinds_adjusted(pairs, 50_000, 0.95, 1).unwrap();
    same(found.difference, case.difference);
    for (term, expected) in [
        (&found.relations, case.over_relations),
        (&found.pairs, case.over_pairs),
    ] {
        assert_eq!(term.name, KIND);
        same(term.estimate, expected[0]);
        same(term.std_error, expected[1]);
        same(term.p_value, expected[2]);
        same(term.lower, expected[3]);
        same(term.upper, expected[4]);
    }
    same(found.test.statistic, case.t);
    // Both p are sampled: four standard errors of their difference.
    let error = (case.p * (1.0 - case.p) * 1.5 / 50_000.0).sqrt();
    assert!((found.test.p_value - case.p).abs() < 4.0 * error);
}

#[track_caller]
fn same_step_down(found: &MaxT, expected: &StepDownCase) {
    assert!(found.exact);
    for layer in 0..expected.p.len() {
        same(found.p_value[layer], expected.p[layer]);
        same(found.adjusted[layer], expected.adjusted[layer]);
    }
}

#[test]
fn max_t_is_the_algorithm_over_every_arrangement() {
    let case = reference().max_t_sign;
    let run = |statistic| max_t_sign_flip(&case.rows, statistic, 1 << 10, 0).unwrap();
    let by_t = run(LayerStatistic::T);
    same_step_down(&by_t, &case.by_t);
    same_step_down(&run(LayerStatistic::Mean), &case.by_mean);
    by_t.statistic
        .iter()
        .zip(&case.t)
        .for_each(|(t, e)| same(*t, *e));

    let case = reference().max_t_kinds;
    let run = |statistic| max_t_kinds(&case.a, &case.b, statistic, 2000, 0).unwrap();
    let by_t = run(LayerStatistic::T);
    same_step_down(&by_t, &case.by_t);
    same_step_down(&run(LayerStatistic::Mean), &case.by_mean);
    by_t.statistic
        .iter()
        .zip(&case.t)
        .for_each(|(t, e)| same(*t, *e));
    // Sampled, it is near.
    let sampled = max_t_kinds(&case.a, &case.b, LayerStatistic::T, 1500, 7).unwrap();
    for (p, expected) in sampled.adjusted.iter().zip(&case.by_t.adjusted) {
        assert!((p - expected).abs() < 4.0 * (0.25_f64 / 1500.0).sqrt());
    }
}

#[test]
fn matches_are_the_smallest_distances() {
    let case = reference().matching;
    let found = match_nearest(&case.a, &case.b, case.caliper_sd).unwrap();
    assert_eq!(found.pairs, case.pairs);
    same(found.smd_before, case.before);
    assert!((found.smd_after - case.after).abs() < 1e-12);
    assert!(found.smd_after.abs() < found.smd_before.abs());
}

#[test]
fn power_is_statsmodels() {
    for case in reference().power {
        let PowerCase { d, n, alpha, .. } = case;
        near(power_paired(d, n, alpha).unwrap(), case.paired, 1e-7);
        let groups = power_two_groups(d, n, 2 * n, alpha).unwrap();
        near(groups, case.groups, 1e-7);
        assert_eq!(pairs_needed(d, alpha, 0.8), Ok(case.pairs_needed));
        assert_eq!(relations_needed(d, alpha, 0.8), Ok(case.relations_needed));
        let smallest = smallest_effect_paired(n, alpha, 0.8).unwrap();
        near(smallest, case.smallest, 1e-7);
    }
}

#[test]
fn intraclass_correlation_is_the_mixed_models() {
    let case = reference().icc;
    let found = icc(&case.relations, 0.95).unwrap();
    same(found.f, case.f);
    same(found.p_value, case.p);
    // The mixed model is optimised, up to its own tolerance.
    near(found.icc, case.icc, 1e-3);
    near(found.effective_pairs, case.effective, 1e-3);
}
