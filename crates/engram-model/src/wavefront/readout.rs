//! Logits of chosen tokens, or of the whole vocabulary.

use super::Wavefront;
use crate::error::Result;
use crate::kernels::packed::Packed;
use crate::kernels::{tensor_rows, with_slice};

/// Rows of the head, laid out for products.
pub struct Vocabulary {
    pub(super) rows: Packed,
}

impl Vocabulary {
    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.rows.columns()
    }
}

impl Wavefront {
    /// The head's rows for some tokens, in their order; for the whole vocabulary where `None`.
    ///
    /// # Errors
    /// The tensor library's.
    pub fn vocabulary(&self, tokens: Option<&[u32]>) -> Result<Vocabulary> {
        let d = self.shape.d_model;
        let laid_out = |values: &[f32], count: usize| {
            Packed::of_columns(d, count, |token| &values[token * d..(token + 1) * d])
        };
        let rows = match tokens {
            Some(tokens) => laid_out(&tensor_rows(&self.head, tokens)?, tokens.len()),
            None => with_slice(&self.head, |values| Ok(laid_out(values, self.shape.vocab)))?,
        };
        Ok(Vocabulary { rows })
    }

    /// Logits: rows of the last LayerNorm's output, [rows, d_model], to [rows, tokens].
    pub fn logits(&self, rows: &[f32], vocabulary: &Vocabulary) -> Vec<f32> {
        let count = rows.len() / self.shape.d_model.max(1);
        let mut out = vec![0f32; count * vocabulary.tokens()];
        vocabulary.rows.multiply_onto_in_parallel(rows, &mut out);
        if let Some(cap) = self.logit_cap {
            out.iter_mut()
                .for_each(|logit| *logit = cap * (*logit / cap).tanh());
        }
        out
    }
}
