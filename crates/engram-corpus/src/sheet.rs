//! Tables written by people: CSV and spreadsheets whose header names the columns.

use std::path::Path;

use engram_core::{CoreError, Faults, files};

use crate::error::{CorpusError, Result};
use crate::read::{csv, xlsx};

/// A table with a header.
pub(crate) struct Sheet {
    /// Line of the header, from 1.
    pub line: usize,
    /// Trimmed names of the columns.
    pub columns: Vec<String>,
    /// The non-empty rows.
    pub rows: Vec<Row>,
}

/// A row of a table.
pub(crate) struct Row {
    /// Line in a CSV file, or row number in a spreadsheet; from 1.
    pub line: usize,
    /// Its cells, at most one per column.
    pub cells: Vec<String>,
}

impl Row {
    /// A cell; `None` if it is blank.
    pub fn cell(&self, column: usize) -> Option<&str> {
        let cell = self.cells.get(column)?;
        (!cell.trim().is_empty()).then_some(cell)
    }
}

/// Items of a list in a cell: separated by `|` or line breaks, trimmed.
pub(crate) fn items(cell: &str) -> impl Iterator<Item = &str> {
    let items = cell.split(['|', '\n', '\r']).map(str::trim);
    items.filter(|item| !item.is_empty())
}

/// Reads a table: a spreadsheet (detected by content) or CSV (by name: .csv, .tsv). `None` for any other file.
pub(crate) fn open(path: &Path) -> Result<Option<Sheet>> {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let is_csv = ["csv", "tsv"].contains(&extension.to_lowercase().as_str());
    let bytes = files::read(path)?;
    if bytes.starts_with(b"PK\x03\x04") {
        drop(bytes);
        let rows = xlsx::rows(path)?.into_iter().map(|(line, cells)| {
            let width = cells.last_key_value().map_or(0, |(last, _)| last + 1);
            let cell = |at| cells.get(&at).cloned().unwrap_or_default();
            let cells = (0..width).map(cell).collect();
            Row { line, cells }
        });
        return of_rows(path, rows.collect()).map(Some);
    }
    if !is_csv {
        return Ok(None);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    of_rows(path, csv_rows(path, bytes)?).map(Some)
}

/// The separator of a CSV file: comma, semicolon or tab, whichever is most frequent in the first line.
fn separator(bytes: &[u8]) -> u8 {
    let first = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let count = |separator: u8| first.iter().filter(|b| **b == separator).count();
    // Of equal counts the last wins: the comma if there is no separator.
    let separators = [b'\t', b';', b','];
    separators
        .into_iter()
        .max_by_key(|s| count(*s))
        .unwrap_or(b',')
}

fn csv_rows(path: &Path, bytes: &[u8]) -> Result<Vec<Row>> {
    let mut faults = Faults::new(path.display().to_string());
    let mut reader = csv::Rows::new(bytes, separator(bytes));
    let mut rows = Vec::new();
    while let Some(record) = reader.next().map_err(|fault| match fault {
        csv::Fault::Io(source) => CoreError::Io {
            path: path.to_owned(),
            source,
        },
        csv::Fault::Line(line, why) => CoreError::Line {
            path: path.to_owned(),
            line,
            why: why.to_owned(),
        },
    })? {
        let line = record.line;
        let mut cells = Vec::new();
        for field in record.fields() {
            match std::str::from_utf8(field) {
                Ok(text) => cells.push(text.to_owned()),
                Err(_) => {
                    faults.add(
                        Some(line),
                        "",
                        "it is not UTF-8; save the table as \"CSV UTF-8\"",
                    );
                    cells.push(String::new());
                }
            }
        }
        if cells.iter().any(|c| !c.trim().is_empty()) {
            rows.push(Row { line, cells });
        }
    }
    Ok(faults.or(rows).map_err(CoreError::from)?)
}

fn of_rows(path: &Path, mut rows: Vec<Row>) -> Result<Sheet> {
    if rows.is_empty() {
        let path = path.to_owned();
        return Err(CorpusError::Core(CoreError::NoPair { path }));
    }
    let header = rows.remove(0);
    Ok(Sheet {
        line: header.line,
        columns: header.cells.iter().map(|c| c.trim().to_owned()).collect(),
        rows,
    })
}

/// Adds a fault for each unknown column, each repeated one, and each cell beyond the columns.
pub(crate) fn check_columns(sheet: &Sheet, known: &[&str], faults: &mut Faults) {
    for (n, column) in sheet.columns.iter().enumerate() {
        if column.is_empty() {
            continue;
        }
        if !known.contains(&column.as_str()) {
            let why = engram_core::faults::unknown_field(column, known);
            faults.add(Some(sheet.line), "", why.replace("field", "column"));
        } else if sheet.columns[..n].contains(column) {
            let why = format!("two columns are called `{column}`");
            faults.add(Some(sheet.line), "", why);
        }
    }
    for row in &sheet.rows {
        let named = |at: &usize| sheet.columns.get(*at).is_some_and(|c| !c.is_empty());
        let stray = (0..row.cells.len()).find(|at| row.cell(*at).is_some() && !named(at));
        if let Some(at) = stray {
            let why = format!(
                "{:?} is in column {}, which has no name (a cell that contains the separator has to be quoted)",
                row.cells[at],
                at + 1
            );
            faults.add(Some(row.line), "", why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_separator_is_that_of_the_first_line() {
        assert_eq!(separator(b"a;b;c\nx,y"), b';');
        assert_eq!(separator(b"a\tb\n"), b'\t');
        assert_eq!(separator(b"a,b\nx;y;z"), b',');
        assert_eq!(separator(b"a"), b',');
    }
}
