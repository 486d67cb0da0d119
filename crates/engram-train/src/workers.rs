//! A pass for each thread, and a batch divided among them.

use engram_model::LanguageModel;
use engram_model::kernels::Products;
use engram_model::training::{Flat, Pass, Sequence};
use rayon::prelude::*;

use crate::error::Result;

/// A pass and a gradient for each thread of the current rayon pool.
///
/// Sequences are assigned to threads by length alone, so that the same batch on the same number of threads gives the
/// same bits.
pub struct Workers {
    passes: Vec<Pass>,
    parts: Vec<Flat>,
}

impl Workers {
    /// One worker for each thread of the current rayon pool. `dropout` replaces the probabilities of the configuration;
    /// `products` is the number format of products with weights.
    ///
    /// # Errors
    /// As [`Pass::new`].
    pub fn new(model: &LanguageModel, dropout: f64, products: Products) -> Result<Workers> {
        let threads = rayon::current_num_threads().max(1);
        let pass = |_| Ok(Pass::new(model, Some(dropout))?.with_products(products));
        let passes = (0..threads).map(pass);
        Ok(Workers {
            passes: passes.collect::<Result<_>>()?,
            parts: vec![Flat::zeros(model.gpt2("training")?); threads],
        })
    }

    /// The loss −ln p (nats) of every token but the first of each sequence.
    ///
    /// # Errors
    /// As [`Pass::losses`].
    pub fn losses(&mut self, weights: &Flat, batch: &[Sequence]) -> Result<Vec<Vec<f32>>> {
        let shares = shares(batch, self.passes.len());
        let jobs = self.passes.par_iter_mut().zip(&shares);
        let found = jobs
            .map(|(pass, share)| Ok(pass.losses(weights, &share.take(batch))?))
            .collect::<Result<_>>()?;
        Ok(in_order(batch, &shares, found))
    }

    /// As [`Workers::losses`]; also adds the gradient of the mean loss over the batch's tokens to the parts. The
    /// gradient is the sum of the parts.
    ///
    /// # Errors
    /// As [`Pass::gradients`].
    pub fn gradients(&mut self, weights: &Flat, batch: &[Sequence]) -> Result<Vec<Vec<f32>>> {
        let tokens: usize = batch.iter().map(|s| s.ids.len().saturating_sub(1)).sum();
        let factor = 1.0 / tokens.max(1) as f32;
        let shares = shares(batch, self.passes.len());
        let jobs = self.passes.par_iter_mut().zip(&mut self.parts).zip(&shares);
        let found = jobs
            .map(|((pass, part), share)| {
                Ok(pass.gradients(weights, &share.take(batch), factor, part)?)
            })
            .collect::<Result<_>>()?;
        Ok(in_order(batch, &shares, found))
    }

    /// The gradients, one for each thread.
    pub fn parts_mut(&mut self) -> &mut [Flat] {
        &mut self.parts
    }
}

/// Indices of the sequences of one thread, ascending.
#[derive(Debug, Clone, Default)]
struct Share(Vec<usize>);

impl Share {
    fn take<'a>(&self, batch: &[Sequence<'a>]) -> Vec<Sequence<'a>> {
        self.0.iter().map(|&i| batch[i]).collect()
    }
}

/// Longest sequence first, each to the thread with the least work so far.
fn shares(batch: &[Sequence], threads: usize) -> Vec<Share> {
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(batch[i].ids.len()), i));
    let mut shares = vec![Share::default(); threads];
    let mut loads = vec![0usize; threads];
    for i in order {
        let least = (0..threads).min_by_key(|&t| (loads[t], t)).unwrap_or(0);
        loads[least] += batch[i].ids.len();
        shares[least].0.push(i);
    }
    for share in &mut shares {
        share.0.sort_unstable();
    }
    shares
}

/// The threads' losses in the order of the batch.
fn in_order(batch: &[Sequence], shares: &[Share], found: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
    let mut losses = vec![Vec::new(); batch.len()];
    for (share, found) in shares.iter().zip(found) {
        let mut rest = found.as_slice();
        for &i in &share.0 {
            let (own, after) = rest.split_at((batch[i].ids.len() - 1).min(rest.len()));
            losses[i] = own.to_vec();
            rest = after;
        }
    }
    losses
}
