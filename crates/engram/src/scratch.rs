//! What a new model is trained by: its sizes, its tokenizer and the training's settings, in one TOML file.

use std::path::Path;

use engram_core::{Range, files};
use engram_corpus::Abstract;
use engram_model::{Gpt2Config, LanguageModel, Tokenizer};
use engram_train::TrainSettings;
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::error::{Error, Result, Within};
use crate::observe::Observer;

/// Parameters of a new model: training takes some 24 bytes for each.
const PARAMETERS: Range = Range::whole(1, 20_000_000_000);

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
        let text = files::read_text(path)?;
        let broken = |e: toml::de::Error| {
            let start = e.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(start).filter(|b| *b == b'\n').count();
            Error::asked(
                format!("{}, line {line}", at()),
                e.message().replace('\n', ", "),
            )
        };
        let table: toml::Table = toml::from_str(&text).map_err(broken)?;
        bounds::check_scratch(&table).within(at)?;
        let scratch: Scratch = toml::from_str(&text).map_err(broken)?;
        let sizes = &scratch.model;
        if !sizes.d_model.is_multiple_of(sizes.heads) {
            let why = format!(
                "model.d_model is {}, which is no multiple of model.heads, {}",
                sizes.d_model, sizes.heads
            );
            return Err(Error::asked(at(), why));
        }
        // 12 d² for a block, and the embeddings.
        let (width, layers) = (sizes.d_model as u64, sizes.layers as u64);
        let embedded = (scratch.tokenizer.vocabulary + sizes.context) as u64;
        let parameters = width * (12 * width * layers + embedded);
        let range = PARAMETERS.check("model.layers × d_model² × 12 + embeddings", parameters);
        range.within(at)?;
        scratch.train.check().within(at)?;
        Ok(scratch)
    }

    /// The tokenizer learned from the training texts, and a model with random weights under the settings' seed.
    ///
    /// # Errors
    /// The tokenizer's.
    pub fn model(
        &self,
        train: &[Abstract],
        settings: &TrainSettings,
        observer: &mut dyn Observer,
    ) -> Result<LanguageModel> {
        let texts: Vec<String> = train.iter().map(Abstract::text).collect();
        let tokenizer = Tokenizer::learn(&texts, self.tokenizer.vocabulary)?;
        let vocabulary = tokenizer.highest_id() as usize + 1;
        if vocabulary < self.tokenizer.vocabulary {
            observer.note(format!(
                "the texts give {vocabulary} tokens of the {} asked for",
                self.tokenizer.vocabulary
            ));
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
        Ok(LanguageModel::random(&config, tokenizer, settings.seed)?)
    }
}
