//! From a model's name to a local path: cache, listing, download.

use std::path::{Path, PathBuf};
use std::time::Duration;

use engram_core::files;

use crate::cache::Cache;
use crate::choose::{Choice, INDEX, Index, Weights, choose, shards};
use crate::client::{Client, TRIES};
use crate::download::Wanted;
use crate::error::{HubError, Result};
use crate::hub::{Listing, Remote};
use crate::options::Options;
use crate::reference::{Reference, is_commit};

/// Progress of [`locate`] and [`snapshot`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownloadProgress<'a> {
    /// The hub at this address is asked for the model's files.
    Asking(&'a str),
    /// Number of files to download, and their total size in bytes. An index of weights is downloaded first, by itself.
    Wanted(usize, u64),
    /// Bytes downloaded so far, and the current file's name.
    At(u64, &'a str),
    /// This file is complete and its checksum is computed.
    Checking(&'a str),
    /// Another process is downloading this file; waiting for it.
    Waiting(&'a str),
    /// A request failed and will be repeated after this time; the text has the reason and the number of the attempt.
    Again(Duration, &'a str),
    /// The hub could not be reached, for this reason; the cached commit of the revision is used.
    Cached(&'a str),
}

/// The local path for a text: the path itself if it exists, otherwise the model of that name, which is downloaded.
///
/// # Errors
/// [`HubError::Neither`] if the text is neither, with both reasons; otherwise as [`snapshot`].
pub fn locate(
    text: &Path,
    options: &Options,
    progress: &mut dyn FnMut(DownloadProgress<'_>),
) -> Result<PathBuf> {
    // A path that exists and cannot be examined is left to its reader.
    if !matches!(text.try_exists(), Ok(false)) {
        return Ok(text.to_owned());
    }
    let name = text.to_string_lossy();
    let found = Reference::parse(&name).and_then(|wanted| snapshot(&wanted, options, progress));
    found.map_err(|error| match error {
        HubError::Reference { .. }
        | HubError::NotFound { .. }
        | HubError::Unreachable { .. }
        | HubError::Offline { .. } => HubError::Neither {
            text: name.into_owned(),
            why: Box::new(error),
        },
        other => other,
    })
}

/// Downloads the files of a checkpoint unless they are cached, and returns its path: the commit's folder, or the GGUF
/// file.
///
/// A branch or tag is resolved each time with one request; a full commit that is cached needs none. Downloads resume.
/// If the hub cannot be reached, the cached commit of the revision is used.
///
/// # Errors
/// [`HubError::NotFound`], [`HubError::Refused`] or [`HubError::Unreachable`] if the hub does not give the model;
/// [`HubError::Contents`] if its files are not a checkpoint; [`HubError::Damaged`] for a wrong checksum;
/// [`HubError::Offline`] in offline mode; [`HubError::Io`] if the cache cannot be written.
pub fn snapshot(
    wanted: &Reference,
    options: &Options,
    progress: &mut dyn FnMut(DownloadProgress<'_>),
) -> Result<PathBuf> {
    let cache = Cache::new(&options.cache, wanted.repo());
    let known = match cache.commit(wanted.revision()) {
        Some(commit) => cache.whole(&commit, wanted),
        None => Err(format!("no revision {:?} of it", wanted.revision())),
    };
    if options.offline {
        return known.map_err(|why| HubError::Offline {
            reference: wanted.to_string(),
            cache: options.cache.clone(),
            why,
        });
    }
    if let Ok(path) = &known
        && is_commit(wanted.revision())
        && (wanted.file().is_some() || path.is_dir())
    {
        return Ok(path.clone());
    }
    let client = Client::new(options, wanted)?;
    progress(DownloadProgress::Asking(&options.endpoint));
    // With a cached commit as a fallback, there is no point in waiting for a hub that does not answer.
    let tries = if known.is_ok() { 1 } else { TRIES };
    let listing = match (client.listing(tries, progress), known) {
        (Ok(listing), _) => listing,
        (Err(error @ HubError::Unreachable { .. }), Ok(path)) => {
            progress(DownloadProgress::Cached(&error.to_string()));
            return Ok(path);
        }
        (Err(error), _) => return Err(error),
    };
    let run = Run {
        client,
        cache,
        listing,
    };
    run.fetch(progress)
}

/// The download of one commit.
struct Run<'a> {
    client: Client<'a>,
    cache: Cache,
    listing: Listing,
}

impl Run<'_> {
    fn fetch(&self, progress: &mut dyn FnMut(DownloadProgress<'_>)) -> Result<PathBuf> {
        let wanted = self.client.wanted;
        let choice = choose(&self.listing.files, wanted).map_err(|why| self.contents(why))?;
        let Choice {
            beside: mut names,
            weights,
        } = choice;
        // Weights come last: a commit with weights is complete.
        match &weights {
            Weights::One => names.push("model.safetensors".to_owned()),
            Weights::Gguf(name) => names.push(name.clone()),
            Weights::Shards => {
                self.all(&[INDEX.to_owned()], progress)?;
                names.extend(self.shards()?);
            }
        }
        self.all(&names, progress)?;
        let commit = &self.listing.commit;
        self.cache.note(wanted.revision(), commit)?;
        Ok(self.cache.checkpoint(commit, &weights))
    }

    /// The files that the index lists; the repository must have them.
    fn shards(&self) -> Result<Vec<String>> {
        let path = self.cache.file(&self.listing.commit, INDEX);
        let index: Index = files::read_json(&path)?;
        let names = shards(&index).map_err(|why| self.contents(why))?;
        let missing = |name: &&String| !self.listing.files.contains(*name);
        match names.iter().find(missing) {
            Some(name) => Err(self.contents(format!("no {name:?}, which its {INDEX} names"))),
            None => Ok(names),
        }
    }

    /// Downloads those files that are not cached.
    fn all(&self, names: &[String], progress: &mut dyn FnMut(DownloadProgress<'_>)) -> Result<()> {
        let commit = &self.listing.commit;
        let missing = names
            .iter()
            .filter(|name| !self.cache.file(commit, name).exists());
        let mut files: Vec<(&String, Remote)> = Vec::new();
        for name in missing {
            files.push((name, self.client.remote(commit, name, progress)?));
        }
        if files.is_empty() {
            return Ok(());
        }
        let bytes = files.iter().map(|(_, remote)| remote.size).sum();
        progress(DownloadProgress::Wanted(files.len(), bytes));
        let mut done = 0;
        for (name, remote) in &files {
            let file = Wanted {
                commit,
                name,
                remote,
            };
            file.fetch(&self.client, &self.cache, &mut |told| {
                progress(match told {
                    DownloadProgress::At(there, name) => DownloadProgress::At(done + there, name),
                    other => other,
                });
            })?;
            self.cache.link(remote.checksum.hex(), commit, name)?;
            done += remote.size;
            progress(DownloadProgress::At(done, name));
        }
        Ok(())
    }

    fn contents(&self, why: String) -> HubError {
        HubError::Contents {
            reference: self.client.wanted.to_string(),
            why,
        }
    }
}
