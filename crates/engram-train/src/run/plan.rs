//! The plan of a run, computed from its settings and texts.

use engram_model::LanguageModel;
use engram_model::training::Pass;

use crate::data::{Encoded, Texts, TrainText, prepare};
use crate::error::Result;
use crate::record::{LearningRate, TrainingPlan};
use crate::schedule::LearningRateSchedule;
use crate::settings::TrainSettings;

/// The plan of a run, without running it.
///
/// # Errors
/// As [`train`](crate::train), for the settings and texts.
pub fn plan(
    model: &LanguageModel,
    train: &[TrainText],
    validation: &[TrainText],
    settings: &TrainSettings,
) -> Result<TrainingPlan> {
    let (texts, held_out) = prepare(model, train, validation, settings)?;
    plan_of(model, train, &texts, &held_out, settings)
}

pub(super) fn plan_of(
    model: &LanguageModel,
    train: &[TrainText],
    texts: &Texts,
    held_out: &[Encoded],
    settings: &TrainSettings,
) -> Result<TrainingPlan> {
    let sequences_per_step = settings.batch_size * settings.accumulation;
    let drawn = settings.epoch_steps * sequences_per_step;
    // Sequences and predicted tokens of an epoch, the padding among these, and tokens in no sequence.
    let (sequences, tokens_per_epoch, padded_tokens, cut_tokens) = match texts {
        Texts::Sequences(all) => {
            let predicted: usize = all.iter().map(Encoded::predicted).sum();
            let real: usize = all.iter().map(Encoded::real_predicted).sum();
            let mut text_tokens = 0usize;
            for text in train {
                text_tokens += model.tokenizer().encode_training(&text.text)?.len();
            }
            let kept: usize = all.iter().map(|s| s.real).sum();
            let count = match drawn {
                0 => all.len(),
                drawn => drawn,
            };
            let share =
                |tokens: usize| (tokens as f64 * count as f64 / all.len() as f64).round() as usize;
            let cut = text_tokens.saturating_sub(kept);
            (count, share(predicted), share(predicted - real), cut)
        }
        Texts::Stream { length, .. } => (drawn, drawn * (length - 1), 0, 0),
    };
    let steps_per_epoch = sequences.div_ceil(sequences_per_step);
    let total_steps = match settings.max_steps {
        0 => steps_per_epoch * settings.epochs,
        most => most.min(steps_per_epoch * settings.epochs),
    };
    let parameters = model.shape().parameters;
    let threads = rayon::current_num_threads() as u64;
    // The model, its weights as a vector, the best weights and two moments; a gradient and a workspace for each thread.
    let copies = 5 * parameters as u64 * 4;
    let of_thread = parameters as u64 * 4 + Pass::workspace_bytes(model, settings.max_length);
    Ok(TrainingPlan {
        texts: train.len(),
        sequences,
        validation_sequences: held_out.len(),
        sequences_per_step,
        steps_per_epoch,
        total_steps,
        warmup_steps: settings.warmup(total_steps),
        rate: Some(LearningRate::of(
            &schedule(settings, total_steps),
            total_steps,
        )),
        tokens_per_epoch,
        padded_tokens,
        cut_tokens,
        parameters,
        memory_bytes: copies + threads * of_thread,
    })
}

pub(super) fn schedule(settings: &TrainSettings, total: usize) -> LearningRateSchedule {
    LearningRateSchedule {
        peak: settings.learning_rate,
        warmup: settings.warmup(total),
        total,
        decay: settings.decay,
        last: settings.final_rate,
    }
}
