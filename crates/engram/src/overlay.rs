//! Edits laid over a checkpoint: a folder that stands for the edited model wherever a model is asked for.

use std::path::{Path, PathBuf};

use engram_core::{Lock, files};
use engram_edit::overlay::short;
use engram_edit::{Delta, Overlay};

use crate::error::{Error, Result, Within, at};
use crate::model::{Model, checkpoint_hash, locate};
use crate::observe::Observer;

/// Lays edits over a checkpoint, in order, in a folder that may have some already; gives what the folder then has.
///
/// # Errors
/// [`Error::OtherCheckpoint`], [`Error::Edit`] where an edit was made for another checkpoint or on top of others;
/// [`Error::Asked`] for a folder that holds other files.
pub fn apply(
    model: &Path,
    edits: &[PathBuf],
    out: &Path,
    observer: &mut dyn Observer,
) -> Result<Overlay> {
    // Two at a time would lose one's edits.
    let _held = Lock::beside(out)?;
    let path = locate(model, observer)?;
    let (mut overlay, from) = match (Overlay::is_at(out), Overlay::is_at(&path)) {
        (true, _) => (Overlay::read(out)?, Some(out.to_owned())),
        (false, true) => (Overlay::read(&path)?, Some(path.clone())),
        (false, false) => (Overlay::default(), None),
    };
    if from.is_none() {
        overlay.base = std::fs::canonicalize(&path)
            .map_err(at(&path))
            .within(|| format!("cannot find {}", path.display()))?;
        overlay.hash = checkpoint_hash(&path)?;
    }
    if !Overlay::is_at(out) && out.exists() {
        let why = "it exists and holds no edits; name another folder";
        return Err(Error::asked(out.display().to_string(), why));
    }
    let asked = match Overlay::is_at(&path) {
        true => Overlay::read(&path)?.hash,
        false => checkpoint_hash(&path)?,
    };
    if asked != overlay.hash {
        return Err(Error::OtherCheckpoint {
            folder: out.to_owned(),
            held: format!("{} ({})", overlay.base.display(), short(&overlay.hash)),
            asked: format!("{} ({})", path.display(), short(&asked)),
        });
    }
    // All are held against each other, and laid over the model once, before any is written.
    let there = from.clone().unwrap_or_else(|| overlay.base.clone());
    let mut model = Model::opening()
        .for_weights()
        .open(&there, observer)?
        .into_loaded();
    let mut files_of = Vec::new();
    for edit in edits {
        let (delta, hash) = Delta::read(edit)?;
        let named = || edit.display().to_string();
        overlay.apply(&delta, &hash).within(named)?;
        model = delta.lay_over(&model).within(named)?;
        files_of.push((edit, hash));
    }
    if let Some(from) = from.filter(|from| from != out) {
        for edit in overlay.edits.iter().map(|e| e.hash.clone()) {
            let file = Overlay::file(&from, &edit);
            if file.exists() {
                copy(&file, &Overlay::file(out, &edit))?;
            }
        }
    }
    for (edit, hash) in &files_of {
        copy(edit, &Overlay::file(out, hash))?;
    }
    overlay.write(out)?;
    Ok(overlay)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = files::read(from)?;
    Ok(files::write_atomic(to, |w| {
        std::io::Write::write_all(w, &bytes)
    })?)
}

/// The edits of a folder.
///
/// # Errors
/// [`Error::NoEdits`]; [`Error::Edit`] for a list that is damaged.
pub fn read(folder: &Path) -> Result<Overlay> {
    match Overlay::is_at(folder) {
        true => Ok(Overlay::read(folder)?),
        false => Err(Error::NoEdits {
            folder: folder.to_owned(),
        }),
    }
}

/// Takes an edit off, named by the first digits of its hash; gives what the folder then has.
///
/// # Errors
/// As [`read`]; [`Error::Edit`] for an edit that is not there, or that others are on top of.
pub fn revert(folder: &Path, edit: &str) -> Result<Overlay> {
    let _held = Lock::beside(folder)?;
    let mut overlay = read(folder)?;
    let hash = overlay.revert(folder, edit)?;
    overlay.write(folder)?;
    let file = Overlay::file(folder, &hash);
    std::fs::remove_file(&file)
        .map_err(at(&file))
        .within(|| format!("cannot remove {}", file.display()))?;
    Ok(overlay)
}
