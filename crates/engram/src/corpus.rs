//! Corpora as use cases take them: what is left out of them is told.

use std::cell::RefCell;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use engram_core::text::{counted, thousands};
use engram_core::{CoreError, files};
use engram_corpus::{Abstract, Corpus, CorpusError, CounterFact, Tokenize, read, read_counterfact};
use engram_model::{ModelError, Tokenizer};

use crate::error::{Error, Result};
use crate::observe::Observer;

/// Reads a corpus; what of it is left out is a notice.
///
/// # Errors
/// As [`read::read`].
pub fn read_corpus(path: &Path, observer: &mut dyn Observer) -> Result<Vec<Abstract>> {
    let corpus = read::read(path).map_err(|e| unread(path, e))?;
    left_out(&path.display(), &corpus, observer);
    Ok(corpus.abstracts)
}

/// As [`read_corpus`], without retracted articles unless they are to be kept.
///
/// # Errors
/// As [`read_corpus`]; [`Error::Asked`] where only retracted articles are there.
pub fn training_texts(
    path: &Path,
    keep_retracted: bool,
    observer: &mut dyn Observer,
) -> Result<Vec<Abstract>> {
    let mut corpus = read_corpus(path, observer)?;
    let all = corpus.len();
    if !keep_retracted {
        corpus.retain(|a| !a.retracted);
    }
    let retracted = all - corpus.len();
    let at = path.display();
    if corpus.is_empty() {
        let why = format!("all {retracted} articles are retracted (--keep-retracted keeps them)");
        return Err(Error::asked(at.to_string(), why));
    }
    if retracted > 0 {
        observer.note(format!(
            "{at}: {} left out (--keep-retracted keeps such)",
            counted(retracted, "retracted article")
        ));
    }
    Ok(corpus)
}

/// Training and validation texts: to the latter go those that begin as a line of `list` does.
///
/// # Errors
/// [`Error::Core`] for a list that cannot be read; [`Error::Asked`] where one side is left without a text.
pub fn hold_out(
    corpus: Vec<Abstract>,
    list: &Path,
    observer: &mut dyn Observer,
) -> Result<(Vec<Abstract>, Vec<Abstract>)> {
    let text = files::read_text(list)?;
    let beginnings: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let held = |a: &Abstract| {
        let text = a.text();
        beginnings.iter().any(|b| text.starts_with(b))
    };
    let (validation, train): (Vec<_>, Vec<_>) = corpus.into_iter().partition(held);
    let (at, held) = (list.display(), validation.len());
    if held < beginnings.len() {
        let lines = beginnings.len();
        observer.note(format!(
            "{at}: {held} of its {lines} lines begin a text of the corpus"
        ));
    }
    if train.is_empty() || validation.is_empty() {
        let why = format!(
            "holding out what begins as its lines do leaves {} training and {held} validation texts",
            train.len()
        );
        return Err(Error::asked(at.to_string(), why));
    }
    Ok((train, validation))
}

/// How many validation texts are equal or nearly equal to a training text; that is told.
pub fn leaks(train: &[Abstract], validation: &[Abstract], observer: &mut dyn Observer) -> usize {
    let leaked = engram_corpus::leaked(train, validation).len();
    observer.note(format!(
        "{} of {} validation texts are equal or nearly equal to a training text (Jaccard similarity of three-word \
         sequences, {} or more)",
        thousands(leaked),
        thousands(validation.len()),
        engram_corpus::near::THRESHOLD
    ));
    leaked
}

/// The texts of some corpora.
///
/// # Errors
/// As [`read::read`].
pub fn texts_of(paths: &[PathBuf]) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for path in paths {
        let corpus = read::read(path)?;
        texts.extend(corpus.abstracts.iter().map(Abstract::text));
    }
    Ok(texts)
}

/// The facts of a CounterFact collection; records that are left out are notices.
///
/// # Errors
/// As [`read_counterfact`].
pub fn counterfact(path: &Path, observer: &mut dyn Observer) -> Result<Vec<CounterFact>> {
    const NAMED: usize = 10;
    let found = read_counterfact(path)?;
    for (case, why) in found.left_out.iter().take(NAMED) {
        observer.note(format!("left out: record {case} ({why})"));
    }
    if found.left_out.len() > NAMED {
        let more = found.left_out.len() - NAMED;
        observer.note(format!(
            "left out: {more} more records, for the same reasons"
        ));
    }
    Ok(found.facts)
}

/// Calls `work` with a function from texts to ids. A text that the tokenizer cannot cut is its error, told after `work` has
/// ended.
///
/// # Errors
/// [`Error::Model`], the tokenizer's; those of `work`.
pub fn with_tokenizer<T>(
    tokenizer: &Tokenizer,
    work: impl FnOnce(Tokenize<'_>) -> Result<T>,
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

/// An error of a corpus, unless it is that of the file that is written meanwhile.
pub fn unread(path: &Path, error: CorpusError) -> Error {
    match error {
        CorpusError::Core(CoreError::Write { .. }) => error.into(),
        error => Error::from(error).within(format!("cannot read the corpus {}", path.display())),
    }
}

/// Tells what of a file did not become an abstract, and how it was read where that is in doubt.
pub fn left_out(name: &impl Display, counts: &Corpus, observer: &mut dyn Observer) {
    for (count, noun, what) in [
        (counts.duplicates, "record", "left out: PMID seen before"),
        (
            counts.superseded,
            "record",
            "left out: a later version or revision is there",
        ),
        (counts.empty, "record", "left out: no title and no abstract"),
        (counts.deleted, "citation", "left out: a file deletes it"),
        (
            counts.same_text,
            "text",
            "left out: equal or nearly equal to an earlier one",
        ),
        (counts.outside, "line", "left out: outside of records"),
        (
            counts.windows_1252,
            "line",
            "read as Windows-1252: not UTF-8",
        ),
    ] {
        if count > 0 {
            observer.note(format!("{name}: {} {what}", counted(count, noun)));
        }
    }
    if counts.open_ended > 0 {
        observer.note(format!(
            "{name}: it does not end with a line break: its last record may be cut short"
        ));
    }
    for sheet in &counts.other_sheets {
        observer.note(format!(
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
        observer.note(format!(
            "{name}: columns not used: {}{more}",
            names.join(", ")
        ));
    }
}

/// The most names of unused columns that are said.
const UNUSED: usize = 20;
