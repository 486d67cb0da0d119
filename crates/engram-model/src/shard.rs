//! A safetensors file: a whole checkpoint or a shard. Everything that the file claims is checked.

use std::path::Path;

use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::bytes::Bytes;
use crate::error::{ModelError, Result, shown};

/// Maximum size of a header in the format.
const MOST_HEADER: u64 = 100_000_000;

/// An open safetensors file. Tensors are read from disk on demand.
#[derive(Debug)]
pub struct Shard {
    bytes: Bytes,
    /// Offset of the tensors' bytes.
    start: usize,
    header: Metadata,
}

impl Shard {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// [`ModelError::Io`] and [`ModelError::CutShort`] if reading fails; [`ModelError::Weights`] for a damaged header.
    pub fn open(path: &Path) -> Result<Shard> {
        Shard::new(Bytes::open(path)?)
    }

    /// Parses a file in memory; errors name it "(bytes)".
    ///
    /// # Errors
    /// [`ModelError::Weights`] for a damaged header.
    pub fn parse(bytes: Vec<u8>) -> Result<Shard> {
        Shard::new(Bytes::held(bytes))
    }

    fn new(bytes: Bytes) -> Result<Shard> {
        let (start, header) = header(&bytes)?;
        Ok(Shard {
            bytes,
            start,
            header,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.bytes.path()
    }

    /// The tensors' names, in the file's order.
    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// A tensor's shape.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.header.info(name).map(|info| info.shape.as_slice())
    }

    /// A tensor's elements in float32, row-major, checked to be finite.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] if there is none of this name; [`ModelError::Dtype`] for an unsupported type;
    /// [`ModelError::NotFinite`] for NaN or infinity; [`ModelError::CutShort`] if the file was truncated.
    pub fn tensor(&self, name: &str) -> Result<Vec<f32>> {
        let path = || self.path().to_owned();
        let info = self.header.info(name);
        let info = info.ok_or_else(|| ModelError::MissingTensor {
            path: path(),
            name: shown(name),
        })?;
        let values = match info.dtype {
            Dtype::F32 => self.converted(info, f32::from_le_bytes),
            Dtype::F16 => self.converted(info, |b| half::f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => self.converted(info, |b| half::bf16::from_le_bytes(b).to_f32()),
            other => {
                return Err(ModelError::Dtype {
                    path: path(),
                    name: shown(name),
                    found: other.to_string(),
                });
            }
        }?;
        match values.par_iter().position_first(|v| !v.is_finite()) {
            Some(element) => Err(ModelError::NotFinite {
                path: path(),
                name: shown(name),
                value: values[element],
                element,
            }),
            None => Ok(values),
        }
    }

    /// Converts elements of `N` bytes each.
    fn converted<const N: usize>(
        &self,
        info: &TensorInfo,
        value: impl Fn([u8; N]) -> f32 + Sync,
    ) -> Result<Vec<f32>> {
        let (from, to) = info.data_offsets;
        let range = self.start + from..self.start + to;
        self.bytes.decoded(range, (1, N), |data, values| {
            for (v, bytes) in values.iter_mut().zip(data.as_chunks::<N>().0) {
                *v = value(*bytes);
            }
        })
    }
}

/// Offset of the tensors' bytes, and the table of tensors. Offsets must be contiguous, fit type and shape, and end at
/// the end of the file.
fn header(file: &Bytes) -> Result<(usize, Metadata)> {
    let wrong = |why: String| ModelError::Weights {
        path: file.path().to_owned(),
        why,
    };
    let mut buffer = Vec::new();
    let opening = file.read(0..file.len().min(8), &mut buffer)?;
    let Ok(length) = opening.try_into() else {
        let has = file.len();
        let why = format!("it has {has} bytes; the length of its header takes 8");
        return Err(wrong(why));
    };
    let (claimed, left) = (u64::from_le_bytes(length), file.len() - 8);
    let length = usize::try_from(claimed).unwrap_or(usize::MAX);
    if length > left {
        return Err(wrong(format!(
            "its header claims {claimed} bytes, and {left} are left of the file"
        )));
    }
    if claimed > MOST_HEADER {
        return Err(wrong(format!(
            "its header claims {claimed} bytes; the format allows {MOST_HEADER}"
        )));
    }
    let text = file.read(8..8 + length, &mut buffer)?;
    let header: Metadata = serde_json::from_slice(text)
        .map_err(|e| wrong(format!("its header: {}", shown(&e.to_string()))))?;
    let (end, has) = (header.data_len(), left - length);
    match end.cmp(&has) {
        std::cmp::Ordering::Equal => Ok((8 + length, header)),
        std::cmp::Ordering::Greater => Err(wrong(format!(
            "its tensors take {end} bytes, and the file has {has}: it is cut off"
        ))),
        std::cmp::Ordering::Less => Err(wrong(format!(
            "its tensors take {end} bytes, and the file has {has}: some are of no tensor"
        ))),
    }
}
