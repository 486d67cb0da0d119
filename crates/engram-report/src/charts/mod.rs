//! The data of the figures, as the page's script reads them: rounded, without what no figure shows.

mod edits;
mod parts;
mod side_effects;
mod spread;

use engram_findings::localise::LocalisationSummary;
use engram_findings::{ConditionFindings, Findings, Interval, Measure};
use serde::Serialize;
use serde_json::{Value, json};

use crate::input::{ReportInput, StepPoint, TrainingCurve};

/// The most points of a curve that are drawn; the run directory has them all.
const MOST_STEPS: usize = 1500;

/// Everything that figures are drawn from.
#[derive(Serialize)]
pub(crate) struct ChartData {
    conditions: Vec<String>,
    kinds: Vec<String>,
    /// What is shown first: the first model that passes the gate and is not the base model.
    first: Option<String>,
    /// What intervals hold, in words: `95%`.
    level: String,
    /// Below this, an adjusted p value is a finding.
    alpha: f64,
    /// The least mean of a part that is called one that matters.
    least: f64,
    knowing: Vec<Value>,
    steps: Vec<Value>,
    epochs: Vec<Value>,
    profiles: Vec<Value>,
    spread: Vec<Value>,
    heads: Vec<Value>,
    neurons: Vec<Value>,
    maps: Vec<Value>,
    examples: Vec<Value>,
    localisation: Vec<Value>,
    published: Vec<Value>,
    edits: Vec<Value>,
    side_effects: Vec<Value>,
}

impl ChartData {
    pub fn new(input: &ReportInput) -> ChartData {
        let findings = &input.findings;
        let all = |f: fn(&ConditionFindings) -> Vec<Value>| -> Vec<Value> {
            findings.conditions.iter().flat_map(f).collect()
        };
        ChartData {
            conditions: findings.conditions.iter().map(|c| c.name.clone()).collect(),
            kinds: findings.suite.iter().map(|k| k.kind.clone()).collect(),
            first: first(findings),
            level: engram_findings::words::percent(findings.settings.level),
            alpha: findings.settings.alpha(),
            least: engram_findings::parts::LEAST_EFFECT,
            knowing: all(knowing),
            steps: input.curves.iter().flat_map(steps).collect(),
            epochs: input.curves.iter().flat_map(epochs).collect(),
            profiles: all(profiles),
            spread: all(spread::spread),
            heads: all(parts::heads),
            neurons: all(parts::neurons),
            maps: all(maps),
            examples: all(examples),
            localisation: all(localisation),
            published: all(published),
            edits: edits::edits(findings),
            side_effects: side_effects::side_effects(findings),
        }
    }
}

/// The model that is shown first: one that knows, and was trained, where there is one.
pub(crate) fn first(findings: &Findings) -> Option<String> {
    let conditions = &findings.conditions;
    conditions
        .iter()
        .find(|c| c.gate.passed && c.name != "base")
        .or_else(|| conditions.iter().find(|c| c.gate.passed))
        .or_else(|| conditions.first())
        .map(|c| c.name.clone())
}

/// Five decimals are more than any figure shows.
fn short(x: f64) -> f64 {
    (x * 1e5).round() / 1e5
}

/// `attn_out`, `resid_pre, the last token`, `mlp_out, windows of 3 layers`.
pub(crate) fn place(measure: &Measure) -> String {
    measure.place()
}

fn key(condition: &ConditionFindings, measure: &Measure, place: String) -> Value {
    json!({
        "condition": condition.name,
        "site": place,
        "direction": measure.direction,
        "corruption": measure.corruption,
        "metric": measure.metric,
    })
}

fn with(mut key: Value, more: Value) -> Value {
    if let (Value::Object(key), Value::Object(more)) = (&mut key, more) {
        key.extend(more);
    }
    key
}

/// The ends of an interval; nothing of none.
fn ends(interval: Option<Interval>) -> Value {
    match interval {
        Some(i) => json!({"lower": short(i.lower), "upper": short(i.upper)}),
        None => json!({}),
    }
}

fn knowing(condition: &ConditionFindings) -> Vec<Value> {
    let mut rows = Vec::new();
    for kind in condition.gate.kinds.iter().filter(|k| k.kind.is_some()) {
        let shares = [
            ("prefers the right one", Some(&kind.prefers), 0.25),
            ("says the answer", kind.says.as_ref(), 0.0),
            (
                "answer beats foil, own wordings",
                kind.trained.as_ref(),
                0.5,
            ),
            (
                "answer beats foil, paraphrases",
                kind.held_back.as_ref(),
                0.5,
            ),
        ];
        for (what, share, chance) in shares {
            rows.extend(share.map(|s| {
                json!({
                    "condition": condition.name, "kind": kind.kind, "what": what,
                    "share": short(s.estimate), "lower": short(s.lower), "upper": short(s.upper),
                    "count": s.count, "of": s.of, "chance": chance,
                })
            }));
        }
    }
    rows
}

fn steps(curve: &TrainingCurve) -> Vec<Value> {
    let stride = curve.steps.len().div_ceil(MOST_STEPS).max(1);
    let last = curve.steps.len().saturating_sub(1);
    let kept = curve.steps.iter().enumerate();
    let kept = kept.filter(|(i, _)| i % stride == 0 || *i == last);
    let row = |step: &StepPoint| {
        json!({
            "condition": curve.condition, "step": step.step, "tokens": step.tokens,
            "loss": short(step.loss), "learning_rate": step.learning_rate,
        })
    };
    kept.map(|(_, step)| row(step)).collect()
}

fn epochs(curve: &TrainingCurve) -> Vec<Value> {
    let mut rows = Vec::new();
    for epoch in &curve.epochs {
        let series = [
            ("training", epoch.train_loss),
            (
                "validation, preset's count",
                Some(epoch.validation_loss_preset),
            ),
            (
                "validation, real tokens",
                Some(epoch.validation_loss_tokens),
            ),
            ("validation, answer tokens", epoch.validation_loss_answers),
        ];
        for (name, loss) in series {
            rows.extend(loss.map(|loss| {
                json!({
                    "condition": curve.condition, "epoch": epoch.epoch, "series": name,
                    "loss": short(loss), "best": curve.best_epoch == Some(epoch.epoch),
                })
            }));
        }
    }
    rows
}

fn profiles(condition: &ConditionFindings) -> Vec<Value> {
    let mut rows = Vec::new();
    for profile in &condition.profiles {
        let key = key(condition, &profile.measure, place(&profile.measure));
        for point in &profile.layers {
            let (Some(layer), Some(mean)) = (point.layer, point.mean) else {
                continue;
            };
            let more = json!({
                "kind": profile.kind, "over": profile.over.words(), "layer": layer, "n": point.n, "of": point.of,
                "mean": short(mean),
                "lower": short(point.interval.map_or(mean, |i| i.lower)),
                "upper": short(point.interval.map_or(mean, |i| i.upper)),
                "headline": point.headline.map(short), "trivial": point.trivial,
            });
            rows.push(with(key.clone(), more));
        }
    }
    rows
}

fn maps(condition: &ConditionFindings) -> Vec<Value> {
    let mut rows = Vec::new();
    for map in &condition.positions {
        let key = key(condition, &map.measure, map.measure.place());
        for cell in map.cells.iter().filter(|c| c.layer.is_some()) {
            let more = json!({
                "kind": map.kind, "layer": cell.layer, "order": cell.class,
                "role": cell.class.words(), "n": cell.n, "of": cell.of, "mean": short(cell.mean),
                "trivial": cell.trivial,
            });
            let more = with(more, ends(cell.interval));
            rows.push(with(key.clone(), more));
        }
    }
    rows
}

fn examples(condition: &ConditionFindings) -> Vec<Value> {
    let row = |example: &engram_findings::positions::Example| {
        let key = key(condition, &example.measure, example.measure.place());
        let first = example.tokens.first().map_or(0, |t| t.position);
        let cells: Vec<Value> = example
            .cells
            .iter()
            .filter_map(|c| {
                Some(json!([
                    c.layer?,
                    c.position - first,
                    short(c.recovery),
                    u8::from(c.trivial)
                ]))
            })
            .collect();
        let tokens: Vec<&str> = example.tokens.iter().map(|t| t.text.as_str()).collect();
        let roles: Vec<&str> = example.tokens.iter().map(|t| t.class.words()).collect();
        let more = json!({
            "pair": example.pair, "kind": example.kind, "clean": example.clean,
            "corrupt": example.corrupt, "answer": example.answer, "foil": example.foil,
            "gap": short(example.gap), "prefers": example.prefers, "says": example.says,
            "tokens": tokens, "roles": roles,
            "cells": cells,
        });
        with(key, more)
    };
    condition.examples.iter().map(row).collect()
}

/// One row a kind and site; values stand by pair.
fn localisation(condition: &ConditionFindings) -> Vec<Value> {
    let row = |summary: &LocalisationSummary| {
        let pairs = &summary.pairs;
        let more = json!({
            "kind": summary.kind,
            "pairs": pairs.iter().map(|p| &p.pair).collect::<Vec<_>>(),
            "entropy": pairs.iter().map(|p| short(p.entropy)).collect::<Vec<_>>(),
            "gini": pairs.iter().map(|p| short(p.gini)).collect::<Vec<_>>(),
            "layers_80": pairs.iter().map(|p| p.layers_80).collect::<Vec<_>>(),
        });
        with(
            key(condition, &summary.measure, place(&summary.measure)),
            more,
        )
    };
    condition.localisation.iter().map(row).collect()
}

fn published(condition: &ConditionFindings) -> Vec<Value> {
    let modules = condition.protocol.iter().flat_map(|p| &p.modules);
    modules
        .filter_map(|m| {
            let row = json!({
                "condition": condition.name, "module": m.module, "part": m.part, "layer": m.layer?,
                "kind": m.kind, "n": m.n, "mean": m.mean.map(short)?, "trivial": m.trivial,
            });
            Some(with(row, ends(m.interval)))
        })
        .collect()
}
