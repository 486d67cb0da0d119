//! Splits a corpus into training and validation.

use std::collections::HashMap;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::abstracts::Abstract;
use crate::error::{CorpusError, Result};
use crate::near::{self, Near};

/// Shuffles items with a seed and splits them: training, then validation with `validation_fraction` of the items,
/// rounded. The same items and seed give the same split.
///
/// # Errors
/// [`CorpusError::Split`] if a side would be empty, or the fraction is not a number between 0 and 1.
pub fn split<T>(items: Vec<T>, validation_fraction: f64, seed: u64) -> Result<(Vec<T>, Vec<T>)> {
    let groups: Vec<usize> = (0..items.len()).collect();
    Ok(Cut::new(&groups, validation_fraction, seed)?.apply(items))
}

/// As [`split`], but equal and nearly equal texts ([`near::THRESHOLD`]) stay on one side. Without such texts the result
/// is that of [`split`]; otherwise validation has as many texts as possible without dividing a group.
///
/// Texts from one template may all be near each other. If validation would get less than half of the texts asked for,
/// only equal texts are kept together; if that is still not enough, the result is that of [`split`]. [`leaked`] then
/// lists the texts on both sides.
///
/// # Errors
/// As [`split`].
pub fn split_texts(
    abstracts: Vec<Abstract>,
    validation_fraction: f64,
    seed: u64,
) -> Result<(Vec<Abstract>, Vec<Abstract>)> {
    let texts: Vec<String> = abstracts.iter().map(Abstract::own_text).collect();
    let enough = (abstracts.len() as f64 * validation_fraction).round() / 2.0;
    for groups in [
        near::groups(texts.iter().map(String::as_str)),
        equal(&texts),
    ] {
        let cut = Cut::new(&groups, validation_fraction, seed)?;
        let held_out = cut.held_out() as f64;
        if held_out > 0.0 && held_out >= enough {
            return Ok(cut.apply(abstracts));
        }
    }
    split(abstracts, validation_fraction, seed)
}

/// The group of each text; equal texts share a group.
fn equal(texts: &[String]) -> Vec<usize> {
    let mut firsts = HashMap::new();
    let numbered = texts.iter().enumerate();
    numbered
        .map(|(number, text)| *firsts.entry(text).or_insert(number))
        .collect()
}

/// The texts of `validation` that are equal or nearly equal to one of `train`.
pub fn leaked<'v>(train: &[Abstract], validation: &'v [Abstract]) -> Vec<&'v Abstract> {
    // The smaller validation set is indexed, and training texts are looked up in it.
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

/// A shuffled corpus with the side of each item.
struct Cut {
    /// Items in shuffled order.
    order: Vec<usize>,
    /// For each item, whether it is in validation.
    is_held: Vec<bool>,
}

impl Cut {
    /// Shuffles and splits. Groups divided by the split go to training, and whole groups from the end of training
    /// replace them.
    fn new(groups: &[usize], validation_fraction: f64, seed: u64) -> Result<Cut> {
        let total = groups.len();
        let held_out = (total as f64 * validation_fraction).round();
        // Written so that NaN fails too.
        if !(held_out >= 1.0 && held_out < total as f64) {
            return Err(CorpusError::Split {
                abstracts: total,
                fraction: validation_fraction,
            });
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
        let whole = validation.iter().filter(|item| is_held[groups[**item]]);
        let mut missing = held_out - whole.count();
        for item in train.iter().rev() {
            let group = groups[*item];
            if missing > 0 && !is_held[group] && sizes[group] <= missing {
                is_held[group] = true;
                missing -= sizes[group];
            }
        }
        Ok(Cut {
            is_held: groups.iter().map(|group| is_held[*group]).collect(),
            order,
        })
    }

    /// Number of validation items.
    fn held_out(&self) -> usize {
        self.is_held.iter().filter(|is_held| **is_held).count()
    }

    /// The two sides: training and validation.
    fn apply<T>(self, items: Vec<T>) -> (Vec<T>, Vec<T>) {
        let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
        let (mut train, mut validation) = (Vec::new(), Vec::new());
        for item in self.order {
            let side = match self.is_held[item] {
                true => &mut validation,
                false => &mut train,
            };
            side.extend(items[item].take());
        }
        (train, validation)
    }
}
