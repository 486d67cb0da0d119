//! Checksums by which the hub names files: SHA-256 for large files, git's SHA-1 for all others.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The expected checksum of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// SHA-256 of the bytes.
    Sha256(String),
    /// Git's name of the file: SHA-1 of its length and bytes.
    Git(String),
}

impl Checksum {
    /// The checksum in an `ETag`; `None` if it contains something else.
    pub(crate) fn of_etag(etag: &str) -> Option<Checksum> {
        let text = etag.trim();
        let text = text.strip_prefix("W/").unwrap_or(text).trim_matches('"');
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        match text.len() {
            _ if !text.bytes().all(hex) => None,
            64 => Some(Checksum::Sha256(text.to_owned())),
            40 => Some(Checksum::Git(text.to_owned())),
            _ => None,
        }
    }

    /// The checksum in hexadecimal: the blob's name in the cache.
    pub(crate) fn hex(&self) -> &str {
        match self {
            Checksum::Sha256(hex) | Checksum::Git(hex) => hex,
        }
    }

    /// Computes this kind of checksum of a file.
    pub(crate) fn of_file(&self, path: &Path) -> std::io::Result<String> {
        match self {
            Checksum::Sha256(_) => digest(Sha256::new(), path),
            Checksum::Git(_) => {
                let size = std::fs::metadata(path)?.len();
                digest(Sha1::new_with_prefix(format!("blob {size}\0")), path)
            }
        }
    }
}

fn digest<D: Digest>(mut hasher: D, path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    let hash = hasher.finalize();
    Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_git_and_of_the_standard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "abc").unwrap();
        // The output of `git hash-object` and `sha256sum`.
        for right in [
            "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ] {
            let checksum = Checksum::of_etag(&format!("\"{right}\"")).unwrap();
            assert_eq!(checksum.of_file(&path).unwrap(), right);
            assert_eq!(checksum.hex(), right);
            assert_eq!(Checksum::of_etag(&format!("W/\"{right}\"")), Some(checksum));
        }
    }

    #[test]
    fn other_etags_are_no_checksums() {
        let long = "a".repeat(64);
        for etag in [
            "",
            "\"\"",
            "abc",
            "../../x",
            &"g".repeat(40),
            &long[..63],
            &"A".repeat(40),
            &format!("{long}-2"),
        ] {
            assert_eq!(Checksum::of_etag(etag), None, "{etag}");
        }
    }
}
