//! The command line of `engram corpus`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use engram::bounds::SPLIT;
use engram_corpus::fetch::Day;

use super::within;

/// Abstracts to fetch.
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// The query, as PubMed's search field takes it.
    #[arg(long, allow_hyphen_values = true)]
    pub query: String,
    /// Only what was published on this day or later: YYYY, YYYY-MM or YYYY-MM-DD.
    #[arg(long, value_name = "DAY")]
    pub from: Option<Day>,
    /// Only what was published on this day or earlier.
    #[arg(long, value_name = "DAY")]
    pub to: Option<Day>,
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
    /// Count abstracts, words, tokens, and mentions of terms that are named.
    Stats {
        /// The corpus.
        file: PathBuf,
        /// Terms whose mentions are counted, comma-separated; none where none is given.
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
