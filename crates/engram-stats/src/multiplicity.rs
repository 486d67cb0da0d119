//! Corrections for many tests: adjusted p values, in the order of the input.

use crate::error::StatsError;

/// Holm's (1979) step-down adjustment, which controls the familywise error rate. With p sorted, adjusted pᵢ = max over
/// j ≤ i of (m − j) pⱼ (j from 0), at most 1.
///
/// # Errors
/// A p value that is NaN or outside of [0, 1].
pub fn holm(p: &[f64]) -> Result<Vec<f64>, StatsError> {
    let order = ascending(p, "holm")?;
    let mut adjusted = vec![0.0; p.len()];
    let mut floor = 0.0_f64;
    for (step, &i) in order.iter().enumerate() {
        floor = floor.max((p.len() - step) as f64 * p[i]).min(1.0);
        adjusted[i] = floor;
    }
    Ok(adjusted)
}

/// Benjamini & Hochberg's (1995) step-up adjustment, which controls the false discovery rate. With p sorted, adjusted
/// pᵢ = min over j ≥ i of m pⱼ / j (j from 1), at most 1.
///
/// # Errors
/// A p value that is NaN or outside of [0, 1].
pub fn benjamini_hochberg(p: &[f64]) -> Result<Vec<f64>, StatsError> {
    let order = ascending(p, "benjamini_hochberg")?;
    let mut adjusted = vec![0.0; p.len()];
    let mut ceiling = 1.0_f64;
    for (step, &i) in order.iter().enumerate().rev() {
        ceiling = ceiling.min(p.len() as f64 / (step + 1) as f64 * p[i]);
        adjusted[i] = ceiling;
    }
    Ok(adjusted)
}

/// Positions of the p values from the smallest to the largest.
fn ascending(p: &[f64], what: &'static str) -> Result<Vec<usize>, StatsError> {
    if let Some(&value) = p.iter().find(|v| !(0.0..=1.0).contains(*v)) {
        return Err(StatsError::OutOfRange {
            what,
            expected: "p values from 0 to 1",
            value,
        });
    }
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&i, &j| p[i].total_cmp(&p[j]));
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let p = [0.04, 0.01, 0.03];
        let close = |a: Vec<f64>, b: [f64; 3]| a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-15);
        // Sorted 0.01·3, 0.03·2, max(0.06, 0.04·1).
        assert!(close(holm(&p).unwrap(), [0.06, 0.03, 0.06]));
        // Sorted 0.01·3/1, 0.03·3/2, 0.04·3/3; the second is lowered to the third.
        assert!(close(benjamini_hochberg(&p).unwrap(), [0.04, 0.03, 0.04]));
    }

    #[test]
    fn nothing_in_nothing_out_and_nan_is_refused() {
        assert_eq!(holm(&[]), Ok(vec![]));
        for bad in [f64::NAN, -0.1, 1.1] {
            assert!(holm(&[0.5, bad]).is_err());
            assert!(benjamini_hochberg(&[bad]).is_err());
        }
    }
}
