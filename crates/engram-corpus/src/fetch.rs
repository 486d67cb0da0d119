//! Abstracts from PubMed over NCBI's E-utilities: a search, then its citations in batches.
//!
//! A run is kept under way in `OUT.partial`: the search with its PMIDs, and each batch's citations. A run that was
//! broken off goes on where it stopped and ends with the same file.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engram_core::pace::Paced;
use engram_core::{CoreError, files, sealed};
use serde::{Deserialize, Serialize};

use crate::abstracts::Abstract;
use crate::error::{CorpusError, Result};
use crate::read;
use crate::read::xml::{Document, Found};

/// Where the E-utilities are.
pub const EUTILS: &str = "https://eutils.ncbi.nlm.nih.gov/entrez/eutils";
/// The most PMIDs that PubMed gives of one search.
pub const MOST: usize = 9_999;
/// Citations asked for at once.
const BATCH: usize = 200;
/// Tries of one request, and of one where nothing was answered yet.
const TRIES: u32 = 6;
const FEW_TRIES: u32 = 3;
/// The most bytes that one answer may have: a batch has some 4 MB.
const ANSWER_LIMIT: u64 = 256 << 20;
/// The file in the partial folder that says what is fetched.
const SEARCH: &str = "search.json";

/// What to fetch.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// Where the E-utilities are: [`EUTILS`], or a server that answers as they do.
    pub base: String,
    /// The query, as PubMed's search field takes it.
    pub query: String,
    /// The most abstracts, at most [`MOST`].
    pub max: usize,
    /// The address that NCBI asks for, to write to where something goes wrong.
    pub email: String,
    /// An API key: ten requests a second where three are allowed without. It is sent and never kept.
    pub api_key: Option<String>,
    /// Go on with what a run that was broken off left.
    pub resume: bool,
}

/// What was fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fetched {
    /// How many citations PubMed has for the query.
    pub found: usize,
    /// How many of them were asked for.
    pub asked: usize,
    /// Abstracts written.
    pub written: usize,
    /// Citations that have neither title nor abstract.
    pub empty: usize,
    /// PMIDs that were asked for and not given.
    pub missing: Vec<String>,
}

/// How a run goes.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// The service at this address is asked.
    Asking(&'a str),
    /// The search is done: PubMed has so many, so many are fetched.
    Searched(usize, usize),
    /// So many citations are there.
    At(usize),
    /// Kept citations are damaged in this file and are fetched again.
    Damaged(&'a Path),
    /// A request failed, for this reason (with the number of the try, and of how many), and is made again after so long.
    Again(Duration, &'a str),
}

/// What waits between requests; tests have a clock of their own.
pub trait Clock {
    /// The time since some moment.
    fn now(&self) -> Duration;
    /// Waits.
    fn sleep(&self, time: Duration);
}

/// The machine's clock.
#[derive(Debug)]
pub struct System(Instant);

impl Default for System {
    fn default() -> System {
        System(Instant::now())
    }
}

impl Clock for System {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// A search as it is kept: what was asked, and what there was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Search {
    query: String,
    max: usize,
    found: usize,
    pmids: Vec<String>,
}

/// Searches PubMed and writes the citations that it finds as JSONL, in the order of the search.
///
/// # Errors
/// [`CorpusError::Fetch`]: the service cannot be reached after several tries, refuses, or answers with
/// something else; what is fetched by then stays for `resume`. Settings that cannot be met.
pub fn fetch(
    wanted: &Fetch,
    out: &Path,
    clock: &dyn Clock,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Fetched> {
    check(wanted)?;
    let partial = partial(out);
    let mut service = Service::new(wanted, clock);
    let search = match kept(wanted, &partial)? {
        Some(search) => search,
        None => {
            progress(Progress::Asking(&wanted.base));
            let search = service.search(progress)?;
            sealed::write(&partial.join(SEARCH), SEARCH, &search)?;
            search
        }
    };
    progress(Progress::Searched(search.found, search.pmids.len()));
    let mut fetched = Fetched {
        found: search.found,
        asked: search.pmids.len(),
        ..Fetched::default()
    };
    // Citations kept of another search are none of this one's.
    let of_search = files::sha256(search.pmids.join(",").as_bytes());
    let mut abstracts: Vec<Abstract> = Vec::new();
    for (number, pmids) in search.pmids.chunks(BATCH).enumerate() {
        let kept = partial.join(format!("{number:05}.json"));
        let there = match sealed::read(&kept, &of_search) {
            Ok(citations) => Some(citations),
            Err(CoreError::Damaged { path }) => {
                progress(Progress::Damaged(&path));
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
        progress(Progress::At(number * BATCH + pmids.len()));
    }
    if abstracts.is_empty() {
        return Err(failed(
            "PubMed found nothing for this query that has a title or an abstract",
        ));
    }
    fetched.written = abstracts.len();
    read::write(out, &abstracts)?;
    std::fs::remove_dir_all(&partial).map_err(files::io_error(&partial))?;
    Ok(fetched)
}

/// The folder of a run under way.
pub fn partial(out: &Path) -> PathBuf {
    files::beside(out, ".partial")
}

fn check(wanted: &Fetch) -> Result<()> {
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
    Ok(())
}

/// The search of a run that was broken off.
fn kept(wanted: &Fetch, partial: &Path) -> Result<Option<Search>> {
    let file = partial.join(SEARCH);
    if !file.exists() {
        return Ok(None);
    }
    if !wanted.resume {
        return Err(failed(format!(
            "{}: a run was broken off here; --resume goes on with it, or remove the folder",
            partial.display()
        )));
    }
    let search: Search = sealed::read(&file, SEARCH)?;
    if search.query != wanted.query || search.max != wanted.max {
        return Err(failed(format!(
            "{}: the run that was broken off here asked for {} of {:?}; ask for the same, or remove the folder",
            partial.display(),
            search.max,
            search.query
        )));
    }
    Ok(Some(search))
}

/// Adds a batch's citations in the order in which they were asked for.
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

/// The citations of an answer.
fn citations(bytes: &[u8]) -> Result<Vec<Abstract>, String> {
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

/// What the service says in place of citations.
fn refusal(bytes: &[u8]) -> Option<String> {
    let head = &bytes[..bytes.len().min(2000)];
    let refused = head.windows(7).any(|w| w == b"<ERROR>") || head.starts_with(b"{");
    refused.then(|| String::from_utf8_lossy(head).chars().take(300).collect())
}

fn failed(why: impl Into<String>) -> CorpusError {
    CorpusError::Fetch { why: why.into() }
}

/// The service, with what it allows.
struct Service<'a> {
    wanted: &'a Fetch,
    clock: &'a dyn Clock,
    agent: ureq::Agent,
    /// When the last request was made.
    last: Option<Duration>,
    /// Whether anything was answered yet: where nothing was, there may be no network.
    answered: Cell<bool>,
    /// The search on the service's history, of this run's own search.
    history: Option<History>,
}

/// A search that the service remembers for some hours.
#[derive(Debug, Clone)]
struct History {
    web_env: String,
    query_key: String,
}

/// Why a request did not work.
enum Trouble {
    /// It may the next time; after so long, where the service says.
    Passing(String, Option<Duration>),
    /// It will not.
    Lasting(String),
}

impl<'a> Service<'a> {
    fn new(wanted: &'a Fetch, clock: &'a dyn Clock) -> Service<'a> {
        // A server on this machine is not reached through a proxy.
        let here = ["://127.0.0.1", "://localhost", "://[::1]"];
        let proxy = match here.iter().any(|host| wanted.base.contains(host)) {
            true => None,
            false => ureq::Proxy::try_from_env(),
        };
        let agent = ureq::Agent::config_builder()
            .proxy(proxy)
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(120)))
            .timeout_recv_body(Some(Duration::from_secs(300)))
            .user_agent(concat!("engram/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Service {
            wanted,
            clock,
            agent,
            last: None,
            answered: Cell::new(false),
            history: None,
        }
    }

    fn search(&mut self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Search> {
        let max = self.wanted.max.to_string();
        let query = self.wanted.query.clone();
        let fields = [
            ("term", query.as_str()),
            ("retmax", &max),
            ("usehistory", "y"),
            ("retmode", "json"),
        ];
        let found = self.insist("esearch.fcgi", &fields, progress, |bytes| {
            let answer: Answer = serde_json::from_slice(bytes)
                .map_err(|e| passing(format!("its answer is not the JSON of a search ({e})")))?;
            let found = answer.esearchresult;
            let phrases = found
                .errorlist
                .map(|e| e.phrasesnotfound)
                .unwrap_or_default();
            let said = found.error.or(answer.error);
            match (said, found.count.and_then(|c| c.parse().ok()), found.idlist) {
                (Some(error), _, _) => Err(passing(format!("it answers {error:?}"))),
                (None, Some(count), Some(ids)) => {
                    let history = found.webenv.zip(found.querykey);
                    Ok((count, ids, phrases, history))
                }
                _ => Err(passing("its answer has no count and no PMIDs".to_owned())),
            }
        })?;
        let (count, ids, phrases, history) = found;
        self.history = history.map(|(web_env, query_key)| History { web_env, query_key });
        let mut seen = BTreeSet::new();
        let given = ids.len();
        let pmids: Vec<String> = ids
            .into_iter()
            .filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()))
            .filter(|id| seen.insert(id.clone()))
            .take(self.wanted.max)
            .collect();
        if pmids.is_empty() {
            let hint = match phrases.is_empty() {
                true => String::new(),
                false => format!(" (not found: {})", phrases.join(", ")),
            };
            return Err(failed(format!("PubMed finds nothing for {query:?}{hint}")));
        }
        if pmids.len() < given {
            // Places in the history are places in this list only where it is whole.
            self.history = None;
        }
        Ok(Search {
            query,
            max: self.wanted.max,
            found: count,
            pmids,
        })
    }

    /// A batch's citations: by their places in the search that the service
    /// remembers, and what that does not give by PMID.
    fn batch(
        &mut self,
        first: usize,
        pmids: &[String],
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<Abstract>> {
        let mut answers = Vec::new();
        let mut left: Vec<&str> = pmids.iter().map(String::as_str).collect();
        if let Some(history) = self.history.clone() {
            let (start, count) = (first.to_string(), pmids.len().to_string());
            let fields = [
                ("WebEnv", history.web_env.as_str()),
                ("query_key", &history.query_key),
                ("retstart", &start),
                ("retmax", &count),
                ("retmode", "xml"),
                ("rettype", "abstract"),
            ];
            let found = self.insist("efetch.fcgi", &fields, progress, |bytes| {
                Ok(match refusal(bytes) {
                    // Forgotten: the PMIDs are known.
                    Some(_) => None,
                    None => Some(citations(bytes).map_err(passing)?),
                })
            })?;
            match found {
                Some(found) => {
                    left.retain(|pmid| !found.iter().any(|c| c.pmid.as_deref() == Some(pmid)));
                    answers.extend(found);
                }
                None => self.history = None,
            }
        }
        if !left.is_empty() {
            let ids = left.join(",");
            let fields = [
                ("id", ids.as_str()),
                ("retmode", "xml"),
                ("rettype", "abstract"),
            ];
            answers.extend(self.insist(
                "efetch.fcgi",
                &fields,
                progress,
                |bytes| match refusal(bytes) {
                    Some(said) => Err(passing(format!("it answers {said:?}"))),
                    None => citations(bytes).map_err(passing),
                },
            )?);
        }
        Ok(answers)
    }

    /// Makes a request until its answer can be read, as often as is sensible. An answer that cannot be read
    /// is tried again too: connections break in the middle, and the service puts errors into good answers.
    fn insist<T>(
        &mut self,
        what: &str,
        fields: &[(&str, &str)],
        progress: &mut dyn FnMut(Progress<'_>),
        read: impl Fn(&[u8]) -> Result<T, Trouble>,
    ) -> Result<T> {
        let mut tried = 0;
        loop {
            tried += 1;
            self.wait();
            let answer = self.ask(what, fields).and_then(|bytes| read(&bytes));
            let (why, after) = match answer {
                Ok(value) => return Ok(value),
                Err(Trouble::Lasting(why)) => return Err(failed(format!("{what}: {why}"))),
                Err(Trouble::Passing(why, after)) => (why, after),
            };
            let tries = if self.answered.get() {
                TRIES
            } else {
                FEW_TRIES
            };
            if tried >= tries {
                return Err(failed(format!(
                    "{what}: {why}; given up after {tries} tries, --resume goes on with what is there"
                )));
            }
            let why = format!("{why} (try {tried} of {tries})");
            let pause = after.unwrap_or(Duration::from_secs(1 << tried.min(5)));
            progress(Progress::Again(pause, &why));
            self.clock.sleep(pause);
        }
    }

    /// Keeps to the requests a second that NCBI allows.
    fn wait(&mut self) {
        let apart = match self.wanted.api_key {
            Some(_) => Duration::from_millis(100),
            None => Duration::from_millis(334),
        };
        if let Some(last) = self.last {
            let since = self.clock.now().saturating_sub(last);
            if since < apart {
                self.clock.sleep(apart - since);
            }
        }
        self.last = Some(self.clock.now());
    }

    fn ask(&self, what: &str, fields: &[(&str, &str)]) -> Result<Vec<u8>, Trouble> {
        let wanted = self.wanted;
        let mut form = vec![
            ("db", "pubmed"),
            ("tool", "engram"),
            ("email", wanted.email.as_str()),
        ];
        form.extend(wanted.api_key.as_deref().map(|key| ("api_key", key)));
        form.extend_from_slice(fields);
        let url = format!("{}/{what}", wanted.base.trim_end_matches('/'));
        let sent = self.agent.post(&url).send_form(form);
        let mut response = sent.map_err(|e| trouble(e, self.answered.get()))?;
        self.answered.set(true);
        let status = response.status().as_u16();
        let after = response
            .headers()
            .get("retry-after")
            .and_then(|v| v.to_str().ok()?.trim().parse().ok())
            .map(|seconds: u64| Duration::from_secs(seconds.min(600)));
        let mut bytes = Vec::new();
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_LIMIT)
            .reader();
        let body = Paced::new(body, || self.clock.now());
        let whole = body.take(ANSWER_LIMIT).read_to_end(&mut bytes);
        match status {
            200..=299 => match whole {
                Ok(_) => Ok(bytes),
                Err(e) => Err(Trouble::Passing(
                    format!("the connection broke ({e})"),
                    None,
                )),
            },
            408 | 429 | 500..=599 => Err(Trouble::Passing(
                format!("the service answers {status}"),
                after,
            )),
            _ => {
                let said: String = String::from_utf8_lossy(&bytes).chars().take(300).collect();
                let said = match &wanted.api_key {
                    Some(key) => said.replace(key, "…"),
                    None => said,
                };
                Err(Trouble::Lasting(format!(
                    "the service answers {status}: {said}"
                )))
            }
        }
    }
}

fn passing(why: String) -> Trouble {
    Trouble::Passing(why, None)
}

fn trouble(error: ureq::Error, answered: bool) -> Trouble {
    // Where a host has no address, or nobody listens there, trying again in a minute changes nothing.
    let is_nobody = match &error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        ureq::Error::Io(e) => !matches!(
            e.kind(),
            ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof
                | ErrorKind::TimedOut
        ),
        _ => false,
    };
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Tls(_) | ureq::Error::TooManyRedirects => {
            Trouble::Lasting(error.to_string())
        }
        other if is_nobody && !answered => Trouble::Lasting(format!(
            "the service cannot be reached ({other}); check the network and its proxy (HTTPS_PROXY)"
        )),
        other => Trouble::Passing(format!("the service cannot be reached ({other})"), None),
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    esearchresult: Results,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Default, Deserialize)]
struct Results {
    count: Option<String>,
    webenv: Option<String>,
    querykey: Option<String>,
    idlist: Option<Vec<String>>,
    #[serde(default, rename = "ERROR")]
    error: Option<String>,
    #[serde(default)]
    errorlist: Option<Errors>,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    phrasesnotfound: Vec<String>,
}
