//! Splitting a corpus into training and validation.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::abstracts::Abstract;
use crate::error::{CorpusError, Result};
use crate::near::{self, Near};

/// Shuffles with a seed and cuts: training first, then validation with the nearest whole number to
/// `validation_fraction` of the items. The same items and seed give the same split.
///
/// # Errors
/// [`CorpusError::Split`] where a side would be empty or the fraction is none.
pub fn split<T>(items: Vec<T>, validation_fraction: f64, seed: u64) -> Result<(Vec<T>, Vec<T>)> {
    let groups: Vec<usize> = (0..items.len()).collect();
    split_groups(items, &groups, validation_fraction, seed)
}

/// As [`split`], with texts that are equal or nearly equal ([`near::THRESHOLD`]) on one side. Where there are none, it is
/// [`split`]'s; else validation has as many texts as can be had without dividing a group.
///
/// # Errors
/// As [`split`]; where nearly all texts are one group, a side would be empty.
pub fn split_texts(
    abstracts: Vec<Abstract>,
    validation_fraction: f64,
    seed: u64,
) -> Result<(Vec<Abstract>, Vec<Abstract>)> {
    let texts: Vec<String> = abstracts.iter().map(Abstract::own_text).collect();
    let groups = near::groups(texts.iter().map(String::as_str));
    split_groups(abstracts, &groups, validation_fraction, seed)
}

/// Of `validation`, those whose text is equal or nearly equal to one of `train`.
pub fn leaked<'v>(train: &[Abstract], validation: &'v [Abstract]) -> Vec<&'v Abstract> {
    // The validation texts are fewer: they are held, and training passes by.
    let mut near = Near::default();
    for held in validation {
        near.add(&held.own_text());
    }
    let mut is_leaked = vec![false; validation.len()];
    for taught in train {
        for number in near.all(&taught.own_text()) {
            is_leaked[number] = true;
        }
    }
    let all = validation.iter().enumerate();
    all.filter(|(number, _)| is_leaked[near.first(*number)])
        .map(|(_, held)| held)
        .collect()
}

/// Shuffles and cuts; groups that lie on both sides of the cut go to training, and whole groups from the end of training
/// take their place.
fn split_groups<T>(
    items: Vec<T>,
    groups: &[usize],
    validation_fraction: f64,
    seed: u64,
) -> Result<(Vec<T>, Vec<T>)> {
    let total = items.len();
    let held_out = (total as f64 * validation_fraction).round();
    let refused = || CorpusError::Split {
        abstracts: total,
        fraction: validation_fraction,
    };
    // Written so that a fraction that is not a number is refused too.
    if !(held_out >= 1.0 && held_out < total as f64) {
        return Err(refused());
    }
    let held_out = held_out as usize;
    let mut order: Vec<usize> = (0..total).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut sizes = vec![0; total];
    for group in groups {
        sizes[*group] += 1;
    }
    let (train, validation) = order.split_at(total - held_out);
    let mut within = vec![0; total];
    for item in validation {
        within[groups[*item]] += 1;
    }
    let mut is_held: Vec<bool> = (0..total)
        .map(|group| within[group] > 0 && within[group] == sizes[group])
        .collect();
    let mut missing = held_out
        - (validation.iter())
            .filter(|item| is_held[groups[**item]])
            .count();
    for item in train.iter().rev() {
        let group = groups[*item];
        if missing > 0 && !is_held[group] && sizes[group] <= missing {
            is_held[group] = true;
            missing -= sizes[group];
        }
    }
    let is_of_validation: Vec<bool> = groups.iter().map(|group| is_held[*group]).collect();
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for item in order {
        let side = match is_of_validation[item] {
            true => &mut right,
            false => &mut left,
        };
        side.extend(items[item].take());
    }
    match left.is_empty() || right.is_empty() {
        true => Err(refused()),
        false => Ok((left, right)),
    }
}
