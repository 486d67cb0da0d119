//! `engram edit`: changes of facts, as deltas over a checkpoint that stays as it is.

mod overlay;
mod request;
mod score;
mod sequence;
mod sweep;

use anyhow::{Result, bail};
use engram::corpus::texts_of;
use engram::edits::{Editable, Kept};
use engram::{LayerChoice, Opening};
use engram_edit::{EditSettings, Editor, Method};

use crate::args::{EditCommand, EditMethod, HowArgs};
use crate::progress::Terminal;

/// Runs an edit command.
///
/// # Errors
/// Any of input; nothing is written then.
pub fn edit(command: EditCommand, json: bool) -> Result<()> {
    match command {
        EditCommand::Request(args) => request::request(&args, json),
        EditCommand::Sweep(args) => sweep::sweep(&args, json),
        EditCommand::Sequence(args) => sequence::sequence(&args, json),
        EditCommand::Score(args) => score::score(&args, json),
        EditCommand::Apply { model, edits, out } => overlay::apply(&model, &edits, &out, json),
        EditCommand::Revert { folder, edit } => overlay::revert(&folder, &edit, json),
        EditCommand::List { folder } => overlay::list(&folder, json),
        EditCommand::Show { edit } => overlay::show(&edit, json),
        EditCommand::Merge { model, out } => overlay::merge(&model, &out),
    }
}

fn open(how: &HowArgs) -> Result<Editable> {
    let opening = Opening::default().bos(how.bos);
    let model = opening.open(&how.model, &mut Terminal::default())?;
    let opened = Editable::of(&model)?;
    opened.check(method(how.method), how.layer.unwrap_or(LayerChoice::All))?;
    Ok(opened)
}

fn method(named: EditMethod) -> Method {
    match named {
        EditMethod::RRome => Method::RRome,
        EditMethod::Rome => Method::Rome,
        EditMethod::Memit => Method::Memit,
        EditMethod::AlphaEdit => Method::AlphaEdit,
        EditMethod::FtL => Method::FtL,
        EditMethod::Lora => Method::Lora,
    }
}

fn settings(how: &HowArgs) -> Result<EditSettings> {
    let mut settings = EditSettings::of(method(how.method));
    for text in &how.set {
        let Some((name, value)) = text.split_once('=') else {
            bail!("--set {text}: expected key=value");
        };
        settings.set(method(how.method), name.trim(), value.trim())?;
    }
    if Editor::needs_covariance(method(how.method)) && how.texts.is_empty() {
        bail!(
            "--method {} needs --texts: a corpus whose keys it is to leave alone",
            method(how.method).name()
        );
    }
    Ok(settings)
}

/// The texts whose keys a method is to leave alone, where it needs any.
///
/// # Errors
/// A file that cannot be read.
fn kept_texts(how: &HowArgs) -> Result<Vec<String>> {
    match Editor::needs_covariance(method(how.method)) {
        true => Ok(texts_of(&how.texts)?),
        false => Ok(Vec::new()),
    }
}

/// Those texts, and where covariances are kept.
fn kept<'a>(how: &'a HowArgs, texts: &'a [String]) -> Kept<'a> {
    Kept {
        texts,
        folder: how.statistics.as_deref(),
    }
}
