//! The tokenizer described by the metadata, built as in the transformers library.

use std::borrow::Cow;
use std::fmt::Display;

use tokenizers::AddedToken;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{NFC, Prepend, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior::Isolated;

use super::Gguf;
use crate::error::{ModelError, Result, shown};
use crate::tokenizer::Tokenizer;
use crate::tokenizer::config::Config;
use crate::tokenizer::folder::QWEN_2;
use crate::tokenizer::special::{self, SpelledToken};

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const SCORES: &str = "tokenizer.ggml.scores";
const UNKNOWN_ID: &str = "tokenizer.ggml.unknown_token_id";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
const BOS_ID: &str = "tokenizer.ggml.bos_token_id";
const EOS_ID: &str = "tokenizer.ggml.eos_token_id";
const PADDING_ID: &str = "tokenizer.ggml.padding_token_id";
const CHAT_TEMPLATE: &str = "tokenizer.chat_template";
const SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";

/// Token types, as numbered by the format.
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// SentencePiece's space.
const BLANK: &str = "\u{2581}";
/// Maximum length in bytes of a piece for which merges are derived. Real pieces have under 100; time and memory grow
/// with the square of the length.
const LONGEST_PIECE: usize = 256;

/// Pattern of Llama 3: contractions in either case, a word with the punctuation before it, up to three digits,
/// punctuation, blanks.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Builds the tokenizer of a file.
pub(super) fn build(file: &Gguf) -> Result<Tokenizer> {
    let (mut inner, defaults) = match file.require::<&str>(MODEL)? {
        "gpt2" => (byte_level(file)?, Defaults::byte_level(file)?),
        "llama" => (sentencepiece(file)?, Defaults::SENTENCEPIECE),
        other => {
            return Err(ModelError::GgufKind {
                path: file.path.clone(),
                why: format!(
                    "{MODEL} is \"{}\"; engram builds tokenizers from \"gpt2\" (byte-level BPE) and \"llama\" \
                     (SentencePiece BPE): use the model's Hugging Face checkpoint",
                    shown(other)
                ),
            });
        }
    };
    let token = |key: &str, default: Option<u32>| -> Result<Option<SpelledToken>> {
        let id = file.get::<u32>(key)?.or(default);
        Ok(id.and_then(|id| Some((inner.id_to_token(id)?, id))))
    };
    let bos = token(BOS_ID, defaults.bos)?;
    let eos = token(EOS_ID, defaults.eos)?;
    let asked = |add: &str, default: bool, key: &str, token: &Option<SpelledToken>| match (
        file.get::<bool>(add)?,
        token,
    ) {
        (Some(true), None) => {
            let why = format!("{add} is true, and {key} names none of the tokens");
            Err(wrong(file, why))
        }
        (said, token) => Ok(token.clone().filter(|_| said.unwrap_or(default))),
    };
    let before = asked(ADD_BOS, defaults.add_bos, BOS_ID, &bos)?;
    let after = asked(ADD_EOS, false, EOS_ID, &eos)?;
    let (unknown, padding) = (token(UNKNOWN_ID, None)?, token(PADDING_ID, None)?);
    if before.is_some() || after.is_some() {
        let processor =
            special::template(before.as_ref(), after.as_ref()).map_err(|e| wrong(file, e))?;
        inner.with_post_processor(Some(processor));
    }
    let named = [
        ("bos_token", bos),
        ("eos_token", eos),
        ("unk_token", unknown),
        ("pad_token", padding),
    ];
    let mut values: serde_json::Map<String, serde_json::Value> = named
        .into_iter()
        .filter_map(|(key, token)| Some((key.to_owned(), token?.0.into())))
        .collect();
    if let Some(template) = file.get::<&str>(CHAT_TEMPLATE)? {
        values.insert("chat_template".to_owned(), template.into());
    }
    values.insert(
        "tokenizer_class".to_owned(),
        "PreTrainedTokenizerFast".into(),
    );
    let config = Config::of(file.path.clone(), values);
    Tokenizer::from_parts(inner, file.path.clone(), config)
}

/// llama.cpp's defaults for fields that a file lacks (`llama_vocab::impl::load`).
struct Defaults {
    add_bos: bool,
    bos: Option<u32>,
    eos: Option<u32>,
}

impl Defaults {
    const SENTENCEPIECE: Defaults = Defaults {
        add_bos: true,
        bos: Some(1),
        eos: Some(2),
    };

    fn byte_level(file: &Gguf) -> Result<Defaults> {
        let name = file.get::<&str>(PRE)?.unwrap_or("default");
        Ok(Defaults {
            add_bos: ["llama-bpe", "llama3", "llama-v3"].contains(&name),
            // llama.cpp uses Falcon's id, which is another token in other vocabularies.
            bos: None,
            eos: None,
        })
    }
}

fn wrong(file: &Gguf, why: impl Display) -> ModelError {
    ModelError::Tokenizer {
        path: file.path.clone(),
        why: format!("{why}; convert the model again"),
    }
}

/// Tokens in the order of their ids, and their types.
struct Vocabulary<'a> {
    file: &'a Gguf,
    tokens: Vec<Cow<'a, str>>,
    types: Vec<i32>,
    ids: Vocab,
}

impl<'a> Vocabulary<'a> {
    /// Reads the tokens, each transformed by `spelt`.
    fn read(file: &'a Gguf, spelt: impl Fn(&'a str) -> Cow<'a, str>) -> Result<Vocabulary<'a>> {
        let tokens: Vec<_> = file.require::<Vec<&str>>(TOKENS)?;
        let tokens: Vec<_> = tokens.into_iter().map(spelt).collect();
        let types = file.get::<Vec<i32>>(TYPES)?;
        let types = types.unwrap_or_else(|| vec![0; tokens.len()]);
        same_length(file, &tokens, TYPES, types.len())?;
        let mut ids = Vocab::with_capacity(tokens.len());
        for (id, token) in tokens.iter().enumerate() {
            // A model has rows for unused ids.
            if token.is_empty() {
                continue;
            }
            let id = u32::try_from(id).map_err(|e| wrong(file, e))?;
            if let Some(other) = ids.insert(token.to_string(), id) {
                let why = format!("{TOKENS}: {other} and {id} are both \"{}\"", shown(token));
                return Err(wrong(file, why));
            }
        }
        Ok(Vocabulary {
            file,
            tokens,
            types,
            ids,
        })
    }

    fn has(&self, token: &str) -> bool {
        self.ids.contains_key(token)
    }

    /// The merges listed in the file, each checked against the tokens, because the library trusts them.
    fn listed_merges(&self, listed: &[&str]) -> Result<Merges> {
        let mut joined = String::new();
        let mut merge = |text: &str| {
            let (left, right) = text.split_once(' ')?;
            joined.clear();
            joined.extend([left, right]);
            let known = [left, right, &joined].iter().all(|token| self.has(token));
            known.then(|| (left.to_owned(), right.to_owned()))
        };
        let read = |(index, text): (usize, &&str)| {
            merge(text).ok_or_else(|| {
                let text = shown(text);
                let why = format!(
                    "{MERGES}: {index}, \"{text}\", is not of two tokens that make a third"
                );
                wrong(self.file, why)
            })
        };
        listed.iter().enumerate().map(read).collect()
    }

    /// The merges implied by a SentencePiece model: all ways to make a token of two others, ordered by the priority of
    /// the token; of two ways with one priority the one with the longer left side comes first.
    fn implied_merges(&self, priority: &[f64]) -> Result<Merges> {
        let mut ways = Vec::new();
        for (token, &priority) in self.tokens.iter().zip(priority) {
            if token.len() > LONGEST_PIECE {
                let (length, token) = (token.len(), shown(token));
                let why = format!(
                    "{TOKENS}: \"{token}\" has {length} bytes; a piece has {LONGEST_PIECE} at most"
                );
                return Err(wrong(self.file, why));
            }
            let length = token.chars().count();
            for (chars, (at, _)) in token.char_indices().enumerate().skip(1) {
                let (left, right) = token.split_at(at);
                if self.has(left) && self.has(right) {
                    ways.push((priority, chars, length - chars, left, right));
                }
            }
        }
        ways.sort_by(|a, b| b.0.total_cmp(&a.0).then((b.1, b.2).cmp(&(a.1, a.2))));
        let merge = |(.., left, right): (_, _, _, &str, &str)| (left.to_owned(), right.to_owned());
        Ok(ways.into_iter().map(merge).collect())
    }

    /// Tokens that are matched whole in the text: control tokens, which are special, and user-defined ones.
    fn added(&self, keep: impl Fn(&str) -> bool) -> Vec<AddedToken> {
        let typed = self.tokens.iter().zip(&self.types);
        typed
            .filter(|(token, _)| keep(token))
            .filter_map(|(token, kind)| match *kind {
                UNKNOWN | CONTROL => Some(AddedToken::from(token.as_ref(), true)),
                USER_DEFINED => Some(AddedToken::from(token.as_ref(), false).normalized(false)),
                _ => None,
            })
            .collect()
    }
}

fn same_length(file: &Gguf, tokens: &[Cow<'_, str>], key: &str, length: usize) -> Result<()> {
    if tokens.len() != length {
        let why = format!(
            "{} tokens in {TOKENS}, {length} elements in {key}",
            tokens.len()
        );
        return Err(wrong(file, why));
    }
    Ok(())
}

/// Byte-level BPE, as in GPT-2. `add_space_prefix`, which some files have, has no effect here: neither llama.cpp nor
/// the published tokenizers use it.
fn byte_level(file: &Gguf) -> Result<tokenizers::Tokenizer> {
    let failed = |e: tokenizers::Error| wrong(file, e);
    let rules = Rules::of(file)?;
    let vocabulary = Vocabulary::read(file, Cow::Borrowed)?;
    let merges = vocabulary.listed_merges(&file.require::<Vec<&str>>(MERGES)?)?;
    let added = vocabulary.added(|_| true);
    let bpe = BPE::builder()
        .vocab_and_merges(vocabulary.ids, merges)
        .ignore_merges(rules.whole_words);
    let mut inner = tokenizers::Tokenizer::new(bpe.build().map_err(failed)?);
    if rules.compose {
        inner.with_normalizer(Some(NFC)).map_err(failed)?;
    }
    inner
        .with_pre_tokenizer(Some(rules.split))
        .with_decoder(Some(ByteLevel::default()));
    inner.add_tokens(added).map_err(failed)?;
    Ok(inner)
}

/// Preprocessing of a text before byte-level BPE.
struct Rules {
    /// Whether Unicode's canonical composition (NFC) comes first.
    compose: bool,
    split: PreTokenizerWrapper,
    /// Whether a word that is a token is used whole, regardless of merges.
    whole_words: bool,
}

impl Rules {
    /// The rules named by `tokenizer.ggml.pre`; files without it are older than the key and use GPT-2's.
    fn of(file: &Gguf) -> Result<Rules> {
        let bytes = |regex| PreTokenizerWrapper::from(ByteLevel::new(false, true, regex));
        let sequence = |first: PreTokenizerWrapper, regex| {
            PreTokenizerWrapper::from(Sequence::new(vec![first, bytes(regex)]))
        };
        let pattern = |regex: &str| {
            let pattern = SplitPattern::Regex(regex.to_owned());
            let split = Split::new(pattern, Isolated, false).map_err(|e| wrong(file, e))?;
            Ok::<_, ModelError>(sequence(split.into(), false))
        };
        let name = file.get::<&str>(PRE)?.unwrap_or("default");
        let (compose, split, whole_words) = match name {
            "default" | "gpt-2" => (false, bytes(true), false),
            "gpt-neox" | "olmo" => (true, bytes(true), false),
            "llama-bpe" | "llama3" | "llama-v3" => (false, pattern(LLAMA_3)?, true),
            "qwen2" => (true, pattern(QWEN_2)?, false),
            "smollm" | "starcoder" => (false, sequence(Digits::new(true).into(), true), false),
            other => {
                let why = format!(
                    "{PRE} is \"{}\", a way of splitting text that engram does not have; it has default, gpt-2, \
                     gpt-neox, llama-bpe, olmo, qwen2, smollm and starcoder: use the model's \
                     Hugging Face checkpoint",
                    shown(other)
                );
                let path = file.path.clone();
                return Err(ModelError::GgufKind { path, why });
            }
        };
        Ok(Rules {
            compose,
            split,
            whole_words,
        })
    }
}

/// SentencePiece BPE, as in Llama 2, Mistral and Gemma: over characters, with bytes for those that are not tokens. The
/// merges follow from the scores of the pieces.
fn sentencepiece(file: &Gguf) -> Result<tokenizers::Tokenizer> {
    let failed = |e: tokenizers::Error| wrong(file, e);
    let architecture = file.get::<&str>("general.architecture")?;
    let gemma = architecture.is_some_and(|name| name.starts_with("gemma"));
    // In Gemma's files runs of spaces contain plain spaces; the model uses SentencePiece's space.
    let blanks = |token: &str| gemma && !token.is_empty() && token.bytes().all(|b| b == b' ');
    let vocabulary = Vocabulary::read(file, |token| match blanks(token) {
        true => BLANK.repeat(token.len()).into(),
        false => token.into(),
    })?;
    let merges = match file.get::<Vec<&str>>(MERGES)? {
        Some(listed) => vocabulary.listed_merges(&listed)?,
        None => vocabulary.implied_merges(&priorities(file, &vocabulary.tokens, gemma)?)?,
    };
    let added = vocabulary.added(|token| !gemma || !token.trim_start_matches(BLANK).is_empty());
    let unknown = unknown(file, &vocabulary)?;
    let mut bpe = BPE::builder()
        .vocab_and_merges(vocabulary.ids, merges)
        .fuse_unk(true)
        .byte_fallback(true);
    if let Some(token) = unknown {
        bpe = bpe.unk_token(token);
    }
    let mut inner = tokenizers::Tokenizer::new(bpe.build().map_err(failed)?);
    let prefix = file.get::<bool>(SPACE_PREFIX)?.unwrap_or(!gemma);
    let mut normalizers = vec![Replace::new(" ", BLANK).map_err(failed)?.into()];
    let mut decoders = vec![
        Replace::new(BLANK, " ").map_err(failed)?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
    ];
    if prefix {
        normalizers.insert(0, Prepend::new(BLANK.to_owned()).into());
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    inner.with_decoder(Some(Decoders::new(decoders)));
    let normalizer = Normalizers::new(normalizers);
    inner.with_normalizer(Some(normalizer)).map_err(failed)?;
    inner.add_tokens(added).map_err(failed)?;
    Ok(inner)
}

/// Merge priority: the token with the highest score first; in Gemma the one with the lowest id, since its scores do not
/// match its merges.
fn priorities(file: &Gguf, tokens: &[Cow<'_, str>], gemma: bool) -> Result<Vec<f64>> {
    if gemma {
        return Ok((0..tokens.len()).map(|id| -(id as f64)).collect());
    }
    let scores = file.require::<Vec<f32>>(SCORES)?;
    same_length(file, tokens, SCORES, scores.len())?;
    Ok(scores.into_iter().map(f64::from).collect())
}

/// The token for characters that neither pieces nor bytes can represent.
fn unknown(file: &Gguf, vocabulary: &Vocabulary<'_>) -> Result<Option<String>> {
    let id = match file.get::<u32>(UNKNOWN_ID)? {
        Some(id) => Some(id as usize),
        None => vocabulary.types.iter().position(|&t| t == UNKNOWN),
    };
    let Some(id) = id else {
        return Ok(None);
    };
    match vocabulary.tokens.get(id) {
        Some(token) if !token.is_empty() => Ok(Some(token.to_string())),
        _ => {
            let count = vocabulary.tokens.len();
            let why = format!("{UNKNOWN_ID} is {id}, which is not one of the {count} tokens");
            Err(wrong(file, why))
        }
    }
}
