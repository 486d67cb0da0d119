//! Requests to the hub: redirects, the token, retries.

use std::cell::Cell;
use std::io::ErrorKind;
use std::time::Duration;

use ureq::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};

use crate::error::{HubError, Result};
use crate::options::Options;
use crate::reference::Reference;
use crate::snapshot::DownloadProgress;

/// Number of attempts for a request, or for a download that makes no progress.
pub(crate) const TRIES: u32 = 6;
/// Number of attempts if the server has not answered anything yet, and for a download that is too slow.
const FEW_TRIES: u32 = 3;
/// Maximum number of redirects of a request.
const REDIRECTS: usize = 10;
/// Maximum wait, in seconds, that a server may ask for.
const WAIT_LIMIT: u64 = 600;

/// A response whose body is unread.
pub(crate) type Response = ureq::http::Response<ureq::Body>;

/// Requests for one model.
pub(crate) struct Client<'a> {
    pub(crate) options: &'a Options,
    pub(crate) wanted: &'a Reference,
    agent: ureq::Agent,
    authorization: Option<HeaderValue>,
    /// Whether the hub has answered any request: if not, there is probably no network, and waiting does not help.
    answered: Cell<bool>,
}

/// Why a request failed.
pub(crate) enum Trouble {
    /// Temporary: it may succeed after a wait, whose length the server may give.
    Passing(String, Option<Duration>),
    /// The download is too slow.
    Slow(String),
    /// Permanent.
    Lasting(HubError),
}

impl<'a> Client<'a> {
    pub(crate) fn new(options: &'a Options, wanted: &'a Reference) -> Result<Client<'a>> {
        // A server on this machine is not reached through a proxy.
        let here = ["://127.0.0.1", "://localhost", "://[::1]"];
        let proxy = match here.iter().any(|host| options.endpoint.contains(host)) {
            true => None,
            false => ureq::Proxy::try_from_env(),
        };
        let agent = ureq::Agent::config_builder()
            .proxy(proxy)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Size and checksum refer to the uncompressed file.
            .accept_encoding("identity")
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(120)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .user_agent(concat!("engram/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Client {
            options,
            wanted,
            agent,
            authorization: options.token.as_ref().map(|t| t.header()).transpose()?,
            answered: Cell::new(false),
        })
    }

    /// Repeats a request until it is answered, up to the number of attempts.
    pub(crate) fn insist<T>(
        &self,
        tries: u32,
        progress: &mut dyn FnMut(DownloadProgress<'_>),
        mut ask: impl FnMut() -> Result<T, Trouble>,
    ) -> Result<T> {
        let mut tried = 0;
        loop {
            tried += 1;
            match ask() {
                Ok(answer) => return Ok(answer),
                Err(trouble) => self.wait(trouble, tried, tries, progress)?,
            }
        }
    }

    /// Waits after a failure, longer each time; fails when there are no attempts left.
    pub(crate) fn wait(
        &self,
        trouble: Trouble,
        tried: u32,
        tries: u32,
        progress: &mut dyn FnMut(DownloadProgress<'_>),
    ) -> Result<()> {
        let few = tries.min(FEW_TRIES);
        let (why, after, tries) = match trouble {
            Trouble::Lasting(error) => return Err(error),
            Trouble::Passing(why, after) if self.answered.get() => (why, after, tries),
            Trouble::Passing(why, after) => (why, after, few),
            Trouble::Slow(why) => (why, None, few),
        };
        if tries == 1 {
            return Err(self.unreachable(why));
        }
        if tried >= tries {
            return Err(self.unreachable(format!(
                "{why}; given up after {tries} tries; the same command resumes the download"
            )));
        }
        let pause = after.unwrap_or(Duration::from_secs(1 << tried.min(5)));
        let why = format!("{why} (try {tried} of {tries})");
        progress(DownloadProgress::Again(pause, &why));
        (self.options.sleep)(pause);
        Ok(())
    }

    /// Sends a request and follows redirects. The hub's own response describes the file; a `HEAD` request stops at a
    /// redirect to a storage server.
    pub(crate) fn send(&self, method: Method, url: &str, from: u64) -> Result<Response, Trouble> {
        let mut url: Uri = url
            .parse()
            .map_err(|e| self.lost(format!("{url:?}: {e}")))?;
        for _ in 0..=REDIRECTS {
            let response = self.once(&method, &url, from)?;
            let status = response.status();
            let headers = response.headers();
            let described = ["x-linked-etag", "x-linked-size"]
                .iter()
                .all(|name| headers.contains_key(*name));
            let answer = status.is_success()
                || status == StatusCode::RANGE_NOT_SATISFIABLE && from > 0
                || status.is_redirection() && described && method == Method::HEAD;
            if answer {
                return Ok(response);
            }
            match text(headers, "location").filter(|_| status.is_redirection()) {
                Some(location) => url = self.follow(&url, location)?,
                None => return Err(self.declined(status.as_u16(), headers, &url)),
            }
        }
        Err(self.lost(format!("redirected more than {REDIRECTS} times")))
    }

    fn once(&self, method: &Method, url: &Uri, from: u64) -> Result<Response, Trouble> {
        let mut request = Request::builder().method(method).uri(url);
        if let Some(value) = self.authorization.as_ref().filter(|_| self.is_hub(url)) {
            request = request.header(header::AUTHORIZATION, value);
        }
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let request = request.body(()).map_err(|e| self.lost(e.to_string()))?;
        let answer = self.agent.run(request).map_err(|e| self.trouble(e, url))?;
        self.answered.set(true);
        Ok(answer)
    }

    /// The target of a redirect.
    fn follow(&self, from: &Uri, location: &str) -> Result<Uri, Trouble> {
        let scheme = from.scheme_str().unwrap_or("https");
        let origin = format!("{scheme}://{}", from.authority().map_or("", |a| a.as_str()));
        let folder = from
            .path()
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        let text = if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{origin}{location}")
        } else if location.contains("://") {
            location.to_owned()
        } else {
            format!("{origin}{folder}/{location}")
        };
        let to: Option<Uri> = text.parse().ok();
        let to = to.filter(|to| match to.scheme_str() {
            Some("https") => true,
            // On an encrypted connection nobody can replace the file or the list of files.
            Some("http") => scheme == "http",
            _ => false,
        });
        to.ok_or_else(|| {
            let host = from.host().unwrap_or_default();
            self.lost(format!(
                "{host} redirects to what is no https address, which is not followed"
            ))
        })
    }

    /// Whether an address belongs to the endpoint; the token is sent nowhere else.
    pub(crate) fn is_hub(&self, url: &Uri) -> bool {
        let hub: Option<Uri> = self.options.endpoint.parse().ok();
        hub.is_some_and(|hub| place(&hub) == place(url))
    }

    fn trouble(&self, error: ureq::Error, url: &Uri) -> Trouble {
        let host = url.host().unwrap_or_default();
        let why = format!("{host} cannot be reached ({error})");
        let broken = match &error {
            ureq::Error::Protocol(_) => true,
            ureq::Error::Io(e) => matches!(
                e.kind(),
                ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::BrokenPipe
                    | ErrorKind::UnexpectedEof
            ),
            _ => false,
        };
        match broken || self.answered.get() {
            true => Trouble::Passing(why, None),
            false => Trouble::Lasting(self.unreachable(format!(
                "{why}; check the network, its proxy (HTTPS_PROXY) and HF_ENDPOINT"
            ))),
        }
    }

    pub(crate) fn refused(&self, why: String) -> HubError {
        HubError::Refused {
            reference: self.wanted.to_string(),
            why,
        }
    }

    fn unreachable(&self, why: String) -> HubError {
        HubError::Unreachable {
            reference: self.wanted.to_string(),
            why,
        }
    }

    pub(crate) fn lost(&self, why: String) -> Trouble {
        Trouble::Lasting(self.refused(why))
    }
}

/// Scheme, host and port.
fn place(url: &Uri) -> (Option<&str>, String, u16) {
    let usual = if url.scheme_str() == Some("http") {
        80
    } else {
        443
    };
    let host = url.host().unwrap_or_default().to_ascii_lowercase();
    (url.scheme_str(), host, url.port_u16().unwrap_or(usual))
}

pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// How long a server asks to wait: `Retry-After: 30`, or after too many requests the hub's `RateLimit: "api";r=0;t=30`.
pub(crate) fn after(status: u16, headers: &HeaderMap) -> Option<Duration> {
    let limit = || {
        let limit = text(headers, "ratelimit").filter(|_| status == 429)?;
        limit
            .split(';')
            .find_map(|part| part.trim().strip_prefix("t="))
    };
    let seconds = text(headers, "retry-after").or_else(limit)?;
    let seconds: u64 = seconds.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(WAIT_LIMIT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The target of a redirect from a hub at `endpoint`, and whether the token is sent there.
    fn leads(endpoint: &str, location: &str) -> Option<(String, bool)> {
        let options = Options {
            endpoint: endpoint.to_owned(),
            cache: "unused".into(),
            token: None,
            offline: false,
            sleep: |_| {},
            now: || Duration::ZERO,
        };
        let wanted = Reference::parse("a/b").unwrap();
        let client = Client::new(&options, &wanted).unwrap();
        let from = format!("{endpoint}/a/b/resolve/c/d.json?x=y")
            .parse()
            .unwrap();
        let to = client.follow(&from, location).ok()?;
        Some((to.to_string(), client.is_hub(&to)))
    }

    #[test]
    fn redirects_are_read_as_browsers_read_them() {
        let to = |location| leads("https://hub.example", location);
        let is = |location, url: &str, own| assert_eq!(to(location), Some((url.to_owned(), own)));
        is("/x?y=://", "https://hub.example/x?y=://", true);
        is("e.json", "https://hub.example/a/b/resolve/c/e.json", true);
        is("//cdn.example/x", "https://cdn.example/x", false);
        is(
            "https://cdn.example/x?k=v",
            "https://cdn.example/x?k=v",
            false,
        );
        is(
            "https://HUB.example:443/x",
            "https://HUB.example:443/x",
            true,
        );
        is(
            "https://hub.example:444/x",
            "https://hub.example:444/x",
            false,
        );
        is(
            "https://hub.example.evil/x",
            "https://hub.example.evil/x",
            false,
        );
        is(
            "https://hub.example@evil.example/",
            "https://hub.example@evil.example/",
            false,
        );
    }

    #[test]
    fn redirects_lead_to_nothing_that_anybody_can_change() {
        for location in ["http://hub.example/x", "ftp://hub.example/x", "file:///x"] {
            assert_eq!(leads("https://hub.example", location), None, "{location}");
        }
        let plain = leads("http://127.0.0.1:80", "http://127.0.0.1/x");
        assert_eq!(plain, Some(("http://127.0.0.1/x".to_owned(), true)));
    }
}
