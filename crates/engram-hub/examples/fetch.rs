//! Fetches a model of the hub and prints where it is: `cargo run -p engram-hub --example fetch -- org/name`.

use std::path::Path;
use std::process::ExitCode;

use engram_hub::{DownloadProgress, HubError, Options, locate};

fn main() -> ExitCode {
    let text = std::env::args().nth(1).unwrap_or_default();
    match fetch(&text) {
        Ok(path) => {
            println!("{path}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn fetch(text: &str) -> Result<String, HubError> {
    let path = locate(Path::new(text), &Options::from_env()?, &mut |told| {
        if !matches!(told, DownloadProgress::At(..)) {
            eprintln!("{told:?}");
        }
    })?;
    Ok(path.display().to_string())
}
