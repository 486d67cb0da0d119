//! The command line of engram: it parses, calls the library, and prints.

#![deny(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used
)]

pub mod args;
mod commands;
mod invocation;
mod progress;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;
use commands::{
    bench, cache, compare, corpus, edit, manual, model, patch, report, run, suite, train, unfit,
};
use progress::note;

/// The program `engram`: runs the command line that the process was given.
pub fn main() -> ExitCode {
    engram_core::panics::tell_uncaught();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    set_threads(cli.threads);
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            for line in lines(&error) {
                note(line);
            }
            ExitCode::from(1)
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<()> {
    let json = cli.json;
    match cli.command {
        Command::Run(args) => run::run(&args, json),
        Command::Corpus(command) => corpus::corpus(command, json),
        Command::Train(args) => train::train(&args, json),
        Command::Suite(command) => suite::suite(command, json),
        Command::Patch(args) => patch::patch(&args, json),
        Command::Bench(command) => bench::bench(&command, json),
        Command::Cache(args) => cache::cache(&args),
        Command::Stats(args) => report::stats(&args, json),
        Command::Compare(args) => compare::compare(&args, json),
        Command::Report(args) => report::report(&args),
        Command::Model(command) => model::model(command, json),
        Command::Edit(command) => edit::edit(command, json),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { out } => manual::man(out.as_deref()),
    }
}

/// Help goes to stdout, an error of usage to stderr; words that it repeats may hold anything.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || !error.to_string().contains(is_obeyed) {
        error.exit();
    }
    for line in error.to_string().lines() {
        note(line);
    }
    ExitCode::from(2)
}

fn is_obeyed(c: char) -> bool {
    c != '\n' && c.is_control()
}

/// What is said of an error. The last line names the input and what is wrong; faults of an input file, and pairs whose
/// lengths differ, are listed before it.
fn lines(error: &anyhow::Error) -> Vec<String> {
    let text = format!("engram: {}", engram::with_causes(error.as_ref()));
    let of_engram = error
        .chain()
        .find_map(|e| e.downcast_ref::<engram::Error>());
    if let Some(unequal) = of_engram.and_then(engram::Error::unequal_lengths) {
        let table = unfit::lengths(unequal);
        let table = table.lines().map(str::to_owned);
        return table.chain([text]).collect();
    }
    let has_faults = error.chain().any(|e| engram::faults_of(e).is_some());
    match text.split_once('\n') {
        Some((head, faults)) if has_faults => {
            let faults = faults.lines().map(str::to_owned);
            faults.chain([format!("{head}, listed above")]).collect()
        }
        _ => vec![text],
    }
}

/// Both the thread pool and the matrix library read this variable when they are first used.
#[allow(unsafe_code, reason = "std::env::set_var is unsafe")]
fn set_threads(threads: Option<u16>) {
    if let Some(threads) = threads {
        // SAFETY: the first statement of the program after parsing; no other thread runs yet.
        unsafe { std::env::set_var("RAYON_NUM_THREADS", threads.to_string()) };
    }
}

/// `engram … | head` is no error.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let closed = std::io::ErrorKind::BrokenPipe;
    error
        .chain()
        .filter_map(|e| e.downcast_ref::<std::io::Error>())
        .any(|e| e.kind() == closed)
}
