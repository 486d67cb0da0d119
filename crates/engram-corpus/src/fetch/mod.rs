//! Downloads abstracts from PubMed through NCBI's E-utilities: a search, then its citations in batches.
//!
//! An unfinished download is stored in `OUT.partial`: the search with its PMIDs, and each batch's citations. A resumed
//! download continues there and ends with the same file.

mod answer;
mod days;
mod service;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engram_core::{CoreError, files, sealed};
use serde::{Deserialize, Serialize};

use self::service::Service;
use crate::abstracts::Abstract;
use crate::error::{CorpusError, Result};
use crate::read;

pub use days::{Day, Days};

/// Address of the E-utilities.
pub const EUTILS: &str = "https://eutils.ncbi.nlm.nih.gov/entrez/eutils";
/// Maximum number of PMIDs that PubMed returns for a search.
pub const MOST: usize = 9_999;
/// Citations per request.
const BATCH: usize = 200;
/// File in the partial folder that describes the search.
const SEARCH: &str = "search.json";

/// Settings of a download.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// Address of the E-utilities: [`EUTILS`], or a server with the same API.
    pub base: String,
    /// The query, as in PubMed's search field.
    pub query: String,
    /// First and last day of publication; all days if `None`.
    pub published: Option<Days>,
    /// Maximum number of abstracts, at most [`MOST`].
    pub max: usize,
    /// Minimum number of citations that PubMed must have for the query.
    pub least: usize,
    /// E-mail address required by NCBI, which writes to it if there are problems.
    pub email: String,
    /// NCBI API key: allows ten requests a second instead of three. It is sent and never stored.
    pub api_key: Option<String>,
    /// Resume an unfinished download.
    pub resume: bool,
}

/// The result of a download.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// Number of citations that PubMed has for the query.
    pub found: usize,
    /// Number of citations requested.
    pub asked: usize,
    /// Number of abstracts written.
    pub written: usize,
    /// Number of citations with neither title nor abstract.
    pub empty: usize,
    /// PMIDs that were requested and not returned.
    pub missing: Vec<String>,
}

/// Progress of a download.
#[derive(Debug, Clone, Copy)]
pub enum FetchProgress<'a> {
    /// The service at this address is asked.
    Asking(&'a str),
    /// The search is done: number of results, and number to be downloaded.
    Searched(usize, usize),
    /// Number of citations downloaded so far.
    At(usize),
    /// The stored citations in this file are damaged and are downloaded again.
    Damaged(&'a Path),
    /// A request failed and will be repeated after this time; the text has the reason and the number of the attempt.
    Again(Duration, &'a str),
}

/// The clock for pauses between requests; tests have their own.
pub trait Clock {
    /// The time since a fixed moment.
    fn now(&self) -> Duration;
    /// Waits.
    fn sleep(&self, time: Duration);
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// A search as stored: the query and its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Search {
    query: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    published: Option<Days>,
    max: usize,
    found: usize,
    pmids: Vec<String>,
}

/// Searches PubMed and writes the citations found as JSONL, in the order of the search.
///
/// # Errors
/// As [`download`]. What has been downloaded by then stays for `resume`.
pub fn fetch(
    wanted: &Fetch,
    out: &Path,
    clock: &dyn Clock,
    progress: &mut dyn FnMut(FetchProgress<'_>),
) -> Result<Fetched> {
    let partial = partial(out);
    let (abstracts, fetched) = download(wanted, &partial, clock, progress)?;
    read::write(out, &abstracts)?;
    std::fs::remove_dir_all(&partial).map_err(files::io_error(&partial))?;
    Ok(fetched)
}

/// Searches PubMed and downloads the citations found, in the order of the search. The search and each batch are stored in
/// the folder `partial`, which stays.
///
/// # Errors
/// [`CorpusError::Fetch`] for invalid settings, for a query with fewer citations than `least`, or if the service cannot be
/// reached after several attempts, refuses, or sends an unexpected response.
pub fn download(
    wanted: &Fetch,
    partial: &Path,
    clock: &dyn Clock,
    progress: &mut dyn FnMut(FetchProgress<'_>),
) -> Result<(Vec<Abstract>, Fetched)> {
    check(wanted)?;
    let mut service = Service::new(wanted, clock);
    let search = match kept(wanted, partial)? {
        Some(search) => search,
        None => {
            progress(FetchProgress::Asking(&wanted.base));
            let search = service.search(progress)?;
            if search.pmids.len() < wanted.least {
                return Err(failed(format!(
                    "PubMed has {} citations for {:?}, and at least {} are asked for; ask for fewer, or widen the query",
                    search.pmids.len(),
                    wanted.query,
                    wanted.least
                )));
            }
            sealed::write(&partial.join(SEARCH), SEARCH, &search)?;
            search
        }
    };
    progress(FetchProgress::Searched(search.found, search.pmids.len()));
    let mut fetched = Fetched {
        found: search.found,
        asked: search.pmids.len(),
        ..Fetched::default()
    };
    // The checksum's context is this search: citations of another one are not used.
    let of_search = files::sha256(search.pmids.join(",").as_bytes());
    let mut abstracts: Vec<Abstract> = Vec::new();
    for (number, pmids) in search.pmids.chunks(BATCH).enumerate() {
        let kept = partial.join(format!("{number:05}.json"));
        let there = match sealed::read(&kept, &of_search) {
            Ok(citations) => Some(citations),
            Err(CoreError::Damaged { path }) => {
                progress(FetchProgress::Damaged(&path));
                None
            }
            Err(_) => None,
        };
        let citations = match there {
            Some(citations) => citations,
            None => {
                let citations = service.batch(number * BATCH, pmids, progress)?;
                sealed::write(&kept, &of_search, &citations)?;
                citations
            }
        };
        take(pmids, citations, &mut abstracts, &mut fetched);
        progress(FetchProgress::At(number * BATCH + pmids.len()));
    }
    if abstracts.is_empty() {
        return Err(failed(
            "PubMed found nothing for this query that has a title or an abstract",
        ));
    }
    fetched.written = abstracts.len();
    Ok((abstracts, fetched))
}

/// The folder of an unfinished download.
pub fn partial(out: &Path) -> PathBuf {
    files::beside(out, ".partial")
}

/// Refuses settings that no search can have.
///
/// # Errors
/// [`CorpusError::Fetch`] for an empty query, a number of abstracts outside 1 to [`MOST`], or no e-mail address.
pub fn check(wanted: &Fetch) -> Result<()> {
    if wanted.query.trim().is_empty() {
        return Err(failed("the query is empty"));
    }
    if wanted.max == 0 || wanted.max > MOST {
        return Err(failed(format!(
            "{} abstracts: PubMed gives 1 to {MOST} of one search; split the query, by year say (… AND 2015:2019[dp]), and fetch the parts",
            wanted.max
        )));
    }
    if !wanted.email.contains('@') {
        return Err(failed(format!(
            "{:?} is no e-mail address, which NCBI asks for",
            wanted.email
        )));
    }
    if wanted.least > wanted.max {
        return Err(failed(format!(
            "at least {} abstracts of at most {}",
            wanted.least, wanted.max
        )));
    }
    Ok(())
}

/// The search of an unfinished download.
fn kept(wanted: &Fetch, partial: &Path) -> Result<Option<Search>> {
    let file = partial.join(SEARCH);
    if !file.exists() {
        return Ok(None);
    }
    if !wanted.resume {
        return Err(failed(format!(
            "{}: an unfinished download is here; resume it with --resume, or remove the folder",
            partial.display()
        )));
    }
    let search: Search = sealed::read(&file, SEARCH)?;
    let is_same = search.query == wanted.query && search.published == wanted.published;
    if !is_same || search.max != wanted.max {
        return Err(failed(format!(
            "{}: the unfinished download here asks for {} of {:?}; ask for the same, or remove the folder",
            partial.display(),
            search.max,
            search.query
        )));
    }
    Ok(Some(search))
}

/// Adds a batch's citations in the order of the search.
fn take(pmids: &[String], citations: Vec<Abstract>, into: &mut Vec<Abstract>, to: &mut Fetched) {
    let mut left = citations;
    for pmid in pmids {
        match left.iter().position(|c| c.pmid.as_ref() == Some(pmid)) {
            Some(at) => {
                let found = left.swap_remove(at);
                if found.is_empty() {
                    to.empty += 1;
                } else {
                    into.push(found);
                }
            }
            None => to.missing.push(pmid.clone()),
        }
    }
}

fn failed(why: impl Into<String>) -> CorpusError {
    CorpusError::Fetch { why: why.into() }
}
