//! The learning rate over a run, and when to stop.

use serde::{Deserialize, Serialize};

/// Linear warm-up to the peak, then linear decay to 0 at the last planned step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f64,
    /// Steps of warm-up.
    pub warmup: usize,
    /// Planned steps.
    pub total: usize,
}

impl Schedule {
    /// The rate of step `step`, counted from 0, as the transformers library's linear schedule has it: the first
    /// step of a run with warm-up is taken at rate 0.
    pub fn rate(&self, step: usize) -> f64 {
        let factor = if step < self.warmup {
            step as f64 / self.warmup as f64
        } else {
            let decay = self.total.saturating_sub(self.warmup).max(1);
            self.total.saturating_sub(step) as f64 / decay as f64
        };
        self.peak * factor
    }
}

/// Keeps the best loss and counts evaluations without a better one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stopper {
    patience: usize,
    best: Option<f64>,
    waited: usize,
}

/// What an evaluation means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The best so far: keep these weights.
    Best,
    /// No better; go on.
    Wait,
    /// No better for as long as patience lasts.
    Stop,
}

impl Stopper {
    /// Stops at the `patience`-th evaluation in a row without a lower loss.
    pub fn new(patience: usize) -> Stopper {
        Stopper {
            patience,
            best: None,
            waited: 0,
        }
    }

    /// Whether the last verdict was to stop.
    pub fn stopped(&self) -> bool {
        self.waited >= self.patience
    }

    /// Takes the next evaluation's loss.
    pub fn next(&mut self, loss: f64) -> Verdict {
        if self.best.is_none_or(|best| loss < best) {
            self.best = Some(loss);
            self.waited = 0;
            return Verdict::Best;
        }
        self.waited += 1;
        if self.waited >= self.patience {
            Verdict::Stop
        } else {
            Verdict::Wait
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_and_falls_in_straight_lines() {
        let schedule = Schedule {
            peak: 2.0,
            warmup: 4,
            total: 12,
        };
        let rates: Vec<f64> = (0..13).map(|s| schedule.rate(s)).collect();
        let expected = [
            0.0, 0.5, 1.0, 1.5, 2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25, 0.0,
        ];
        assert_eq!(rates, expected);
    }

    #[test]
    fn no_warmup_starts_at_the_peak_and_one_beyond_the_run_never_reaches_it() {
        let none = Schedule {
            peak: 1.0,
            warmup: 0,
            total: 4,
        };
        assert_eq!(none.rate(0), 1.0);
        assert_eq!(none.rate(3), 0.25);
        let long = Schedule {
            peak: 1.0,
            warmup: 500,
            total: 4,
        };
        assert_eq!(long.rate(3), 3.0 / 500.0);
    }

    #[test]
    fn patience_counts_evaluations_in_a_row() {
        let mut stopper = Stopper::new(2);
        let losses = [3.0, 2.0, 2.5, 1.5, 1.5, 1.6];
        let verdicts: Vec<Verdict> = losses.into_iter().map(|l| stopper.next(l)).collect();
        use Verdict::{Best, Stop, Wait};
        assert_eq!(verdicts, [Best, Best, Wait, Best, Wait, Stop]);
        assert_eq!(stopper.best, Some(1.5));
    }
}
