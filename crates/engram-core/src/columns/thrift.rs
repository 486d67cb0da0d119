//! Thrift's compact protocol, as far as needed to walk a Parquet footer and page headers (apache/thrift,
//! `thrift-compact-protocol.md`).

/// Maximum nesting that is walked; Parquet's own structures have seven levels.
const DEPTH: usize = 32;

/// Why bytes are not a structure: they end early, or nest deeper than Parquet's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// More bytes are needed.
    Short,
    /// Not Thrift.
    Broken,
}

type Walk<T> = Result<T, Fault>;

/// Types of the compact protocol.
pub(super) mod kind {
    pub const TRUE: u8 = 1;
    pub const FALSE: u8 = 2;
    pub const BYTE: u8 = 3;
    pub const I16: u8 = 4;
    pub const I32: u8 = 5;
    pub const I64: u8 = 6;
    pub const DOUBLE: u8 = 7;
    pub const BINARY: u8 = 8;
    pub const LIST: u8 = 9;
    pub const SET: u8 = 10;
    pub const MAP: u8 = 11;
    pub const STRUCT: u8 = 12;
    pub const UUID: u8 = 13;
}

/// A byte slice and the reading position in it.
pub(super) struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    /// Number of structures in lists so far: what a reader allocates for.
    pub listed: usize,
}

impl<'a> Thrift<'a> {
    pub fn new(bytes: &'a [u8]) -> Thrift<'a> {
        Thrift {
            bytes,
            at: 0,
            depth: 0,
            listed: 0,
        }
    }

    /// Bytes read.
    pub fn at(&self) -> usize {
        self.at
    }

    pub fn take(&mut self, count: usize) -> Walk<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or(Fault::Short)?;
        let taken = self.bytes.get(self.at..end).ok_or(Fault::Short)?;
        self.at = end;
        Ok(taken)
    }

    pub fn byte(&mut self) -> Walk<u8> {
        Ok(self.take(1)?[0])
    }

    pub fn varint(&mut self) -> Walk<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Fault::Broken)
    }

    pub fn zigzag(&mut self) -> Walk<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Walks a structure. `field` gets each field's number and type and returns whether it has read the field;
    /// otherwise the field is skipped.
    pub fn structure(
        &mut self,
        mut field: impl FnMut(&mut Self, i64, u8) -> Walk<bool>,
    ) -> Walk<()> {
        self.deeper(|walk| {
            let mut number = 0;
            loop {
                let head = walk.byte()?;
                if head == 0 {
                    return Ok(());
                }
                number = match head >> 4 {
                    0 => walk.zigzag()?,
                    step => number + i64::from(step),
                };
                let of = head & 0x0f;
                if !field(walk, number, of)? {
                    walk.skip(of)?;
                }
            }
        })
    }

    /// The length of a list and the type of its elements.
    pub fn list(&mut self) -> Walk<(usize, u8)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            count => u64::from(count),
        };
        let count = usize::try_from(count).map_err(|_| Fault::Broken)?;
        if head & 0x0f == kind::STRUCT {
            self.listed = self.listed.saturating_add(count);
        }
        // An element takes at least a byte.
        match count > self.bytes.len() - self.at {
            true => Err(Fault::Short),
            false => Ok((count, head & 0x0f)),
        }
    }

    pub fn skip(&mut self, of: u8) -> Walk<()> {
        match of {
            kind::TRUE | kind::FALSE => Ok(()),
            kind::BYTE => self.byte().map(drop),
            kind::I16 | kind::I32 | kind::I64 => self.varint().map(drop),
            kind::DOUBLE => self.take(8).map(drop),
            kind::UUID => self.take(16).map(drop),
            kind::BINARY => {
                let count = self.varint()?;
                let count = usize::try_from(count).map_err(|_| Fault::Broken)?;
                self.take(count).map(drop)
            }
            kind::LIST | kind::SET => self.deeper(|walk| {
                let (count, of) = walk.list()?;
                (0..count).try_for_each(|_| walk.element(of))
            }),
            kind::MAP => self.deeper(|walk| {
                let count = walk.varint()?;
                if count == 0 {
                    return Ok(());
                }
                let types = walk.byte()?;
                for _ in 0..count {
                    walk.element(types >> 4)?;
                    walk.element(types & 0x0f)?;
                }
                Ok(())
            }),
            kind::STRUCT => self.structure(|_, _, _| Ok(false)),
            _ => Err(Fault::Broken),
        }
    }

    /// A flag takes a byte in a list, none as a field.
    fn element(&mut self, of: u8) -> Walk<()> {
        match of {
            kind::TRUE | kind::FALSE => self.byte().map(drop),
            of => self.skip(of),
        }
    }

    fn deeper<T>(&mut self, walk: impl FnOnce(&mut Self) -> Walk<T>) -> Walk<T> {
        if self.depth == DEPTH {
            return Err(Fault::Broken);
        }
        self.depth += 1;
        let found = walk(self);
        self.depth -= 1;
        found
    }
}
