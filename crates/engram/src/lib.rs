//! engram: find where a language model keeps what it knows, prove it causally, and report it.
//!
//! This crate is the command line over the others; a program that wants the parts uses them directly:
//! [`engram_corpus`], [`engram_model`], [`engram_train`], [`engram_patch`], [`engram_findings`],
//! [`engram_report`].

#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod args;
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

/// The command line as it was typed, program name shortened; without one option and its value where asked.
pub fn command_line(without: Option<&str>) -> String {
    let mut words = vec!["engram".to_owned()];
    let mut rest = std::env::args().skip(1);
    while let Some(word) = rest.next() {
        match without {
            Some(option) if word == option => drop(rest.next()),
            Some(option) if word.starts_with(&format!("{option}=")) => {}
            _ => words.push(quoted(word)),
        }
    }
    words.join(" ")
}

/// A word as a shell takes it.
fn quoted(word: String) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=,:@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word;
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
