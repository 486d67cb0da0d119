//! Free space of a disk.

use std::path::Path;

/// Free bytes on the disk that a path is on or will be on; `None` where the system does not say.
#[cfg(unix)]
pub fn free(path: &Path) -> Option<u64> {
    let here = std::path::absolute(path).ok()?;
    let there = here.ancestors().find(|p| p.exists())?;
    let found = rustix::fs::statvfs(there).ok()?;
    Some(found.f_bavail * found.f_frsize)
}

/// Free bytes on the disk that a path is on or will be on; `None` where the system does not say.
#[cfg(not(unix))]
pub fn free(_: &Path) -> Option<u64> {
    None
}
