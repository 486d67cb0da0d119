//! Decoys: other subjects in a request's own prompt, whose keys an edit leaves alone beside those of the text sample.
//!
//! A neighbour of a fact shares its prompt, and often the last token of its subject ("Canavan disease", "Gaucher disease").
//! Both are part of the key, and rare in a text sample, so that C alone lets an edit reach them. A decoy has sampled tokens
//! in place of the subject, or in place of all but its last token. Decoys need no knowledge of the neighbours.

use engram_model::LanguageModel;

use crate::cholesky::Cholesky;
use crate::covariance::Covariance;
use crate::error::Result;
use crate::reader::{Reader, run};
use crate::request::EditRequest;
use crate::tokens::subject_tokens;

/// Token ids up to the decoy's last token, whose key is read.
pub type Decoy = Vec<u32>;

/// Maximum number of tokens in a batch.
const BATCH: usize = 1024;

/// The decoys of a request, two for each text (as from [`crate::prefixes::prefixes`]; empty texts give none).
///
/// # Errors
/// [`EditError::Model`](crate::EditError::Model) if a text cannot be tokenised;
/// [`EditError::Subject`](crate::EditError::Subject) if the subject does not occur.
pub fn decoys(model: &LanguageModel, request: &EditRequest, texts: &[String]) -> Result<Vec<Decoy>> {
    let tokenizer = model.tokenizer();
    let ids = tokenizer.encode(&request.prompt)?;
    let subject = subject_tokens(tokenizer, request)?;
    let mut found = Vec::with_capacity(2 * texts.len());
    for text in texts.iter().map(|t| t.trim_end_matches(['.', ' '])) {
        if text.is_empty() {
            continue;
        }
        let mut decoy = ids[..subject.start].to_vec();
        let space = if subject.start > 0 { " " } else { "" };
        decoy.extend(tokenizer.encode_bare(&format!("{space}{}", text.trim_start()))?);
        let ends_alike = match subject.len() > 1 {
            true => Some([&decoy[..], &ids[subject.end - 1..subject.end]].concat()),
            false => None,
        };
        found.push(decoy);
        found.extend(ends_alike);
    }
    Ok(found)
}

/// The decoys' keys at a layer.
///
/// # Errors
/// [`EditError::Model`](crate::EditError::Model) if the model cannot be run.
pub fn keys(reader: &Reader, decoys: &[Decoy], layer: usize) -> Result<Vec<Vec<f64>>> {
    let width = reader.model().architecture().d_mlp;
    let mut found = Vec::with_capacity(decoys.len());
    let longest = decoys.iter().map(Vec::len).max().unwrap_or(1);
    for batch in decoys.chunks((BATCH / longest.max(1)).max(1)) {
        let runs: Vec<_> = batch.iter().map(|ids| run(ids)).collect();
        let mut end = 0;
        for rows in reader.packed().neurons(&runs, &[layer])? {
            for ids in batch {
                end += ids.len();
                let key = &rows[(end - 1) * width..end * width];
                found.push(key.iter().map(|v| f64::from(*v)).collect());
            }
        }
    }
    Ok(found)
}

/// (C + w · mean of k·kᵀ over the decoys)⁻¹ · `key`, from the factor of C (Woodbury). C⁻¹ · `key` if the decoys do not
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
        for (i, row) in self.values.chunks_mut(n.max(1)).enumerate() {
            for key in keys {
                let factor = scale * key[i];
                row.iter_mut().zip(key).for_each(|(v, k)| *v += factor * k);
            }
        }
    }
}
