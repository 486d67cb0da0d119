//! engram: find where a language model keeps what it knows, prove it causally, and report it.
//!
//! This crate is the command line over the others; a program that wants the parts uses them directly:
//! [`engram_corpus`], [`engram_model`], [`engram_train`], [`engram_patch`], [`engram_findings`],
//! [`engram_report`].

#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod args;
pub mod arrays;
pub mod bounds;
pub mod commands;
pub mod confounds;
pub mod curve;
pub mod edits;
pub mod memory;
pub mod model;
pub mod progress;
pub mod results;
pub mod run;
pub mod scratch;
pub mod stage;
pub mod study;

/// The command line as it was typed, program name shortened.
pub fn command_line() -> String {
    quoted_line(std::env::args().skip(1))
}

/// The command line that does the same again, to another folder: without `--out` and its value, and without `--resume`.
pub fn reproducing_line() -> String {
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
    let words = std::iter::once("engram".to_owned()).chain(words.map(quoted));
    words.collect::<Vec<String>>().join(" ")
}

/// A word as a shell takes it.
fn quoted(word: String) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=,:@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word;
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
