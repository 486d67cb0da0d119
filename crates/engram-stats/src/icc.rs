//! The intraclass correlation of the pairs of a relation, and the effective number of pairs.

use serde::{Deserialize, Serialize};

use crate::descriptive::{mean_of, sum_of_squares};
use crate::error::{StatsError, check, check_computable, check_count, check_level};
use crate::student::{f_critical, f_upper};

/// Result of [`icc`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Icc {
    /// The intraclass correlation: the share of the variance that lies between
    /// relations. At most 1; below 0 where relations differ less than chance has it.
    pub icc: f64,
    /// Lower end of the interval.
    pub lower: f64,
    /// Upper end of the interval.
    pub upper: f64,
    /// Confidence level, such as 0.95.
    pub level: f64,
    /// F of the analysis of variance: mean square between over within.
    pub f: f64,
    /// Its upper tail: the p value for the hypothesis that relations do not differ.
    pub p_value: f64,
    /// Number of relations.
    pub relations: usize,
    /// Number of pairs.
    pub pairs: usize,
    /// The number of independent pairs whose mean would vary as much as that of
    /// all pairs: N / (1 + (Σ m² / N − 1) ICC), m the pairs of a relation (Kish
    /// 1965), a negative ICC counted as 0.
    pub effective_pairs: f64,
}

/// ICC(1) of pairs within relations, one-way random effects (Shrout & Fleiss
/// 1979): (F − 1) / (F + n₀ − 1), F = MS between / MS within, n₀ =
/// (N − Σ m² / N) / (G − 1), which is the pairs of a relation where all have the
/// same number. The interval is exact then, for normal values, and approximate
/// otherwise. Each inner slice holds the values of one relation.
///
/// # Errors
/// Fewer than two relations, an empty one, no relation with two pairs, a value
/// that is not finite, no variation within relations, or `level` outside of
/// (0, 1).
pub fn icc(relations: &[Vec<f64>], level: f64) -> Result<Icc, StatsError> {
    check_level(level)?;
    check_count(relations.len(), "relations", 2)?;
    relations
        .iter()
        .try_for_each(|pairs| check(pairs, "pairs of a relation", 1))?;
    let all = relations.concat();
    check_count(all.len(), "pairs of all relations", relations.len() + 1)?;
    let (groups, n) = (relations.len() as f64, all.len() as f64);
    let squares: f64 = relations.iter().map(|x| (x.len() as f64).powi(2)).sum();
    let centre = mean_of(&all);
    let within: f64 = relations.iter().map(|x| sum_of_squares(x)).sum();
    let between: f64 = relations
        .iter()
        .map(|x| x.len() as f64 * (mean_of(x) - centre).powi(2))
        .sum();
    let (df_between, df_within) = (groups - 1.0, n - groups);
    let total = all.iter().map(|v| v * v).sum::<f64>();
    check_computable(total, "pairs of all relations")?;
    if within <= 1e-24 * total {
        return Err(StatsError::NoVariation {
            what: "pairs within relations",
        });
    }
    let f = between / df_between / (within / df_within);
    let size = (n - squares / n) / df_between;
    let of = |f: f64| (f - 1.0) / (f + size - 1.0);
    let tail = (1.0 - level) / 2.0;
    let estimate = of(f);
    Ok(Icc {
        icc: estimate,
        lower: of(f / f_critical(tail, df_between, df_within)),
        upper: of(f * f_critical(tail, df_within, df_between)),
        level,
        f,
        p_value: f_upper(f, df_between, df_within),
        relations: relations.len(),
        pairs: all.len(),
        effective_pairs: n / (1.0 + (squares / n - 1.0) * estimate.max(0.0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrout_and_fleiss() {
        // Their example of six targets and four judges: ICC(1, 1) = 0.17.
        let ratings = [
            [9.0, 2.0, 5.0, 8.0],
            [6.0, 1.0, 3.0, 2.0],
            [8.0, 4.0, 6.0, 8.0],
            [7.0, 1.0, 2.0, 6.0],
            [10.0, 5.0, 6.0, 9.0],
            [6.0, 2.0, 4.0, 7.0],
        ]
        .map(|row| row.to_vec());
        let found = icc(&ratings, 0.95).unwrap();
        assert!((found.icc - 0.166).abs() < 5e-4, "{found:?}");
        assert!((found.lower + 0.133).abs() < 5e-4, "{found:?}");
        assert!((found.upper - 0.723).abs() < 5e-4, "{found:?}");
        assert!((found.effective_pairs - 24.0 / (1.0 + 3.0 * found.icc)).abs() < 1e-12);
    }

    #[test]
    fn copies_are_no_pairs() {
        let nearly = |r: f64| vec![r, r + 1e-6, r - 1e-6];
        let found = icc(&[nearly(1.0), nearly(5.0), nearly(2.0)], 0.95).unwrap();
        assert!(found.icc > 0.999_999);
        assert!((found.effective_pairs - 3.0).abs() < 1e-4);
        let alike = icc(&[vec![1.0, 5.0], vec![1.0, 5.0]], 0.95).unwrap();
        assert_eq!((alike.icc, alike.effective_pairs), (-1.0, 4.0));
        assert_eq!(alike.p_value, 1.0);
    }

    #[test]
    fn bad_input_is_named() {
        assert!(icc(&[vec![1.0, 2.0]], 0.95).is_err());
        assert!(icc(&[vec![1.0], vec![2.0]], 0.95).is_err());
        assert!(icc(&[vec![1.0, 2.0], vec![]], 0.95).is_err());
        assert!(matches!(
            icc(&[vec![1.0, 1.0], vec![2.0, 2.0]], 0.95),
            Err(StatsError::NoVariation { .. })
        ));
        assert!(matches!(
            icc(&[vec![1e200, -1e200], vec![2.0, 1e200]], 0.95),
            Err(StatsError::OutOfRange { .. })
        ));
    }
}
