//! Order of rows in query and key projections.

use crate::error::{ModelError, Result};

/// Query or key weights (or bias) with each head's rows in the order of the transformers library.
///
/// Rotary embedding rotates pairs of elements of a head of size d. The transformers library pairs element i with i +
/// d/2. For the llama family (`llama`: Llama, Mistral, SmolLM), llama.cpp pairs neighbours, 2i and 2i + 1, so its
/// converter writes row i of a head at 2i and row i + d/2 at 2i + 1. This function reverses that. Other families
/// (qwen2, gemma, gptneox …) are stored unchanged.
///
/// `shape` is the tensor's, rows first; `heads` is the number of key-value heads for a key projection.
///
/// # Errors
/// [`ModelError::RotaryHeads`] if the rows do not divide into heads with an even number of rows.
pub fn unpermute(values: &[f32], shape: &[usize], heads: usize) -> Result<Vec<f32>> {
    let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let rows = shape.first().copied().unwrap_or(0);
    let pairs = rows.checked_div(heads.saturating_mul(2)).unwrap_or(0);
    if elements != Some(values.len())
        || pairs == 0
        || pairs * 2 * heads != rows
        || values.is_empty()
    {
        let shape = shape.to_vec();
        return Err(ModelError::RotaryHeads { shape, heads });
    }
    let width = values.len() / rows;
    let mut out = Vec::with_capacity(values.len());
    for head in values.chunks_exact(2 * pairs * width) {
        for half in 0..2 {
            for pair in head.chunks_exact(2 * width) {
                out.extend_from_slice(&pair[half * width..][..width]);
            }
        }
    }
    Ok(out)
}
