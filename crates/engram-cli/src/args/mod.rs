//! The command line.

mod edit;

use std::path::PathBuf;

use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use engram::bounds::{
    BATCH, COUNT, EVERY, NULLS, PAIRS, POSITION, REPEATS, SAMPLES, SEQUENCE, SPLIT, TOP, WINDOW,
};
use engram_core::range::Number;
use engram_core::{Align, Bos, Corruption, Direction, Metric, Positions, Range};

pub use edit::*;

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
    /// Where the models are trained: cpu, or cuda:N in a build with CUDA (docs/gpu.md).
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

/// Abstracts to fetch.
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// The query, as PubMed's search field takes it.
    #[arg(long, allow_hyphen_values = true)]
    pub query: String,
    /// The most abstracts (PubMed gives 9,999 of one search).
    #[arg(long, default_value_t = 1000)]
    pub max: usize,
    /// Your address, which NCBI asks for.
    #[arg(long)]
    pub email: String,
    /// An API key of NCBI's: ten requests a second in place of three (default: the variable NCBI_API_KEY).
    #[arg(long)]
    pub api_key: Option<String>,
    /// The JSONL file to write; what is under way is kept in OUT.partial.
    #[arg(long)]
    pub out: PathBuf,
    /// Go on with a run to this file that was broken off.
    #[arg(long)]
    pub resume: bool,
    /// Where the E-utilities are.
    #[arg(long, value_name = "URL", default_value = engram_corpus::fetch::EUTILS)]
    pub base_url: String,
}

/// Corpora to import.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Files, folders and patterns, in order. The format of each is told by its content.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The JSONL file to write.
    #[arg(long)]
    pub out: PathBuf,
    /// Name the column or JSON key of a field by hand: abstract=body.
    #[arg(long, value_name = "FIELD=COLUMN")]
    pub column: Vec<engram_corpus::read::Named>,
    /// Succeed though some of several files cannot be read.
    #[arg(long)]
    pub skip_unreadable: bool,
    /// Leave out texts that are equal or nearly equal to an earlier one.
    #[arg(long)]
    pub deduplicate: bool,
    /// Take a corpus in which no record has an abstract.
    #[arg(long)]
    pub titles_only: bool,
}

/// A corpus to split.
#[derive(Debug, Args)]
pub struct SplitArgs {
    /// The corpus.
    pub file: PathBuf,
    /// The share held out for validation.
    #[arg(long, default_value_t = 0.2, conflicts_with = "held_out", value_parser = within::<f64>(SPLIT))]
    pub fraction: f64,
    /// Hold out the texts that begin as a line of this file does, and no others.
    #[arg(long, value_name = "FILE")]
    pub held_out: Option<PathBuf>,
    /// Keep retracted articles, which are left out otherwise.
    #[arg(long)]
    pub keep_retracted: bool,
    /// Seed of the shuffle.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// The folder to write.
    #[arg(long)]
    pub out: PathBuf,
}

/// Texts to write.
#[derive(Debug, Args)]
pub struct WriteArgs {
    /// The fact table.
    #[arg(long)]
    pub facts: PathBuf,
    /// The checkpoint whose tokenizer counts tokens.
    #[arg(long)]
    pub model: PathBuf,
    /// How often each fact is stated in training.
    #[arg(long, default_value_t = 20)]
    pub exposures: usize,
    /// In how many wordings.
    #[arg(long, default_value_t = 5)]
    pub wordings: usize,
    /// The most tokens of a text.
    #[arg(long, default_value_t = 256)]
    pub max_tokens: usize,
    /// Seed of every choice.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// The folder to write.
    #[arg(long)]
    pub out: PathBuf,
}

/// Corpus commands.
#[derive(Debug, Subcommand)]
pub enum CorpusCommand {
    /// Fetch abstracts from PubMed over NCBI's E-utilities, as JSONL.
    Fetch(FetchArgs),
    /// Read exports of PubMed, Europe PMC, Zotero, EndNote and tables (docs/corpora.md) and write them as one JSONL file.
    Import(ImportArgs),
    /// Count abstracts, words, tokens and mentions of terms.
    Stats {
        /// The corpus.
        file: PathBuf,
        /// Terms to count, comma-separated.
        #[arg(long, allow_hyphen_values = true, value_delimiter = ',')]
        terms: Vec<String>,
        /// The checkpoint whose tokenizer counts tokens.
        #[arg(long)]
        model: Option<PathBuf>,
    },
    /// Split a corpus at random into train.jsonl and validation.jsonl, equal and nearly equal texts on one side.
    Split(SplitArgs),
    /// Write training and validation texts from a fact table.
    Write(WriteArgs),
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

/// A suite to build.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The fact table.
    #[arg(long, required_unless_present = "counterfact")]
    pub facts: Option<PathBuf>,
    /// Take the facts from a file of CounterFact instead.
    #[arg(long, conflicts_with_all = ["facts", "profile"])]
    pub counterfact: Option<PathBuf>,
    /// The checkpoint whose tokenizer decides what pairs fit.
    #[arg(long)]
    pub model: PathBuf,
    /// `paper`: question + answer pairs, as the published script takes them.
    #[arg(long)]
    pub profile: Option<Profile>,
    /// The most pairs of one kind (0: no limit).
    #[arg(long, default_value_t = 0, value_parser = within::<usize>(COUNT))]
    pub max_pairs_per_kind: usize,
    /// Seed of the pairing.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Whether texts are given the special tokens of their beginning: auto (as the checkpoint's tokenizer does), always,
    /// never.
    #[arg(long, default_value = "auto", value_name = "WHEN")]
    pub bos: Bos,
    /// The suite to write.
    #[arg(long)]
    pub out: PathBuf,
}

/// Suite commands.
#[derive(Debug, Subcommand)]
pub enum SuiteCommand {
    /// Build pairs from a fact table, or from CounterFact.
    Build(BuildArgs),
    /// Write a commented suite to start from, which can be checked and patched as it is (JSONL, or CSV by its name).
    New {
        /// The suite to write.
        file: PathBuf,
    },
    /// Say per pair what will not work, and why.
    Check {
        /// The suite.
        suite: PathBuf,
        /// The checkpoint whose tokenizer decides.
        #[arg(long)]
        model: PathBuf,
        /// Say what `patch` under this alignment does with each pair: strict, last, subject.
        #[arg(long)]
        align: Option<Align>,
        /// Whether texts are given the special tokens of their beginning: auto (as the checkpoint's tokenizer does), always,
        /// never.
        #[arg(long, default_value = "auto", value_name = "WHEN")]
        bos: Bos,
    },
    /// Show pairs and how they are tokenised.
    Show {
        /// The suite.
        suite: PathBuf,
        /// The checkpoint whose tokenizer cuts.
        #[arg(long)]
        model: PathBuf,
        /// How many pairs.
        #[arg(long, default_value_t = 5, value_parser = within::<usize>(COUNT))]
        most: usize,
        /// Whether texts are given the special tokens of their beginning: auto (as the checkpoint's tokenizer does), always,
        /// never.
        #[arg(long, default_value = "auto", value_name = "WHEN")]
        bos: Bos,
    },
}

/// How a sweep is made where it is not engram's own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
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
pub struct PatchArgs {
    /// The checkpoint.
    #[arg(long)]
    pub model: PathBuf,
    /// The suite.
    #[arg(long, conflicts_with_all = ["clean", "corrupt", "answer", "foil"])]
    pub suite: Option<PathBuf>,
    /// Clean prompt of one pair.
    #[arg(long, allow_hyphen_values = true, requires_all = ["corrupt", "answer", "foil"], required_unless_present = "suite")]
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
    pub profile: Option<Profile>,
    /// Drop, count and name pairs that cannot be patched, instead of refusing the suite.
    #[arg(long)]
    pub skip_unfit: bool,
    /// The folder to write.
    #[arg(long, required_unless_present = "plan_only")]
    pub out: Option<PathBuf>,
}

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

/// Model commands.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Sizes, sites and module names.
    Info {
        /// The checkpoint.
        #[arg(long)]
        model: PathBuf,
    },
    /// The most probable next tokens.
    Ask {
        /// The checkpoint.
        #[arg(long)]
        model: PathBuf,
        /// The prompt.
        #[arg(long, allow_hyphen_values = true)]
        prompt: String,
        /// How many tokens.
        #[arg(long, default_value_t = 10, value_parser = within::<u32>(TOP))]
        top: u32,
        /// Whether texts are given the special tokens of their beginning: auto (as the checkpoint's tokenizer does), always,
        /// never.
        #[arg(long, default_value = "auto", value_name = "WHEN")]
        bos: Bos,
        /// Take the prompt as what a user says, and write it by the checkpoint's chat template.
        #[arg(long)]
        chat: bool,
    },
    /// Logits of token ids, as safetensors: tensor "logits", [pos, vocab], f32.
    Logits {
        /// The checkpoint.
        #[arg(long)]
        model: PathBuf,
        /// Token ids, comma-separated.
        #[arg(long, value_delimiter = ',', required = true)]
        ids: Vec<u32>,
        /// The file to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Read a checkpoint and write it as float32 safetensors.
    Convert {
        /// The checkpoint.
        #[arg(long)]
        model: PathBuf,
        /// The folder to write.
        #[arg(long)]
        out: PathBuf,
    },
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
