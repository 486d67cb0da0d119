//! Decodes a file to UTF-8: gzip members, UTF-16, the encoding declared in XML, Windows-1252.

use std::borrow::Cow;
use std::io::{BufRead, BufReader, Cursor, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use flate2::bufread::GzDecoder;

/// Bytes from the start of a file that are used to detect its format.
const HEAD: u64 = 64 << 10;

/// The first bytes of a reader, and a reader that returns them again. A read error is returned after these bytes.
pub(crate) fn peek(mut reader: Box<dyn BufRead>) -> (Vec<u8>, Box<dyn BufRead>) {
    let mut head = Vec::new();
    let failed = reader.by_ref().take(HEAD).read_to_end(&mut head).err();
    let again = Cursor::new(head.clone());
    let rest: Box<dyn BufRead> = match failed {
        Some(error) => Box::new(BufReader::new(Failed(Some(error)))),
        None => reader,
    };
    (head, Box::new(again.chain(rest)))
}

/// The members of a gzip file, one after another. Zero bytes after a member are padding, as on tapes and block devices.
pub(crate) struct Members<R> {
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    pub fn new(raw: R) -> Members<R> {
        Members {
            member: Some(GzDecoder::new(raw)),
        }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while let Some(mut member) = self.member.take() {
            let read = member.read(into)?;
            if read > 0 || into.is_empty() {
                self.member = Some(member);
                return Ok(read);
            }
            let mut raw = member.into_inner();
            loop {
                let buffer = raw.fill_buf()?;
                let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
                if buffer.is_empty() {
                    return Ok(0);
                }
                let is_padding = zeros == buffer.len();
                raw.consume(zeros);
                if !is_padding {
                    break;
                }
            }
            self.member = Some(GzDecoder::new(raw));
        }
        Ok(0)
    }
}

/// A reader that fails once and then ends.
struct Failed(Option<std::io::Error>);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Skips this number of bytes.
pub(crate) fn consume(reader: &mut dyn BufRead, mut bytes: usize) -> std::io::Result<()> {
    while bytes > 0 {
        let there = reader.fill_buf()?.len().min(bytes);
        if there == 0 {
            break;
        }
        reader.consume(there);
        bytes -= there;
    }
    Ok(())
}

/// Detects UTF-16 by its byte order mark, or by a zero byte beside each of the first (ASCII) characters.
pub(crate) fn encoding(head: &[u8]) -> Option<&'static Encoding> {
    match Encoding::for_bom(head) {
        Some((encoding, _)) => Some(encoding).filter(|e| *e != UTF_8),
        None => [(UTF_16LE, 0), (UTF_16BE, 1)]
            .into_iter()
            .find_map(|(encoding, at)| {
                let mut first = head.chunks_exact(2).take(8);
                let is_ascii = |unit: &[u8]| (9..127).contains(&unit[at]) && unit[1 - at] == 0;
                (head.len() >= 4 && first.all(is_ascii)).then_some(encoding)
            }),
    }
}

/// The encoding in an XML declaration, and the declaration's bytes.
pub(crate) fn declaration(head: &[u8]) -> Option<(String, usize)> {
    let text = head.strip_prefix(b"<?xml")?;
    let end = text.windows(2).position(|w| w == b"?>")?;
    let inside = std::str::from_utf8(text.get(..end)?).ok()?;
    let value = (inside.split_once("encoding"))
        .map(|(_, rest)| rest.trim_start().trim_start_matches('=').trim_start());
    let name = value.and_then(|v| {
        let quote = v.chars().next().filter(|c| *c == '"' || *c == '\'')?;
        v.get(1..)?.split(quote).next()
    });
    Some((name.unwrap_or_default().to_owned(), 5 + end + 2))
}

/// An encoding by name; `None` for UTF-8 and for UTF-16, which is already decoded.
pub(crate) fn encoding_named(name: &str) -> Result<Option<&'static Encoding>, String> {
    if name.is_empty() {
        return Ok(None);
    }
    let known = Encoding::for_label(name.as_bytes());
    let known = known.ok_or_else(|| name.chars().take(40).collect::<String>())?;
    // Files declared as ASCII nearly always are UTF-8 or Windows-1252.
    let is_ascii = name.eq_ignore_ascii_case("us-ascii") || name.eq_ignore_ascii_case("ascii");
    let is_utf = [UTF_8, UTF_16LE, UTF_16BE].contains(&known);
    Ok((!is_utf && !is_ascii).then_some(known))
}

/// A reader's text as UTF-8.
pub(crate) struct Decoded {
    inner: Box<dyn BufRead>,
    decoder: Decoder,
    out: Vec<u8>,
    at: usize,
    is_done: bool,
}

impl Decoded {
    pub fn new(inner: Box<dyn BufRead>, encoding: &'static Encoding) -> Decoded {
        Decoded {
            inner,
            decoder: encoding.new_decoder(),
            out: Vec::new(),
            at: 0,
            is_done: false,
        }
    }
}

impl Read for Decoded {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.out.len() && !self.is_done {
            let input = self.inner.fill_buf()?;
            let is_last = input.is_empty();
            self.out.resize(16 << 10, 0);
            let (result, read, written) =
                (self.decoder).decode_to_utf8_without_replacement(input, &mut self.out, is_last);
            self.inner.consume(read);
            self.out.truncate(written);
            self.at = 0;
            match result {
                DecoderResult::Malformed(..) => {
                    let name = self.decoder.encoding().name();
                    return Err(std::io::Error::other(format!("the text is not {name}")));
                }
                DecoderResult::InputEmpty => self.is_done = is_last,
                DecoderResult::OutputFull => {}
            }
        }
        let rest = self.out.get(self.at..).unwrap_or_default();
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        self.at += length;
        Ok(length)
    }
}

/// A line or field as text: UTF-8, or Windows-1252 if no non-ASCII part of it is valid UTF-8; `others` counts the
/// latter.
pub(crate) fn text_of<'t>(
    bytes: &'t [u8],
    others: &mut usize,
) -> Result<Cow<'t, str>, &'static str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok(Cow::Borrowed(text));
    }
    let is_mixed = bytes.utf8_chunks().any(|chunk| !chunk.valid().is_ascii());
    // The five bytes undefined in Windows-1252, and control characters.
    let is_other = (bytes.iter()).any(|b| {
        [0x81, 0x8d, 0x8f, 0x90, 0x9d].contains(b) || *b < 9 || *b == 0x7f || (14..32).contains(b)
    });
    if is_mixed || is_other {
        return Err("the text is not UTF-8");
    }
    *others += 1;
    Ok(encoding_rs::WINDOWS_1252
        .decode_without_bom_handling(bytes)
        .0)
}
