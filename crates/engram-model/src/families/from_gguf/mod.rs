//! Converts GGUF metadata and tensors to the configuration and tensors of a family.
//!
//! llama.cpp has names and layouts of its own. They are converted here, so that a family reads a GGUF file like any
//! other checkpoint.

mod config;
mod tensors;

use std::path::Path;
use std::sync::Arc;

use super::{Family, of};
use crate::error::{ModelError, Result};
use crate::gguf::Gguf;

pub use tensors::parameters;

/// Opens a GGUF file as a model of a family.
///
/// # Errors
/// As [`Gguf::open`]; [`ModelError::GgufKind`] for an unsupported architecture; [`ModelError::Config`] for metadata
/// that do not describe a model.
pub fn open(path: &Path) -> Result<(Gguf, Arc<dyn Family>)> {
    let file = Gguf::open(path)?;
    let family = family(&file)?;
    Ok((file, family))
}

/// The family and configuration described by a file's metadata.
///
/// # Errors
/// As [`open`].
pub fn family(file: &Gguf) -> Result<Arc<dyn Family>> {
    of(config::config(file)?).map_err(|why| ModelError::Config {
        path: file.path().to_owned(),
        why,
    })
}

/// The only tensor that is not a parameter: Llama 3's rotary frequencies are divided by it.
const ROPE_FACTORS: &str = "rope_freqs.weight";
