//! What can be wrong with the rows of a study.

use engram_stats::StatsError;

/// Result of this crate.
pub type Result<T, E = FindingsError> = std::result::Result<T, E>;

/// Why no findings could be drawn.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FindingsError {
    /// A setting of the tests outside its range.
    #[error(transparent)]
    Setting(#[from] engram_core::OutOfRange),
    /// A NaN or an infinity in a result row.
    #[error("{condition}: pair \"{pair}\", {place}: {column} is {value}, expected a finite number")]
    NotFinite {
        /// The condition that the row is of.
        condition: String,
        /// The pair.
        pair: String,
        /// The site as it was asked for, or the wording.
        place: String,
        /// The column.
        column: &'static str,
        /// The value found.
        value: f64,
    },
    /// A row whose pair the suite does not have.
    #[error("{condition}: the suite has no pair \"{pair}\"")]
    UnknownPair {
        /// The condition.
        condition: String,
        /// The pair that the row names.
        pair: String,
    },
    /// Two pairs of one name.
    #[error("the suite has two pairs called \"{pair}\"")]
    DuplicatePair {
        /// The name.
        pair: String,
    },
    /// Two conditions of one name.
    #[error("two conditions are called \"{condition}\"")]
    DuplicateCondition {
        /// The name.
        condition: String,
    },
    /// The same cell of the same pair twice.
    #[error("{condition}: pair \"{pair}\" has two rows for {place}, {metric}")]
    DuplicateRow {
        /// The condition.
        condition: String,
        /// The pair.
        pair: String,
        /// The site as it was asked for.
        place: String,
        /// The metric, or the method of an edit.
        metric: String,
    },
    /// A pair whose logit difference nobody measured, so that nothing says whether it is eligible.
    #[error(
        "{condition}: pair \"{pair}\" has no logit difference, neither as a preference nor in a row of metric logit_diff"
    )]
    NoLogitDifference {
        /// The condition.
        condition: String,
        /// The pair.
        pair: String,
    },
    /// A statistic that refused its input for another reason than too little data.
    #[error("{what}: {source}")]
    Stats {
        /// What was being computed.
        what: String,
        /// The reason.
        source: StatsError,
    },
}

/// A statistic's result, or why the data are too few for it; any other refusal is an error.
pub(crate) fn if_enough<T>(
    result: std::result::Result<T, StatsError>,
    what: impl Fn() -> String,
) -> Result<std::result::Result<T, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(
            source @ (StatsError::TooFew { .. }
            | StatsError::NoVariation { .. }
            | StatsError::UnstableDenominator { .. }
            | StatsError::Undefined { .. }
            | StatsError::ConstantColumn { .. }
            | StatsError::Collinear { .. }
            | StatsError::TooFewRelations { .. }),
        ) => Ok(Err(source.to_string())),
        Err(source) => Err(FindingsError::Stats {
            what: what(),
            source,
        }),
    }
}
