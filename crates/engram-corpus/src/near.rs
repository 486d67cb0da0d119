//! Finds equal and nearly equal texts by MinHash (Broder 1997) with banding (Leskovec, Rajaraman and Ullman, Mining of
//! Massive Datasets, chapter 3).
//!
//! The similarity of two texts is the Jaccard similarity of their sets of three consecutive words, in lower case and
//! without punctuation. It is estimated from 125 hashes, with a standard error of at most 0.045. In scripts without
//! spaces between words each character counts as a word.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use engram_core::clusters::joined;
use engram_core::hash::fnv1a;

use crate::abstracts::unspaced;

/// Estimated Jaccard similarity from which two texts count as nearly equal.
pub const THRESHOLD: f64 = 0.8;
/// Words per shingle.
const SHINGLE: usize = 3;
const BANDS: usize = 25;
const ROWS: usize = 5;
/// Two texts at the threshold share a band with probability 1 − (1 − 0.8^5)^25 > 0.9999.
const HASHES: usize = BANDS * ROWS;
/// Number of texts in a bucket that a new text is compared with. Further ones are near these, or there by chance.
const COMPARED: usize = 16;

/// The minimum hash of a text's shingles under each of [`HASHES`] functions.
type Signature = [u32; HASHES];

/// An index of texts for near duplicates. Each text takes about 2 kB.
#[derive(Default)]
pub struct Near {
    signatures: Vec<Signature>,
    /// For each text the first one with the same signature.
    firsts: Vec<usize>,
    buckets: HashMap<u64, Vec<u32>>,
}

impl Near {
    /// Adds a text; returns the number (from 0) of the most similar earlier text, if one is near.
    pub fn add(&mut self, text: &str) -> Option<usize> {
        self.add_all(text).into_iter().next()
    }

    /// Adds a text; returns the numbers of all earlier texts found near it, most similar first.
    fn add_all(&mut self, text: &str) -> Vec<usize> {
        let signature = signature(text);
        let found = self.near(&signature);
        let number = self.signatures.len() as u32;
        let same = found.first().filter(|f| self.signatures[**f] == signature);
        self.firsts.push(same.copied().unwrap_or(number as usize));
        // One of several equal texts suffices to find them all.
        let fresh = bands(&signature).filter(|_| same.is_none());
        for band in fresh {
            match self.buckets.entry(band) {
                Entry::Vacant(entry) => drop(entry.insert(vec![number])),
                Entry::Occupied(entry) => {
                    let others = entry.into_mut();
                    if others.len() < COMPARED {
                        others.push(number);
                    }
                }
            }
        }
        self.signatures.push(signature);
        found
    }

    /// The number of the first text with the same signature.
    pub fn first(&self, number: usize) -> usize {
        self.firsts[number]
    }

    /// The numbers of indexed texts near this one, most similar first; of equal texts only the first.
    pub fn all(&self, text: &str) -> Vec<usize> {
        self.near(&signature(text))
    }

    fn near(&self, signature: &Signature) -> Vec<usize> {
        let mut numbers: Vec<u32> = bands(signature)
            .filter_map(|band| self.buckets.get(&band))
            .flatten()
            .copied()
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut found: Vec<(usize, usize)> = (numbers.into_iter())
            .map(|number| {
                let other = &self.signatures[number as usize];
                let equal = signature.iter().zip(other).filter(|(a, b)| a == b);
                (equal.count(), number as usize)
            })
            .filter(|(equal, _)| *equal as f64 >= THRESHOLD * HASHES as f64)
            .collect();
        found.sort_unstable_by_key(|(equal, number)| (std::cmp::Reverse(*equal), *number));
        found.into_iter().map(|(_, number)| number).collect()
    }
}

/// The group of each text, numbered from 0 in order of first occurrence. Groups are the connected components of near
/// texts.
pub fn groups<'t>(texts: impl Iterator<Item = &'t str>) -> Vec<usize> {
    let mut near = Near::default();
    let mut together = Vec::new();
    let mut count = 0;
    for (number, text) in texts.enumerate() {
        let near_it = near.add_all(text).into_iter();
        together.extend(near_it.map(|other| [other, number]));
        count += 1;
    }
    joined(count, together.iter().map(<[usize; 2]>::as_slice))
}

fn signature(text: &str) -> Signature {
    let lower = text.to_lowercase();
    let words: Vec<u64> = (lower.split(|c: char| !c.is_alphanumeric()))
        .flat_map(|word| word.split_inclusive(unspaced))
        .flat_map(|word| match word.chars().next_back() {
            // A character of a script without spaces, and the text before it.
            Some(last) if unspaced(last) => {
                let (before, last) = word.split_at(word.len() - last.len_utf8());
                [before, last]
            }
            _ => [word, ""],
        })
        .filter(|word| !word.is_empty())
        .map(|word| fnv1a(word.as_bytes()))
        .collect();
    let seeds: [u64; HASHES] = std::array::from_fn(|number| mixed(number as u64 + 1));
    let mut least = [u32::MAX; HASHES];
    // A text with fewer words is one shingle.
    for shingle in words.windows(SHINGLE.min(words.len().max(1))) {
        let joined = shingle
            .iter()
            .fold(0, |all: u64, word| mixed(all.rotate_left(21) ^ word));
        for (seed, least) in seeds.iter().zip(&mut least) {
            let hash = (mixed(joined ^ seed) >> 32) as u32;
            *least = hash.min(*least);
        }
    }
    least
}

/// A hash of each band's rows, with the band's number.
fn bands(signature: &Signature) -> impl Iterator<Item = u64> {
    signature.chunks(ROWS).enumerate().map(|(band, rows)| {
        let start = mixed(band as u64 + 1);
        rows.iter()
            .fold(start, |all, row| mixed(all ^ u64::from(*row)))
    })
}

/// The finaliser of SplitMix64.
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
