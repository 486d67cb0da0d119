//! `engram bench`.

mod sweep;
mod train;

use anyhow::Result;
use engram_model::{Gpt2Config, LanguageModel, Tokenizer};

use crate::args::BenchCommand;

/// Runs `engram bench`.
///
/// # Errors
/// Any of input, or the engine's.
pub fn bench(command: &BenchCommand, json: bool) -> Result<()> {
    match command {
        BenchCommand::Sweep(args) => sweep::bench(args, json),
        BenchCommand::Train(args) => train::bench(args, json),
    }
}

/// GPT-2 small's shape.
fn small() -> Gpt2Config {
    Gpt2Config::new(50_257, 1024, 768, 12, 12)
}

/// A model of this shape with random weights.
fn random(config: &Gpt2Config) -> Result<LanguageModel> {
    let tokenizer = Tokenizer::numbers(config.vocab_size)?;
    Ok(LanguageModel::random(config, tokenizer, 0)?)
}

/// Rows of a table for what every bench says of the machine and of itself.
fn on_this_machine(
    gemm_gflops: f64,
    efficiency: f64,
    peak_rss_mb: Option<f64>,
) -> [[String; 2]; 3] {
    let peak = peak_rss_mb.map_or("–".to_owned(), |mb| format!("{mb:.0} MB"));
    [
        [
            "bare matrix product".to_owned(),
            format!("{gemm_gflops:.0} GFLOP/s"),
        ],
        ["efficiency".to_owned(), format!("{efficiency:.2}")],
        ["peak memory".to_owned(), peak],
    ]
}
