//! ROME and MEMIT, compared with torch and numpy (fixtures/editing.py).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use engram_edit::Reader;
use engram_edit::covariance::{Covariance, Sample, covariances};
use engram_edit::delta::{Delta, Meta};
use engram_edit::least_squares::{Lambda, Preserved, directions};
use engram_edit::memit::{Target, spread};
use engram_edit::nullspace::NullSpace;
use engram_edit::optimise::{DeltaPlace, Optimisation, Optimiser, PlacedPrompt, Rewriting};
use engram_edit::rome::rank_one;
use engram_edit::tokens::PromptAndAnswer;
use engram_model::{LanguageModel, Tokenizer, checkpoint, families};
use serde::Deserialize;

#[derive(Deserialize)]
struct Row {
    ids: Vec<u32>,
    #[serde(default)]
    start: usize,
    subject: usize,
}

#[derive(Deserialize)]
struct Expected {
    loss: f64,
    nll: f64,
    kl: f64,
    decay: f64,
}

#[derive(Deserialize)]
struct Fixture {
    layer: usize,
    settings: Optimisation,
    ridge: f64,
    rows: Vec<Row>,
    essence: Row,
    texts: Vec<Vec<u32>>,
    steps: Vec<Expected>,
    memit: Memit,
}

#[derive(Deserialize)]
struct Memit {
    layers: Vec<usize>,
    factor: f64,
    facts: Vec<Fact>,
}

#[derive(Deserialize)]
struct Fact {
    rows: Vec<Row>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn model() -> LanguageModel {
    let folder = folder().join("gpt2/scaled");
    let family = families::read(&folder.join(checkpoint::CONFIG)).unwrap();
    let parameters = checkpoint::read(&folder, &*family, &Device::Cpu).unwrap();
    let tokenizer = Tokenizer::numbers(family.architecture().vocab).unwrap();
    LanguageModel::of(family, parameters, tokenizer).unwrap()
}

fn fixture() -> (Fixture, HashMap<String, Tensor>) {
    let text = std::fs::read(folder().join("editing.json")).unwrap();
    let tensors = folder().join("editing.safetensors");
    let tensors = candle_core::safetensors::load(tensors, &Device::Cpu).unwrap();
    (serde_json::from_slice(&text).unwrap(), tensors)
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
    flat.to_vec1().unwrap()
}

fn assert_close(what: &str, found: &[f64], expected: &[f64], bound: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let far = (a - b).abs() > bound * b.abs().max(1.0);
        assert!(!far, "{what}[{i}]: {a} for {b}");
    }
}

fn rewriting(fixture: &Fixture) -> Rewriting {
    let placed = |row: &Row| PlacedPrompt {
        ids: PromptAndAnswer {
            ids: row.ids.clone(),
            from: row.start,
        },
        subject: row.subject,
    };
    Rewriting {
        prompts: fixture.rows.iter().map(placed).collect(),
        essence: (fixture.essence.ids.clone(), fixture.essence.subject),
    }
}

fn reader(model: &LanguageModel) -> Reader {
    Reader::new(model).unwrap()
}

#[test]
fn the_covariance_is_numpys() {
    let (fixture, expected) = fixture();
    let sample = Sample {
        texts: fixture.texts.clone(),
    };
    let found = covariances(
        &Reader::new(&model()).unwrap(),
        &sample,
        &[0, fixture.layer],
        &mut |_| {},
    )
    .unwrap();
    assert_close(
        "C",
        &found[1].values,
        &numbers(&expected["covariance"]),
        1e-5,
    );
}

#[test]
fn the_optimisation_is_torchs_step_by_step_and_the_update_numpys() {
    let (fixture, expected) = fixture();
    let model = model();
    let (layer, settings) = (fixture.layer, &fixture.settings);
    let found = Optimiser::new(&reader(&model), layer)
        .optimise(
            &rewriting(&fixture),
            layer,
            DeltaPlace::Projection,
            settings,
        )
        .unwrap();
    assert_eq!(found.steps.len(), fixture.steps.len());
    for (i, (step, expected)) in found.steps.iter().zip(&fixture.steps).enumerate() {
        let parts = [step.loss, step.nll, step.kl, step.decay];
        let theirs = [expected.loss, expected.nll, expected.kl, expected.decay];
        assert_close(&format!("step {i}"), &parts, &theirs, 1e-3);
    }
    let delta: Vec<f64> = found.delta.iter().map(|v| f64::from(*v)).collect();
    assert_close("delta", &delta, &numbers(&expected["delta"]), 1e-3);
    assert_close("v0", &found.initial, &numbers(&expected["initial"]), 1e-4);
    assert_close("k*", &found.mean_key, &numbers(&expected["key"]), 1e-4);
    assert_close("k", &found.bare_key, &numbers(&expected["bare_key"]), 1e-4);

    // The update from numpy's own keys, covariance and δ, so that only the formula is compared.
    let mut theirs = found.clone();
    theirs.delta = numbers(&expected["delta"])
        .iter()
        .map(|v| *v as f32)
        .collect();
    theirs.mean_key = numbers(&expected["key"]);
    theirs.bare_key = numbers(&expected["bare_key"]);
    let covariance = Covariance {
        layer: fixture.layer,
        tokens: fixture.texts.iter().map(|t| t.len() as u64).sum(),
        width: theirs.mean_key.len(),
        values: numbers(&expected["covariance"]),
    };
    let update = rank_one(&theirs, &covariance.factor(fixture.ridge).unwrap()).unwrap();
    let name = format!("h.{}.mlp.c_proj.weight", fixture.layer);
    let old = numbers(&model.parameter(&name).unwrap());
    let width = update.outputs.len();
    let change =
        |i: usize| f64::from(update.inputs[i / width]) * f64::from(update.outputs[i % width]);
    let new: Vec<f64> = old.iter().enumerate().map(|(i, w)| w + change(i)).collect();
    assert_close("W'", &new, &numbers(&expected["rome"]), 1e-4);
}

#[test]
fn memit_over_three_layers_is_numpys() {
    let (fixture, expected) = fixture();
    let (model, memit) = (model(), &fixture.memit);
    let wants = numbers(&expected["wants"]);
    let d = wants.len() / memit.facts.len();
    let fact = |(fact, value): (&Fact, &[f64])| Target {
        prompts: fact
            .rows
            .iter()
            .map(|r| (r.ids.clone(), r.subject))
            .collect(),
        value: value.to_vec(),
    };
    let facts: Vec<Target> = memit.facts.iter().zip(wants.chunks(d)).map(fact).collect();
    let sample = Sample {
        texts: fixture.texts.clone(),
    };
    let covariances = covariances(
        &Reader::new(&model).unwrap(),
        &sample,
        &memit.layers,
        &mut |_| {},
    )
    .unwrap();
    let factors: Vec<_> = (covariances.iter())
        .map(|c| (c.layer, c.factor(0.0).unwrap()))
        .collect();
    let factors = factors
        .iter()
        .map(|(layer, f)| (*layer, Preserved::Covariance(f)));
    let factors: Vec<_> = factors.collect();
    let lambda = Lambda::Tokens(memit.factor);
    let changes = spread(&model, &facts, &factors, lambda, &mut |_| {}).unwrap();
    let delta = Delta {
        meta: Meta::default(),
        changes,
    };
    let edited = delta.lay_over(&model).unwrap();
    for layer in &memit.layers {
        let name = format!("h.{layer}.mlp.c_proj.weight");
        let found = numbers(&edited.parameter(&name).unwrap());
        let theirs = numbers(&expected[&format!("memit.{layer}")]);
        assert_close(&name, &found, &theirs, 1e-4);
    }
}

#[test]
fn alphaedit_is_numpys() {
    let tensors = folder().join("alphaedit.safetensors");
    let tensors = candle_core::safetensors::load(tensors, &Device::Cpu).unwrap();
    let rows = |name: &str| -> Vec<Vec<f64>> { tensors[name].to_vec2().unwrap() };
    let covariance = Covariance {
        layer: 0,
        tokens: 400,
        width: rows("C").len(),
        values: numbers(&tensors["C"]),
    };
    let space = NullSpace::of(&covariance, numbers(&tensors["energy"])[0]).unwrap();
    let projection = rows("P");
    let trace: f64 = (0..projection.len()).map(|i| projection[i][i]).sum();
    assert_eq!(space.dimensions(), trace.round() as usize);
    let (own, earlier) = (rows("K1"), rows("Kp"));
    for key in own.iter().chain(&earlier) {
        let along = |row: &Vec<f64>| row.iter().zip(key).map(|(p, k)| p * k).sum();
        let theirs: Vec<f64> = projection.iter().map(along).collect();
        assert_close("P·k", &space.project(key), &theirs, 1e-10);
    }
    let projected = space.project_all(&earlier);
    let lambda = Lambda::Tokens(numbers(&tensors["l2"])[0]);
    let preserved = Preserved::NullSpace(&space, &projected);
    let found = directions(preserved, &own, lambda).unwrap();
    for (out, theirs) in rows("D").iter().enumerate() {
        let mut row = vec![0.0; own[0].len()];
        for (direction, residual) in found.iter().zip(rows("R")) {
            let each = row.iter_mut().zip(direction);
            each.for_each(|(sum, u)| *sum += residual[out] * u);
        }
        assert_close("D", &row, theirs, 1e-9);
    }
}
