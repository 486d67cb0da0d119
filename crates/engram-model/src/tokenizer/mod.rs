//! Tokenizers, based on the Hugging Face library.

mod bounds;
mod chat;
pub(crate) mod config;
pub(crate) mod folder;
pub(crate) mod special;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engram_core::{Bos, Message};
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use self::config::Config;
use self::special::Special;
use crate::error::{ModelError, Result};

/// GPT-2's end-of-text token, which also begins a text.
const END: &str = "<|endoftext|>";

/// A tokenizer. [`Tokenizer::encode`] adds the leading special tokens that the checkpoint asks for, or that
/// [`Tokenizer::with_bos`] chose; [`Tokenizer::encode_bare`] adds nothing. Trailing special tokens are left out.
/// Nothing is truncated or padded.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    source: PathBuf,
    /// Special tokens that the checkpoint adds around a text.
    asked: Special,
    /// The begin-of-text token, even if the checkpoint does not add it.
    bos: Option<u32>,
    setting: Bos,
    /// Whether texts come from a chat template: `auto` then adds nothing.
    is_chat: bool,
    /// The factor by which a text may grow before it is split into tokens.
    growth: usize,
    config: Arc<Config>,
}

impl Tokenizer {
    /// Reads the tokenizer of a checkpoint's folder: `tokenizer.json`, otherwise `vocab.json` with `merges.txt`
    /// (byte-level BPE by the rule of GPT-2, GPT-NeoX or Qwen 2), and the added tokens of `tokenizer_config.json` or
    /// `added_tokens.json`. Leading special tokens are those that the transformers library (5.24) adds: those of the
    /// `post_processor` in `tokenizer.json`; without that file, the `bos_token` of `tokenizer_config.json` if
    /// `add_bos_token` is true.
    ///
    /// # Errors
    /// [`ModelError::Missing`] if there is no vocabulary; [`ModelError::Io`] if a file cannot be read;
    /// [`ModelError::Tokenizer`] if the vocabulary is invalid; [`ModelError::Config`] for a file beside it that does
    /// not parse, contradicts it, or names an unknown rule.
    pub fn read(folder: &Path) -> Result<Tokenizer> {
        let config = Config::read(folder)?;
        let (inner, source) = folder::read(folder, &config)?;
        Tokenizer::from_parts(inner, source, config)
    }

    /// A tokenizer whose post-processor adds the special tokens around a text; errors name `source`. The begin-of-text
    /// token is the configuration's, by default `<|endoftext|>` as in GPT-2.
    pub(crate) fn from_parts(
        mut inner: tokenizers::Tokenizer,
        source: PathBuf,
        config: Config,
    ) -> Result<Tokenizer> {
        inner.with_truncation(None).map_err(wrong(&source))?;
        inner.with_padding(None);
        let asked = bounds::caught(&source, || Special::of(inner.get_post_processor()))?;
        let bos = config.token("bos_token").and_then(|t| inner.token_to_id(t));
        Ok(Tokenizer {
            asked: asked.map_err(wrong(&source))?,
            bos: bos.or_else(|| inner.token_to_id(END)),
            setting: Bos::Auto,
            is_chat: false,
            growth: bounds::growth(&inner),
            config: Arc::new(config),
            inner: Arc::new(inner),
            source,
        })
    }

    /// A tokenizer whose tokens are the numbers 0 to `vocab` − 1, separated by spaces: for prompts given as ids, and
    /// for tests.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn numbers(vocab: usize) -> Result<Tokenizer> {
        use tokenizers::models::wordlevel::WordLevel;
        let source = PathBuf::from("(numbers)");
        let words = (0..vocab).map(|i| (i.to_string(), i as u32)).collect();
        let model = WordLevel::builder()
            .vocab(words)
            .unk_token("0".to_owned())
            .build()
            .map_err(wrong(&source))?;
        let mut inner = tokenizers::Tokenizer::new(model);
        inner.with_pre_tokenizer(Some(
            tokenizers::pre_tokenizers::whitespace::WhitespaceSplit,
        ));
        Tokenizer::from_parts(inner, source, Config::default())
    }

    /// The file that the tokenizer was read from.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Learns a byte-level BPE of at most `vocabulary` tokens from texts (Sennrich et al. 2016, over bytes as in
    /// GPT-2): `<|endoftext|>` is token 0, followed by the 256 bytes and merges by frequency.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`], also if the vocabulary has no room for the bytes.
    pub fn learn(texts: &[String], vocabulary: usize) -> Result<Tokenizer> {
        use tokenizers::models::bpe::BpeTrainer;
        const LEAST: usize = 257;
        let source = PathBuf::from("(learned)");
        if vocabulary < LEAST {
            let why =
                format!("a vocabulary of {vocabulary}: the bytes and <|endoftext|> take {LEAST}");
            return Err(wrong(&source)(why.into()));
        }
        let mut trainer = BpeTrainer::builder()
            .vocab_size(vocabulary)
            .show_progress(false)
            .special_tokens(vec![tokenizers::AddedToken::from(END, true)])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let bytes = || ByteLevel::new(false, true, true);
        let mut learner = tokenizers::TokenizerImpl::<
            BPE,
            tokenizers::NormalizerWrapper,
            ByteLevel,
            ByteLevel,
            ByteLevel,
        >::new(BPE::default());
        learner
            .with_pre_tokenizer(Some(bytes()))
            .with_post_processor(Some(ByteLevel::default().trim_offsets(false)))
            .with_decoder(Some(ByteLevel::default()));
        learner
            .train(&mut trainer, texts.iter())
            .map_err(wrong(&source))?;
        let text = learner.to_string(false).map_err(wrong(&source))?;
        let inner: tokenizers::Tokenizer = text.parse().map_err(wrong(&source))?;
        Tokenizer::from_parts(inner, source, Config::default())
    }

    /// Writes `tokenizer.json`, and `tokenizer_config.json` if it has content, into a folder, each atomically.
    ///
    /// # Errors
    /// As [`write_atomic`](engram_core::files::write_atomic).
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = self.inner.to_string(true).map_err(wrong(&self.source))?;
        engram_core::files::write_atomic(&folder.join("tokenizer.json"), |w| {
            std::io::Write::write_all(w, text.as_bytes())
        })?;
        self.config.write(folder)
    }

    /// The same tokenizer with another setting of begin-of-text.
    ///
    /// # Errors
    /// [`ModelError::NoBos`] for [`Bos::Always`] if the tokenizer has no begin-of-text token.
    pub fn with_bos(mut self, setting: Bos) -> Result<Tokenizer> {
        if setting == Bos::Always && self.asked.before.is_empty() && self.bos.is_none() {
            return Err(ModelError::NoBos { path: self.source });
        }
        self.setting = setting;
        Ok(self)
    }

    /// The text of a chat by the checkpoint's template, up to the beginning of the model's answer: the transformers
    /// library's `apply_chat_template(messages, add_generation_prompt=True)`.
    ///
    /// # Errors
    /// [`ModelError::NoChatTemplate`] if there is no template; [`ModelError::Chat`] if it fails.
    pub fn chat(&self, messages: &[Message]) -> Result<String> {
        self.config.chat().render(messages)
    }

    /// The same tokenizer for texts from [`Tokenizer::chat`]. The template writes the leading special tokens itself, so
    /// that none is added except for [`Bos::Always`].
    pub fn for_chat(&self) -> Tokenizer {
        Tokenizer {
            is_chat: true,
            ..self.clone()
        }
    }

    /// The ids that [`Tokenizer::encode`] puts before a text that does not begin with them already.
    pub fn lead(&self) -> &[u32] {
        match self.setting {
            Bos::Never => &[],
            Bos::Auto if self.is_chat => &[],
            Bos::Always if self.asked.before.is_empty() => self.bos.as_slice(),
            Bos::Auto | Bos::Always => &self.asked.before,
        }
    }

    /// The leading special tokens in words, for a manifest: `auto: "<s>" (1)`.
    pub fn begin(&self) -> String {
        let lead = self.lead().iter();
        let tokens: Vec<String> = lead
            .map(|id| format!("{:?} ({id})", self.token(*id)))
            .collect();
        match tokens.is_empty() {
            true => format!("{}: nothing", self.setting),
            false => format!("{}: {}", self.setting, tokens.join(" ")),
        }
    }

    /// A note about tokenisation that users should see: trailing special tokens that are left out.
    pub fn notice(&self) -> Option<String> {
        let after = self.asked.after.iter();
        let tokens: Vec<String> = after.map(|id| format!("{:?}", self.token(*id))).collect();
        (!tokens.is_empty()).then(|| {
            format!(
                "{}: the tokenizer ends texts with {}, which is left out: the model is asked what follows a text",
                self.source.display(),
                tokens.join(" ")
            )
        })
    }

    /// The ids of a text, with [`Tokenizer::lead`] before them unless the text begins with it.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let own = self.encode_bare(text)?;
        match own.starts_with(self.lead()) {
            true => Ok(own),
            false => Ok([self.lead(), &own].concat()),
        }
    }

    /// [`Tokenizer::encode`] with each id's bytes of the text; 0..0 for a leading special token.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn encode_with_offsets(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        let own = self.encode_bare_with_offsets(text)?;
        Ok(around(self.lead(), own, &[]))
    }

    /// The ids of a text without special tokens: for a piece of a text, or to count tokens.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn encode_bare(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.encoding(text)?.get_ids().to_vec())
    }

    /// [`Tokenizer::encode_bare`] with each id's bytes of the text.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn encode_bare_with_offsets(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        let encoding = self.encoding(text)?;
        let ids = encoding.get_ids().iter().copied();
        let offsets = encoding.get_offsets().iter().map(|&(a, b)| a..b);
        Ok(ids.zip(offsets).collect())
    }

    /// A training text as tokenised by the transformers library: with all leading and trailing special tokens of the
    /// checkpoint, regardless of [`Tokenizer::with_bos`]. Added ids have an empty range.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn encode_training(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        let own = self.encode_bare_with_offsets(text)?;
        Ok(around(&self.asked.before, own, &self.asked.after))
    }

    fn encoding(&self, text: &str) -> Result<tokenizers::Encoding> {
        bounds::text(&self.source, text, self.growth)?;
        let encoded = bounds::caught(&self.source, || self.inner.encode(text, false))?;
        encoded.map_err(wrong(&self.source))
    }

    /// The text of ids, special tokens included.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let decoded = bounds::caught(&self.source, || self.inner.decode(ids, false))?;
        decoded.map_err(wrong(&self.source))
    }

    /// The text of one id; bytes that are not valid UTF-8 by themselves show as U+FFFD.
    pub fn token(&self, id: u32) -> String {
        let Ok(text) = self.decode(&[id]) else {
            return format!("<{id}>");
        };
        // SentencePiece's decoder removes the space of a text's first token.
        let spelt = self.inner.id_to_token(id).unwrap_or_default();
        match spelt.starts_with('▁') && !text.starts_with([' ', '▁']) {
            true => format!(" {text}"),
            false => text,
        }
    }

    /// The id of a token as the vocabulary spells it (`<|endoftext|>`).
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The highest id, added tokens included.
    pub fn highest_id(&self) -> u32 {
        let vocab = self.inner.get_vocab(true);
        vocab.values().copied().max().unwrap_or(0)
    }
}

/// A text's tokens with special tokens before and after it; leading ones only if the text does not begin with them.
fn around(
    before: &[u32],
    own: Vec<(u32, Range<usize>)>,
    after: &[u32],
) -> Vec<(u32, Range<usize>)> {
    let begins = before.len() <= own.len() && own.iter().zip(before).all(|(o, b)| o.0 == *b);
    let lead = before.iter().filter(|_| !begins).map(|id| (*id, 0..0));
    let end = own.last().map_or(0, |(_, at)| at.end);
    let tail = after.iter().map(|id| (*id, end..end));
    lead.chain(own.iter().cloned()).chain(tail).collect()
}

fn wrong(path: &Path) -> impl FnOnce(tokenizers::Error) -> ModelError + '_ {
    move |e| ModelError::Tokenizer {
        path: path.to_owned(),
        why: e.to_string(),
    }
}
