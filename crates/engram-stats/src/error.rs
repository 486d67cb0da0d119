//! Errors of statistics: what is wrong with the numbers given.

use thiserror::Error;

/// Why a statistic could not be computed. `what` names the argument.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum StatsError {
    /// Fewer observations than the statistic is defined for.
    #[error("{what}: needs at least {needed}, found {found}")]
    TooFew {
        /// The argument, and what is counted in it.
        what: &'static str,
        /// The smallest allowed number.
        needed: usize,
        /// The number given.
        found: usize,
    },
    /// A NaN or an infinity among the values.
    #[error("{what}: value {index} is {value}, expected a finite number")]
    NotFinite {
        /// The argument.
        what: &'static str,
        /// Position of the value, from 0.
        index: usize,
        /// The value.
        value: f64,
    },
    /// Two arguments, or two rows, of different length that must be equally long.
    #[error("{what}: expected {expected} values, found {found}")]
    Length {
        /// The argument or row that differs.
        what: String,
        /// The length of the one it is compared with.
        expected: usize,
        /// Its own length.
        found: usize,
    },
    /// A value outside of its range.
    #[error("{what}: expected {expected}, found {value}")]
    OutOfRange {
        /// The argument.
        what: &'static str,
        /// The range, in words.
        expected: &'static str,
        /// The value given.
        value: f64,
    },
    /// All values are the same where the statistic divides by their spread.
    #[error("{what}: the values do not vary, so the statistic is undefined")]
    NoVariation {
        /// The argument.
        what: &'static str,
    },
    /// The denominator of a ratio is zero, or in some resamples zero or of the other sign: the ratio has no interval.
    #[error("denominator of the ratio: zero or of both signs in {found} of {of} resamples")]
    UnstableDenominator {
        /// Resamples in which it is zero or of the other sign.
        found: usize,
        /// Resamples drawn; 0 if the denominator of the sample itself is zero.
        of: usize,
    },
    /// Too few relations of a kind to compare kinds.
    #[error(
        "kinds cannot be compared over {found_a} and {found_b} relations: needs at least {needed} of each kind"
    )]
    TooFewRelations {
        /// Relations of the first kind.
        found_a: usize,
        /// Relations of the second kind.
        found_b: usize,
        /// The least number of each, [`crate::MIN_RELATIONS_PER_KIND`].
        needed: usize,
    },
    /// A statistic that is not finite in some resamples: it has no interval.
    #[error("{what}: undefined in {found} of {of} resamples, so it has no interval")]
    Undefined {
        /// The statistic.
        what: &'static str,
        /// Resamples in which it is not finite.
        found: usize,
        /// Resamples drawn; 0 if it is undefined in the sample itself.
        of: usize,
    },
    /// One cluster in both of two groups that are compared as independent.
    #[error(
        "cluster {cluster} is in both groups, which are then not independent: take differences within clusters"
    )]
    SharedCluster {
        /// The identifier of the cluster.
        cluster: usize,
    },
    /// A column (layer) of a table has zero spread and a nonzero mean: its t is infinite.
    #[error("{what}: column {column} does not vary, so its t is infinite; compare means instead")]
    ConstantColumn {
        /// The table.
        what: &'static str,
        /// Position of the column, from 0.
        column: usize,
    },
    /// A column of a regression that is constant or a linear combination of others.
    #[error(
        "column {column}: constant, or a linear combination of the columns before it; leave it out"
    )]
    Collinear {
        /// The name of the column.
        column: String,
    },
    /// A NaN or an infinity in a column of a regression.
    #[error("column {column}: value {index} is {value}, expected a finite number")]
    ColumnNotFinite {
        /// The name of the column.
        column: String,
        /// Position of the value, from 0.
        index: usize,
        /// The value.
        value: f64,
    },
    /// A coefficient that depends on one cluster only, such as that of a level that only this cluster has: its
    /// residuals there sum to zero, so that a cluster-robust error would be too small.
    #[error(
        "column {column}: without one of the clusters it is a combination of the columns before it, so it has no cluster-robust error"
    )]
    OneCluster {
        /// The name of the column.
        column: String,
    },
    /// A reference level that no value has.
    #[error("{variable}: no value has the reference level {reference:?}; levels are {levels}")]
    UnknownLevel {
        /// The categorical variable.
        variable: String,
        /// The reference level asked for.
        reference: String,
        /// The existing levels.
        levels: String,
    },
}

/// Fails for slices shorter than `needed` and for values that are not finite.
pub(crate) fn check(x: &[f64], what: &'static str, needed: usize) -> Result<(), StatsError> {
    if x.len() < needed {
        return Err(StatsError::TooFew {
            what,
            needed,
            found: x.len(),
        });
    }
    match x.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(index) => Err(StatsError::NotFinite {
            what,
            index,
            value: x[index],
        }),
    }
}

/// Fails for a number of permutations or resamples below `needed`.
pub(crate) fn check_count(
    count: usize,
    what: &'static str,
    needed: usize,
) -> Result<(), StatsError> {
    if count < needed {
        return Err(StatsError::TooFew {
            what,
            needed,
            found: count,
        });
    }
    Ok(())
}

/// Fails for a confidence level outside of (0, 1).
pub(crate) fn check_level(level: f64) -> Result<(), StatsError> {
    check_open_unit(level, "level")
}

/// Fails for a result that is not finite: squares of the values overflow or underflow an `f64`.
pub(crate) fn check_computable(value: f64, what: &'static str) -> Result<(), StatsError> {
    if value.is_finite() {
        return Ok(());
    }
    Err(StatsError::OutOfRange {
        what,
        expected: "values whose squares an f64 holds",
        value,
    })
}

/// Fails for a number outside of (0, 1).
pub(crate) fn check_open_unit(value: f64, what: &'static str) -> Result<(), StatsError> {
    if value > 0.0 && value < 1.0 {
        return Ok(());
    }
    Err(StatsError::OutOfRange {
        what,
        expected: "a number between 0 and 1, both excluded",
        value,
    })
}

/// Fails for tables whose rows differ in length or hold values that are not finite; returns the number of columns, at
/// least one.
pub(crate) fn check_table(rows: &[Vec<f64>], what: &'static str) -> Result<usize, StatsError> {
    let columns = rows.first().map_or(0, Vec::len);
    for (i, row) in rows.iter().enumerate() {
        check_length(row.len(), columns, || format!("{what} row {i}"))?;
        check(row, what, 1)?;
    }
    Ok(columns)
}

/// Fails for a length other than `expected`.
pub(crate) fn check_length(
    found: usize,
    expected: usize,
    what: impl Fn() -> String,
) -> Result<(), StatsError> {
    if found == expected {
        return Ok(());
    }
    Err(StatsError::Length {
        what: what(),
        expected,
        found,
    })
}
