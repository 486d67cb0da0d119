//! Tokenizers, by the Hugging Face library.

use std::path::{Path, PathBuf};

use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use crate::error::{ModelError, Result};

/// The token that ends a text.
const END: &str = "<|endoftext|>";

/// A tokenizer. It never adds a special token, cuts or pads unless it is told to.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    source: PathBuf,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, or else `vocab.json` with `merges.txt` (GPT-2's byte-level BPE), of a checkpoint's folder.
    ///
    /// # Errors
    /// [`ModelError::Missing`], [`ModelError::Tokenizer`].
    pub fn read(folder: &Path) -> Result<Tokenizer> {
        let json = folder.join("tokenizer.json");
        let (vocab, merges) = (folder.join("vocab.json"), folder.join("merges.txt"));
        let (mut inner, source) = if json.exists() {
            let inner = tokenizers::Tokenizer::from_file(&json).map_err(wrong(&json))?;
            (inner, json)
        } else if vocab.exists() && merges.exists() {
            let text = |p: &Path| p.to_string_lossy().into_owned();
            let bpe = BPE::from_file(&text(&vocab), &text(&merges))
                .build()
                .map_err(wrong(&vocab))?;
            let mut inner = tokenizers::Tokenizer::new(bpe);
            inner
                .with_pre_tokenizer(Some(ByteLevel::new(false, true, true)))
                .with_decoder(Some(ByteLevel::default()));
            if inner.token_to_id(END).is_some() {
                let token = tokenizers::AddedToken::from(END, true);
                inner.add_special_tokens([token]).map_err(wrong(&vocab))?;
            }
            (inner, folder.to_owned())
        } else {
            return Err(ModelError::Missing {
                folder: folder.to_owned(),
                file: "tokenizer.json (nor vocab.json with merges.txt)".to_owned(),
            });
        };
        inner.with_truncation(None).map_err(wrong(&source))?;
        inner.with_padding(None);
        Ok(Tokenizer { inner, source })
    }

    /// A tokenizer that was made elsewhere; errors name the source.
    pub(crate) fn from_parts(inner: tokenizers::Tokenizer, source: PathBuf) -> Tokenizer {
        Tokenizer { inner, source }
    }

    /// A tokenizer whose only tokens are the numbers from 0 to `vocab` − 1, split at blanks: for models
    /// that are asked by ids, and for tests.
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
        Ok(Tokenizer { inner, source })
    }

    /// Learns a byte-level BPE of at most `vocabulary` tokens from texts (Sennrich et al. 2016, over bytes as in
    /// GPT-2): `<|endoftext|>` is token 0, then the 256 bytes, then merges by frequency.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`], also where the vocabulary has no room for the bytes.
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
        Ok(Tokenizer { inner, source })
    }

    /// Writes `tokenizer.json` into a folder, atomically.
    ///
    /// # Errors
    /// As the file system's.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = self.inner.to_string(true).map_err(wrong(&self.source))?;
        engram_core::files::write_atomic(&folder.join("tokenizer.json"), |w| {
            std::io::Write::write_all(w, text.as_bytes())
        })?;
        Ok(())
    }

    /// The ids of a text as it stands: no special token, no added space.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.encoding(text)?.get_ids().to_vec())
    }

    /// Ids and the byte range of the text that each stands for.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn encode_with_offsets(&self, text: &str) -> Result<Vec<(u32, std::ops::Range<usize>)>> {
        let encoding = self.encoding(text)?;
        let ids = encoding.get_ids().iter().copied();
        let offsets = encoding.get_offsets().iter().map(|&(a, b)| a..b);
        Ok(ids.zip(offsets).collect())
    }

    fn encoding(&self, text: &str) -> Result<tokenizers::Encoding> {
        self.inner.encode(text, false).map_err(wrong(&self.source))
    }

    /// The text of ids, special tokens included.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, false).map_err(wrong(&self.source))
    }

    /// The text of one id; bytes that are no text by themselves show as U+FFFD.
    pub fn token(&self, id: u32) -> String {
        let Ok(text) = self.inner.decode(&[id], false) else {
            return format!("<{id}>");
        };
        // SentencePiece's decoder takes the blank from the first token of a text.
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

fn wrong(path: &Path) -> impl FnOnce(tokenizers::Error) -> ModelError + '_ {
    move |e| ModelError::Tokenizer {
        path: path.to_owned(),
        why: e.to_string(),
    }
}
