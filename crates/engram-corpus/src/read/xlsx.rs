//! Corpora in spreadsheets (.xlsx): an archive of XML parts (ECMA-376), read a row at a time.
//!
//! Only cells that are there take memory, never the rectangle that their places span. Shared strings, which cells
//! refer to by number, are held whole, within [`STRINGS_LIMIT`].

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use engram_core::files;
use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;

use super::columns::Columns;
use super::format::READ;
use super::gather::Gather;
use super::limits::{self, BOMB_TIMES, Limited, RECORD_LIMIT, TooLong, Unending, Unpacked};
use crate::error::{CorpusError, Result};

/// The most memory of shared strings, [`STRING_COST`] for each and its bytes.
const STRINGS_LIMIT: usize = 512 << 20;
/// Memory of a short string: its place in the list, and the allocator's least.
const STRING_COST: usize = 48;
/// The most columns, and sheets, of a workbook; a spreadsheet has no more columns.
const COLUMNS_LIMIT: usize = 16_384;

/// The rows of all sheets that have a title or an abstract column; the others are noted.
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

/// A row: its number as spreadsheets count, and its cells by column.
pub(crate) type Row = (usize, BTreeMap<usize, String>);

/// The rows that have a cell of the first sheet that has any.
///
/// # Errors
/// As [`read`]; where a further sheet has a column of the same name: a table is one sheet, whose rows are numbered.
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

/// What a sheet turned out to be.
enum Sheet {
    Read(Columns),
    Empty,
    Unfit(CorpusError),
}

/// Names of a workbook's parts.
struct Parts {
    /// Names of the sheets, and their parts.
    sheets: Vec<(String, String)>,
    strings: Option<String>,
}

/// An open workbook.
struct Workbook<'a> {
    path: &'a Path,
    archive: ZipArchive<BufReader<File>>,
    /// Entries by the name that parts are referred to by: any case, slashes of either kind.
    entries: BTreeMap<String, usize>,
    /// Bytes that may still be unpacked.
    left: Rc<Cell<u64>>,
}

impl<'a> Workbook<'a> {
    fn open(path: &'a Path) -> Result<Workbook<'a>> {
        let file = files::open(path)?;
        let size = file.metadata().map_err(files::io_error(path))?.len();
        let archive = ZipArchive::new(BufReader::new(file)).map_err(|e| CorpusError::Sheet {
            path: path.to_owned(),
            why: e.to_string(),
        })?;
        let named = |index| Some((plain(&archive.name_for_index(index)?.ok()?), index));
        let entries: BTreeMap<String, usize> = (0..archive.len()).filter_map(named).collect();
        let holds = |start: &str| entries.keys().any(|name| name.starts_with(start));
        let other = match () {
            () if holds("word/") => Some("a Word document (.docx)"),
            () if holds("ppt/") => Some("slides (.pptx)"),
            () if entries.contains_key("mimetype") => {
                Some("an OpenDocument or EPUB file; save it as .xlsx or CSV")
            }
            () if !entries.contains_key("_rels/.rels") => Some("a zip archive; unpack it first"),
            () => None,
        };
        if let Some(other) = other {
            return Err(CorpusError::Format {
                path: path.to_owned(),
                what: other.to_owned(),
                read: READ,
            });
        }
        Ok(Workbook {
            path,
            entries,
            archive,
            left: Rc::new(Cell::new(limits::most(size))),
        })
    }

    fn wrong(&self, why: impl Into<String>) -> CorpusError {
        CorpusError::Sheet {
            path: self.path.to_owned(),
            why: why.into(),
        }
    }

    /// Gives the events of a part to `take`, until there are no more or `take` says so.
    fn events(
        &mut self,
        name: &str,
        mut take: impl FnMut(Event<'_>, &Cell<usize>) -> Result<Go, Fault>,
    ) -> Result<()> {
        let Some(&index) = self.entries.get(&plain(name)) else {
            return Err(self.wrong(format!("it has no part {name}")));
        };
        let (path, left) = (self.path, Rc::clone(&self.left));
        let entry = self.archive.by_index(index);
        let inner = entry.map_err(|e| CorpusError::Sheet {
            path: path.to_owned(),
            why: format!("{name}: {e}"),
        })?;
        let since_record = Rc::new(Cell::new(0));
        let mut reader = Reader::from_reader(BufReader::new(Limited {
            inner: Unpacked { inner, left },
            since_record: Rc::clone(&since_record),
        }));
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.check_comments = false;
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            let event = reader.read_event_into(&mut buffer);
            let gone = match event {
                Ok(Event::Eof) => return Ok(()),
                Ok(event) => take(event, &since_record),
                Err(error) => Err(error.into()),
            };
            match gone {
                Ok(Go::On) => {}
                Ok(Go::Stop) => return Ok(()),
                Err(fault) => return Err(fault.tell(path, name)),
            }
        }
    }

    /// Where the parts are: the package names the workbook, and that its sheets and strings.
    fn parts(&mut self) -> Result<Parts> {
        let package = self.relations("_rels/.rels")?;
        let book = package.into_values().find(|r| r.is("officeDocument"));
        let book = book.map_or_else(|| "xl/workbook.xml".to_owned(), |r| join("", &r.target));
        let (folder, file) = book.rsplit_once('/').unwrap_or(("", &book));
        let relations = self.relations(&join(folder, &format!("_rels/{file}.rels")))?;
        let mut ids = Vec::new();
        self.events(&book, |event, since| {
            since.set(0);
            if let Event::Start(start) = event
                && local(&start) == "sheet"
            {
                // `sheetId` is another thing; the relation's id is `id` within a namespace.
                let id = attribute(&start, |key| {
                    key.rsplit_once(':').is_some_and(|k| k.1 == "id")
                })?;
                let name = attribute(&start, |key| key == "name")?.unwrap_or_default();
                ids.push((name, id));
            }
            match ids.len() > COLUMNS_LIMIT {
                true => Err(Fault::why("it has too many sheets")),
                false => Ok(Go::On),
            }
        })?;
        let sheets = ids.into_iter().filter_map(|(name, id)| {
            let relation = relations.get(&id?)?;
            Some((name, join(folder, &relation.target)))
        });
        let sheets = sheets.collect();
        let strings = relations.values().find(|r| r.is("sharedStrings"));
        Ok(Parts {
            sheets,
            strings: strings.map(|r| join(folder, &r.target)),
        })
    }

    /// Relations of a part, by their ids.
    fn relations(&mut self, name: &str) -> Result<BTreeMap<String, Relation>> {
        let mut all = BTreeMap::new();
        self.events(name, |event, since| {
            since.set(0);
            if let Event::Start(start) = event
                && local(&start) == "Relationship"
            {
                let value = |name: &str| attribute(&start, |key| key == name);
                if let (Some(id), Some(kind), Some(target)) =
                    (value("Id")?, value("Type")?, value("Target")?)
                {
                    all.insert(id, Relation { kind, target });
                }
            }
            match all.len() > 2 * COLUMNS_LIMIT {
                true => Err(Fault::why("it has too many relations")),
                false => Ok(Go::On),
            }
        })?;
        Ok(all)
    }

    /// The shared strings.
    fn strings(&mut self, name: &str) -> Result<Vec<Box<str>>> {
        let (mut all, mut bytes) = (Vec::new(), 0);
        let mut text = Text::default();
        self.events(name, |event, since| {
            if let Some(ended) = text.take(event)?
                && ended == "si"
            {
                let string = text.end();
                bytes += STRING_COST + string.len();
                all.push(string.into_boxed_str());
                since.set(0);
            }
            match bytes > STRINGS_LIMIT {
                true => Err(Fault::why(format!(
                    "its shared strings take more than {} MiB; save it as CSV and import that",
                    STRINGS_LIMIT >> 20
                ))),
                false => Ok(Go::On),
            }
        })?;
        Ok(all)
    }

    /// A sheet's rows that have a cell.
    fn rows(&mut self, name: &str, strings: &[Box<str>]) -> Result<Vec<Row>> {
        let mut rows = Rows::new(self.path, strings);
        let mut found = Vec::new();
        self.events(name, |event, since| {
            match rows.step(event)? {
                Step::On => {}
                Step::Row => {
                    since.set(0);
                    rows.bytes = 0;
                    let cells = std::mem::take(&mut rows.cells);
                    if std::mem::take(&mut rows.is_filled) {
                        found.push((rows.row, cells));
                    }
                }
                Step::End => return Ok(Go::Stop),
            }
            Ok(Go::On)
        })?;
        Ok(found)
    }

    /// Reads a sheet's rows.
    fn sheet(&mut self, name: &str, strings: &[Box<str>], into: &mut Gather) -> Result<Sheet> {
        let mut rows = Rows::new(self.path, strings);
        let mut found = Sheet::Empty;
        self.events(name, |event, since| match rows.take(event, since, into) {
            Err(Fault::Unfit(error)) => {
                found = Sheet::Unfit(error);
                Ok(Go::Stop)
            }
            gone => gone,
        })?;
        match (found, rows.columns) {
            (Sheet::Empty, Some((columns, _))) => Ok(Sheet::Read(columns)),
            (found, _) => Ok(found),
        }
    }
}

/// Whether a part is read on.
enum Go {
    On,
    Stop,
}

/// What an event ended.
enum Step {
    On,
    Row,
    End,
}

/// Why a part cannot be read.
enum Fault {
    Io(std::io::Error),
    Why(String),
    /// A sheet without a column of a corpus.
    Unfit(CorpusError),
    Corpus(CorpusError),
}

impl Fault {
    fn why(why: impl Into<String>) -> Fault {
        Fault::Why(why.into())
    }

    fn tell(self, path: &Path, part: &str) -> CorpusError {
        let path = path.to_owned();
        let why = match self {
            Fault::Corpus(error) | Fault::Unfit(error) => return error,
            Fault::Io(error) if limits::is::<Unending>(&error) => {
                return CorpusError::Bomb {
                    path,
                    times: BOMB_TIMES,
                };
            }
            Fault::Io(error) if !limits::is::<TooLong>(&error) => error.to_string(),
            Fault::Io(_) => format!("a row or an element is longer than {RECORD_LIMIT} bytes"),
            Fault::Why(why) => why,
        };
        CorpusError::Sheet {
            path,
            why: format!("{part}: {why}"),
        }
    }
}

impl From<quick_xml::Error> for Fault {
    fn from(error: quick_xml::Error) -> Fault {
        match error {
            quick_xml::Error::Io(error) => Fault::Io(
                Arc::try_unwrap(error)
                    .unwrap_or_else(|e| std::io::Error::new(e.kind(), e.to_string())),
            ),
            error => Fault::why(error.to_string()),
        }
    }
}

struct Relation {
    kind: String,
    target: String,
}

impl Relation {
    /// Whether it is of a kind; the address before that has two editions.
    fn is(&self, kind: &str) -> bool {
        self.kind.rsplit('/').next() == Some(kind)
    }
}

/// What the value of a cell is.
#[derive(Clone, Copy)]
enum Kind {
    Number,
    Shared,
    Flag,
    Error,
    Text,
}

/// A sheet's rows under way.
struct Rows<'a> {
    path: &'a Path,
    strings: &'a [Box<str>],
    text: Text,
    /// The row, as spreadsheets number them.
    row: usize,
    column: usize,
    kind: Kind,
    /// The row's cells that a record needs, by column; of the first row, all.
    cells: BTreeMap<usize, String>,
    /// Bytes of these cells.
    bytes: usize,
    /// The header's columns, and their places in the sheet.
    columns: Option<(Columns, Vec<usize>)>,
    /// Whether any cell of the row has a text.
    is_filled: bool,
}

impl<'a> Rows<'a> {
    fn new(path: &'a Path, strings: &'a [Box<str>]) -> Rows<'a> {
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

    fn take(
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

    /// Takes an event, and says whether a row has ended.
    fn step(&mut self, event: Event<'_>) -> Result<Step, Fault> {
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

    /// Takes the cell that has ended.
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

    /// Takes the row that has ended: the first with a cell is the header.
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

/// The text of a cell or a shared string: of `v`, or of the runs `t`, without the reading aids of `rPh`.
#[derive(Default)]
struct Text {
    text: String,
    /// Within `v` or `t`.
    is_open: bool,
    /// Within how many `rPh`.
    aids: usize,
}

impl Text {
    /// Takes an event; gives the name of an element that it ends.
    fn take(&mut self, event: Event<'_>) -> Result<Option<String>, Fault> {
        match event {
            Event::Start(start) => match local(&start).as_str() {
                "v" | "t" => self.is_open = self.aids == 0,
                "rPh" => self.aids += 1,
                _ => {}
            },
            Event::End(end) => {
                let name = AsRef::<str>::as_ref(&end.local_name()).to_owned();
                match name.as_str() {
                    "v" | "t" => self.is_open = false,
                    "rPh" => self.aids = self.aids.saturating_sub(1),
                    _ => {}
                }
                return Ok(Some(name));
            }
            Event::Text(text) => self.add(&text.xml10_content()),
            Event::CData(text) => self.add(&text.xml10_content()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(character)) => self.add(character.encode_utf8(&mut [0; 4])),
                Ok(None) => {
                    let name = reference.xml10_content();
                    let text = resolve_xml_entity(&name);
                    self.add(text.ok_or_else(|| Fault::why("it refers to an unknown entity"))?);
                }
                Err(error) => return Err(Fault::why(error.to_string())),
            },
            _ => {}
        }
        Ok(None)
    }

    fn add(&mut self, text: &str) {
        if self.is_open {
            self.text.push_str(text);
        }
    }

    /// The text, which begins anew.
    fn end(&mut self) -> String {
        unescaped(std::mem::take(&mut self.text))
    }
}

/// `_x000D_` as the character that it stands for (ECMA-376 22.9.2.19).
fn unescaped(text: String) -> String {
    if !text.contains("_x") {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("_x") {
        let code = rest.get(at + 2..at + 6);
        let code = code.filter(|c| c.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = code.filter(|_| rest.as_bytes().get(at + 6) == Some(&b'_'));
        let character = code.and_then(|c| char::from_u32(u32::from_str_radix(c, 16).ok()?));
        let (kept, next) = match character {
            Some(_) => (at, at + 7),
            None => (at + 2, at + 2),
        };
        out.push_str(&rest[..kept]);
        out.extend(character);
        rest = &rest[next..];
    }
    out.push_str(rest);
    out
}

/// A number as text: whole ones without a decimal point.
fn number(text: String) -> String {
    match text.trim().parse::<f64>() {
        Ok(value) if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0}"),
        Ok(value) if value.is_finite() => value.to_string(),
        _ => text,
    }
}

/// The column of a cell's place: of `C7`, 2.
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

fn local(start: &BytesStart<'_>) -> String {
    AsRef::<str>::as_ref(&start.local_name()).to_owned()
}

/// The value of an attribute by its name.
fn attribute(start: &BytesStart<'_>, is: impl Fn(&str) -> bool) -> Result<Option<String>, Fault> {
    for found in start.attributes().with_checks(false) {
        let found = found.map_err(|e| Fault::why(e.to_string()))?;
        if is(AsRef::<str>::as_ref(&found.key)) {
            let value = found.normalized_value(XmlVersion::default());
            let value = value.map_err(|e| Fault::why(e.to_string()))?;
            return Ok(Some(value.into_owned()));
        }
    }
    Ok(None)
}

/// A part's name as entries are looked up by.
fn plain(name: &str) -> String {
    let name = name.replace('\\', "/").to_lowercase();
    name.trim_start_matches('/').to_owned()
}

/// A target as seen from a folder of the package.
fn join(folder: &str, target: &str) -> String {
    let from = if target.starts_with('/') { "" } else { folder };
    let mut parts: Vec<&str> = from.split('/').filter(|p| !p.is_empty()).collect();
    for part in target.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_targets() {
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
        assert_eq!(join("xl", "worksheets/a.xml"), "xl/worksheets/a.xml");
        assert_eq!(join("xl", "/xl/a.xml"), "xl/a.xml");
        assert_eq!(join("xl/b", "../a.xml"), "xl/a.xml");
    }

    #[test]
    fn escapes_and_numbers() {
        let is = |text: &str, plain: &str| assert_eq!(unescaped(text.to_owned()), plain);
        is("a_x000D_b", "a\rb");
        is("_x005F_x000D_", "_x000D_");
        is("_x_x00_xZZZZ__xD800_é", "_x_x00_xZZZZ__xD800_é");
        let numbers = ["2020", "1e3", "0.5", "12345678.0", "x", ""];
        let texts = ["2020", "1000", "0.5", "12345678", "x", ""];
        assert_eq!(numbers.map(|n| number(n.to_owned())), texts);
    }
}
