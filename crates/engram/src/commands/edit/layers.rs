//! Which layers are edited.

use std::path::Path;

use anyhow::{Context, Result, bail};
use engram_core::Row;
use engram_edit::localise::best_layer;

use crate::args::LayerChoice;
use crate::results::PATCH;

/// The sets of layers that are edited one by one: for MEMIT a range is one set.
pub fn chosen(
    choice: LayerChoice,
    together: bool,
    layers: usize,
    recovery: Option<&Path>,
    pairs: &[&str],
) -> Result<Vec<Vec<usize>>> {
    Ok(match choice {
        LayerChoice::One(layer) => vec![vec![layer]],
        LayerChoice::Range(from, to) if together => vec![(from..=to).collect()],
        LayerChoice::Range(from, to) => (from..=to).map(|l| vec![l]).collect(),
        LayerChoice::All if together => vec![(0..layers).collect()],
        LayerChoice::All => (0..layers).map(|l| vec![l]).collect(),
        LayerChoice::Auto => {
            let Some(folder) = recovery else {
                bail!("--layer auto needs --recovery: a folder with a sweep of mlp_out");
            };
            vec![vec![best(folder, pairs)?]]
        }
    })
}

/// The layer at which patching `mlp_out` recovers most in the sweep of a folder.
fn best(folder: &Path, pairs: &[&str]) -> Result<usize> {
    let path = folder.join(PATCH);
    let best = best_layer(&Row::read_parquet(&path)?, pairs);
    best.with_context(|| {
        format!(
            "{}: no recovery of mlp_out to choose a layer by; sweep it, or name a layer",
            path.display()
        )
    })
}
