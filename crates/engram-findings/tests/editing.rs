//! Findings of edits on results whose answer is known.

use engram_core::{
    Corruption, Direction, EditRow, FactChange, LanguageEffect, Metric, Pair, Row, Score, Site,
    WinRate,
};
use engram_findings::editing::recovery::join;
use engram_findings::editing::simulate::EditSimulation;
use engram_findings::simulate::Simulation;
use engram_findings::{Condition, EditFindings, EditResults, Settings, StudyResults, editing};

fn quick() -> Settings {
    Settings {
        resamples: 200,
        permutations: 2000,
        ..Settings::default()
    }
}

fn of(suite: &[Pair], conditions: &[Condition], results: EditResults) -> EditFindings {
    let study = StudyResults {
        suite,
        published: None,
        confounds: &[],
        conditions,
        edits: &[results],
        settings: quick(),
    };
    editing(&study).unwrap().remove(0)
}

fn simulated(edits: EditSimulation) -> EditFindings {
    let simulation = Simulation {
        layers: 6,
        pairs: 4,
        relation_spread: 0.2,
        seed: edits.seed,
        ..Simulation::default()
    };
    let (suite, condition) = (simulation.suite(), simulation.condition("config-1"));
    let results = edits.results(&suite, &condition);
    of(&suite, &[condition], results)
}

#[test]
fn a_planted_layer_is_recommended_and_a_null_is_not() {
    let found = simulated(EditSimulation {
        layer_effect: 0.8,
        ..EditSimulation::default()
    });
    let kinds = [None, Some("definitional"), Some("associative")];
    assert_eq!(found.best.len(), kinds.len());
    for kind in kinds {
        let best = found.best_of(kind).unwrap();
        assert_eq!(best.recommended.as_deref(), Some(&[2][..]), "{best:?}");
        assert!(best.sentence.starts_with("Edit ") && best.sentence.contains("layer 2 with rome"));
        let scores = found.scores_of(&[2], kind).unwrap();
        let share = scores.efficacy.unwrap().share;
        assert!(share.before == 0.0 && share.after > 0.9);
        assert!(share.interval.unwrap().lower > 0.5);
        assert_eq!(scores.harmonic.after, best.harmonic);
    }
    assert_eq!(found.best[0].facts, 64);
    assert!(found.conclusions[0].contains("Edit definitional facts at layer 2"));

    for seed in 0..4 {
        let null = simulated(EditSimulation {
            seed,
            ..EditSimulation::default()
        });
        for best in &null.best {
            assert_eq!(best.recommended, None, "{best:?}");
            assert!(!best.not_told_apart.is_empty());
            let sentence = &best.sentence;
            let told = sentence.contains("not shown to be worse")
                || sentence.contains("not shown to be above");
            assert!(told, "{sentence}");
        }
    }
}

#[test]
fn kinds_differ_where_that_is_planted_only() {
    let verdicts = |kind_effect| {
        let found = simulated(EditSimulation {
            kind_effect,
            ..EditSimulation::default()
        });
        let tests = found.kind_tests;
        assert_eq!(
            tests.iter().map(|t| t.score.as_str()).collect::<Vec<_>>(),
            ["efficacy", "paraphrase", "neighbourhood", "S"]
        );
        assert!(tests.iter().all(|t| t.layers.len() == 6));
        tests.into_iter().map(|t| t.verdict).collect::<Vec<_>>()
    };
    let planted = verdicts(0.6);
    assert!(planted[0].starts_with("After edits of definitional facts efficacy is greater"));
    assert!(planted[2].starts_with("No difference"), "{planted:?}");
    assert!(verdicts(0.0).iter().all(|v| v.starts_with("No difference")));
}

#[test]
fn too_few_relations_give_no_verdict() {
    let simulation = Simulation {
        relations: 5,
        ..Simulation::default()
    };
    let (suite, condition) = (simulation.suite(), simulation.condition("base"));
    let results = EditSimulation::default().results(&suite, &condition);
    let found = of(&suite, &[condition], results);
    for test in &found.kind_tests {
        assert!(test.layers.is_empty());
        assert!(
            test.verdict
                .contains("fewer than 6 of a kind cannot tell kinds apart")
        );
    }
}

#[test]
fn recovery_helps_where_that_is_planted_only() {
    let of = |recovery_effect| {
        simulated(EditSimulation {
            recovery_effect,
            spread: 0.1,
            ..EditSimulation::default()
        })
        .recovery
        .unwrap()
    };
    let planted = of(1.0);
    assert!(
        planted.sentence.starts_with("Recovery helps"),
        "{}",
        planted.sentence
    );
    // Pairs that the model does not tell apart have no recovery.
    assert!(planted.joined.len() > 6 * 50 && planted.joined.len() <= 6 * 64);
    assert_eq!(planted.helps[0].added, "layer");
    let rho = &planted.correlations[0];
    assert!(rho.mean > 0.3 && rho.interval.unwrap().lower > 0.0);
    let null = of(0.0);
    assert!(
        null.sentence.starts_with("Recovery is not shown"),
        "{}",
        null.sentence
    );
}

#[test]
fn rows_join_at_the_subjects_last_token() {
    let edit = |layer: usize| EditRow {
        request: "a".to_owned(),
        layers: vec![layer],
        position: 3,
        after: score(0.5, 0.5),
        ..EditRow::default()
    };
    let row = |layer: i64, position: Option<i64>, recovery: f64| Row {
        pair: "a".to_owned(),
        site: Site::MlpOut,
        metric: Metric::LogitDiff,
        direction: Direction::Denoise,
        corruption: Corruption::Swap,
        layer: Some(layer),
        position,
        recovery: Some(recovery),
        ..sample_row()
    };
    let gaussian = Row {
        corruption: Corruption::Gaussian(3.0),
        ..row(0, Some(3), 0.9)
    };
    let sweep = [
        gaussian,
        row(0, Some(3), 0.3),
        row(0, Some(2), 0.7),
        row(0, None, 0.8),
        row(1, None, 0.4),
        row(2, Some(2), 0.6),
    ];
    let joined = join(&[edit(0), edit(1), edit(2)], &sweep);
    let found: Vec<(usize, f64)> = joined.iter().map(|j| (j.layer, j.recovery)).collect();
    assert_eq!(found, [(0, 0.3), (1, 0.4)]);
}

#[test]
fn the_means_are_those_of_the_rows() {
    let rows = [("a", 1.0, 0.2), ("b", 0.0, -0.4)].map(|(fact, share, magnitude)| EditRow {
        request: fact.to_owned(),
        layers: vec![1],
        before: score(0.0, -0.5),
        after: score(share, magnitude),
        ..EditRow::default()
    });
    let moved = |request: &str, fact: &str, change: f64, lost: bool| FactChange {
        request: request.to_owned(),
        fact: fact.to_owned(),
        layers: vec![1],
        change,
        lost,
    };
    let aside = |request: &str, after: f64| LanguageEffect {
        request: request.to_owned(),
        layers: vec![1],
        perplexity: Some([10.0, after]),
        ..LanguageEffect::default()
    };
    let found = of(
        &[],
        &[],
        EditResults {
            name: "x".to_owned(),
            model: "base".to_owned(),
            rows: rows.to_vec(),
            moved: vec![moved("a", "b", -0.2504, true), moved("b", "a", 0.5, false)],
            asides: vec![aside("a", 11.0), aside("b", 13.0)],
            ..EditResults::default()
        },
    );
    let scores = &found.scores[0];
    let efficacy = scores.efficacy.unwrap();
    assert_eq!((efficacy.share.after, efficacy.share.facts), (0.5, 2));
    assert!((efficacy.magnitude.after + 0.1).abs() < 1e-12);
    assert_eq!(scores.harmonic.after, 0.5);
    assert_eq!(scores.perplexity.unwrap().after, 12.0);
    assert_eq!(scores.lost.unwrap().value, 0.5);
    assert_eq!((scores.fluency, scores.paraphrase), (None, None));
    let effects = found.side_effects.unwrap();
    assert_eq!(effects.change, [[None, Some(-0.25)], [Some(0.5), None]]);
    assert_eq!(effects.lost, [[0, 1]]);
    assert!(found.best[0].sentence.contains("not shown to be above 50%"));
    // Two facts edited at one layer say nothing of kinds or recovery.
    assert!(found.kind_tests.is_empty() && found.recovery.is_none());
}

#[test]
fn what_is_wrong_is_named() {
    let row = |magnitude: f64| EditRow {
        request: "a".to_owned(),
        layers: vec![1],
        after: score(1.0, magnitude),
        ..EditRow::default()
    };
    let error = |rows: Vec<EditRow>| {
        let results = EditResults {
            name: "each".to_owned(),
            model: "base".to_owned(),
            rows,
            ..EditResults::default()
        };
        let study = StudyResults {
            suite: &[],
            published: None,
            confounds: &[],
            conditions: &[],
            edits: &[results],
            settings: quick(),
        };
        editing(&study).unwrap_err().to_string()
    };
    assert!(
        error(vec![row(f64::NAN)])
            .contains("edit each of base: pair \"a\", layers [1]: magnitude is NaN")
    );
    assert!(error(vec![row(0.1), row(0.1)]).contains("two rows for layers [1]"));
}

fn score(share: f64, magnitude: f64) -> Score {
    Score {
        efficacy: Some(WinRate {
            score: share,
            magnitude,
            ..WinRate::default()
        }),
        ..Score::default()
    }
}

fn sample_row() -> Row {
    let condition = Simulation::default().condition("base");
    condition.rows.into_iter().next().unwrap()
}
