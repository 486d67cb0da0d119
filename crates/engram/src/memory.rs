//! How much memory there is and how much was taken, where the system says.

use bytesize::ByteSize;

/// Allowed where the system does not say what is free.
const UNKNOWN: u64 = 4 << 30;

/// The memory allowed: half of what is free, where nothing is said.
pub fn allowed(asked: Option<ByteSize>) -> u64 {
    let free = || field("/proc/meminfo", "MemAvailable:").map_or(UNKNOWN, |free| free / 2);
    asked.map_or_else(free, |a| a.as_u64())
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
