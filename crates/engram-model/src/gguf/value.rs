//! Metadata values.

use std::fmt;
use std::ops::Range;

/// A metadata value. Numbers are widened; arrays stay in the file until they are read.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum MetadataValue {
    /// An unsigned integer of any width.
    Unsigned(u64),
    /// A signed integer of any width.
    Signed(i64),
    /// float32 or float64.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    String(String),
    /// An array.
    Array(MetadataArray),
}

/// The place of an array in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataArray {
    /// The type of its elements.
    pub of: Kind,
    /// The number of its elements.
    pub length: usize,
    pub(super) bytes: Range<usize>,
}

impl fmt::Display for MetadataValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetadataValue::Unsigned(v) => write!(f, "{v}"),
            MetadataValue::Signed(v) => write!(f, "{v}"),
            MetadataValue::Float(v) => write!(f, "{v}"),
            MetadataValue::Bool(v) => write!(f, "{v}"),
            MetadataValue::String(v) => write!(f, "\"{}\"", crate::error::shown(v)),
            MetadataValue::Array(a) => write!(f, "an array of {} {}", a.length, a.of.name()),
        }
    }
}

/// A type of metadata values, as the format numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the format's")]
pub enum Kind {
    Uint8,
    Int8,
    Uint16,
    Int16,
    Uint32,
    Int32,
    Float32,
    Bool,
    String,
    Array,
    Uint64,
    Int64,
    Float64,
}

/// The kinds in the format's order, with their names and, if fixed, the bytes of a value.
const KINDS: [(Kind, &str, Option<usize>); 13] = [
    (Kind::Uint8, "uint8", Some(1)),
    (Kind::Int8, "int8", Some(1)),
    (Kind::Uint16, "uint16", Some(2)),
    (Kind::Int16, "int16", Some(2)),
    (Kind::Uint32, "uint32", Some(4)),
    (Kind::Int32, "int32", Some(4)),
    (Kind::Float32, "float32", Some(4)),
    (Kind::Bool, "bool", Some(1)),
    (Kind::String, "string", None),
    (Kind::Array, "array", None),
    (Kind::Uint64, "uint64", Some(8)),
    (Kind::Int64, "int64", Some(8)),
    (Kind::Float64, "float64", Some(8)),
];

impl Kind {
    pub(super) fn numbered(number: u32) -> Option<Kind> {
        KINDS.get(number as usize).map(|row| row.0)
    }

    /// The format's name for it.
    pub fn name(self) -> &'static str {
        KINDS[self as usize].1
    }

    /// Bytes of a value, if fixed.
    pub(super) fn width(self) -> Option<usize> {
        KINDS[self as usize].2
    }

    /// A value of fixed width from its bytes; `None` for other kinds and widths, and for a boolean other than 0 and 1.
    pub(super) fn number(self, bytes: &[u8]) -> Option<MetadataValue> {
        macro_rules! read {
            ($t:ty) => {
                <$t>::from_le_bytes(bytes.try_into().ok()?)
            };
        }
        Some(match self {
            Kind::Uint8 => MetadataValue::Unsigned(read!(u8).into()),
            Kind::Int8 => MetadataValue::Signed(read!(i8).into()),
            Kind::Uint16 => MetadataValue::Unsigned(read!(u16).into()),
            Kind::Int16 => MetadataValue::Signed(read!(i16).into()),
            Kind::Uint32 => MetadataValue::Unsigned(read!(u32).into()),
            Kind::Int32 => MetadataValue::Signed(read!(i32).into()),
            Kind::Float32 => MetadataValue::Float(read!(f32).into()),
            Kind::Uint64 => MetadataValue::Unsigned(read!(u64)),
            Kind::Int64 => MetadataValue::Signed(read!(i64)),
            Kind::Float64 => MetadataValue::Float(read!(f64)),
            Kind::Bool => match bytes {
                [0] => MetadataValue::Bool(false),
                [1] => MetadataValue::Bool(true),
                _ => return None,
            },
            Kind::String | Kind::Array => return None,
        })
    }
}

/// A type that a metadata value can be read as.
pub trait FromMetadata<'a>: Sized {
    /// Its name in errors.
    const NAME: &'static str;

    /// The value, if it has this type; `file` is the content of the whole file, which holds the arrays.
    fn from_metadata(value: &'a MetadataValue, file: &'a [u8]) -> Option<Self>;
}

impl FromMetadata<'_> for u32 {
    const NAME: &'static str = "an integer from 0 to 4294967295";

    fn from_metadata(value: &MetadataValue, _: &[u8]) -> Option<u32> {
        match *value {
            MetadataValue::Unsigned(v) => v.try_into().ok(),
            MetadataValue::Signed(v) => v.try_into().ok(),
            _ => None,
        }
    }
}

impl FromMetadata<'_> for i32 {
    const NAME: &'static str = "an integer of 32 bits";

    fn from_metadata(value: &MetadataValue, _: &[u8]) -> Option<i32> {
        match *value {
            MetadataValue::Unsigned(v) => v.try_into().ok(),
            MetadataValue::Signed(v) => v.try_into().ok(),
            _ => None,
        }
    }
}

impl FromMetadata<'_> for f32 {
    const NAME: &'static str = "a number with a decimal point";

    fn from_metadata(value: &MetadataValue, _: &[u8]) -> Option<f32> {
        match *value {
            MetadataValue::Float(v) => Some(v as f32),
            _ => None,
        }
    }
}

impl FromMetadata<'_> for bool {
    const NAME: &'static str = "true or false";

    fn from_metadata(value: &MetadataValue, _: &[u8]) -> Option<bool> {
        match *value {
            MetadataValue::Bool(v) => Some(v),
            _ => None,
        }
    }
}

impl<'a> FromMetadata<'a> for &'a str {
    const NAME: &'static str = "a text";

    fn from_metadata(value: &'a MetadataValue, _: &'a [u8]) -> Option<&'a str> {
        match value {
            MetadataValue::String(v) => Some(v),
            _ => None,
        }
    }
}

/// The elements of an array of fixed width, each read as `T`.
fn elements<T: for<'v> FromMetadata<'v>>(value: &MetadataValue, file: &[u8]) -> Option<Vec<T>> {
    let MetadataValue::Array(MetadataArray { of, bytes, .. }) = value else {
        return None;
    };
    let bytes = file.get(bytes.clone())?;
    let element = |b| T::from_metadata(&of.number(b)?, file);
    bytes.chunks_exact(of.width()?).map(element).collect()
}

impl FromMetadata<'_> for Vec<u32> {
    const NAME: &'static str = "an array of integers from 0 to 4294967295";

    fn from_metadata(value: &MetadataValue, file: &[u8]) -> Option<Vec<u32>> {
        elements(value, file)
    }
}

impl FromMetadata<'_> for Vec<i32> {
    const NAME: &'static str = "an array of integers of 32 bits";

    fn from_metadata(value: &MetadataValue, file: &[u8]) -> Option<Vec<i32>> {
        elements(value, file)
    }
}

impl FromMetadata<'_> for Vec<f32> {
    const NAME: &'static str = "an array of numbers with a decimal point";

    fn from_metadata(value: &MetadataValue, file: &[u8]) -> Option<Vec<f32>> {
        elements(value, file)
    }
}

impl FromMetadata<'_> for Vec<bool> {
    const NAME: &'static str = "an array of true and false";

    fn from_metadata(value: &MetadataValue, file: &[u8]) -> Option<Vec<bool>> {
        elements(value, file)
    }
}

impl<'a> FromMetadata<'a> for Vec<&'a str> {
    const NAME: &'static str = "an array of texts in UTF-8";

    fn from_metadata(value: &'a MetadataValue, file: &'a [u8]) -> Option<Vec<&'a str>> {
        let MetadataValue::Array(MetadataArray { of, length, bytes }) = value else {
            return None;
        };
        let mut rest = file.get(bytes.clone()).filter(|_| *of == Kind::String)?;
        let mut texts = Vec::with_capacity(*length);
        while let Some((length, tail)) = rest.split_first_chunk() {
            let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
            let (text, tail) = tail.split_at_checked(length)?;
            texts.push(std::str::from_utf8(text).ok()?);
            rest = tail;
        }
        Some(texts)
    }
}
