//! A model with packed weights, for scoring answers and texts.

use std::sync::Arc;

use engram_model::LanguageModel;
use engram_model::kernels::softmax::log_probability;
use engram_model::wavefront::{Run, Vocabulary, Wavefront};

use crate::error::Result;
use crate::tokens::PromptAndAnswer;

/// Maximum number of tokens in a batch.
const BATCH: usize = 1024;

/// A model and its weights packed in panels for the processor's registers. The reader of an edited model shares the
/// blocks that are not edited.
#[derive(Clone)]
pub struct Reader {
    model: LanguageModel,
    packed: Wavefront,
    vocabulary: Arc<Vocabulary>,
}

/// The likelihood of an answer under a model.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Likelihood {
    /// Mean log-probability of its tokens.
    pub mean_log: f64,
    /// Whether each of its tokens is the most probable one.
    pub greedy: bool,
}

impl Likelihood {
    /// p = exp(mean log-probability) (Meng et al. 2022).
    pub fn probability(&self) -> f64 {
        self.mean_log.exp()
    }
}

impl Reader {
    /// Packs a copy of a model's weights.
    ///
    /// # Errors
    /// [`EditError::Tensor`](crate::EditError::Tensor) if the tensor library fails.
    pub fn new(model: &LanguageModel) -> Result<Reader> {
        let packed = Wavefront::new(model)?;
        let vocabulary = Arc::new(packed.vocabulary(None)?);
        Ok(Reader {
            model: model.clone(),
            packed,
            vocabulary,
        })
    }

    /// The reader of a model that differs from this one in `layers` only.
    ///
    /// # Errors
    /// [`EditError::Model`](crate::EditError::Model) for a layer that the model does not have.
    pub fn of_edited(&self, edited: LanguageModel, layers: &[usize]) -> Result<Reader> {
        Ok(Reader {
            packed: self.packed.with_blocks_of(&edited, layers)?,
            vocabulary: self.vocabulary.clone(),
            model: edited,
        })
    }

    /// The model.
    pub fn model(&self) -> &LanguageModel {
        &self.model
    }

    /// The packed weights.
    pub fn packed(&self) -> &Wavefront {
        &self.packed
    }

    /// The packed unembedding, for all tokens.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The likelihood of each answer after its prompt, in the given order.
    ///
    /// # Errors
    /// [`EditError::Model`](crate::EditError::Model) if the model cannot be run.
    pub fn likelihoods(&self, asked: &[PromptAndAnswer]) -> Result<Vec<Likelihood>> {
        let mut found = Vec::with_capacity(asked.len());
        let mut rest = asked;
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = |one: &&PromptAndAnswer| {
                tokens += one.ids.len();
                tokens <= BATCH
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (batch, after) = rest.split_at(count);
            rest = after;
            let of_one = |one: &PromptAndAnswer| (run(one.read()), one.from - 1..one.ids.len() - 1);
            let reads: Vec<_> = batch.iter().map(of_one).collect();
            let rows = self.packed.read(&reads)?;
            let logits = self.packed.logits(&rows, &self.vocabulary);
            let mut rows = logits.chunks_exact(self.vocabulary.tokens());
            for one in batch {
                let answer = one.answer();
                let (mut sum, mut greedy) = (0.0, true);
                for (token, row) in answer.iter().zip(&mut rows) {
                    sum += log_probability(row, *token as usize);
                    greedy &= most_probable(row) == Some(*token);
                }
                found.push(Likelihood {
                    mean_log: sum / answer.len() as f64,
                    greedy,
                });
            }
        }
        Ok(found)
    }

    /// Perplexity of texts: exp(mean NLL over all tokens but each text's first). Texts are cut at the context length;
    /// at most `most` tokens are read in all.
    ///
    /// # Errors
    /// [`EditError::Model`](crate::EditError::Model) if the model cannot be run.
    pub fn perplexity(&self, texts: &[Vec<u32>], most: usize) -> Result<f64> {
        let context = self.model.architecture().context;
        let (mut sum, mut count, mut left) = (0f64, 0usize, most);
        for text in texts {
            let text = &text[..text.len().min(context).min(left)];
            if text.len() < 2 {
                continue;
            }
            left -= text.len();
            let (read, said) = (&text[..text.len() - 1], &text[1..]);
            let rows = self.packed.read(&[(run(read), 0..read.len())])?;
            let logits = self.packed.logits(&rows, &self.vocabulary);
            let rows = logits.chunks_exact(self.vocabulary.tokens()).zip(said);
            sum -= rows
                .map(|(row, token)| log_probability(row, *token as usize))
                .sum::<f64>();
            count += said.len();
        }
        Ok((sum / count.max(1) as f64).exp())
    }

    /// The model's greedy continuation of a prompt.
    ///
    /// # Errors
    /// [`EditError::Model`](crate::EditError::Model) if the model cannot be run.
    pub fn continuation(&self, prompt: &str, tokens: usize) -> Result<String> {
        let mut row = self.model.tokenizer().encode(prompt)?;
        let from = row.len();
        let room = self.model.architecture().context.saturating_sub(from);
        for _ in 0..tokens.min(room) {
            let last = row.len() - 1;
            let rows = self.packed.read(&[(run(&row), last..last + 1)])?;
            let logits = self.packed.logits(&rows, &self.vocabulary);
            row.extend(most_probable(&logits));
        }
        Ok(self.model.tokenizer().decode(&row[from..])?)
    }
}

/// A sequence to run.
pub(crate) fn run(ids: &[u32]) -> Run {
    Run {
        ids: ids.to_vec(),
        noise: None,
    }
}

/// The token with the largest logit, the first of several; `None` if no logit is a number.
pub(crate) fn most_probable(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(u32, f32)> = None;
    for (token, &logit) in logits.iter().enumerate() {
        if !logit.is_nan() && best.is_none_or(|(_, most)| logit > most) {
            best = Some((token as u32, logit));
        }
    }
    best.map(|(token, _)| token)
}
