//! Files by their names, by folders and by patterns.

use std::path::{Path, PathBuf};

use engram_core::files;

use crate::error::{CorpusError, Result};

/// Folders within folders.
const DEPTH: usize = 32;

/// The files that paths stand for, in order: a file is itself; a folder its files and those of its folders, sorted by name,
/// without hidden files and checksums (`.md5`, `.sha256`); a name with `*`, `?` or `[` that is no file's is a pattern, whose
/// files are sorted. A file is taken once.
///
/// # Errors
/// A folder cannot be listed or holds no file; a pattern fits none.
pub fn files_of<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<PathBuf>> {
    let mut all: Vec<PathBuf> = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let mut found = Vec::new();
        if path.is_dir() {
            folder(path, 0, &mut found)?;
        } else if path.symlink_metadata().is_err() && is_pattern(path) {
            for path in fitting(path)? {
                match path.is_dir() {
                    true => folder(&path, 0, &mut found)?,
                    false => found.push(path),
                }
            }
        } else {
            found.push(path.to_owned());
        }
        if found.is_empty() {
            return Err(CorpusError::NoFile {
                path: path.to_owned(),
            });
        }
        all.extend(found);
    }
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|path| seen.insert(path.clone()));
    Ok(all)
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
        // A link to a folder may lead back to where it is.
        let is_link = entry.is_symlink();
        match entry.is_dir() {
            true if !is_link && depth < DEPTH => folder(&entry, depth + 1, into)?,
            true => {}
            false => into.push(entry),
        }
    }
    Ok(())
}
