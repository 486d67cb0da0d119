//! Westfall and Young's max-T: the familywise error rate over the layers.

use crate::{nominal, normal, share};
use engram_stats::*;
use rand_chacha::ChaCha8Rng;

const LAYERS: usize = 12;

/// Neighbouring layers say much the same; the spread grows with the layer.
fn profile(rng: &mut ChaCha8Rng, effect: &[f64]) -> Vec<f64> {
    let mut last = normal(rng);
    (0..LAYERS)
        .map(|layer| {
            last = 0.9 * last + (1.0_f64 - 0.81).sqrt() * normal(rng);
            let spread = 1.0 + layer as f64 / 4.0;
            spread * (last + effect.get(layer).unwrap_or(&0.0))
        })
        .collect()
}

fn profiles(rng: &mut ChaCha8Rng, n: usize, effect: &[f64]) -> Vec<Vec<f64>> {
    (0..n).map(|_| profile(rng, effect)).collect()
}

fn any(p: &[f64]) -> bool {
    p.iter().any(|&p| p <= 0.05)
}

#[test]
fn no_layer_has_an_effect() {
    let trials = 1000;
    for statistic in [LayerStatistic::T, LayerStatistic::Mean] {
        let rate = share(trials, 21, |rng| {
            let rows = profiles(rng, 16, &[]);
            any(&max_t_sign_flip(&rows, statistic, 299, 1).unwrap().adjusted)
        });
        nominal(rate, trials);
        let rate = share(trials, 22, |rng| {
            let (a, b) = (profiles(rng, 8, &[]), profiles(rng, 10, &[]));
            any(&max_t_kinds(&a, &b, statistic, 299, 1).unwrap().adjusted)
        });
        nominal(rate, trials);
    }
}

#[test]
fn where_some_layers_have_one_the_others_keep_the_level_and_holm_finds_less() {
    let trials = 800;
    let effect = [0.9; 5];
    let (mut max_t_calls, mut holm_calls) = (0, 0);
    let rate = share(trials, 23, |rng| {
        let rows = profiles(rng, 16, &effect);
        let found = max_t_sign_flip(&rows, LayerStatistic::T, 499, 2).unwrap();
        let calls = |p: &[f64]| p.iter().filter(|&&p| p <= 0.05).count();
        max_t_calls += calls(&found.adjusted[..5]);
        holm_calls += calls(&holm(&found.p_value).unwrap()[..5]);
        any(&found.adjusted[5..])
    });
    assert!(rate <= 0.05 + 4.0 * (0.05 * 0.95 / trials as f64).sqrt());
    assert!(max_t_calls as f64 > 1.1 * holm_calls as f64);
    assert!(max_t_calls > trials * 5 / 4);
}
