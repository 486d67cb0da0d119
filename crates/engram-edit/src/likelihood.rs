//! How probable a model finds answers and texts.

use candle_core::Tensor;
use engram_model::kernels::cross_entropy;
use engram_model::{Model, NoTap};

use crate::error::Result;
use crate::tokens::{Continued, padded, pick};

/// The most tokens of a batch.
const BATCH: usize = 1024;

/// An answer as a model finds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likelihood {
    /// Mean log-probability of its tokens, each after all before it.
    pub mean_log: f64,
    /// Whether each of its tokens is the most probable one there.
    pub greedy: bool,
}

impl Likelihood {
    /// p = exp(−mean token NLL) (Meng et al. 2022).
    pub fn probability(&self) -> f64 {
        self.mean_log.exp()
    }
}

/// Each answer after its prompt, in the order given.
///
/// # Errors
/// The model's.
pub fn likelihoods(model: &Model, asked: &[Continued]) -> Result<Vec<Likelihood>> {
    let mut order: Vec<usize> = (0..asked.len()).collect();
    order.sort_by_key(|i| asked[*i].ids.len());
    let mut found = vec![
        Likelihood {
            mean_log: 0.0,
            greedy: false
        };
        asked.len()
    ];
    let mut rest = &order[..];
    while let Some(last) = rest.last() {
        let longest = asked[*last].ids.len();
        let (left, batch) = rest.split_at(rest.len() - (BATCH / longest).clamp(1, rest.len()));
        rest = left;
        let rows: Vec<&[u32]> = batch.iter().map(|i| asked[*i].read()).collect();
        let x = model.network().residual(&padded(&rows), &mut NoTap)?;
        let mut places = Vec::new();
        let mut targets = Vec::new();
        for (row, i) in batch.iter().enumerate() {
            let one = &asked[*i];
            places.extend((one.from - 1..one.ids.len() - 1).map(|position| (row, position)));
            targets.extend_from_slice(one.answer());
        }
        let logits = model.network().logits_of(&pick(&x, &places)?)?;
        let losses = cross_entropy(&logits, &targets)?.to_vec1::<f32>()?;
        let best = logits.argmax(1)?.to_vec1::<u32>()?;
        let mut at = 0;
        for i in batch {
            let tokens = at..at + asked[*i].answer().len();
            at = tokens.end;
            let sum: f64 = losses[tokens.clone()].iter().map(|l| f64::from(*l)).sum();
            found[*i] = Likelihood {
                mean_log: -sum / tokens.len() as f64,
                greedy: best[tokens.clone()] == targets[tokens],
            };
        }
    }
    Ok(found)
}

/// Perplexity of texts, exp(mean NLL over all tokens but each text's first); texts are cut at the context, and none is
/// read beyond `most` tokens in all.
///
/// # Errors
/// The model's.
pub fn perplexity(model: &Model, texts: &[Vec<u32>], most: usize) -> Result<f64> {
    let context = model.architecture().context;
    let (mut sum, mut count, mut left) = (0f64, 0usize, most);
    for text in texts {
        let text = &text[..text.len().min(context).min(left)];
        if text.len() < 2 {
            continue;
        }
        left -= text.len();
        let row = vec![text[..text.len() - 1].to_vec()];
        let x = model.network().residual(&row, &mut NoTap)?;
        let logits: Tensor = model.network().logits_of(&x.squeeze(0)?)?;
        let losses = cross_entropy(&logits, &text[1..])?.to_vec1::<f32>()?;
        sum += losses.iter().map(|l| f64::from(*l)).sum::<f64>();
        count += losses.len();
    }
    Ok((sum / count.max(1) as f64).exp())
}
