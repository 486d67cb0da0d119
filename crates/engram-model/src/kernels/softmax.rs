//! Probabilities from one row of logits.

use super::cross_entropy::{gradient, log_sum_exp};

/// Log-probability of a token, in nats.
pub fn log_probability(logits: &[f32], token: usize) -> f64 {
    let (max, sum) = log_sum_exp(logits);
    f64::from(logits[token]) - f64::from(max) - f64::from(sum).ln()
}

/// Every token's log-probability, in nats.
pub fn log_probabilities(logits: &[f32]) -> Vec<f64> {
    let (max, sum) = log_sum_exp(logits);
    let all = f64::from(max) + f64::from(sum).ln();
    logits.iter().map(|l| f64::from(*l) - all).collect()
}

/// out = factor times every token's probability.
pub fn probabilities(logits: &[f32], factor: f32, out: &mut [f32]) {
    let (max, sum) = log_sum_exp(logits);
    out.copy_from_slice(logits);
    gradient(out, max, factor / sum);
}
