//! What `engram --version` says of the build.

use std::env;
use std::process::Command;

/// Said of what cannot be found out.
const UNKNOWN: &str = "unknown";

fn main() {
    let set = |name: &str, value: Option<String>| {
        let value = value.unwrap_or_else(|| UNKNOWN.to_owned());
        println!("cargo::rustc-env={name}={value}");
    };
    set("ENGRAM_COMMIT", commit());
    set("ENGRAM_TARGET", env::var("TARGET").ok());
    let rustc = env::var("RUSTC").ok();
    let rustc = rustc.and_then(|rustc| output(&rustc, &["--version"]));
    set(
        "ENGRAM_RUSTC",
        rustc.map(|said| said.trim_start_matches("rustc ").to_owned()),
    );
    let features = match env::var_os("CARGO_FEATURE_CUDA") {
        Some(_) => "cuda",
        None => "none",
    };
    set("ENGRAM_FEATURES", Some(features.to_owned()));
    println!("cargo::rerun-if-changed=build.rs");
}

/// The commit that is checked out, where this crate lies in engram's own repository: a packaged or vendored crate may lie
/// in another one.
fn commit() -> Option<String> {
    let found = output("git", &["rev-parse", "--show-prefix", "--short=12", "HEAD"])?;
    let commit = found.strip_prefix("crates/engram-cli/\n")?;
    // Git appends to this file at every commit and every switch of branches.
    let log = output("git", &["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={log}");
    Some(commit.to_owned())
}

/// What a program prints in this crate's folder; none where it is missing or fails.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let done = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(done.stdout).ok()?;
    done.status.success().then(|| text.trim().to_owned())
}
