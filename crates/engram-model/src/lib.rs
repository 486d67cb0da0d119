//! Transformer language models whose forward pass can be read and changed at named sites, their checkpoints and their
//! tokenizers. A model is read from safetensors or GGUF; every family becomes one [`Architecture`], so that nothing
//! above this crate knows a family. The crate knows no pair and no metric.
//!
//! | type | what it is |
//! |---|---|
//! | [`LanguageModel`] | weights, tokenizer and sites of a checkpoint |
//! | [`Tokenizer`] | texts to token ids, with the special tokens of their beginning; chat templates |
//! | [`Tap`], [`Capture`] | sees the value at each site that it wants, and may replace it |
//! | [`Architecture`], [`Shape`] | a network as a description; the part of it that a planner needs |
//! | [`Family`] | how a `config.json` and its tensors become that description |
//! | [`wavefront`] | many changed runs at once, from the layer and position where each differs |
//! | [`training`] | the pass that training makes, with its gradients |
//!
//! ```
//! use candle_core::Device;
//! use engram_core::Site;
//! use engram_model::{Capture, LanguageModel};
//!
//! let model = LanguageModel::read("../../assets/models/pubmed-mini".as_ref(), &Device::Cpu)?;
//! let ids = model.tokenizer().encode("The treatment of epilepsy")?;
//! let mut capture = Capture::of([(Site::ResidPost, Some(0))]);
//! let logits = model.forward(&[ids.clone()], &mut capture)?;
//! let shape = model.shape();
//! assert_eq!(logits.dims(), [1, ids.len(), shape.vocab]);
//! let stream = capture.get(Site::ResidPost, Some(0));
//! assert_eq!(stream.map(|s| s.dims()), Some(&[1, ids.len(), shape.d_model][..]));
//! # Ok::<(), engram_model::ModelError>(())
//! ```

#![deny(missing_docs)]
#![deny(clippy::expect_used, clippy::unwrap_used)]

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
pub use model::LanguageModel;
pub use tap::{Capture, NoTap, Tap};
pub use tokenizer::Tokenizer;
pub use transformer::{TrainingPass, Transformer};

/// A hash of this crate's code: what it computed under another is computed again.
pub const SOURCE: &str = env!("ENGRAM_SOURCE");
