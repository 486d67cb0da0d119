//! CSV by RFC 4180, row by row, with strict quoting.
//!
//! The crate `csv` silently appends text after a closing quote to the field, and lets an open quote swallow the rest of
//! a file. Here both are errors with their line.

use std::io::BufRead;

/// Maximum number of columns, as in spreadsheets.
const COLUMNS_LIMIT: usize = 16_384;

/// Rows of a table.
pub(crate) struct Rows<R> {
    reader: R,
    mark: u8,
    /// The current line, from 1.
    line: usize,
    /// Whether the last byte was a carriage return: a following line feed does not end another line.
    after_return: bool,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// Why a row cannot be read.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(std::io::Error),
    /// The line and what is wrong there.
    Line(usize, &'static str),
}

/// A row and its first line.
pub(crate) struct Row<'a> {
    pub line: usize,
    bytes: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Row<'a> {
    /// Its fields.
    pub fn fields(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut start = 0;
        let bytes = self.bytes;
        self.ends.iter().map(move |end| {
            let field = bytes.get(start..*end).unwrap_or_default();
            start = *end;
            field
        })
    }
}

/// The parser's state within a row.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Start,
    Plain,
    Quoted,
    /// After a quote in a quoted field: the field ends, or a second quote follows, which means a literal one.
    Quote,
}

impl<R: BufRead> Rows<R> {
    pub fn new(reader: R, mark: u8) -> Rows<R> {
        Rows {
            reader,
            mark,
            line: 1,
            after_return: false,
            bytes: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// The last line that was read completely.
    pub fn line(&self) -> usize {
        self.line.saturating_sub(1)
    }

    /// The next row that is not blank.
    pub fn next(&mut self) -> Result<Option<Row<'_>>, Fault> {
        self.bytes.clear();
        self.ends.clear();
        let (mut at, mut begin, mut opened) = (At::Start, self.line, self.line);
        loop {
            let buffer = self.reader.fill_buf().map_err(Fault::Io)?;
            if buffer.is_empty() {
                if at == At::Quoted {
                    return Err(Fault::Line(
                        opened,
                        "a quoted field is opened here and never closed",
                    ));
                }
                if self.ends.is_empty() && self.bytes.is_empty() && at == At::Start {
                    return Ok(None);
                }
                self.ends.push(self.bytes.len());
                break;
            }
            let mut used = 0;
            let mut ended = false;
            for &byte in buffer {
                if self.after_return && byte == b'\n' {
                    used += 1;
                    self.after_return = false;
                    if at == At::Quoted {
                        self.bytes.push(byte);
                    }
                    continue;
                }
                used += 1;
                self.after_return = byte == b'\r';
                let is_end = byte == b'\n' || byte == b'\r';
                if is_end {
                    self.line += 1;
                }
                match at {
                    At::Quoted if byte == b'"' => at = At::Quote,
                    At::Quoted => self.bytes.push(byte),
                    At::Quote if byte == b'"' => {
                        self.bytes.push(byte);
                        at = At::Quoted;
                    }
                    At::Start if byte == b'"' => {
                        opened = self.line;
                        at = At::Quoted;
                    }
                    _ if byte == self.mark => {
                        if self.ends.len() == COLUMNS_LIMIT {
                            return Err(Fault::Line(begin, "it has more than 16384 fields"));
                        }
                        self.ends.push(self.bytes.len());
                        at = At::Start;
                    }
                    _ if is_end => {
                        if self.ends.is_empty() && self.bytes.is_empty() && at == At::Start {
                            begin = self.line;
                            continue;
                        }
                        self.ends.push(self.bytes.len());
                        ended = true;
                        break;
                    }
                    At::Quote => {
                        return Err(Fault::Line(
                            self.line,
                            "text follows the quote that closes a field (a quote within a field is written twice)",
                        ));
                    }
                    At::Start | At::Plain => {
                        self.bytes.push(byte);
                        at = At::Plain;
                    }
                }
            }
            self.reader.consume(used);
            if ended {
                break;
            }
        }
        Ok(Some(Row {
            line: begin,
            bytes: &self.bytes,
            ends: &self.ends,
        }))
    }
}
