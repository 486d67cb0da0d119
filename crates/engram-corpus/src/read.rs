//! Reading corpora: JSONL, CSV and gzip of either. Writing them as JSONL.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, ErrorKind, Read};
use std::path::Path;
use std::rc::Rc;

use engram_core::files;
use flate2::read::MultiGzDecoder;

use crate::abstracts::{Abstract, some_text};
use crate::error::{CorpusError, Result};

/// The most decompressed bytes that one record may have. A long abstract has some 10 kB; a file of one
/// endless line, or a gzip that unpacks to one, stops here.
pub const RECORD_LIMIT: usize = 16 << 20;

/// The abstracts of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Corpus {
    /// The abstracts, in the order of the file.
    pub abstracts: Vec<Abstract>,
    /// Records left out because their PMID was there before.
    pub duplicates: usize,
}

/// Reads a corpus. Gzip is known by its first bytes; CSV and JSONL by the name's ending (before `.gz`),
/// or, where it says neither, by whether the text begins with a brace.
///
/// # Errors
/// The file cannot be read; it has no abstract; or, with the line: a record is no JSON or CSV, has
/// neither title nor abstract, has more than [`RECORD_LIMIT`] bytes, or the gzip is damaged there.
pub fn read(path: &Path) -> Result<Corpus> {
    let file = File::open(path).map_err(files::io_error(path))?;
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
        true => Box::new(BufReader::new(MultiGzDecoder::new(raw))),
        false => Box::new(raw),
    };
    let head = reader.fill_buf().map_err(|e| source.failed(e))?;
    if let Some(text) = head.strip_prefix(b"\xef\xbb\xbf") {
        // A byte order mark, as spreadsheets write it.
        let mark = head.len() - text.len();
        reader.consume(mark);
    }
    let is_csv = match format_of_name(path) {
        Some(format) => format == "csv",
        None => {
            let head = reader.fill_buf().map_err(|e| source.failed(e))?;
            head.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{')
        }
    };
    let mut corpus = Gather::default();
    match is_csv {
        true => source.csv(reader, &mut corpus)?,
        false => source.jsonl(reader, &mut corpus)?,
    }
    if corpus.corpus.abstracts.is_empty() {
        return Err(CorpusError::EmptyCorpus {
            path: path.to_owned(),
        });
    }
    Ok(corpus.corpus)
}

/// Writes a corpus as JSONL, atomically.
///
/// # Errors
/// [`CorpusError::Core`] where the file cannot be written.
pub fn write(path: &Path, abstracts: &[Abstract]) -> Result<()> {
    Ok(files::write_jsonl(path, abstracts)?)
}

fn format_of_name(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    [".csv", ".jsonl", ".ndjson", ".json"]
        .into_iter()
        .find(|ending| name.ends_with(ending))
        .map(|ending| if ending == ".csv" { "csv" } else { "jsonl" })
}

/// Abstracts as they come, without those whose PMID was there before.
#[derive(Default)]
struct Gather {
    corpus: Corpus,
    pmids: BTreeSet<String>,
}

impl Gather {
    fn push(&mut self, found: Abstract) {
        match &found.pmid {
            Some(pmid) if !self.pmids.insert(pmid.clone()) => self.corpus.duplicates += 1,
            _ => self.corpus.abstracts.push(found),
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
    /// What a failing read means: too long a record, damaged gzip or a failing disk.
    fn failed(&self, error: std::io::Error) -> CorpusError {
        let path = self.path.to_owned();
        if error.get_ref().is_some_and(|e| e.is::<TooLong>()) {
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
            into.push(found);
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
                    into.push(found);
                }
            }
        }
    }
}

const SENTINEL: &str = "\u{1}end of the corpus\u{1}";

/// Which column is which.
struct Columns {
    count: usize,
    names: Vec<String>,
}

impl Columns {
    fn of(header: &[&str], path: &Path) -> Result<Columns> {
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

    fn record(&self, fields: &[&str]) -> Abstract {
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

/// Fails where more than [`RECORD_LIMIT`] bytes are read before the counter is set back.
struct Limited<R> {
    inner: R,
    since_record: Rc<Cell<usize>>,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.since_record.set(self.since_record.get() + read);
        match self.since_record.get() > RECORD_LIMIT {
            true => Err(TooLong.into()),
            false => Ok(read),
        }
    }
}

/// A record that does not end.
#[derive(Debug, thiserror::Error)]
#[error("a record longer than any abstract")]
struct TooLong;

impl From<TooLong> for std::io::Error {
    fn from(error: TooLong) -> Self {
        std::io::Error::other(error)
    }
}
