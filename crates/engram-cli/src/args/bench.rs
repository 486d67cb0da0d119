//! The command line of `engram bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use engram::bounds::{BATCH, PAIRS, POSITION, REPEATS, SEQUENCE};
use engram_core::{Metric, Positions};

use super::within;

/// Speed of this machine and of engram on it.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// A sweep: operations needed, the machine's rate of a bare matrix product, time, efficiency, memory.
    Sweep(BenchSweepArgs),
    /// Optimizer steps: tokens a second, the machine's rate, efficiency, memory.
    Train(BenchTrainArgs),
}

/// Number format of a training's products with weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Dtype {
    /// float32.
    F32,
    /// bfloat16 with sums in float32, where the processor has an instruction for it.
    Bf16,
}

/// A training to time.
#[derive(Debug, Args)]
pub struct BenchTrainArgs {
    /// The checkpoint (default: random weights in the shape of GPT-2 small).
    #[arg(long)]
    pub model: Option<PathBuf>,
    /// Tokens of a sequence.
    #[arg(long, default_value_t = 512, value_parser = within::<u32>(SEQUENCE))]
    pub tokens: u32,
    /// Sequences of a step.
    #[arg(long, default_value_t = 4, value_parser = within::<u32>(BATCH))]
    pub batch: u32,
    /// Steps that are timed, after one that is not; the median counts.
    #[arg(long, default_value_t = 5, value_parser = within::<u32>(REPEATS))]
    pub steps: u32,
    /// Number format of products with weights.
    #[arg(long, value_enum, default_value = "f32")]
    pub dtype: Dtype,
    /// Where the steps are made: cpu, or cuda:N in a build with CUDA (docs/gpu.md).
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

/// A sweep to be timed.
#[derive(Debug, Args)]
pub struct BenchSweepArgs {
    /// The checkpoint (default: random weights in the shape of GPT-2 small).
    #[arg(long)]
    pub model: Option<PathBuf>,
    /// Tokens of a prompt.
    #[arg(long, default_value_t = 15, value_parser = within::<u32>(SEQUENCE))]
    pub tokens: u32,
    /// The first token in which clean and corrupted prompts differ.
    #[arg(long, default_value_t = 4, value_parser = within::<u32>(POSITION))]
    pub differ_from: u32,
    /// Number of pairs.
    #[arg(long, default_value_t = 1, value_parser = within::<u32>(PAIRS))]
    pub pairs: u32,
    /// Sites, comma-separated.
    #[arg(long, value_delimiter = ',', default_value = "resid_pre")]
    pub sites: Vec<String>,
    /// Where they are patched: each, all, last.
    #[arg(long, default_value = "each")]
    pub positions: Positions,
    /// Metrics, comma-separated.
    #[arg(long, value_delimiter = ',', default_value = "logit_diff")]
    pub metric: Vec<Metric>,
    /// The most memory to take, the model's included.
    #[arg(long)]
    pub memory: Option<bytesize::ByteSize>,
    /// How often the sweep is timed; the median counts.
    #[arg(long, default_value_t = 5, value_parser = within::<u32>(REPEATS))]
    pub repeats: u32,
}
