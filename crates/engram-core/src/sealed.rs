//! JSON with a checksum: the files of an unfinished run, which a resumed run reads back.
//!
//! A sealed value is `["CHECKSUM",VALUE]` on one line. The checksum covers the value's bytes and a context, which says
//! what the value belongs to. A changed byte and a value from another context are both detected.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{CoreError, Result};
use crate::files::{io_error, sha256_of_parts, write_atomic};

/// Hexadecimal digits of a checksum: 64 bits of SHA-256.
const DIGITS: usize = 16;

/// Seals a value: its line, without the line end.
///
/// # Errors
/// If the value cannot be serialised.
pub fn seal(context: &str, value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let json = serde_json::to_vec(value)?;
    let mut line = format!("[\"{}\",", checksum(context, &json)).into_bytes();
    line.extend(json);
    line.push(b']');
    Ok(line)
}

/// The value of a line, with or without its line end. `None` if the line is damaged or was sealed in another context.
pub fn unseal<T: DeserializeOwned>(context: &str, line: &[u8]) -> Option<T> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let (said, json) = line.strip_prefix(b"[\"")?.split_at_checked(DIGITS)?;
    let json = json.strip_prefix(b"\",")?.strip_suffix(b"]")?;
    if said != checksum(context, json).as_bytes() {
        return None;
    }
    serde_json::from_slice(json).ok()
}

fn checksum(context: &str, json: &[u8]) -> String {
    let parts = [context.as_bytes(), b"\n", json].map(<[u8]>::to_vec);
    let mut whole = sha256_of_parts(parts.into_iter());
    whole.truncate(DIGITS);
    whole
}

/// Writes a sealed value to a file of its own.
///
/// # Errors
/// [`CoreError::Io`].
pub fn write(path: &Path, context: &str, value: &impl Serialize) -> Result<()> {
    write_atomic(path, |w| {
        let mut line = seal(context, value)?;
        line.push(b'\n');
        std::io::Write::write_all(w, &line)
    })
}

/// Reads a sealed value from its file.
///
/// # Errors
/// [`CoreError::Io`] if the file cannot be read; [`CoreError::Damaged`] if its content is not what was written.
pub fn read<T: DeserializeOwned>(path: &Path, context: &str) -> Result<T> {
    let line = std::fs::read(path).map_err(io_error(path))?;
    unseal(context, &line).ok_or_else(|| CoreError::Damaged {
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_bit_is_found() {
        let value = vec![(1.0e-9, "täglich".to_owned()), (-2.5, String::new())];
        let line = seal("of a sweep", &value).unwrap();
        assert_eq!(unseal("of a sweep", &line).as_ref(), Some(&value));
        let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(json[1], serde_json::to_value(&value).unwrap());
        for bit in 0..8 * line.len() {
            let mut changed = line.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let read: Option<Vec<(f64, String)>> = unseal("of a sweep", &changed);
            assert_eq!(read, None, "bit {bit}");
        }
        for cut in 0..line.len() {
            assert_eq!(
                unseal::<Vec<(f64, String)>>("of a sweep", &line[..cut]),
                None
            );
        }
        assert_eq!(unseal::<Vec<(f64, String)>>("of another", &line), None);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("search.json");
        write(&path, "search", &7).unwrap();
        assert_eq!(read::<i32>(&path, "search").unwrap(), 7);
        let text = std::fs::read_to_string(&path).unwrap().replace(",7", ",8");
        std::fs::write(&path, text).unwrap();
        let error = read::<i32>(&path, "search").unwrap_err();
        assert!(matches!(&error, CoreError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains("search.json"));
    }
}
