//! A file's bytes, read on demand by position. Files are not mapped into memory: if one is truncated while it is open,
//! the result is an error that names it, not a signal that ends the process.

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::error::{ModelError, Result};

/// Where the bytes are.
#[derive(Debug)]
enum Source {
    File(File),
    Held(Vec<u8>),
}

/// The bytes of a whole file.
#[derive(Debug)]
pub(crate) struct Bytes {
    path: PathBuf,
    source: Source,
    length: usize,
}

impl Bytes {
    /// Opens a file on disk.
    ///
    /// # Errors
    /// [`ModelError::Io`] if it cannot be opened or is not a regular file.
    pub fn open(path: &Path) -> Result<Bytes> {
        let failed = |source| ModelError::Io {
            path: path.to_owned(),
            source,
        };
        // Checked before opening, because opening a pipe waits for its writer.
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(failed(Error::new(ErrorKind::InvalidInput, "not a file")));
        }
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok(Bytes {
            path: path.to_owned(),
            source: Source::File(file),
            length: usize::try_from(length).unwrap_or(usize::MAX),
        })
    }

    /// Bytes in memory; errors name them "(bytes)".
    pub fn held(bytes: Vec<u8>) -> Bytes {
        Bytes {
            path: PathBuf::from("(bytes)"),
            length: bytes.len(),
            source: Source::Held(bytes),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's length when it was opened.
    pub fn len(&self) -> usize {
        self.length
    }

    /// The bytes of a range. Those of a file are read into `buffer`.
    ///
    /// # Errors
    /// [`ModelError::CutShort`] if the file was truncated meanwhile; [`ModelError::Io`] if reading fails.
    pub fn read<'b>(&'b self, range: Range<usize>, buffer: &'b mut Vec<u8>) -> Result<&'b [u8]> {
        let cut_short = || ModelError::CutShort {
            path: self.path.clone(),
            from: range.start,
            to: range.end,
        };
        match &self.source {
            Source::Held(bytes) => bytes.get(range.clone()).ok_or_else(cut_short),
            Source::File(file) => {
                buffer.resize(range.len(), 0);
                match read_exact_at(file, buffer, range.start as u64) {
                    Ok(()) => Ok(buffer),
                    Err(e) if e.kind() == ErrorKind::UnexpectedEof => Err(cut_short()),
                    Err(source) => Err(ModelError::Io {
                        path: self.path.clone(),
                        source,
                    }),
                }
            }
        }
    }

    /// Decodes a range in parallel: each `bytes` bytes give `values` values. Each thread reuses one buffer.
    ///
    /// # Errors
    /// As [`Bytes::read`].
    pub fn decoded(
        &self,
        range: Range<usize>,
        (values, bytes): (usize, usize),
        decode: impl Fn(&[u8], &mut [f32]) + Sync,
    ) -> Result<Vec<f32>> {
        let mut out = vec![0f32; range.len() / bytes * values];
        let blocks = (TASK / values).max(1);
        out.par_chunks_mut(blocks * values)
            .enumerate()
            .try_for_each_init(Vec::new, |buffer, (task, out)| {
                let from = range.start + task * blocks * bytes;
                let length = out.len() / values * bytes;
                decode(self.read(from..from + length, buffer)?, out);
                Ok::<(), ModelError>(())
            })?;
        Ok(out)
    }
}

/// Elements of one task: a multiple of every tensor type's block, and small enough for a core's cache.
const TASK: usize = 1 << 16;

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, at)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut at: u64) -> std::io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, at) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buffer = &mut buffer[read..];
                at += read as u64;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
