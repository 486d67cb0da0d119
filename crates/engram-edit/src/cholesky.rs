//! Solves symmetric positive definite systems in float64.

use rayon::prelude::*;

/// Columns factored together, so that the rows they need stay in the processor's cache.
const PANEL: usize = 48;

/// The factor L of A = L·Lᵀ: lower triangle, row-major.
#[derive(Debug, Clone)]
pub struct Cholesky {
    n: usize,
    lower: Vec<f64>,
}

/// Σ a·b in eight running sums, which the compiler keeps in vector registers.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (mut sums, mut rest) = ([0f64; 8], 0f64);
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    for (x, y) in a8.remainder().iter().zip(b8.remainder()) {
        rest += x * y;
    }
    for (x, y) in a8.zip(b8) {
        for i in 0..8 {
            sums[i] += x[i] * y[i];
        }
    }
    sums.iter().sum::<f64>() + rest
}

impl Cholesky {
    /// Factors a symmetric matrix, [n, n], row-major. `None` if it is not positive definite up to rounding: a pivot of
    /// at most n·ε times the largest diagonal element.
    pub fn of(mut matrix: Vec<f64>, n: usize) -> Option<Cholesky> {
        if matrix.len() != n * n || matrix.iter().any(|v| !v.is_finite()) {
            return None;
        }
        let greatest = (0..n).map(|i| matrix[i * n + i]).fold(0.0, f64::max);
        let least = greatest * n as f64 * f64::EPSILON;
        let mut from = 0;
        while from < n {
            let to = (from + PANEL).min(n);
            let (above, below) = matrix.split_at_mut(to * n);
            for j in from..to {
                let (before, row) = above.split_at_mut(j * n);
                let row = &mut row[..n];
                for i in from..j {
                    let other = &before[i * n..][..n];
                    row[i] = (row[i] - dot(&row[..i], &other[..i])) / other[i];
                }
                let pivot = row[j] - dot(&row[..j], &row[..j]);
                if pivot <= least {
                    return None;
                }
                row[j] = pivot.sqrt();
            }
            let panel = &above[from * n..];
            below.par_chunks_mut(n).for_each(|row| {
                for (i, other) in (from..to).zip(panel.chunks(n)) {
                    row[i] = (row[i] - dot(&row[..i], &other[..i])) / other[i];
                }
            });
            from = to;
        }
        Some(Cholesky { n, lower: matrix })
    }

    /// A⁻¹·b.
    pub fn solve(&self, b: &[f64]) -> Vec<f64> {
        let n = self.n;
        let mut x = b.to_vec();
        for i in 0..n {
            let row = &self.lower[i * n..][..n];
            x[i] = (x[i] - dot(&row[..i], &x[..i])) / row[i];
        }
        for i in (0..n).rev() {
            x[i] /= self.lower[i * n + i];
            let (head, tail) = x.split_at_mut(i);
            let row = &self.lower[i * n..][..i];
            for (h, l) in head.iter_mut().zip(row) {
                *h -= l * tail[0];
            }
        }
        x
    }

    /// A⁻¹·b for each vector b.
    pub fn solve_all(&self, all: &[Vec<f64>]) -> Vec<Vec<f64>> {
        all.par_iter().map(|b| self.solve(b)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    #[test]
    fn solves_what_it_was_made_of() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for n in [1, 7, 48, 131] {
            let x: Vec<f64> = (0..n * 2 * n)
                .map(|_| random.random_range(-1.0..1.0))
                .collect();
            let mut a = vec![0f64; n * n];
            for i in 0..n {
                for j in 0..n {
                    a[i * n + j] = dot(&x[i * 2 * n..][..2 * n], &x[j * 2 * n..][..2 * n]);
                }
            }
            let b: Vec<f64> = (0..n).map(|_| random.random_range(-1.0..1.0)).collect();
            let solved = Cholesky::of(a.clone(), n).unwrap().solve(&b);
            for i in 0..n {
                let back = dot(&a[i * n..][..n], &solved);
                assert!(
                    (back - b[i]).abs() < 1e-8,
                    "n {n}, row {i}: {back} {}",
                    b[i]
                );
            }
        }
    }

    #[test]
    fn a_singular_matrix_has_no_factor() {
        assert!(Cholesky::of(vec![1.0, 1.0, 1.0, 1.0], 2).is_none());
        assert!(Cholesky::of(vec![0.0], 1).is_none());
        assert!(Cholesky::of(vec![f64::NAN], 1).is_none());
    }
}
