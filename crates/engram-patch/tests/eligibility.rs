//! Whether a row has a recovery is decided once for a pair, on its mean gap over noise samples, and for each metric on
//! that metric's own gap. The right answer is computed here from the rows' clean and corrupted values and the thresholds
//! of docs/patching.md.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{VOCAB, model_of, pair, prepared};
use engram_core::{Corruption, Metric, Pair, Positions, Row, Site, Span};
use engram_model::Gpt2Config;
use engram_patch::{Engine, Memory, Plan, StagedEngine, SweepSpec, ineligible};

const LEAST: [(Metric, f64); 5] = [
    (Metric::LogitDiff, 0.5),
    (Metric::Prob, 0.05),
    (Metric::LogProb, 0.5),
    (Metric::Kl, 0.1),
    (Metric::Rank, std::f64::consts::LN_2),
];

/// The mean over samples of clean − corrupt, by pair and metric; and the gaps of single samples.
fn gaps(rows: &[Row]) -> BTreeMap<(&str, Metric), Vec<f64>> {
    let mut seen = BTreeSet::new();
    let mut found: BTreeMap<(&str, Metric), Vec<f64>> = BTreeMap::new();
    for row in rows {
        let key = (row.pair.as_str(), row.metric);
        if seen.insert((key, row.sample)) {
            found.entry(key).or_default().push(row.clean - row.corrupt);
        }
    }
    found
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn sweep(corruption: Corruption, samples: usize) -> (Vec<Row>, BTreeSet<(String, Metric)>) {
    // Wide enough for logits to differ by more than the thresholds.
    let model = model_of(&Gpt2Config::new(VOCAB, 24, 64, 2, 2), 6);
    let pairs = (0..16u64).map(|i| Pair {
        subject: Some(Span::Tokens(1, 3)),
        ..pair(&format!("p{i:02}"), 6, &[1, 2], 100 + i)
    });
    let table = model.sites();
    let sites = table.everywhere(Site::ResidPre).into_iter().collect();
    let spec = SweepSpec {
        positions: Positions::Subject,
        corruption,
        samples,
        metrics: LEAST.map(|(m, _)| m).to_vec(),
        ..SweepSpec::new(sites)
    };
    let plan = Plan::new(spec, model.shape(), prepared(&model, pairs.collect())).unwrap();
    let engine = StagedEngine::new(&model, Memory::beside(&model.shape(), 1 << 30)).unwrap();
    let results = engine.collect(&plan).unwrap();
    let left_out = ineligible(&results).into_iter();
    let left_out = left_out.flat_map(|of| of.pairs.into_iter().map(move |(p, _)| (p, of.metric)));
    let left_out = left_out.collect();
    (results.into_iter().flat_map(|r| r.rows).collect(), left_out)
}

fn check(rows: &[Row], left_out: &BTreeSet<(String, Metric)>) {
    let gaps = gaps(rows);
    let mut outcomes = BTreeSet::new();
    for row in rows {
        let gap = |metric: Metric| mean(&gaps[&(row.pair.as_str(), metric)]);
        let (metric, least) = *LEAST.iter().find(|(m, _)| *m == row.metric).unwrap();
        let eligible = gap(Metric::LogitDiff) >= 0.5;
        let enough = gap(row.metric) >= least;
        assert_eq!(
            row.recovery.is_some(),
            eligible && enough,
            "{} {} {:?}",
            row.pair,
            row.metric,
            row.sample
        );
        let named = |m| left_out.contains(&(row.pair.clone(), m));
        assert_eq!(named(Metric::LogitDiff), !eligible, "{}", row.pair);
        if eligible {
            assert_eq!(named(metric), !enough, "{} {}", row.pair, row.metric);
        }
        outcomes.insert((eligible, enough));
    }
    assert!(outcomes.contains(&(true, true)), "{outcomes:?}");
    assert!(outcomes.contains(&(true, false)), "{outcomes:?}");
    assert!(outcomes.contains(&(false, false)), "{outcomes:?}");
}

#[test]
fn a_pair_is_eligible_or_not_with_all_its_samples() {
    let (rows, left_out) = sweep(Corruption::Gaussian(3.0), 12);
    check(&rows, &left_out);
    // A pair that is not eligible has samples whose own gap would have been large enough: the draw must not choose.
    let chosen = gaps(&rows).into_iter().any(|((_, metric), values)| {
        metric == Metric::LogitDiff && mean(&values) < 0.5 && values.iter().any(|v| *v >= 0.5)
    });
    assert!(chosen);
}

#[test]
fn each_metric_asks_for_a_gap_of_its_own() {
    let (rows, left_out) = sweep(Corruption::Swap, 1);
    check(&rows, &left_out);
}
