//! Kinds permuted with covariates: edge cases, and agreement with other tests.

use engram_stats::*;

const A: [f64; 7] = [1.0, 4.0, 2.5, 6.0, 3.5, 5.0, 2.0];
const B: [f64; 6] = [0.5, 1.5, 3.0, 2.0, 0.0, 1.0];

#[test]
fn without_covariates_it_is_the_test_of_permuted_kinds() {
    let y = [A.as_slice(), &B].concat();
    let first_kind: Vec<bool> = (0..13).map(|i| i < 7).collect();
    let relations: Vec<usize> = (0..13).collect();
    let pairs = KindPairs {
        y: &y,
        first_kind: &first_kind,
        relations: &relations,
        covariates: &[],
    };
    let found = permute_kinds_adjusted(pairs, 20_000, 0.95, 3).unwrap();
    let exact = permute_kinds(&A, &B, 2000, 0).unwrap();
    assert!(exact.exact);
    assert!((found.difference - exact.statistic).abs() < 1e-12);
    assert!((found.relations.estimate - exact.statistic).abs() < 1e-12);
    assert!((found.pairs.estimate - exact.statistic).abs() < 1e-12);
    let error = (exact.p_value * (1.0 - exact.p_value) / 20_000.0).sqrt();
    assert!((found.test.p_value - exact.p_value).abs() < 4.0 * error + 1e-4);
    assert_eq!(found.counts, [7, 6]);
}

#[test]
fn names_of_relations_and_doubled_pairs_change_nothing_among_relations() {
    let y = [A.as_slice(), &B].concat();
    let gap: Vec<f64> = (0..13).map(|i| f64::from(i * 5 % 7)).collect();
    let twice = |x: &[f64]| [x, x].concat();
    let first_kind: Vec<bool> = (0..26).map(|i| i % 13 < 7).collect();
    let run = |y: &[f64], gap: Vec<f64>, relations: &[usize]| {
        let pairs = KindPairs {
            y,
            first_kind: &first_kind[..y.len()],
            relations,
            covariates: &[DesignColumn::new("gap", gap)],
        };
        permute_kinds_adjusted(pairs, 500, 0.9, 1).unwrap()
    };
    let ids: Vec<usize> = (0..13).collect();
    let names: Vec<usize> = (0..26).map(|i| 90 - i % 13).collect();
    let plain = run(&y, gap.clone(), &ids);
    let doubled = run(&twice(&y), twice(&gap), &names);
    assert_eq!(plain.test, doubled.test);
    assert_eq!(plain.relations, doubled.relations);
    assert!((plain.pairs.estimate - doubled.pairs.estimate).abs() < 1e-12);
}

#[test]
fn bad_input_is_named() {
    let y = [A.as_slice(), &B].concat();
    let mut first_kind: Vec<bool> = (0..13).map(|i| i < 7).collect();
    let mut relations: Vec<usize> = (0..13).collect();
    let run = |first_kind: &[bool], relations: &[usize], covariates: &[DesignColumn]| {
        let pairs = KindPairs {
            y: &y,
            first_kind,
            relations,
            covariates,
        };
        permute_kinds_adjusted(pairs, 9, 0.95, 0)
    };
    let flat = [DesignColumn::new("flat", vec![2.0; 13])];
    assert!(matches!(
        run(&first_kind, &relations, &flat),
        Err(StatsError::Collinear { column }) if column == "flat"
    ));
    let same = first_kind.iter().map(|&f| 3.0 - f64::from(u8::from(f)));
    let same = [DesignColumn::new("same", same.collect())];
    assert!(matches!(
        run(&first_kind, &relations, &same),
        Err(StatsError::Collinear { column }) if column == KIND
    ));
    relations[12] = 0;
    assert_eq!(
        run(&first_kind, &relations, &[]),
        Err(StatsError::SharedCluster { cluster: 0 })
    );
    first_kind[12] = true;
    assert!(matches!(
        run(&first_kind, &relations, &[]),
        Err(StatsError::TooFewRelations {
            found_a: 7,
            found_b: 5,
            ..
        })
    ));
}
