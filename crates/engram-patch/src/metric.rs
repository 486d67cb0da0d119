//! Metrics from rows of logits. Sums are taken in f64.

use std::cell::OnceCell;

use engram_core::{Direction, Metric};

/// The logits at one position, with the logarithm of their exponentials' sum once it is needed.
#[derive(Debug)]
pub struct Logits<'a> {
    values: &'a [f32],
    log_sum: OnceCell<f64>,
}

impl<'a> Logits<'a> {
    /// The logits of the whole vocabulary at one position.
    pub fn new(values: &'a [f32]) -> Logits<'a> {
        Logits {
            values,
            log_sum: OnceCell::new(),
        }
    }

    /// All of them: one for each token of the vocabulary.
    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    /// Logit of a token.
    pub fn logit(&self, token: u32) -> f64 {
        self.values
            .get(token as usize)
            .map_or(f64::NAN, |v| f64::from(*v))
    }

    /// ln Σ exp(logit).
    pub fn log_sum(&self) -> f64 {
        *self.log_sum.get_or_init(|| {
            let max = self
                .values
                .iter()
                .copied()
                .fold(f32::NEG_INFINITY, f32::max);
            let max = f64::from(max);
            let sum: f64 = self
                .values
                .iter()
                .map(|v| (f64::from(*v) - max).exp())
                .sum();
            max + sum.ln()
        })
    }

    /// Log-probability of a token, in nats.
    pub fn log_prob(&self, token: u32) -> f64 {
        self.logit(token) - self.log_sum()
    }

    /// 1 + the number of tokens with a strictly greater logit.
    pub fn rank(&self, token: u32) -> usize {
        let own = self.values.get(token as usize).copied().unwrap_or(f32::NAN);
        1 + self.values.iter().filter(|v| **v > own).count()
    }

    /// The token of the greatest logit, the first where there are several: what greedy decoding gives. `None` where no
    /// logit is a number.
    pub fn greedy(&self) -> Option<u32> {
        let numbers = self.values.iter().enumerate().filter(|(_, v)| !v.is_nan());
        let best = numbers.reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.map(|(token, _)| token as u32)
    }

    /// Log-probabilities of the whole vocabulary.
    pub fn log_probs(&self) -> Vec<f64> {
        let log_sum = self.log_sum();
        self.values
            .iter()
            .map(|v| f64::from(*v) - log_sum)
            .collect()
    }

    /// KL(reference ‖ this), the reference given by its log-probabilities.
    pub fn kl_from(&self, reference: &[f64]) -> f64 {
        let log_sum = self.log_sum();
        (reference.iter().zip(self.values))
            .map(|(p, v)| {
                let mass = p.exp();
                // 0 · ln 0 is 0 in the limit.
                if mass == 0.0 {
                    0.0
                } else {
                    mass * (p - (f64::from(*v) - log_sum))
                }
            })
            .sum()
    }
}

/// All that the metrics of one run are read from.
#[derive(Debug)]
pub struct Readout<'a> {
    /// The logits at the prompt's last position.
    pub last: Logits<'a>,
    /// The logits after each token of the answer but its last, the answer appended to the prompt.
    pub after_answer: Vec<Logits<'a>>,
    /// The same for the foil.
    pub after_foil: Vec<Logits<'a>>,
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

impl Readout<'_> {
    /// Mean log-probability of a continuation's tokens, each after the true ones before it.
    fn continuation(&self, tokens: &[u32], after: &[Logits<'_>]) -> f64 {
        let rows = std::iter::once(&self.last).chain(after);
        let log_probs: Vec<f64> = tokens
            .iter()
            .zip(rows)
            .map(|(t, row)| row.log_prob(*t))
            .collect();
        mean(log_probs.into_iter())
    }

    /// Whether greedy decoding gives the answer: each of its tokens is the most probable one after those before it. Needs
    /// `after_answer` to the answer's end.
    pub fn says(&self, answer: &[u32]) -> bool {
        let mut rows = std::iter::once(&self.last).chain(&self.after_answer);
        let next = |token: &u32| rows.next().and_then(Logits::greedy) == Some(*token);
        !answer.is_empty() && answer.iter().all(next)
    }

    /// A metric of engram's own; NaN for a caller's, and where answer or foil is empty or outside the vocabulary. `clean` holds the clean
    /// run's log-probabilities at the prompt's last position, for [`Metric::Kl`].
    pub fn measure(&self, metric: Metric, answer: &[u32], foil: &[u32], clean: &[f64]) -> f64 {
        let logit = |tokens: &[u32]| tokens.first().map_or(f64::NAN, |t| self.last.logit(*t));
        let mean_logit = |tokens: &[u32]| mean(tokens.iter().map(|t| self.last.logit(*t)));
        let log_prob = |tokens: &[u32]| tokens.first().map_or(f64::NAN, |t| self.last.log_prob(*t));
        match metric {
            Metric::LogitDiff => logit(answer) - logit(foil),
            Metric::LogitDiffMean => mean_logit(answer) - mean_logit(foil),
            Metric::Prob => log_prob(answer).exp(),
            Metric::LogProb => log_prob(answer),
            Metric::LogProbSeq => {
                self.continuation(answer, &self.after_answer)
                    - self.continuation(foil, &self.after_foil)
            }
            Metric::Kl => -self.last.kl_from(clean),
            Metric::Rank => {
                let first = answer.first().map(|t| self.last.rank(*t));
                first.map_or(f64::NAN, |rank| -(rank as f64).ln())
            }
            // The engine that has the caller's function measures it.
            Metric::Own(_) => f64::NAN,
        }
    }
}

/// The share of the clean–corrupt gap that a patch restores (denoise) or destroys (noise); `None`
/// where there is no gap.
pub fn recovery(direction: Direction, clean: f64, corrupt: f64, patched: f64) -> Option<f64> {
    let gap = clean - corrupt;
    let part = match direction {
        Direction::Denoise => patched - corrupt,
        Direction::Noise => clean - patched,
    };
    let share = part / gap;
    (gap != 0.0 && share.is_finite()).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against closed forms: logits ln 1, ln 2, ln 5 are the probabilities 1/8, 2/8, 5/8.
    #[test]
    fn closed_forms() {
        let first = [1f32.ln(), 2f32.ln(), 5f32.ln()];
        let second = [0f32, 0.0, 0.0];
        let read = Readout {
            last: Logits::new(&first),
            after_answer: vec![Logits::new(&second)],
            after_foil: vec![],
        };
        let uniform = [(1f64 / 3.0).ln(); 3];
        let expect = |metric, answer: &[u32], foil: &[u32], value: f64| {
            let found = read.measure(metric, answer, foil, &uniform);
            assert!(
                (found - value).abs() < 1e-6,
                "{metric}: {found} for {value}"
            );
        };
        expect(Metric::LogitDiff, &[2, 0], &[1], 2.5f64.ln());
        expect(
            Metric::LogitDiffMean,
            &[2, 0],
            &[1],
            5f64.ln() / 2.0 - 2f64.ln(),
        );
        expect(Metric::Prob, &[2], &[1], 0.625);
        expect(Metric::LogProb, &[1], &[2], 0.25f64.ln());
        let seq = (0.625f64.ln() + (1f64 / 3.0).ln()) / 2.0 - 0.25f64.ln();
        expect(Metric::LogProbSeq, &[2, 0], &[1], seq);
        let kl = -(0.125f64 * 0.25 * 0.625).ln() / 3.0 - 3f64.ln();
        expect(Metric::Kl, &[2], &[1], -kl);
        expect(Metric::Rank, &[0], &[1], -(3f64.ln()));
        expect(Metric::Rank, &[2], &[1], 0.0);
        assert_eq!(Logits::new(&second).rank(1), 1, "ties share the best rank");
    }

    #[test]
    fn recovery_is_null_without_a_gap() {
        assert_eq!(recovery(Direction::Denoise, 1.0, 1.0, 3.0), None);
        assert_eq!(recovery(Direction::Denoise, 3.0, 1.0, 2.0), Some(0.5));
        assert_eq!(recovery(Direction::Noise, 3.0, 1.0, 1.0), Some(1.0));
    }
}
