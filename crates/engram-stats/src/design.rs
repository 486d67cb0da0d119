//! Columns of a regression, and categories coded as columns.

use std::collections::BTreeSet;

use crate::error::{StatsError, check_length};

/// One explanatory variable of a regression.
#[derive(Debug, Clone, PartialEq)]
pub struct DesignColumn {
    /// What results and errors call it.
    pub name: String,
    /// One value per observation.
    pub values: Vec<f64>,
}

impl DesignColumn {
    /// A column of this name.
    pub fn new(name: impl Into<String>, values: Vec<f64>) -> Self {
        Self {
            name: name.into(),
            values,
        }
    }

    /// Fails for another length than `n` and for values that are not finite.
    pub(crate) fn check(&self, n: usize) -> Result<(), StatsError> {
        check_length(self.values.len(), n, || format!("column {}", self.name))?;
        match self.values.iter().position(|v| !v.is_finite()) {
            None => Ok(()),
            Some(index) => Err(StatsError::ColumnNotFinite {
                column: self.name.clone(),
                index,
                value: self.values[index],
            }),
        }
    }
}

/// Codes a categorical variable as columns of 0 and 1, one for each level but
/// `reference`, in alphabetical order and named `variable=level`. A coefficient
/// is then the difference of its level from the reference.
///
/// # Errors
/// [`StatsError::UnknownLevel`] where no value has the reference level, or
/// [`StatsError::Collinear`] where all do.
pub fn dummies<S: AsRef<str>>(
    variable: &str,
    values: &[S],
    reference: &str,
) -> Result<Vec<DesignColumn>, StatsError> {
    let mut levels: BTreeSet<&str> = values.iter().map(AsRef::as_ref).collect();
    if !levels.contains(reference) {
        return Err(StatsError::UnknownLevel {
            variable: variable.to_owned(),
            reference: reference.to_owned(),
            levels: levels.into_iter().collect::<Vec<_>>().join(", "),
        });
    }
    levels.remove(reference);
    if levels.is_empty() {
        return Err(StatsError::Collinear {
            column: variable.to_owned(),
        });
    }
    let column = |level: &str| {
        let is = |value: &S| f64::from(u8::from(value.as_ref() == level));
        DesignColumn::new(
            format!("{variable}={level}"),
            values.iter().map(is).collect(),
        )
    };
    Ok(levels.into_iter().map(column).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_but_the_reference() {
        let kinds = ["b", "a", "c", "a"];
        let columns = dummies("kind", &kinds, "a").unwrap();
        assert_eq!(columns.len(), 2);
        assert_eq!(
            columns[0],
            DesignColumn::new("kind=b", vec![1.0, 0.0, 0.0, 0.0])
        );
        assert_eq!(
            columns[1],
            DesignColumn::new("kind=c", vec![0.0, 0.0, 1.0, 0.0])
        );
    }

    #[test]
    fn a_reference_that_is_not_there_is_named() {
        let found = dummies("kind", &["b", "a"], "z").unwrap_err();
        assert_eq!(
            found.to_string(),
            "kind: no value has the reference level \"z\"; levels are a, b"
        );
        assert!(matches!(
            dummies("kind", &["a", "a"], "a"),
            Err(StatsError::Collinear { column }) if column == "kind"
        ));
        assert!(dummies::<&str>("kind", &[], "a").is_err());
    }
}
