//! What stands for a model, texts and pairs that only the network has.

use std::path::PathBuf;

use candle_core::Device;
use engram_core::{Pair, Suite};
use engram_corpus::{Abstract, FactTable, read_questions};
use engram_hub::{Options, full_name};
use engram_model::{Gpt2Config, LanguageModel, Tokenizer};

use super::{Setup, Suites};
use crate::error::{Error, Result};
use crate::model::Opening;
use crate::observe::{Observer, Silent};
use crate::study::{Published, Study};

/// Tokens of an abstract with its title: the mean of 588 abstracts on epilepsy under GPT-2's tokenizer.
pub const TOKENS: usize = 308;
/// Tokens of an English word under GPT-2's tokenizer, medical terms included.
const TOKENS_PER_WORD: f64 = 1.45;

/// Published sizes of GPT-2: name, layers, heads, d_model, and bytes of the checkpoint's files.
const GPT2: [(&str, usize, usize, usize, u64); 4] = [
    ("openai-community/gpt2", 12, 12, 768, 551_000_000),
    ("openai-community/gpt2-medium", 24, 16, 1024, 1_523_000_000),
    ("openai-community/gpt2-large", 36, 20, 1280, 3_250_000_000),
    ("openai-community/gpt2-xl", 48, 25, 1600, 6_434_000_000),
];

/// The base model, or what stands for it.
pub struct Base {
    pub model: LanguageModel,
    pub path: PathBuf,
    /// Bytes to be downloaded.
    pub download: u64,
    pub is_stand_in: bool,
    pub assumed: Vec<String>,
}

impl Base {
    /// The model where it is on this machine, or else a random one of its published sizes.
    pub fn of(study: &Study, observer: &mut dyn Observer) -> Result<Base> {
        let opening = Opening::default().bos(study.bos);
        if study.base.exists() {
            let opened = opening.open(&study.base, observer)?;
            return Ok(Base::here(opened));
        }
        let offline = Options {
            offline: true,
            ..Options::from_env()?
        };
        let Ok(path) = engram_hub::locate(&study.base, &offline, &mut |_| {}) else {
            return Base::published(study);
        };
        Ok(Base::here(opening.open(&path, &mut Silent)?))
    }

    fn here(opened: crate::model::Model) -> Base {
        Base {
            path: opened.path().to_owned(),
            model: opened.into_loaded(),
            download: 0,
            is_stand_in: false,
            assumed: Vec::new(),
        }
    }

    fn published(study: &Study) -> Result<Base> {
        let named = study.base.to_string_lossy();
        let name = full_name(&named).unwrap_or_else(|| named.into_owned());
        let name = name.split_once('@').map_or(name.as_str(), |(name, _)| name);
        let Some((_, layers, heads, width, bytes)) = GPT2.into_iter().find(|known| known.0 == name)
        else {
            let known = GPT2.map(|known| known.0).join(", ");
            let why = format!(
                "{name} is not on this machine, and only the network can tell its sizes; download it first \
                 (engram model info --model {name}), or take one whose sizes are known: {known}"
            );
            return Err(Error::asked("base", why));
        };
        let config = Gpt2Config {
            eos_token_id: Some(50_256),
            ..Gpt2Config::new(50_257, 1024, width, layers, heads)
        };
        let tokenizer = Tokenizer::numbers(config.vocab_size)?;
        let model = LanguageModel::random(&config, tokenizer, 0)?;
        Ok(Base {
            model: model.to_device(&Device::Cpu)?,
            path: study.base.clone(),
            download: bytes,
            is_stand_in: true,
            assumed: vec![format!(
                "{name} has the sizes that were published: {layers} layers, d_model {width}"
            )],
        })
    }
}

/// Texts of [`TOKENS`] tokens each. A tokenizer of numbers has a token for each word; any other has about
/// [`TOKENS_PER_WORD`].
pub fn assumed_texts(count: usize, base: &LanguageModel) -> Vec<Abstract> {
    let is_numbers = base
        .tokenizer()
        .encode_bare("1 1")
        .is_ok_and(|ids| ids == [1, 1]);
    let (word, words) = match is_numbers {
        true => ("1", TOKENS),
        false => ("seizure", (TOKENS as f64 / TOKENS_PER_WORD) as usize),
    };
    let body = vec![word; words].join(" ");
    let one = |_| Abstract {
        body: body.clone(),
        ..Abstract::default()
    };
    (0..count).map(one).collect()
}

/// Pairs of numbers in place of words: as many as the study's sources can give, of their prompts' mean length.
pub fn suites(setup: &Setup) -> Result<(Suites, String)> {
    let study = &setup.study;
    let (mut counts, mut words, mut prompts) = (0, 0, 0usize);
    if let Some(table) = &setup.table {
        counts = facts_of(table, study.suite.max_pairs_per_kind);
        for relation in &table.relations {
            for fact in &relation.facts {
                let question = relation.question.render(fact);
                words += question.text.split_whitespace().count();
                prompts += 1;
            }
        }
    }
    let tokens = match prompts {
        0 => 16,
        some => (words as f64 / some as f64 * TOKENS_PER_WORD).round() as usize,
    };
    let questions = |p: &Published| match &p.questions {
        Some(file) => read_questions(file).map(|q| q.len()),
        None => Ok(p.pairs.unwrap_or_default()),
    };
    let asked = study.published.as_ref().map(questions).transpose()?;
    let assumed = format!(
        "pairs have prompts of {tokens} tokens, and every fact of the table is in one; only the tokenizer can tell"
    );
    Ok((
        Suites {
            own: numbered(counts, tokens),
            published: asked.map(|count| numbered(count, 2 * tokens)),
        },
        assumed,
    ))
}

/// Facts of a table that a suite can hold: all, or so many of a kind.
fn facts_of(table: &FactTable, most: usize) -> usize {
    let mut kinds: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for relation in &table.relations {
        *kinds.entry(&relation.kind).or_default() += relation.facts.len();
    }
    let limited = |count: usize| if most > 0 { count.min(most) } else { count };
    kinds.into_values().map(limited).sum()
}

/// Pairs whose prompts differ in their middle token.
fn numbered(count: usize, tokens: usize) -> Suite {
    let ids = |changed: u32| -> Vec<u32> {
        (0..tokens)
            .map(|i| if i == tokens / 2 { changed } else { 5 })
            .collect()
    };
    let one = |index: usize| Pair {
        id: format!("pair {index}"),
        kind: ["definitional", "associative"][index % 2].to_owned(),
        clean_ids: Some(ids(1)),
        corrupt_ids: Some(ids(2)),
        answer_ids: Some(vec![3]),
        foil_ids: Some(vec![4]),
        ..Pair::default()
    };
    Suite {
        pairs: (0..count.max(1)).map(one).collect(),
    }
}
