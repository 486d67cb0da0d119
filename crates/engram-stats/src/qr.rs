//! QR factors of a tall table with a few dozen columns.

use crate::error::StatsError;

/// A column is a combination of the columns before it, up to rounding, if less than this share of it remains after
/// projecting them out.
pub(crate) const INDEPENDENT: f64 = 1e-10;

/// X = Q R, Q with orthonormal columns, R upper triangular.
///
/// By Gram–Schmidt, each column orthogonalised twice, which leaves Q orthogonal
/// to rounding (Giraud, Langou & Rozložník 2005).
pub(crate) struct Qr {
    /// Columns of Q.
    pub q: Vec<Vec<f64>>,
    /// Columns of R down to the diagonal.
    r: Vec<Vec<f64>>,
}

impl Qr {
    /// Factors of `columns`, or the position of the first column that depends on
    /// those before it.
    pub fn new<'a>(columns: impl IntoIterator<Item = &'a [f64]>) -> Result<Self, usize> {
        let mut qr = Self {
            q: Vec::new(),
            r: Vec::new(),
        };
        for (j, column) in columns.into_iter().enumerate() {
            let (mut onto, mut left) = qr.project(column);
            let (again, rest) = qr.project(&left);
            left = rest;
            onto.iter_mut().zip(again).for_each(|(c, d)| *c += d);
            let norm = dot(&left, &left).sqrt();
            let independent = norm > INDEPENDENT * dot(column, column).sqrt();
            // NaN fails too.
            if !independent {
                return Err(j);
            }
            left.iter_mut().for_each(|v| *v /= norm);
            onto.push(norm);
            qr.q.push(left);
            qr.r.push(onto);
        }
        Ok(qr)
    }

    /// Qᵀy, one number a column, and what is left of y without its projection.
    pub fn project(&self, y: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let mut left = y.to_vec();
        let onto = self
            .q
            .iter()
            .map(|q| {
                let c = dot(q, &left);
                left.iter_mut().zip(q).for_each(|(v, q)| *v -= c * q);
                c
            })
            .collect();
        (onto, left)
    }

    /// The b with R b = `c`, from the last row up.
    pub fn solve(&self, c: &[f64]) -> Vec<f64> {
        let mut b = c.to_vec();
        for j in (0..b.len()).rev() {
            b[j] /= self.r[j][j];
            let known = b[j];
            for (i, r) in self.r[j][..j].iter().enumerate() {
                b[i] -= r * known;
            }
        }
        b
    }
}

/// The x with A x = `b`, for a square A by columns.
///
/// # Errors
/// [`StatsError::NoVariation`] where A is singular.
pub(crate) fn solve_square(
    a: &[Vec<f64>],
    b: &[f64],
    what: &'static str,
) -> Result<Vec<f64>, StatsError> {
    let qr = Qr::new(a.iter().map(Vec::as_slice)).map_err(|_| StatsError::NoVariation { what })?;
    Ok(qr.solve(&qr.project(b).0))
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_is_orthonormal_even_where_columns_nearly_agree() {
        let columns: Vec<Vec<f64>> = (0..6)
            .map(|j| {
                (0..40)
                    .map(|i| 1.0 + 1e-7 * f64::from((i * (j + 3)) % 17))
                    .collect()
            })
            .collect();
        let qr = Qr::new(columns.iter().map(Vec::as_slice)).unwrap();
        for (i, a) in qr.q.iter().enumerate() {
            for (j, b) in qr.q.iter().enumerate() {
                let expected = f64::from(u8::from(i == j));
                assert!((dot(a, b) - expected).abs() < 1e-14);
            }
        }
    }

    #[test]
    fn the_first_dependent_column_is_found() {
        let a = [1.0, 1.0, 1.0, 1.0];
        let b = [1.0, 2.0, 3.0, 5.0];
        let sum = [2.0, 3.0, 4.0, 6.0];
        let found = |columns: &[&[f64]]| Qr::new(columns.iter().copied()).err();
        assert_eq!(found(&[&a, &b, &sum]), Some(2));
        assert_eq!(found(&[&a, &[7.0; 4], &b]), Some(1));
        assert_eq!(found(&[&b, &[0.0; 4]]), Some(1));
        assert_eq!(found(&[&a, &b]), None);
    }

    #[test]
    fn square_systems() {
        // 2x + y = 5, x + 3y = 10.
        let x = solve_square(&[vec![2.0, 1.0], vec![1.0, 3.0]], &[5.0, 10.0], "a").unwrap();
        assert!((x[0] - 1.0).abs() < 1e-14 && (x[1] - 3.0).abs() < 1e-14);
        assert!(solve_square(&[vec![1.0, 2.0], vec![2.0, 4.0]], &[1.0, 1.0], "a").is_err());
    }
}
