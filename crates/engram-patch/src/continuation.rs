//! Rows of one batch that read a prompt and, after it, answer and foil.

use crate::metric::{Logits, Readout};

/// What is appended to a prompt so that answer and foil can be read token by token: nothing, one row
/// that serves both, or a row each. Rows are padded on the right to one length, which under causal
/// attention changes nothing before the padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContinuationRows {
    suffixes: Vec<Vec<u32>>,
    /// The row of the foil; the answer's is the first.
    foil_row: usize,
    answer: usize,
    foil: usize,
}

impl ContinuationRows {
    /// For metrics that read answer and foil to their ends, or (`to_end` false) only after the prompt.
    pub(crate) fn of(answer: &[u32], foil: &[u32], to_end: bool) -> ContinuationRows {
        let all_but_last = |tokens: &[u32]| match (to_end, tokens.split_last()) {
            (true, Some((_, before))) => before.to_vec(),
            _ => Vec::new(),
        };
        let (a, f) = (all_but_last(answer), all_but_last(foil));
        let (answer, foil) = (a.len(), f.len());
        let longest = answer.max(foil);
        let mut suffixes = match (a.starts_with(&f), f.starts_with(&a)) {
            (true, _) => vec![a],
            (_, true) => vec![f],
            _ => vec![a, f],
        };
        // Any token will do: nothing that is read stands after it.
        suffixes.iter_mut().for_each(|s| s.resize(longest, 0));
        ContinuationRows {
            foil_row: suffixes.len() - 1,
            suffixes,
            answer,
            foil,
        }
    }

    /// How many rows a prompt takes.
    pub(crate) fn rows(&self) -> usize {
        self.suffixes.len()
    }

    /// How many tokens stand after the prompt.
    pub(crate) fn appended(&self) -> usize {
        self.suffixes.first().map_or(0, Vec::len)
    }

    /// The rows of a prompt.
    pub(crate) fn of_prompt(&self, prompt: &[u32]) -> impl Iterator<Item = Vec<u32>> {
        self.suffixes
            .iter()
            .map(|suffix| prompt.iter().chain(suffix).copied().collect())
    }

    /// What the metrics read, from the rows' logits: [rows, 1 + appended (or more), vocab], the first
    /// position being the prompt's last; `positions` is how many each row has.
    pub(crate) fn readout<'a>(
        &self,
        logits: &'a [f32],
        positions: usize,
        vocab: usize,
    ) -> Readout<'a> {
        let at = |row: usize, position: usize| {
            let start = (row * positions + position) * vocab;
            Logits::new(&logits[start..start + vocab])
        };
        Readout {
            last: at(0, 0),
            after_answer: (1..=self.answer).map(|i| at(0, i)).collect(),
            after_foil: (1..=self.foil).map(|i| at(self.foil_row, i)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_shared_where_one_serves_both() {
        let one = ContinuationRows::of(&[1, 2, 3], &[4], true);
        assert_eq!(one.of_prompt(&[9]).collect::<Vec<_>>(), [[9, 1, 2]]);
        let other = ContinuationRows::of(&[4], &[1, 2, 3], true);
        assert_eq!(other.of_prompt(&[9]).collect::<Vec<_>>(), [[9, 1, 2]]);
        let two = ContinuationRows::of(&[1, 2, 3], &[4, 5], true);
        assert_eq!(
            two.of_prompt(&[9]).collect::<Vec<_>>(),
            [[9, 1, 2], [9, 4, 0]]
        );
        let none = ContinuationRows::of(&[1, 2, 3], &[4, 5], false);
        assert_eq!(none.of_prompt(&[9]).collect::<Vec<_>>(), [[9]]);
    }
}
