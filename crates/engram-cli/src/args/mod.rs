//! The command line.

mod bench;
mod corpus;
mod edit;
mod model;
mod suite;

use std::path::PathBuf;

use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use engram::bounds::{EVERY, NULLS, SAMPLES, SPLIT, WINDOW};
use engram_core::range::Number;
use engram_core::{Align, Bos, Corruption, Direction, Metric, Positions, Range};

pub use bench::*;
pub use corpus::*;
pub use edit::*;
pub use model::*;
pub use suite::*;

/// What `--version` says; `-V` says the first line.
const BUILD: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("ENGRAM_COMMIT"),
    "\ntarget: ",
    env!("ENGRAM_TARGET"),
    "\nrustc: ",
    env!("ENGRAM_RUSTC"),
    "\nfeatures: ",
    env!("ENGRAM_FEATURES"),
);

/// Find where a language model keeps what it knows, prove it causally, and report it.
#[derive(Debug, Parser)]
#[command(name = "engram", version, long_version = BUILD, about, propagate_version = true)]
pub struct Cli {
    /// Number of threads (default: all cores).
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print tables as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole study; ends with the report's path.
    Run(RunArgs),
    /// Corpora: counts, splits, conversion, texts from a fact table.
    #[command(subcommand)]
    Corpus(CorpusCommand),
    /// Fine-tune a model with early stopping.
    Train(TrainArgs),
    /// Suites of pairs: build, check, show.
    #[command(subcommand)]
    Suite(SuiteCommand),
    /// Patch activations and measure what comes back.
    Patch(PatchArgs),
    /// Measure speed.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Write one run's activations to a file.
    Cache(CacheArgs),
    /// Test a sweep or a study; writes stats.json.
    Stats(StatsArgs),
    /// Test two models or two runs against each other, paired by pair.
    Compare(CompareArgs),
    /// Write report.html for a sweep or a study, and its main figures for a paper.
    Report(ReportArgs),
    /// Models: what they are, what they say.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Edits: change what a model holds to be a fact, score the change, take it off again.
    #[command(subcommand)]
    Edit(EditCommand),
    /// Print a shell's completions of this command line.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write those of all commands.
    Man {
        /// The folder to write: a page for each command, which replaces an older one.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// A study to run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The study file.
    #[arg(required_unless_present = "new")]
    pub study: Option<PathBuf>,
    /// Write a commented study to start from, NAME.toml, and its fact table, NAME-facts.toml, in place of running one.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["study", "set", "out"])]
    pub new: Option<PathBuf>,
    /// The model that the new study asks.
    #[arg(long, requires = "new", value_name = "MODEL")]
    pub base: Option<PathBuf>,
    /// Lay a value over the study file: a.b.c=value.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The run's folder (default: runs/NAME of the study file).
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Stop after a step: fetch, corpus, suite, train, sweep or edit. A later run goes on from there.
    #[arg(long, value_name = "STEP", conflicts_with = "new")]
    pub until: Option<engram::Step>,
    /// Print every stage with what it reads, computes and writes, its time, memory, disk and network, and run nothing.
    #[arg(long, conflicts_with_all = ["new", "until"])]
    pub dry_run: bool,
    /// Where the models are trained: cpu, or cuda:N in a build with CUDA (docs/gpu.md).
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

/// Fine-tuning.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Preset: config-1 or config-2.
    #[arg(long, required_unless_present = "from_scratch")]
    pub config: Option<String>,
    /// The checkpoint to start from.
    #[arg(long, required_unless_present = "from_scratch")]
    pub base: Option<PathBuf>,
    /// Train a new model with a tokenizer learned from the training texts: its sizes and settings, as TOML.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "base"])]
    pub from_scratch: Option<PathBuf>,
    /// The training texts.
    #[arg(long)]
    pub corpus: PathBuf,
    /// The validation texts.
    #[arg(long, conflicts_with = "split")]
    pub validation: Option<PathBuf>,
    /// Hold this share of the corpus out for validation (default 0.2).
    #[arg(long, value_parser = within::<f64>(SPLIT))]
    pub split: Option<f64>,
    /// Train on retracted articles too.
    #[arg(long)]
    pub keep_retracted: bool,
    /// The checkpoint to write.
    #[arg(long)]
    pub out: PathBuf,
    /// Override a setting of the preset: key=value.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Go on with a run to this folder that was broken off, from its last checkpoint.
    #[arg(long, conflicts_with = "dry_run")]
    pub resume: bool,
    /// Seconds between checkpoints, which are kept in OUT.partial until the run is whole.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = within::<u64>(EVERY))]
    pub checkpoint_every: u64,
    /// Print steps, tokens and memory, and train nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Where the model is trained: cpu, or cuda:N in a build with CUDA (docs/gpu.md).
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

/// How a sweep is made where it is not engram's own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ProfileName {
    /// As the published script does it.
    Paper,
}

/// The engine that runs a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum EngineName {
    /// All cells as one wavefront through the network.
    Staged,
    /// One full forward pass per cell: slow, for doubts.
    Naive,
}

/// A sweep.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("pairs").required(true).args(["suite", "clean"]))]
pub struct PatchArgs {
    /// The checkpoint.
    #[arg(long)]
    pub model: PathBuf,
    /// The suite.
    #[arg(long, conflicts_with_all = ["clean", "corrupt", "answer", "foil"])]
    pub suite: Option<PathBuf>,
    /// Clean prompt of one pair.
    #[arg(long, allow_hyphen_values = true, requires_all = ["corrupt", "answer", "foil"])]
    pub clean: Option<String>,
    /// Corrupted prompt.
    #[arg(long, allow_hyphen_values = true)]
    pub corrupt: Option<String>,
    /// Answer, with its leading space.
    #[arg(long, allow_hyphen_values = true)]
    pub answer: Option<String>,
    /// Foil, with its leading space.
    #[arg(long, allow_hyphen_values = true)]
    pub foil: Option<String>,
    /// Sites, comma-separated, by any of their names (`modules`: every module). A name without a layer
    /// stands for all. Brackets choose heads or neurons: `z.3[5]`, `z[:]` (all heads in one cell),
    /// `mlp_post.3[*]` (each), `mlp_post[*/64]` (groups of 64); q, k, v, z, pattern and head_out are
    /// taken head by head without them.
    #[arg(long, value_delimiter = ',', required_unless_present = "profile")]
    pub sites: Vec<String>,
    /// Where they are patched: each, all, last, subject.
    #[arg(long, default_value = "each")]
    pub positions: Positions,
    /// denoise or noise.
    #[arg(long, default_value = "denoise")]
    pub direction: Direction,
    /// What the corrupted run is: swap, gaussian:K, resample, zero, mean.
    #[arg(long, default_value = "swap")]
    pub corruption: Corruption,
    /// How prompts of unequal length are brought together: strict (not at all), last, subject.
    #[arg(long, default_value = "strict")]
    pub align: Align,
    /// Metrics, comma-separated; logit_diff is always measured.
    #[arg(long, value_delimiter = ',', default_value = "logit_diff")]
    pub metric: Vec<Metric>,
    /// The engine.
    #[arg(long, value_enum, default_value = "staged")]
    pub engine: EngineName,
    /// How many layers one cell covers, centred on its own.
    #[arg(long, default_value_t = 1, value_parser = within::<usize>(WINDOW))]
    pub window: usize,
    /// Whether texts are given the special tokens of their beginning: auto (as the checkpoint's tokenizer does), always,
    /// never.
    #[arg(long, default_value = "auto", value_name = "WHEN")]
    pub bos: Bos,
    /// Take prompts that are texts as what a user says, and write them by the checkpoint's chat template.
    #[arg(long, conflicts_with = "profile")]
    pub chat: bool,
    /// What gaussian noise and resampled prompts are drawn from.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Noise samples a pair, for gaussian:K.
    #[arg(long, default_value_t = engram_patch::spec::SAMPLES, value_parser = within::<usize>(SAMPLES))]
    pub samples: usize,
    /// The most memory to take, for weights, activations and results together: 4GiB, 800MB (default: half of what is free
    /// beside the model). A sweep that needs more is refused before it begins, with the least that would do.
    #[arg(long)]
    pub memory: Option<bytesize::ByteSize>,
    /// Print what would be computed, and its cost, and stop.
    #[arg(long, conflicts_with_all = ["resume"])]
    pub plan_only: bool,
    /// Go on with a sweep to the same folder that was broken off.
    #[arg(long)]
    pub resume: bool,
    /// Where the model runs: cpu, or cuda:N in a build with CUDA (docs/gpu.md), for the naive engine.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// `paper`: every module by name, whole outputs overwritten, mean logits of the phrases.
    #[arg(long, value_enum, conflicts_with_all = ["sites", "positions", "direction", "corruption", "align", "metric", "window"])]
    pub profile: Option<ProfileName>,
    /// Drop, count and name pairs that cannot be patched, instead of refusing the suite.
    #[arg(long)]
    pub skip_unfit: bool,
    /// The folder to write.
    #[arg(long, required_unless_present = "plan_only")]
    pub out: Option<PathBuf>,
}

/// One run's activations.
#[derive(Debug, Args)]
pub struct CacheArgs {
    /// The checkpoint.
    #[arg(long)]
    pub model: PathBuf,
    /// The prompt.
    #[arg(long, allow_hyphen_values = true)]
    pub prompt: String,
    /// Sites, comma-separated, by any of their names; without a layer, at all layers.
    #[arg(long, value_delimiter = ',', default_value = "resid_post")]
    pub sites: Vec<String>,
    /// Whether texts are given the special tokens of their beginning: auto (as the checkpoint's tokenizer does), always,
    /// never.
    #[arg(long, default_value = "auto", value_name = "WHEN")]
    pub bos: Bos,
    /// The file to write: FILE.safetensors, or FILE.npz for numpy.
    #[arg(long)]
    pub out: PathBuf,
}

/// Two folders of results.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// A study, a sweep, or a model of a study: STUDY/sweeps/MODEL.
    pub from: PathBuf,
    /// The other; differences are its value less that of the first. Studies are compared model by model of one name.
    pub to: PathBuf,
}

/// A folder of results, and how to test.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// A folder that `engram run` or `engram patch` wrote.
    pub folder: PathBuf,
    /// Calibration instead: permute kinds over relations so often, and say in which share of them each test between kinds
    /// rejects.
    #[arg(long, value_name = "TIMES", value_parser = within::<usize>(NULLS))]
    pub nulls: Option<usize>,
}

/// A report to write.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// A folder that `engram run` or `engram patch` wrote.
    pub folder: PathBuf,
    /// Write the main figures as SVG, PDF and PNG too (default: to `figures` in the folder).
    #[arg(long, value_name = "TO", num_args = 0..=1)]
    pub figures: Option<Option<PathBuf>>,
    /// A font file for characters that DejaVu Sans lacks, such as Chinese or Arabic ones (default: the fonts of the system).
    #[arg(long, value_name = "FILE", requires = "figures")]
    pub font: Option<PathBuf>,
}

/// A reader of an argument that has a range.
fn within<T>(range: Range) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: Number + FromStr,
{
    move |text| {
        let found = range.parse::<T>("", text);
        found.map_err(|e| format!("expected {}", e.range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_tell_their_range() {
        let read = within::<usize>(WINDOW);
        assert_eq!(read("3"), Ok(3));
        assert_eq!(
            read("0"),
            Err("expected a whole number from 1 to 1000".to_owned())
        );
        assert!(within::<f64>(SPLIT)("nan").is_err());
    }
}
