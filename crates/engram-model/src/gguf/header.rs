//! The header: version, metadata, tensor table. Every claimed size is checked against the file's length before anything
//! is allocated.

use std::ops::Range;
use std::path::Path;

use indexmap::IndexMap;

use super::types::TensorType;
use super::value::{Kind, MetadataArray, MetadataValue};
use crate::bytes::Bytes;
use crate::error::{ModelError, Result, shown};

const MAGIC: &[u8] = b"GGUF";
/// Alignment if the header has none.
const DEFAULT_ALIGNMENT: usize = 32;
const ALIGNMENT: &str = "general.alignment";
/// Minimum size of a metadata entry: length of its key, type, one byte of value.
const LEAST_ENTRY: usize = 8 + 4 + 1;
/// Minimum size of a tensor's entry: length of its name, number of dimensions, type, offset.
const LEAST_TENSOR: usize = 8 + 4 + 4 + 8;
/// Maximum number of dimensions in the format.
const MOST_DIMENSIONS: u32 = 4;
/// Maximum nesting of arrays; the format has no limit, and models need one level.
const MOST_NESTING: usize = 4;
/// Bytes read first. A header with a vocabulary has a few megabytes.
const FIRST_READ: usize = 1 << 20;
/// Maximum size of a header; the format has no limit, and a vocabulary of a million tokens takes a tenth of this.
const MOST_HEADER: usize = 1 << 28;

/// A tensor of the file.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    /// Its shape, row-major: the file's dimensions in reverse order, as in the transformers library.
    pub shape: Vec<usize>,
    /// How its elements are stored.
    pub kind: &'static TensorType,
    /// Its bytes in its file.
    pub bytes: Range<usize>,
    /// Index of its file in [`super::Gguf::files`].
    pub part: usize,
}

#[derive(Debug)]
pub(super) struct Header {
    pub version: u32,
    pub metadata: IndexMap<String, MetadataValue>,
    pub tensors: IndexMap<String, TensorInfo>,
}

/// Reads and checks a file's header. Returns it with the bytes that it was read from, which hold the arrays.
pub(super) fn read(file: &Bytes) -> Result<(Header, Vec<u8>)> {
    let mut buffer = Vec::new();
    let mut size = FIRST_READ.min(file.len());
    loop {
        let head = file.read(0..size, &mut buffer)?;
        let mut cursor = Cursor {
            bytes: head,
            length: file.len(),
            path: file.path(),
            at: 0,
            wanted: 0,
            part: "the opening".to_owned(),
        };
        let header = cursor.header();
        if cursor.wanted <= size {
            let header = header?;
            return Ok((header, head[..cursor.at].to_vec()));
        }
        if cursor.wanted > MOST_HEADER {
            let part = &cursor.part;
            return Err(cursor.damaged(format!(
                "{part} goes beyond byte {MOST_HEADER}, and no header is so long"
            )));
        }
        size = (4 * size).max(cursor.wanted).min(file.len());
    }
}

/// A reading position in the file; errors name the part being read.
struct Cursor<'a> {
    /// The file's first bytes.
    bytes: &'a [u8],
    /// The file's length.
    length: usize,
    path: &'a Path,
    at: usize,
    /// End of a requested range that is in the file but beyond `bytes`; the error that reports it is not an error of
    /// the file.
    wanted: usize,
    part: String,
}

impl<'a> Cursor<'a> {
    fn damaged(&self, why: String) -> ModelError {
        ModelError::Gguf {
            path: self.path.to_owned(),
            at: self.at,
            why,
        }
    }

    fn unread(&self, why: String) -> ModelError {
        let path = self.path.to_owned();
        ModelError::GgufKind { path, why }
    }

    fn header(&mut self) -> Result<Header> {
        let version = self.opening()?;
        let tensors = self.count("tensors", LEAST_TENSOR)?;
        let entries = self.count("metadata entries", LEAST_ENTRY)?;
        let metadata = self.metadata(entries)?;
        let alignment = self.alignment(metadata.get(ALIGNMENT))?;
        let tensors = self.tensors(tensors, alignment)?;
        Ok(Header {
            version,
            metadata,
            tensors,
        })
    }

    /// The next bytes, if the file has that many.
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let left = self.length - self.at;
        if length > left {
            return Err(self.damaged(format!(
                "{} needs {length} bytes, and {left} are left of the file",
                self.part
            )));
        }
        let end = self.at + length;
        let Some(taken) = self.bytes.get(self.at..end) else {
            self.wanted = end;
            return Err(self.damaged(format!("{} is not read yet", self.part)));
        };
        self.at = end;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32> {
        let bytes = self.take(4)?;
        Ok(bytes.iter().rev().fold(0, |v, &b| v << 8 | u32::from(b)))
    }

    /// A length, count or offset. A number beyond the address space becomes the largest one, which is beyond any file
    /// as well.
    fn size(&mut self) -> Result<usize> {
        let bytes = self.take(8)?;
        let value = bytes.iter().rev().fold(0, |v, &b| v << 8 | u64::from(b));
        Ok(usize::try_from(value).unwrap_or(usize::MAX))
    }

    fn text(&mut self) -> Result<&'a str> {
        let length = self.size()?;
        let at = self.at;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|e| {
            self.at = at + e.valid_up_to();
            self.damaged(format!("{} holds text that is not UTF-8", self.part))
        })
    }

    /// A key or a tensor's name.
    fn name(&mut self) -> Result<&'a str> {
        let name = self.text()?;
        if name.is_empty() {
            return Err(self.damaged(format!("{} has no name", self.part)));
        }
        Ok(name)
    }

    fn opening(&mut self) -> Result<u32> {
        let magic = self.take(MAGIC.len())?;
        if magic != MAGIC {
            self.at = 0;
            let found = magic.escape_ascii();
            return Err(self.damaged(format!("it begins with \"{found}\", not with \"GGUF\"")));
        }
        match self.u32()? {
            version @ (2 | 3) => Ok(version),
            version if matches!(version.swap_bytes(), 1..=0xffff) => Err(self.unread(
                "a big-endian GGUF file; engram reads little-endian ones: convert it without --bigendian"
                    .to_owned(),
            )),
            version => Err(self.unread(format!(
                "version {version} of GGUF; engram reads 2 and 3: convert the model again with a current llama.cpp"
            ))),
        }
    }

    /// A count of items that take at least `least` bytes each.
    fn count(&mut self, of: &str, least: usize) -> Result<usize> {
        let count = self.size()?;
        let room = (self.length - self.at) / least;
        if count > room {
            return Err(self.damaged(format!(
                "{} claims {count} {of}, and the file has room for {room} at most",
                self.part
            )));
        }
        Ok(count)
    }

    fn metadata(&mut self, entries: usize) -> Result<IndexMap<String, MetadataValue>> {
        let mut metadata = IndexMap::new();
        for index in 0..entries {
            self.part = format!("metadata entry {index}");
            let start = self.at;
            let key = self.name()?;
            self.part = format!("metadata {}", shown(key));
            let kind = self.kind()?;
            let value = self.value(kind)?;
            if metadata.insert(key.to_owned(), value).is_some() {
                self.at = start;
                return Err(self.damaged(format!("{} occurs twice", self.part)));
            }
        }
        Ok(metadata)
    }

    fn kind(&mut self) -> Result<Kind> {
        let number = self.u32()?;
        Kind::numbered(number).ok_or_else(|| {
            self.damaged(format!(
                "{} is of type {number}, which the format does not have",
                self.part
            ))
        })
    }

    fn value(&mut self, kind: Kind) -> Result<MetadataValue> {
        match (kind, kind.width()) {
            (Kind::Array, _) => Ok(MetadataValue::Array(self.array(1)?)),
            (_, Some(width)) => {
                let bytes = self.take(width)?;
                kind.number(bytes).ok_or_else(|| {
                    self.damaged(format!(
                        "{} is a bool and holds {}, not 0 or 1",
                        self.part, bytes[0]
                    ))
                })
            }
            _ => Ok(MetadataValue::String(self.text()?.to_owned())),
        }
    }

    /// Skips an array without allocating it.
    fn array(&mut self, depth: usize) -> Result<MetadataArray> {
        if depth > MOST_NESTING {
            return Err(self.damaged(format!(
                "{} holds arrays within arrays, more than {MOST_NESTING} deep",
                self.part
            )));
        }
        let of = self.kind()?;
        // A string takes at least its length field, an array its type and length.
        let least = of.width().unwrap_or(match of {
            Kind::Array => 4 + 8,
            _ => 8,
        });
        let length = self.count(of.name(), least)?;
        let start = self.at;
        match (of, of.width()) {
            (_, Some(width)) => {
                self.take(length * width)?;
            }
            (Kind::Array, _) => {
                for _ in 0..length {
                    self.array(depth + 1)?;
                }
            }
            _ => {
                for _ in 0..length {
                    let length = self.size()?;
                    self.take(length)?;
                }
            }
        }
        let bytes = start..self.at;
        Ok(MetadataArray { of, length, bytes })
    }

    fn alignment(&self, value: Option<&MetadataValue>) -> Result<usize> {
        let alignment = match value {
            None => return Ok(DEFAULT_ALIGNMENT),
            Some(MetadataValue::Unsigned(v)) => usize::try_from(*v).unwrap_or(0),
            Some(_) => 0,
        };
        if !alignment.is_power_of_two() {
            let found = value.map_or_else(String::new, MetadataValue::to_string);
            return Err(self.damaged(format!(
                "metadata {ALIGNMENT} is {found}, which is no power of two"
            )));
        }
        Ok(alignment)
    }

    fn tensors(&mut self, count: usize, alignment: usize) -> Result<IndexMap<String, TensorInfo>> {
        let mut tensors = IndexMap::new();
        for index in 0..count {
            self.part = format!("the table's tensor {index}");
            let start = self.at;
            let name = self.name()?;
            self.part = format!("tensor {}", shown(name));
            let tensor = self.tensor(alignment)?;
            if tensors.insert(name.to_owned(), tensor).is_some() {
                self.at = start;
                return Err(self.damaged(format!("{} is in the table twice", self.part)));
            }
        }
        self.place(&mut tensors, alignment)?;
        Ok(tensors)
    }

    /// A tensor entry. Its offset is relative to the start of the data, which is known after the table.
    fn tensor(&mut self, alignment: usize) -> Result<TensorInfo> {
        let dimensions = self.u32()?;
        if dimensions > MOST_DIMENSIONS {
            return Err(self.damaged(format!(
                "{} has {dimensions} dimensions; the format allows {MOST_DIMENSIONS}",
                self.part
            )));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(self.size()?);
        }
        shape.reverse();
        let number = self.u32()?;
        let kind = TensorType::numbered(number).ok_or_else(|| {
            self.unread(format!(
                "{} is of type {number}, which engram does not know; it reads {}",
                self.part,
                TensorType::readable()
            ))
        })?;
        let length = self.length(&shape, kind)?;
        let offset = self.size()?;
        if offset % alignment != 0 {
            return Err(self.damaged(format!(
                "{} is at {offset}, which is not a multiple of the alignment {alignment}",
                self.part
            )));
        }
        Ok(TensorInfo {
            shape,
            kind,
            // A saturated sum is beyond any file, which `place` detects.
            bytes: offset..offset.saturating_add(length),
            part: 0,
        })
    }

    /// Number of bytes of a tensor.
    fn length(&self, shape: &[usize], kind: &TensorType) -> Result<usize> {
        let part = &self.part;
        let row = shape.last().copied().unwrap_or(1);
        if shape.contains(&0) {
            return Err(self.damaged(format!("{part} has shape {shape:?}, with no element")));
        }
        if row % kind.elements != 0 {
            return Err(self.damaged(format!(
                "{part} has rows of {row} elements, and {} stores blocks of {}",
                kind.name, kind.elements
            )));
        }
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let bytes = elements.and_then(|n| (n / kind.elements).checked_mul(kind.bytes));
        bytes.ok_or_else(|| {
            self.damaged(format!(
                "{part} has shape {shape:?}, too large for any file"
            ))
        })
    }

    /// Converts the tensors' offsets to offsets from the start of the file, and checks them against its end and each
    /// other.
    fn place(
        &mut self,
        tensors: &mut IndexMap<String, TensorInfo>,
        alignment: usize,
    ) -> Result<()> {
        let data = self.at.checked_next_multiple_of(alignment);
        let data = data.unwrap_or(usize::MAX);
        for (name, tensor) in tensors.iter_mut() {
            let Range { start, end } = &mut tensor.bytes;
            *start = start.saturating_add(data);
            *end = end.saturating_add(data);
            if *end > self.length {
                let (end, has) = (*end, self.length);
                return Err(self.damaged(format!(
                    "tensor {} ends at byte {end}, and the file has {has}: it is cut off",
                    shown(name)
                )));
            }
        }
        let mut order: Vec<_> = tensors.iter().map(|(n, t)| (&t.bytes, n)).collect();
        order.sort_by_key(|(bytes, _)| bytes.start);
        for pair in order.windows(2) {
            let ((a, name), (b, other)) = (pair[0], pair[1]);
            if a.end > b.start {
                self.at = b.start;
                return Err(self.damaged(format!(
                    "tensors {} and {} overlap",
                    shown(name),
                    shown(other)
                )));
            }
        }
        Ok(())
    }
}
