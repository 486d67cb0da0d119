//! Texts to sequences of token ids, and which tokens count in which loss.

use engram_model::LanguageModel;
use engram_model::training::Sequence;
use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};
use crate::settings::{Sequences, TrainSettings};

/// A training or validation text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainText {
    /// The text.
    pub text: String,
    /// Byte ranges (start, end) of the answers in the text.
    #[serde(default)]
    pub answers: Vec<(usize, usize)>,
}

/// A sequence of token ids cut from a text, padded if padding counts in the loss.
///
/// Padding that does not count is left out: attention is causal, so tokens to the right do not affect the others.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Encoded {
    /// Index of the text.
    pub text: usize,
    pub ids: Vec<u32>,
    /// Number of ids that belong to the text; the rest is padding.
    pub real: usize,
    /// Number of ids that attention sees: those of the text, or all.
    pub attended: usize,
    /// Indices into `ids` of the answer tokens.
    pub answers: Vec<usize>,
}

impl Encoded {
    /// The sequence without dropout.
    pub fn sequence(&self) -> Sequence<'_> {
        Sequence {
            attended: self.attended,
            ..Sequence::new(&self.ids)
        }
    }

    /// Number of predicted tokens: all but the first.
    pub fn predicted(&self) -> usize {
        self.ids.len() - 1
    }

    /// Number of predicted tokens that belong to the text.
    pub fn real_predicted(&self) -> usize {
        self.real - 1
    }
}

/// The training data.
pub(crate) enum Texts {
    /// Sequences, each used once an epoch.
    Sequences(Vec<Encoded>),
    /// All texts joined, an end-of-text token before each, and the length of a crop.
    Stream { ids: Vec<u32>, length: usize },
}

impl Texts {
    /// A sequence without dropout, by its index in the list or by the first token of a crop.
    pub fn sequence(&self, index: usize) -> Sequence<'_> {
        match self {
            Texts::Sequences(all) => all[index].sequence(),
            Texts::Stream { ids, length } => Sequence::new(&ids[index..index + length]),
        }
    }

    /// The sequences of an epoch in training order.
    pub fn order(&self, epoch_sequences: usize, random: &mut ChaCha8Rng) -> Vec<usize> {
        match self {
            Texts::Sequences(all) => {
                let mut order: Vec<usize> = Vec::new();
                while order.len() < epoch_sequences {
                    let mut once: Vec<usize> = (0..all.len()).collect();
                    once.shuffle(random);
                    order.extend(once);
                }
                order.truncate(epoch_sequences);
                order
            }
            Texts::Stream { ids, length } => (0..epoch_sequences)
                .map(|_| random.random_range(0..=ids.len() - length))
                .collect(),
        }
    }
}

/// All texts joined, an end-of-text token before each.
pub(crate) fn stream(
    model: &LanguageModel,
    texts: &[TrainText],
    settings: &TrainSettings,
    what: &'static str,
) -> Result<Vec<u32>> {
    let end = model.end_of_text().ok_or(TrainError::NoPadding)?;
    let encoded: Vec<Vec<u32>> = texts
        .par_iter()
        .map(|text| {
            let tokens = model.tokenizer().encode_training(&text.text)?;
            Ok(tokens.into_iter().map(|(id, _)| id).collect())
        })
        .collect::<Result<_>>()?;
    let mut ids = Vec::new();
    for text in encoded {
        if text.first() != Some(&end) {
            ids.push(end);
        }
        ids.extend(text);
    }
    if ids.len() < settings.max_length {
        return Err(TrainError::NoSequence {
            what,
            texts: texts.len(),
        });
    }
    Ok(ids)
}

/// Training data and validation sequences.
pub(crate) fn prepare(
    model: &LanguageModel,
    train: &[TrainText],
    validation: &[TrainText],
    settings: &TrainSettings,
) -> Result<(Texts, Vec<Encoded>)> {
    settings.check()?;
    let (what, held_out) = ("training texts", "validation texts");
    if settings.sequences != Sequences::Crop {
        let sequences = encode(model, train, settings, what)?;
        return Ok((
            Texts::Sequences(sequences),
            encode(model, validation, settings, held_out)?,
        ));
    }
    check_context(model, settings)?;
    let length = settings.max_length;
    let ids = stream(model, train, settings, what)?;
    let measured = stream(model, validation, settings, held_out)?;
    let measured = measured.chunks_exact(length).map(|ids| Encoded {
        // Crops do not belong to a text.
        text: usize::MAX,
        ids: ids.to_vec(),
        real: length,
        attended: length,
        answers: Vec::new(),
    });
    Ok((Texts::Stream { ids, length }, measured.collect()))
}

/// Checks that a model can be trained with these settings, before any text is read.
///
/// # Errors
/// [`TrainError::Value`] for a setting outside its range, [`TrainError::Context`] for sequences beyond the model's
/// context, [`TrainError::NoPadding`] if padding is needed and the model has no end-of-text token, and a
/// `ModelError::OnlyGpt2` for another family than GPT-2.
pub fn check(model: &LanguageModel, settings: &TrainSettings) -> Result<()> {
    settings.check()?;
    model.gpt2("training")?;
    check_context(model, settings)?;
    // Crops are cut from one stream in which that token separates texts.
    if (settings.pad_loss || settings.sequences == Sequences::Crop) && model.end_of_text().is_none()
    {
        return Err(TrainError::NoPadding);
    }
    Ok(())
}

fn check_context(model: &LanguageModel, settings: &TrainSettings) -> Result<()> {
    let context = model.shape().context;
    if settings.max_length > context {
        return Err(TrainError::Context {
            max_length: settings.max_length,
            context,
        });
    }
    Ok(())
}

/// The sequences of all texts, in order. Sequences of one token predict nothing and are left out.
pub(crate) fn encode(
    model: &LanguageModel,
    texts: &[TrainText],
    settings: &TrainSettings,
    what: &'static str,
) -> Result<Vec<Encoded>> {
    check_context(model, settings)?;
    let pad = match (settings.pad_loss, model.end_of_text()) {
        (true, None) => return Err(TrainError::NoPadding),
        (true, pad) => pad,
        (false, _) => None,
    };
    let mut all = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let tokens = model.tokenizer().encode_training(&text.text)?;
        let in_answer = |bytes: &std::ops::Range<usize>| {
            let overlaps = |&(start, end): &(usize, usize)| bytes.start < end && start < bytes.end;
            text.answers.iter().any(overlaps)
        };
        let stretches = tokens.chunks(settings.max_length);
        let taken = match settings.sequences {
            Sequences::Truncate => 1,
            Sequences::Chunk | Sequences::Crop => usize::MAX,
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
            let attended = match settings.pad_attention {
                true => ids.len(),
                false => real,
            };
            all.push(Encoded {
                text: index,
                ids,
                real,
                attended,
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
