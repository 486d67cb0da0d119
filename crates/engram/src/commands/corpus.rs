//! `engram corpus`.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::{Error, Result, bail};
use engram_core::{CoreError, Lock, files};
use engram_corpus::fetch::{self, Fetch};
use engram_corpus::read::{ImportSettings, Settings};
use engram_corpus::{
    Abstract, Corpus, CorpusError, FactTable, WriteSettings, read, stats, write_texts,
};
use engram_model::{ModelError, Tokenizer};

use super::{counted, print, say, table, thousands};
use crate::args::{CorpusCommand, FetchArgs, ImportArgs};
use crate::progress::{Progress, note};

/// Runs a corpus command.
///
/// # Errors
/// Any of the corpus's or the tokenizer's.
pub fn corpus(command: CorpusCommand, json: bool) -> Result<()> {
    match command {
        CorpusCommand::Fetch(args) => fetch_pubmed(args, json),
        CorpusCommand::Import(args) => import(&args),
        CorpusCommand::Stats { file, terms, model } => {
            let read = |folder: PathBuf| -> Result<Tokenizer> {
                crate::model::only_files(&folder)?;
                Ok(Tokenizer::read(&folder)?)
            };
            let tokenizer = model.map(read).transpose()?;
            count(&file, &terms, tokenizer.as_ref(), json)
        }
        CorpusCommand::Split {
            file,
            fraction,
            held_out,
            keep_retracted,
            seed,
            out,
        } => {
            let _held = Lock::beside(&out)?;
            let corpus = training_texts(&file, keep_retracted)?;
            let (train, validation) = match held_out {
                Some(list) => hold_out(corpus, &list)?,
                None => engram_corpus::split_texts(corpus, fraction, seed)?,
            };
            tell_leaks(&train, &validation);
            read::write(&out.join("train.jsonl"), &train)?;
            read::write(&out.join("validation.jsonl"), &validation)?;
            note(format!(
                "{}: {} for training, {} for validation",
                out.display(),
                counted(train.len(), "text"),
                counted(validation.len(), "text")
            ));
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
            let _held = Lock::beside(&out)?;
            let table = FactTable::read(&facts)?;
            let model = crate::model::weights(&model)?;
            let settings = WriteSettings {
                exposures,
                wordings,
                max_tokens,
                seed,
                ..WriteSettings::default()
            };
            let written = with_tokenizer(model.tokenizer(), |t| {
                super::named(
                    &facts,
                    write_texts(&table, &settings, t).map_err(Error::from),
                )
            })?;
            written.save(&out)?;
            note(format!(
                "{}: {} training and {} validation texts, each of {} facts stated {exposures} times",
                out.display(),
                written.train.len(),
                written.validation.len(),
                written.exposures.len(),
            ));
            Ok(())
        }
    }
}

/// Writes what files hold as one corpus; says what was left out, and what records lack.
fn import(args: &ImportArgs) -> Result<()> {
    let _held = Lock::beside(&args.out)?;
    let files = read::inputs_of(&args.files, &args.out)?;
    let settings = ImportSettings {
        read: Settings {
            columns: args.column.clone(),
        },
        deduplicate: args.deduplicate,
        titles_only: args.titles_only,
    };
    let first = &args.files[0];
    let counts = read::import(&files, &args.out, &settings).map_err(|e| unread(first, e))?;
    let out = args.out.display();
    left_out(&out, &counts);
    note(format!(
        "{out}: {}; without an abstract {}, without a title {}, without a PMID {}",
        counted(counts.given, "record"),
        thousands(counts.no_abstract),
        thousands(counts.no_title),
        thousands(counts.no_pmid),
    ));
    for (count, what) in [
        (
            counts.retracted,
            "of retracted articles, which training leaves out (--keep-retracted)",
        ),
        (counts.other_language, "in another language than English"),
    ] {
        if count > 0 {
            note(format!("{out}: {} {what}", thousands(count)));
        }
    }
    for file in &counts.unread {
        note(format!("not read: {}", file.why));
    }
    if !counts.unread.is_empty() && !args.skip_unreadable {
        bail!(
            "{} of {} files could not be read; {out} has the others (--skip-unreadable makes that a success)",
            counts.unread.len(),
            files.len()
        );
    }
    Ok(())
}

/// Fetches abstracts with progress.
fn fetch_pubmed(args: FetchArgs, json: bool) -> Result<()> {
    let _held = Lock::beside(&args.out)?;
    let broken_off = args.resume && fetch::partial(&args.out).exists();
    if args.out.exists() && !broken_off {
        bail!(
            "{} exists; name another file with --out",
            args.out.display()
        );
    }
    let wanted = Fetch {
        base: args.base_url,
        query: args.query,
        max: args.max,
        email: args.email,
        api_key: args.api_key.or_else(|| std::env::var("NCBI_API_KEY").ok()),
        resume: args.resume,
    };
    let mut bar: Option<Progress> = None;
    let fetched = fetch::fetch(
        &wanted,
        &args.out,
        &fetch::System::default(),
        &mut |told| match told {
            fetch::Progress::Asking(service) => note(format!("asking {service}")),
            fetch::Progress::Searched(found, asked) => {
                note(format!(
                    "PubMed has {} citations for the query",
                    thousands(found)
                ));
                bar = Some(Progress::new("citations", asked as u64));
            }
            fetch::Progress::At(done) => {
                if let Some(bar) = &mut bar {
                    bar.at(done as u64, "");
                }
            }
            fetch::Progress::Damaged(path) => {
                note(format!(
                    "{}: it is damaged and is fetched again",
                    path.display()
                ));
            }
            fetch::Progress::Again(pause, why) => {
                note(format!("{why}; asked again in {} s", pause.as_secs()));
            }
        },
    )?;
    if let Some(bar) = bar {
        bar.finish(&format!("{} written", thousands(fetched.written)));
    }
    print(json, &fetched, || {
        let rows = [
            ("citations for the query", fetched.found),
            ("asked for", fetched.asked),
            ("abstracts written", fetched.written),
            ("without title and abstract", fetched.empty),
            ("not given", fetched.missing.len()),
        ];
        rows.map(|(name, value)| format!("{name:<27} {:>9}\n", thousands(value)))
            .concat()
    })?;
    say(args.out.display())
}

/// Training and validation texts: to the latter go those that begin as a line of `list` does.
fn hold_out(corpus: Vec<Abstract>, list: &Path) -> Result<(Vec<Abstract>, Vec<Abstract>)> {
    let text = files::read_text(list)?;
    let beginnings: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let held = |a: &Abstract| {
        let text = a.text();
        beginnings.iter().any(|b| text.starts_with(b))
    };
    let (validation, train): (Vec<_>, Vec<_>) = corpus.into_iter().partition(held);
    if validation.len() < beginnings.len() {
        note(format!(
            "{}: {} of its {} lines begin a text of the corpus",
            list.display(),
            validation.len(),
            beginnings.len()
        ));
    }
    if train.is_empty() || validation.is_empty() {
        bail!(
            "{}: holding out what begins as its lines do leaves {} training and {} validation texts",
            list.display(),
            train.len(),
            validation.len()
        );
    }
    Ok((train, validation))
}

/// Reads a corpus and says on stderr what was left out.
///
/// # Errors
/// As [`read::read`].
pub fn read_corpus(path: &Path) -> Result<Vec<Abstract>> {
    let corpus = read::read(path).map_err(|e| unread(path, e))?;
    left_out(&path.display(), &corpus);
    Ok(corpus.abstracts)
}

/// As [`read_corpus`], without retracted articles unless they are to be kept.
///
/// # Errors
/// As [`read_corpus`]; where only retracted articles are there.
pub fn training_texts(path: &Path, keep_retracted: bool) -> Result<Vec<Abstract>> {
    let mut corpus = read_corpus(path)?;
    let all = corpus.len();
    if !keep_retracted {
        corpus.retain(|a| !a.retracted);
    }
    let retracted = all - corpus.len();
    if corpus.is_empty() {
        bail!(
            "{}: all {retracted} articles are retracted (--keep-retracted keeps them)",
            path.display()
        );
    }
    if retracted > 0 {
        note(format!(
            "{}: {} left out (--keep-retracted keeps such)",
            path.display(),
            counted(retracted, "retracted article")
        ));
    }
    Ok(corpus)
}

/// Says how many validation texts are in training, and gives the number.
pub fn tell_leaks(train: &[Abstract], validation: &[Abstract]) -> usize {
    let leaked = engram_corpus::leaked(train, validation).len();
    note(format!(
        "{} of {} validation texts are equal or nearly equal to a training text (Jaccard similarity of three-word \
         sequences, {} or more)",
        thousands(leaked),
        thousands(validation.len()),
        engram_corpus::near::THRESHOLD
    ));
    leaked
}

/// An error of a corpus, unless it is that of the file that is written meanwhile.
fn unread(path: &Path, error: CorpusError) -> Error {
    match error {
        CorpusError::Core(CoreError::Write { .. }) => error.into(),
        error => Error::new(error).context(format!("cannot read the corpus {}", path.display())),
    }
}

/// Says what of a file did not become an abstract, and how it was read where that is in doubt.
fn left_out(name: &impl std::fmt::Display, counts: &Corpus) {
    for (count, noun, what) in [
        (
            counts.duplicates,
            "record",
            "left out whose PMID was there before",
        ),
        (
            counts.superseded,
            "record",
            "left out of which a later version or revision is there",
        ),
        (
            counts.empty,
            "record",
            "left out without title and abstract",
        ),
        (counts.deleted, "citation", "left out that the file deletes"),
        (
            counts.same_text,
            "text",
            "left out, equal or nearly equal to an earlier one",
        ),
        (counts.outside, "line", "left out outside of records"),
        (
            counts.windows_1252,
            "line",
            "not UTF-8, read as Windows-1252",
        ),
    ] {
        if count > 0 {
            note(format!("{name}: {} {what}", counted(count, noun)));
        }
    }
    if counts.open_ended > 0 {
        note(format!(
            "{name}: it does not end with a line break: its last record may be cut short"
        ));
    }
    for sheet in &counts.other_sheets {
        note(format!(
            "{name}: sheet {sheet:?} passed over: it has no column of titles or abstracts"
        ));
    }
    if !counts.unused.is_empty() {
        let mut names: Vec<&str> = counts.unused.iter().map(String::as_str).collect();
        let more = names.len().saturating_sub(UNUSED);
        names.truncate(UNUSED);
        let more = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        note(format!(
            "{name}: columns not used: {}{more}",
            names.join(", ")
        ));
    }
}

/// The most names of unused columns that are said.
const UNUSED: usize = 20;

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
    let tokenize = |text: &str| match tokenizer.encode_bare(text) {
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
