//! Findings on rows whose figures are worked out by hand, and rows that are refused.

mod common;

use common::{of, quick};
use engram_core::{Corruption, Direction, Metric, Pair, Row, RowAlign, Site};
use engram_findings::{Condition, FindingsError, Scope, StudyResults, findings};

/// Four pairs in two clusters, two layers of `mlp_out` and a residual stream that algebra fixes.
fn by_hand() -> (Vec<Pair>, Condition) {
    let suite: Vec<Pair> = (0..4)
        .map(|i| Pair {
            id: format!("p{i}"),
            kind: "definitional".into(),
            cluster: Some(format!("c{}", i / 2)),
            ..Pair::default()
        })
        .collect();
    let metric = [(2.0, -1.0), (1.0, -3.0), (0.5, -0.5), (0.1, -0.1)];
    let patched = [[0.5, 1.0], [-1.0, -2.0], [0.0, -0.5], [0.0, 0.0]];
    let mut condition = Condition {
        name: "base".into(),
        ..Condition::default()
    };
    for ((pair, (clean, corrupt)), patched) in suite.iter().zip(metric).zip(patched) {
        let eligible = clean - corrupt >= 0.5;
        for layer in 0..2 {
            for direction in [Direction::Denoise, Direction::Noise] {
                let patched = patched[layer as usize];
                let gain = if direction == Direction::Noise {
                    clean - patched
                } else {
                    patched - corrupt
                };
                let row = Row {
                    pair: pair.id.clone(),
                    kind: pair.kind.clone(),
                    name: format!("mlp_out.{layer}"),
                    site: Site::MlpOut,
                    layer: Some(layer),
                    direction,
                    corruption: Corruption::Swap,
                    align: RowAlign::Strict,
                    metric: Metric::LogitDiff,
                    clean,
                    corrupt,
                    patched,
                    recovery: eligible.then(|| gain / (clean - corrupt)),
                    ..Row::default()
                };
                condition.rows.push(Row {
                    name: format!("resid_post.{layer}"),
                    site: Site::ResidPost,
                    patched: clean,
                    recovery: eligible.then_some(1.0),
                    trivial: true,
                    trivial_why: Some("the whole residual stream".into()),
                    ..row.clone()
                });
                condition.rows.push(row);
            }
        }
    }
    (suite, condition)
}

#[test]
fn profiles_by_hand() {
    let (suite, condition) = by_hand();
    let found = of(&suite, &[condition], quick());
    let condition = &found.conditions[0];
    let all = condition.gate.kind(None).unwrap();
    assert_eq!((all.pairs, all.eligible, all.used), (4, 3, 3));
    let profile = |direction: Direction| {
        let wanted = |p: &&engram_findings::profile::LayerProfile| {
            p.measure.site == Site::MlpOut && p.measure.direction == direction
        };
        condition.profiles.iter().find(wanted).unwrap()
    };
    let denoise = &profile(Direction::Denoise).layers[0];
    assert_eq!(denoise.n, 3);
    // Gains 1.5, 2, 0.5 over gaps 3, 4, 1.
    assert!((denoise.headline.unwrap() - 4.0 / 8.0).abs() < 1e-15);
    assert!((denoise.mean.unwrap() - (0.5 + 0.5 + 0.5) / 3.0).abs() < 1e-15);
    let denoise = &profile(Direction::Denoise).layers[1];
    // Gains 2, 1, 0.
    assert!((denoise.headline.unwrap() - 3.0 / 8.0).abs() < 1e-15);
    assert!((denoise.mean.unwrap() - (2.0 / 3.0 + 0.25) / 3.0).abs() < 1e-15);
    let noise = &profile(Direction::Noise).layers[1];
    // Clean less patched: 1, 3, 1.
    assert!((noise.headline.unwrap() - 5.0 / 8.0).abs() < 1e-15);
    assert_eq!(
        condition
            .profiles
            .iter()
            .filter(|p| p.measure.scope == Scope::All)
            .count(),
        4
    );
}

#[test]
fn trivial_layers_enter_no_test() {
    let (suite, condition) = by_hand();
    let found = of(&suite, &[condition], quick());
    let condition = &found.conditions[0];
    let residual = condition
        .profiles
        .iter()
        .find(|p| p.measure.site == Site::ResidPost)
        .unwrap();
    for point in &residual.layers {
        assert!(point.trivial);
        assert_eq!(point.mean, Some(1.0));
        assert_eq!(
            point.trivial_why.as_deref(),
            Some("the whole residual stream")
        );
    }
    let tests = condition
        .layer_tests
        .iter()
        .find(|t| t.measure.site == Site::ResidPost)
        .unwrap();
    assert!(tests.friedman.is_none() && tests.layers.is_empty());
    assert_eq!(
        tests.note.as_deref(),
        Some("every layer is trivial: nothing to test")
    );
}

#[test]
fn bad_rows_are_named() {
    let (suite, condition) = by_hand();
    let error = |change: &dyn Fn(&mut Condition)| {
        let mut condition = condition.clone();
        change(&mut condition);
        let study = StudyResults {
            suite: &suite,
            published: None,
            confounds: &[],
            conditions: &[condition],
            edits: &[],
            settings: quick(),
        };
        findings(&study).unwrap_err()
    };
    let nan = error(&|c| c.rows[1].recovery = Some(f64::NAN)).to_string();
    assert_eq!(
        nan,
        "base: pair \"p0\", site mlp_out.0, metric logit_diff: recovery is NaN, expected a finite number"
    );
    let infinite = error(&|c| c.rows[3].patched = f64::INFINITY).to_string();
    assert!(infinite.contains("patched is inf"), "{infinite}");
    assert!(matches!(
        error(&|c| c.rows[0].pair = "p9".into()),
        FindingsError::UnknownPair { .. }
    ));
    assert!(matches!(
        error(&|c| c.rows.push(c.rows[0].clone())),
        FindingsError::DuplicateRow { .. }
    ));
    assert!(matches!(
        error(&|c| c.rows.iter_mut().for_each(|r| r.metric = Metric::Prob)),
        FindingsError::NoLogitDifference { .. }
    ));
}
