//! Errors of regressions, with their reasons.

use engram_stats::*;

fn x() -> Vec<f64> {
    (0..12).map(|i| f64::from(i * 5 % 12)).collect()
}

fn y() -> Vec<f64> {
    (0..12).map(|i| f64::from(i * i % 7)).collect()
}

fn column(name: &str, values: Vec<f64>) -> DesignColumn {
    DesignColumn::new(name, values)
}

#[track_caller]
fn refused(columns: &[DesignColumn], expected: &str) {
    let found = ols(&y(), columns, Errors::Classical, 0.95).unwrap_err();
    assert_eq!(found.to_string(), expected);
}

#[test]
fn a_line_is_found() {
    let noise: Vec<f64> = (0..12).map(|i| f64::from(i % 2 * 2 - 1)).collect();
    let y: Vec<f64> = x()
        .iter()
        .zip(&noise)
        .map(|(x, e)| 3.0 - 2.0 * x + e)
        .collect();
    let columns = [column("x", x()), column("e", noise)];
    let without = ols(&y, &columns[..1], Errors::Classical, 0.95).unwrap();
    assert_eq!(without.terms[0].name, INTERCEPT);
    assert!((without.terms[1].estimate + 2.0).abs() < 0.2);
    assert_eq!((without.n, without.df, without.clusters), (12, 10, None));
    assert_eq!(
        ols(&y, &columns, Errors::Classical, 0.95),
        Err(StatsError::NoVariation {
            what: "residuals of the regression"
        })
    );
}

#[test]
fn a_column_without_news_is_named() {
    let constant =
        "column flat: constant, or a linear combination of the columns before it; leave it out";
    refused(&[column("flat", vec![0.1; 12])], constant);
    let twice = x().iter().map(|v| 0.1 - 3.0 * v).collect();
    refused(
        &[column("x", x()), column("twice", twice)],
        "column twice: constant, or a linear combination of the columns before it; leave it out",
    );
    // All levels, the reference too, add up to the intercept.
    let kinds = ["a", "b", "c"].repeat(4);
    let mut columns = dummies("kind", &kinds, "a").unwrap();
    assert!(ols(&y(), &columns, Errors::Classical, 0.95).is_ok());
    columns.extend(dummies("kind", &kinds, "b").unwrap());
    refused(
        &columns,
        "column kind=a: constant, or a linear combination of the columns before it; leave it out",
    );
}

#[test]
fn bad_values_are_named() {
    let mut bad = x();
    bad[3] = f64::INFINITY;
    refused(
        &[column("gap", bad)],
        "column gap: value 3 is inf, expected a finite number",
    );
    refused(
        &[column("gap", vec![1.0; 5])],
        "column gap: expected 12 values, found 5",
    );
    let many: Vec<DesignColumn> = (0..12).map(|i| column(&format!("x{i}"), x())).collect();
    refused(
        &many,
        "observations of the regression: needs at least 14, found 12",
    );
    let huge: Vec<f64> = x().iter().map(|v| v * 1e200).collect();
    assert!(ols(&huge, &[column("x", x())], Errors::Classical, 0.95).is_err());
    assert!(ols(&y(), &[column("x", huge)], Errors::Classical, 0.95).is_err());
    let tiny: Vec<f64> = x().iter().map(|v| v * 1e-200).collect();
    assert!(ols(&y(), &[column("x", tiny)], Errors::Classical, 0.95).is_err());
    assert!(ols(&y(), &[column("x", x())], Errors::Classical, 1.0).is_err());
}

#[test]
fn clusters_that_say_nothing_are_refused() {
    let columns = [column("x", x())];
    let run =
        |columns: &[DesignColumn], ids: &[usize]| ols(&y(), columns, Errors::Clustered(ids), 0.95);
    assert!(matches!(
        run(&columns, &[4; 12]),
        Err(StatsError::TooFew {
            what: "clusters",
            found: 1,
            ..
        })
    ));
    assert!(matches!(
        run(&columns, &[0, 1, 2]),
        Err(StatsError::Length { found: 3, .. })
    ));
    // The column is one cluster's: its residuals sum to zero there.
    let ids: Vec<usize> = (0..12).map(|i| i / 3).collect();
    let own: Vec<f64> = ids.iter().map(|&id| f64::from(u8::from(id == 2))).collect();
    assert_eq!(
        run(&[column("own", own)], &ids),
        Err(StatsError::OneCluster {
            column: "own".to_owned()
        })
    );
    // Each observation its own cluster: White's errors, times N / (N − K).
    let alone: Vec<usize> = (0..12).rev().collect();
    assert_eq!(run(&columns, &alone).unwrap().clusters, Some(12));
}
