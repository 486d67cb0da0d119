//! Losses on validation texts.

use engram_model::training::{Flat, Sequence};
use serde::{Deserialize, Serialize};

use crate::data::Encoded;
use crate::error::Result;
use crate::learner::Learner;
use crate::record::Validation;

/// Sequences that are measured at a time.
const BATCH: usize = 64;

/// Validation losses, and each text's mean over its own tokens.
pub(crate) fn evaluate(
    learner: &mut Learner,
    weights: &Flat,
    sequences: &[Encoded],
    texts: usize,
) -> Result<(Validation, Vec<Option<f64>>)> {
    let (mut counted, mut real, mut answers) = (Mean::default(), Mean::default(), Mean::default());
    let mut by_text = vec![Mean::default(); texts];
    for batch in sequences.chunks(BATCH) {
        let asked: Vec<Sequence> = batch
            .iter()
            .map(|s| Sequence {
                ids: &s.ids,
                seed: None,
            })
            .collect();
        for (sequence, losses) in batch.iter().zip(learner.losses(weights, &asked)?) {
            counted.add(&losses);
            let own = &losses[..sequence.real_predicted().min(losses.len())];
            real.add(own);
            if let Some(text) = by_text.get_mut(sequence.text) {
                text.add(own);
            }
            // The loss of the token at index i stands at i − 1.
            for &i in &sequence.answers {
                answers.add(&losses[i - 1..i]);
            }
        }
    }
    let validation = Validation {
        counted: counted.mean().unwrap_or(f64::NAN),
        real: real.mean().unwrap_or(f64::NAN),
        answers: answers.mean(),
    };
    Ok((validation, by_text.iter().map(Mean::mean).collect()))
}

/// A mean that is added to.
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

    /// None of nothing.
    pub fn mean(&self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / self.n as f64)
    }
}
