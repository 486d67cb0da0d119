//! `engram corpus`.

use std::cell::RefCell;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::Device;
use engram_corpus::{Abstract, FactTable, WriteSettings, read, stats, write_texts};
use engram_model::{Model, ModelError, Tokenizer};

use super::{print, table, thousands};
use crate::args::CorpusCommand;

/// Runs a corpus command.
///
/// # Errors
/// Any of the corpus's or the tokenizer's.
pub fn corpus(command: CorpusCommand, json: bool) -> Result<()> {
    match command {
        CorpusCommand::Import { file, out } => {
            let corpus = read_corpus(&file)?;
            read::write(&out, &corpus)?;
            eprintln!("{}: {} abstracts", out.display(), thousands(corpus.len()));
            Ok(())
        }
        CorpusCommand::Stats { file, terms, model } => {
            let tokenizer = model.map(|folder| Tokenizer::read(&folder)).transpose()?;
            count(&file, &terms, tokenizer.as_ref(), json)
        }
        CorpusCommand::Split {
            file,
            fraction,
            seed,
            out,
        } => {
            let (train, validation) = engram_corpus::split(read_corpus(&file)?, fraction, seed)?;
            read::write(&out.join("train.jsonl"), &train)?;
            read::write(&out.join("validation.jsonl"), &validation)?;
            eprintln!(
                "{}: {} and {} abstracts",
                out.display(),
                train.len(),
                validation.len()
            );
            Ok(())
        }
        CorpusCommand::Write {
            facts,
            model,
            exposures,
            wordings,
            max_tokens,
            seed,
            out,
        } => {
            let facts = FactTable::read(&facts)?;
            let model = Model::read(&model, &Device::Cpu)?;
            let settings = WriteSettings {
                exposures,
                wordings,
                max_tokens,
                seed,
                ..WriteSettings::default()
            };
            let written = with_tokenizer(model.tokenizer(), |t| {
                Ok(write_texts(&facts, &settings, t)?)
            })?;
            written.save(&out)?;
            eprintln!(
                "{}: {} training and {} validation texts, each of {} facts stated {exposures} times",
                out.display(),
                written.train.len(),
                written.validation.len(),
                written.exposures.len(),
            );
            Ok(())
        }
    }
}

/// Reads a corpus and says on stderr how many duplicates were dropped.
///
/// # Errors
/// As [`read::read`].
pub fn read_corpus(path: &Path) -> Result<Vec<Abstract>> {
    let corpus =
        read::read(path).with_context(|| format!("cannot read the corpus {}", path.display()))?;
    if corpus.duplicates > 0 {
        eprintln!(
            "{}: {} duplicate PMIDs dropped",
            path.display(),
            corpus.duplicates
        );
    }
    Ok(corpus.abstracts)
}

/// Calls `work` with a function from texts to ids. A text that the tokenizer cannot cut is its error,
/// told after `work` has ended.
///
/// # Errors
/// The tokenizer's or `work`'s.
pub fn with_tokenizer<T>(
    tokenizer: &Tokenizer,
    work: impl FnOnce(engram_corpus::Tokenize<'_>) -> Result<T>,
) -> Result<T> {
    let failed: RefCell<Option<ModelError>> = RefCell::new(None);
    let tokenize = |text: &str| match tokenizer.encode(text) {
        Ok(ids) => ids,
        Err(error) => {
            failed.borrow_mut().get_or_insert(error);
            Vec::new()
        }
    };
    let value = work(&tokenize);
    match failed.into_inner() {
        Some(error) => Err(error.into()),
        None => value,
    }
}

fn count(file: &Path, terms: &[String], tokenizer: Option<&Tokenizer>, json: bool) -> Result<()> {
    let abstracts = read_corpus(file)?;
    let terms: Vec<&str> = match terms {
        [] => stats::DEFAULT_TERMS.to_vec(),
        _ => terms.iter().map(String::as_str).collect(),
    };
    let counted = match tokenizer {
        Some(tokenizer) => with_tokenizer(tokenizer, |t| {
            Ok(stats::stats(&abstracts, &terms, Some(t))?)
        })?,
        None => stats::stats(&abstracts, &terms, None)?,
    };
    print(json, &counted, || {
        let tokens = counted
            .tokens
            .map_or("not counted (give --model)".to_owned(), thousands);
        let head = format!(
            "abstracts {}\nwords     {}\ntokens    {tokens}\n",
            thousands(counted.abstracts),
            thousands(counted.words)
        );
        let header = [
            "term (any case)",
            "whole words",
            "in abstracts",
            "substrings",
            "in abstracts ",
        ];
        let rows = counted.mentions.iter().map(|m| {
            [
                m.term.clone(),
                thousands(m.whole_words),
                thousands(m.abstracts_whole_words),
                thousands(m.substrings),
                thousands(m.abstracts_substrings),
            ]
        });
        head + &table(header, rows)
    })
}
