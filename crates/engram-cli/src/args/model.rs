//! The command line of `engram model`.

use std::path::PathBuf;

use clap::Subcommand;
use engram::bounds::TOP;
use engram_core::Bos;

use super::within;

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
