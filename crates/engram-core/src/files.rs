//! Reading files, and writing them so that no reader ever sees a partial file.

use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::error::{CoreError, Result};

/// Turns an operating-system error into a [`CoreError::Io`] with the path concerned.
pub fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> CoreError + '_ {
    move |source| CoreError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Opens a regular file for reading. Pipes, devices, sockets and folders are refused before they are opened, because
/// reading them may block or never end.
///
/// # Errors
/// [`CoreError::NotAFile`] for such a path; [`CoreError::Io`] if the file cannot be opened.
pub fn open(path: &Path) -> Result<File> {
    let kind = std::fs::metadata(path).map_err(io_error(path))?.file_type();
    match kind.is_file() {
        true => File::open(path).map_err(io_error(path)),
        false => Err(CoreError::NotAFile {
            path: path.to_owned(),
            found: name_of(kind),
        }),
    }
}

/// A file's bytes.
///
/// # Errors
/// As [`open`]; [`CoreError::Io`] if reading fails.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let whole = open(path)?.read_to_end(&mut bytes);
    whole.map_err(io_error(path))?;
    Ok(bytes)
}

/// A file's text.
///
/// # Errors
/// As [`open`]; [`CoreError::Io`] if the file is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    let mut text = String::new();
    let whole = open(path)?.read_to_string(&mut text);
    whole.map_err(io_error(path))?;
    Ok(text)
}

fn name_of(kind: std::fs::FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    match kind.is_dir() {
        true => "a folder",
        false => "no file",
    }
}

/// Turns an operating-system error into a [`CoreError::Write`] with the path concerned.
pub fn write_error(path: &Path) -> impl FnOnce(std::io::Error) -> CoreError + '_ {
    move |source| CoreError::Write {
        path: path.to_owned(),
        source,
    }
}

/// Writes a file atomically: `fill` writes to a temporary file beside it, which is synced and renamed when complete.
/// Missing parent folders are created; temporary files that killed processes left for this output are removed. A path
/// that exists and is not a regular file, such as a pipe or `/dev/stdout`, is written to directly.
///
/// # Errors
/// [`CoreError::Write`] with the final path; the temporary file is removed.
pub fn write_atomic(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>,
) -> Result<()> {
    let fill = |file: &File| {
        let mut writer = BufWriter::with_capacity(1 << 20, file);
        fill(&mut writer)?;
        writer.flush()
    };
    match is_stream(path) {
        true => {
            let file = File::options().write(true).open(path);
            file.and_then(|file| fill(&file)).map_err(write_error(path))
        }
        false => replace(path, |file, _| fill(file)),
    }
}

/// As [`write_atomic`], for a `fill` that needs the temporary file's path.
///
/// # Errors
/// As [`write_atomic`]; [`CoreError::NotAFile`] if `path` exists and is not a regular file.
pub fn write_atomic_at(path: &Path, fill: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(there) if is_stream(path) => Err(CoreError::NotAFile {
            path: path.to_owned(),
            found: name_of(there.file_type()),
        }),
        _ => replace(path, |_, temporary| fill(temporary)),
    }
}

/// Whether a path exists and is neither a file nor a folder: nothing may be renamed over it.
fn is_stream(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir())
}

fn replace(path: &Path, fill: impl FnOnce(&File, &Path) -> std::io::Result<()>) -> Result<()> {
    let at = || write_error(path);
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(at())?;
    let begin = format!("{}-", short_name(path));
    remove_left_overs(folder, |name| is_temporary(name, &begin));
    let temporary = temporary(folder, &begin).map_err(at())?;
    fill(temporary.as_file(), temporary.path()).map_err(at())?;
    temporary.as_file().sync_all().map_err(at())?;
    set_usual_permissions(temporary.as_file());
    let persisted = temporary.persist(path);
    persisted.map_err(|e| e.error).map_err(at())?;
    Ok(())
}

/// Prefix of every name that is not a result: temporary files and folders, and locks.
pub const HIDDEN: &str = ".engram-";
/// Suffix of temporary files.
const TEMPORARY: &str = ".tmp";
/// Random letters and digits in a temporary file's name.
const RANDOM: usize = 6;

/// A new temporary file. It stays locked while it is open, which marks it as in use by a running process.
fn temporary(folder: &Path, begin: &str) -> std::io::Result<NamedTempFile> {
    loop {
        let file = tempfile::Builder::new()
            .prefix(begin)
            .rand_bytes(RANDOM)
            .suffix(TEMPORARY)
            .tempfile_in(folder)?;
        // On other systems locks are mandatory and would keep the file from being written through its path.
        #[cfg(unix)]
        {
            // Another process may remove it as a left-over before it is locked. A file system without locks is no
            // reason to fail.
            let taken = matches!(file.as_file().try_lock(), Err(TryLockError::WouldBlock));
            if taken || !crate::lock::is_at(file.as_file(), file.path()) {
                continue;
            }
        }
        return Ok(file);
    }
}

fn is_temporary(name: &str, begin: &str) -> bool {
    let random = name
        .strip_prefix(begin)
        .and_then(|rest| rest.strip_suffix(TEMPORARY));
    random.is_some_and(|r| r.len() == RANDOM && r.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Removes files that killed processes left in a folder: those that `chosen` accepts by name and that no running
/// process has locked.
fn remove_left_overs(folder: &Path, chosen: impl Fn(&str) -> bool) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if chosen(&entry.file_name().to_string_lossy()) {
            remove_if_dead(&entry.path());
        }
    }
}

/// Removes a temporary file unless a running process has it locked. A file that cannot be removed stays; it only takes
/// space.
pub fn remove_if_dead(path: &Path) {
    // On other systems a file in use cannot be told from a left-over.
    #[cfg(unix)]
    if let Ok(file) = File::open(path)
        && file.try_lock().is_ok()
    {
        let _ = std::fs::remove_file(path);
    }
    #[cfg(not(unix))]
    let _ = path;
}

/// A name beside an output for a file that is not a result yet: `.engram-NAME.ENDING`. Only the holder of the output's
/// [`Lock`](crate::Lock) may use it.
pub fn left_over(output: &Path, ending: &str) -> PathBuf {
    output.with_file_name(format!("{}.{ending}", short_name(output)))
}

/// `.engram-NAME` for an output called NAME. A name too long to be extended is replaced by its hash.
fn short_name(output: &Path) -> String {
    const LONGEST: usize = 200;
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    if name.len() > LONGEST {
        return format!("{HIDDEN}{}", &sha256(name.as_bytes())[..32]);
    }
    format!("{HIDDEN}{name}")
}

/// Gives a temporary file the usual permissions: temporary files are private by default, results are readable for
/// everyone who may read the folder.
fn set_usual_permissions(file: &File) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // A file system without permissions is no reason to fail.
        let _ = file.set_permissions(std::fs::Permissions::from_mode(0o644));
    }
    #[cfg(not(unix))]
    let _ = file;
}

/// Writes a value as indented JSON with a newline at the end, atomically.
///
/// # Errors
/// [`CoreError::Write`].
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write_atomic(path, |w| {
        serde_json::to_writer_pretty(&mut *w, value)?;
        w.write_all(b"\n")
    })
}

/// Reads a JSON file.
///
/// # Errors
/// [`CoreError::Io`], [`CoreError::Json`].
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = read(path)?;
    serde_json::from_slice(&text).map_err(|source| CoreError::Json {
        path: path.to_owned(),
        source,
    })
}

/// Writes values as JSONL, one a line, atomically.
///
/// # Errors
/// [`CoreError::Write`].
pub fn write_jsonl<T: Serialize>(path: &Path, values: &[T]) -> Result<()> {
    write_atomic(path, |w| {
        for value in values {
            serde_json::to_writer(&mut *w, value)?;
            w.write_all(b"\n")?;
        }
        Ok(())
    })
}

/// Reads a JSONL file; blank lines are skipped.
///
/// # Errors
/// [`CoreError::Io`] if the file cannot be read; [`CoreError::Line`] with the number of the first line that does not
/// parse; [`CoreError::Empty`] if the file has no value.
pub fn read_jsonl<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let file = open(path)?;
    let values = parse_jsonl(BufReader::new(file), path)?;
    if values.is_empty() {
        return Err(CoreError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(values)
}

/// Parses JSONL from a reader; `path` is used in errors only.
///
/// # Errors
/// As [`read_jsonl`], except that empty input is allowed.
pub fn parse_jsonl<T: DeserializeOwned>(reader: impl BufRead, path: &Path) -> Result<Vec<T>> {
    let mut values = Vec::new();
    for (index, line) in reader.split(b'\n').enumerate() {
        let line = line.map_err(io_error(path))?;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        values.push(serde_json::from_slice(&line).map_err(|e| CoreError::Line {
            path: path.to_owned(),
            line: index + 1,
            why: without_position(&e),
        })?);
    }
    Ok(values)
}

/// A serde_json error without its position: serde_json counts lines within the value, which here is always line 1.
pub(crate) fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.find(" at line ") {
        Some(end) => format!("{} (column {})", &text[..end], error.column()),
        None => text,
    }
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// [`CoreError::Io`].
pub fn sha256_file(path: &Path) -> Result<String> {
    let mut file = open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        let n = file.read(&mut buffer).map_err(io_error(path))?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
    }
    Ok(hex(&hasher.finalize()))
}

/// SHA-256 of a value's JSON, hashed while it is serialised, without the whole text in memory.
///
/// # Errors
/// If the value cannot be serialised.
pub fn sha256_of_json(value: &impl Serialize) -> serde_json::Result<String> {
    let mut hasher = BufWriter::new(Sha256::new());
    serde_json::to_writer(&mut hasher, value)?;
    let hasher = hasher.into_inner();
    let hasher = hasher.map_err(|e| serde_json::Error::io(e.into_error()))?;
    Ok(hex(&hasher.finalize()))
}

/// SHA-256 of bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of concatenated parts, in hexadecimal, without all of them in memory.
pub fn sha256_of_parts(parts: impl Iterator<Item = Vec<u8>>) -> String {
    let mut hasher = Sha256::new();
    parts.for_each(|part| hasher.update(&part));
    hex(&hasher.finalize())
}

/// The path for the unfinished state of an output: `path` with `ending` appended.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_rubbish() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_json(&path, &1).unwrap();
        let failed = write_atomic(&path, |w| {
            w.write_all(b"half")?;
            Err(std::io::Error::other("disk full"))
        });
        assert!(failed.unwrap_err().to_string().contains("disk full"));
        assert_eq!(read_json::<i32>(&path).unwrap(), 1);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn left_overs_of_the_same_file_are_removed_unless_their_writer_lives() {
        let folder = tempfile::tempdir().unwrap();
        let here = |name: &str| folder.path().join(name);
        for left in [".engram-a.json-Ab12xY.tmp", ".engram-a.json-b-Ab12xY.tmp"] {
            std::fs::write(here(left), "half").unwrap();
        }
        write_atomic(&here("a.json"), |w| {
            // Another write to the same file, while this temporary file exists.
            write_json(&here("a.json"), &2).map_err(std::io::Error::other)?;
            w.write_all(b"1")
        })
        .unwrap();
        assert_eq!(read_json::<i32>(&here("a.json")).unwrap(), 1);
        assert!(!here(".engram-a.json-Ab12xY.tmp").exists());
        // This is a left-over of "a.json-b", another output.
        assert!(here(".engram-a.json-b-Ab12xY.tmp").exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_long_name_is_written_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n".repeat(250));
        write_json(&path, &1).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "{\"a\":1}\n\n{\"a\":\n").unwrap();
        let error = read_jsonl::<serde_json::Value>(&path).unwrap_err();
        assert!(
            matches!(error, CoreError::Line { line: 3, .. }),
            "{error:?}"
        );
        std::fs::write(&path, "\n").unwrap();
        let error = read_jsonl::<serde_json::Value>(&path).unwrap_err();
        assert!(matches!(error, CoreError::Empty { .. }));
    }

    #[test]
    fn parts_have_the_hash_of_the_whole() {
        let parts = [b"ab".to_vec(), Vec::new(), b"c".to_vec()];
        assert_eq!(sha256_of_parts(parts.into_iter()), sha256(b"abc"));
    }

    #[test]
    fn sha256_of_the_standard_example() {
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
