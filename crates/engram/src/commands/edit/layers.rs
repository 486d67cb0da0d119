//! Which layers are edited.

use std::path::Path;

use anyhow::{Context, Result, bail};
use engram_core::Row;
use engram_edit::{Chosen, Method};
use engram_findings::editing::best_layer;

use crate::args::LayerChoice;
use crate::edits::Sweep;
use crate::results::PATCH;

/// The sets of layers that are edited one by one; `together`, a range is one set. `sweep` has the rows of a sweep of
/// `mlp_out`, by whose recovery of some pairs `auto` chooses.
pub fn layer_sets(
    choice: LayerChoice,
    together: bool,
    layers: usize,
    sweep: Option<&[Row]>,
    pairs: &[&str],
) -> Result<Vec<Vec<usize>>> {
    Ok(match choice {
        LayerChoice::One(layer) => vec![vec![layer]],
        LayerChoice::Range(from, to) if together => vec![(from..=to).collect()],
        LayerChoice::Range(from, to) => (from..=to).map(|l| vec![l]).collect(),
        LayerChoice::All if together => vec![(0..layers).collect()],
        LayerChoice::All => (0..layers).map(|l| vec![l]).collect(),
        LayerChoice::Auto => {
            let Some(rows) = sweep else {
                bail!("--layer auto needs --recovery: a folder with a sweep of mlp_out");
            };
            let best = best_layer(rows, pairs).context(
                "the sweep has no recovery of mlp_out to choose a layer by; sweep it, or name a layer",
            )?;
            vec![vec![best]]
        }
    })
}

/// The sets of layers of a sweep of edits.
pub fn chosen_layers(
    choice: LayerChoice,
    sweep: &Sweep<'_>,
    chosen: &Chosen,
    rows: Option<&[Row]>,
) -> Result<Vec<Vec<usize>>> {
    let names: Vec<&str> = (chosen.cases.iter())
        .map(|c| c.case.request.id.as_str())
        .collect();
    let together = sweep.method == Method::Memit;
    let layers = sweep.reader.model().architecture().layers();
    layer_sets(choice, together, layers, rows, &names)
}

/// The rows of the sweep in a folder, where one is named.
pub fn recovery(folder: Option<&Path>) -> Result<Option<Vec<Row>>> {
    let read = |folder: &Path| Ok(Row::read_parquet(&folder.join(PATCH))?);
    folder.map(read).transpose()
}
