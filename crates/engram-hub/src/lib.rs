//! Models of the Hugging Face hub, in the cache that they share with the Python tools.
//!
//! [`snapshot`] fetches the files that a checkpoint needs, each checked against the checksum that the hub
//! gives, and returns where they lie; [`locate`] does so for a text that names a local path or a model.
//! The cache is huggingface_hub's, so that each finds what the other has fetched:
//!
//! ```text
//! models--org--name/blobs/CHECKSUM                        the bytes, once
//! models--org--name/blobs/CHECKSUM.incomplete             what of them has come, until they are whole
//! models--org--name/snapshots/COMMIT/FILE                 a link to them: ../../blobs/CHECKSUM
//! models--org--name/refs/REVISION                         the commit that a branch or tag stood at
//! .locks/models--org--name/CHECKSUM.lock                  held while its blob is fetched
//! ```

#![deny(missing_docs)]

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
