//! Error rates under the null and coverage of intervals, on seeded data.

mod groups;
mod layers;
mod models;
mod paired;

use engram_stats::Interval;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const LEVEL: f64 = 0.95;

/// A standard normal value, by Box and Muller.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

fn normals(rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    (0..n).map(|_| normal(rng)).collect()
}

/// Share of `trials` in which `event` happens.
fn share(trials: usize, seed: u64, mut event: impl FnMut(&mut ChaCha8Rng) -> bool) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..trials).filter(|_| event(&mut rng)).count() as f64 / trials as f64
}

/// A rate of false calls at 0.05: within four standard errors, and not below
/// what the discreteness of an exact test explains.
#[track_caller]
fn nominal(rate: f64, trials: usize) {
    let band = 4.0 * (0.05 * 0.95 / trials as f64).sqrt();
    assert!(
        (0.05 - 0.006 - band..=0.05 + band).contains(&rate),
        "{rate}"
    );
}

/// Coverage of a 95 % interval: bootstrap intervals of few units are somewhat
/// short, and 0.90 is what this crate promises for the settings below.
#[track_caller]
fn covers(rate: f64) {
    assert!((0.90..=0.985).contains(&rate), "{rate}");
}

fn holds(interval: Interval, truth: f64) -> bool {
    interval.lower <= truth && truth <= interval.upper
}
