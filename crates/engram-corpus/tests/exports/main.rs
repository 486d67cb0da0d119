//! Export formats, compared with other parsers (`fixtures/corpora.py`), and the cases in `fixtures/corpora_cases`.

mod columns;
mod damage;
mod formats;
mod splits;
mod text;
mod versions;

use std::io::Write;
use std::path::{Path, PathBuf};

use engram_corpus::read::{Corpus, ImportSettings, files_of, import, read};
use engram_corpus::{Abstract, CorpusError};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn case(name: &str) -> Corpus {
    read(&fixtures().join("corpora_cases").join(name)).unwrap()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_change_of_an_export_makes_it_panic(
        which in any::<prop::sample::Index>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let folder = std::fs::read_dir(fixtures().join("corpora")).unwrap();
        let mut all: Vec<PathBuf> = folder.map(|e| e.unwrap().path()).collect();
        all.sort();
        let path = &all[which.index(all.len())];
        let mut bytes = std::fs::read(path).unwrap();
        for (at, to) in edits {
            let at = at.index(bytes.len());
            // Half of the changes are of marks that formats have.
            bytes[at] = match to { 0..128 => b"{}[]()<>\"'\\#@$%&=,;:-/ \n"[to as usize % 24], _ => to };
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        for name in [path.file_name().unwrap().to_str().unwrap(), "a"] {
            let _ = of(name, &bytes);
        }
    }
}

/// Writes a file and reads it.
fn of(name: &str, content: &[u8]) -> Result<Corpus, CorpusError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    read(&path)
}

fn refused(name: &str, content: &[u8]) -> String {
    let error = of(name, content).unwrap_err().to_string();
    assert!(error.contains(name) && !error.contains('\n'), "{error}");
    error
}

fn bodies(corpus: &Corpus) -> Vec<&str> {
    corpus.abstracts.iter().map(|a| a.body.as_str()).collect()
}

fn titles(corpus: &Corpus) -> Vec<&str> {
    corpus.abstracts.iter().map(|a| a.title.as_str()).collect()
}

/// Imports files and gives the counts and the lines that were written.
fn imported(
    paths: &[&Path],
    settings: &ImportSettings,
) -> Result<(Corpus, Vec<Abstract>), CorpusError> {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("out.jsonl");
    let made = import(&files_of(paths)?, &to, settings);
    assert_eq!(made.is_ok(), to.exists());
    Ok((made?, read(&to).unwrap().abstracts))
}
