//! Corpora in Parquet files.

use std::path::Path;

use engram_core::columns::TextRows;

use super::columns::Columns;
use super::gather::Gather;
use crate::error::Result;

/// Reads the rows of a Parquet file one at a time.
pub(crate) fn read(path: &Path, into: &mut Gather) -> Result<()> {
    let mut table = TextRows::open(path)?;
    let names = table.names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let columns = Columns::of(&names, into.columns(), path)?;
    into.header();
    // Positions of the columns read among all columns.
    let places: Vec<usize> = (0..names.len()).filter(|at| columns.wants(*at)).collect();
    let wanted: Vec<&str> = places.iter().map(|at| names[*at]).collect();
    table.each(
        |name| wanted.contains(&name),
        |cells| {
            let cell = |at: usize| places.binary_search(&at).ok().and_then(|at| cells.get(at));
            into.push(columns.record(|at| cell(at).map_or("", String::as_str)))
        },
    )?;
    into.end_of_table(&columns)
}
