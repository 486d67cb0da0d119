//! What a new model is trained by: its sizes, its tokenizer and the training's settings, in one TOML file.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use engram_corpus::Abstract;
use engram_model::{Gpt2Config, Model, Tokenizer};
use engram_train::TrainSettings;
use serde::{Deserialize, Serialize};

/// A new model's recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scratch {
    /// The network's sizes.
    pub model: Sizes,
    /// The tokenizer.
    pub tokenizer: Learned,
    /// The training, every setting named.
    pub train: TrainSettings,
}

/// The sizes of a GPT-2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Blocks.
    pub layers: usize,
    /// Heads of a block.
    pub heads: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Positions.
    pub context: usize,
}

/// A byte-level BPE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learned {
    /// Tokens, the 256 bytes and `<|endoftext|>` among them.
    pub vocabulary: usize,
}

impl Scratch {
    /// Reads a recipe.
    ///
    /// # Errors
    /// The file's, with the line; sizes that no network has.
    pub fn read(path: &Path) -> Result<Scratch> {
        let at = || format!("{}", path.display());
        let text = std::fs::read_to_string(path).with_context(at)?;
        let scratch: Scratch = toml::from_str(&text).map_err(|e| {
            let start = e.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(start).filter(|b| *b == b'\n').count();
            anyhow!("{}, line {line}: {}", at(), e.message().replace('\n', ", "))
        })?;
        let sizes = &scratch.model;
        let least = [sizes.layers, sizes.heads, sizes.d_model, sizes.context];
        if least.contains(&0) || !sizes.d_model.is_multiple_of(sizes.heads) {
            bail!(
                "{}: layers, heads, d_model and context are at least 1, and d_model is a multiple of heads",
                path.display()
            );
        }
        scratch.train.check().with_context(at)?;
        Ok(scratch)
    }

    /// The tokenizer learned from the training texts, and a model with random weights under the settings' seed.
    ///
    /// # Errors
    /// The tokenizer's.
    pub fn model(&self, train: &[Abstract], settings: &TrainSettings) -> Result<Model> {
        let texts: Vec<String> = train.iter().map(Abstract::text).collect();
        let tokenizer = Tokenizer::learn(&texts, self.tokenizer.vocabulary)?;
        let vocabulary = tokenizer.highest_id() as usize + 1;
        if vocabulary < self.tokenizer.vocabulary {
            eprintln!(
                "the texts give {vocabulary} tokens of the {} asked for",
                self.tokenizer.vocabulary
            );
        }
        let sizes = &self.model;
        let mut config = Gpt2Config::new(
            vocabulary,
            sizes.context,
            sizes.d_model,
            sizes.layers,
            sizes.heads,
        );
        config.eos_token_id = Some(0);
        config.other.insert("bos_token_id".to_owned(), 0.into());
        config.embd_pdrop = settings.dropout;
        config.attn_pdrop = settings.dropout;
        config.resid_pdrop = settings.dropout;
        Ok(Model::random(&config, tokenizer, settings.seed)?)
    }
}
