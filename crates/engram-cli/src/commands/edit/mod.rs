//! `engram edit`: changes of facts, as deltas over a checkpoint that stays as it is.

mod overlay;
mod request;
mod sweep;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use engram::corpus::texts_of;
use engram::edits::check_suite;
use engram::{LayerChoice, Opening, Within};
use engram_core::{Bos, Suite};
use engram_edit::{Covariance, EditSettings, Editor, Method, Overlay, Reader, Sample, Statistics};

use crate::args::{EditCommand, EditMethod, HowArgs};
use crate::progress::{Progress, Terminal};

/// Runs an edit command.
///
/// # Errors
/// Any of input; nothing is written then.
pub fn edit(command: EditCommand, json: bool) -> Result<()> {
    match command {
        EditCommand::Request(args) => request::request(&args, json),
        EditCommand::Sweep(args) => sweep::sweep(&args, json),
        EditCommand::Apply { model, edits, out } => overlay::apply(&model, &edits, &out, json),
        EditCommand::Revert { folder, edit } => overlay::revert(&folder, &edit, json),
        EditCommand::List { folder } => overlay::list(&folder, json),
        EditCommand::Show { edit } => overlay::show(&edit, json),
        EditCommand::Merge { model, out } => overlay::merge(&model, &out),
    }
}

/// A model to be edited.
struct Opened {
    reader: Reader,
    /// The checkpoint's hash.
    base: String,
    /// The hashes of the edits over it.
    on: Vec<String>,
    /// What names the model as it is.
    identity: String,
}

fn open(named: &Path, bos: Bos) -> Result<Opened> {
    let model = Opening::default()
        .bos(bos)
        .open(named, &mut Terminal::default())?;
    let identity = model.hash()?;
    let (base, on) = match Overlay::is_at(model.path()) {
        true => {
            let overlay = Overlay::read(model.path())?;
            (overlay.hash.clone(), overlay.hashes())
        }
        false => (identity.clone(), Vec::new()),
    };
    Ok(Opened {
        reader: Reader::new(&model)?,
        base,
        on,
        identity,
    })
}

fn method(named: EditMethod) -> Method {
    match named {
        EditMethod::Rome => Method::Rome,
        EditMethod::Memit => Method::Memit,
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
        settings.set(name.trim(), value.trim())?;
    }
    if Editor::needs_covariance(method(how.method)) && how.texts.is_empty() {
        bail!(
            "--method {} needs --texts: a corpus whose keys it is to leave alone",
            method(how.method).name()
        );
    }
    Ok(settings)
}

/// A suite with facts that can be edited.
fn suite(path: &Path) -> Result<Suite> {
    let suite = engram_corpus::read_suite(path)?;
    check_suite(&suite).within(|| path.display().to_string())?;
    Ok(suite)
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

/// Refuses a layer that the model does not have, and a family that the method is not defined for.
fn check_model(opened: &Opened, how: &HowArgs) -> Result<()> {
    let model = opened.reader.model();
    let last = model.architecture().layers().saturating_sub(1);
    if let LayerChoice::One(layer) | LayerChoice::Range(_, layer) = how.layer
        && layer > last
    {
        bail!("--layer {layer}: the model has layers 0 to {last}");
    }
    Ok(Editor::check(model, method(how.method))?)
}

/// C of the layers that a method needs them of, kept for the next time.
fn covariances(
    opened: &Opened,
    how: &HowArgs,
    (settings, texts): (&EditSettings, &[String]),
    layers: &[usize],
) -> engram::Result<Vec<Covariance>> {
    if !Editor::needs_covariance(method(how.method)) {
        return Ok(Vec::new());
    }
    let texts = texts.iter().map(String::as_str);
    let sample = Sample::of(opened.reader.model(), texts, settings.sample_settings())?;
    let folder = match &how.statistics {
        Some(folder) => folder.clone(),
        None => cache()?,
    };
    let kept = Statistics::of(&folder, &opened.identity);
    let mut progress = None;
    let found = kept.covariances(&opened.reader, &sample, layers, &mut |done| {
        let total = sample.tokens() as u64;
        let bar = progress.get_or_insert_with(|| Progress::new("covariance, tokens", total));
        bar.at(done as u64, "");
    })?;
    if let Some(bar) = progress {
        let tokens = sample.tokens();
        bar.finish(&format!("{tokens} tokens, {} layers", layers.len()));
    }
    Ok(found)
}

/// Where covariances are kept: `$XDG_CACHE_HOME/engram/statistics`, or that of `~/.cache`.
fn cache() -> engram::Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")));
    let missing =
        || engram::Error::asked("--statistics", "there is no home folder for covariances");
    let cache = cache.ok_or_else(missing)?;
    Ok(cache.join("engram").join("statistics"))
}
