//! Figures, tables and tests are over the same rows, and verdicts are said once: against values computed here from the
//! rows, by hand.

use std::collections::BTreeSet;

use engram_core::{Metric, Pair, PreferenceRow, Row, Site};
use engram_findings::kinds::KindOutcome;
use engram_findings::layout::PositionClass;
use engram_findings::parts::{LEAST_EFFECT, PartEffect};
use engram_findings::simulate::Simulation;
use engram_findings::{
    Condition, ConditionFindings, Findings, Scope, Settings, StudyResults, compare_runs, findings,
};

fn quick() -> Settings {
    Settings {
        resamples: 200,
        permutations: 400,
        ..Settings::default()
    }
}

fn of(suite: &[Pair], condition: Condition) -> ConditionFindings {
    let study = StudyResults {
        suite,
        published: None,
        confounds: &[],
        conditions: &[condition],
        edits: &[],
        settings: quick(),
    };
    findings(&study).unwrap().conditions.remove(0)
}

/// A model that knows all, patched by position.
const BY_POSITION: Simulation = Simulation {
    relations: 8,
    pairs: 4,
    layers: 3,
    knowledge: 1.0,
    layer_effect: 0.0,
    kind_effect: 0.0,
    length_effect: 0.0,
    relation_spread: 0.02,
    full: true,
    seed: 11,
};

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// At the first layer the graph fixes the subject's last token of every second pair, as it does where a subject has one
/// token; the simulation's own marks are taken off.
fn some_trivial() -> (Vec<Pair>, Condition) {
    let suite = BY_POSITION.suite();
    let mut condition = BY_POSITION.condition("model");
    let odd: BTreeSet<&str> = suite
        .iter()
        .skip(1)
        .step_by(2)
        .map(|p| p.id.as_str())
        .collect();
    for row in condition
        .rows
        .iter_mut()
        .filter(|r| r.site == Site::ResidPre)
    {
        let subject = row
            .token
            .as_deref()
            .is_some_and(|t| ["one ", "two "].contains(&t));
        row.trivial = subject && row.layer == Some(0) && odd.contains(row.pair.as_str());
        row.trivial_why = row
            .trivial
            .then(|| "the only token that differs".to_owned());
        if subject && row.layer == Some(0) {
            row.recovery = Some(if row.trivial { 1.0 } else { 0.25 });
        }
    }
    (suite, condition)
}

#[test]
fn lines_maps_and_rows_give_one_number() {
    let (suite, condition) = some_trivial();
    let rows = condition.rows.clone();
    let found = of(&suite, condition);
    let mut compared = 0;
    for kind in ["definitional", "associative"] {
        let line = (found.profiles.iter())
            .find(|p| p.kind == kind && p.measure.scope == Scope::SubjectLast)
            .unwrap();
        let map = found.positions.iter().find(|m| m.kind == kind).unwrap();
        for point in &line.layers {
            let at_subject = |c: &&engram_findings::positions::PositionCell| {
                c.class == PositionClass::SubjectLast && c.layer == point.layer
            };
            let cell = map.cells.iter().find(at_subject).unwrap();
            let own: Vec<f64> = (rows.iter())
                .filter(|r| r.site == Site::ResidPre && r.kind == kind && r.layer == point.layer)
                .filter(|r| {
                    r.token
                        .as_deref()
                        .is_some_and(|t| ["one ", "two "].contains(&t))
                })
                .filter(|r| !r.trivial)
                .filter_map(|r| r.recovery)
                .collect();
            assert_eq!((point.mean.unwrap(), point.n), (cell.mean, cell.n));
            assert!((cell.mean - mean(&own)).abs() < 1e-12, "{cell:?}");
            assert_eq!(cell.n, own.len());
            let fewer = point.layer == Some(0);
            assert_eq!(point.n < point.of, fewer, "{point:?}");
            assert_eq!(cell.n < cell.of, fewer, "{cell:?}");
            assert_eq!((point.of, cell.trivial), (32, false));
            compared += 1;
        }
        // The test is over the pairs that are open at every layer, and says which.
        let test = (found.layer_tests.iter())
            .find(|t| t.kind.as_deref() == Some(kind) && t.measure == line.measure)
            .unwrap();
        assert_eq!(test.pairs, 16);
        assert_eq!(
            test.which.as_deref(),
            Some(
                "16 of 32 pairs are in the test, which takes pairs with a recovery of their own at every layer tested; \
                 left out are 16 because the graph alone fixes recovery at layer 0 (the only token that differs)"
            )
        );
    }
    assert_eq!(compared, 6);
    let others = found
        .layer_tests
        .iter()
        .filter(|t| t.measure.scope != Scope::SubjectLast);
    assert!(others.clone().count() > 0 && others.clone().all(|t| t.which.is_none()));
}

/// Where the graph fixes every pair of one kind, that kind's value is shown and flagged, whatever the other kind's rows.
#[test]
fn what_is_fixed_for_one_kind_is_said_of_that_kind() {
    let (suite, mut condition) = some_trivial();
    for row in condition
        .rows
        .iter_mut()
        .filter(|r| r.kind == "associative")
    {
        let subject = row
            .token
            .as_deref()
            .is_some_and(|t| ["one ", "two "].contains(&t));
        if subject && row.layer == Some(0) {
            (row.trivial, row.recovery) = (true, Some(1.0));
        }
    }
    let found = of(&suite, condition);
    let first = |kind: &str| {
        let line = (found.profiles.iter())
            .find(|p| p.kind == kind && p.measure.scope == Scope::SubjectLast);
        line.unwrap().layers[0].clone()
    };
    let (fixed, open) = (first("associative"), first("definitional"));
    assert_eq!((fixed.trivial, fixed.mean, fixed.n), (true, Some(1.0), 32));
    assert_eq!((open.trivial, open.n, open.of), (false, 16, 32));
}

/// Holm's adjustment of two p values, written out.
fn holm_of_two(own: f64, other: f64) -> f64 {
    match own <= other {
        true => (2.0 * own).min(1.0),
        false => (2.0 * other).min(1.0).max(own),
    }
}

/// The robustness section repeats the verdict and says of every other way whether it agrees; among the seeds are
/// differences whose p is below the threshold before the correction alone.
#[test]
fn robustness_repeats_the_corrected_verdict() {
    let mut between = 0;
    for seed in 0..40 {
        let simulation = Simulation {
            kind_effect: 0.12,
            seed,
            ..Simulation::default()
        };
        let found = of(&simulation.suite(), simulation.condition("model"));
        for robust in &found.robustness {
            let test = (found.kind_tests.iter())
                .find(|t| t.measure.label == robust.site && t.measure.is_primary())
                .unwrap();
            let p = |label: &str| {
                let mut same = found.kind_tests.iter().filter(|t| t.measure.is_primary());
                let test = same.find(|t| t.measure.label == label).unwrap();
                test.entropy.as_ref().unwrap().test.p_value
            };
            let other = if robust.site == "attn_out" {
                "mlp_out"
            } else {
                "attn_out"
            };
            let (own, other) = (p(&robust.site), p(other));
            assert!((robust.variants[0].p_holm - holm_of_two(own, other)).abs() < 1e-12);
            assert_eq!(robust.outcome, test.outcome);
            let shown = test.outcome != KindOutcome::NotShown;
            assert_eq!(
                shown,
                !test.verdict.starts_with("No difference in localisation")
            );
            let repeated = robust
                .sentence
                .contains("a difference in localisation is shown");
            assert_eq!(shown, repeated, "{} / {}", test.verdict, robust.sentence);
            assert_eq!(
                !shown,
                robust.sentence.contains(": no difference in localisation")
            );
            between += usize::from(own < 0.05 && !shown);
            for variant in &robust.variants[1..] {
                assert_eq!(variant.agrees, variant.outcome == test.outcome);
                let word = if variant.agrees { "agrees" } else { "does not" };
                let says = format!("{} {word}", variant.changed);
                assert!(robust.sentence.contains(&says), "{}", robust.sentence);
            }
        }
    }
    assert!(between > 0, "no difference lost its p in the correction");
}

/// Heads patched at the last token alone: one restores much, the others next to nothing, all beyond chance.
fn heads_at_last(seed: u64, extra: f64) -> (Vec<Pair>, Condition) {
    let simulation = Simulation {
        knowledge: 1.0,
        layers: 2,
        seed,
        ..Simulation::default()
    };
    let mut condition = simulation.condition("model");
    let whole: Vec<Row> = condition
        .rows
        .drain(..)
        .filter(|r| r.site == Site::AttnOut)
        .collect();
    for (i, row) in whole.iter().enumerate() {
        for head in 0..4 {
            let wobble = 0.001 * ((i * 7 + head * 3) % 5) as f64;
            let size = match (row.layer, head) {
                (Some(1), 2) => 0.2 + extra,
                (Some(0), 1) => -0.1,
                _ => 0.008,
            };
            condition.rows.push(Row {
                name: format!("head_out.{}", row.layer.unwrap()),
                site: Site::HeadOut,
                head: Some(head as i64),
                position: Some(6),
                token: Some(" the".to_owned()),
                recovery: row.recovery.map(|_| size + wobble),
                trivial: (row.layer, head) == (Some(0), 3),
                ..row.clone()
            });
        }
    }
    (simulation.suite(), condition)
}

#[test]
fn heads_at_one_position_are_read_and_only_those_that_matter_are_marked() {
    let (suite, condition) = heads_at_last(3, 0.0);
    let found = of(&suite, condition);
    assert_eq!(found.unread_rows, 0);
    let grid = found.parts.iter().find(|g| g.kind.is_none()).unwrap();
    assert_eq!(grid.measure.scope, Scope::Last);
    assert_eq!(grid.cells.len(), 8);
    let mut beyond_chance = 0;
    for cell in &grid.cells {
        let expected = match (cell.layer, cell.index) {
            (1, 2) => PartEffect::Restores,
            (0, 1) => PartEffect::Opposes,
            _ => PartEffect::NotShown,
        };
        assert_eq!(cell.effect, expected, "{cell:?}");
        beyond_chance += usize::from(cell.p_bh.is_some_and(|p| p < 0.05));
        assert_eq!(cell.trivial, (cell.layer, cell.index) == (0, 3));
    }
    assert_eq!(beyond_chance, 7, "next to nothing is beyond chance too");
    let top = &found.top_parts(3)[0];
    let names: Vec<(i64, i64)> = top.iter().map(|(_, c)| (c.layer, c.index)).collect();
    assert_eq!(names[0], (1, 2));
    assert!(top[0].1.mean > LEAST_EFFECT && !names.contains(&(0, 3)));
}

#[test]
fn heads_of_two_sweeps_are_compared_and_what_is_not_is_said() {
    let (suite, one) = heads_at_last(3, 0.0);
    let (_, mut other) = heads_at_last(3, 0.15);
    other.name = "other".to_owned();
    let alone: Vec<Row> = (other.rows.iter())
        .filter(|r| r.metric == Metric::LogitDiff)
        .map(|r| Row {
            name: r.name.replace("head_out", "z"),
            site: Site::Z,
            ..r.clone()
        })
        .collect();
    other.rows.extend(alone);
    let found = compare_runs((&suite, &one), (&suite, &other), quick()).unwrap();
    let heads = found.parts.iter().find(|p| p.measure.is_primary()).unwrap();
    assert_eq!(
        (heads.measure.scope, heads.cells.len(), heads.unmatched),
        (Scope::Last, 7, 1)
    );
    let first = &heads.cells[0];
    assert_eq!((first.layer, first.index, first.shown), (1, 2, true));
    assert!((first.difference - 0.15).abs() < 1e-12, "{first:?}");
    assert!((first.mean_to - first.mean_from - first.difference).abs() < 1e-12);
    assert!(
        heads.cells[1..]
            .iter()
            .all(|c| c.difference == 0.0 && !c.shown)
    );
    let said = found
        .sentences
        .iter()
        .any(|s| s.contains("more in other when patched at 1.2 (0.15"));
    assert!(said, "{:?}", found.sentences);
    let missing = "heads of z, the last token, logit_diff, denoise, swap: only other has it";
    assert_eq!(found.not_compared, [missing]);
}

#[test]
fn prefers_and_says_are_counted_apart() {
    let simulation = Simulation {
        knowledge: 1.0,
        ..Simulation::default()
    };
    let suite = simulation.suite();
    let mut condition = simulation.condition("model");
    let own: Vec<&mut PreferenceRow> = (condition.preferences.iter_mut())
        .filter(|p| !p.held_back)
        .collect();
    let pairs = own.len();
    for (i, row) in own.into_iter().enumerate() {
        row.says = Some(i % 4 == 0);
    }
    let found = of(&suite, condition.clone());
    let all = found.gate.kind(None).unwrap();
    assert_eq!(
        (all.prefers.count, all.says.unwrap().count),
        (pairs, pairs / 4)
    );
    let has = |text: &str| found.conclusions.iter().any(|s| s.contains(text));
    assert!(has(
        "It says the answer, so that greedy decoding gives it, of 12 "
    ));
    assert!(has(
        "whose answer the model prefers, whether it says it or not"
    ));
    // Without preferences the rows' own columns say it.
    condition.preferences.clear();
    for row in &mut condition.rows {
        row.says = Some(true);
    }
    let found = of(&suite, condition);
    assert_eq!(found.gate.kind(None).unwrap().says.unwrap().count, pairs);
}

#[test]
fn pairs_that_a_metric_leaves_out_are_counted_and_named() {
    let simulation = Simulation {
        knowledge: 1.0,
        ..Simulation::default()
    };
    let suite = simulation.suite();
    let mut condition = simulation.condition("model");
    let out = [&suite[0].id, &suite[3].id];
    for row in &mut condition.rows {
        if row.metric == Metric::LogProbSeq && out.contains(&&row.pair) {
            row.recovery = None;
        }
    }
    let eligible = |id: &str, c: &Condition| {
        let mut rows = c
            .rows
            .iter()
            .filter(|r| r.metric == Metric::LogitDiff && r.pair == id);
        rows.next().unwrap().recovery.is_some()
    };
    let out: Vec<String> = (out.iter())
        .filter(|id| eligible(id, &condition))
        .map(|id| (*id).clone())
        .collect();
    let found: Findings = {
        let study = StudyResults {
            suite: &suite,
            published: None,
            confounds: &[],
            conditions: &[condition],
            edits: &[],
            settings: quick(),
        };
        findings(&study).unwrap()
    };
    let condition = &found.conditions[0];
    assert_eq!(condition.metrics_left_out.len(), 1);
    let metric = &condition.metrics_left_out[0];
    assert_eq!(
        (metric.metric, &metric.left_out),
        (Metric::LogProbSeq, &out)
    );
    let used = |metric: Metric| {
        let of_metric = (condition.profiles.iter()).filter(|p| p.measure.metric == metric);
        of_metric.map(|p| p.layers[0].n).sum::<usize>()
    };
    assert_eq!(
        used(Metric::LogitDiff),
        used(Metric::LogProbSeq) + 2 * out.len()
    );
    assert!(
        condition
            .conclusions
            .iter()
            .any(|s| s.contains("Metric logprob_seq (swap) leaves out"))
    );
}

/// A fine-tuned model that is the base model, and one that is not.
#[test]
fn a_model_that_hardly_differs_from_the_base_model_is_said_to() {
    let simulation = Simulation {
        knowledge: 1.0,
        ..Simulation::default()
    };
    let suite = simulation.suite();
    let said = |scale: f64| {
        let base = simulation.condition("base");
        let mut tuned = simulation.condition("tuned");
        for row in &mut tuned.preferences {
            row.logit_diff_clean *= scale;
            row.logit_diff_corrupt *= scale;
        }
        let study = StudyResults {
            suite: &suite,
            published: None,
            confounds: &[],
            conditions: &[base, tuned],
            edits: &[],
            settings: quick(),
        };
        let found = findings(&study).unwrap();
        let change = found.comparisons[0].change.unwrap();
        assert!((change - (scale - 1.0).abs()).abs() < 1e-12);
        let said = found.conditions[1].conclusions.clone();
        said.iter()
            .any(|s| s.starts_with("tuned hardly differs from base"))
    };
    assert!(said(1.0) && said(1.02));
    assert!(!said(1.5));
}
