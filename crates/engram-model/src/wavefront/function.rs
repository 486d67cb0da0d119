//! A caller's function of activations.

use std::fmt;
use std::sync::Arc;

/// A function of a row of a site: of all its values, or of those of the heads or neurons that are patched. It is given the
/// position and the values, which it changes in place; of a pattern, the probabilities of one head's query for the keys up
/// to its own position. A pattern's row is handed over for
/// each head. A run has one row for each position, and several where answer and foil are appended to the prompt; rows that no
/// metric reads may be left out. It may be called from several threads at once, in any order.
#[derive(Clone)]
pub struct RowFunction(Arc<Function>);

type Function = dyn Fn(usize, &mut [f32]) + Send + Sync;

impl RowFunction {
    /// Of a closure.
    pub fn new(function: impl Fn(usize, &mut [f32]) + Send + Sync + 'static) -> RowFunction {
        RowFunction(Arc::new(function))
    }

    /// Changes the values at a position.
    pub fn apply(&self, position: usize, values: &mut [f32]) {
        (self.0)(position, values);
    }
}

/// Functions are equal where they are the same one.
impl PartialEq for RowFunction {
    fn eq(&self, other: &RowFunction) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for RowFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RowFunction")
    }
}
