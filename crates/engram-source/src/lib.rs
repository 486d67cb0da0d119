//! A hash of a crate's code for its build script, so that results know what computed them.
//!
//! A crate whose code decides results has a build script of one line ([`tell`]) and a constant. Keys of stages and
//! journals hold the constants of the crates that computed them, so that work is redone where the code changed. The
//! hash is [`hash`]'s:
//!
//! ```text
//! fn main() { engram_source::tell(); }                     // build.rs
//! pub const SOURCE: &str = env!("ENGRAM_SOURCE");          // src/lib.rs
//! ```
//!
//! ```
//! use std::path::Path;
//!
//! let this_crate = engram_source::hash(Path::new("src"))?;
//! assert_eq!(this_crate, engram_source::hash(Path::new("src"))?);
//! # Ok::<(), std::io::Error>(())
//! ```

#![deny(clippy::expect_used, clippy::unwrap_used)]
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Tells the compiler the hash of the crate's `src/` as `ENGRAM_SOURCE`, anew where a file in it changed.
///
/// # Panics
/// Where `src/` cannot be read.
pub fn tell() {
    println!("cargo:rerun-if-changed=src");
    match hash(Path::new("src")) {
        Ok(hash) => println!("cargo:rustc-env=ENGRAM_SOURCE={hash:016x}"),
        Err(error) => panic!("cannot read src: {error}"),
    }
}

/// FNV-1a, 64 bits, of the files under a folder in the order of their paths: each one's path, length and bytes. Line ends of
/// Windows count as those of Unix.
///
/// # Errors
/// The file system's.
pub fn hash(folder: &Path) -> io::Result<u64> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for file in &files {
        let name = file.strip_prefix(folder).unwrap_or(file);
        let parts: Vec<_> = name.iter().map(|part| part.to_string_lossy()).collect();
        let mut bytes = fs::read(file)?;
        bytes.retain(|byte| *byte != b'\r');
        add(parts.join("/").as_bytes());
        add(&(bytes.len() as u64).to_le_bytes());
        add(&bytes);
    }
    Ok(hash)
}

fn list(folder: &Path, to: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => list(&path, to)?,
            false => to.push(path),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_and_every_name_counts_and_nothing_else_does() {
        let folder = std::env::temp_dir().join(format!("engram-source-{}", std::process::id()));
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap_or(&folder)).unwrap();
            fs::write(path, text).unwrap();
        };
        write("b.rs", "fn b() {}\n");
        write("in/a.rs", "");
        let first = hash(&folder).unwrap();
        assert_eq!(first, hash(&folder).unwrap());
        write("b.rs", "fn b() {}\r\n");
        assert_eq!(first, hash(&folder).unwrap());
        write("b.rs", "fn c() {}\n");
        assert_ne!(first, hash(&folder).unwrap());
        write("b.rs", "fn b() {}\n");
        fs::rename(folder.join("in/a.rs"), folder.join("in/c.rs")).unwrap();
        assert_ne!(first, hash(&folder).unwrap());
        fs::remove_dir_all(&folder).unwrap();
    }
}
