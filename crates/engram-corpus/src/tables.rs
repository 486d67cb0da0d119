//! Corpora in spreadsheets (.xlsx) and Parquet files.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use calamine::{Data, Reader, Xlsx, XlsxError};
use engram_core::columns::read_columns;
use engram_core::files::io_error;
use zip::ZipArchive;

use crate::error::{CorpusError, Result};
use crate::read::{BOMB_FROM, BOMB_TIMES, Columns, Gather};

/// The rows of the first sheet that has a title or an abstract column.
pub(crate) fn xlsx(path: &Path, into: &mut Gather) -> Result<()> {
    refuse_bomb(path)?;
    let failed = |e: XlsxError| CorpusError::Sheet {
        path: path.to_owned(),
        why: e.to_string(),
    };
    let file = File::open(path).map_err(io_error(path))?;
    let mut book: Xlsx<_> =
        calamine::open_workbook_from_rs(BufReader::new(file)).map_err(failed)?;
    let mut unfit = None;
    for sheet in book.sheet_names() {
        let range = book.worksheet_range(&sheet).map_err(failed)?;
        let first_row = range.start().map_or(0, |(row, _)| row as usize);
        let mut rows = range.rows();
        let Some(header) = rows.next() else { continue };
        let header: Vec<String> = header.iter().map(text).collect();
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let columns = match Columns::of(&header, path) {
            Ok(columns) => columns,
            Err(error) => {
                unfit.get_or_insert(error);
                continue;
            }
        };
        for (index, row) in rows.enumerate() {
            let fields: Vec<String> = row.iter().map(text).collect();
            if fields.iter().all(|f| f.trim().is_empty()) {
                continue;
            }
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            let found = columns.record(&fields);
            if let Some(why) = found.fault() {
                return Err(CorpusError::Line {
                    path: path.to_owned(),
                    // Rows as the spreadsheet numbers them: from 1, the header among them.
                    line: first_row + index + 2,
                    why,
                });
            }
            into.push(found)?;
        }
        return Ok(());
    }
    Err(unfit.unwrap_or(CorpusError::EmptyCorpus {
        path: path.to_owned(),
    }))
}

/// A cell as text; whole numbers without a decimal point.
fn text(cell: &Data) -> String {
    match cell {
        Data::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            format!("{number:.0}")
        }
        Data::Error(_) => String::new(),
        other => other.to_string(),
    }
}

/// Unpacks the archive into nothing first: what it declares of its sizes may be wrong.
fn refuse_bomb(path: &Path) -> Result<()> {
    let damaged = |why: String| CorpusError::Sheet {
        path: path.to_owned(),
        why,
    };
    let file = File::open(path).map_err(io_error(path))?;
    let packed = file.metadata().map_err(io_error(path))?.len();
    let most = BOMB_FROM.max(packed.saturating_mul(BOMB_TIMES));
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| damaged(e.to_string()))?;
    let mut unpacked = 0;
    for index in 0..archive.len() {
        let entry = archive
            .by_index(index)
            .map_err(|e| damaged(e.to_string()))?;
        let mut entry = entry.take(most - unpacked + 1);
        unpacked +=
            std::io::copy(&mut entry, &mut std::io::sink()).map_err(|e| damaged(e.to_string()))?;
        if unpacked > most {
            return Err(CorpusError::Bomb {
                path: path.to_owned(),
                times: BOMB_TIMES,
            });
        }
    }
    Ok(())
}

/// The rows of a Parquet file.
pub(crate) fn parquet(path: &Path, into: &mut Gather) -> Result<()> {
    let table = read_columns(path)?;
    let names: Vec<&str> = table.names().collect();
    let columns = Columns::of(&names, path)?;
    for row in 0..table.rows() {
        let mut fields = Vec::with_capacity(names.len());
        for name in &names {
            let wanted = Columns::wants(name);
            let cell = match wanted {
                true => table.word(name, row, path)?,
                false => None,
            };
            fields.push(cell.unwrap_or_default());
        }
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let found = columns.record(&fields);
        if let Some(why) = found.fault() {
            return Err(CorpusError::Line {
                path: path.to_owned(),
                line: row + 1,
                why,
            });
        }
        into.push(found)?;
    }
    Ok(())
}
