//! From a model's name to a path: what the cache has, what the hub says, what is fetched.

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

/// How it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The hub at this address is asked what the model has.
    Asking(&'a str),
    /// So many files are to be fetched, of so many bytes together; where there is an index of weights, it comes
    /// first and alone.
    Wanted(usize, u64),
    /// So many of these bytes are there; this file is being fetched.
    At(u64, &'a str),
    /// All of this file's bytes are there and are being checked.
    Checking(&'a str),
    /// Another process is fetching this file, and is waited for.
    Waiting(&'a str),
    /// A request failed, for this reason (with the number of the try, and of how many), and is made again after so long.
    Again(Duration, &'a str),
    /// The hub could not be asked, for this reason; what it last said, and the cache has, is used.
    Cached(&'a str),
}

/// The local path that a text means: itself where that exists, otherwise the model of the hub that it names, which
/// is fetched.
///
/// # Errors
/// [`HubError::Neither`], with both readings; any other of [`snapshot`].
pub fn locate(
    text: &Path,
    options: &Options,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf> {
    // What is there and cannot be looked at is for its reader to say.
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

/// Fetches what a checkpoint needs of a model, unless the cache has it, and returns its path: the folder of the
/// commit, or the file where it is one of GGUF.
///
/// A branch or a tag is asked for each time, with one request; a whole commit that is there, with none. What was
/// broken off is gone on with. Where the hub cannot be reached, what the cache has of the revision is used.
///
/// # Errors
/// [`HubError`]: the hub has no such model, does not give it or cannot be reached; it has no files that make a
/// checkpoint; bytes that are not what the hub says; the cache cannot be written.
pub fn snapshot(
    wanted: &Reference,
    options: &Options,
    progress: &mut dyn FnMut(Progress<'_>),
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
    progress(Progress::Asking(&options.endpoint));
    // Where there is something to fall back on, nobody waits for a hub that does not answer.
    let tries = if known.is_ok() { 1 } else { TRIES };
    let listing = match (client.listing(tries, progress), known) {
        (Ok(listing), _) => listing,
        (Err(error @ HubError::Unreachable { .. }), Ok(path)) => {
            progress(Progress::Cached(&error.to_string()));
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

/// One commit being fetched.
struct Run<'a> {
    client: Client<'a>,
    cache: Cache,
    listing: Listing,
}

impl Run<'_> {
    fn fetch(&self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf> {
        let wanted = self.client.wanted;
        let choice = choose(&self.listing.files, wanted).map_err(|why| self.contents(why))?;
        let Choice {
            beside: mut names,
            weights,
        } = choice;
        // The weights come last: where they are, all else is, which is how a whole snapshot is known.
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

    /// The files that the index names, which the repository must have.
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

    /// Fetches those of the files that are not there.
    fn all(&self, names: &[String], progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
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
        progress(Progress::Wanted(files.len(), bytes));
        let mut done = 0;
        for (name, remote) in &files {
            let file = Wanted {
                commit,
                name,
                remote,
            };
            file.fetch(&self.client, &self.cache, &mut |told| {
                progress(match told {
                    Progress::At(there, name) => Progress::At(done + there, name),
                    other => other,
                });
            })?;
            self.cache.link(remote.checksum.hex(), commit, name)?;
            done += remote.size;
            progress(Progress::At(done, name));
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
