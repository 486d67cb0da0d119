//! Corpora in spreadsheets (.xlsx): a ZIP archive of XML parts (ECMA-376), read row by row.
//!
//! Memory grows with the cells that exist, not with the rectangle that they span. Shared strings (cells refer to them
//! by number) are all kept in memory, up to [`STRINGS_LIMIT`].

mod part;
mod rows;
mod text;
mod workbook;

use std::collections::BTreeMap;
use std::path::Path;

use self::workbook::{Sheet, Workbook};
use super::gather::Gather;
use crate::error::{CorpusError, Result};

/// Maximum memory of shared strings: [`STRING_COST`] for each, plus its bytes.
const STRINGS_LIMIT: usize = 512 << 20;
/// Memory of a short string: its entry in the list, and the smallest allocation.
const STRING_COST: usize = 48;
/// Maximum number of columns, and of sheets, of a workbook; spreadsheet programs allow no more columns.
const COLUMNS_LIMIT: usize = 16_384;

/// Reads the rows of all sheets with a title or an abstract column; the names of other sheets are noted.
pub(crate) fn read(path: &Path, into: &mut Gather) -> Result<()> {
    let mut book = Workbook::open(path)?;
    let parts = book.parts()?;
    let strings = match &parts.strings {
        Some(name) => book.strings(name)?,
        None => Vec::new(),
    };
    let (mut last, mut unfit) = (None, None);
    for (name, part) in &parts.sheets {
        match book.sheet(part, &strings, into)? {
            Sheet::Read(columns) => {
                into.unused(&columns);
                last = Some(columns);
            }
            Sheet::Empty => {}
            Sheet::Unfit(error) => {
                into.other_sheet(name);
                unfit.get_or_insert(error);
            }
        }
    }
    match (last, unfit) {
        (Some(columns), _) => into.end_of_table(&columns),
        (None, Some(error)) => Err(error),
        (None, None) => Err(CorpusError::EmptyCorpus {
            path: path.to_owned(),
            found: String::new(),
        }),
    }
}

/// A row: its number in the spreadsheet, and its cells by column.
pub(crate) type Row = (usize, BTreeMap<usize, String>);

/// The non-empty rows of the first sheet that has any.
///
/// # Errors
/// As [`read`]; also if another sheet has a column of the same name, because a table must be one sheet.
pub(crate) fn rows(path: &Path) -> Result<Vec<Row>> {
    let mut book = Workbook::open(path)?;
    let parts = book.parts()?;
    let strings = match &parts.strings {
        Some(name) => book.strings(name)?,
        None => Vec::new(),
    };
    let mut table: Option<(&str, Vec<Row>)> = None;
    for (name, part) in &parts.sheets {
        let found = book.rows(part, &strings)?;
        let Some((first, rows)) = &table else {
            table = (!found.is_empty()).then_some((name, found));
            continue;
        };
        let names = |rows: &[Row]| -> Vec<String> {
            let header = rows
                .first()
                .into_iter()
                .flat_map(|(_, cells)| cells.values());
            header.map(|cell| cell.trim().to_lowercase()).collect()
        };
        let (own, others) = (names(rows), names(&found));
        if found.len() > 1 && others.iter().any(|name| own.contains(name)) {
            return Err(book.wrong(format!(
                "its sheets {first:?} and {name:?} have both rows of a table, which is to be one sheet: put them into one"
            )));
        }
    }
    Ok(table.map(|(_, rows)| rows).unwrap_or_default())
}
