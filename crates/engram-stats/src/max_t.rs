//! Westfall and Young's step-down max-T: p values over layers, adjusted through
//! the joint distribution of the layers.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::{StatsError, check_count, check_length, check_table};
use crate::permutation::{next_combination, shuffle_front, sign_assignments, splits};
use crate::step_down::{LayerStatistic, MaxT, StepDown, centre, column_sums, scale};
use crate::two_sample::check_relations;

/// Step-down max-T over layers (Westfall & Young 1993, algorithm 4.1) for rows that are symmetric around zero under the
/// null hypothesis: `rows[c][l]` is the value of cluster c at layer l, for example recovery minus the cluster's mean
/// over layers.
///
/// The signs of whole rows are flipped, which preserves the correlation of layers: correlated layers cost less power
/// than under Holm. The familywise error rate is at most the level, whichever layers have an effect. All 2ⁿ sign
/// assignments are used if there are no more than `permutations`, otherwise `permutations` random ones drawn from
/// `seed`. A layer of zeros has p = 1.
///
/// # Errors
/// Fewer than two rows, no columns, rows of unequal length, a value that is not finite, `permutations` of 0, or
/// [`StatsError::ConstantColumn`] if a layer's t is infinite.
pub fn max_t_sign_flip(
    rows: &[Vec<f64>],
    statistic: LayerStatistic,
    permutations: usize,
    seed: u64,
) -> Result<MaxT, StatsError> {
    const WHAT: &str = "max_t_sign_flip";
    check_count(rows.len(), "max_t_sign_flip rows", 2)?;
    check_count(permutations, "permutations", 1)?;
    let layers = check_table(rows, WHAT)?;
    let n = rows.len();
    let mut table = rows.to_vec();
    // Σx / √(n Σx²) is the cosine of the layer with a vector of ones, and
    // t = r √((n − 1) / (1 − r²)): Σx² is the same whatever the signs.
    scale(&mut table, layers, |squares| match statistic {
        LayerStatistic::T => (n as f64 * squares).sqrt(),
        LayerStatistic::Mean => n as f64,
    });
    let mut step_down = StepDown::new(&table, column_sums(&table, layers));
    let mut sums = vec![0.0; layers];
    let mut add_signed = |sign: &mut dyn FnMut(usize) -> bool| {
        sums.fill(0.0);
        for (i, row) in table.iter().enumerate() {
            let sign = if sign(i) { -1.0 } else { 1.0 };
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, v)| *sum += sign * v);
        }
        step_down.add(&sums);
    };
    let assignments = sign_assignments(n, permutations);
    if let Some(all) = assignments {
        for signs in 0..all {
            add_signed(&mut |i| signs >> i & 1 == 1);
        }
    } else {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..permutations {
            add_signed(&mut |_| rng.random());
        }
    }
    step_down.finish(WHAT, statistic, n - 1, assignments.is_some())
}

/// Step-down max-T over layers between two kinds, with kinds permuted over relations: `a[r][l]` is the mean of relation
/// r of the first kind at layer l. Statistic: first kind minus second, as a t with pooled variance or unscaled.
/// Otherwise as [`max_t_sign_flip`]; a layer that does not vary has p = 1.
///
/// # Errors
/// [`StatsError::TooFewRelations`] with fewer than [`crate::MIN_RELATIONS_PER_KIND`] of a kind, no columns, rows of
/// unequal length, a value that is not finite, `permutations` of 0, or [`StatsError::ConstantColumn`] if a layer's t is
/// infinite.
pub fn max_t_kinds(
    a: &[Vec<f64>],
    b: &[Vec<f64>],
    statistic: LayerStatistic,
    permutations: usize,
    seed: u64,
) -> Result<MaxT, StatsError> {
    const WHAT: &str = "max_t_kinds";
    check_relations(a.len(), b.len())?;
    check_count(permutations, "permutations", 1)?;
    let layers = check_table(a, "relations of a")?;
    check_length(check_table(b, "relations of b")?, layers, || {
        "relations of b".to_owned()
    })?;
    let mut table = [a, b].concat();
    let n = table.len();
    centre(&mut table, layers);
    // Centred, the sum over the first kind is the difference times this; over
    // the root of all squares it is the correlation of layer and kind.
    let per_difference = a.len() as f64 * b.len() as f64 / n as f64;
    scale(&mut table, layers, |squares| match statistic {
        LayerStatistic::T => (per_difference * squares).sqrt(),
        LayerStatistic::Mean => per_difference,
    });
    let mut step_down = StepDown::new(&table, column_sums(&table[..a.len()], layers));
    let mut order: Vec<usize> = (0..n).collect();
    let mut sums = vec![0.0; layers];
    let mut add = |chosen: &[usize]| {
        sums.fill(0.0);
        for &i in chosen {
            sums.iter_mut()
                .zip(&table[i])
                .for_each(|(sum, v)| *sum += v);
        }
        step_down.add(&sums);
    };
    let exact = splits(n, a.len()) <= permutations as u128;
    if exact {
        let chosen = &mut order[..a.len()];
        loop {
            add(chosen);
            if !next_combination(chosen, n) {
                break;
            }
        }
    } else {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..permutations {
            shuffle_front(&mut order, a.len(), &mut rng);
            add(&order[..a.len()]);
        }
    }
    step_down.finish(WHAT, statistic, n - 2, exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_layer_is_the_sign_flip_test() {
        let x = [0.4, -0.1, 0.9, 0.3, 0.7, -0.2, 0.6];
        let rows = x.map(|v| vec![v]);
        let plain = crate::sign_flip(&x, 128, 0).unwrap();
        for statistic in [LayerStatistic::T, LayerStatistic::Mean] {
            let found = max_t_sign_flip(&rows, statistic, 128, 0).unwrap();
            assert!(found.exact);
            assert_eq!(found.adjusted, [plain.p_value]);
            assert_eq!(found.p_value, [plain.p_value]);
        }
        let d = crate::cohen_d_paired(&x).unwrap();
        let found = max_t_sign_flip(&rows, LayerStatistic::T, 128, 0).unwrap();
        assert!((found.statistic[0] - d * 7.0_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn one_layer_is_the_test_of_permuted_kinds() {
        let (a, b) = (
            [1.0, 4.0, 2.5, 6.0, 3.5, 5.0],
            [0.5, 1.5, 3.0, 2.0, 0.0, 1.0],
        );
        let plain = crate::permute_kinds(&a, &b, 924, 0).unwrap();
        let rows = |x: [f64; 6]| x.map(|v| vec![v]);
        for statistic in [LayerStatistic::T, LayerStatistic::Mean] {
            let found = max_t_kinds(&rows(a), &rows(b), statistic, 924, 0).unwrap();
            assert_eq!((found.permutations, found.exact), (924, true));
            assert_eq!(found.adjusted, [plain.p_value]);
        }
        let found = max_t_kinds(&rows(a), &rows(b), LayerStatistic::Mean, 924, 0).unwrap();
        assert!((found.statistic[0] - plain.statistic).abs() < 1e-12);
    }

    #[test]
    fn copies_of_a_layer_cost_nothing() {
        let x = [0.4, -0.1, 0.9, 0.3, 0.7, -0.2, 0.6];
        let rows = x.map(|v| vec![v, 3.0 * v, -v, 0.0]);
        let found = max_t_sign_flip(&rows, LayerStatistic::T, 100, 5).unwrap();
        assert!(!found.exact);
        assert_eq!(found.adjusted[..3], [found.p_value[0]; 3]);
        assert_eq!((found.statistic[3], found.adjusted[3]), (0.0, 1.0));
    }

    #[test]
    fn an_infinite_t_is_named() {
        let rows = vec![vec![0.1, 1.0], vec![0.3, 1.0], vec![-0.2, 1.0]];
        assert_eq!(
            max_t_sign_flip(&rows, LayerStatistic::T, 8, 0),
            Err(StatsError::ConstantColumn {
                what: "max_t_sign_flip",
                column: 1
            })
        );
        let means = max_t_sign_flip(&rows, LayerStatistic::Mean, 8, 0).unwrap();
        assert_eq!(means.p_value[1], 0.25);
        let table = |v: f64| vec![vec![v, 0.1]; 6];
        let apart = max_t_kinds(&table(1.0), &table(0.0), LayerStatistic::T, 99, 0);
        assert!(matches!(
            apart,
            Err(StatsError::ConstantColumn { column: 0, .. })
        ));
        let same = max_t_kinds(&table(1.0), &table(1.0), LayerStatistic::T, 99, 0).unwrap();
        assert_eq!(same.adjusted, [1.0, 1.0]);
    }

    #[test]
    fn bad_input_is_named() {
        let t = LayerStatistic::T;
        assert!(max_t_sign_flip(&[vec![1.0]], t, 9, 0).is_err());
        assert!(max_t_sign_flip(&[vec![], vec![]], t, 9, 0).is_err());
        assert!(max_t_sign_flip(&[vec![1.0], vec![1.0, 2.0]], t, 9, 0).is_err());
        assert!(max_t_sign_flip(&[vec![1.0], vec![f64::NAN]], t, 9, 0).is_err());
        let six = vec![vec![1.0]; 6];
        assert!(max_t_kinds(&six, &six[..5], t, 9, 0).is_err());
        assert!(max_t_kinds(&six, &vec![vec![1.0, 2.0]; 6], t, 9, 0).is_err());
    }
}
