//! Selects the tokenizer of a folder in the layout of the transformers library, by that library's rules (5.24).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior::Isolated;
use tokenizers::{AddedToken, Tokenizer};

use super::config::Config;
use super::{END, bounds, special, wrong};
use crate::error::{ModelError, Result, shown};

/// Qwen 2's pattern: Llama 3's, with single digits.
pub(crate) const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Reads `tokenizer.json`, otherwise `vocab.json` with `merges.txt`, and the added tokens. Returns also the file that
/// errors name.
pub(super) fn read(folder: &Path, config: &Config) -> Result<(Tokenizer, PathBuf)> {
    let json = folder.join("tokenizer.json");
    let (vocab, merges) = (folder.join("vocab.json"), folder.join("merges.txt"));
    let (mut inner, source) = if json.exists() {
        (bounds::read(&json)?, json)
    } else if vocab.exists() && merges.exists() {
        (byte_level(&vocab, &merges, config)?, vocab)
    } else {
        return Err(ModelError::Missing {
            folder: folder.to_owned(),
            file: "tokenizer.json (nor vocab.json with merges.txt)".to_owned(),
        });
    };
    let (given, from) = config.added_tokens(folder)?;
    bounds::caught(&source, || add(&mut inner, given, &from))??;
    if source.ends_with("vocab.json") {
        let defaults = [END, "<|padding|>"].into_iter();
        let defaults = defaults.filter(|token| inner.token_to_id(token).is_some());
        let defaults = defaults.map(|token| AddedToken::from(token, true));
        let named = config.special_tokens().into_iter().chain(defaults);
        let new = named.filter(|t| {
            !inner
                .get_added_tokens_decoder()
                .values()
                .any(|a| a.content == t.content)
        });
        let new: Vec<AddedToken> = new.collect();
        inner.add_tokens(new).map_err(wrong(&source))?;
        let [before, after] = config.ends(&inner)?;
        if before.is_some() || after.is_some() {
            let processor = special::template(before.as_ref(), after.as_ref());
            inner.with_post_processor(Some(processor.map_err(wrong(&source))?));
        }
    }
    Ok((inner, source))
}

/// Adds the tokens that a file lists with their ids, in order of id.
///
/// # Errors
/// [`ModelError::Config`] if the vocabulary gives one of them another id.
fn add(inner: &mut Tokenizer, given: BTreeMap<u32, AddedToken>, from: &Path) -> Result<()> {
    let present = inner.get_added_tokens_decoder();
    let same = |a: &AddedToken, b: &AddedToken| {
        let flags = |t: &AddedToken| [t.single_word, t.lstrip, t.rstrip, t.normalized, t.special];
        a.content == b.content && flags(a) == flags(b)
    };
    let is_new =
        |&(id, token): &(&u32, &AddedToken)| !present.get(id).is_some_and(|p| same(p, token));
    let new: Vec<AddedToken> = given
        .iter()
        .filter(is_new)
        .map(|(_, t)| t.clone())
        .collect();
    let contradiction = |id: u32, token: &str, found: u32| ModelError::Config {
        path: from.to_owned(),
        why: format!(
            "token \"{}\" has the id {id}, the tokenizer gives it {found}; write the tokenizer anew with save_pretrained",
            shown(token)
        ),
    };
    let known = given
        .iter()
        .map(|(id, t)| (*id, t, inner.token_to_id(&t.content)));
    for (id, token, found) in known.collect::<Vec<_>>() {
        if let Some(found) = found.filter(|found| *found != id) {
            return Err(contradiction(id, &token.content, found));
        }
    }
    inner.add_tokens(new).map_err(wrong(from))?;
    for (id, token) in &given {
        match inner.token_to_id(&token.content) {
            Some(found) if found != *id => return Err(contradiction(*id, &token.content, found)),
            _ => {}
        }
    }
    Ok(())
}

/// The rule by which a class of byte-level BPE splits text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Gpt2,
    /// GPT-2's rule after canonical composition.
    NeoX,
    /// Another pattern, after canonical composition.
    Qwen2,
}

impl Rule {
    /// The rule of the class named in `tokenizer_config.json` or `config.json`; if that class fits any rule, the rule
    /// of the model's family.
    fn of(config: &Config) -> Result<Rule> {
        let family = config.model_type();
        let of_family = match family {
            None | Some("gpt2" | "gpt_neo" | "gptj" | "opt") => Some(Rule::Gpt2),
            Some("gpt_neox") => Some(Rule::NeoX),
            Some("qwen2" | "qwen3") => Some(Rule::Qwen2),
            Some(_) => None,
        };
        let class = config.class();
        let rule = match class.map(|c| c.trim_end_matches("Fast")) {
            // The library uses the family's class here, whatever the file says.
            _ if family == Some("qwen2") => of_family,
            Some("GPT2Tokenizer") => Some(Rule::Gpt2),
            Some("GPTNeoXTokenizer") => Some(Rule::NeoX),
            Some("Qwen2Tokenizer") => Some(Rule::Qwen2),
            None | Some("PreTrainedTokenizer" | "TokenizersBackend") => of_family,
            Some(_) => None,
        };
        rule.ok_or_else(|| {
            let named = class.or(family).unwrap_or("an unknown family");
            config.wrong(format!(
                "vocab.json and merges.txt of {}: engram splits text by the rules of GPT2Tokenizer, GPTNeoXTokenizer and \
                 Qwen2Tokenizer; write tokenizer.json: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
                shown(named)
            ))
        })
    }
}

fn byte_level(vocab: &Path, merges: &Path, config: &Config) -> Result<Tokenizer> {
    let rule = Rule::of(config)?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let bpe = BPE::from_file(&text(vocab), &text(merges));
    let bpe = bounds::caught(vocab, || bpe.build())?.map_err(|e| ModelError::Tokenizer {
        path: vocab.to_owned(),
        why: format!("with merges.txt: {}", crate::error::shown(&e.to_string())),
    })?;
    let mut inner = Tokenizer::new(bpe);
    let blank = config.is_true("add_prefix_space");
    let bytes = |regex| PreTokenizerWrapper::from(ByteLevel::new(blank, true, regex));
    let split = match rule {
        Rule::Gpt2 | Rule::NeoX => bytes(true),
        Rule::Qwen2 => {
            let pattern = SplitPattern::Regex(QWEN_2.to_owned());
            let split = Split::new(pattern, Isolated, false).map_err(wrong(vocab))?;
            Sequence::new(vec![split.into(), bytes(false)]).into()
        }
    };
    if rule != Rule::Gpt2 {
        inner.with_normalizer(Some(NFC)).map_err(wrong(vocab))?;
    }
    inner
        .with_pre_tokenizer(Some(split))
        .with_decoder(Some(ByteLevel::default()));
    Ok(inner)
}
