//! The command, run as a person runs it.

use std::path::Path;

use assert_cmd::Command;

/// Runs `engram` in a folder; gives exit code, stdout, stderr.
pub fn engram(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engram"));
    let out = command.current_dir(folder).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        out.status.code().unwrap_or(-1),
        text(&out.stdout),
        text(&out.stderr),
    )
}
