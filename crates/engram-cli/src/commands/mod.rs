//! One file for each family of commands: resolve, call, print.

pub mod bench;
pub mod cache;
pub mod compare;
pub mod corpus;
pub mod edit;
pub mod manual;
pub mod model;
pub mod new;
pub mod patch;
pub mod report;
pub mod run;
pub mod suite;
mod sweep_text;
pub mod train;
pub mod unfit;

use std::fmt::Display;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{LineStyle, Table, TableStyle};
use engram::{Model, Opening};
use engram_core::text::{plain, plain_json, plain_lines};
use engram_report::Look;
use serde::Serialize;

use crate::progress::Terminal;

/// Writes lines to stdout; characters that a terminal would obey are escaped, colours of our own apart. A reader that
/// has gone away is an error for `main`, not a panic.
///
/// # Errors
/// The operating system's.
pub fn say(text: impl Display) -> Result<()> {
    write(&plain_lines(&text.to_string(), look().colour))
}

const STDOUT: &str = "cannot write to the standard output";

fn write(text: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{text}").context(STDOUT)
}

/// Writes bytes to stdout as they are.
///
/// # Errors
/// As [`say`].
fn write_bytes(bytes: &[u8]) -> Result<()> {
    std::io::stdout().lock().write_all(bytes).context(STDOUT)
}

/// JSON on its way out, piece by piece, without characters that a terminal would obey.
struct PlainJson<W>(W);

impl<W: Write> Write for PlainJson<W> {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        let text = std::str::from_utf8(piece).map_err(std::io::Error::other)?;
        self.0.write_all(plain_json(text).as_bytes())?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Prints a value as JSON where asked, or else as text.
///
/// # Errors
/// As [`say`].
pub fn print(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
    if json {
        let mut out = PlainJson(BufWriter::new(std::io::stdout().lock()));
        let whole = serde_json::to_writer_pretty(&mut out, value).map_err(std::io::Error::from);
        let whole = whole
            .and_then(|()| writeln!(out))
            .and_then(|()| out.flush());
        whole.context(STDOUT)
    } else {
        say(text().trim_end())
    }
}

/// A model that is asked no text: it is looked at, written or laid over.
///
/// # Errors
/// As [`Opening::open`].
pub fn weights(name: &Path) -> Result<Model> {
    let opening = Opening::default().for_weights();
    Ok(opening.open(name, &mut Terminal::default())?)
}

/// How summaries are shown on stdout: 120 columns; colours on a terminal that does not refuse them.
pub fn look() -> Look {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
        || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
    Look {
        width: 120,
        colour: std::io::stdout().is_terminal() && !refused,
    }
}

/// A rule under the head and no other.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// A plain table; a cell is one line, whatever its text.
pub fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    wide_table(header, rows.into_iter().map(Vec::from))
}

/// A plain table whose columns are known when it is made.
pub fn wide_table<'a>(
    header: impl IntoIterator<Item = &'a str>,
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_header(header);
    for row in rows {
        let row = row.iter().map(|cell| plain(cell).into_owned());
        table.add_row(row.collect::<Vec<String>>());
    }
    table.to_string()
}
