//! The difference between two kinds, adjusted for covariates of the pairs.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::design::DesignColumn;
use crate::error::{StatsError, check, check_count, check_length};
use crate::permutation::{PermutationTest, Tally, shuffle_front};
use crate::qr::{Qr, dot};
use crate::regression::{Coefficient, Errors, ols};
use crate::two_sample::check_relations;

/// The name of the column that is 1 for pairs of the first kind, 0 for others.
pub const KIND: &str = "kind";

/// Pairs of two kinds with their covariates.
#[derive(Debug, Clone, Copy)]
pub struct KindPairs<'a> {
    /// The value of each pair.
    pub y: &'a [f64],
    /// Whether it is of the first kind.
    pub first_kind: &'a [bool],
    /// Its relation: an identifier that is only compared for equality. All pairs of a relation have one kind.
    pub relations: &'a [usize],
    /// Covariates of the pairs, such as the gap, the number of tokens of the
    /// object or its frequency.
    pub covariates: &'a [DesignColumn],
}

/// Result of [`permute_kinds_adjusted`]. Differences are first kind minus second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdjustedKind {
    /// The unadjusted difference of the means of relation means.
    pub difference: f64,
    /// The coefficient of the kind in the regression of relation means: the adjusted difference in which each relation
    /// has the same weight, with classical errors.
    pub relations: Coefficient,
    /// The coefficient of the kind in the regression of pairs, in which each pair has the same weight, with errors
    /// clustered by relation. If it disagrees with `relations`, the difference is due to a large relation or to the
    /// slope within relations.
    pub pairs: Coefficient,
    /// Freedman and Lane's test of `relations`; its statistic is the t there.
    pub test: PermutationTest,
    /// Number of relations of each kind.
    pub counts: [usize; 2],
}

/// Tests whether two kinds differ beyond what covariates explain, by permuting kinds over relations (Freedman & Lane
/// 1983).
///
/// The kind is a property of the relation, so y and the covariates are averaged over the pairs of a relation, and the
/// relation means of y are regressed on kind and covariates. Under the null hypothesis y is its regression on the
/// covariates alone plus exchangeable residuals. These residuals are permuted over relations, added to the fitted
/// values, and the regression is repeated; p is the share of permutations whose |t| of the kind is at least as large as
/// observed (the observed one counted). Kind and covariates may be correlated; the level is exact for large numbers of
/// relations, and close to exact for a dozen (Winkler et al. 2014). Without covariates it is [`crate::permute_kinds`],
/// with random permutations.
///
/// Every covariate costs a degree of freedom among few relations: choose one or two beforehand. `level` is that of the
/// intervals of both terms.
///
/// # Errors
/// [`StatsError::TooFewRelations`]; no more relations than coefficients; slices of unequal length or a value that is
/// not finite; [`StatsError::SharedCluster`] if a relation has both kinds; [`StatsError::Collinear`] if a covariate
/// does not vary between relations or is determined by the kind; and those of [`ols`].
pub fn permute_kinds_adjusted(
    pairs: KindPairs,
    permutations: usize,
    level: f64,
    seed: u64,
) -> Result<AdjustedKind, StatsError> {
    check_count(permutations, "permutations", 1)?;
    let means = RelationMeans::of(pairs)?;
    let n = means.y.len();
    let count = means.kind.iter().filter(|&&kind| kind == 1.0).count();
    check_relations(count, n - count)?;

    let kind = DesignColumn::new(KIND, means.kind.clone());
    let columns = [means.covariates.as_slice(), &[kind]].concat();
    let relations = ols(&means.y, &columns, Errors::Classical, level)?;
    let kind = pairs
        .first_kind
        .iter()
        .map(|&first| f64::from(u8::from(first)));
    let pair_columns = [pairs.covariates, &[DesignColumn::new(KIND, kind.collect())]].concat();
    let clustered = Errors::Clustered(pairs.relations);
    let over_pairs = ols(pairs.y, &pair_columns, clustered, level)?;

    let coefficient = |regression: crate::Regression| regression.terms[columns.len()].clone();
    let relation_term = coefficient(relations);
    let test = means.freedman_lane(relation_term.t, permutations, seed)?;
    let centre = |kind: f64| {
        let of_kind = means.y.iter().zip(&means.kind).filter(|(_, k)| **k == kind);
        let (sum, n) = of_kind.fold((0.0, 0.0), |(sum, n), (y, _)| (sum + y, n + 1.0));
        sum / n
    };
    Ok(AdjustedKind {
        difference: centre(1.0) - centre(0.0),
        relations: relation_term,
        pairs: coefficient(over_pairs),
        test,
        counts: [count, n - count],
    })
}

/// One value per relation, in the order of first appearance.
struct RelationMeans {
    y: Vec<f64>,
    kind: Vec<f64>,
    covariates: Vec<DesignColumn>,
}

impl RelationMeans {
    fn of(pairs: KindPairs) -> Result<Self, StatsError> {
        let n = pairs.y.len();
        check(pairs.y, "y of the pairs", 1)?;
        check_length(pairs.first_kind.len(), n, || {
            "kinds of the pairs".to_owned()
        })?;
        check_length(pairs.relations.len(), n, || {
            "relations of the pairs".to_owned()
        })?;
        let mut index = BTreeMap::new();
        let mut members: Vec<Vec<usize>> = Vec::new();
        for (i, &relation) in pairs.relations.iter().enumerate() {
            let at = *index.entry(relation).or_insert(members.len());
            if at == members.len() {
                members.push(Vec::new());
            }
            members[at].push(i);
            if pairs.first_kind[members[at][0]] != pairs.first_kind[i] {
                return Err(StatsError::SharedCluster { cluster: relation });
            }
        }
        let mean = |x: &[f64]| -> Vec<f64> {
            let mean = |m: &Vec<usize>| m.iter().map(|&i| x[i]).sum::<f64>() / m.len() as f64;
            members.iter().map(mean).collect()
        };
        let covariates = pairs.covariates.iter().map(|column| {
            column.check(n)?;
            Ok(DesignColumn::new(column.name.clone(), mean(&column.values)))
        });
        let first = |m: &Vec<usize>| f64::from(u8::from(pairs.first_kind[m[0]]));
        Ok(Self {
            y: mean(pairs.y),
            kind: members.iter().map(first).collect(),
            covariates: covariates.collect::<Result<_, StatsError>>()?,
        })
    }

    /// The test of a t that is already computed. With x̃ and e the residuals of kind and y given intercept and
    /// covariates, t grows with the partial correlation r = x̃·e / (|x̃| |e|), so arrangements are compared by r.
    fn freedman_lane(
        &self,
        t: f64,
        permutations: usize,
        seed: u64,
    ) -> Result<PermutationTest, StatsError> {
        let n = self.y.len();
        let ones = vec![1.0; n];
        let covariates = self.covariates.iter().map(|c| c.values.as_slice());
        let names = |j: usize| match j {
            0 => crate::INTERCEPT.to_owned(),
            j => self.covariates[j - 1].name.clone(),
        };
        let nuisance = Qr::new([ones.as_slice()].into_iter().chain(covariates))
            .map_err(|j| StatsError::Collinear { column: names(j) })?;
        let kind = nuisance.project(&self.kind).1;
        let mut residuals = nuisance.project(&self.y).1;
        let scale = dot(&kind, &kind).sqrt();
        // The fitted values to which the residuals are added project out again.
        let correlation = |permuted: &[f64]| {
            let left = nuisance.project(permuted).1;
            let norm = dot(&left, &left).sqrt();
            if norm > 0.0 {
                dot(&kind, &left) / (scale * norm)
            } else {
                0.0
            }
        };
        let mut tally = Tally::new(correlation(&residuals), 1.0);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..permutations {
            shuffle_front(&mut residuals, n, &mut rng);
            tally.add(correlation(&residuals));
        }
        Ok(tally.finish(t, false))
    }
}
