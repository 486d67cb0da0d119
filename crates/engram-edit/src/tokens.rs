//! Texts as a model's tokenizer cuts them: whole, with places found by offsets, never piece by piece.

use candle_core::{Device, Tensor};
use engram_model::{Model, Tokenizer};

use crate::error::{EditError, Result};

/// A prompt followed by an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continued {
    /// The tokens of both.
    pub ids: Vec<u32>,
    /// Where the answer's begin.
    pub from: usize,
}

impl Continued {
    /// The answer's tokens.
    pub fn answer(&self) -> &[u32] {
        &self.ids[self.from..]
    }

    /// What the network reads: all but the last token, which it only has to say.
    pub fn read(&self) -> &[u32] {
        &self.ids[..self.ids.len() - 1]
    }
}

/// A prompt, exactly one blank, and an answer, without special tokens.
///
/// # Errors
/// The tokenizer's; [`EditError::Request`] for an answer of no token, or a prompt of none.
pub fn continued(tokenizer: &Tokenizer, prompt: &str, answer: &str) -> Result<Continued> {
    let text = format!("{prompt} {}", answer.trim_start());
    let tokens = tokenizer.encode_with_offsets(&text)?;
    let of_prompt = |(_, at): &&(u32, std::ops::Range<usize>)| at.end <= prompt.len();
    let from = tokens.iter().take_while(of_prompt).count();
    if from == 0 || from == tokens.len() {
        return Err(EditError::Request {
            request: format!("\"{text}\""),
            why: "prompt and answer must have a token each".to_owned(),
        });
    }
    Ok(Continued {
        ids: tokens.into_iter().map(|(id, _)| id).collect(),
        from,
    })
}

/// Index of the last token of a subject's last occurrence in a text, by offsets.
///
/// # Errors
/// The tokenizer's; [`EditError::Subject`].
pub fn subject_last(tokenizer: &Tokenizer, text: &str, subject: &str, id: &str) -> Result<usize> {
    let missing = || EditError::Subject {
        request: id.to_owned(),
        subject: subject.to_owned(),
        prompt: text.to_owned(),
    };
    let end = text.rfind(subject).ok_or_else(missing)? + subject.len();
    let tokens = tokenizer.encode_with_offsets(text)?;
    let before = tokens.iter().filter(|(_, at)| at.start < end).count();
    before.checked_sub(1).ok_or_else(missing)
}

/// Rows of one length, padded on the right: what comes after a position does not reach it.
pub(crate) fn padded(rows: &[&[u32]]) -> Vec<Vec<u32>> {
    let longest = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let pad = |row: &&[u32]| {
        let mut row = row.to_vec();
        row.resize(longest, 0);
        row
    };
    rows.iter().map(pad).collect()
}

/// Some rows of a batch: [batch, pos, d], (row, position) each, to [n, d].
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

/// Refuses a layer that the model does not have.
pub(crate) fn check_layer(model: &Model, layer: usize) -> Result<()> {
    let layers = model.architecture().layers();
    match layer < layers {
        true => Ok(()),
        false => Err(engram_model::ModelError::Layer { layer, layers }.into()),
    }
}
