//! Detects a file's format, by its content first and its name second.

use std::path::Path;

use super::columns::Columns;
use super::csv::Rows;
use super::tagged;

/// A supported format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileFormat {
    /// A table as text, with this separator.
    Csv(u8),
    /// One JSON object per line.
    Jsonl,
    /// A JSON document: a list of objects, objects one after another, or Europe PMC's answer.
    Json,
    /// XML of PubMed, JATS, Europe PMC or EndNote.
    Xml,
    Medline,
    Ris,
    Bibtex,
    Xlsx,
    Parquet,
}

/// The supported formats, for errors.
pub(crate) const READ: &str = "PubMed XML, MEDLINE (.nbib), RIS, EndNote XML, BibTeX, JATS, Europe PMC (XML, JSON), JSON, JSONL, \
     CSV (comma, semicolon, tab), .xlsx, Parquet, and gzip of these";

impl FileFormat {
    /// Whether the format has versions and deletions of citations, so that a file is read twice.
    pub fn has_versions(self) -> bool {
        matches!(
            self,
            FileFormat::Xml | FileFormat::Medline | FileFormat::Json
        )
    }

    /// The format of a file from the first bytes of its text.
    ///
    /// # Errors
    /// The name of an unsupported format.
    pub fn of(path: &Path, head: &[u8]) -> Result<FileFormat, String> {
        if let Some(name) = unread(head) {
            return Err(name.to_owned());
        }
        if head.starts_with(b"PK\x03\x04") {
            return Ok(FileFormat::Xlsx);
        }
        if head.starts_with(b"PAR1") {
            return Ok(FileFormat::Parquet);
        }
        let text = head.trim_ascii_start();
        let next = |from: &[u8]| from.iter().find(|b| !b.is_ascii_whitespace()).copied();
        let second = next(text.get(1..).unwrap_or_default());
        match (text.first(), second) {
            (Some(b'<'), Some(b'?' | b'!' | b'a'..=b'z' | b'A'..=b'Z')) => {
                return match html(text) {
                    true => Err("a web page (HTML)".to_owned()),
                    false => Ok(FileFormat::Xml),
                };
            }
            (Some(b'{'), Some(b'"' | b'}')) => return Ok(json(text)),
            (Some(b'['), Some(b'{' | b']')) => return Ok(FileFormat::Json),
            _ => {}
        }
        let named = of_name(path);
        // Excel's first line may declare the separator.
        if let Some([mark, b'\r' | b'\n', ..]) = text.strip_prefix(b"sep=") {
            return Ok(FileFormat::Csv(*mark));
        }
        let default = match named {
            Some(FileFormat::Csv(mark)) => mark,
            _ => b',',
        };
        let Header {
            known,
            mark,
            is_whole,
        } = header(text, default);
        let first = text.split(|b| *b == b'\n').next().unwrap_or_default();
        // The header decides; a line after it may be part of a quoted field.
        if is_whole && of_line(first).is_none() {
            return Ok(FileFormat::Csv(mark));
        }
        if let Some(format) = by_line(text) {
            return format;
        }
        let is_text = !text.iter().any(|b| *b < 9);
        match named {
            Some(format) if known == 0 && !matches!(format, FileFormat::Csv(_)) => Ok(format),
            None if known == 0 && !is_text => Err("unknown, and not text".to_owned()),
            _ => Ok(FileFormat::Csv(mark)),
        }
    }
}

/// The format that a line begins.
fn of_line(line: &[u8]) -> Option<Result<FileFormat, String>> {
    let line = line.trim_ascii_end();
    if line.starts_with(b"PMID-") {
        return Some(Ok(FileFormat::Medline));
    }
    if tagged::begins_ris(line) {
        return Some(Ok(FileFormat::Ris));
    }
    if line.starts_with(b"%0 ") {
        return Some(Err("EndNote's tagged text (Refer, .enw)".to_owned()));
    }
    if line.starts_with(b"FN Clarivate") || line.starts_with(b"FN Thomson") {
        return Some(Err("Web of Science's plain text".to_owned()));
    }
    if is_entry(line) {
        return Some(Ok(FileFormat::Bibtex));
    }
    None
}

/// Detects line-based formats.
fn by_line(text: &[u8]) -> Option<Result<FileFormat, String>> {
    // RIS files may begin with lines about the database.
    let mut lines = text.split(|b| *b == b'\n').take(40);
    if let Some(format) = lines.find_map(of_line) {
        return Some(format);
    }
    let first = text.split(|b| *b == b'\n').next().unwrap_or_default();
    let first = first.trim_ascii_end();
    if tagged::begins_medline(first) {
        return Some(Ok(FileFormat::Medline));
    }
    let number = first.strip_prefix(b"<").and_then(|f| f.strip_suffix(b">"));
    if number.is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit)) {
        return Some(Err("Ovid's text for reading; export RIS".to_owned()));
    }
    let is_numbered = first.starts_with(b"1. ") || first.starts_with(b"1: ");
    if is_numbered && text.windows(6).any(|w| w == b"PMID: ") {
        return Some(Err(
            "PubMed's text for reading (Summary or Abstract)".to_owned()
        ));
    }
    None
}

/// Whether a line begins an entry of BibTeX: `@article{`.
fn is_entry(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"@") else {
        return false;
    };
    let letters = rest.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    let after = rest.get(letters..).unwrap_or_default().trim_ascii_start();
    letters > 0 && after.first().is_some_and(|b| *b == b'{' || *b == b'(')
}

fn html(text: &[u8]) -> bool {
    let start: Vec<u8> = text.iter().take(15).map(u8::to_ascii_lowercase).collect();
    start.starts_with(b"<!doctype html")
}

/// One JSON object per line, or a document: its first object does not end with its line.
fn json(text: &[u8]) -> FileFormat {
    if super::json::is_lines(text) {
        return FileFormat::Jsonl;
    }
    if super::json::is_wrapped(text) {
        return FileFormat::Json;
    }
    let end = text.iter().position(|b| *b == b'\n');
    match end.and_then(|end| text.get(..end)) {
        Some(line) if !super::json::is_whole(line) => FileFormat::Json,
        _ => FileFormat::Jsonl,
    }
}

/// Unsupported formats by their first bytes.
fn unread(head: &[u8]) -> Option<&'static str> {
    let starts: [(&[u8], &str); 19] = [
        (b"\x1f\x8b", "a gzip within a gzip"),
        (b"%PDF", "PDF"),
        (b"{\\rtf", "rich text (RTF)"),
        (
            b"\xd0\xcf\x11\xe0",
            "an old Office document (.xls, .doc); save it as .xlsx or CSV",
        ),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "Zstandard"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!", "a RAR archive"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"\x93NUMPY", "a NumPy array"),
        (b"\x89HDF", "HDF5"),
        (b"ARROW1", "Arrow"),
        (b"FEA1", "Feather"),
        (b"ORC", "ORC"),
        (b"Obj\x01", "Avro"),
        (b"GGUF", "GGUF, a model's weights"),
        (b"\x89PNG", "a PNG picture"),
        (b"PK\x05\x06", "an empty zip archive"),
    ];
    if head.get(257..262) == Some(b"ustar") {
        return Some("a tar archive");
    }
    let found = starts.iter().find(|(start, _)| head.starts_with(start));
    found.map(|(_, name)| *name)
}

fn of_name(path: &Path) -> Option<FileFormat> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    [
        (".csv", FileFormat::Csv(b',')),
        (".tsv", FileFormat::Csv(b'\t')),
        (".tab", FileFormat::Csv(b'\t')),
        (".jsonl", FileFormat::Jsonl),
        (".ndjson", FileFormat::Jsonl),
        (".json", FileFormat::Jsonl),
        (".xml", FileFormat::Xml),
        (".nbib", FileFormat::Medline),
        (".ris", FileFormat::Ris),
        (".bib", FileFormat::Bibtex),
    ]
    .into_iter()
    .find(|(ending, _)| name.ends_with(ending))
    .map(|(_, format)| format)
}

/// The first row of a text, as the header of a table.
struct Header {
    /// Number of known columns.
    known: usize,
    /// The separator.
    mark: u8,
    /// Whether it is a header: a title or an abstract is among its columns.
    is_whole: bool,
}

/// The first row, split by the separator that gives most known columns.
fn header(text: &[u8], default: u8) -> Header {
    let mut best = Header {
        known: 0,
        mark: default,
        is_whole: false,
    };
    let mut most = 0;
    for mark in [default, b',', b';', b'\t', b'|'] {
        let mut rows = Rows::new(text, mark);
        let Ok(Some(row)) = rows.next() else {
            continue;
        };
        let fields: Vec<&str> = (row.fields())
            .map(|f| std::str::from_utf8(f).unwrap_or_default())
            .collect();
        let known = Columns::known(&fields);
        // A comma inside a single title column is not a separator.
        if known > 0 && (known, fields.len()) > (best.known, most) {
            most = fields.len();
            best = Header {
                known,
                mark,
                is_whole: Columns::is_header(&fields),
            };
        }
    }
    best
}
