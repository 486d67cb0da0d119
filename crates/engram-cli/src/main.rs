//! The `engram` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    engram_cli::main()
}
