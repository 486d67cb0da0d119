//! Losses on the validation texts.

use engram_model::training::{Flat, Sequence};
use serde::{Deserialize, Serialize};

use crate::data::Encoded;
use crate::error::Result;
use crate::learner::Learner;
use crate::record::Validation;

/// Number of sequences evaluated at a time.
const BATCH: usize = 64;

/// Validation losses, with means over batches of `batch_size`, and the mean loss of each text over its own tokens.
pub(crate) fn evaluate(
    learner: &mut Learner,
    weights: &Flat,
    sequences: &[Encoded],
    texts: usize,
    batch_size: usize,
) -> Result<(Validation, Vec<Option<f64>>)> {
    let (mut counted, mut real, mut answers) = (Mean::default(), Mean::default(), Mean::default());
    let mut by_text = vec![Mean::default(); texts];
    let mut batches = Batches::new(batch_size);
    for batch in sequences.chunks(BATCH) {
        let asked: Vec<Sequence> = batch.iter().map(Encoded::sequence).collect();
        for (sequence, losses) in batch.iter().zip(learner.losses(weights, &asked)?) {
            counted.add(&losses);
            batches.add(&losses);
            let own = &losses[..sequence.real_predicted().min(losses.len())];
            real.add(own);
            if let Some(text) = by_text.get_mut(sequence.text) {
                text.add(own);
            }
            // The loss of the token at index i is at index i − 1.
            for &i in &sequence.answers {
                answers.add(&losses[i - 1..i]);
            }
        }
    }
    let validation = Validation {
        counted: counted.mean().unwrap_or(f64::NAN),
        real: real.mean().unwrap_or(f64::NAN),
        answers: answers.mean(),
        by_batch: batches.mean(|batch| batch.n),
        eval_loss: batches.mean(|batch| batch.n + batch.sequences),
    };
    Ok((validation, by_text.iter().map(Mean::mean).collect()))
}

/// Sums of losses over batches of consecutive sequences.
struct Batches {
    size: usize,
    all: Vec<Batch>,
}

#[derive(Default)]
struct Batch {
    sum: f64,
    /// Number of predicted tokens.
    n: usize,
    sequences: usize,
}

impl Batches {
    fn new(size: usize) -> Batches {
        Batches {
            size,
            all: Vec::new(),
        }
    }

    /// Adds a sequence.
    fn add(&mut self, losses: &[f32]) {
        if self.all.last().is_none_or(|b| b.sequences == self.size) {
            self.all.push(Batch::default());
        }
        if let Some(batch) = self.all.last_mut() {
            batch.sum += losses.iter().map(|l| f64::from(*l)).sum::<f64>();
            batch.n += losses.len();
            batch.sequences += 1;
        }
    }

    /// The mean over batches of (sum of losses / `divisor`), weighted by their number of sequences; `None` without a
    /// batch.
    fn mean(&self, divisor: impl Fn(&Batch) -> usize) -> Option<f64> {
        let weighed = |b: &Batch| b.sequences as f64 * b.sum / divisor(b) as f64;
        let sequences: usize = self.all.iter().map(|b| b.sequences).sum();
        (sequences > 0).then(|| self.all.iter().map(weighed).sum::<f64>() / sequences as f64)
    }
}

/// A running mean.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Mean {
    sum: f64,
    n: usize,
}

impl Mean {
    pub fn add(&mut self, losses: &[f32]) {
        self.sum += losses.iter().map(|l| f64::from(*l)).sum::<f64>();
        self.n += losses.len();
    }

    /// `None` before the first value.
    pub fn mean(&self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / self.n as f64)
    }
}
