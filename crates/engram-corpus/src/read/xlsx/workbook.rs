//! A workbook's archive and its parts: which sheets it has, their shared strings and rows.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::rc::Rc;

use engram_core::files;
use quick_xml::Reader;
use quick_xml::events::Event;
use zip::ZipArchive;

use super::super::columns::Columns;
use super::super::format::READ;
use super::super::gather::Gather;
use super::super::limits::{self, Limited, Unpacked};
use super::part::{Fault, attribute, local};
use super::rows::{Go, Rows, Step};
use super::text::Text;
use super::{COLUMNS_LIMIT, Row, STRING_COST, STRINGS_LIMIT};
use crate::error::{CorpusError, Result};

/// The result of reading a sheet.
pub(super) enum Sheet {
    Read(Columns),
    Empty,
    Unfit(CorpusError),
}

/// Names of the parts that are read.
pub(super) struct Parts {
    /// Names of the sheets, and of their parts.
    pub(super) sheets: Vec<(String, String)>,
    pub(super) strings: Option<String>,
}

/// An open workbook.
pub(super) struct Workbook<'a> {
    path: &'a Path,
    archive: ZipArchive<BufReader<File>>,
    /// Archive entries by normalised name (see [`plain`]).
    entries: BTreeMap<String, usize>,
    /// Bytes that may still be unpacked.
    left: Rc<Cell<u64>>,
}

impl<'a> Workbook<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Workbook<'a>> {
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

    pub(super) fn wrong(&self, why: impl Into<String>) -> CorpusError {
        CorpusError::Sheet {
            path: self.path.to_owned(),
            why: why.into(),
        }
    }

    /// Passes the XML events of a part to `take`, until the end or until `take` stops.
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

    /// Finds the parts: the package names the workbook, and the workbook its sheets and strings.
    pub(super) fn parts(&mut self) -> Result<Parts> {
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
                // The relation's id is the `id` attribute with a namespace; `sheetId` is something else.
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

    /// Relations of a part, by id.
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
    pub(super) fn strings(&mut self, name: &str) -> Result<Vec<Box<str>>> {
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

    /// The non-empty rows of a sheet.
    pub(super) fn rows(&mut self, name: &str, strings: &[Box<str>]) -> Result<Vec<Row>> {
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

    /// Reads the records of a sheet.
    pub(super) fn sheet(
        &mut self,
        name: &str,
        strings: &[Box<str>],
        into: &mut Gather,
    ) -> Result<Sheet> {
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

struct Relation {
    kind: String,
    target: String,
}

impl Relation {
    /// Whether the relation has this type; the type's address before the last slash has two editions.
    fn is(&self, kind: &str) -> bool {
        self.kind.rsplit('/').next() == Some(kind)
    }
}

/// Normalises a part's name: lower case, forward slashes, no leading slash.
fn plain(name: &str) -> String {
    let name = name.replace('\\', "/").to_lowercase();
    name.trim_start_matches('/').to_owned()
}

/// Resolves a relation's target from a folder of the package.
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
    fn targets_are_relative_to_their_part_or_absolute() {
        assert_eq!(join("xl", "worksheets/a.xml"), "xl/worksheets/a.xml");
        assert_eq!(join("xl", "/xl/a.xml"), "xl/a.xml");
        assert_eq!(join("xl/b", "../a.xml"), "xl/a.xml");
    }
}
