//! How much memory there is and how much was taken, where the system says.

use std::path::Path;

use anyhow::{Result, bail};
use bytesize::ByteSize;
use engram_model::Model;
use engram_patch::Memory;

/// What the system has, where it does not say what is free.
const UNKNOWN: u64 = 4 << 30;

/// The memory that a sweep may take beside what stands now, when the model is read: what was asked for, or half of what is
/// free on top of what stands.
pub fn allowed(asked: Option<ByteSize>, model: &Model) -> Memory {
    let weights = || 4 * model.shape().parameters as u64;
    let standing = field("/proc/self/status", "RssAnon:").unwrap_or_else(weights);
    let free = || standing + free() / 2;
    Memory {
        allowed: asked.map_or_else(free, |a| a.as_u64()),
        standing,
    }
}

/// Refuses a checkpoint whose weights alone take more than what was asked for, before they are read. What else is wrong
/// with it is said by who reads it.
///
/// # Errors
/// That.
pub fn holds(asked: Option<ByteSize>, checkpoint: &Path) -> Result<()> {
    let Some(asked) = asked else { return Ok(()) };
    let weights = Model::bytes_of(checkpoint).unwrap_or(0);
    if weights > asked.as_u64() {
        bail!(
            "{}: its weights alone take {} of memory, {asked} are allowed (--memory)",
            checkpoint.display(),
            ByteSize::mib(weights.div_ceil(1 << 20))
        );
    }
    Ok(())
}

fn free() -> u64 {
    field("/proc/meminfo", "MemAvailable:").unwrap_or(UNKNOWN)
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
