//! The command line as it was given, for manifests.

use engram::Provenance;

/// What a manifest says of the command line.
pub fn provenance() -> Provenance {
    Provenance {
        command: command_line(),
        reproducing: reproducing_line(),
    }
}

/// The command line as it was typed, program name shortened.
fn command_line() -> String {
    quoted_line(std::env::args().skip(1))
}

/// The command line that does the same again, to another folder: without `--out` and its value, and without `--resume`.
fn reproducing_line() -> String {
    let mut words = Vec::new();
    let mut rest = std::env::args().skip(1);
    while let Some(word) = rest.next() {
        if word == "--out" {
            rest.next();
        } else if word != "--resume" && !word.starts_with("--out=") {
            words.push(word);
        }
    }
    quoted_line(words.into_iter())
}

fn quoted_line(words: impl Iterator<Item = String>) -> String {
    let words = words.map(|word| quoted(private(word)));
    let words = std::iter::once("engram".to_owned()).chain(words);
    words.collect::<Vec<String>>().join(" ")
}

/// A word without a value that no result depends on and nobody else is to read.
fn private(word: String) -> String {
    for name in ["corpus.fetch.email=", "corpus.fetch.api_key="] {
        if let Some((before, _)) = word.split_once(name) {
            return format!("{before}{name}...");
        }
    }
    word
}

/// A word as a shell takes it.
fn quoted(word: String) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=,:@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word;
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
