//! AdamW, compared with the formulas of the paper in double precision.

use engram_model::Gpt2Config;
use engram_model::training::Flat;
use engram_train::adamw::{AdamW, decayed};

/// One element's AdamW, from the definition: bias-corrected moments, decay apart from the gradient.
struct Reference {
    w: f64,
    m: f64,
    v: f64,
}

impl Reference {
    fn step(&mut self, t: i32, g: f64, rate: f64, decay: f64) {
        self.w -= rate * decay * self.w;
        self.m = 0.9 * self.m + 0.1 * g;
        self.v = 0.999 * self.v + 0.001 * g * g;
        let (m, v) = (
            self.m / (1.0 - 0.9f64.powi(t)),
            self.v / (1.0 - 0.999f64.powi(t)),
        );
        self.w -= rate * m / (v.sqrt() + 1e-8);
    }
}

fn gradient(i: usize, t: i32) -> f64 {
    ((i as f64 * 0.37 + f64::from(t) * 1.3).sin() * 0.5)
        * if i.is_multiple_of(7) { 0.0 } else { 1.0 }
}

#[test]
fn every_element_follows_the_definition() {
    // Large enough that a parameter falls into several stretches.
    let config = Gpt2Config::new(1000, 8, 64, 1, 2);
    let mut weights = Flat::zeros(&config);
    let n = weights.values().len();
    for (i, w) in weights.values_mut().iter_mut().enumerate() {
        *w = (i as f32 * 0.11).cos();
    }
    let start: Vec<f64> = weights.values().iter().map(|w| f64::from(*w)).collect();
    let decays: Vec<bool> = {
        let mut all = vec![false; n];
        for (name, range) in weights.ranges() {
            all[range].fill(decayed(name));
        }
        all
    };
    let mut references: Vec<Reference> = start
        .iter()
        .map(|&w| Reference { w, m: 0.0, v: 0.0 })
        .collect();
    let mut optimizer = AdamW::new(&weights, 0.1, decayed);
    for t in 1..=6 {
        let rate = 1e-2 / f64::from(t);
        // The gradient comes in two parts, as from two threads.
        let mut parts = [Flat::zeros(&config), Flat::zeros(&config)];
        for i in 0..n {
            let g = gradient(i, t);
            parts[0].values_mut()[i] = (0.25 * g) as f32;
            parts[1].values_mut()[i] = (0.75 * g) as f32;
        }
        let norm = (0..n).map(|i| gradient(i, t).powi(2)).sum::<f64>().sqrt();
        let most = if t % 2 == 0 { 0.5 * norm } else { 0.0 };
        let stepped = optimizer.step(&mut weights, &mut parts, rate, most);
        assert!(stepped.applied);
        assert!((stepped.grad_norm - norm).abs() < 1e-5 * norm);
        assert!(parts.iter().all(|p| p.values().iter().all(|g| *g == 0.0)));
        let clip = if most > 0.0 {
            most / (norm + 1e-6)
        } else {
            1.0
        };
        for (i, reference) in references.iter_mut().enumerate() {
            let decay = if decays[i] { 0.1 } else { 0.0 };
            reference.step(t, clip * gradient(i, t), rate, decay);
        }
    }
    for (i, (w, reference)) in weights.values().iter().zip(&references).enumerate() {
        assert!(
            (f64::from(*w) - reference.w).abs() < 1e-5,
            "{i}: {w} {}",
            reference.w
        );
    }
}

#[test]
fn the_first_step_is_the_rate_in_the_gradients_sign() {
    let config = Gpt2Config::new(5, 4, 4, 1, 1);
    let mut weights = Flat::zeros(&config);
    let mut parts = [Flat::zeros(&config)];
    let values = parts[0].values_mut();
    (values[0], values[1]) = (3.0, -0.002);
    AdamW::new(&weights, 0.0, decayed).step(&mut weights, &mut parts, 0.1, 0.0);
    assert!((weights.values()[0] + 0.1).abs() < 1e-6);
    assert!((weights.values()[1] - 0.1).abs() < 1e-5);
    assert_eq!(weights.values()[2], 0.0);
}

#[test]
fn a_gradient_that_is_no_number_changes_nothing() {
    let config = Gpt2Config::new(5, 4, 4, 1, 1);
    let mut weights = Flat::zeros(&config);
    let mut parts = [Flat::zeros(&config)];
    parts[0].values_mut()[3] = f32::NAN;
    let stepped = AdamW::new(&weights, 0.0, decayed).step(&mut weights, &mut parts, 0.1, 1.0);
    assert!(!stepped.applied && stepped.grad_norm.is_nan());
    assert!(weights.values().iter().all(|w| *w == 0.0));
}

#[test]
fn decay_spares_biases_and_layer_norms() {
    let flat = Flat::zeros(&Gpt2Config::new(5, 4, 4, 1, 1));
    let with: Vec<&str> = flat
        .ranges()
        .map(|(n, _)| n)
        .filter(|n| decayed(n))
        .collect();
    let expected = [
        "wte.weight",
        "wpe.weight",
        "h.0.attn.c_attn.weight",
        "h.0.attn.c_proj.weight",
        "h.0.mlp.c_fc.weight",
        "h.0.mlp.c_proj.weight",
    ];
    assert_eq!(with, expected);
}
