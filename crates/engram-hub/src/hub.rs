//! Responses of the hub: the files of a repository, the metadata of a file, refusals.

use std::collections::BTreeSet;
use std::io::Read;

use engram_core::pace::{self, Paced};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use ureq::http::{HeaderMap, Method, Uri};

use crate::checksum::Checksum;
use crate::client::{Client, Response, TRIES, Trouble, after, text};
use crate::error::{HubError, Result};
use crate::reference::{is_commit, is_gguf, is_safe};
use crate::snapshot::DownloadProgress;

/// Maximum size in bytes of the list of a repository's files; some repositories have tens of thousands.
const LISTING_LIMIT: u64 = 64 << 20;
/// Maximum size in bytes of a file of weights: the hub accepts none beyond 500 GB.
const WEIGHTS_LIMIT: u64 = 1 << 40;
/// Maximum size in bytes of any other file: the largest vocabularies have about 40 MB.
const OTHER_LIMIT: u64 = 256 << 20;
/// Characters that are not escaped in a path segment of a URL.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The files of a repository at a commit.
pub(crate) struct Listing {
    pub commit: String,
    pub files: BTreeSet<String>,
}

/// The hub's metadata of a file.
pub(crate) struct Remote {
    pub checksum: Checksum,
    pub size: u64,
}

impl Client<'_> {
    /// The files of the repository at the revision.
    pub(crate) fn listing(
        &self,
        tries: u32,
        progress: &mut dyn FnMut(DownloadProgress<'_>),
    ) -> Result<Listing> {
        let url = format!(
            "{}/api/models/{}/revision/{}",
            self.options.endpoint,
            self.wanted.repo(),
            utf8_percent_encode(self.wanted.revision(), PLAIN)
        );
        let bytes = self.insist(tries, progress, || {
            let response = self.send(Method::GET, &url, 0)?;
            // With reserved capacity the body is read in large pieces.
            let mut bytes = Vec::with_capacity(1 << 16);
            let body = self.paced(response);
            let whole = body.take(LISTING_LIMIT + 1).read_to_end(&mut bytes);
            whole.map_err(|e| broken("", &e, ""))?;
            Ok(bytes)
        })?;
        let answer: Answer = serde_json::from_slice(&bytes).map_err(|e| {
            self.refused(format!(
                "{} does not answer as the hub does ({e}); is HF_ENDPOINT right, and is the network's login page passed?",
                self.options.endpoint
            ))
        })?;
        let files: BTreeSet<String> = answer.siblings.into_iter().map(|s| s.rfilename).collect();
        if !is_commit(&answer.sha) {
            return Err(self.refused(format!("the hub names no commit, but {:?}", answer.sha)));
        }
        match files.iter().find(|name| !is_safe(name)) {
            Some(name) => Err(self.refused(format!(
                "it has a file {name:?}, whose name leads out of its folder; nothing of it is fetched"
            ))),
            None => Ok(Listing {
                commit: answer.sha,
                files,
            }),
        }
    }

    /// The hub's metadata of a commit's file.
    pub(crate) fn remote(
        &self,
        commit: &str,
        name: &str,
        progress: &mut dyn FnMut(DownloadProgress<'_>),
    ) -> Result<Remote> {
        let url = self.address(commit, name);
        let response = self.insist(TRIES, progress, || self.send(Method::HEAD, &url, 0))?;
        let headers = response.headers();
        if let Some(other) = text(headers, "x-repo-commit").filter(|c| *c != commit) {
            return Err(self.refused(format!("the hub gives {name} of another commit, {other:?}")));
        }
        // Without a linked large file the ETag is git's SHA-1. Other hosts use ETags for SHA-256s of something else.
        let linked = text(headers, "x-linked-etag");
        let etag = linked.or_else(|| text(headers, "etag")).unwrap_or_default();
        let checksum = Checksum::of_etag(etag)
            .filter(|sum| linked.is_some() || matches!(sum, Checksum::Git(_)))
            .ok_or_else(|| {
                self.refused(format!(
                    "of {name} there is no checksum (ETag {etag:?}), so that it could not be checked; is HF_ENDPOINT a server that changes what the hub says?"
                ))
            })?;
        let size = text(headers, "x-linked-size").or_else(|| text(headers, "content-length"));
        let size = size
            .and_then(|size| size.parse().ok())
            .ok_or_else(|| self.refused(format!("the hub gives no size of {name}")))?;
        let limit = match name.ends_with(".safetensors") || is_gguf(name) {
            true => WEIGHTS_LIMIT,
            false => OTHER_LIMIT,
        };
        if size > limit {
            return Err(self.refused(format!(
                "{name} would have {size} bytes, where {limit} are the most that is believed"
            )));
        }
        Ok(Remote { checksum, size })
    }

    /// A response's body; reading it fails if bytes arrive too slowly.
    pub(crate) fn paced(&self, response: Response) -> impl Read {
        Paced::new(response.into_body().into_reader(), self.options.now)
    }

    /// Requests a commit's file from a byte on.
    pub(crate) fn bytes(&self, commit: &str, name: &str, from: u64) -> Result<Response, Trouble> {
        self.send(Method::GET, &self.address(commit, name), from)
    }

    fn address(&self, commit: &str, name: &str) -> String {
        let parts: Vec<String> = name
            .split('/')
            .map(|part| utf8_percent_encode(part, PLAIN).to_string())
            .collect();
        let (endpoint, repo) = (&self.options.endpoint, self.wanted.repo());
        format!("{endpoint}/{repo}/resolve/{commit}/{}", parts.join("/"))
    }

    /// The error for a response that is neither a success nor a redirect.
    pub(crate) fn declined(&self, status: u16, headers: &HeaderMap, url: &Uri) -> Trouble {
        let host = url.host().unwrap_or_default();
        if matches!(status, 408 | 429 | 500..=599) {
            return Trouble::Passing(format!("{host} answers {status}"), after(status, headers));
        }
        let said = text(headers, "x-error-message").map(|said| {
            let plain = said.chars().filter(|c| !c.is_control()).take(300);
            format!(" (the hub says: {})", plain.collect::<String>())
        });
        let said = said.unwrap_or_default();
        let page = format!("{}/{}", self.options.endpoint, self.wanted.repo());
        let tokens = format!("{}/settings/tokens", self.options.endpoint);
        let code = text(headers, "x-error-code").unwrap_or_default();
        let token = self.options.token.is_some();
        let absent = |why: String| {
            Trouble::Lasting(HubError::NotFound {
                reference: self.wanted.to_string(),
                why,
            })
        };
        match (status, code) {
            _ if !self.is_hub(url) => {
                self.lost(format!("{host}, where the hub keeps it, answers {status}"))
            }
            (_, "GatedRepo") => self.lost(format!(
                "it is given only to those who accept its licence: do so at {page}, and set HF_TOKEN to a token of that account ({tokens}){said}"
            )),
            (_, "RevisionNotFound") => absent(format!(
                "there is no branch, tag or commit {:?}; those that there are stand at {page}/tree/main",
                self.wanted.revision()
            )),
            (_, "EntryNotFound") => absent(format!("there is no file at {url}")),
            (401 | 403 | 404, "RepoNotFound") | (404, _) if token => absent(format!(
                "there is no such model at {page}, or it is private and HF_TOKEN's account has no access{said}"
            )),
            (401, _) if token => self.lost(format!(
                "the token (HF_TOKEN, or the file token in HF_HOME) is not accepted; make another at {tokens}, or unset it{said}"
            )),
            (401 | 404, _) => absent(format!(
                "there is no such model at {page}, or it is private: check the name, or set HF_TOKEN ({tokens}){said}"
            )),
            (403, _) => self.lost(format!(
                "the hub gives no access: see {page}, and set HF_TOKEN to a token that may read it ({tokens}){said}"
            )),
            _ => self.lost(format!("{host} answers {status}{said}")),
        }
    }
}

/// The error for a read that failed in a body; `of` names the file and `far` the bytes read.
pub(crate) fn broken(of: &str, error: &std::io::Error, far: &str) -> Trouble {
    match pace::is_too_slow(error) {
        true => Trouble::Slow(format!("{of}{error}{far}")),
        false => Trouble::Passing(format!("{of}the connection broke ({error}){far}"), None),
    }
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}
