//! The command line of `engram suite`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use engram::bounds::COUNT;
use engram_core::{Align, Bos};

use super::{ProfileName, within};

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
    pub profile: Option<ProfileName>,
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
