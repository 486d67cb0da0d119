//! Simulated studies and their pages.

// Each test file uses some of it.
#![allow(dead_code, reason = "each test program uses some of these")]

use std::sync::LazyLock;

use engram_core::edit::TOGETHER;
use engram_core::{Method, Row, Site};
use engram_findings::editing::simulate::EditSimulation;
use engram_findings::simulate::Simulation;
use engram_findings::{Condition, EditResults, Findings, Settings, StudyResults, findings};
use engram_report::{
    ChangedSetting, EpochPoint, Excluded, NamedValue, RateReached, ReportInput, Reproduction,
    StepPoint, TrainingCurve, render,
};

pub fn found(simulation: Simulation, change: impl Fn(&mut Condition)) -> Findings {
    with_edits(simulation, change, |_| Vec::new())
}

/// The same with edits of the second model.
pub fn with_edits(
    simulation: Simulation,
    change: impl Fn(&mut Condition),
    edits: impl Fn(&Condition) -> Vec<EditResults>,
) -> Findings {
    let suite = simulation.suite();
    let ignorant = Simulation {
        knowledge: 0.5,
        ..simulation
    };
    let mut conditions = [ignorant.condition("base"), simulation.condition("config-1")];
    conditions.iter_mut().for_each(change);
    let edits = edits(&conditions[1]);
    let settings = Settings {
        resamples: 100,
        permutations: 200,
        ..Settings::default()
    };
    let study = StudyResults {
        suite: &suite,
        published: Some(&suite),
        confounds: &[],
        conditions: &conditions,
        edits: &edits,
        settings,
    };
    findings(&study).unwrap()
}

pub fn input(findings: Findings) -> ReportInput {
    ReportInput {
        title: "Epilepsy <&> \"facts\"".into(),
        findings,
        curves: vec![TrainingCurve {
            condition: "config-1".into(),
            steps: (1..=4000)
                .map(|step| StepPoint {
                    step,
                    tokens: step * 10,
                    loss: 7.0 / step as f64,
                    learning_rate: 1e-3,
                })
                .collect(),
            epochs: vec![EpochPoint {
                epoch: 1.0,
                step: 1,
                train_loss: Some(3.5),
                validation_loss_preset: 1.2345,
                validation_loss_tokens: 4.321,
                validation_loss_answers: None,
                validation_loss_batches: Some(1.2468),
                ..EpochPoint::default()
            }],
            best_epoch: Some(1.0),
            base_validation_loss: Some(6.789),
            departures: vec![ChangedSetting {
                setting: "warmup_steps".into(),
                preset: "500".into(),
                used: "37".into(),
                why: "a tenth of the planned steps".into(),
            }],
            rate: Some(RateReached {
                setting: 2e-5,
                highest: 2e-7,
                warmup_steps: 500,
                steps: 6,
                reached: false,
            }),
            ..TrainingCurve::default()
        }],
        corpus: vec![NamedValue::new("mentions of seizure", "13,921")],
        excluded: vec![Excluded {
            pair: "gene-17".into(),
            kind: None,
            reason: "prompts differ in length".into(),
        }],
        reproduction: Reproduction {
            command: "engram run study.toml".into(),
            seeds: vec![NamedValue::new("training", 42)],
            ..Reproduction::default()
        },
    }
}

pub const FULL: Simulation = Simulation {
    relations: 6,
    pairs: 4,
    layers: 4,
    knowledge: 0.95,
    layer_effect: 0.2,
    kind_effect: 0.4,
    length_effect: 0.0,
    relation_spread: 0.02,
    full: true,
    seed: 2,
};

pub static PAGE: LazyLock<String> = LazyLock::new(|| render(&input(found(FULL, |_| ()))).unwrap());

/// The full study with single heads and, of each head, a neuron.
pub static PARTS: LazyLock<ReportInput> = LazyLock::new(|| {
    input(found(FULL, |condition| {
        FULL.add_heads(condition, 3);
        let heads = condition.rows.iter().filter(|r| r.head.is_some());
        let neurons: Vec<Row> = heads
            .map(|row| Row {
                name: row.name.replace("head_out", "mlp_post"),
                site: Site::MlpPost,
                unit: row.head,
                head: None,
                ..row.clone()
            })
            .collect();
        condition.rows.extend(neurons);
    }))
});

/// Edits of every fact at every layer, and the same facts edited at once under another method, of no kind.
pub static EDITED: LazyLock<ReportInput> = LazyLock::new(|| {
    let made = |condition: &Condition| {
        let simulation = EditSimulation {
            layers: 4,
            layer_effect: 0.6,
            ..EditSimulation::default()
        };
        let single = simulation.results(&FULL.suite(), condition);
        let mut together = single.clone();
        (together.name, together.method) = ("together".to_owned(), Method::Memit);
        let (rows, moved) = (&mut together.rows, &mut together.moved);
        rows.retain(|r| r.layers == [0]);
        rows.iter_mut().for_each(|r| {
            (r.layers, r.kind) = (vec![1, 2, 3], None);
        });
        moved.retain(|m| m.layers == [0] && m.request == single.rows[0].request);
        moved.iter_mut().for_each(|m| {
            (m.layers, m.request) = (vec![1, 2, 3], TOGETHER.to_owned());
        });
        vec![single, together]
    };
    input(with_edits(FULL, |_| (), made))
});

/// The JSON that the figures are drawn from.
pub fn data(page: &str) -> serde_json::Value {
    let start = "<script type=\"application/json\" id=\"data\">";
    let (_, rest) = page.split_once(start).unwrap();
    let (text, _) = rest.split_once("</script>").unwrap();
    serde_json::from_str(text).unwrap()
}

/// The page without its scripts and the licences' text.
pub fn markup(page: &str) -> String {
    let mut markup = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once("<script") {
        markup.push_str(before);
        rest = after.split_once("</script>").unwrap().1;
    }
    markup + rest
}
