//! Downloads one blob: resumes, checks it, and gives it its name.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use engram_core::pace;

use crate::cache::Cache;
use crate::client::{Client, TRIES, Trouble};
use crate::error::{HubError, Result, io_error};
use crate::hub::{Remote, broken};
use crate::snapshot::DownloadProgress;

/// Bytes read and written at a time.
const CHUNK: usize = 1 << 18;
/// HTTP status of a response with the requested range, and of one without such a range.
const PART: u16 = 206;
const NO_PART: u16 = 416;

/// A file of a commit to be downloaded.
pub(crate) struct Wanted<'a> {
    pub commit: &'a str,
    pub name: &'a str,
    pub remote: &'a Remote,
}

impl Wanted<'_> {
    /// Downloads a file's blob unless it is cached.
    ///
    /// Bytes are written to `CHECKSUM.incomplete`, where an interrupted download resumes. The file gets the blob's name
    /// only if its checksum is right.
    pub(crate) fn fetch(
        &self,
        client: &Client<'_>,
        cache: &Cache,
        progress: &mut dyn FnMut(DownloadProgress<'_>),
    ) -> Result<()> {
        let checksum = &self.remote.checksum;
        let blob = cache.blob(checksum.hex());
        if blob.exists() {
            return Ok(());
        }
        cache.prepare()?;
        let _held = cache.lock(checksum.hex(), || {
            progress(DownloadProgress::Waiting(self.name))
        })?;
        if blob.exists() {
            return Ok(());
        }
        let path = cache.blob(&format!("{}.incomplete", checksum.hex()));
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let mut file = file.map_err(io_error(&path))?;
        self.complete(client, &mut file, &path, progress)?;
        progress(DownloadProgress::Checking(self.name));
        let found = checksum.of_file(&path).map_err(io_error(&path))?;
        if found != checksum.hex() {
            std::fs::remove_file(&path).map_err(io_error(&path))?;
            return Err(self.damaged(
                client,
                format!(
                    "its bytes have the checksum {found}, where the hub says {}; they are removed, fetch it again",
                    checksum.hex()
                ),
            ));
        }
        file.sync_all().map_err(io_error(&path))?;
        std::fs::rename(&path, &blob).map_err(io_error(&blob))
    }

    /// Downloads until the file is complete, as long as there is progress.
    fn complete(
        &self,
        client: &Client<'_>,
        file: &mut File,
        path: &Path,
        progress: &mut dyn FnMut(DownloadProgress<'_>),
    ) -> Result<()> {
        let (mut tried, mut furthest) = (0, length(file, path)?);
        loop {
            let trouble = match self.part(client, file, path, progress) {
                Ok(()) => return Ok(()),
                Err(trouble) => trouble,
            };
            let there = length(file, path)?;
            // A trickle makes progress each time and never ends.
            if there >= furthest + pace::LEAST {
                (tried, furthest) = (0, there);
            }
            tried += 1;
            client.wait(trouble, tried, TRIES, progress)?;
        }
    }

    /// Downloads the missing bytes with one request.
    fn part(
        &self,
        client: &Client<'_>,
        file: &mut File,
        path: &Path,
        progress: &mut dyn FnMut(DownloadProgress<'_>),
    ) -> Result<(), Trouble> {
        let (name, size) = (self.name, self.remote.size);
        let lasting = |e| Trouble::Lasting(io_error(path)(e));
        let mut there = length(file, path).map_err(Trouble::Lasting)?;
        if there > size {
            file.set_len(0).map_err(lasting)?;
            there = 0;
        }
        if there == size {
            return Ok(());
        }
        let response = client.bytes(self.commit, name, there)?;
        let status = response.status().as_u16();
        let range = response.headers().get("content-range");
        let range = range.and_then(|value| value.to_str().ok()).unwrap_or("");
        let goes_on = status == PART && range.starts_with(&format!("bytes {there}-"));
        if !goes_on && there > 0 {
            file.set_len(0).map_err(lasting)?;
            there = 0;
        }
        if !goes_on && matches!(status, PART | NO_PART) {
            let why = format!("{name}: another part came than was asked for");
            return Err(Trouble::Passing(why, None));
        }
        let mut body = client.paced(response);
        let mut buffer = vec![0; CHUNK];
        while there < size {
            let read = match body.read(&mut buffer) {
                Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                read => read,
            };
            let far = format!(", {there} of {size}");
            let read = read.map_err(|e| broken(&format!("{name}: "), &e, &far))?;
            there += read as u64;
            if there > size {
                std::fs::remove_file(path).map_err(lasting)?;
                return Err(Trouble::Lasting(self.damaged(
                    client,
                    format!("more bytes came than the {size} that the hub says; they are removed"),
                )));
            }
            file.write_all(&buffer[..read]).map_err(lasting)?;
            progress(DownloadProgress::At(there, name));
        }
        Ok(())
    }

    fn damaged(&self, client: &Client<'_>, why: String) -> HubError {
        HubError::Damaged {
            reference: client.wanted.to_string(),
            file: self.name.to_owned(),
            why,
        }
    }
}

fn length(file: &File, path: &Path) -> Result<u64> {
    Ok(file.metadata().map_err(io_error(path))?.len())
}
