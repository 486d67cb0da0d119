//! Eigenvalues and eigenvectors of a symmetric matrix in float64: Householder reduction to tridiagonal form, then the
//! implicit QL algorithm (Wilkinson & Reinsch 1971, contributions II/1 and II/4; EISPACK's tred2 and tql2).
//!
//! Each step works on all rows, or on blocks of columns, in parallel. Sums are never divided between threads, so that their
//! number changes no bit. A crate of linear algebra would bring dozens of others for this one function.

use rayon::prelude::*;

/// Columns of the eigenvectors' coordinates that are rotated together, so that a block stays in the processor's cache.
const BLOCK: usize = 64;

/// Maximum number of QL sweeps for an eigenvalue; EISPACK allows 30.
const SWEEPS: usize = 60;

/// A = Σ value · vector · vectorᵀ.
#[derive(Debug, Clone, PartialEq)]
pub struct Eigen {
    /// Eigenvalues, in descending order.
    pub values: Vec<f64>,
    /// Orthonormal eigenvectors, in the order of their values.
    pub vectors: Vec<Vec<f64>>,
}

/// Some columns of the matrix whose rows become the eigenvectors, [n, width], row-major.
struct Columns {
    width: usize,
    values: Vec<f64>,
}

impl Eigen {
    /// Decomposes a symmetric matrix, [n, n], row-major. `None` if an element is not finite, the shape is wrong, or an
    /// eigenvalue does not converge.
    pub fn of(matrix: Vec<f64>, n: usize) -> Option<Eigen> {
        if n == 0 || matrix.len() != n * n || matrix.iter().any(|v| !v.is_finite()) {
            return None;
        }
        let (mut diagonal, mut beside, reflectors) = tridiagonal(matrix, n);
        let mut columns: Vec<Columns> = (0..n)
            .step_by(BLOCK)
            .map(|from| unit_columns(n, from))
            .collect();
        columns
            .par_iter_mut()
            .for_each(|block| block.reflect(&reflectors));
        ql(&mut diagonal, &mut beside, &mut columns)?;
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]));
        let vector = |i: usize| columns.iter().flat_map(|b| b.row(i)).copied().collect();
        Some(Eigen {
            values: order.iter().map(|i| diagonal[*i]).collect(),
            vectors: order.iter().map(|i| vector(*i)).collect(),
        })
    }
}

/// A reflection I − v·vᵀ; v is 0 before `from`.
struct Reflector {
    from: usize,
    vector: Vec<f64>,
}

/// Diagonal and subdiagonal of T = QᵀAQ, and the reflectors whose product, in their order, is Q.
fn tridiagonal(mut a: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>, Vec<Reflector>) {
    let mut beside = vec![0f64; n];
    let mut reflectors = Vec::with_capacity(n);
    for k in 0..n.saturating_sub(1) {
        let from = k + 1;
        let mut v: Vec<f64> = (from..n).map(|i| a[i * n + k]).collect();
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm == 0.0 {
            continue;
        }
        let alpha = if v[0] > 0.0 { -norm } else { norm };
        beside[k] = alpha;
        // v scaled so that the reflection is I − v·vᵀ: ‖x − αe‖² / 2 = α(α − x₀).
        let scale = (alpha * (alpha - v[0])).sqrt();
        v[0] -= alpha;
        v.iter_mut().for_each(|x| *x /= scale);
        let rest = &mut a[from * n..];
        let mut w: Vec<f64> = rest
            .par_chunks(n)
            .map(|row| dot(&row[from..], &v))
            .collect();
        let half = dot(&w, &v) / 2.0;
        w.iter_mut().zip(&v).for_each(|(w, v)| *w -= half * v);
        let rows = rest.par_chunks_mut(n).enumerate();
        rows.for_each(|(i, row)| {
            let (vi, wi) = (v[i], w[i]);
            for ((x, v), w) in row[from..].iter_mut().zip(&v).zip(&w) {
                *x -= vi * w + wi * v;
            }
        });
        reflectors.push(Reflector { from, vector: v });
    }
    let diagonal = (0..n).map(|i| a[i * n + i]).collect();
    (diagonal, beside, reflectors)
}

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

fn unit_columns(n: usize, from: usize) -> Columns {
    let width = BLOCK.min(n - from);
    let mut values = vec![0f64; n * width];
    for i in 0..width {
        values[(from + i) * width + i] = 1.0;
    }
    Columns { width, values }
}

impl Columns {
    fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.width..(i + 1) * self.width]
    }

    /// Multiplies by the reflectors from the left, the first first: I becomes Qᵀ.
    fn reflect(&mut self, reflectors: &[Reflector]) {
        for Reflector { from, vector } in reflectors {
            let rest = &mut self.values[from * self.width..];
            let mut sum = vec![0f64; self.width];
            for (row, v) in rest.chunks(self.width).zip(vector) {
                sum.iter_mut().zip(row).for_each(|(s, x)| *s += v * x);
            }
            for (row, v) in rest.chunks_mut(self.width).zip(vector) {
                row.iter_mut().zip(&sum).for_each(|(x, s)| *x -= v * s);
            }
        }
    }

    /// Rotates rows i and i + 1 by (c, s), for each rotation (i, c, s).
    fn rotate(&mut self, rotations: &[(usize, f64, f64)]) {
        for &(i, c, s) in rotations {
            let both = &mut self.values[i * self.width..(i + 2) * self.width];
            let (upper, lower) = both.split_at_mut(self.width);
            for (x, y) in upper.iter_mut().zip(lower) {
                let (a, b) = (*x, *y);
                *y = s * a + c * b;
                *x = c * a - s * b;
            }
        }
    }
}

/// Implicit QL: `d` becomes the eigenvalues, the rows of `columns` the eigenvectors. `e` is the subdiagonal.
fn ql(d: &mut [f64], e: &mut [f64], columns: &mut [Columns]) -> Option<()> {
    let n = d.len();
    e[n - 1] = 0.0;
    // Relative to the whole matrix, as in tql2: between eigenvalues of rounding's size nothing converges.
    let scale = d.iter().zip(&*e).map(|(d, e)| d.abs() + e.abs());
    let least = f64::EPSILON * scale.fold(0.0, f64::max);
    for l in 0..n {
        for sweep in 0.. {
            let small = |m: &usize| e[*m].abs() <= least;
            let m = (l..n - 1).find(small).unwrap_or(n - 1);
            if m == l {
                break;
            }
            if sweep == SWEEPS {
                return None;
            }
            // Wilkinson's shift.
            let mut g = (d[l + 1] - d[l]) / (2.0 * e[l]);
            let r = g.hypot(1.0);
            g = d[m] - d[l] + e[l] / (g + r.copysign(g));
            let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
            let mut rotations = Vec::with_capacity(m - l);
            let mut split = false;
            for i in (l..m).rev() {
                let (f, b) = (s * e[i], c * e[i]);
                let r = f.hypot(g);
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= p;
                    e[m] = 0.0;
                    split = true;
                    break;
                }
                s = f / r;
                c = g / r;
                g = d[i + 1] - p;
                let r = (d[i] - g) * s + 2.0 * c * b;
                p = s * r;
                d[i + 1] = g + p;
                g = c * r - b;
                rotations.push((i, c, s));
            }
            columns
                .par_iter_mut()
                .for_each(|block| block.rotate(&rotations));
            if !split {
                d[l] -= p;
                e[l] = g;
                e[m] = 0.0;
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    /// A symmetric matrix of this rank.
    fn matrix(n: usize, rank: usize, seed: u64) -> Vec<f64> {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let x: Vec<f64> = (0..n * rank)
            .map(|_| random.random_range(-1.0..1.0))
            .collect();
        let mut a = vec![0f64; n * n];
        for i in 0..n {
            for j in 0..n {
                a[i * n + j] = dot(&x[i * rank..][..rank], &x[j * rank..][..rank]);
            }
        }
        a
    }

    #[test]
    fn the_parts_give_the_matrix_and_are_orthonormal() {
        for (n, rank) in [(1, 1), (2, 1), (7, 7), (65, 80), (130, 20)] {
            let a = matrix(n, rank, n as u64);
            let found = Eigen::of(a.clone(), n).unwrap();
            assert!(found.values.windows(2).all(|w| w[0] >= w[1]));
            let small = found.values.iter().filter(|v| v.abs() < 1e-9).count();
            assert_eq!(small, n.saturating_sub(rank), "{n}");
            for i in 0..n {
                for j in 0..n {
                    let parts = found.values.iter().zip(&found.vectors);
                    let sum: f64 = parts.map(|(l, v)| l * v[i] * v[j]).sum();
                    assert!((sum - a[i * n + j]).abs() < 1e-9, "{n}: {i}, {j}");
                    let along = dot(&found.vectors[i], &found.vectors[j]);
                    let expected = f64::from(u8::from(i == j));
                    assert!((along - expected).abs() < 1e-10, "{n}: {i}, {j}");
                }
            }
        }
    }

    #[test]
    fn equal_and_zero_eigenvalues_have_vectors_too() {
        let found = Eigen::of(vec![2.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0], 3).unwrap();
        assert_eq!(found.values, [2.0, 2.0, 0.0]);
        assert!(Eigen::of(vec![0.0; 9], 3).is_some());
        assert!(Eigen::of(vec![f64::NAN], 1).is_none());
        assert!(Eigen::of(vec![1.0], 2).is_none());
    }
}
