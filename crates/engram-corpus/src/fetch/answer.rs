//! Responses of the E-utilities: a search as JSON, citations as XML, or an error.

use serde::Deserialize;

use crate::abstracts::Abstract;
use crate::read::xml::{Document, Found};

/// The citations of a response.
pub(super) fn citations(bytes: &[u8]) -> Result<Vec<Abstract>, String> {
    let mut document = Document::new(bytes);
    let mut all = Vec::new();
    loop {
        match document.next() {
            Ok(Some(Found::Citation(record))) => all.push(record.found),
            Ok(Some(Found::Deleted(..))) => {}
            Ok(None) => return Ok(all),
            Err(fault) => return Err(format!("its answer at byte {}: {}", fault.byte, fault.why)),
        }
    }
}

/// The error that the service sent instead of citations.
pub(super) fn refusal(bytes: &[u8]) -> Option<String> {
    let head = &bytes[..bytes.len().min(2000)];
    let refused = head.windows(7).any(|w| w == b"<ERROR>") || head.starts_with(b"{");
    refused.then(|| String::from_utf8_lossy(head).chars().take(300).collect())
}

#[derive(Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    pub(super) esearchresult: Results,
    #[serde(default)]
    pub(super) error: Option<String>,
}

#[derive(Default, Deserialize)]
pub(super) struct Results {
    pub(super) count: Option<String>,
    pub(super) webenv: Option<String>,
    pub(super) querykey: Option<String>,
    pub(super) idlist: Option<Vec<String>>,
    #[serde(default, rename = "ERROR")]
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) errorlist: Option<Errors>,
}

#[derive(Deserialize)]
pub(super) struct Errors {
    #[serde(default)]
    pub(super) phrasesnotfound: Vec<String>,
}
