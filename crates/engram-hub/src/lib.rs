//! Models of the Hugging Face hub, in the cache that the Python tools share.
//!
//! [`snapshot`] fetches the files that a checkpoint needs, each checked against the checksum that the hub
//! gives, and returns where they lie; [`locate`] does so for a text that names a local path or a model.
//! A [`Reference`] is such a name, [`Options`] say which hub and which cache, [`DownloadProgress`] how it goes.
//! The cache is huggingface_hub's, so that each finds what the other has fetched:
//!
//! ```text
//! models--org--name/blobs/CHECKSUM                        the bytes, once
//! models--org--name/blobs/CHECKSUM.incomplete             the bytes fetched so far
//! models--org--name/snapshots/COMMIT/FILE                 a link to them: ../../blobs/CHECKSUM
//! models--org--name/refs/REVISION                         the commit of a branch or tag
//! .locks/models--org--name/CHECKSUM.lock                  held while its blob is fetched
//! ```
//!
//! ```
//! use engram_hub::{HubError, Options, Reference, snapshot};
//!
//! let wanted = Reference::parse("HuggingFaceTB/SmolLM2-135M@main")?;
//! assert_eq!((wanted.repo(), wanted.revision()), ("HuggingFaceTB/SmolLM2-135M", "main"));
//!
//! // Offline, only the cache is asked; this one is empty.
//! let options = Options {
//!     offline: true,
//!     cache: std::env::temp_dir().join("no-such-cache"),
//!     ..Options::from_env()?
//! };
//! let found = snapshot(&wanted, &options, &mut |_| {});
//! assert!(matches!(found, Err(HubError::Offline { .. })));
//! # Ok::<(), HubError>(())
//! ```

#![deny(missing_docs)]
#![deny(clippy::expect_used, clippy::unwrap_used)]
#![forbid(unsafe_code)]

mod cache;
mod checksum;
mod choose;
mod client;
mod download;
mod error;
mod hub;
mod options;
mod reference;
mod snapshot;

pub use error::{HubError, Result};
pub use options::{HUB, Options, Token};
pub use reference::{Reference, full_name, looks_like_reference};
pub use snapshot::{DownloadProgress, locate, snapshot};
