//! What the graph fixes, against runs: a row is trivial exactly if its recovery is 1, or 0, under every one of
//! several draws of weights.

mod common;

use std::path::Path;

use candle_core::{Device, Tensor};
use common::{PLAIN, VOCAB, every_site, model, rows, spec};
use engram_core::{Align, Direction, Metric, NamedSite, Pair, Positions, Row, Site, Span, Suite};
use engram_model::{LanguageModel, Tokenizer, families};
use engram_patch::{Plan, PreparedPair, Reading, SweepSpec, check, refuse_unfit};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Draws of weights under which a recovery must be the same.
const DRAWS: u64 = 3;

/// A model of a family whose fixture's configuration is changed, with random weights.
fn drawn(fixture: &str, change: &Value, seed: u64) -> LanguageModel {
    let config = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/families")
        .join(fixture)
        .join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(config).unwrap()).unwrap();
    let changed = change.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(changed);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let family = families::read(&path).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let parameters = family.parameters().into_iter().map(|(name, shape)| {
        let centre = if name.contains("norm") || name.contains("ln_") {
            1.0
        } else {
            0.0
        };
        let count: usize = shape.iter().product();
        let value = |_| centre + rng.random_range(-0.4f32..0.4);
        let values: Vec<f32> = (0..count).map(value).collect();
        (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    });
    let parameters = parameters.collect();
    let vocab = family.architecture().vocab;
    LanguageModel::of(family, parameters, Tokenizer::numbers(vocab).unwrap()).unwrap()
}

/// Networks whose graphs differ: how positions enter, which keys a query attends to, what the MLP reads.
fn network(name: &str, seed: u64) -> LanguageModel {
    match name {
        "learned positions" => model(2, seed),
        "rotary" => drawn("llama_grouped", &json!({}), seed),
        "parallel" => drawn("gpt_neox", &json!({}), seed),
        "window of 1" => drawn("mistral_window", &json!({"sliding_window": 1}), seed),
        "window of 2" => drawn("mistral_window", &json!({"sliding_window": 2}), seed),
        "learned positions, window of 1" => drawn("gpt_neo", &json!({"window_size": 1}), seed),
        _ => panic!("{name}"),
    }
}

const NETWORKS: [&str; 6] = [
    "learned positions",
    "rotary",
    "parallel",
    "window of 1",
    "window of 2",
    "learned positions, window of 1",
];

/// Clean and corrupted tokens, and their subjects.
fn pair(clean: &[u32], corrupt: &[u32], subject: [usize; 2], corrupt_subject: [usize; 2]) -> Pair {
    let span = |[start, end]: [usize; 2]| Some(Span::Tokens(start, end));
    Pair {
        id: format!("{clean:?} {corrupt:?}"),
        kind: "associative".into(),
        clean_ids: Some(clean.to_vec()),
        corrupt_ids: Some(corrupt.to_vec()),
        answer_ids: Some(vec![3, 4]),
        foil_ids: Some(vec![5]),
        subject: span(subject),
        corrupt_subject: span(corrupt_subject),
        ..Pair::default()
    }
}

/// Pairs by alignment. Subjects are tokens 30 and above; what is around them is equal.
fn pairs(align: Align) -> Vec<Pair> {
    let equal = [
        pair(&[1, 30, 31, 8, 9], &[1, 32, 33, 8, 9], [1, 3], [1, 3]),
        pair(&[30, 7, 8, 9], &[31, 7, 8, 9], [0, 1], [0, 1]),
        pair(&[1, 7, 8, 30], &[1, 7, 8, 31], [3, 4], [3, 4]),
    ];
    let unequal = [
        pair(&[1, 30, 8, 9], &[1, 32, 33, 8, 9], [1, 2], [1, 3]),
        pair(&[1, 2, 30, 31, 32, 8, 9], &[2, 33, 8, 9], [2, 5], [1, 2]),
        // The subject ends in one place; what follows differs in length.
        pair(&[1, 30, 31, 8, 9], &[1, 32, 33, 9], [1, 3], [1, 3]),
        // The last token is the subject's.
        pair(&[1, 2, 30], &[2, 31], [2, 3], [1, 2]),
        // The subject is the same; a token before it is left out.
        pair(&[1, 2, 30, 8, 9], &[2, 30, 8, 9], [2, 3], [1, 2]),
    ];
    let unequal = unequal.into_iter().filter(|_| align != Align::Strict);
    equal.into_iter().chain(unequal).collect()
}

fn prepared(model: &LanguageModel, pairs: Vec<Pair>) -> Vec<PreparedPair> {
    let reading = Reading {
        unequal: true,
        ..Reading::default()
    };
    let checked = check(
        &Suite { pairs },
        model.tokenizer(),
        &model.shape(),
        &reading,
    );
    refuse_unfit(checked.unwrap()).unwrap()
}

/// The rows of a sweep of every site by position, whole, at the end and at the subject, those pairs left out that an
/// alignment leaves no such cell.
fn swept(model: &LanguageModel, align: Align, window: usize, direction: Direction) -> Vec<Row> {
    let fits = |site: &NamedSite| {
        (site.site != Site::Pattern || align == Align::Strict)
            && (window == 1 || site.layer.is_some())
    };
    let sites: Vec<NamedSite> = every_site(model).into_iter().filter(fits).collect();
    let positions = [
        Positions::Each,
        Positions::All,
        Positions::Last,
        Positions::Subject,
    ];
    let all = positions.into_iter().flat_map(|positions| {
        let of = SweepSpec {
            align,
            window,
            direction,
            positions,
            metrics: vec![Metric::LogitDiff, Metric::LogProbSeq],
            ..spec(sites.clone())
        };
        let pairs = prepared(model, pairs(align));
        let fit = Plan::of_fit(of.clone(), model.shape(), pairs.clone())
            .unwrap()
            .0;
        let ids: Vec<&str> = fit.pairs.iter().map(|p| p.pair.id.as_str()).collect();
        let pairs: Vec<_> = pairs
            .into_iter()
            .filter(|p| ids.contains(&p.id.as_str()))
            .collect();
        rows(&PLAIN, model, of, &pairs)
    });
    all.collect()
}

/// Whether a recovery is this value in all draws.
fn always(draws: &[Vec<Row>], index: usize, value: f64, tolerance: f64) -> bool {
    let near = |row: &Row| row.recovery.is_some_and(|r| (r - value).abs() < tolerance);
    draws.iter().all(|rows| near(&rows[index]))
}

#[test]
fn a_row_is_trivial_exactly_if_its_recovery_is_fixed_under_every_draw_of_weights() {
    let mut counts = std::collections::BTreeMap::new();
    for name in NETWORKS {
        let models: Vec<LanguageModel> = (0..DRAWS).map(|seed| network(name, seed)).collect();
        for align in [Align::Strict, Align::Last, Align::Subject] {
            for (window, direction) in [1, 3].into_iter().flat_map(|w| {
                [Direction::Denoise, Direction::Noise].map(|direction| (w, direction))
            }) {
                let draws: Vec<Vec<Row>> = models
                    .iter()
                    .map(|model| swept(model, align, window, direction))
                    .collect();
                for (index, row) in draws[0].iter().enumerate() {
                    let what = || format!("{name}, {align}, window {window}: {row:?}");
                    // Where no difference reaches what is read, there is no gap to recover a share of.
                    let no_gap =
                        |rows: &Vec<Row>| (rows[index].clean - rows[index].corrupt).abs() < 1e-3;
                    if draws.iter().any(no_gap) {
                        continue;
                    }
                    let fixed = [0.0, 1.0].into_iter().find(|value| {
                        always(&draws, index, *value, if row.trivial { 2e-3 } else { 2e-6 })
                    });
                    assert_eq!(row.trivial, fixed.is_some(), "{}", what());
                    let said = row
                        .trivial_why
                        .as_deref()
                        .map(|why| why.starts_with("every path"));
                    assert_eq!(fixed.map(|value| value == 1.0), said, "{}", what());
                    *counts.entry((align, fixed.map(|v| v as u8))).or_insert(0) += 1;
                }
            }
        }
    }
    for align in [Align::Strict, Align::Last, Align::Subject] {
        for fixed in [Some(0), Some(1), None] {
            assert!(counts[&(align, fixed)] > 100, "{counts:?}");
        }
    }
    assert_eq!(VOCAB, 40, "tokens of the pairs are in the vocabulary");
}
