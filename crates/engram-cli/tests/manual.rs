//! Version, completions and manual pages.

mod common;

use std::path::Path;

use clap::{Command, CommandFactory};
use common::engram;
use engram_cli::args::Cli;

#[test]
fn the_version_says_what_was_built() {
    let here = Path::new(".");
    let line = format!("engram {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(engram(here, &["-V"]), (0, line.clone(), String::new()));
    let (code, stdout, _) = engram(here, &["--version"]);
    assert_eq!(code, 0);
    assert!(stdout.starts_with(&line), "{stdout}");
    for name in ["commit: ", "target: ", "rustc: ", "features: "] {
        let mut lines = stdout.lines();
        let found = lines.any(|l| l.strip_prefix(name).is_some_and(|value| !value.is_empty()));
        assert!(found, "{name}: {stdout}");
    }
}

#[test]
fn completions_have_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (code, script, _) = engram(Path::new("."), &["completions", shell]);
        assert_eq!(code, 0, "{shell}");
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(script.contains(name), "{shell}: {name}");
        }
        assert!(
            script.contains("--threads") || script.contains("threads"),
            "{shell}"
        );
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, stderr) = engram(folder.path(), &["man", "--out", "man1"]);
    assert_eq!(code, 0, "{stderr}");
    let mut pages = Vec::new();
    names(&Cli::command(), "", &mut pages);
    assert!(pages.contains(&"engram-suite-build".to_owned()));
    for name in &pages {
        let path = folder.path().join("man1").join(format!("{name}.1"));
        let page = std::fs::read_to_string(&path).unwrap();
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
        assert!(page.contains(".SH SYNOPSIS"), "{name}");
    }
    let written = std::fs::read_dir(folder.path().join("man1")).unwrap();
    assert_eq!(written.count(), pages.len());
    let main = std::fs::read_to_string(folder.path().join("man1/engram.1")).unwrap();
    let (code, stdout, _) = engram(folder.path(), &["man"]);
    assert_eq!((code, stdout), (0, main));
}

/// The names of the pages of a command and of those below it.
fn names(command: &Command, above: &str, to: &mut Vec<String>) {
    let name = match above {
        "" => command.get_name().to_owned(),
        above => format!("{above}-{}", command.get_name()),
    };
    let below = command.get_subcommands();
    below.for_each(|command| names(command, &name, to));
    to.push(name);
}
