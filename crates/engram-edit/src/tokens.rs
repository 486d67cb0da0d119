//! Tokenisation of prompts and answers: texts are tokenised whole, and positions are found by offsets.

use std::ops::Range;

use candle_core::{Device, Tensor};
use engram_core::blanks::answer_after;
use engram_model::{LanguageModel, Tokenizer, covering};

use crate::error::{EditError, Result};
use crate::request::EditRequest;

/// A prompt followed by an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptAndAnswer {
    /// Token ids of both.
    pub ids: Vec<u32>,
    /// Index of the answer's first token.
    pub from: usize,
}

impl PromptAndAnswer {
    /// The answer's tokens.
    pub fn answer(&self) -> &[u32] {
        &self.ids[self.from..]
    }

    /// The network's input: all tokens but the last, which is only predicted.
    pub fn read(&self) -> &[u32] {
        &self.ids[..self.ids.len() - 1]
    }
}

/// A prompt and an answer as one text, with the space between them that running text has
/// ([`engram_core::blanks::answer_after`]).
///
/// # Errors
/// [`EditError::Model`] if the text cannot be tokenised; [`EditError::Continuation`] for an answer or a prompt without
/// a token, or a prompt whose tokens change when the answer is appended.
pub fn continued(tokenizer: &Tokenizer, prompt: &str, answer: &str) -> Result<PromptAndAnswer> {
    let wrong = |why| EditError::Continuation {
        prompt: prompt.to_owned(),
        answer: answer.trim().to_owned(),
        why,
    };
    let mut ids = tokenizer.encode(prompt)?;
    let from = ids.len();
    let next = answer_after(prompt, answer);
    let answer = tokenizer.continuation(prompt, &ids, &next)?;
    let answer = answer.ok_or_else(|| wrong("joining them changes the prompt's own tokens"))?;
    if from == 0 || answer.is_empty() {
        return Err(wrong("each must have a token"));
    }
    ids.extend(answer);
    Ok(PromptAndAnswer { ids, from })
}

/// Index of the last token of a request's subject in its prompt, after a prefix.
///
/// # Errors
/// [`EditError::Model`] if the text cannot be tokenised; [`EditError::Subject`] if the subject does not occur.
pub fn subject_last(tokenizer: &Tokenizer, request: &EditRequest, prefix: &str) -> Result<usize> {
    let place = request.place()?;
    let bytes = prefix.len() + place.start..prefix.len() + place.end;
    let text = format!("{prefix}{}", request.prompt);
    last_token(tokenizer, &text, &bytes)?.ok_or_else(|| request.no_subject())
}

/// Index of the last token that overlaps a range of a text's bytes.
///
/// # Errors
/// [`EditError::Model`] if the text cannot be tokenised.
pub fn last_token(
    tokenizer: &Tokenizer,
    text: &str,
    bytes: &Range<usize>,
) -> Result<Option<usize>> {
    let tokens = tokenizer.encode_with_offsets(text)?;
    let offsets: Vec<Range<usize>> = tokens.into_iter().map(|(_, at)| at).collect();
    Ok(covering(&offsets, bytes).map(|tokens| tokens.end - 1))
}

/// Rows padded on the right to one length. Attention is causal, so padding affects no earlier position.
pub(crate) fn padded(rows: &[&[u32]]) -> Vec<Vec<u32>> {
    let longest = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let pad = |row: &&[u32]| {
        let mut row = row.to_vec();
        row.resize(longest, 0);
        row
    };
    rows.iter().map(pad).collect()
}

/// Rows of a batch: from [batch, pos, d], the rows at `places` (row, position), [n, d].
pub(crate) fn pick(x: &Tensor, places: &[(usize, usize)]) -> Result<Tensor> {
    let (batch, positions, d) = x.dims3()?;
    let places: Vec<u32> = (places.iter())
        .map(|(row, position)| (row * positions + position) as u32)
        .collect();
    let count = places.len();
    let places = Tensor::from_vec(places, count, &Device::Cpu)?.to_device(x.device())?;
    let flat = x.contiguous()?.reshape((batch * positions, d))?;
    Ok(flat.index_select(&places, 0)?)
}

/// Fails for a layer that the model does not have.
pub(crate) fn check_layer(model: &LanguageModel, layer: usize) -> Result<()> {
    let layers = model.architecture().layers();
    match layer < layers {
        true => Ok(()),
        false => Err(engram_model::ModelError::Layer { layer, layers }.into()),
    }
}
