//! Transformers whose forward pass is written as stages with named sites, their checkpoints and
//! tokenizers. The only crate that knows what an architecture is; it knows no pair and no metric.

#![deny(missing_docs)]

pub mod architecture;
pub mod block;
mod bytes;
pub mod checkpoint;
mod device;
pub mod error;
pub mod families;
mod finite;
pub mod gguf;
pub mod joined;
pub mod kernels;
pub mod model;
pub mod shard;
pub mod tap;
pub mod tokenizer;
pub mod training;
pub mod transformer;
pub mod wavefront;

pub use architecture::{Architecture, Shape};
pub use device::device;
pub use error::{ModelError, Result};
pub use families::{Family, Gpt2Config};
pub use joined::covering;
pub use model::Model;
pub use tap::{Capture, NoTap, Tap};
pub use tokenizer::Tokenizer;
pub use transformer::{TrainingPass, Transformer};

/// A hash of this crate's code: what it computed under another is computed again.
pub const SOURCE: &str = env!("ENGRAM_SOURCE");
