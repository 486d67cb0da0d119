//! A study speaks of itself: the published figures only where it asks for them, kinds only where there are several,
//! trained wordings only where it trained.

mod common;

use common::{of, quick};
use engram_core::Pair;
use engram_findings::simulate::Simulation;
use engram_findings::{Condition, Findings, StudyResults, findings};

const FULL: Simulation = Simulation {
    relations: 6,
    pairs: 4,
    layers: 4,
    knowledge: 0.95,
    layer_effect: 0.3,
    kind_effect: 0.4,
    length_effect: 0.0,
    relation_spread: 0.02,
    full: true,
    seed: 2,
};

/// A study that does not ask for the published figures.
fn own(suite: &[Pair], conditions: &[Condition]) -> Findings {
    let study = StudyResults {
        suite,
        published: None,
        confounds: &[],
        conditions,
        edits: &[],
        settings: quick(),
    };
    findings(&study).unwrap()
}

/// The suite's pairs of one kind, and a model's rows of them.
fn of_one_kind(kind: &str) -> (Vec<Pair>, Condition) {
    let mut condition = FULL.condition("model");
    condition.rows.retain(|r| r.kind == kind);
    condition.preferences.retain(|r| r.kind == kind);
    condition.published.clear();
    let mut suite = FULL.suite();
    suite.retain(|p| p.kind == kind);
    (suite, condition)
}

#[test]
fn the_published_figures_are_for_a_study_that_asks() {
    let (suite, condition) = (FULL.suite(), FULL.condition("model"));
    let without = own(&suite, std::slice::from_ref(&condition));
    assert_eq!(without.conditions[0].published, []);
    assert_eq!(without.conditions[0].protocol, None);
    let text = serde_json::to_string(&without).unwrap();
    assert!(!text.contains("ublished protocol") && !text.contains("13.6%"));
    let with = of(&suite, &[condition], quick());
    assert_eq!(with.conditions[0].published.len(), 5);
    assert!(with.conditions[0].protocol.is_some());
    // They enter nothing else.
    assert_eq!(
        with.conditions[0].conclusions,
        without.conditions[0].conclusions
    );
    assert_eq!(with.headline, without.headline);
}

/// A file of version 0.1 has `seed` where `published` is.
#[test]
fn findings_of_an_earlier_version_are_read() {
    let found = of(&FULL.suite(), &[FULL.condition("model")], quick());
    let text = serde_json::to_string(&found).unwrap();
    let key = r#""published":[{"name""#;
    assert!(text.contains(key) && text.contains(r#""paper":{"kinds""#));
    let earlier = text.replacen(key, r#""seed":[{"name""#, 1);
    let earlier = earlier.replacen(r#""taught":false,"#, "", 1);
    assert_eq!(serde_json::from_str::<Findings>(&earlier).unwrap(), found);
}

#[test]
fn one_kind_is_compared_with_none() {
    let (suite, condition) = of_one_kind("associative");
    let found = own(&suite, &[condition]);
    assert!(!found.has_kinds());
    let question = found.question().unwrap();
    assert!(
        question.contains("layers") && !question.contains("kind"),
        "{question}"
    );
    let condition = &found.conditions[0];
    assert!(condition.gate.passed && condition.kind_tests.is_empty());
    assert_eq!(found.headline.len(), 1);
    assert!(
        found.headline[0]
            .starts_with("model: knows more than chance; layers differ at attn_out (p")
    );
    for sentence in condition.conclusions.iter().chain(&found.headline) {
        let speaks = ["kind", "associative", "definitional"]
            .iter()
            .any(|w| sentence.contains(w));
        assert!(!speaks, "{sentence}");
    }
    let both = own(&FULL.suite(), &[FULL.condition("model")]);
    assert!(both.question().unwrap().contains("kind"));
    assert!(
        both.conditions[0]
            .conclusions
            .iter()
            .any(|s| s.contains("definitional pairs"))
    );
}

#[test]
fn a_suite_without_pairs_has_no_headline() {
    let condition = Condition {
        name: "model".to_owned(),
        published: FULL.condition("model").published,
        ..Condition::default()
    };
    let suite = FULL.suite();
    let study = StudyResults {
        suite: &[],
        published: Some(&suite),
        confounds: &[],
        conditions: &[condition],
        edits: &[],
        settings: quick(),
    };
    let found = findings(&study).unwrap();
    assert_eq!((found.question(), found.headline.len()), (None, 0));
    assert!(found.conditions[0].protocol.is_some());
}

#[test]
fn trained_wordings_are_said_of_a_trained_model_alone() {
    let taught = Condition {
        taught: true,
        ..FULL.condition("taught")
    };
    let found = own(&FULL.suite(), &[FULL.condition("base"), taught]);
    let says = |model: usize, words: &str| {
        let conclusions = &found.conditions[model].conclusions;
        conclusions.iter().any(|s| s.contains(words))
    };
    assert!(says(1, "of trained wordings and in") && says(1, "held back from training"));
    assert!(says(0, "of the pairs' own wordings and in") && says(0, "of paraphrases"));
    assert!(!says(0, "trained wordings") && !says(0, "held back"));
}

/// The first kind of a difference is that of the suite's first pair.
#[test]
fn kinds_stand_in_the_order_of_the_suite() {
    let mut suite = FULL.suite();
    suite.reverse();
    let found = own(&suite, &[FULL.condition("model")]);
    let kinds: Vec<&str> = found.suite.iter().map(|k| k.kind.as_str()).collect();
    assert_eq!(kinds, ["associative", "definitional"]);
    let tests = &found.conditions[0].kind_tests;
    assert!(tests.iter().all(|t| t.first == "associative"));
}
