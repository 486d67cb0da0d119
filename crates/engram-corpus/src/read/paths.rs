//! Finds files by name, folder and pattern.

use std::path::{Path, PathBuf};

use engram_core::files;

use crate::error::{CorpusError, Result};

/// Maximum nesting of folders.
const DEPTH: usize = 32;

/// The files that paths denote, in order. A folder denotes its files and those of its subfolders, sorted by name,
/// without hidden files and checksums (`.md5`, `.sha256`). A name with `*`, `?` or `[` that is not a file is a pattern,
/// whose matches are sorted. Each file occurs once, however its name is spelled.
///
/// # Errors
/// [`CorpusError::Core`] if a folder cannot be listed; [`CorpusError::NoFile`] if a folder or pattern has no file;
/// [`CorpusError::Pattern`] for an invalid pattern.
pub fn files_of<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<PathBuf>> {
    files_but(paths, None)
}

/// As [`files_of`], for an import to `out`: folders and patterns skip that file, which an earlier import may have
/// written.
///
/// # Errors
/// As [`files_of`].
pub fn inputs_of<P: AsRef<Path>>(paths: &[P], out: &Path) -> Result<Vec<PathBuf>> {
    files_but(paths, Some(&real(out)))
}

fn files_but<P: AsRef<Path>>(paths: &[P], but: Option<&Path>) -> Result<Vec<PathBuf>> {
    let mut all: Vec<PathBuf> = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let mut found = Vec::new();
        let is_named = !path.is_dir() && (path.symlink_metadata().is_ok() || !is_pattern(path));
        if is_named {
            found.push(path.to_owned());
        } else if path.is_dir() {
            folder(path, 0, &mut found)?;
        } else {
            for path in fitting(path)? {
                match path.is_dir() {
                    true => folder(&path, 0, &mut found)?,
                    false => found.push(path),
                }
            }
        }
        if !is_named {
            found.retain(|path| but.is_none_or(|but| real(path) != but));
        }
        if found.is_empty() {
            return Err(CorpusError::NoFile {
                path: path.to_owned(),
            });
        }
        all.extend(found);
    }
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|path| seen.insert(real(path)));
    Ok(all)
}

/// The canonical path of a file, or the path itself if the file does not exist.
fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

fn fitting(pattern: &Path) -> Result<Vec<PathBuf>> {
    let wrong = |why: String| CorpusError::Pattern {
        path: pattern.to_owned(),
        why,
    };
    let found = glob::glob(&pattern.to_string_lossy()).map_err(|e| wrong(e.to_string()))?;
    let found = found.map(|path| path.map_err(|e| wrong(e.to_string())));
    found.collect()
}

fn folder(path: &Path, depth: usize, into: &mut Vec<PathBuf>) -> Result<()> {
    let listed = std::fs::read_dir(path).map_err(files::io_error(path))?;
    let mut entries = Vec::new();
    for entry in listed {
        entries.push(entry.map_err(files::io_error(path))?.path());
    }
    entries.sort();
    for entry in entries {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        let is_passed =
            name.starts_with('.') || name.ends_with(".md5") || name.ends_with(".sha256");
        if is_passed {
            continue;
        }
        // A link to a folder may lead back to the folder it is in.
        let is_link = entry.is_symlink();
        match entry.is_dir() {
            true if !is_link && depth < DEPTH => folder(&entry, depth + 1, into)?,
            true => {}
            false => into.push(entry),
        }
    }
    Ok(())
}
