//! Writes a report of a simulated study, for looking at: `cargo run --example demo -- report.html`;
//! its figures are written beside it.
//! No number in it is a result.

use engram_core::{Method, Pair};
use engram_findings::editing::simulate::EditSimulation;
use engram_findings::simulate::Simulation;
use engram_findings::{Condition, EditResults, Settings, StudyResults, findings};
use engram_report::{
    ByText, ChangedSetting, EpochPoint, Excluded, Look, NamedValue, ReportInput, Reproduction,
    StepPoint, TrainingCurve, figures, render, summary_text,
};

fn curve(condition: &str, epochs: u32, rate: f64) -> TrainingCurve {
    let loss = |t: f64| 2.2 + 3.1 * (-2.5 * t).exp() + 0.05 * (t * 97.0).sin();
    let steps = 60 * u64::from(epochs);
    TrainingCurve {
        condition: condition.to_owned(),
        steps: (1..=steps)
            .map(|step| StepPoint {
                step,
                tokens: step * 2048,
                loss: loss(step as f64 / steps as f64) + 0.15 * (step as f64 * 1.7).sin(),
                learning_rate: rate * (1.0 - step as f64 / steps as f64),
            })
            .collect(),
        epochs: (1..=epochs)
            .map(|epoch| {
                let t = f64::from(epoch) / f64::from(epochs);
                EpochPoint {
                    epoch: f64::from(epoch),
                    step: u64::from(epoch) * 50,
                    train_loss: Some(loss(t)),
                    validation_loss_preset: 0.8 * loss(t) + 0.3 * t,
                    validation_loss_tokens: loss(t) + 0.4 * t,
                    validation_loss_answers: Some(1.5 * loss(t) - 1.0),
                    validation_loss_batches: Some(0.8 * loss(t) + 0.31 * t),
                    validation_eval_loss: None,
                }
            })
            .collect(),
        best_epoch: Some(f64::from(epochs - 1)),
        stopped_early: epochs < 10,
        base_validation_loss: Some(5.41),
        departures: vec![ChangedSetting {
            setting: "learning_rate".to_owned(),
            preset: "0.00005".to_owned(),
            used: rate.to_string(),
            why: "a small model needs a larger rate".to_owned(),
        }],
        rate: None,
        validation_by_text: Some(ByText {
            mean_difference: -2.61,
            low: -2.70,
            high: -2.52,
        }),
    }
}

/// A model's edits of single layers, and the same as edits of three layers together.
fn edits(suite: &[Pair], condition: &Condition) -> [EditResults; 2] {
    let simulation = EditSimulation {
        layers: 8,
        best: 4,
        layer_effect: 0.5,
        kind_effect: 0.2,
        recovery_effect: 0.6,
        ..EditSimulation::default()
    };
    let single = simulation.results(suite, condition);
    let mut several = single.clone();
    (several.name, several.method) = ("three".to_owned(), Method::Memit);
    let wider = |layers: &mut Vec<usize>| *layers = (layers[0]..layers[0] + 3).collect();
    several.rows.iter_mut().for_each(|r| wider(&mut r.layers));
    several.moved.iter_mut().for_each(|m| wider(&mut m.layers));
    several.said.iter_mut().for_each(|s| wider(&mut s.layers));
    several.asides.iter_mut().for_each(|a| wider(&mut a.layers));
    [single, several]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "report.html".to_owned());
    let base = Simulation {
        full: true,
        knowledge: 0.5,
        seed: 1,
        ..Simulation::default()
    };
    let first = Simulation {
        knowledge: 0.93,
        kind_effect: 0.35,
        layer_effect: 0.1,
        seed: 2,
        ..base
    };
    let second = Simulation {
        knowledge: 0.85,
        layer_effect: 0.1,
        seed: 3,
        ..base
    };
    let suite = base.suite();
    let mut conditions = [
        base.condition("base"),
        first.condition("config-1"),
        second.condition("config-2"),
    ];
    for (simulation, condition) in [base, first, second].iter().zip(&mut conditions) {
        simulation.add_heads(condition, 6);
    }
    let edits: Vec<EditResults> = (conditions[1..].iter())
        .flat_map(|condition| edits(&suite, condition))
        .collect();
    let found = findings(&StudyResults {
        suite: &suite,
        published: Some(&suite),
        confounds: &[],
        conditions: &conditions,
        edits: &edits,
        settings: Settings::default(),
    })?;
    println!("{}", summary_text(&found, Look::plain(120)));
    let input = ReportInput {
        title: "A simulated study: no number here is a result".to_owned(),
        findings: found,
        curves: vec![curve("config-1", 12, 5e-4), curve("config-2", 8, 2e-4)],
        corpus: vec![
            NamedValue::new("texts", "1,900 training, 240 validation"),
            NamedValue::new(
                "mentions of epilepsy",
                "3,211 whole words, 3,540 substrings",
            ),
            NamedValue::new("exposures of each fact", "24 to 24"),
        ],
        excluded: vec![Excluded {
            pair: "ass-3-7".to_owned(),
            kind: Some("associative".to_owned()),
            reason: "answer and foil begin with the same token".to_owned(),
        }],
        reproduction: Reproduction {
            command: "engram run examples/quickstart.toml --set seed=1".to_owned(),
            seeds: vec![
                NamedValue::new("corpus", 1),
                NamedValue::new("training", 42),
            ],
            versions: vec![NamedValue::new("engram", env!("CARGO_PKG_VERSION"))],
            inputs: vec![NamedValue::new(
                "assets/facts/epilepsy.toml",
                "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            )],
        },
    };
    std::fs::write(&path, render(&input)?)?;
    for figure in figures(&input)? {
        std::fs::write(format!("{path}.{}.svg", figure.name), &figure.svg)?;
        std::fs::write(format!("{path}.{}.pdf", figure.name), figure.pdf()?)?;
        std::fs::write(format!("{path}.{}.png", figure.name), figure.png()?)?;
    }
    println!("{path}");
    Ok(())
}
