//! The same conclusions in a terminal.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{ContentArrangement, Table as Grid};
use engram_findings::Findings;

use crate::page::lead;
use crate::tables::{self, Table};

/// The findings as compact text tables and sentences, at most `width` columns wide; plain text without
/// escape codes.
pub fn summary_text(findings: &Findings, width: u16) -> String {
    let mut text = format!("{}\n", lead(findings));
    for condition in &findings.conditions {
        text.push_str(&format!("\n{}\n", condition.name));
        for sentence in &condition.conclusions {
            text.push_str(&format!("  - {sentence}\n"));
        }
    }
    let parts = [
        (
            "Knowing",
            columns(tables::knowing(findings), &[0, 1, 2, 3, 4, 5, 10]),
        ),
        (
            "Layers",
            columns(
                primary(tables::layer_tests(findings)),
                &[0, 1, 4, 5, 9, 10, 11, 12],
            ),
        ),
        (
            "Kinds",
            columns(primary(tables::kind_tests(findings)), &[0, 1, 5, 6, 7, 9]),
        ),
    ];
    for (title, table) in parts {
        if !table.rows.is_empty() {
            text.push_str(&format!("\n{title}\n{}\n", grid(&table, width)));
        }
    }
    text
}

/// Rows of the logit difference under denoise.
fn primary(mut table: Table) -> Table {
    table
        .rows
        .retain(|row| row[2] == "logit_diff" && row[3] == "denoise");
    table
}

fn columns(table: Table, keep: &[usize]) -> Table {
    let pick = |row: &Vec<String>| keep.iter().filter_map(|&i| row.get(i).cloned()).collect();
    Table {
        caption: table.caption,
        head: pick(&table.head),
        rows: table.rows.iter().map(pick).collect(),
    }
}

fn grid(table: &Table, width: u16) -> Grid {
    let mut grid = Grid::new();
    grid.load_style(UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(&table.head)
        .add_rows(&table.rows);
    grid
}
