//! How much memory there is and how much was taken, where the system says.

use std::path::Path;

use bytesize::ByteSize;
use engram_patch::Memory;

use crate::error::{Error, Result};

/// What the system has, where it does not say what is free.
const UNKNOWN: u64 = 4 << 30;

/// The memory that a sweep may take beside what stands now, when the model is read: the bytes that were asked for, or half
/// of what is free on top of what stands.
pub fn allowed(asked: Option<u64>, model: &engram_model::LanguageModel) -> Memory {
    let weights = || 4 * model.shape().parameters as u64;
    let standing = field("/proc/self/status", "RssAnon:").unwrap_or_else(weights);
    let free = || standing + free() / 2;
    Memory {
        allowed: asked.unwrap_or_else(free),
        standing,
    }
}

/// Refuses a checkpoint whose weights alone take more bytes than were asked for, before they are read. What else is wrong
/// with it is said by who reads it.
///
/// # Errors
/// [`Error::Weights`].
pub fn holds(asked: Option<u64>, checkpoint: &Path) -> Result<()> {
    let Some(asked) = asked else { return Ok(()) };
    let weights = engram_model::LanguageModel::bytes_of(checkpoint).unwrap_or(0);
    match weights > asked {
        true => Err(Error::Weights {
            path: checkpoint.to_owned(),
            needs: ByteSize::mib(weights.div_ceil(1 << 20)),
            allowed: ByteSize(asked),
        }),
        false => Ok(()),
    }
}

fn free() -> u64 {
    available().unwrap_or(UNKNOWN)
}

/// The bytes of memory that are available, where the system says.
pub fn available() -> Option<u64> {
    field("/proc/meminfo", "MemAvailable:")
}

/// The most bytes that this process has taken so far.
pub fn peak() -> Option<u64> {
    field("/proc/self/status", "VmHWM:")
}

/// A figure in kB of one of the kernel's tables, in bytes.
fn field(path: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib << 10)
}
