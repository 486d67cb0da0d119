//! Logits of chosen tokens, or of the whole vocabulary.

use super::Wavefront;
use crate::error::Result;
use crate::kernels::packed::Packed;
use crate::kernels::{tensor_rows, tensor_values};

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
        let (values, count) = match tokens {
            Some(tokens) => (tensor_rows(&self.head, tokens)?, tokens.len()),
            None => (tensor_values(&self.head)?, self.shape.vocab),
        };
        let rows = Packed::of_columns(d, count, |token| &values[token * d..(token + 1) * d]);
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
