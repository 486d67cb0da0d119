//! The null space of preserved keys (Fang et al. 2025, "AlphaEdit", eq. 8): P = UₙUₙᵀ over the eigenvectors of C with the
//! least eigenvalues.
//!
//! The published threshold of eigenvalues, 0.02, belongs to the scale of the keys of GPT-J and Llama. Here the preserved
//! eigenvectors are the fewest with the greatest eigenvalues that hold a share of C's trace, that is of the keys' mean
//! squared length, so that scaling the keys changes nothing.

use rayon::prelude::*;

use crate::covariance::Covariance;
use crate::eigen::Eigen;
use crate::error::{EditError, Result};

/// P of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct NullSpace {
    /// The preserved eigenvectors, orthonormal: P = I − Σ v·vᵀ.
    preserved: Vec<Vec<f64>>,
    width: usize,
}

impl NullSpace {
    /// The complement of the fewest eigenvectors of C that hold `energy` of its trace.
    ///
    /// # Errors
    /// [`EditError::NoNullSpace`] if C cannot be decomposed, or if these are all.
    pub fn of(covariance: &Covariance, energy: f64) -> Result<NullSpace> {
        let width = covariance.width;
        let none = || EditError::NoNullSpace {
            layer: covariance.layer,
            energy,
        };
        let found = Eigen::of(covariance.values.clone(), width).ok_or_else(none)?;
        let trace: f64 = found.values.iter().sum();
        let mut held = 0.0;
        let count = (found.values.iter())
            .take_while(|value| {
                let more = held < energy * trace;
                held += **value;
                more
            })
            .count();
        if count >= width {
            return Err(none());
        }
        let mut preserved = found.vectors;
        preserved.truncate(count);
        Ok(NullSpace { preserved, width })
    }

    /// Dimensions of the null space.
    pub fn dimensions(&self) -> usize {
        self.width - self.preserved.len()
    }

    /// P·k.
    pub fn project(&self, key: &[f64]) -> Vec<f64> {
        let mut left = key.to_vec();
        for vector in &self.preserved {
            let along: f64 = vector.iter().zip(key).map(|(v, k)| v * k).sum();
            left.iter_mut()
                .zip(vector)
                .for_each(|(l, v)| *l -= along * v);
        }
        left
    }

    /// P·k of each key.
    pub fn project_all(&self, keys: &[Vec<f64>]) -> Vec<Vec<f64>> {
        keys.par_iter().map(|key| self.project(key)).collect()
    }
}
