//! `engram corpus`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use engram::Within;
use engram::corpus::{
    hold_out, leaks, left_out, read_corpus, training_texts, unread, with_tokenizer,
};
use engram::stage::free_file;
use engram_core::Lock;
use engram_core::text::{counted, thousands};
use engram_corpus::fetch::{self, Days, Fetch, FetchProgress, SystemClock};
use engram_corpus::read::{ImportSettings, ReadSettings};
use engram_corpus::{FactTable, WriteSettings, read, stats, write_texts};
use engram_model::Tokenizer;

use super::{print, say, table, weights};
use crate::args::{CorpusCommand, FetchArgs, ImportArgs, SplitArgs, WriteArgs};
use crate::progress::{Progress, Terminal, note};

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
                engram::model::only_files(&folder)?;
                Ok(Tokenizer::read(&folder)?)
            };
            let tokenizer = model.map(read).transpose()?;
            count(&file, &terms, tokenizer.as_ref(), json)
        }
        CorpusCommand::Split(args) => split(&args),
        CorpusCommand::Write(args) => write(&args),
    }
}

fn split(args: &SplitArgs) -> Result<()> {
    let out = &args.out;
    let _held = Lock::beside(out)?;
    let mut terminal = Terminal::default();
    let corpus = training_texts(&args.file, args.keep_retracted, &mut terminal)?;
    let (train, validation) = match &args.held_out {
        Some(list) => hold_out(corpus, list, &mut terminal)?,
        None => engram_corpus::split_texts(corpus, args.fraction, args.seed)?,
    };
    leaks(&train, &validation, &mut terminal);
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

fn write(args: &WriteArgs) -> Result<()> {
    let _held = Lock::beside(&args.out)?;
    let table = FactTable::read(&args.facts)?;
    let model = weights(&args.model)?;
    let settings = WriteSettings {
        exposures: args.exposures,
        wordings: args.wordings,
        max_tokens: args.max_tokens,
        seed: args.seed,
        ..WriteSettings::default()
    };
    let written = with_tokenizer(model.tokenizer(), |t| {
        write_texts(&table, &settings, t).of_file(&args.facts)
    })?;
    written.save(&args.out)?;
    note(format!(
        "{}: {} training and {} validation texts, each of {} facts stated {} times",
        args.out.display(),
        written.train.len(),
        written.validation.len(),
        written.exposures.len(),
        args.exposures,
    ));
    Ok(())
}

/// Writes what files hold as one corpus; says what was left out, and what records lack.
fn import(args: &ImportArgs) -> Result<()> {
    let _held = free_file(&args.out)?;
    let files = read::inputs_of(&args.files, &args.out)?;
    let settings = ImportSettings {
        read: ReadSettings {
            columns: args.column.clone(),
        },
        deduplicate: args.deduplicate,
        titles_only: args.titles_only,
    };
    let first = &args.files[0];
    let counts = read::import(&files, &args.out, &settings).map_err(|e| unread(first, e))?;
    let out = args.out.display();
    left_out(&out, &counts, &mut Terminal::default());
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
        published: Days::between(args.from, args.to).map_err(anyhow::Error::msg)?,
        max: args.max,
        least: 1,
        email: args.email,
        api_key: args.api_key.or_else(|| std::env::var("NCBI_API_KEY").ok()),
        resume: args.resume,
    };
    let mut bar: Option<Progress> = None;
    let mut hear = |told: FetchProgress<'_>| heard(told, &mut bar);
    let fetched = fetch::fetch(&wanted, &args.out, &SystemClock::default(), &mut hear)?;
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

/// Shows how a fetch goes.
fn heard(told: FetchProgress<'_>, bar: &mut Option<Progress>) {
    match told {
        FetchProgress::Asking(service) => note(format!("asking {service}")),
        FetchProgress::Searched(found, asked) => {
            let found = thousands(found);
            note(format!("PubMed has {found} citations for the query"));
            *bar = Some(Progress::new("citations", asked as u64));
        }
        FetchProgress::At(done) => {
            if let Some(bar) = bar {
                bar.at(done as u64, "");
            }
        }
        FetchProgress::Damaged(path) => {
            let path = path.display();
            note(format!("{path}: it is damaged and is fetched again"));
        }
        FetchProgress::Again(pause, why) => {
            note(format!("{why}; asked again in {} s", pause.as_secs()));
        }
    }
}

fn count(file: &Path, terms: &[String], tokenizer: Option<&Tokenizer>, json: bool) -> Result<()> {
    let abstracts = read_corpus(file, &mut Terminal::default())?;
    let terms: Vec<&str> = terms.iter().map(String::as_str).collect();
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
        if counted.mentions.is_empty() {
            return head;
        }
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
