//! Tokens of a part of a text.
//!
//! A continuation has no token ids by itself: SentencePiece tokenizers put a space before every text, so that " Paris"
//! alone begins with another token than " Paris" after a prompt. Its ids are those that follow the prompt's ids when
//! both are tokenised as one text.

use std::ops::Range;

use crate::error::Result;
use crate::tokenizer::Tokenizer;

impl Tokenizer {
    /// The ids of `next` after a prompt: those after `prompt_ids` in the ids of the joined text. `None` if the joined
    /// text's ids do not begin with the prompt's.
    ///
    /// # Errors
    /// [`crate::ModelError::Tokenizer`].
    pub fn continuation(
        &self,
        prompt: &str,
        prompt_ids: &[u32],
        next: &str,
    ) -> Result<Option<Vec<u32>>> {
        let joined = self.encode(&format!("{prompt}{next}"))?;
        Ok(joined.strip_prefix(prompt_ids).map(<[u32]>::to_vec))
    }

    /// The ids of `next` after a prompt given by ids. The prompt's text is decoded from the ids, and the tokens are
    /// found by their offsets. `None` if a token of the joined text overlaps both.
    ///
    /// # Errors
    /// [`crate::ModelError::Tokenizer`].
    pub fn continuation_of_ids(&self, prompt_ids: &[u32], next: &str) -> Result<Option<Vec<u32>>> {
        let prompt = self.decode(prompt_ids)?;
        let joined = self.encode_with_offsets(&format!("{prompt}{next}"))?;
        let of_prompt = |(_, at): &&(u32, Range<usize>)| at.end <= prompt.len();
        let from = joined.iter().take_while(of_prompt).count();
        let whole = joined[from..]
            .iter()
            .all(|(_, at)| at.start >= prompt.len());
        Ok(whole.then(|| joined[from..].iter().map(|(id, _)| *id).collect()))
    }
}

/// The tokens that overlap a range of a text's bytes; `offsets` holds each token's bytes. Special tokens without bytes
/// overlap nothing.
pub fn covering(offsets: &[Range<usize>], bytes: &Range<usize>) -> Option<Range<usize>> {
    let touches = |o: &Range<usize>| o.start < bytes.end && o.end > bytes.start;
    let first = offsets.iter().position(touches)?;
    let last = offsets.iter().rposition(touches)?;
    Some(first..last + 1)
}
