//! `engram bench`.

mod sweep;
mod train;

use anyhow::Result;
use candle_core::{Device, Tensor};
use engram_model::checkpoint::Parameters;
use engram_model::{Gpt2Config, Model, Tokenizer};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

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

/// A model whose weights are uniform with GPT-2's standard deviation of 0.02.
fn random(config: &Gpt2Config) -> Result<Model> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let spread = 0.02f32 * 3f32.sqrt();
    let mut parameters = Parameters::new();
    for (name, shape) in config.parameters() {
        let count: usize = shape.iter().product();
        let centre = match name.contains("ln_") && name.ends_with("weight") {
            true => 1.0,
            false => 0.0,
        };
        let mut values = Vec::with_capacity(count);
        values.resize_with(count, || centre + rng.random_range(-spread..spread));
        parameters.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
    }
    let tokenizer = Tokenizer::numbers(config.vocab_size)?;
    Ok(Model::from_parts(config, parameters, tokenizer)?)
}
