//! A real pretrained model: SmolLM2-135M-Instruct, fetched by fixtures/smollm2.py.

mod common;

use std::path::Path;

use candle_core::Device;
use common::{PLAIN, prepared, rows, spec};
use engram_core::{Direction, Metric, Pair, Positions, Site};
use engram_model::LanguageModel;
use engram_patch::{Memory, StagedEngine, SweepSpec, ask};

fn model() -> LanguageModel {
    let path = std::env::var_os("ENGRAM_SMOLLM2").expect("ENGRAM_SMOLLM2 is set");
    LanguageModel::read(Path::new(&path), &Device::Cpu).unwrap()
}

/// Probabilities known from another implementation, to two digits.
#[test]
#[ignore = "needs ENGRAM_SMOLLM2, the file that fixtures/smollm2.py fetches"]
fn says_what_it_says_elsewhere() {
    let model = model();
    for (prompt, token, expected) in [
        ("The capital of France is", " Paris", 0.77),
        ("Epilepsy is a chronic disorder of the", " brain", 0.36),
        ("Epilepsy is a chronic disorder of the", " nervous", 0.25),
    ] {
        let ids = model.tokenizer().encode(prompt).unwrap();
        let answers = ask(&model, &ids, 5).unwrap();
        let found = answers.iter().find(|a| a.token == token).unwrap();
        let off = (found.probability - expected).abs();
        assert!(off <= 0.005, "{prompt}: {token} has {}", found.probability);
    }
    let shape = model.shape();
    let sizes = (shape.layers, shape.d_model, shape.heads, shape.kv_heads);
    assert_eq!((model.family(), sizes), ("llama", (30, 576, 9, 3)));
}

/// Both engines on it: the residual stream and attention's and the MLP's outputs, heads of queries and of keys and values.
#[test]
#[ignore = "needs ENGRAM_SMOLLM2, the file that fixtures/smollm2.py fetches"]
fn both_engines_agree() {
    let model = model();
    let pair = Pair {
        id: "capital".to_owned(),
        kind: "associative".to_owned(),
        clean: "The capital of France is".to_owned(),
        corrupt: "The capital of Italy is".to_owned(),
        answer: " Paris".to_owned(),
        foil: " Rome".to_owned(),
        ..Pair::default()
    };
    let pairs = prepared(&model, vec![pair]);
    let engine = StagedEngine::new(&model, Memory::beside(&model.shape(), 4 << 30)).unwrap();
    let at = |site, layers: &[usize]| {
        let all = model.sites().everywhere(site).into_iter();
        all.filter(|s| s.layer.is_some_and(|l| layers.contains(&l)))
            .collect::<Vec<_>>()
    };
    let mut sites = at(Site::ResidPre, &[0, 9, 29]);
    for site in [
        Site::AttnOut,
        Site::MlpOut,
        Site::MlpUp,
        Site::K,
        Site::V,
        Site::Z,
    ] {
        sites.extend(at(site, &[3, 29]));
    }
    for direction in [Direction::Denoise, Direction::Noise] {
        let spec = SweepSpec {
            direction,
            positions: Positions::Each,
            metrics: vec![Metric::LogitDiff, Metric::Prob],
            ..spec(sites.clone())
        };
        let expected = rows(&PLAIN, &model, spec.clone(), &pairs);
        let found = rows(&engine, &model, spec, &pairs);
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(&expected) {
            assert!((a.patched - b.patched).abs() < 1e-3, "{a:?}\n{b:?}");
        }
        let knows = (&found[0].clean, &found[0].corrupt);
        assert!(*knows.0 > 1.0 && *knows.1 < -1.0, "{knows:?}");
    }
}
