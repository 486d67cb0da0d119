//! The keys of a request's own prompts beside the subject's last token, which an edit leaves alone like those of the text
//! sample.
//!
//! The optimisation of δ assumes that an update acts on the subject's last token. It acts on every token whose key is not
//! orthogonal to u. Other tokens of the same prompt are rare in a sample, so that C alone does not keep u from them, and
//! they are what a neighbour's prompt shares with the request.

use rayon::prelude::*;

use crate::cholesky::Cholesky;
use crate::covariance::Covariance;
use crate::error::Result;
use crate::optimise::Rewriting;
use crate::reader::{Reader, run};

/// Maximum number of prompts whose tokens are read; the first has no prefix.
const PROMPTS: usize = 7;

/// The keys at a layer of all tokens but the subject's last one, in the first prompts of a request, and the deviations of
/// the subject's own keys from their mean, which differ with the words before it.
///
/// # Errors
/// [`EditError::Model`](crate::EditError::Model) if the model cannot be run.
pub fn keys(reader: &Reader, rewriting: &Rewriting, layer: usize) -> Result<Vec<Vec<f64>>> {
    let width = reader.model().architecture().d_mlp;
    let prompts = &rewriting.prompts[..rewriting.prompts.len().min(PROMPTS)];
    let runs: Vec<_> = prompts
        .iter()
        .map(|p| run(&p.ids.ids[..p.ids.from]))
        .collect();
    let (mut found, mut own): (Vec<Vec<f64>>, Vec<Vec<f64>>) = (Vec::new(), Vec::new());
    for values in reader.packed().neurons(&runs, &[layer])? {
        let mut rows = values.chunks(width.max(1));
        for prompt in prompts {
            for (position, row) in rows.by_ref().take(prompt.ids.from).enumerate() {
                let key = row.iter().map(|v| f64::from(*v)).collect();
                if position != prompt.subject {
                    found.push(key);
                } else if position > 0 {
                    own.push(key);
                }
            }
        }
    }
    let mut mean = vec![0f64; width];
    for key in &own {
        let each = mean.iter_mut().zip(key);
        each.for_each(|(m, k)| *m += k / own.len() as f64);
    }
    for mut key in own {
        key.iter_mut().zip(&mean).for_each(|(k, m)| *k -= m);
        found.push(key);
    }
    Ok(found)
}

/// (C + w · mean of k·kᵀ over the keys)⁻¹ · `key`, from the factor of C (Woodbury). C⁻¹ · `key` if the keys do not
/// determine it, or there is none.
pub fn solve(factor: &Cholesky, keys: &[Vec<f64>], weight: f64, key: &[f64]) -> Vec<f64> {
    let mut solution = factor.solve(key);
    if keys.is_empty() || weight <= 0.0 {
        return solution;
    }
    let n = keys.len();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let solved = factor.solve_all(keys);
    let mut inner: Vec<f64> = (solved.iter())
        .flat_map(|u| keys.iter().map(|k| dot(u, k)))
        .collect();
    for i in 0..n {
        inner[i * n + i] += n as f64 / weight;
    }
    let Some(inner) = Cholesky::of(inner, n) else {
        return solution;
    };
    let along: Vec<f64> = keys.iter().map(|k| dot(k, &solution)).collect();
    for (factor, u) in inner.solve(&along).iter().zip(&solved) {
        for (s, u) in solution.iter_mut().zip(u) {
            *s -= factor * u;
        }
    }
    solution
}

impl Covariance {
    /// Adds w · mean of k·kᵀ over some keys.
    pub fn add(&mut self, keys: &[Vec<f64>], weight: f64) {
        let (n, scale) = (self.width, weight / keys.len().max(1) as f64);
        let rows = self.values.par_chunks_mut(n.max(1)).enumerate();
        rows.for_each(|(i, row)| {
            for key in keys {
                let factor = scale * key[i];
                row.iter_mut().zip(key).for_each(|(v, k)| *v += factor * k);
            }
        });
    }
}
