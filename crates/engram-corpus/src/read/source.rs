//! A file's text: decompressed, decoded to UTF-8, with the beginning that identifies its format.

use std::cell::Cell;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::rc::Rc;

use engram_core::files;
use serde::de::DeserializeSeed;

use super::bibtex::Entries;
use super::columns::Columns;
use super::csv::{self, Rows};
use super::decode::{
    Decoded, Members, consume, declaration, encoding, encoding_named, peek, text_of,
};
use super::format::{FileFormat, READ};
use super::gather::Gather;
use super::json::{self, Objects};
use super::limits::{self, BOMB_TIMES, Limited, RECORD_LIMIT, TooLong, Unending, Unpacked};
use super::object::{Keys, ObjectSeed};
use super::tagged::{Kind, Tagged};
use super::xml::{self, Document, Found};
use crate::error::{CorpusError, Result};

/// An open file.
pub(crate) struct Opened<'a> {
    pub source: Source<'a>,
    pub format: FileFormat,
    /// The text from its start, for text formats.
    pub reader: Box<dyn BufRead>,
    head: Vec<u8>,
    /// The file's size in bytes, for limits.
    pub size: u64,
}

/// Where a JSON object occurs.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Line,
    Document,
    /// In a service's response.
    Answer,
}

/// The context of errors: the file, and the last line that was read completely.
pub(crate) struct Source<'a> {
    path: &'a Path,
    is_gzip: bool,
    line: usize,
    /// Bytes of text before the part given to a parser.
    skipped: u64,
}

/// Opens a file and detects its format.
///
/// # Errors
/// [`CorpusError::Core`] if the file cannot be read; [`CorpusError::Format`] for an unsupported format.
pub(crate) fn open(path: &Path) -> Result<Opened<'_>> {
    let file = files::open(path)?;
    let size = file.metadata().map_err(files::io_error(path))?.len();
    let mut raw = BufReader::new(file);
    let start = raw.fill_buf().map_err(files::io_error(path))?;
    let is_gzip = start.starts_with(&[0x1f, 0x8b]);
    let mut source = Source {
        path,
        is_gzip,
        line: 0,
        skipped: 0,
    };
    let reader: Box<dyn BufRead> = match is_gzip {
        true => Box::new(BufReader::new(Unpacked {
            inner: Members::new(raw),
            left: Rc::new(Cell::new(limits::most(size))),
        })),
        false => Box::new(raw),
    };
    let (head, reader) = peek(reader);
    let refused = |what: String| CorpusError::Format {
        path: path.to_owned(),
        what,
        read: READ,
    };
    let (head, mut reader) = match encoding(&head) {
        None => (head, reader),
        Some(encoding) => peek(Box::new(BufReader::new(Decoded::new(reader, encoding)))),
    };
    let mark = usize::from(head.starts_with(b"\xef\xbb\xbf")) * 3;
    let mut head = head.get(mark..).unwrap_or_default().to_vec();
    reader.consume(mark);
    let format = FileFormat::of(path, &head).map_err(refused)?;
    if is_gzip && matches!(format, FileFormat::Xlsx | FileFormat::Parquet) {
        let what = "a spreadsheet, a Parquet file or a zip archive within a gzip; unpack it first";
        return Err(refused(what.to_owned()));
    }
    if format == FileFormat::Xml
        && let Some((declared, length)) = declaration(&head)
    {
        source.skipped = length as u64;
        let head_after = head.get(length..).unwrap_or_default().to_vec();
        consume(&mut reader, length).map_err(|e| source.failed(e))?;
        head = head_after;
        if let Some(encoding) = encoding_named(&declared).map_err(|name| CorpusError::Xml {
            path: path.to_owned(),
            byte: 0,
            why: format!("its encoding is {name}, which is not known; convert it to UTF-8 first"),
        })? {
            (head, reader) = peek(Box::new(BufReader::new(Decoded::new(reader, encoding))));
        }
    }
    Ok(Opened {
        source,
        format,
        reader,
        head,
        size,
    })
}

impl Opened<'_> {
    /// Reads the records of a text.
    ///
    /// # Errors
    /// What is wrong with the file, with its place.
    pub fn read(mut self, into: &mut Gather) -> Result<()> {
        let (source, reader) = (&mut self.source, self.reader);
        match self.format {
            FileFormat::Csv(mark) => source.csv(reader, mark, &self.head, into),
            FileFormat::Jsonl => source.jsonl(reader, into),
            FileFormat::Json => {
                let is_wrapped = !json::is_lines(&self.head) && json::is_wrapped(&self.head);
                source.json(reader, is_wrapped, into)
            }
            FileFormat::Medline => source.tagged(reader, Kind::Medline, into),
            FileFormat::Ris => source.tagged(reader, Kind::Ris, into),
            FileFormat::Bibtex => source.bibtex(reader, into),
            FileFormat::Xml => source.xml(reader, into),
            FileFormat::Xlsx => super::xlsx::read(source.path, into),
            FileFormat::Parquet => super::parquet::read(source.path, into),
        }
    }
}

impl Source<'_> {
    /// The error for a failed read: a record that is too long, a decompression bomb, a damaged gzip, or I/O.
    fn failed(&self, error: std::io::Error) -> CorpusError {
        let path = self.path.to_owned();
        if limits::is::<Unending>(&error) {
            return CorpusError::Bomb {
                path,
                times: BOMB_TIMES,
            };
        }
        if limits::is::<TooLong>(&error) {
            return CorpusError::RecordTooLong {
                path,
                line: self.line + 1,
                limit: RECORD_LIMIT,
            };
        }
        let damaged = matches!(
            error.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::InvalidInput | ErrorKind::InvalidData
        );
        if self.is_gzip && damaged {
            return CorpusError::Gzip {
                path,
                line: self.line,
                why: error.to_string(),
            };
        }
        files::io_error(self.path)(error).into()
    }

    fn broken(&self, line: usize, why: impl Into<String>) -> CorpusError {
        CorpusError::Line {
            path: self.path.to_owned(),
            line,
            why: why.into(),
        }
    }

    fn faulty(&self, fault: xml::Fault) -> CorpusError {
        match fault.io {
            Some(error) => self.failed(error),
            None => CorpusError::Xml {
                path: self.path.to_owned(),
                byte: fault.byte + self.skipped,
                why: fault.why,
            },
        }
    }

    fn xml(&self, reader: Box<dyn BufRead>, into: &mut Gather) -> Result<()> {
        let since_record = Rc::new(Cell::new(0));
        let mut document = Document::new(BufReader::new(Limited {
            inner: reader,
            since_record: Rc::clone(&since_record),
        }));
        while let Some(found) = document.next().map_err(|f| self.faulty(f))? {
            since_record.set(0);
            match found {
                Found::Citation(record) => into.push(*record)?,
                Found::Deleted(pmid, version) => into.delete(pmid, version),
            }
        }
        Ok(())
    }

    /// Reads the next line, up to a record's limit; returns whether there is one.
    fn next_line(
        &mut self,
        reader: &mut Box<dyn BufRead>,
        line: &mut Vec<u8>,
        size: &mut usize,
    ) -> Result<bool> {
        line.clear();
        let left = (RECORD_LIMIT - *size) as u64;
        let mut limited = reader.by_ref().take(left + 1);
        let read = limited.read_until(b'\n', line);
        let read = read.map_err(|e| self.failed(e))?;
        *size += read;
        if *size > RECORD_LIMIT {
            return Err(self.failed(TooLong.into()));
        }
        self.line += usize::from(read > 0);
        Ok(read > 0)
    }

    fn tagged(&mut self, reader: Box<dyn BufRead>, kind: Kind, into: &mut Gather) -> Result<()> {
        let mut reader = reader;
        let mut records = Tagged::new(kind);
        let (mut line, mut size) = (Vec::new(), 0);
        let mut is_open_ended = false;
        while self.next_line(&mut reader, &mut line, &mut size)? {
            is_open_ended = kind == Kind::Medline && !line.ends_with(b"\n");
            let others = &mut into.counts.windows_1252;
            let text = text_of(&line, others).map_err(|why| self.broken(self.line, why))?;
            let ended = records.line(self.line, text.trim_end());
            if let Some(record) = ended.map_err(|why| self.broken(self.line, why))? {
                size = line.len();
                into.push(record)?;
            }
        }
        into.counts.outside += records.outside;
        into.counts.open_ended += usize::from(is_open_ended);
        let last = records.end().map_err(|why| self.broken(self.line, why))?;
        last.map_or(Ok(()), |record| into.push(record))
    }

    fn bibtex(&mut self, reader: Box<dyn BufRead>, into: &mut Gather) -> Result<()> {
        let mut reader = reader;
        let mut entries = Entries::default();
        let (mut line, mut size) = (Vec::new(), 0);
        while self.next_line(&mut reader, &mut line, &mut size)? {
            let others = &mut into.counts.windows_1252;
            let text = text_of(&line, others).map_err(|why| self.broken(self.line, why))?;
            let found = entries.line(self.line, &text);
            let found = found.map_err(|(line, why)| self.broken(line, why))?;
            if !entries.is_open() {
                size = 0;
            }
            for record in found {
                into.push(record)?;
            }
        }
        into.counts.outside += entries.outside;
        entries.end().map_err(|(line, why)| self.broken(line, why))
    }

    fn jsonl(&mut self, reader: Box<dyn BufRead>, into: &mut Gather) -> Result<()> {
        let mut reader = reader;
        let mut line = Vec::new();
        let mut keys = Keys::default();
        loop {
            let before = self.line;
            let mut size = 0;
            if !self.next_line(&mut reader, &mut line, &mut size)? {
                break;
            }
            self.line = before + 1;
            if !line.iter().all(u8::is_ascii_whitespace) {
                self.object(&line, self.line, Place::Line, &mut keys, into)?;
            }
        }
        into.keys(keys);
        Ok(())
    }

    fn json(
        &mut self,
        reader: Box<dyn BufRead>,
        is_wrapped: bool,
        into: &mut Gather,
    ) -> Result<()> {
        let mut objects = Objects::new(reader, is_wrapped);
        let place = match is_wrapped {
            true => Place::Answer,
            false => Place::Document,
        };
        let (mut record, mut keys) = (Vec::new(), Keys::default());
        loop {
            let more = objects.next(&mut record);
            self.line = objects.line();
            match more {
                Ok(false) => break,
                Ok(true) => {
                    self.object(&record, objects.begin, place, &mut keys, into)?;
                }
                Err(json::Fault::Io(error)) => return Err(self.failed(error)),
                Err(json::Fault::Line(line, why)) => return Err(self.broken(line, why)),
            }
        }
        into.keys(keys);
        Ok(())
    }

    /// Reads a JSON object that begins at a line.
    fn object(
        &self,
        bytes: &[u8],
        line: usize,
        place: Place,
        keys: &mut Keys,
        into: &mut Gather,
    ) -> Result<()> {
        // Concatenated files have byte order marks in the middle.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        // A list would be read as the fields in order.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(self.broken(line, "it is not a JSON object"));
        }
        let mut from = serde_json::Deserializer::from_slice(bytes.trim_ascii_end());
        let reading = ObjectSeed {
            columns: into.columns(),
            keys,
            is_wrapped: place == Place::Answer,
            is_line: place == Place::Line,
        };
        let record = reading
            .deserialize(&mut from)
            .and_then(|record| from.end().map(|()| record));
        let record = record.map_err(|e| {
            let why = e.to_string();
            // serde_json counts lines within the record.
            let why = why.split(" at line ").next().unwrap_or_default();
            let line = line + e.line().saturating_sub(1);
            self.broken(line, format!("{why} (column {})", e.column()))
        })?;
        if let Some(fault) = record.found.fault() {
            return Err(self.broken(line, fault));
        }
        into.push(record)
    }

    fn csv(
        &mut self,
        reader: Box<dyn BufRead>,
        mark: u8,
        head: &[u8],
        into: &mut Gather,
    ) -> Result<()> {
        let mut reader = reader;
        let mut mark = mark;
        // Excel's first line that declares the separator.
        let named = head.strip_prefix(b"sep=");
        if let Some([found, b'\r' | b'\n', ..]) = named {
            mark = *found;
            let length = head.iter().position(|b| *b == b'\n').unwrap_or(0);
            consume(&mut reader, length).map_err(|e| self.failed(e))?;
        }
        let since_record = Rc::new(Cell::new(0));
        let mut rows = Rows::new(
            BufReader::new(Limited {
                inner: reader,
                since_record: Rc::clone(&since_record),
            }),
            mark,
        );
        let mut columns: Option<Columns> = None;
        loop {
            since_record.set(0);
            self.line = rows.line();
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => return columns.map_or(Ok(()), |c| into.end_of_table(&c)),
                Err(csv::Fault::Io(error)) => return Err(self.failed(error)),
                Err(csv::Fault::Line(line, why)) => return Err(self.broken(line, why)),
            };
            let before = into.counts.windows_1252;
            let fields = row.fields();
            let fields = fields.map(|f| text_of(f, &mut into.counts.windows_1252));
            let fields = fields.collect::<Result<Vec<_>, _>>();
            let fields = fields.map_err(|why| self.broken(row.line, why))?;
            // Counts rows, not fields.
            let others = &mut into.counts.windows_1252;
            *others = before + usize::from(*others > before);
            let fields: Vec<&str> = fields.iter().map(AsRef::as_ref).collect();
            let Some(columns) = &columns else {
                columns = Some(Columns::of(&fields, into.columns(), self.path)?);
                into.header();
                continue;
            };
            if fields.len() != columns.count() {
                return Err(self.broken(
                    row.line,
                    format!("{} fields, expected {}", fields.len(), columns.count()),
                ));
            }
            into.push(columns.record(|at| fields.get(at).copied().unwrap_or_default()))?;
        }
    }
}
