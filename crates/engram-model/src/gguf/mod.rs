//! GGUF, llama.cpp's file format: one file holds metadata, a tokenizer and tensors, most of them quantised. Versions 2
//! and 3, little-endian. Everything that a file claims is checked.

mod dequantise;
mod header;
mod rotary;
mod split;
mod tokenizer;
mod types;
mod value;

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

pub use header::TensorInfo;
pub use rotary::unpermute;
pub use types::TensorType;
pub use value::{FromMetadata, Kind, MetadataArray, MetadataValue};

use crate::bytes::Bytes;
use crate::error::{ModelError, Result, shown};
use crate::tokenizer::Tokenizer;

/// An open GGUF file, or all files of a split model. Tensors are read from disk on demand.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    /// The first file up to its tensors; arrays of metadata are read from it.
    head: Vec<u8>,
    header: header::Header,
    /// The files, in order.
    files: Vec<Bytes>,
}

impl Gguf {
    /// Opens a file and checks its header. For any part of a split model, all parts are opened from the same folder.
    ///
    /// # Errors
    /// [`ModelError::Io`] and [`ModelError::CutShort`] if reading fails; [`ModelError::Gguf`] for a damaged header;
    /// [`ModelError::GgufKind`] for an unsupported version, or if parts are missing.
    pub fn open(path: &Path) -> Result<Gguf> {
        split::whole(Gguf::new(Bytes::open(path)?)?)
    }

    /// Parses a file in memory; errors name it "(bytes)".
    ///
    /// # Errors
    /// [`ModelError::Gguf`] for a damaged header; [`ModelError::GgufKind`] for an unsupported version.
    pub fn parse(bytes: Vec<u8>) -> Result<Gguf> {
        Gguf::new(Bytes::held(bytes))
    }

    /// One file: a whole model, or a part of one.
    fn new(file: Bytes) -> Result<Gguf> {
        let (header, head) = header::read(&file)?;
        Ok(Gguf {
            path: file.path().to_owned(),
            head,
            header,
            files: vec![file],
        })
    }

    /// The files, in order; several for a split model.
    pub fn files(&self) -> Vec<PathBuf> {
        let paths = self.files.iter().map(|file| file.path().to_owned());
        paths.collect()
    }

    /// The file; of a split model the first.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format's version, 2 or 3.
    pub fn version(&self) -> u32 {
        self.header.version
    }

    /// All metadata, in the file's order.
    pub fn metadata(&self) -> &IndexMap<String, MetadataValue> {
        &self.header.metadata
    }

    /// A metadata value, if the file has it: `file.get::<f32>("llama.rope.freq_base")?`. Types are `u32`, `i32`, `f32`,
    /// `bool`, `&str`, and vectors of these.
    ///
    /// # Errors
    /// [`ModelError::MetadataType`] if it has another type.
    pub fn get<'a, T: FromMetadata<'a>>(&'a self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.header.metadata.get(key) else {
            return Ok(None);
        };
        let read = T::from_metadata(value, &self.head);
        read.map(Some).ok_or_else(|| ModelError::MetadataType {
            path: self.path.clone(),
            key: key.to_owned(),
            expected: T::NAME,
            found: value.to_string(),
        })
    }

    /// A required metadata value.
    ///
    /// # Errors
    /// As [`Gguf::get`]; [`ModelError::MissingMetadata`] if the file lacks the key.
    pub fn require<'a, T: FromMetadata<'a>>(&'a self, key: &str) -> Result<T> {
        let missing = || ModelError::MissingMetadata {
            path: self.path.clone(),
            key: key.to_owned(),
        };
        self.get(key)?.ok_or_else(missing)
    }

    /// Length of a metadata array, without reading it; `None` if the key is not an array.
    pub fn length(&self, key: &str) -> Option<usize> {
        match self.header.metadata.get(key)? {
            MetadataValue::Array(array) => Some(array.length),
            _ => None,
        }
    }

    /// All tensors by name, in the file's order.
    pub fn tensors(&self) -> &IndexMap<String, TensorInfo> {
        &self.header.tensors
    }

    /// A tensor's elements in float32, row-major, checked to be finite.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] if there is none of this name; [`ModelError::GgufKind`] for an unsupported type;
    /// [`ModelError::NotFinite`] for NaN or infinity; [`ModelError::CutShort`] if the file was truncated.
    pub fn tensor(&self, name: &str) -> Result<Vec<f32>> {
        let tensor = self.tensors().get(name);
        let tensor = tensor.ok_or_else(|| ModelError::MissingTensor {
            path: self.path.clone(),
            name: name.to_owned(),
        })?;
        let (kind, file) = (tensor.kind, &self.files[tensor.part]);
        let path = || file.path().to_owned();
        let decode = kind.decode.ok_or_else(|| ModelError::GgufKind {
            path: path(),
            why: format!(
                "tensor {} is {}; engram reads {}",
                shown(name),
                kind.name,
                TensorType::readable()
            ),
        })?;
        let block = (kind.elements, kind.bytes);
        let values = file.decoded(tensor.bytes.clone(), block, decode)?;
        match dequantise::not_finite(&values) {
            Some(element) => Err(ModelError::NotFinite {
                path: path(),
                name: shown(name),
                value: values[element],
                element,
            }),
            None => Ok(values),
        }
    }

    /// The tokenizer described by the metadata: byte-level BPE (`gpt2`) or SentencePiece BPE (`llama`), without special
    /// tokens added to texts.
    ///
    /// # Errors
    /// As [`Gguf::require`]; [`ModelError::Tokenizer`] for a kind that is not supported.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        tokenizer::build(self)
    }
}
