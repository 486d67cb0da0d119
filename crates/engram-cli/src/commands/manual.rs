//! `engram completions` and `engram man`: both are made from the command line's own description.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use clap::builder::Resettable;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use engram_core::files::write_atomic;

use super::write_bytes;
use crate::args::Cli;
use crate::progress::note;

/// Prints a shell's completions.
///
/// # Errors
/// The operating system's.
pub fn completions(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "engram", &mut script);
    write_bytes(&script)
}

/// Prints the main manual page, or writes a page for each command into a folder.
///
/// # Errors
/// The operating system's.
pub fn man(out: Option<&Path>) -> Result<()> {
    // Pages do not depend on the build.
    let mut command = Cli::command()
        .long_version(Resettable::Reset)
        .disable_help_subcommand(true);
    command.build();
    let Some(folder) = out else {
        return write_bytes(&page(&command)?);
    };
    write_pages(&command, folder)?;
    note(folder.display());
    Ok(())
}

fn page(command: &Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}

fn write_pages(command: &Command, folder: &Path) -> Result<()> {
    for below in command.get_subcommands() {
        write_pages(below, folder)?;
    }
    let page = page(command)?;
    let path = folder.join(Man::new(command.clone()).get_filename());
    Ok(write_atomic(&path, |file| file.write_all(&page))?)
}
