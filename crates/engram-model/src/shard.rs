//! Safetensors: one file of tensors, of a checkpoint the whole or a part. Nothing that the file says is believed
//! unchecked.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::bytes::Bytes;
use crate::error::{ModelError, Result, shown};

/// The format's bound on the header.
const MOST_HEADER: u64 = 100_000_000;
/// Elements that one task converts.
const CHUNK: usize = 1 << 16;

/// An open file of safetensors. Tensors are read from the disk when they are asked for.
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    bytes: Bytes,
    /// Where the tensors' bytes begin.
    start: usize,
    header: Metadata,
}

impl Shard {
    /// Opens a file and checks its header. The file must not be cut short while it is open.
    ///
    /// # Errors
    /// [`ModelError::Io`], [`ModelError::Weights`].
    pub fn open(path: &Path) -> Result<Shard> {
        Shard::new(path.to_owned(), Bytes::open(path)?)
    }

    /// A file whose bytes are in memory; errors name it "(bytes)".
    ///
    /// # Errors
    /// [`ModelError::Weights`].
    pub fn parse(bytes: Vec<u8>) -> Result<Shard> {
        Shard::new(PathBuf::from("(bytes)"), Bytes::Held(bytes))
    }

    fn new(path: PathBuf, bytes: Bytes) -> Result<Shard> {
        match header(&bytes) {
            Ok((start, header)) => Ok(Shard {
                path,
                bytes,
                start,
                header,
            }),
            Err(why) => Err(ModelError::Weights { path, why }),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors' names, in the file's order.
    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// A tensor's shape.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.header.info(name).map(|info| info.shape.as_slice())
    }

    /// A tensor's elements in float32, row-major, checked for NaN and infinity.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`], [`ModelError::Dtype`], [`ModelError::NotFinite`].
    pub fn tensor(&self, name: &str) -> Result<Vec<f32>> {
        let info = self.header.info(name);
        let info = info.ok_or_else(|| ModelError::MissingTensor {
            path: self.path.clone(),
            name: shown(name),
        })?;
        let data = self.data(info);
        let pair = |b: &[u8]| [b[0], b[1]];
        let values = match info.dtype {
            Dtype::F32 => converted(data, 4, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            Dtype::F16 => converted(data, 2, |b| half::f16::from_le_bytes(pair(b)).to_f32()),
            Dtype::BF16 => converted(data, 2, |b| half::bf16::from_le_bytes(pair(b)).to_f32()),
            other => {
                return Err(ModelError::Dtype {
                    path: self.path.clone(),
                    name: shown(name),
                    found: other.to_string(),
                });
            }
        };
        match values.par_iter().position_first(|v| !v.is_finite()) {
            Some(element) => Err(ModelError::NotFinite {
                path: self.path.clone(),
                name: shown(name),
                value: values[element],
                element,
            }),
            None => Ok(values),
        }
    }

    fn data(&self, info: &TensorInfo) -> &[u8] {
        let (from, to) = info.data_offsets;
        &self.bytes[self.start + from..self.start + to]
    }
}

/// Where the tensors' bytes begin, and the table of tensors: of offsets that follow each other, each as long as type
/// and shape say, up to the end of the file.
fn header(file: &[u8]) -> std::result::Result<(usize, Metadata), String> {
    let Some((length, rest)) = file.split_first_chunk() else {
        return Err(format!(
            "it has {} bytes; the length of its header takes 8",
            file.len()
        ));
    };
    let claimed = u64::from_le_bytes(*length);
    let length = usize::try_from(claimed).unwrap_or(usize::MAX);
    let Some((text, data)) = rest.split_at_checked(length) else {
        return Err(format!(
            "its header claims {claimed} bytes, and {} are left of the file",
            rest.len()
        ));
    };
    if claimed > MOST_HEADER {
        return Err(format!(
            "its header claims {claimed} bytes; the format allows {MOST_HEADER}"
        ));
    }
    let header: Metadata = serde_json::from_slice(text)
        .map_err(|e| format!("its header: {}", shown(&e.to_string())))?;
    let (end, has) = (header.data_len(), data.len());
    match end.cmp(&has) {
        std::cmp::Ordering::Equal => Ok((file.len() - has, header)),
        std::cmp::Ordering::Greater => Err(format!(
            "its tensors take {end} bytes, and the file has {has}: it is cut off"
        )),
        std::cmp::Ordering::Less => Err(format!(
            "its tensors take {end} bytes, and the file has {has}: some are of no tensor"
        )),
    }
}

fn converted(data: &[u8], size: usize, value: impl Fn(&[u8]) -> f32 + Sync) -> Vec<f32> {
    let mut values = vec![0f32; data.len() / size];
    values
        .par_chunks_mut(CHUNK)
        .zip(data.par_chunks(CHUNK * size))
        .for_each(|(values, data)| {
            for (v, bytes) in values.iter_mut().zip(data.chunks_exact(size)) {
                *v = value(bytes);
            }
        });
    values
}
