//! `engram edit apply`, `revert`, `list`, `show`, `merge`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use engram::overlay;
use engram::stage::Output;
use engram_core::text::plain;
use engram_edit::delta::Change;
use engram_edit::overlay::short;
use engram_edit::{Delta, Overlay};
use engram_findings::words::plural;
use serde::Serialize;

use crate::progress::{Terminal, note};

/// Lays edits over a checkpoint, in a folder that may have some already.
pub fn apply(model: &Path, edits: &[PathBuf], out: &Path, json: bool) -> Result<()> {
    let overlay = overlay::apply(model, edits, out, &mut Terminal::default())?;
    shown(&overlay, json)?;
    note(out.display());
    Ok(())
}

/// Takes an edit off.
pub fn revert(folder: &Path, edit: &str, json: bool) -> Result<()> {
    shown(&overlay::revert(folder, edit)?, json)
}

/// Shows what is applied.
pub fn list(folder: &Path, json: bool) -> Result<()> {
    shown(&overlay::read(folder)?, json)
}

fn shown(overlay: &Overlay, json: bool) -> Result<()> {
    super::super::print(json, overlay, || {
        let rows = overlay.edits.iter().map(|e| {
            [
                short(&e.hash).to_owned(),
                e.method.to_string(),
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
            ["method".to_owned(), meta.method.to_string()],
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
    let model = super::super::weights(model)?;
    output.fill(|folder| Ok(model.write(folder)?))?;
    note(out.display());
    Ok(())
}
