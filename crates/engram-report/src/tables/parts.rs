//! The heads and neurons that restore most.

use engram_findings::Findings;
use engram_findings::parts::{PartEffect, PartKind};

use super::{ReportTable, p, with_interval};

/// How many are shown of each site.
pub(crate) const TOP: usize = 10;

/// The first ten of each site, over all kinds and roles of the position.
pub(crate) fn parts(findings: &Findings) -> ReportTable {
    let mut table = ReportTable::new(
        "The ten heads or neurons of each site that restore most, all pairs together. They are chosen by the means that are shown: means and intervals of the first are too large. Adjusted p: over all that were measured (Benjamini–Hochberg).",
        &[
            "model",
            "site",
            "part",
            "layer",
            "number",
            "pairs",
            "mean",
            "adjusted p",
            "shown",
        ],
    );
    for condition in &findings.conditions {
        for (grid, cell) in condition.top_parts(TOP).into_iter().flatten() {
            let part = match grid.part {
                PartKind::Head => "head",
                PartKind::Neuron => "neuron",
            };
            let shown = match cell.effect {
                PartEffect::Restores => "restores",
                PartEffect::Opposes => "works against the answer",
                PartEffect::NotShown => "",
            };
            table.rows.push(vec![
                condition.name.clone(),
                grid.measure.place(),
                part.to_owned(),
                cell.layer.to_string(),
                cell.index.to_string(),
                cell.n.to_string(),
                with_interval(cell.mean, cell.interval, three),
                p(cell.p_bh),
                shown.to_owned(),
            ]);
        }
    }
    table
}

/// Single parts restore little: three decimals.
fn three(x: f64) -> String {
    match (x * 1e3).round() == 0.0 {
        true => "0.000".to_owned(),
        false => format!("{x:.3}").replace('-', "−"),
    }
}
