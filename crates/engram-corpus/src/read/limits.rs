//! Limits of reading a corpus: the size of a record, and the ratio of unpacked to packed size.

use std::cell::Cell;
use std::io::Read;
use std::rc::Rc;

/// Maximum size of a decompressed record in bytes. A long abstract has about 10 kB; a file of one endless line, or a
/// gzip that unpacks to one, stops here.
pub const RECORD_LIMIT: usize = 16 << 20;

/// Maximum ratio of unpacked to packed size: ten is common, a thousand is gzip's maximum.
pub(crate) const BOMB_TIMES: u64 = 200;
/// Unpacked size below which the ratio is not checked.
const BOMB_FROM: u64 = 64 << 20;

/// Maximum unpacked size of a file.
pub(crate) fn most(size: u64) -> u64 {
    BOMB_FROM.max(size.saturating_mul(BOMB_TIMES))
}

/// A reader that fails if more than [`RECORD_LIMIT`] bytes are read before the counter is reset.
pub(crate) struct Limited<R> {
    pub inner: R,
    pub since_record: Rc<Cell<usize>>,
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

/// A reader that fails if the parts of a file together unpack to more than the limit.
pub(crate) struct Unpacked<R> {
    pub inner: R,
    pub left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.get().checked_sub(read as u64) {
            Some(left) => self.left.set(left),
            None => return Err(std::io::Error::other(Unending)),
        }
        Ok(read)
    }
}

/// The file unpacks to more than the limit.
#[derive(Debug, thiserror::Error)]
#[error("a file that unpacks without end")]
pub(crate) struct Unending;

/// The record exceeds the limit.
#[derive(Debug, thiserror::Error)]
#[error("a record longer than any abstract")]
pub(crate) struct TooLong;

impl From<TooLong> for std::io::Error {
    fn from(error: TooLong) -> Self {
        std::io::Error::other(error)
    }
}

/// Whether a read failed with this error.
pub(crate) fn is<E: std::error::Error + 'static>(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|e| e.is::<E>())
}
