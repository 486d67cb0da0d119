//! Corpora in Parquet files.

use std::path::Path;

use engram_core::columns::TextRows;

use crate::error::{CorpusError, Result};
use crate::read::{Columns, Gather};

/// The rows of a Parquet file, one at a time.
pub(crate) fn read(path: &Path, into: &mut Gather) -> Result<()> {
    let mut table = TextRows::open(path)?;
    let names: Vec<String> = (table.names().into_iter())
        .filter(|name| Columns::wants(name))
        .collect();
    let names: Vec<&str> = match names.is_empty() {
        // For its error, which names what there is.
        true => return Columns::of(&refs(&table.names()), path).map(drop),
        false => refs(&names),
    };
    let columns = Columns::of(&names, path)?;
    let mut row = 0;
    table.each(Columns::wants, |cells| {
        row += 1;
        let found = columns.record(&refs(cells));
        if let Some(why) = found.fault() {
            return Err(CorpusError::Line {
                path: path.to_owned(),
                line: row,
                why,
            });
        }
        into.push(found)
    })
}

fn refs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}
