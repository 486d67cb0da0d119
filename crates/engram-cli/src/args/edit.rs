//! The command line of `engram edit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use engram::LayerChoice;
use engram::bounds::{BATCH, COUNT, TOKENS};
use engram_core::Bos;

use super::within;

/// Edit commands.
#[derive(Debug, Subcommand)]
pub enum EditCommand {
    /// Edit one fact, or many at once with MEMIT or AlphaEdit, and write the edit as a file.
    Request(EditRequestArgs),
    /// Edit every fact by itself at chosen layers, and score efficacy, paraphrases and neighbours.
    Sweep(EditSweepArgs),
    /// Edit facts one after another, each on the model that the earlier edits gave, and score the model on the way.
    Sequence(EditSequenceArgs),
    /// Score what the edits of a folder change in what the model says: their facts, paraphrases, neighbours, and prompts
    /// that they are not about.
    Score(EditScoreArgs),
    /// Lay edits over a checkpoint: a folder that stands for the edited model wherever a model is asked for.
    Apply {
        /// The checkpoint, or a folder of edits.
        #[arg(long)]
        model: PathBuf,
        /// The edits' files, in order.
        #[arg(required = true)]
        edits: Vec<PathBuf>,
        /// The folder of edits to write, or to add to.
        #[arg(long)]
        out: PathBuf,
    },
    /// Take an edit off again.
    Revert {
        /// The folder of edits.
        folder: PathBuf,
        /// The edit, or the first digits of its hash.
        edit: String,
    },
    /// List the edits of a folder.
    List {
        /// The folder of edits.
        folder: PathBuf,
    },
    /// Show what an edit's file changes, and what for.
    Show {
        /// The file.
        edit: PathBuf,
    },
    /// Write an edited model as a checkpoint of its own.
    Merge {
        /// The folder of edits.
        #[arg(long)]
        model: PathBuf,
        /// The folder to write.
        #[arg(long)]
        out: PathBuf,
    },
}

/// How an edit is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum EditMethod {
    /// One rank-one change of one layer, by one mean key.
    RRome,
    /// The same as published, by two keys.
    Rome,
    /// Many facts at once over a range of layers.
    Memit,
    /// Many facts at once over a range of layers, within the null space of preserved keys.
    #[value(name = "alphaedit")]
    AlphaEdit,
    /// Fine-tuning with every weight's change within a bound.
    FtL,
    /// Fine-tuning by a change of low rank.
    Lora,
}

/// What edits have in common.
#[derive(Debug, Args)]
pub struct HowArgs {
    /// The checkpoint, or a folder of edits.
    #[arg(long)]
    pub model: PathBuf,
    /// The method.
    #[arg(long, value_enum, default_value = "r-rome")]
    pub method: EditMethod,
    /// The layers: N, N-M, all (each by itself; together with memit and alphaedit), or auto (with --recovery). The default of `request`
    /// is what a short sweep over its own facts recommends, that of `sweep` is
    /// all, and for memit and alphaedit a few sets of three.
    #[arg(long, value_name = "LAYER")]
    pub layer: Option<LayerChoice>,
    /// A sweep of mlp_out: --layer auto takes the layer that recovers most there.
    #[arg(long, value_name = "DIR")]
    pub recovery: Option<PathBuf>,
    /// Corpora whose keys the edit is to leave alone (all methods but ft-l and lora).
    #[arg(long, value_name = "FILE")]
    pub texts: Vec<PathBuf>,
    /// Whether texts are given the special tokens of their beginning: auto (as the checkpoint's tokenizer does), always,
    /// never.
    #[arg(long, default_value = "auto", value_name = "WHEN")]
    pub bos: Bos,
    /// Where covariances are kept (default: engram/statistics of the cache folder).
    #[arg(long, value_name = "DIR")]
    pub statistics: Option<PathBuf>,
    /// Override a setting of the method: key=value (docs/editing.md has them all).
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// An edit.
#[derive(Debug, Args)]
pub struct EditRequestArgs {
    /// How it is made.
    #[command(flatten)]
    pub how: HowArgs,
    /// The prompt, which stops just before the answer.
    #[arg(long, allow_hyphen_values = true, requires_all = ["subject", "to"], required_unless_present_any = ["suite", "counterfact", "file"])]
    pub prompt: Option<String>,
    /// What it is about, as the prompt has it.
    #[arg(long, allow_hyphen_values = true)]
    pub subject: Option<String>,
    /// The new answer.
    #[arg(long, allow_hyphen_values = true)]
    pub to: Option<String>,
    /// The present answer, where it is to be scored against.
    #[arg(long, allow_hyphen_values = true)]
    pub from: Option<String>,
    /// Take facts from a suite.
    #[arg(long, conflicts_with_all = ["prompt", "counterfact"])]
    pub suite: Option<PathBuf>,
    /// Take facts from a file of CounterFact.
    #[arg(long, conflicts_with = "prompt")]
    pub counterfact: Option<PathBuf>,
    /// Take facts and their new answers from a list (JSONL, CSV or a spreadsheet).
    #[arg(long, conflicts_with_all = ["prompt", "suite", "counterfact"])]
    pub file: Option<PathBuf>,
    /// Which facts of it, by name (default: all).
    #[arg(long, allow_hyphen_values = true)]
    pub fact: Vec<String>,
    /// Write the edit even if the model does not say the new answer, or says other things otherwise.
    #[arg(long)]
    pub force: bool,
    /// The edit's file to write.
    #[arg(long)]
    pub out: PathBuf,
}

/// Edits that were applied, and what to ask.
#[derive(Debug, Args)]
pub struct EditScoreArgs {
    /// The folder of edits.
    pub folder: PathBuf,
    /// Score the facts of a list (JSONL, CSV or a spreadsheet) in place of what the edits ask for.
    #[arg(long)]
    pub file: Option<PathBuf>,
    /// Take paraphrases and neighbours of the edits' facts from a suite.
    #[arg(long, conflicts_with = "file")]
    pub suite: Option<PathBuf>,
    /// Take paraphrases and neighbours of the edits' facts from a file of CounterFact.
    #[arg(long, conflicts_with_all = ["file", "suite"])]
    pub counterfact: Option<PathBuf>,
    /// Whether texts are given the special tokens of their beginning: auto (as the checkpoint's tokenizer does), always,
    /// never.
    #[arg(long, default_value = "auto", value_name = "WHEN")]
    pub bos: Bos,
}

/// Facts to edit and to score.
#[derive(Debug, Args)]
pub struct EditFactsArgs {
    /// How they are made.
    #[command(flatten)]
    pub how: HowArgs,
    /// Take facts from a suite. Neighbours are facts of the same relation with another answer whose answer the model says.
    #[arg(
        long,
        required_unless_present = "counterfact",
        conflicts_with = "counterfact"
    )]
    pub suite: Option<PathBuf>,
    /// Take facts from a file of CounterFact, with the neighbours that it gives.
    #[arg(long)]
    pub counterfact: Option<PathBuf>,
    /// The most facts of a kind, spread over its relations (0: no limit).
    #[arg(long, default_value_t = 0, value_parser = within::<usize>(COUNT))]
    pub most: usize,
    /// Also edit facts that the model does not know, and take them as neighbours.
    #[arg(long)]
    pub all_facts: bool,
    /// Texts whose perplexity is measured before and after edits. Where facts are edited together or one after another, sentences that state one
    /// are left out.
    #[arg(long, value_name = "FILE")]
    pub held_out: Option<PathBuf>,
    /// The most tokens of those texts.
    #[arg(long, default_value_t = 1000, value_parser = within::<usize>(TOKENS))]
    pub held_out_tokens: usize,
    /// The folder to write.
    #[arg(long)]
    pub out: PathBuf,
}

/// Edits to score.
#[derive(Debug, Args)]
pub struct EditSweepArgs {
    /// Which facts, and how.
    #[command(flatten)]
    pub facts: EditFactsArgs,
    /// Measure how every edit moves every other fact.
    #[arg(long)]
    pub side_effects: bool,
    /// Measure the n-gram entropy of so many continuations of 100 tokens, before and after every edit.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = within::<usize>(COUNT))]
    pub fluency: usize,
}

/// Edits one after another.
#[derive(Debug, Args)]
pub struct EditSequenceArgs {
    /// Which facts, and how.
    #[command(flatten)]
    pub facts: EditFactsArgs,
    /// Facts edited at once (memit, alphaedit).
    #[arg(long, default_value_t = 1, value_parser = within::<usize>(BATCH))]
    pub batch: usize,
    /// Score the model after so many edited facts, at the end of the batch that reaches them; it is scored after the last
    /// batch too.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 300, 500, 1000], value_parser = within::<usize>(COUNT))]
    pub at: Vec<usize>,
    /// The most edited facts that are scored at a point, evenly spaced over all so far.
    #[arg(long, default_value_t = 100, value_parser = within::<usize>(BATCH))]
    pub scored: usize,
    /// Go on with a sequence that was broken off.
    #[arg(long)]
    pub resume: bool,
}
