//! Ranks with ties averaged, as integers.

/// Doubled ranks of `values`, and the tie term Σ(t³ − t) over groups of ties.
///
/// The average rank of a group of ties is a multiple of ½, so doubled ranks are integers: sums of ranks are exact, and
/// a test's result does not depend on the order of its rows.
pub(crate) fn doubled_ranks(values: &[f64]) -> (Vec<u64>, f64) {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0; values.len()];
    let mut tie_term = 0.0;
    let mut start = 0;
    while start < order.len() {
        let value = values[order[start]];
        // `==` and not the total order: −0 and 0 are a tie.
        let ties = order[start..]
            .iter()
            .take_while(|&&i| values[i] == value)
            .count();
        let end = start + ties;
        // Ranks start + 1 to end, of which the average is (start + 1 + end) / 2.
        for &i in &order[start..end] {
            ranks[i] = (start + 1 + end) as u64;
        }
        let t = ties as f64;
        tie_term += t * t * t - t;
        start = end;
    }
    (ranks, tie_term)
}

#[cfg(test)]
mod tests {
    use super::doubled_ranks;

    #[test]
    fn ties_share_their_average() {
        let (ranks, ties) = doubled_ranks(&[0.3, 0.1, 0.3, 0.7, 0.3]);
        assert_eq!(ranks, [6, 2, 6, 10, 6]);
        assert_eq!(ties, 24.0);
        assert_eq!(doubled_ranks(&[0.0, -0.0]).0, [3, 3]);
    }
}
