//! Texts sampled from a model: prefixes, which make an edit robust to preceding text, and continuations, whose fluency
//! is scored.

use engram_model::{LanguageModel, NoTap};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// Number of most probable tokens to sample from (five in Meng et al. 2022).
const TOP: usize = 5;

/// Number, length and seed of the prefixes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixSettings {
    /// Number and length in tokens of each group: 10 of 5 and 10 of 10 (Meng et al. 2022, appendix E.5).
    pub groups: Vec<(usize, usize)>,
    /// Random seed.
    pub seed: u64,
}

impl Default for PrefixSettings {
    fn default() -> PrefixSettings {
        PrefixSettings {
            groups: vec![(10, 5), (10, 10)],
            seed: 0,
        }
    }
}

/// Prefixes for a prompt. The first is empty; the others end in `. `.
///
/// # Errors
/// [`EditError::Model`](crate::EditError::Model) if the model cannot be run.
pub fn prefixes(model: &LanguageModel, settings: &PrefixSettings) -> Result<Vec<String>> {
    let lead = model.tokenizer().lead();
    let start = match lead.is_empty() {
        true => vec![model.end_of_text().unwrap_or(0)],
        false => lead.to_vec(),
    };
    let mut texts = vec![String::new()];
    for (group, (count, tokens)) in settings.groups.iter().enumerate() {
        let seed = settings.seed.wrapping_add(group as u64);
        for ids in generate(model, &start, *count, *tokens, seed)? {
            texts.push(format!("{}. ", model.tokenizer().decode(&ids)?));
        }
    }
    Ok(texts)
}

/// `count` continuations of a prompt, `tokens` long each, without the prompt. Each token is sampled from the five most
/// probable ones by their probabilities; the end-of-text token is never sampled.
///
/// # Errors
/// [`EditError::Model`](crate::EditError::Model) if the model cannot be run.
pub fn generate(
    model: &LanguageModel,
    prompt: &[u32],
    count: usize,
    tokens: usize,
    seed: u64,
) -> Result<Vec<Vec<u32>>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let context = model.architecture().context;
    let mut rows = vec![prompt.to_vec(); count];
    for _ in 0..tokens.min(context.saturating_sub(prompt.len())) {
        let last = rows[0].len() - 1;
        let logits = model.forward_from(&rows, last, &mut NoTap)?;
        model.refuse_not_finite(&rows, [&logits])?;
        let logits = logits.squeeze(1)?;
        for (row, logits) in rows.iter_mut().zip(logits.to_vec2::<f32>()?) {
            row.push(draw(&logits, model.end_of_text(), &mut random));
        }
    }
    Ok(rows
        .into_iter()
        .map(|row| row[prompt.len()..].to_vec())
        .collect())
}

fn draw(logits: &[f32], never: Option<u32>, random: &mut ChaCha8Rng) -> u32 {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(TOP + 1);
    for (id, &logit) in logits.iter().enumerate() {
        let id = id as u32;
        let low = best.len() == TOP && best.last().is_some_and(|b| logit <= b.1);
        if Some(id) == never || low || logit.is_nan() {
            continue;
        }
        let place = best.partition_point(|b| b.1 >= logit);
        best.insert(place, (id, logit));
        best.truncate(TOP);
    }
    let most = best.first().map_or(0.0, |b| b.1);
    let weights = best.iter().map(|b| f64::from(b.1 - most).exp());
    let mut left = random.random::<f64>() * weights.clone().sum::<f64>();
    for ((id, _), weight) in best.iter().zip(weights) {
        left -= weight;
        if left <= 0.0 {
            return *id;
        }
    }
    best.last().map_or(0, |b| b.0)
}
