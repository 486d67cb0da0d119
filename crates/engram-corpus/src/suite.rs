//! Reads suites in all their formats: JSONL, CSV, spreadsheets.

use std::path::Path;

use engram_core::suite::PAIR_FIELDS;
use engram_core::{CoreError, Faults, Suite};
use serde_json::{Map, Value};

use crate::error::Result;
use crate::sheet::{self, Row, Sheet};

/// Columns whose cells are lists of token ids.
const IDS: [&str; 4] = ["clean_ids", "corrupt_ids", "answer_ids", "foil_ids"];
/// Columns whose cells are JSON.
const JSON: [&str; 3] = ["messages", "paraphrases", "neighbours"];
/// Columns with a text, or JSON if the cell begins with a bracket.
const SPANS: [&str; 2] = ["subject", "corrupt_subject"];

/// Reads a suite: a spreadsheet (.xlsx, detected by content), CSV if the name ends in .csv or .tsv, otherwise JSONL.
/// The columns of a table are named like the fields of a pair; an empty cell is an absent field. `docs/suites.md`
/// describes cells with token ids and lists.
///
/// # Errors
/// As [`Suite::read`]; [`crate::CorpusError::Sheet`] for a spreadsheet that cannot be read. Unknown columns and invalid
/// cells are reported together.
pub fn read_suite(path: &Path) -> Result<Suite> {
    let Some(sheet) = sheet::open(path)? else {
        return Ok(Suite::read(path)?);
    };
    let mut faults = Faults::new(path.display().to_string());
    sheet::check_columns(&sheet, &PAIR_FIELDS.map(|f| f.name), &mut faults);
    let records: Vec<(usize, Map<String, Value>)> = (sheet.rows.iter())
        .map(|row| (row.line, record(&sheet, row, &mut faults)))
        .collect();
    match Suite::from_records(path, records) {
        Err(CoreError::Faults(more)) => {
            for fault in more.found() {
                faults.add(fault.line, &fault.place, &fault.why);
            }
            Err(CoreError::from(faults).into())
        }
        suite => Ok(faults.or(suite?).map_err(CoreError::from)?),
    }
}

fn record(sheet: &Sheet, row: &Row, faults: &mut Faults) -> Map<String, Value> {
    let mut record = Map::new();
    for (at, name) in sheet.columns.iter().enumerate() {
        let Some(cell) = row.cell(at) else {
            continue;
        };
        let Some(field) = PAIR_FIELDS.iter().find(|f| f.name == name) else {
            continue;
        };
        let is_json = JSON.contains(&field.name)
            || SPANS.contains(&field.name) && cell.trim_start().starts_with(['{', '[']);
        let value = if IDS.contains(&field.name) {
            ids(cell)
        } else if is_json {
            serde_json::from_str(cell.trim()).map_err(|e| format!("not JSON: {e}"))
        } else {
            Ok(Value::from(cell))
        };
        match value {
            Ok(value) => drop(record.insert(name.clone(), value)),
            Err(why) => {
                let (_, example) = field.example.split_once(": ").unwrap_or_default();
                let why = format!("`{name}`: {why}; {}; example: {example}", field.meaning);
                faults.add(Some(row.line), "", why);
            }
        }
    }
    record
}

/// Token ids: whole numbers separated by spaces or commas, optionally in brackets.
fn ids(cell: &str) -> std::result::Result<Value, String> {
    let cell = cell.trim().trim_start_matches('[').trim_end_matches(']');
    let words = cell.split([',', ' ', ';']).filter(|w| !w.is_empty());
    words
        .map(|word| {
            let id = word.parse::<u32>();
            id.map(Value::from)
                .map_err(|_| format!("{word:?} is no token id"))
        })
        .collect::<std::result::Result<Vec<Value>, String>>()
        .map(Value::Array)
}
