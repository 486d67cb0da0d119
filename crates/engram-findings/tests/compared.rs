//! Models and runs against each other.

mod common;

use common::{of, quick};
use engram_core::Pair;
use engram_findings::simulate::Simulation;

#[test]
fn models_are_compared_pair_by_pair() {
    let simulation = Simulation::default();
    let base = Simulation {
        knowledge: 0.5,
        seed: 9,
        ..simulation
    };
    let conditions = [simulation.condition("config-1"), base.condition("base")];
    let found = of(&simulation.suite(), &conditions, quick());
    let all = &found.comparisons[0];
    assert_eq!(
        (all.from.as_str(), all.to.as_str(), all.pairs),
        ("base", "config-1", 96)
    );
    assert!(all.only_to > all.only_from && all.p_value < 1e-6);
    assert_eq!(
        all.prefers_to.count + all.only_from,
        all.prefers_from.count + all.only_to
    );
    assert!(
        found.conditions[0]
            .conclusions
            .iter()
            .any(|s| s.contains("it prefers the right one of more (p < 0.001)"))
    );
}

#[test]
fn runs_are_compared_pair_by_pair() {
    let one = Simulation {
        seed: 8,
        knowledge: 1.0,
        ..Simulation::default()
    };
    let other = Simulation {
        layer_effect: 0.2,
        seed: 9,
        ..one
    };
    let mut fewer = one.suite();
    let suite = one.suite();
    let compared = |to: &Simulation, suite_to: &[Pair]| {
        let (a, b) = (one.condition("a"), to.condition("b"));
        engram_findings::compare_runs((&suite, &a), (suite_to, &b), quick()).unwrap()
    };
    let same = compared(&one, &suite);
    assert_eq!((same.pairs, same.unmatched), (suite.len(), 0));
    for measure in &same.measures {
        assert!(
            measure
                .layers
                .iter()
                .all(|l| l.difference == 0.0 && l.p_holm == 1.0)
        );
    }
    let found = compared(&other, &suite);
    let attention = found
        .measures
        .iter()
        .find(|m| m.measure.label == "attn_out")
        .unwrap();
    let differ = attention.layers.iter().filter(|l| l.p_holm < 0.05);
    assert_eq!(differ.map(|l| l.layer).collect::<Vec<_>>(), [Some(4)]);
    let layer = &attention.layers[4];
    let interval = layer.interval.unwrap();
    assert!((layer.difference - 0.2).abs() < 0.06, "{layer:?}");
    assert!(interval.lower < layer.difference && layer.difference < interval.upper);
    let told = found
        .sentences
        .iter()
        .any(|s| s.contains("a patch restores more in b at layer 4"));
    assert!(told, "{:?}", found.sentences);
    // Pairs that only one has, or that ask something else there, are left out and counted.
    fewer.pop();
    fewer[0].clean.push_str(" other");
    let part = compared(&other, &fewer);
    assert_eq!((part.pairs, part.unmatched), (suite.len() - 2, 3));
}

#[test]
fn a_comparison_says_once_which_model_does_not_know() {
    let knows = Simulation {
        seed: 8,
        knowledge: 1.0,
        ..Simulation::default()
    };
    let guesses = Simulation {
        knowledge: 0.5,
        ..knows
    };
    let suite = knows.suite();
    let (a, b) = (knows.condition("a"), guesses.condition("b"));
    let compared = |to| engram_findings::compare_runs((&suite, &a), (&suite, to), quick()).unwrap();
    let of_gate = |found: &engram_findings::RunComparison| {
        let said = found.sentences.iter().filter(|s| s.contains("the gate"));
        said.cloned().collect::<Vec<_>>()
    };
    let found = compared(&b);
    let once = "b does not pass the gate of knowing: recovery is over all eligible pairs.";
    assert_eq!(of_gate(&found), [once]);
    assert!(
        found
            .sentences
            .iter()
            .filter(|s| s.contains("all eligible pairs)"))
            .count()
            > 1
    );
    assert!(of_gate(&compared(&a)).is_empty());
}
