//! Tiny random models and pairs of token ids.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::Path;

use candle_core::{Device, Tensor};
use engram_core::{Direction, Metric, NamedSite, Pair, Row, Site, Span, Suite};
use engram_model::{Gpt2Config, LanguageModel, Shape, Tokenizer, checkpoint, families};
use engram_patch::{
    Cell, Engine, Memory, NaiveEngine, NaiveSettings, PairResult, Plan, PreparedPair, Reading,
    StagedEngine, SweepSpec,
};
use engram_patch::{check, refuse_unfit};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub const VOCAB: usize = 40;

/// A GPT-2 whose weights are large enough for values to differ visibly.
pub fn model(layers: usize, seed: u64) -> LanguageModel {
    model_of(&Gpt2Config::new(VOCAB, 24, 16, layers, 2), seed)
}

/// The same for any configuration.
pub fn model_of(config: &Gpt2Config, seed: u64) -> LanguageModel {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let parameters = config
        .parameters()
        .into_iter()
        .map(|(name, shape)| {
            let centre = if name.contains("ln_") && name.ends_with("weight") {
                1.0
            } else {
                0.0
            };
            let count: usize = shape.iter().product();
            let values: Vec<f32> = (0..count)
                .map(|_| centre + rng.random_range(-0.4f32..0.4))
                .collect();
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            (name, tensor)
        })
        .collect();
    LanguageModel::from_parts(config, parameters, Tokenizer::numbers(VOCAB).unwrap()).unwrap()
}

/// A tiny random checkpoint of a family, as the transformers library wrote it (fixtures/families.py).
pub fn family(name: &str) -> LanguageModel {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/families")
        .join(name);
    let family = families::read(&folder.join(checkpoint::CONFIG)).unwrap();
    let parameters = checkpoint::read(&folder, &*family, &Device::Cpu).unwrap();
    let tokenizer = Tokenizer::numbers(family.architecture().vocab).unwrap();
    LanguageModel::of(family, parameters, tokenizer).unwrap()
}

/// One checkpoint for each way in which a family's network is made.
pub const FAMILIES: [&str; 16] = [
    "gpt_neo",
    "gpt_neox",
    "gpt_neox_sequential",
    "gpt_neox_unbiased",
    "llama",
    "llama_grouped",
    "llama_llama3",
    "llama_biased",
    "llama_head_dim",
    "mistral_window",
    "qwen2_tied",
    "qwen2_window",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3",
];

/// A pair of ids that differs in the tokens at `differ`.
pub fn pair(id: &str, length: usize, differ: &[usize], seed: u64) -> Pair {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let clean: Vec<u32> = (0..length)
        .map(|_| rng.random_range(0..VOCAB as u32))
        .collect();
    let mut corrupt = clean.clone();
    for &p in differ {
        corrupt[p] = (clean[p] + rng.random_range(1..VOCAB as u32)) % VOCAB as u32;
    }
    let answer: Vec<u32> = (0..rng.random_range(1..4))
        .map(|_| rng.random_range(0..20))
        .collect();
    let foil: Vec<u32> = (0..rng.random_range(1..4))
        .map(|_| rng.random_range(20..40))
        .collect();
    Pair {
        id: id.into(),
        kind: "associative".into(),
        clean_ids: Some(clean),
        corrupt_ids: Some(corrupt),
        answer_ids: Some(answer),
        foil_ids: Some(foil),
        ..Pair::default()
    }
}

/// The sizes of the bundled model.
pub fn shape() -> Shape {
    Shape {
        vocab: 8192,
        context: 512,
        ..model(1, 0).shape()
    }
}

pub fn prepared(model: &LanguageModel, pairs: Vec<Pair>) -> Vec<PreparedPair> {
    let suite = Suite { pairs };
    let checked = check(
        &suite,
        model.tokenizer(),
        &model.shape(),
        &Reading::default(),
    )
    .unwrap();
    refuse_unfit(checked).unwrap()
}

/// Every site of the model at every layer.
pub fn every_site(model: &LanguageModel) -> Vec<NamedSite> {
    let table = model.sites();
    table
        .sites()
        .iter()
        .flat_map(|s| table.everywhere(*s))
        .collect()
}

/// A spec that measures everything and leaves no pair out.
pub fn spec(sites: Vec<NamedSite>) -> SweepSpec {
    SweepSpec {
        metrics: Metric::ALL.to_vec(),
        eligible_gap: f64::MIN,
        ..SweepSpec::new(sites)
    }
}

/// Without any short cut.
pub const PLAIN: NaiveSettings = NaiveSettings {
    batch: 64,
    memory: 1 << 30,
    skip_trivial: false,
};

/// What runs a plan of a model.
pub trait Runs {
    fn results(&self, model: &LanguageModel, plan: &Plan) -> Vec<PairResult>;
}

impl Runs for NaiveSettings {
    fn results(&self, model: &LanguageModel, plan: &Plan) -> Vec<PairResult> {
        NaiveEngine::new(model, *self).collect(plan).unwrap()
    }
}

impl Runs for StagedEngine<'_> {
    fn results(&self, _: &LanguageModel, plan: &Plan) -> Vec<PairResult> {
        self.collect(plan).unwrap()
    }
}

impl Runs for dyn Engine + '_ {
    fn results(&self, _: &LanguageModel, plan: &Plan) -> Vec<PairResult> {
        self.collect(plan).unwrap()
    }
}

pub fn rows(
    engine: &(impl Runs + ?Sized),
    model: &LanguageModel,
    spec: SweepSpec,
    pairs: &[PreparedPair],
) -> Vec<Row> {
    let plan = Plan::new(spec, model.shape(), pairs.to_vec()).unwrap();
    let results = engine.results(model, &plan);
    results.into_iter().flat_map(|r| r.rows).collect()
}

pub fn sites(model: &LanguageModel, site: Site) -> Vec<NamedSite> {
    model.sites().everywhere(site)
}

#[track_caller]
pub fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "{a} for {b}");
}

#[track_caller]
pub fn same_values(a: &[Row], b: &[Row]) {
    assert_eq!(a.len(), b.len());
    assert!(!a.is_empty());
    for (a, b) in a.iter().zip(b) {
        assert_eq!(
            (a.metric, a.position, a.layer),
            (b.metric, b.position, b.layer)
        );
        close(a.patched, b.patched);
    }
}

pub fn named(model: &LanguageModel, name: &str) -> Vec<NamedSite> {
    model.sites().resolve(name).unwrap()
}

pub fn with_subject(id: &str, length: usize, differ: &[usize], seed: u64) -> Pair {
    Pair {
        subject: Some(Span::Tokens(1, 3)),
        corrupt_subject: Some(Span::Tokens(1, 3)),
        ..pair(id, length, differ, seed)
    }
}

/// `model` with the parameters that `change` rewrites.
pub fn changed(model: &LanguageModel, change: impl Fn(&str, &mut Vec<f32>)) -> LanguageModel {
    let parameters = model.parameters().iter().map(|(name, tensor)| {
        let mut values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        change(name, &mut values);
        let tensor = Tensor::from_vec(values, tensor.shape(), tensor.device()).unwrap();
        (name.clone(), tensor)
    });
    let tokenizer = Tokenizer::numbers(VOCAB).unwrap();
    LanguageModel::from_parts(
        model.gpt2("a test").unwrap(),
        parameters.collect(),
        tokenizer,
    )
    .unwrap()
}

/// Two pairs of prompts of unlike length.
pub fn two_pairs(model: &LanguageModel) -> Vec<PreparedPair> {
    let pairs = [pair("p", 6, &[2], 1), pair("q", 7, &[1, 4], 2)];
    prepared(model, pairs.to_vec())
}

/// A sweep of cells of the caller's, of both pairs.
pub fn plan_of(model: &LanguageModel, cells: Vec<Cell>, direction: Direction) -> Plan {
    let spec = SweepSpec {
        cells,
        direction,
        ..spec(Vec::new())
    };
    Plan::new(spec, model.shape(), two_pairs(model)).unwrap()
}

pub fn naive(model: &LanguageModel, plan: &Plan) -> Vec<Row> {
    flat(&NaiveEngine::new(model, PLAIN), plan)
}

pub fn staged(model: &LanguageModel, plan: &Plan) -> Vec<Row> {
    let memory = Memory::beside(&model.shape(), 1 << 30);
    let engine = StagedEngine::new(model, memory).unwrap();
    flat(&engine, plan)
}

fn flat(engine: &dyn Engine, plan: &Plan) -> Vec<Row> {
    let results = engine.collect(plan).unwrap();
    results.into_iter().flat_map(|r| r.rows).collect()
}
