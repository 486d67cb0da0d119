//! The rows of a sheet, from the events of its XML.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;

use quick_xml::events::{BytesStart, Event};

use super::super::columns::Columns;
use super::super::gather::Gather;
use super::super::limits::RECORD_LIMIT;
use super::COLUMNS_LIMIT;
use super::part::{Fault, attribute, local};
use super::text::Text;

/// Whether to continue reading a part.
pub(super) enum Go {
    On,
    Stop,
}

/// The element that an event has ended.
pub(super) enum Step {
    On,
    Row,
    End,
}

/// The type of a cell's value.
#[derive(Clone, Copy)]
enum Kind {
    Number,
    Shared,
    Flag,
    Error,
    Text,
}

/// A sheet's rows while it is read.
pub(super) struct Rows<'a> {
    path: &'a Path,
    strings: &'a [Box<str>],
    text: Text,
    /// Number of the row in the spreadsheet.
    pub(super) row: usize,
    column: usize,
    kind: Kind,
    /// The row's cells that a record needs, by column; of the first row, all cells.
    pub(super) cells: BTreeMap<usize, String>,
    /// Bytes of these cells.
    pub(super) bytes: usize,
    /// The columns of the header, and their positions in the sheet.
    pub(super) columns: Option<(Columns, Vec<usize>)>,
    /// Whether any cell of the row is filled.
    pub(super) is_filled: bool,
}

impl<'a> Rows<'a> {
    pub(super) fn new(path: &'a Path, strings: &'a [Box<str>]) -> Rows<'a> {
        Rows {
            path,
            strings,
            text: Text::default(),
            row: 0,
            column: 0,
            kind: Kind::Number,
            cells: BTreeMap::new(),
            bytes: 0,
            columns: None,
            is_filled: false,
        }
    }

    pub(super) fn take(
        &mut self,
        event: Event<'_>,
        since: &Cell<usize>,
        into: &mut Gather,
    ) -> Result<Go, Fault> {
        match self.step(event)? {
            Step::On => Ok(Go::On),
            Step::Row => {
                self.end(into)?;
                since.set(0);
                Ok(Go::On)
            }
            Step::End => Ok(Go::Stop),
        }
    }

    /// Handles an event; returns whether a row has ended.
    pub(super) fn step(&mut self, event: Event<'_>) -> Result<Step, Fault> {
        if let Event::Start(start) = &event {
            self.open(start)?;
        }
        match self.text.take(event)?.as_deref() {
            Some("c") => {
                self.cell()?;
                self.column += 1;
            }
            Some("row") => return Ok(Step::Row),
            Some("sheetData") => return Ok(Step::End),
            _ => {}
        }
        Ok(Step::On)
    }

    fn open(&mut self, start: &BytesStart<'_>) -> Result<(), Fault> {
        let place = || attribute(start, |key| key == "r");
        match local(start).as_str() {
            "row" => {
                let number = place()?.and_then(|r| r.parse().ok());
                self.row = number.unwrap_or(self.row + 1);
                self.column = 0;
            }
            "c" => {
                if let Some(place) = place()? {
                    self.column = column(&place)
                        .ok_or_else(|| Fault::why(format!("{place:?} is the place of no cell")))?;
                }
                self.kind = match attribute(start, |key| key == "t")?.as_deref() {
                    Some("s") => Kind::Shared,
                    Some("b") => Kind::Flag,
                    Some("e") => Kind::Error,
                    Some("str" | "inlineStr" | "d") => Kind::Text,
                    _ => Kind::Number,
                };
            }
            _ => {}
        }
        Ok(())
    }

    /// Stores the cell that has ended.
    fn cell(&mut self) -> Result<(), Fault> {
        let value = self.text.end();
        let value = match self.kind {
            Kind::Text => value,
            Kind::Error => return Ok(()),
            Kind::Flag => (value.trim() == "1").to_string(),
            Kind::Number => number(value),
            Kind::Shared if value.is_empty() => value,
            Kind::Shared => {
                let index: Option<usize> = value.trim().parse().ok();
                let string = index.and_then(|i| self.strings.get(i));
                let string = string.ok_or_else(|| {
                    Fault::why(format!(
                        "row {}: there is no shared string {value:?}",
                        self.row
                    ))
                })?;
                string.to_string()
            }
        };
        self.is_filled |= !value.trim().is_empty();
        let wanted = match &self.columns {
            Some((columns, places)) => {
                let at = places.binary_search(&self.column);
                at.is_ok_and(|at| columns.wants(at))
            }
            None => self.column < COLUMNS_LIMIT,
        };
        if wanted && !value.is_empty() {
            self.bytes += value.len();
            self.cells.insert(self.column, value);
            if self.bytes > RECORD_LIMIT {
                return Err(Fault::why(format!(
                    "row {}: it is longer than {RECORD_LIMIT} bytes",
                    self.row
                )));
            }
        }
        Ok(())
    }

    /// Handles the row that has ended: the first non-empty row is the header.
    fn end(&mut self, into: &mut Gather) -> Result<(), Fault> {
        self.bytes = 0;
        let cells = std::mem::take(&mut self.cells);
        if !std::mem::take(&mut self.is_filled) {
            return Ok(());
        }
        let Some((columns, places)) = &self.columns else {
            let (places, names): (Vec<usize>, Vec<&str>) = (cells.iter())
                .map(|(at, name)| (*at, name.as_str()))
                .unzip();
            let columns = Columns::of(&names, into.columns(), self.path).map_err(Fault::Unfit)?;
            into.header();
            self.columns = Some((columns, places));
            return Ok(());
        };
        let cell = |at: usize| places.get(at).and_then(|place| cells.get(place));
        let found = columns.record(|at| cell(at).map_or("", String::as_str));
        into.push(found).map_err(Fault::Corpus)
    }
}

/// A number as text; whole numbers have no decimal point.
fn number(text: String) -> String {
    match text.trim().parse::<f64>() {
        Ok(value) if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0}"),
        Ok(value) if value.is_finite() => value.to_string(),
        _ => text,
    }
}

/// The column index of a cell reference: 2 for `C7`.
fn column(place: &str) -> Option<usize> {
    let letters = place.bytes().take_while(u8::is_ascii_alphabetic);
    let mut column = 0usize;
    for letter in letters {
        column = column * 26 + usize::from(letter.to_ascii_uppercase() - b'A') + 1;
        if column > COLUMNS_LIMIT {
            return None;
        }
    }
    column.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_letters_in_base_26() {
        let places = [
            "A1",
            "Z9",
            "AA1",
            "xfd1048576",
            "XFE1",
            "AAAAAAAAAA1",
            "7",
            "",
        ];
        let columns = [
            Some(0),
            Some(25),
            Some(26),
            Some(16_383),
            None,
            None,
            None,
            None,
        ];
        assert_eq!(places.map(column), columns);
    }

    #[test]
    fn whole_numbers_have_no_decimal_point() {
        let numbers = ["2020", "1e3", "0.5", "12345678.0", "x", ""];
        let texts = ["2020", "1000", "0.5", "12345678", "x", ""];
        assert_eq!(numbers.map(|n| number(n.to_owned())), texts);
    }
}
