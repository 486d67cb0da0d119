//! Transformers whose forward pass is written as stages with named sites, their checkpoints and
//! tokenizers. The only crate that knows what an architecture is; it knows no pair and no metric.

#![deny(missing_docs)]

pub mod checkpoint;
pub mod config;
mod device;
pub mod error;
pub mod gguf;
pub mod gpt2;
pub mod kernels;
pub mod model;
pub mod tap;
pub mod tokenizer;
pub mod training;
pub mod wavefront;

pub use config::Gpt2Config;
pub use device::device;
pub use error::{ModelError, Result};
pub use gpt2::Gpt2;
pub use model::{Model, Shape};
pub use tap::{Capture, NoTap, Tap};
pub use tokenizer::Tokenizer;
