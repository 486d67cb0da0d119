//! Against activation patching by forward hooks of the transformers library (fixtures/paper_profile.py,
//! fixtures/patching.py, fixtures/families_patching.py).

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::Device;
use common::{PLAIN, family, rows, spec};
use engram_core::files::read_json;
use engram_core::{Direction, Metric, NamedSite, Pair, Positions, RowAlign, Select, Suite};
use engram_model::{Gpt2Config, LanguageModel, Tokenizer, checkpoint};
use engram_patch::{
    Engine, Memory, NaiveEngine, NaiveSettings, PreparedPair, Profile, Reading, StagedEngine,
    SweepSpec, check, published_spec, refuse_unfit,
};
use serde::Deserialize;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

/// The checkpoint has no tokenizer: its prompts are ids.
fn tiny() -> LanguageModel {
    let folder = fixtures().join("paper_profile");
    let config = Gpt2Config::read(&folder.join(checkpoint::CONFIG)).unwrap();
    let parameters = checkpoint::read(&folder, &config, &Device::Cpu).unwrap();
    let tokenizer = Tokenizer::numbers(config.vocab_size).unwrap();
    LanguageModel::from_parts(&config, parameters, tokenizer).unwrap()
}

fn prepared(model: &LanguageModel, pair: &Pair, profile: Profile) -> Vec<PreparedPair> {
    let suite = Suite {
        pairs: vec![pair.clone()],
    };
    let reading = Reading {
        profile,
        ..Reading::default()
    };
    refuse_unfit(check(&suite, model.tokenizer(), &model.shape(), &reading).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct Published {
    pair: Pair,
    clean: f64,
    corrupt: f64,
    patched: BTreeMap<String, f64>,
}

#[test]
fn the_profile_paper_is_the_published_procedure() {
    let model = tiny();
    let published: Vec<Published> = read_json(&fixtures().join("paper_profile.json")).unwrap();
    assert_eq!(published.len(), 6);
    let mut visible = 0;
    for expected in published {
        let pairs = prepared(&model, &expected.pair, Profile::Published);
        for skip_trivial in [false, true] {
            let engine = NaiveSettings {
                skip_trivial,
                ..PLAIN
            };
            let found = rows(&engine, &model, published_spec(&model.sites()), &pairs);
            let names: BTreeSet<&str> = found.iter().map(|r| r.name.as_str()).collect();
            let modules: BTreeSet<&str> = expected.patched.keys().map(String::as_str).collect();
            assert_eq!(names, modules);
            for row in &found {
                let want = expected.patched[&row.name];
                let off = (row.patched - want).abs();
                assert!(off < 1e-5, "{}: {} for {want}", row.name, row.patched);
                assert!((row.clean - expected.clean).abs() < 1e-5);
                assert!((row.corrupt - expected.corrupt).abs() < 1e-5);
                assert_eq!((row.align, row.position), (RowAlign::Overwrite, None));
                visible += usize::from((want - expected.corrupt).abs() > 1e-2);
            }
            let head = found.iter().find(|r| r.name == "lm_head").unwrap();
            assert!(head.trivial && head.trivial_why.is_some());
        }
    }
    assert!(visible > 150, "{visible} patches move the metric");
}

#[derive(Deserialize)]
struct Patched {
    pair: Pair,
    metrics: Vec<Metric>,
    clean: Vec<f64>,
    corrupt: Vec<f64>,
    /// Site: the whole, then each position; for each the metrics.
    denoise: BTreeMap<String, Vec<Vec<f64>>>,
    noise: BTreeMap<String, Vec<Vec<f64>>>,
}

#[test]
fn every_site_position_direction_and_metric_agrees_with_plain_hooks() {
    let compared = agrees_with_plain_hooks(&tiny(), "patching.json");
    assert!(compared > 16_000, "{compared} values");
}

/// Families whose blocks differ most: rotary embedding and grouped queries, normalised queries and keys, capped
/// scores and normalised outputs, attention and MLP side by side.
#[test]
fn other_families_agree_with_plain_hooks() {
    for name in ["gpt_neox", "llama_grouped", "qwen3", "gemma2"] {
        let file = format!("families_patching/{name}.json");
        let compared = agrees_with_plain_hooks(&family(name), &file);
        assert!(compared > 3000, "{name}: {compared} values");
    }
}

/// Both engines against what forward hooks found; gives the number of values compared.
fn agrees_with_plain_hooks(model: &LanguageModel, file: &str) -> usize {
    let staged = StagedEngine::new(model, Memory::beside(&model.shape(), 1 << 30)).unwrap();
    let naive = NaiveEngine::new(model, PLAIN);
    let engines = [&naive as &dyn Engine, &staged];
    engines
        .map(|engine| engine_agrees_with_plain_hooks(model, engine, file))
        .iter()
        .sum()
}

fn engine_agrees_with_plain_hooks(model: &LanguageModel, engine: &dyn Engine, file: &str) -> usize {
    let expected: Vec<Patched> = read_json(&fixtures().join(file)).unwrap();
    let mut compared = 0;
    for case in expected {
        let pairs = prepared(model, &case.pair, Profile::Standard);
        for (direction, sites) in [
            (Direction::Denoise, &case.denoise),
            (Direction::Noise, &case.noise),
        ] {
            for (site, values) in sites {
                let whole = (Positions::All, &values[..1]);
                for (positions, values) in [whole, (Positions::Each, &values[1..])] {
                    let named = model.sites().resolve(site).unwrap();
                    let whole = |s: NamedSite| match site.ends_with(']') {
                        true => s,
                        false => s.with(Select::Whole),
                    };
                    let all_heads = named.into_iter().map(whole);
                    let spec = SweepSpec {
                        direction,
                        positions,
                        metrics: case.metrics.clone(),
                        ..spec(all_heads.collect())
                    };
                    let found = rows(engine, model, spec, &pairs);
                    assert_eq!(found.len(), values.len() * case.metrics.len());
                    for (i, row) in found.iter().enumerate() {
                        let metric = i % case.metrics.len();
                        let want = [
                            values[i / case.metrics.len()][metric],
                            case.clean[metric],
                            case.corrupt[metric],
                        ];
                        for (have, want) in [row.patched, row.clean, row.corrupt].iter().zip(want) {
                            assert!((have - want).abs() < 1e-4, "{have} for {want}: {row:?}");
                        }
                        compared += 1;
                    }
                }
            }
        }
    }
    compared
}

/// A cell as fixtures/lens.py names it: direction, site, layer, head or neuron, position, then
/// `logit_diff`, `prob`, `logprob`, `kl` and `rank`.
type LensCell = (
    Direction,
    String,
    Option<usize>,
    Option<usize>,
    Option<usize>,
    f64,
    f64,
    f64,
    f64,
    f64,
);

#[derive(Deserialize)]
struct Lens {
    pair: Pair,
    cells: Vec<LensCell>,
}

#[test]
fn every_site_head_neuron_position_and_direction_agrees_with_transformer_lens() {
    let model = tiny();
    let cases: Vec<Lens> = read_json(&fixtures().join("lens.json")).unwrap();
    let staged = StagedEngine::new(&model, Memory::beside(&model.shape(), 1 << 30)).unwrap();
    let naive = NaiveEngine::new(&model, PLAIN);
    let (mut compared, mut visible) = (0, 0);
    for case in cases {
        let pairs = prepared(&model, &case.pair, Profile::Standard);
        for engine in [&staged as &dyn Engine, &naive] {
            // One sweep for each direction, kind of part and choice of positions holds every cell.
            let mut found: BTreeMap<String, Vec<f64>> = BTreeMap::new();
            for direction in [Direction::Denoise, Direction::Noise] {
                for positions in [Positions::All, Positions::Each] {
                    for select in [Select::Whole, Select::Each] {
                        let table = model.sites();
                        let sites = table.sites().iter().flat_map(|s| table.everywhere(*s));
                        let parts = |s: &engram_core::Site| s.has_heads() || s.has_neurons();
                        let sites = sites
                            .filter(|s| select == Select::Whole || parts(&s.site))
                            .map(|s| s.with(select));
                        let spec = SweepSpec {
                            direction,
                            positions,
                            metrics: LENS_METRICS.to_vec(),
                            ..spec(sites.collect())
                        };
                        for row in rows(engine, &model, spec, &pairs) {
                            let part = row.head.or(row.unit);
                            let key = format!(
                                "{direction} {} {:?} {part:?} {:?}",
                                row.site, row.layer, row.position
                            );
                            found.entry(key).or_default().push(row.patched);
                        }
                    }
                }
            }
            for (direction, site, layer, part, position, a, b, c, d, e) in &case.cells {
                let key = format!("{direction} {site} {layer:?} {part:?} {position:?}");
                let values = &found[&key];
                for (have, want) in values.iter().zip([a, b, c, d, e]) {
                    assert!((have - want).abs() < 1e-4, "{key}: {have} for {want}");
                    compared += 1;
                }
                visible += usize::from((d.abs() > 1e-3) && values.len() == 5);
            }
        }
    }
    assert!(compared == 2 * 5 * 3224, "{compared} values");
    assert!(visible > 3000, "{visible} cells are off the clean run");
}

const LENS_METRICS: [Metric; 5] = [
    Metric::LogitDiff,
    Metric::Prob,
    Metric::LogProb,
    Metric::Kl,
    Metric::Rank,
];
