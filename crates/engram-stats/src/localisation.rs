//! Localisation of a profile over layers.

use serde::{Deserialize, Serialize};

/// The smallest total of positive recovery for which shares are defined; below it they would be shares of noise.
pub const MIN_TOTAL_RECOVERY: f64 = 0.05;

/// The share of the total that [`Localisation::layers_80`] asks for.
const HELD: f64 = 0.8;

/// Localisation of the recovery of one pair (or of a mean) over L layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Localisation {
    /// Sum of max(R, 0) over layers.
    pub total: f64,
    /// max(R, 0) / `total` of each layer, in the order of the input; they sum to 1.
    pub shares: Vec<f64>,
    /// Normalised entropy −Σ p ln p / ln L: 1 is spread evenly, 0 is one layer
    /// (also where there is only one).
    pub entropy: f64,
    /// Gini coefficient of the shares: 0 is spread evenly, (L − 1) / L is one layer.
    pub gini: f64,
    /// The smallest number of layers that together hold 80 % of the total.
    pub layers_80: usize,
}

/// Localisation indices of `recovery`, one value per layer; negative values count as 0. Meant for additive
/// contributions (outputs of attention and MLP), not for the cumulative residual stream.
///
/// `None` if Σ max(R, 0) is below [`MIN_TOTAL_RECOVERY`] or a value is not finite. Such cases should be counted and
/// reported.
pub fn localisation(recovery: &[f64]) -> Option<Localisation> {
    if recovery.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let positive: Vec<f64> = recovery.iter().map(|v| v.max(0.0)).collect();
    let total: f64 = positive.iter().sum();
    if !total.is_finite() || total < MIN_TOTAL_RECOVERY {
        return None;
    }
    let shares: Vec<f64> = positive.iter().map(|r| r / total).collect();
    let mut descending = shares.clone();
    descending.sort_by(|a, b| b.total_cmp(a));
    Some(Localisation {
        total,
        entropy: entropy(&shares),
        gini: gini(&descending),
        layers_80: layers_holding(&descending, HELD),
        shares,
    })
}

fn entropy(shares: &[f64]) -> f64 {
    if shares.len() < 2 {
        return 0.0;
    }
    let nats: f64 = shares
        .iter()
        .filter(|&&p| p > 0.0)
        .map(|p| -p * p.ln())
        .sum();
    (nats / (shares.len() as f64).ln()).clamp(0.0, 1.0)
}

/// Mean absolute difference over twice the mean, from shares in descending order.
fn gini(descending: &[f64]) -> f64 {
    let layers = descending.len() as f64;
    let weighted: f64 = descending
        .iter()
        .enumerate()
        .map(|(i, p)| (layers - 1.0 - 2.0 * i as f64) * p)
        .sum();
    (weighted / layers).max(0.0)
}

fn layers_holding(descending: &[f64], held: f64) -> usize {
    let mut sum = 0.0;
    for (i, p) in descending.iter().enumerate() {
        sum += p;
        // Four equal shares of five hold 80 %, whatever rounding says.
        if sum >= held - 1e-12 {
            return i + 1;
        }
    }
    descending.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_and_single() {
        let even = localisation(&[0.2; 5]).unwrap();
        assert!((even.entropy - 1.0).abs() < 1e-12);
        assert!(even.gini < 1e-12);
        assert_eq!(even.layers_80, 4);

        let single = localisation(&[-0.3, 0.0, 0.9, -0.1]).unwrap();
        assert_eq!(single.shares, [0.0, 0.0, 1.0, 0.0]);
        assert_eq!(single.entropy, 0.0);
        assert_eq!(single.gini, 0.75);
        assert_eq!(single.layers_80, 1);
        assert_eq!(single.total, 0.9);
    }

    #[test]
    fn by_hand() {
        let result = localisation(&[0.25, 0.5, -1.0, 0.25]).unwrap();
        // Shares ¼, ½, 0, ¼: 1.5 ln 2 nats of 2 ln 2; Gini by Σ|pᵢ − pⱼ| / 2L.
        assert!((result.entropy - 0.75).abs() < 1e-12);
        assert!((result.gini - 0.375).abs() < 1e-12);
        assert_eq!(result.layers_80, 3);
    }

    #[test]
    fn undefined_is_none() {
        assert_eq!(localisation(&[]), None);
        assert_eq!(localisation(&[0.049, -5.0]), None);
        assert!(localisation(&[0.05]).is_some());
        assert_eq!(localisation(&[0.9, f64::NAN]), None);
        assert_eq!(localisation(&[0.9, f64::INFINITY]), None);
    }
}
