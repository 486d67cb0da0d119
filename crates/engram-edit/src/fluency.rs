//! Fluency: the n-gram entropy of a text (Meng et al. 2022, section 3.3).

use std::collections::HashMap;

/// GE = (⅔·H₂ + 4⁄3·H₃) / 2, where H is the entropy in bits of the text's word bigrams and trigrams. Repetitive texts
/// have low values. 0 for a text of fewer than three words.
pub fn entropy(text: &str) -> f64 {
    let words = words(text);
    (2.0 / 3.0 * n_grams(&words, 2) + 4.0 / 3.0 * n_grams(&words, 3)) / 2.0
}

/// Words (runs of letters and digits); every other character that is not white space is a word by itself.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for part in text.split_whitespace() {
        let mut rest = part;
        while let Some(first) = rest.chars().next() {
            let inside = |c: char| c.is_alphanumeric() || c == '\'';
            let end = match inside(first) {
                true => rest.find(|c| !inside(c)).unwrap_or(rest.len()),
                false => first.len_utf8(),
            };
            words.push(&rest[..end]);
            rest = &rest[end..];
        }
    }
    words
}

fn n_grams(words: &[&str], n: usize) -> f64 {
    let mut counts: HashMap<&[&str], usize> = HashMap::new();
    for gram in words.windows(n) {
        *counts.entry(gram).or_default() += 1;
    }
    let total = counts.values().sum::<usize>() as f64;
    // Sorted counts, so that the sum does not depend on the order of the map.
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_unstable();
    let share = |c: usize| c as f64 / total;
    counts.iter().map(|c| -share(*c) * share(*c).log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_repeats_itself_has_none() {
        assert_eq!(entropy("a a a a a"), 0.0);
        assert_eq!(entropy(""), 0.0);
        // Four different bigrams and three different trigrams.
        let expected = (2.0 / 3.0 * 2.0 + 4.0 / 3.0 * 3f64.log2()) / 2.0;
        assert!((entropy("a b, c d") - expected).abs() < 1e-12);
        assert_eq!(words("it's 3 cm."), ["it's", "3", "cm", "."]);
    }
}
