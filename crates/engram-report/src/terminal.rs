//! The same conclusions in a terminal.

use comfy_table::{ContentArrangement, LineStyle, Table as Grid, TableStyle};
use engram_findings::Findings;

use crate::page::lead;
use crate::shades::heat;
use crate::tables::{self, Table};

/// How text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The most columns of tables and maps.
    pub width: u16,
    /// Whether heat maps are coloured (ANSI, 256 colours); otherwise the text has no escape codes.
    pub colour: bool,
}

impl Look {
    /// Plain text of a width.
    pub fn plain(width: u16) -> Look {
        Look {
            width,
            colour: false,
        }
    }
}

/// The findings as sentences, compact text tables and a small heat map.
pub fn summary_text(findings: &Findings, look: Look) -> String {
    let mut text = format!("{}\n", lead(findings));
    for sentence in &findings.headline {
        text.push_str(&format!("  {sentence}\n"));
    }
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
                pooled(primary(tables::layer_tests(findings))),
                &[0, 1, 3, 4, 7, 8, 9, 10],
            ),
        ),
        (
            "Kinds",
            columns(primary(tables::kind_tests(findings)), &[0, 1, 3, 4, 5, 7]),
        ),
    ];
    for (title, table) in parts {
        if !table.rows.is_empty() {
            text.push_str(&format!("\n{title}\n{}\n", grid(&table, look.width)));
        }
    }
    text + &heat(findings, look)
}

/// Rows of the logit difference under denoise.
fn primary(table: Table) -> Table {
    tables::split(table).0
}

/// Rows of all kinds together, of tables whose third column is the kind.
fn pooled(mut table: Table) -> Table {
    table.rows.retain(|row| row[2] == "all");
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

/// A rule under the head and no other.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

fn grid(table: &Table, width: u16) -> Grid {
    let plain = |row: &Vec<String>| -> Vec<String> {
        row.iter()
            .map(|cell| cell.replace(tables::NO_BREAK, " "))
            .collect()
    };
    let mut grid = Grid::new();
    grid.load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(plain(&table.head))
        .add_rows(table.rows.iter().map(plain));
    grid
}
