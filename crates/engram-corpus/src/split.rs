//! Splitting a corpus into training and validation.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::error::{CorpusError, Result};

/// Shuffles with a seed and cuts: training first, then validation with the nearest whole number to
/// `validation_fraction` of the items. The same items and seed give the same split.
///
/// # Errors
/// [`CorpusError::Split`] where a side would be empty or the fraction is none.
pub fn split<T>(
    mut items: Vec<T>,
    validation_fraction: f64,
    seed: u64,
) -> Result<(Vec<T>, Vec<T>)> {
    let total = items.len();
    let held_out = (total as f64 * validation_fraction).round();
    // Written so that a fraction that is not a number is refused too.
    if !(held_out >= 1.0 && held_out < total as f64) {
        return Err(CorpusError::Split {
            abstracts: total,
            fraction: validation_fraction,
        });
    }
    items.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let validation = items.split_off(total - held_out as usize);
    Ok((items, validation))
}
