//! `engram edit apply`, `revert`, `list`, `show`, `merge`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use engram_core::text::plain;
use engram_core::{Lock, files};
use engram_edit::delta::Change;
use engram_edit::overlay::short;
use engram_edit::{Delta, Overlay};
use engram_findings::words::plural;
use serde::Serialize;

use crate::progress::note;
use crate::stage::{Output, checkpoint_hash};

/// Lays edits over a checkpoint, in a folder that may have some already.
pub fn apply(model: &Path, edits: &[PathBuf], out: &Path, json: bool) -> Result<()> {
    // Two at a time would lose one's edits.
    let _held = Lock::beside(out)?;
    let path = crate::model::locate(model)?;
    let (mut overlay, from) = match (Overlay::is_at(out), Overlay::is_at(&path)) {
        (true, _) => (Overlay::read(out)?, Some(out.to_owned())),
        (false, true) => (Overlay::read(&path)?, Some(path.clone())),
        (false, false) => (Overlay::default(), None),
    };
    if from.is_none() {
        overlay.base = std::fs::canonicalize(&path)
            .with_context(|| format!("cannot find {}", path.display()))?;
        overlay.hash = checkpoint_hash(&path)?;
    }
    if !Overlay::is_at(out) && out.exists() {
        bail!(
            "{} exists and holds no edits; name another folder",
            out.display()
        );
    }
    let asked = match Overlay::is_at(&path) {
        true => Overlay::read(&path)?.hash,
        false => checkpoint_hash(&path)?,
    };
    if asked != overlay.hash {
        bail!(
            "{} holds edits of the checkpoint {} ({}), --model is {} ({})",
            out.display(),
            overlay.base.display(),
            short(&overlay.hash),
            path.display(),
            short(&asked)
        );
    }
    // All are held against each other, and laid over the model once, before any is written.
    let mut model = crate::model::weights(&path_of(&overlay, from.as_deref()))?;
    let mut files_of = Vec::new();
    for edit in edits {
        let (delta, hash) = Delta::read(edit)?;
        let named = || edit.display().to_string();
        overlay.apply(&delta, &hash).with_context(named)?;
        model = delta.lay_over(&model).with_context(named)?;
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
    list(out, json)?;
    note(out.display());
    Ok(())
}

/// Where the model with the edits that are there is.
fn path_of(overlay: &Overlay, from: Option<&Path>) -> PathBuf {
    from.map_or_else(|| overlay.base.clone(), Path::to_owned)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = files::read(from)?;
    files::write_atomic(to, |w| std::io::Write::write_all(w, &bytes))?;
    Ok(())
}

fn must_hold_edits(folder: &Path) -> Result<Overlay> {
    match Overlay::is_at(folder) {
        true => Ok(Overlay::read(folder)?),
        false => bail!(
            "{}: no edits in this folder; name one that `engram edit apply` wrote",
            folder.display()
        ),
    }
}

/// Takes an edit off.
pub fn revert(folder: &Path, edit: &str, json: bool) -> Result<()> {
    let _held = Lock::beside(folder)?;
    let mut overlay = must_hold_edits(folder)?;
    let hash = overlay.revert(folder, edit)?;
    overlay.write(folder)?;
    let file = Overlay::file(folder, &hash);
    std::fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    list(folder, json)
}

/// Shows what is applied.
pub fn list(folder: &Path, json: bool) -> Result<()> {
    let overlay = must_hold_edits(folder)?;
    super::super::print(json, &overlay, || {
        let rows = overlay.edits.iter().map(|e| {
            [
                short(&e.hash).to_owned(),
                e.method.clone(),
                match &e.requests[..] {
                    [one] => one.clone(),
                    many => format!("{} facts", many.len()),
                },
                e.weights.join(", "),
            ]
        });
        let table = super::super::table(["edit", "method", "fact", "weights"], rows);
        format!(
            "{table}\n{} over {} ({})",
            plural(overlay.edits.len(), "edit"),
            plain(&overlay.base.to_string_lossy()),
            short(&overlay.hash)
        )
    })
}

#[derive(Serialize)]
struct Shown {
    edit: String,
    hash: String,
    meta: engram_edit::Meta,
    weights: Vec<ShownWeight>,
}

#[derive(Serialize)]
struct ShownWeight {
    weight: String,
    layer: usize,
    /// Number of products; none where the change is dense.
    rank: Option<usize>,
    numbers: usize,
}

/// Shows an edit's file.
pub fn show(path: &Path, json: bool) -> Result<()> {
    let (delta, hash) = Delta::read(path)?;
    let weight = |c: &engram_edit::delta::WeightChange| {
        let (rank, numbers) = match &c.change {
            Change::LowRank(low) => (Some(low.rank), low.inputs.len() + low.outputs.len()),
            Change::Dense(values) => (None, values.len()),
        };
        ShownWeight {
            weight: c.weight.clone(),
            layer: c.layer,
            rank,
            numbers,
        }
    };
    let shown = Shown {
        edit: short(&hash).to_owned(),
        hash,
        weights: delta.changes.iter().map(weight).collect(),
        meta: delta.meta,
    };
    super::super::print(json, &shown, || {
        let meta = &shown.meta;
        let mut rows = vec![
            ["edit".to_owned(), shown.edit.clone()],
            ["checkpoint".to_owned(), short(&meta.base).to_owned()],
            ["method".to_owned(), meta.method.clone()],
        ];
        for on in &meta.on {
            rows.push(["on top of".to_owned(), short(on).to_owned()]);
        }
        for weight in &shown.weights {
            let form = weight
                .rank
                .map_or("dense".to_owned(), |r| format!("rank {r}"));
            let text = format!("{}, {form}", weight.weight);
            rows.push(["weight".to_owned(), text]);
        }
        for r in meta.requests.iter().take(20) {
            let text = format!("{} [{}] → {}", r.prompt, r.subject, r.target_new);
            rows.push([r.id.clone(), text]);
        }
        super::super::table(["edit", ""], rows)
    })
}

/// Writes the edited model as a checkpoint.
pub fn merge(model: &Path, out: &Path) -> Result<()> {
    let output = Output::free(out)?;
    let model = crate::model::weights(model)?;
    output.fill(|folder| Ok(model.write(folder)?))?;
    note(out.display());
    Ok(())
}
