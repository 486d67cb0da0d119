//! Texts to sequences of ids, and what each token counts for.

use engram_model::Model;
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};
use crate::settings::{Sequences, TrainSettings};

/// A text to train or to validate on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainText {
    /// The text.
    pub text: String,
    /// Byte ranges, start and end, of the answers that it states.
    #[serde(default)]
    pub answers: Vec<(usize, usize)>,
}

/// A stretch of a text as ids, padding included where padding counts.
///
/// Padding that does not count is left out: attention is causal, so what stands to the right changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Encoded {
    /// The text's index.
    pub text: usize,
    pub ids: Vec<u32>,
    /// How many of the ids are the text's own.
    pub real: usize,
    /// Indices into `ids` that belong to an answer.
    pub answers: Vec<usize>,
}

impl Encoded {
    /// Tokens that are predicted: all but the first.
    pub fn predicted(&self) -> usize {
        self.ids.len() - 1
    }

    /// Of the predicted tokens, those of the text.
    pub fn real_predicted(&self) -> usize {
        self.real - 1
    }
}

/// The sequences of all texts, in order. Stretches of one token predict nothing and are left out.
pub(crate) fn encode(
    model: &Model,
    texts: &[TrainText],
    settings: &TrainSettings,
    what: &'static str,
) -> Result<Vec<Encoded>> {
    let context = model.shape().context;
    if settings.max_length > context {
        return Err(TrainError::Context {
            max_length: settings.max_length,
            context,
        });
    }
    let pad = match (settings.pad_loss, model.end_of_text()) {
        (true, None) => return Err(TrainError::NoPadding),
        (true, pad) => pad,
        (false, _) => None,
    };
    let mut all = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let tokens = model.tokenizer().encode_with_offsets(&text.text)?;
        let in_answer = |bytes: &std::ops::Range<usize>| {
            let overlaps = |&(start, end): &(usize, usize)| bytes.start < end && start < bytes.end;
            text.answers.iter().any(overlaps)
        };
        let stretches = tokens.chunks(settings.max_length);
        let taken = match settings.sequences {
            Sequences::Truncate => 1,
            Sequences::Chunk => usize::MAX,
        };
        for stretch in stretches.take(taken).filter(|s| s.len() > 1) {
            let mut ids: Vec<u32> = stretch.iter().map(|(id, _)| *id).collect();
            let answers = (1..ids.len())
                .filter(|&i| in_answer(&stretch[i].1))
                .collect();
            let real = ids.len();
            if let Some(pad) = pad {
                ids.resize(settings.max_length, pad);
            }
            all.push(Encoded {
                text: index,
                ids,
                real,
                answers,
            });
        }
    }
    if all.is_empty() {
        return Err(TrainError::NoSequence {
            what,
            texts: texts.len(),
        });
    }
    Ok(all)
}
