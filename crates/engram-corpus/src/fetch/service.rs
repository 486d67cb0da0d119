//! Requests to the E-utilities: rate limits and retries.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read};
use std::time::Duration;

use engram_core::pace::Paced;

use super::answer::{Answer, citations, refusal};
use super::{Clock, Day, Fetch, FetchProgress, Search, failed};
use crate::abstracts::Abstract;
use crate::error::Result;

/// Number of attempts for a request, and if the service has not answered anything yet.
const TRIES: u32 = 6;
const FEW_TRIES: u32 = 3;
/// Maximum size of a response in bytes; a batch has about 4 MB.
const ANSWER_LIMIT: u64 = 256 << 20;

/// The service, within its rate limits.
pub(super) struct Service<'a> {
    wanted: &'a Fetch,
    clock: &'a dyn Clock,
    agent: ureq::Agent,
    /// When the last request was made.
    last: Option<Duration>,
    /// Whether the service has answered any request: if not, there may be no network.
    answered: Cell<bool>,
    /// The search on the service's history server, if this run made it.
    history: Option<History>,
}

/// A search that the service stores for some hours.
#[derive(Debug, Clone)]
struct History {
    web_env: String,
    query_key: String,
}

/// Why a request failed.
enum Trouble {
    /// Temporary: it may succeed after a wait, whose length the service may give.
    Passing(String, Option<Duration>),
    /// Permanent.
    Lasting(String),
}

impl<'a> Service<'a> {
    pub(super) fn new(wanted: &'a Fetch, clock: &'a dyn Clock) -> Service<'a> {
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

    pub(super) fn search(&mut self, progress: &mut dyn FnMut(FetchProgress<'_>)) -> Result<Search> {
        let max = self.wanted.max.to_string();
        let query = self.wanted.query.clone();
        let mut fields = vec![
            ("term", query.as_str()),
            ("retmax", &max),
            ("usehistory", "y"),
            ("retmode", "json"),
        ];
        let days = self
            .wanted
            .published
            .map(|d| [d.from, d.to].map(Day::query));
        if let Some([from, to]) = &days {
            fields.extend([("datetype", "pdat"), ("mindate", from), ("maxdate", to)]);
        }
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
            // Positions in the history match positions in this list only if the list is complete.
            self.history = None;
        }
        Ok(Search {
            query,
            published: self.wanted.published,
            max: self.wanted.max,
            found: count,
            pmids,
        })
    }

    /// A batch's citations: first by their positions in the stored search; those that are missing, by PMID.
    pub(super) fn batch(
        &mut self,
        first: usize,
        pmids: &[String],
        progress: &mut dyn FnMut(FetchProgress<'_>),
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
                    // The service has dropped the search; the PMIDs are known.
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

    /// Repeats a request until its response can be parsed, up to the number of attempts. Responses that cannot be
    /// parsed are retried because connections break, and because the service sends some errors with status 200.
    fn insist<T>(
        &mut self,
        what: &str,
        fields: &[(&str, &str)],
        progress: &mut dyn FnMut(FetchProgress<'_>),
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
                    "{what}: {why}; given up after {tries} tries; what has been downloaded is kept (resume with --resume; a study resumes by itself)"
                )));
            }
            let why = format!("{why} (try {tried} of {tries})");
            let pause = after.unwrap_or(Duration::from_secs(1 << tried.min(5)));
            progress(FetchProgress::Again(pause, &why));
            self.clock.sleep(pause);
        }
    }

    /// Keeps to NCBI's limit of requests per second.
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
    // If the host has no address or refuses connections, waiting a minute changes nothing.
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
