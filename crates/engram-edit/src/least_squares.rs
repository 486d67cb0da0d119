//! The update of many facts at one layer, by least squares: Δ = R·Uᵀ, with a direction u for each fact's key.
//!
//! MEMIT: Δ = R·Kᵀ(λC + K·Kᵀ)⁻¹ (Meng et al. 2023, eq. 14), with M = C⁻¹ equal to R·(λI + G)⁻¹(M·K)ᵀ, G = KᵀMK.
//!
//! AlphaEdit: Δ = R·K₁ᵀP(K_p·K_pᵀP + K₁·K₁ᵀP + λI)⁻¹ (Fang et al. 2025, eq. 14), with the keys K_p of earlier edits. With
//! M = P, K = [K₁ K_p] and R = 0 for the earlier ones it is the same formula, because P² = P.

use rayon::prelude::*;

use crate::cholesky::Cholesky;
use crate::nullspace::NullSpace;

/// How λ, the weight of what is left alone against the facts' keys, is chosen at a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lambda {
    /// λ itself: in tokens for MEMIT (the published 15,000 is for GPT-J's 16,384 neurons), squared length of a key for
    /// AlphaEdit.
    Tokens(f64),
    /// λ at which the update gives the facts' own keys this share of their residuals in the mean: with G = KᵀMK of
    /// these n facts, tr(G(λI + G)⁻¹)/n. A single fact's share is h/(λ + h), h = kᵀMk.
    Share(f64),
}

/// What an update at a layer leaves alone.
#[derive(Debug, Clone, Copy)]
pub enum Preserved<'a> {
    /// The keys of a covariance C, in the mean (MEMIT).
    Covariance(&'a Cholesky),
    /// The keys outside the null space, and those of earlier edits, projected onto it: P·k (AlphaEdit).
    NullSpace(&'a NullSpace, &'a [Vec<f64>]),
}

/// The direction of each key: the columns of M·K·(λI + G)⁻¹ that belong to `keys`. `None` if the keys do not determine
/// them.
pub fn directions(
    preserved: Preserved<'_>,
    keys: &[Vec<f64>],
    lambda: Lambda,
) -> Option<Vec<Vec<f64>>> {
    let n = keys.len();
    let (moved, gram) = match preserved {
        Preserved::Covariance(factor) => {
            let moved = factor.solve_all(keys);
            let gram = products(&moved, keys);
            (moved, gram)
        }
        Preserved::NullSpace(space, earlier) => {
            let mut moved = space.project_all(keys);
            moved.extend_from_slice(earlier);
            let gram = products(&moved, &moved);
            (moved, gram)
        }
    };
    let all = moved.len();
    let lambda = match lambda {
        Lambda::Tokens(tokens) => tokens,
        Lambda::Share(share) => {
            let rows = gram.chunks(all.max(1)).take(n);
            let own: Vec<f64> = rows.flat_map(|row| &row[..n]).copied().collect();
            lambda_of(&own, n, share)?
        }
    };
    let inner = shifted(&gram, all, lambda)?;
    let units: Vec<Vec<f64>> = (0..n).map(|j| unit(all, j)).collect();
    let weights = inner.solve_all(&units);
    let width = keys.first().map_or(0, Vec::len);
    let row = |weights: &Vec<f64>| {
        let mut sum = vec![0f64; width];
        for (w, moved) in weights.iter().zip(&moved) {
            sum.iter_mut().zip(moved).for_each(|(s, m)| *s += w * m);
        }
        sum
    };
    Some(weights.par_iter().map(row).collect())
}

/// aᵢᵀbⱼ, row-major.
fn products(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<f64> {
    let row = |a: &Vec<f64>| -> Vec<f64> {
        let one = |b: &Vec<f64>| a.iter().zip(b).map(|(a, b)| a * b).sum();
        b.iter().map(one).collect()
    };
    a.par_iter().flat_map_iter(row).collect()
}

fn unit(n: usize, at: usize) -> Vec<f64> {
    (0..n).map(|i| f64::from(u8::from(i == at))).collect()
}

/// The factor of λI + G.
fn shifted(gram: &[f64], n: usize, lambda: f64) -> Option<Cholesky> {
    let mut matrix = gram.to_vec();
    for i in 0..n {
        matrix[i * n + i] += lambda;
    }
    Cholesky::of(matrix, n)
}

/// λ at which the mean share of G is `share`, by bisection of log λ: the share falls with λ.
fn lambda_of(gram: &[f64], n: usize, share: f64) -> Option<f64> {
    let mean = (0..n).map(|i| gram[i * n + i]).sum::<f64>() / n.max(1) as f64;
    let found = |lambda: f64| -> Option<f64> {
        let inner = shifted(gram, n, lambda)?;
        let units: Vec<Vec<f64>> = (0..n).map(|i| unit(n, i)).collect();
        let inverse = inner.solve_all(&units);
        let trace: f64 = inverse.iter().enumerate().map(|(i, row)| row[i]).sum();
        Some(1.0 - lambda * trace / n.max(1) as f64)
    };
    let (mut low, mut high) = (1e-9f64.ln(), 1e9f64.ln());
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        // A matrix that has no factor is one with too small a λ.
        match found(mean * middle.exp()) {
            Some(now) if now < share => high = middle,
            _ => low = middle,
        }
    }
    let lambda = mean * high.exp();
    (lambda.is_finite() && lambda > 0.0).then_some(lambda)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::covariance::Covariance;

    fn value(i: usize, j: usize) -> f64 {
        ((i * 31 + j * 17 + i * j) % 23) as f64 / 23.0 - 0.5
    }

    fn covariance(n: usize) -> Covariance {
        let element = |i: usize, j: usize| {
            let sum: f64 = (0..20).map(|t| value(i, t) * value(j, t)).sum();
            sum + f64::from(u8::from(i == j))
        };
        Covariance {
            layer: 0,
            tokens: 20,
            width: n,
            values: (0..n * n).map(|at| element(at / n, at % n)).collect(),
        }
    }

    #[test]
    fn alphaedit_is_the_published_formula() {
        let (n, lambda) = (8, 1.5);
        let space = NullSpace::of(&covariance(n), 0.7).unwrap();
        assert!(space.dimensions() > 2 && space.dimensions() < n);
        let key = |k: usize| -> Vec<f64> { (0..n).map(|i| value(i + 3, k * 5 + 1)).collect() };
        let (own, earlier) = ([key(0), key(1)], [key(2), key(3), key(4)]);
        let projected = space.project_all(&earlier);
        let preserved = Preserved::NullSpace(&space, &projected);
        let found = directions(preserved, &own, Lambda::Tokens(lambda)).unwrap();
        // D(K_p·K_pᵀP + K₁·K₁ᵀP + λI) = K₁ᵀP, with the rows of D as found.
        for (direction, key) in found.iter().zip(&own) {
            let mut left: Vec<f64> = direction.iter().map(|d| lambda * d).collect();
            for other in own.iter().chain(&earlier) {
                let along = dot(direction, other);
                let projected = space.project(other);
                left.iter_mut()
                    .zip(&projected)
                    .for_each(|(l, p)| *l += along * p);
            }
            for (left, right) in left.iter().zip(space.project(key)) {
                assert!((left - right).abs() < 1e-10, "{left} for {right}");
            }
        }
    }

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn directions_are_those_of_the_whole_matrix() {
        let (n, lambda) = (8, 2.5);
        let covariance = covariance(n);
        let keys: Vec<Vec<f64>> = (0..3)
            .map(|k| (0..n).map(|i| value(i + 3, k * 5 + 1)).collect())
            .collect();
        let factor = covariance.factor(0.0).unwrap();
        let found = directions(
            Preserved::Covariance(&factor),
            &keys,
            Lambda::Tokens(lambda),
        )
        .unwrap();
        let mut whole: Vec<f64> = covariance.values.iter().map(|v| lambda * v).collect();
        for key in &keys {
            for (at, value) in whole.iter_mut().enumerate() {
                *value += key[at / n] * key[at % n];
            }
        }
        let expected = Cholesky::of(whole, n).unwrap().solve_all(&keys);
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 1e-10, "{found} for {expected}");
        }
    }

    #[test]
    fn a_share_is_what_the_facts_own_keys_get_in_the_mean() {
        let n = 8;
        let keys: Vec<Vec<f64>> = (0..3)
            .map(|k| (0..n).map(|i| value(i + 3, k * 5 + 1)).collect())
            .collect();
        let factor = covariance(n).factor(0.0).unwrap();
        for share in [0.2, 0.6, 0.95] {
            let found =
                directions(Preserved::Covariance(&factor), &keys, Lambda::Share(share)).unwrap();
            let own: f64 = found.iter().zip(&keys).map(|(u, k)| dot(u, k)).sum();
            assert!((own / 3.0 - share).abs() < 1e-6, "{own} for {share}");
        }
    }
}
