//! Findings on studies whose answer is known.

mod common;

use common::{of, quick};
use engram_core::{Metric, Site};
use engram_findings::profile::Over;
use engram_findings::simulate::Simulation;
use engram_findings::{Findings, Scope, StudyResults, findings};

fn simulated(simulation: Simulation) -> Findings {
    of(
        &simulation.suite(),
        &[simulation.condition("config-1")],
        quick(),
    )
}

#[test]
fn a_planted_layer_and_a_planted_difference_are_found() {
    let found = simulated(Simulation {
        layer_effect: 0.2,
        kind_effect: 0.4,
        seed: 1,
        ..Simulation::default()
    });
    let condition = &found.conditions[0];
    assert!(condition.gate.passed);
    for tests in &condition.layer_tests {
        assert!(tests.friedman.unwrap().p_value < 1e-6);
        assert_eq!(
            tests.standing_out(true, 0.05),
            [Some(4)],
            "{:?}",
            tests.kind
        );
    }
    for tests in &condition.kind_tests {
        let entropy = tests.entropy.as_ref().unwrap();
        assert!(
            entropy.test.statistic < 0.0 && entropy.p_holm < 0.05,
            "{entropy:?}"
        );
        assert!(
            tests
                .verdict
                .starts_with("Recovery is more localised for definitional than for associative"),
            "{}",
            tests.verdict
        );
        let layer = &tests.layers[4];
        assert!(
            layer.test.statistic > 0.2 && layer.p_holm < 0.05,
            "{layer:?}"
        );
    }
    assert!(
        condition
            .conclusions
            .iter()
            .any(|s| s.contains("more than the pair's own average at layer 4"))
    );
}

#[test]
fn a_difference_of_length_is_not_taken_for_one_of_kind() {
    let simulation = Simulation {
        length_effect: 0.05,
        relation_spread: 0.0,
        seed: 2,
        ..Simulation::default()
    };
    let found = |confounds: &[engram_core::Confounds]| {
        let suite = simulation.suite();
        let study = StudyResults {
            suite: &suite,
            published: Some(&suite),
            confounds,
            conditions: &[simulation.condition("config-1")],
            edits: &[],
            settings: quick(),
        };
        let found = findings(&study).unwrap();
        let tests = found.conditions[0].kind_tests.iter();
        tests
            .clone()
            .find(|t| t.measure.is_primary())
            .unwrap()
            .clone()
    };
    let unknown = found(&[]);
    let plain = unknown.entropy.as_ref().unwrap();
    assert!(
        plain.test.statistic < 0.0 && plain.test.p_value < 0.05,
        "{plain:?}"
    );
    let how = |t: &engram_findings::kinds::KindTests| {
        t.adjusted.iter().map(|a| a.how.clone()).collect::<Vec<_>>()
    };
    let gap = [
        "matched on the clean–corrupt gap",
        "adjusted for clean–corrupt gap",
    ];
    assert_eq!(how(&unknown), gap);
    let known = found(&simulation.confounds());
    assert_eq!(
        how(&known)[2],
        "adjusted for clean–corrupt gap and prompt's tokens"
    );
    let held = &known.adjusted[2];
    assert_eq!(
        held.note,
        "left out, since they say nothing of their own: answer's tokens"
    );
    assert!(
        held.difference.unwrap().abs() < plain.test.statistic.abs() / 3.0,
        "{held:?}"
    );
    assert!(held.p_value.unwrap() > 0.05, "{held:?}");
    assert!(
        known.verdict.contains("The same difference matched on"),
        "{}",
        known.verdict
    );
    // A difference of kind stays.
    let of_kind = Simulation {
        kind_effect: 0.4,
        length_effect: 0.0,
        ..simulation
    };
    let suite = of_kind.suite();
    let study = StudyResults {
        suite: &suite,
        published: Some(&suite),
        confounds: &of_kind.confounds(),
        conditions: &[of_kind.condition("config-1")],
        edits: &[],
        settings: quick(),
    };
    let found = findings(&study).unwrap();
    let tests = &found.conditions[0].kind_tests[0];
    assert!(
        tests.adjusted.iter().all(|a| a.upper.unwrap() < 0.0),
        "{:?}",
        tests.adjusted
    );
    assert!(tests.adjusted[2].p_value.unwrap() < 0.05);
    let power = tests.power.as_ref().unwrap();
    assert!(
        power.effect.abs() > power.smallest && power.relations_needed.unwrap() <= 8,
        "{power:?}"
    );
    // Eight relations a kind show 1.5 standard deviations with power 0.8 (statsmodels' TTestIndPower).
    assert!((power.smallest - 1.5068).abs() < 0.001, "{power:?}");
}

#[test]
fn kinds_permuted_over_a_study_s_relations_reject_at_the_nominal_rate() {
    let simulation = Simulation {
        kind_effect: 0.4,
        seed: 4,
        ..Simulation::default()
    };
    let suite = simulation.suite();
    let conditions = [simulation.condition("config-1")];
    let study = StudyResults {
        suite: &suite,
        published: Some(&suite),
        confounds: &[],
        conditions: &conditions,
        edits: &[],
        settings: quick(),
    };
    let found = findings(&study).unwrap();
    let nulls = engram_findings::null_rejections(&study, &found, 400).unwrap();
    assert_eq!(nulls.len(), 2);
    for null in nulls {
        // 0.05 ± 4 standard errors of 400.
        assert!((null.share.estimate - 0.05).abs() < 0.044, "{null:?}");
    }
}

#[test]
fn seeds_that_agree_and_seeds_that_do_not() {
    let with = |seed, kind_effect, name: &str| {
        let simulation = Simulation {
            kind_effect,
            layer_effect: 0.3,
            seed,
            ..Simulation::default()
        };
        let mut condition = simulation.condition(name);
        condition.replicates = (name != "config-1").then(|| "config-1".to_owned());
        (simulation.suite(), condition)
    };
    let (suite, one) = with(5, 0.4, "config-1");
    let conditions = [
        one,
        with(6, 0.4, "config-1-seed-6").1,
        with(7, 0.0, "config-1-seed-7").1,
    ];
    let found = of(&suite, &conditions, quick());
    let repeated = &found.replicates[0];
    assert_eq!(repeated.seeds.len(), 3);
    assert!(repeated.seeds[1].p_value.unwrap() < 0.05 && repeated.seeds[2].p_value.unwrap() > 0.05);
    assert!(
        repeated.agreement.unwrap() > 0.4,
        "{:?}",
        repeated.agreement
    );
    let sentence =
        "config-1 under 3 seeds: 2 of them say that definitional facts are more localised";
    assert!(
        repeated.sentence.contains(sentence),
        "{}",
        repeated.sentence
    );
    assert!(
        found.conditions[0]
            .conclusions
            .iter()
            .any(|s| s.starts_with("Seeds. "))
    );
}

#[test]
fn nulls_are_rejected_at_about_the_nominal_rate() {
    let (mut layers, mut kinds, mut families, mut gates) = (0, 0, 0, 0);
    let studies = 120;
    for seed in 0..studies {
        let null = Simulation {
            seed,
            layers: 4,
            ..Simulation::default()
        };
        let found = simulated(null);
        let condition = &found.conditions[0];
        let attention = |t: &&engram_findings::layers::LayerTests| {
            t.kind.is_none() && t.measure.is_primary() && t.measure.site == Site::AttnOut
        };
        let between = condition
            .kind_tests
            .iter()
            .find(|t| t.measure.is_primary())
            .unwrap();
        kinds += usize::from(between.entropy.as_ref().unwrap().test.p_value < 0.05);
        // Where relations deviate, layers do differ in the sample: the null over layers has no deviation.
        let flat = Simulation {
            relation_spread: 0.0,
            ..null
        };
        let found = simulated(flat);
        let tests = found.conditions[0]
            .layer_tests
            .iter()
            .find(attention)
            .unwrap();
        layers += usize::from(tests.friedman.unwrap().p_value < 0.05);
        let above = tests.standing_out(true, 0.05).len();
        families += usize::from(above + tests.standing_out(false, 0.05).len() > 0);
        let ignorant = Simulation {
            knowledge: 0.5,
            relations: 6,
            pairs: 2,
            ..null
        };
        let ignorant = of(&ignorant.suite(), &[ignorant.condition("random")], quick());
        gates += usize::from(ignorant.conditions[0].gate.passed);
    }
    let rate = |n: usize| n as f64 / studies as f64;
    // 0.05 ± 3 standard errors of 120 studies is up to 0.11.
    assert!(rate(layers) <= 0.11, "Friedman: {}", rate(layers));
    assert!(rate(kinds) <= 0.11, "kinds: {}", rate(kinds));
    // One-sided: 0.025 nominally.
    assert!(rate(gates) <= 0.07, "gate: {}", rate(gates));
    assert!(rate(families) <= 0.11, "Wilcoxon, Holm: {}", rate(families));
}

#[test]
fn a_model_that_knows_nothing_supports_no_conclusion() {
    let found = simulated(Simulation {
        knowledge: 0.5,
        layer_effect: 0.3,
        kind_effect: 0.4,
        seed: 3,
        ..Simulation::default()
    });
    let condition = &found.conditions[0];
    assert!(!condition.gate.passed);
    assert!(
        condition
            .gate
            .sentence
            .contains("No statement is made about where it keeps knowledge")
    );
    assert!(condition.profiles.iter().all(|p| p.over == Over::Eligible));
    assert!(
        condition
            .kind_tests
            .iter()
            .all(|t| t.verdict.starts_with("No verdict"))
    );
    assert!(
        !condition
            .conclusions
            .iter()
            .any(|s| s.contains("restores") || s.contains("localised"))
    );
}

#[test]
fn a_constant_preference_is_not_knowledge() {
    // Both prompts give the same logit difference, large and in favour of the answer on every pair.
    let simulation = Simulation::default();
    let mut condition = simulation.condition("stubborn");
    for row in &mut condition.preferences {
        row.logit_diff_clean = 3.0;
        row.logit_diff_corrupt = 2.0;
    }
    let found = of(&simulation.suite(), &[condition], quick());
    let gate = &found.conditions[0].gate;
    assert_eq!(gate.kinds[0].trained.unwrap().estimate, 1.0);
    assert_eq!(gate.kinds[0].right, 0.5);
    assert!(!gate.passed);
}

#[test]
fn few_relations_give_no_verdict() {
    let found = simulated(Simulation {
        relations: 5,
        kind_effect: 0.6,
        seed: 5,
        ..Simulation::default()
    });
    for tests in &found.conditions[0].kind_tests {
        assert!(tests.layers.is_empty() && tests.entropy.is_none());
        assert!(
            tests
                .verdict
                .starts_with("No verdict: 5 definitional and 5 associative relations"),
            "{}",
            tests.verdict
        );
    }
}

#[test]
fn positions_have_roles_and_examples_have_tokens() {
    let simulation = Simulation {
        full: true,
        ..Simulation::default()
    };
    let mut condition = simulation.condition("config-1");
    condition.preferences[0].logit_diff_clean = 50.0;
    condition.preferences[0].logit_diff_corrupt = -50.0;
    let found = of(&simulation.suite(), &[condition], quick());
    let condition = &found.conditions[0];
    let example = condition
        .examples
        .iter()
        .find(|e| e.measure.metric == Metric::LogitDiff)
        .unwrap();
    // The largest gap comes first; and no cluster twice.
    assert_eq!((example.pair.as_str(), example.gap), ("def-0-0", 100.0));
    assert_eq!(condition.examples.len(), 8);
    assert_eq!(example.tokens[0].text, "Here ");
    assert_eq!(example.cells.len(), example.tokens.len() * 8);
    let scopes: Vec<Scope> = condition
        .profiles
        .iter()
        .filter(|p| p.measure.site == Site::ResidPre && p.kind == "definitional")
        .map(|p| p.measure.scope)
        .collect();
    assert_eq!(scopes, [Scope::SubjectLast, Scope::Last]);
    let paper = condition.protocol.as_ref().unwrap();
    let head = paper
        .modules
        .iter()
        .find(|m| m.module == "lm_head")
        .unwrap();
    assert_eq!((head.mean, head.trivial), (Some(1.0), true));
    assert_eq!(condition.published.len(), 5);
    let lines = &condition.published[0].protocol;
    assert!(
        lines
            .iter()
            .any(|l| l.starts_with("transformer.h.0.mlp.c_fc, definitional: ")),
        "{lines:?}"
    );
}

#[test]
fn the_same_study_gives_the_same_bytes_and_survives_json() {
    let simulation = Simulation {
        full: true,
        kind_effect: 0.2,
        ..Simulation::default()
    };
    let text = || serde_json::to_string(&simulated(simulation)).unwrap();
    let (a, b) = (text(), text());
    assert_eq!(a, b);
    let back: Findings = serde_json::from_str(&a).unwrap();
    assert_eq!(serde_json::to_string(&back).unwrap(), a);
}

#[test]
fn a_conclusion_comes_with_what_it_survives() {
    let found = simulated(Simulation {
        layer_effect: 0.2,
        kind_effect: 0.4,
        seed: 1,
        ..Simulation::default()
    });
    let robust = &found.conditions[0].robustness;
    assert_eq!(robust.len(), 2, "attention and MLP");
    for robust in robust {
        let changed: Vec<&str> = robust.variants.iter().map(|v| v.changed.as_str()).collect();
        assert_eq!(changed, ["", "metric logprob_seq"]);
        assert!(
            robust
                .variants
                .iter()
                .all(|v| v.difference < 0.0 && v.p_value < 0.05)
        );
        let relations = &robust.left_out[0];
        assert_eq!(
            (relations.what.as_str(), relations.count, relations.turned),
            ("relation", 16, 0)
        );
        let whole = robust.variants[0].difference;
        assert!(
            relations.lowest <= whole && whole <= relations.highest,
            "{relations:?}"
        );
        assert!(
            robust
                .sentence
                .contains("1 of 1 other ways of measuring say the same")
        );
    }
}
