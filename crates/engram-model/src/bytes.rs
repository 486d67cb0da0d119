//! A file's bytes, read as they are asked for.

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{ModelError, Result};

/// The bytes of a whole file.
#[derive(Debug)]
pub(crate) enum Bytes {
    Mapped(Mmap),
    Held(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Held(bytes) => bytes,
        }
    }
}

impl Bytes {
    /// Those of a file, mapped into memory. It must not be cut short while it is open.
    ///
    /// # Errors
    /// [`ModelError::Io`].
    pub fn open(path: &Path) -> Result<Bytes> {
        let failed = |source| ModelError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(failed(Error::new(ErrorKind::InvalidInput, "not a file")));
        }
        // SAFETY: the map is read-only and private to this value. Whoever writes to the file meanwhile changes
        // what is read, which every reader checks; whoever cuts it short ends the process, as the docs say.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        Ok(Bytes::Mapped(map))
    }
}
