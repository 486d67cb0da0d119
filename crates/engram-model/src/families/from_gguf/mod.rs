//! GGUF's metadata and tensors as the configuration and the tensors of a family.
//!
//! llama.cpp names and orders things its own way. Here all of that is undone, so that a family's file reads a GGUF as
//! it reads any other checkpoint.

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
/// As [`Gguf::open`]; [`ModelError::GgufKind`] for an architecture that is not read, [`ModelError::Config`] for
/// metadata that describes no model.
pub fn open(path: &Path) -> Result<(Gguf, Arc<dyn Family>)> {
    let file = Gguf::open(path)?;
    let family = family(&file)?;
    Ok((file, family))
}

/// The family and configuration that a file's metadata amount to.
///
/// # Errors
/// As [`open`].
pub fn family(file: &Gguf) -> Result<Arc<dyn Family>> {
    of(config::config(file)?).map_err(|why| ModelError::Config {
        path: file.path().to_owned(),
        why,
    })
}

/// By this tensor Llama 3's frequencies of rotary embedding are divided; every other one is a parameter.
const ROPE_FACTORS: &str = "rope_freqs.weight";
