//! What reading a corpus may take: bytes of a record, and bytes that a file of a size unpacks to.

use std::cell::Cell;
use std::io::Read;
use std::rc::Rc;

/// The most decompressed bytes that one record may have. A long abstract has some 10 kB; a file of one
/// endless line, or a gzip that unpacks to one, stops here.
pub const RECORD_LIMIT: usize = 16 << 20;

/// How many times its size a file may unpack to: ten is common, a thousand the most there is.
pub(crate) const BOMB_TIMES: u64 = 200;
/// Unpacked bytes below which no ratio counts.
const BOMB_FROM: u64 = 64 << 20;

/// The most bytes that a file of a size may unpack to.
pub(crate) fn most(size: u64) -> u64 {
    BOMB_FROM.max(size.saturating_mul(BOMB_TIMES))
}

/// Fails where more than [`RECORD_LIMIT`] bytes are read before the counter is set back.
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

/// Fails where the parts of a file unpack to more, all of them together, than any text does.
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

/// A file that unpacks without end.
#[derive(Debug, thiserror::Error)]
#[error("a file that unpacks without end")]
pub(crate) struct Unending;

/// A record that does not end.
#[derive(Debug, thiserror::Error)]
#[error("a record longer than any abstract")]
pub(crate) struct TooLong;

impl From<TooLong> for std::io::Error {
    fn from(error: TooLong) -> Self {
        std::io::Error::other(error)
    }
}

/// Whether a failing read means this.
pub(crate) fn is<E: std::error::Error + 'static>(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|e| e.is::<E>())
}
