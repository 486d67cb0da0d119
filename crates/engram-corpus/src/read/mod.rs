//! Reading corpora: JSONL, CSV, PubMed's XML, MEDLINE text, gzip of these; .xlsx and Parquet. Writing JSONL.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Cursor, ErrorKind, Read, Write};
use std::path::Path;
use std::rc::Rc;

use engram_core::files;
use flate2::read::MultiGzDecoder;

use crate::abstracts::{Abstract, some_text};
use crate::error::{CorpusError, Result};
pub use crate::limits::RECORD_LIMIT;
use crate::limits::{self, BOMB_TIMES, Limited, TooLong, Unending, Unpacked};
use crate::pubmed::{Document, Fault, Found};
use crate::{medline, parquet, xlsx};

/// The abstracts of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Corpus {
    /// The abstracts, in the order of the file.
    pub abstracts: Vec<Abstract>,
    /// Records left out because their PMID was there before.
    pub duplicates: usize,
    /// PubMed's citations left out because they have neither title nor abstract.
    pub empty: usize,
    /// Citations left out because the file says that they are to be deleted.
    pub deleted: usize,
}

/// Reads a corpus. Gzip, spreadsheets and Parquet are known by their first bytes; CSV and JSONL by the
/// name's ending (before `.gz`); where it says neither, XML, JSONL and MEDLINE text by their first line.
///
/// # Errors
/// The file cannot be read; it has no abstract; or, with the line: a record is no JSON or CSV, has
/// neither title nor abstract, has more than [`RECORD_LIMIT`] bytes, or the gzip is damaged there.
/// XML that is damaged, declares entities or is not PubMed's, with the byte. [`CorpusError::Bomb`]: whatever the format,
/// a file gives at most 200 times its size (and 64 MiB always).
pub fn read(path: &Path) -> Result<Corpus> {
    let mut abstracts = Vec::new();
    let counts = each(path, |found| {
        abstracts.push(found);
        Ok(())
    })?;
    Ok(Corpus {
        abstracts,
        ..counts
    })
}

/// As [`read`], an abstract at a time: a file of any length takes the memory of one record, of at most
/// [`RECORD_LIMIT`] bytes, and of the PMIDs seen; a Parquet file also that of its pages, a spreadsheet that of its shared
/// strings, of at most 512 MiB each. What it gives has the counts and no abstracts.
///
/// # Errors
/// As [`read`], and those of `take`.
pub fn each(path: &Path, mut take: impl FnMut(Abstract) -> Result<()>) -> Result<Corpus> {
    let size = files::open(path)?
        .metadata()
        .map_err(files::io_error(path))?;
    let mut into = Gather {
        path,
        left: limits::most(size.len()),
        counts: Corpus::default(),
        given: 0,
        pmids: BTreeSet::new(),
        deleted: BTreeSet::new(),
        take: &mut take,
    };
    let (mut source, mut reader) = open(path)?;
    let head = reader.fill_buf().map_err(|e| source.failed(e))?;
    let format = match format_of_name(path) {
        _ if head.starts_with(b"PK\x03\x04") => Format::Xlsx,
        _ if head.starts_with(b"PAR1") => Format::Parquet,
        Some(format) => format,
        None => format_of_text(head),
    };
    match format {
        Format::Csv => source.csv(reader, &mut into)?,
        Format::Jsonl => source.jsonl(reader, &mut into)?,
        Format::Medline => source.medline(reader, &mut into)?,
        Format::Xml => {
            // What is to be deleted stands at the end.
            let mut deleted = BTreeSet::new();
            source.xml(reader, |found| {
                if let Found::Deleted(pmid) = found {
                    deleted.insert(pmid);
                }
                Ok(())
            })?;
            into.deleted = deleted;
            let (source, reader) = open(path)?;
            source.xml(reader, |found| match found {
                Found::Citation(found) => into.push_filled(found),
                Found::Deleted(_) => Ok(()),
            })?;
        }
        Format::Xlsx => xlsx::read(path, &mut into)?,
        Format::Parquet => parquet::read(path, &mut into)?,
    }
    if into.given == 0 {
        return Err(CorpusError::EmptyCorpus {
            path: path.to_owned(),
        });
    }
    Ok(into.counts)
}

/// Reads a corpus and writes it as JSONL, atomically and an abstract at a time; gives how many, and counts
/// as [`each`] does.
///
/// # Errors
/// As [`each`]; [`engram_core::CoreError::Write`] where the file cannot be written.
pub fn convert(from: &Path, to: &Path) -> Result<(usize, Corpus)> {
    let (mut written, mut failed, mut counts) = (0, None, Corpus::default());
    let found = files::write_atomic(to, |w| {
        let made = each(from, |found| {
            written += 1;
            let line = serde_json::to_writer(&mut *w, &found).map_err(std::io::Error::from);
            let line = line.and_then(|()| w.write_all(b"\n"));
            line.map_err(|e| files::write_error(to)(e).into())
        });
        match made {
            Ok(made) => {
                counts = made;
                Ok(())
            }
            Err(error) => {
                failed = Some(error);
                Err(std::io::Error::other("the corpus could not be read"))
            }
        }
    });
    match (failed, found) {
        (Some(error), _) => Err(error),
        (None, found) => found.map(|()| (written, counts)).map_err(Into::into),
    }
}

/// A file's text, decompressed, from after a byte order mark.
fn open(path: &Path) -> Result<(Source<'_>, Box<dyn BufRead>)> {
    let file = files::open(path)?;
    let size = file.metadata().map_err(files::io_error(path))?.len();
    let mut raw = BufReader::new(file);
    let gzip = raw
        .fill_buf()
        .map_err(files::io_error(path))?
        .starts_with(&[0x1f, 0x8b]);
    let mut source = Source {
        path,
        gzip,
        line: 0,
    };
    let mut reader: Box<dyn BufRead> = match gzip {
        true => Box::new(BufReader::new(Unpacked {
            inner: MultiGzDecoder::new(raw),
            left: Rc::new(Cell::new(limits::most(size))),
        })),
        false => Box::new(raw),
    };
    let head = reader.fill_buf().map_err(|e| source.failed(e))?;
    if let Some(text) = head.strip_prefix(b"\xef\xbb\xbf") {
        // A byte order mark, as spreadsheets write it.
        let mark = head.len() - text.len();
        reader.consume(mark);
    }
    source.line = 0;
    Ok((source, reader))
}

/// Writes a corpus as JSONL, atomically.
///
/// # Errors
/// [`CorpusError::Core`] where the file cannot be written.
pub fn write(path: &Path, abstracts: &[Abstract]) -> Result<()> {
    Ok(files::write_jsonl(path, abstracts)?)
}

#[derive(Clone, Copy)]
enum Format {
    Csv,
    Jsonl,
    Xml,
    Medline,
    Xlsx,
    Parquet,
}

fn format_of_name(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    [
        (".csv", Format::Csv),
        (".jsonl", Format::Jsonl),
        (".ndjson", Format::Jsonl),
        (".json", Format::Jsonl),
        (".xml", Format::Xml),
        (".nbib", Format::Medline),
    ]
    .into_iter()
    .find(|(ending, _)| name.ends_with(ending))
    .map(|(_, format)| format)
}

fn format_of_text(head: &[u8]) -> Format {
    let text = head.trim_ascii_start();
    let line = text.split(|b| *b == b'\n').next().unwrap_or_default();
    match text.first() {
        Some(b'{') => Format::Jsonl,
        Some(b'<') => Format::Xml,
        _ if medline::begins(line) => Format::Medline,
        _ => Format::Csv,
    }
}

/// Abstracts as they come, without those whose PMID was there before or is to be deleted.
pub(crate) struct Gather<'a> {
    path: &'a Path,
    /// Bytes that the file may still give: a short file that says one text a million times ends here.
    left: u64,
    counts: Corpus,
    given: usize,
    pmids: BTreeSet<String>,
    deleted: BTreeSet<String>,
    take: &'a mut dyn FnMut(Abstract) -> Result<()>,
}

impl Gather<'_> {
    pub fn push(&mut self, found: Abstract) -> Result<()> {
        self.left = match self.left.checked_sub(found.size()) {
            Some(left) => left,
            None => {
                return Err(CorpusError::Bomb {
                    path: self.path.to_owned(),
                    times: BOMB_TIMES,
                });
            }
        };
        if let Some(pmid) = &found.pmid {
            if self.deleted.contains(pmid) {
                self.counts.deleted += 1;
                return Ok(());
            }
            if !self.pmids.insert(pmid.clone()) {
                self.counts.duplicates += 1;
                return Ok(());
            }
        }
        self.given += 1;
        (self.take)(found)
    }

    /// Of a source in which records without a title and an abstract are usual: they are counted.
    fn push_filled(&mut self, found: Abstract) -> Result<()> {
        match found.fault() {
            Some(_) => {
                self.counts.empty += 1;
                Ok(())
            }
            None => self.push(found),
        }
    }
}

/// What errors have to name: the file, and the last line that was read whole.
struct Source<'a> {
    path: &'a Path,
    gzip: bool,
    line: usize,
}

impl Source<'_> {
    /// What a failing read means: too long a record, a bomb, damaged gzip or a failing disk.
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
        if self.gzip && damaged {
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

    fn faulty(&self, fault: Fault) -> CorpusError {
        match fault.io {
            Some(error) => self.failed(error),
            None => CorpusError::Xml {
                path: self.path.to_owned(),
                byte: fault.byte,
                why: fault.why,
            },
        }
    }

    fn xml(
        &self,
        reader: Box<dyn BufRead + '_>,
        mut take: impl FnMut(Found) -> Result<()>,
    ) -> Result<()> {
        let since_record = Rc::new(Cell::new(0));
        let mut document = Document::new(BufReader::new(Limited {
            inner: reader,
            since_record: Rc::clone(&since_record),
        }));
        while let Some(found) = document.next().map_err(|f| self.faulty(f))? {
            since_record.set(0);
            take(found)?;
        }
        Ok(())
    }

    fn medline(&mut self, reader: Box<dyn BufRead + '_>, into: &mut Gather) -> Result<()> {
        let mut reader = reader;
        let mut record = medline::Record::default();
        let mut line = Vec::new();
        let mut size = 0;
        loop {
            line.clear();
            let left = (RECORD_LIMIT - size) as u64;
            let read = reader
                .by_ref()
                .take(left + 1)
                .read_until(b'\n', &mut line)
                .map_err(|e| self.failed(e))?;
            size += read;
            if size > RECORD_LIMIT {
                return Err(self.failed(TooLong.into()));
            }
            let text = std::str::from_utf8(&line)
                .map_err(|_| self.broken(self.line + 1, "the text is not UTF-8"))?
                .trim_end();
            if text.is_empty() {
                if !record.is_empty() {
                    into.push_filled(record.whole())?;
                }
                size = 0;
            } else {
                let taken = record.line(text);
                taken.map_err(|why| self.broken(self.line + 1, why))?;
            }
            if read == 0 {
                return Ok(());
            }
            self.line += 1;
        }
    }

    fn jsonl(&mut self, reader: Box<dyn BufRead + '_>, into: &mut Gather) -> Result<()> {
        let mut reader = reader;
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut limited = reader.by_ref().take(RECORD_LIMIT as u64 + 1);
            let read = limited
                .read_until(b'\n', &mut line)
                .map_err(|e| self.failed(e))?;
            if read == 0 {
                return Ok(());
            }
            if read > RECORD_LIMIT {
                return Err(self.failed(TooLong.into()));
            }
            self.line += 1;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            // A list would be taken for the fields in order.
            if !line.trim_ascii_start().starts_with(b"{") {
                return Err(self.broken(self.line, "it is not a JSON object"));
            }
            let found: Abstract = serde_json::from_slice(&line).map_err(|e| {
                let why = e.to_string();
                // serde_json counts lines within the record: always 1, so left out.
                let why = why.split(" at line ").next().unwrap_or_default();
                self.broken(self.line, format!("{why} (column {})", e.column()))
            })?;
            if let Some(fault) = found.fault() {
                return Err(self.broken(self.line, fault));
            }
            into.push(found)?;
        }
    }

    fn csv(&mut self, reader: Box<dyn BufRead + '_>, into: &mut Gather) -> Result<()> {
        let since_record = Rc::new(Cell::new(0));
        let reader = Limited {
            // A last record of ours shows whether the one before it was closed: the parser takes an
            // open quote to hold all the rest of the file, in silence.
            inner: reader.chain(Cursor::new(format!("\n{SENTINEL}\n"))),
            since_record: Rc::clone(&since_record),
        };
        let mut csv = csv::ReaderBuilder::new()
            .flexible(true)
            .has_headers(false)
            .from_reader(reader);
        let mut columns: Option<Columns> = None;
        let mut record = csv::ByteRecord::new();
        loop {
            since_record.set(0);
            let more = csv
                .read_byte_record(&mut record)
                .map_err(|e| match e.into_kind() {
                    csv::ErrorKind::Io(e) => self.failed(e),
                    other => self.broken(self.line + 1, format!("{other:?}")),
                })?;
            let line = record.position().map_or(0, |p| p.line() as usize);
            if more && record.len() == 1 && record.get(0) == Some(SENTINEL.as_bytes()) {
                return Ok(());
            }
            let is_last = record
                .iter()
                .any(|field| field.ends_with(format!("\n{SENTINEL}\n").as_bytes()));
            if !more || is_last {
                return Err(self.broken(line, "a quoted field is opened here and never closed"));
            }
            let fields = record
                .iter()
                .map(std::str::from_utf8)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| self.broken(line, "the text is not UTF-8"))?;
            self.line = csv.position().line().saturating_sub(1) as usize;
            match &columns {
                None => columns = Some(Columns::of(&fields, self.path)?),
                Some(columns) => {
                    if fields.len() != columns.count {
                        return Err(self.broken(
                            line,
                            format!("{} fields, expected {}", fields.len(), columns.count),
                        ));
                    }
                    let found = columns.record(&fields);
                    if let Some(fault) = found.fault() {
                        return Err(self.broken(line, fault));
                    }
                    into.push(found)?;
                }
            }
        }
    }
}

const SENTINEL: &str = "\u{1}end of the corpus\u{1}";

/// Which column is which.
pub(crate) struct Columns {
    count: usize,
    names: Vec<String>,
}

impl Columns {
    /// The columns of a corpus.
    const KNOWN: [&str; 8] = [
        "pmid", "title", "abstract", "journal", "keywords", "url", "year", "source",
    ];

    /// Whether a column is one of a corpus.
    pub fn wants(name: &str) -> bool {
        Columns::KNOWN.contains(&name.trim().to_lowercase().as_str())
    }

    /// The columns of a header.
    pub fn of(header: &[&str], path: &Path) -> Result<Columns> {
        let names: Vec<String> = header.iter().map(|n| n.trim().to_lowercase()).collect();
        if !names.iter().any(|n| n == "title" || n == "abstract") {
            return Err(CorpusError::NoColumn {
                path: path.to_owned(),
                wanted: "Title or Abstract",
                found: header.join(", ").chars().take(200).collect(),
            });
        }
        Ok(Columns {
            count: names.len(),
            names,
        })
    }

    pub fn record(&self, fields: &[&str]) -> Abstract {
        let field = |name: &str| {
            let index = self.names.iter().position(|n| n == name);
            index.and_then(|i| fields.get(i)).unwrap_or(&"").to_string()
        };
        Abstract {
            pmid: some_text(field("pmid")),
            title: field("title"),
            body: field("abstract"),
            journal: some_text(field("journal")),
            keywords: some_text(field("keywords")),
            url: some_text(field("url")),
            year: some_text(field("year")),
            source: some_text(field("source")),
            answers: Vec::new(),
        }
    }
}
