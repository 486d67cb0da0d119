//! The learning rate over a run, and early stopping.

use serde::{Deserialize, Serialize};

use crate::settings::Decay;

/// Linear warm-up to the peak, then decay to a share of it at the last planned step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearningRateSchedule {
    /// The highest rate.
    pub peak: f64,
    /// Steps of warm-up.
    pub warmup: usize,
    /// Planned steps.
    pub total: usize,
    /// Shape of the decay.
    pub decay: Decay,
    /// The share of the peak that remains at the end.
    pub last: f64,
}

impl LearningRateSchedule {
    /// The learning rate of step `step`, from 0, as in the transformers library's linear schedule: with warm-up the
    /// first step has rate 0. A cosine spans the whole run, and the warm-up multiplies it.
    pub fn rate(&self, step: usize) -> f64 {
        let rising = match step < self.warmup {
            true => step as f64 / self.warmup as f64,
            false => 1.0,
        };
        let left = match self.decay {
            Decay::Linear if step < self.warmup => 1.0,
            Decay::Linear => {
                let span = self.total.saturating_sub(self.warmup).max(1);
                self.total.saturating_sub(step) as f64 / span as f64
            }
            Decay::Cosine => {
                let done = (step as f64 / self.total.max(1) as f64).min(1.0);
                0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
        };
        self.peak * rising * (self.last + (1.0 - self.last) * left)
    }
}

/// Early stopping: the best loss, and the number of evaluations since.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EarlyStopping {
    patience: usize,
    best: Option<f64>,
    waited: usize,
}

/// The consequence of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The best loss so far: keep these weights.
    Best,
    /// Not better; continue.
    Wait,
    /// Not better for `patience` evaluations; stop.
    Stop,
}

impl EarlyStopping {
    /// Stops at the `patience`-th consecutive evaluation without a lower loss.
    pub fn new(patience: usize) -> EarlyStopping {
        EarlyStopping {
            patience,
            best: None,
            waited: 0,
        }
    }

    /// Whether the last verdict was to stop.
    pub fn stopped(&self) -> bool {
        self.waited >= self.patience
    }

    /// Adds the loss of an evaluation.
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
        let schedule = LearningRateSchedule {
            peak: 2.0,
            warmup: 4,
            total: 12,
            decay: Decay::Linear,
            last: 0.0,
        };
        let rates: Vec<f64> = (0..13).map(|s| schedule.rate(s)).collect();
        let expected = [
            0.0, 0.5, 1.0, 1.5, 2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25, 0.0,
        ];
        assert_eq!(rates, expected);
    }

    #[test]
    fn no_warmup_starts_at_the_peak_and_one_beyond_the_run_never_reaches_it() {
        let none = LearningRateSchedule {
            peak: 1.0,
            warmup: 0,
            total: 4,
            decay: Decay::Linear,
            last: 0.0,
        };
        assert_eq!(none.rate(0), 1.0);
        assert_eq!(none.rate(3), 0.25);
        let long = LearningRateSchedule {
            peak: 1.0,
            warmup: 500,
            total: 4,
            decay: Decay::Linear,
            last: 0.0,
        };
        assert_eq!(long.rate(3), 3.0 / 500.0);
    }

    #[test]
    fn a_cosine_ends_at_its_share_and_is_half_way_in_the_middle() {
        let schedule = LearningRateSchedule {
            peak: 2.0,
            warmup: 2,
            total: 8,
            decay: Decay::Cosine,
            last: 0.1,
        };
        let near = |step: usize, rate: f64| assert!((schedule.rate(step) - rate).abs() < 1e-12);
        near(0, 0.0);
        near(
            1,
            0.5 * 2.0 * (0.1 + 0.45 * (1.0 + (std::f64::consts::PI / 8.0).cos())),
        );
        near(4, 2.0 * 0.55);
        near(8, 0.2);
    }

    #[test]
    fn patience_counts_evaluations_in_a_row() {
        let mut stopper = EarlyStopping::new(2);
        let losses = [3.0, 2.0, 2.5, 1.5, 1.5, 1.6];
        let verdicts: Vec<Verdict> = losses.into_iter().map(|l| stopper.next(l)).collect();
        use Verdict::{Best, Stop, Wait};
        assert_eq!(verdicts, [Best, Best, Wait, Best, Wait, Stop]);
        assert_eq!(stopper.best, Some(1.5));
    }
}
