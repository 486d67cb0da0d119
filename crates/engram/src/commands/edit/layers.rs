//! Which layers are edited.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use engram_core::Row;

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

/// The layer at which `mlp_out` recovers most: the mean over pairs of the greatest recovery of any position, over the
/// pairs named where the sweep has them, over all otherwise.
fn best(folder: &Path, pairs: &[&str]) -> Result<usize> {
    let path = folder.join(PATCH);
    let rows = Row::read_parquet(&path)?;
    let usable = |r: &&Row| {
        let whole = r.site == "mlp_out" && r.metric == "logit_diff" && r.direction == "denoise";
        whole && r.window.is_none_or(|w| w == 1) && !r.trivial
    };
    let rows: Vec<&Row> = rows.iter().filter(usable).collect();
    let named = |r: &&&Row| pairs.contains(&r.pair.as_str());
    let own: Vec<&Row> = rows.iter().filter(named).copied().collect();
    let rows = if own.is_empty() { rows } else { own };
    let mut by_cell: BTreeMap<(i64, &str), f64> = BTreeMap::new();
    for row in rows {
        if let (Some(layer), Some(recovery)) = (row.layer, row.recovery) {
            let most = by_cell.entry((layer, &row.pair)).or_insert(recovery);
            *most = most.max(recovery);
        }
    }
    let mut sums: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for ((layer, _), recovery) in by_cell {
        let sum = sums.entry(layer).or_default();
        *sum = (sum.0 + recovery, sum.1 + 1.0);
    }
    let mean = |s: &(f64, f64)| s.0 / s.1;
    let best = sums.iter().max_by(|a, b| mean(a.1).total_cmp(&mean(b.1)));
    let (layer, _) = best.with_context(|| {
        format!(
            "{}: no recovery of mlp_out to choose a layer by; sweep it, or name a layer",
            path.display()
        )
    })?;
    usize::try_from(*layer).context("a layer below 0")
}
