//! A local server that behaves like the hub: revisions, files directly or by redirect, ranges of files. A second port
//! is the storage host of large files. Faults are set beforehand.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engram_hub::{Options, Token};
use sha1::Sha1;
use sha2::{Digest, Sha256};

pub const REPO: &str = "org/name";
pub const COMMIT: &str = "607a30d783dfa663caf39e06633721c8d4cfcd7e";

/// What a request gets in place of what is due.
#[derive(Clone)]
pub enum Fault {
    /// A status with headers and no body.
    Status(u16, &'static str),
    /// Another body, with the same head.
    Body(Vec<u8>),
    /// The connection ends after so many bytes.
    Cut(usize),
    /// So many bytes, one at a time.
    Drip(usize),
    /// The whole file, whatever part was asked for.
    Whole,
    /// A header in place of the one of this name.
    Header(&'static str, String),
}

/// A request.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Whether the other host got it.
    pub elsewhere: bool,
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What the hub has, and what it was asked.
#[derive(Default)]
pub struct State {
    /// Revisions and their commits.
    pub revisions: BTreeMap<String, String>,
    /// Commits and their files.
    pub commits: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Method, a part of the path, and what such a request gets; each once.
    pub faults: Vec<(&'static str, String, Fault)>,
    pub seen: Vec<Seen>,
    /// Where the other host is.
    pub elsewhere: String,
}

pub struct Hub {
    pub address: String,
    state: Arc<Mutex<State>>,
}

impl Hub {
    /// A hub with one repository, whose branch `main` stands at [`COMMIT`] with these files.
    pub fn new(files: &[(&str, &[u8])]) -> Hub {
        let hub = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", hub.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            elsewhere: format!("http://{}", other.local_addr().unwrap()),
            ..State::default()
        }));
        for (listener, elsewhere) in [(hub, false), (other, true)] {
            let state = Arc::clone(&state);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = Arc::clone(&state);
                    std::thread::spawn(move || serve(stream, elsewhere, &state));
                }
            });
        }
        let hub = Hub { address, state };
        hub.put("main", COMMIT, files);
        hub
    }

    /// Lets a revision stand at a commit with these files.
    pub fn put(&self, revision: &str, commit: &str, files: &[(&str, &[u8])]) {
        let files = files.iter().map(|(n, b)| ((*n).to_owned(), b.to_vec()));
        self.with(|state| {
            state
                .revisions
                .insert(revision.to_owned(), commit.to_owned());
            state.revisions.insert(commit.to_owned(), commit.to_owned());
            state.commits.insert(commit.to_owned(), files.collect());
        });
    }

    pub fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// The next request of this method whose path has this part gets this.
    pub fn fault(&self, method: &'static str, path: &str, fault: Fault) {
        self.with(|state| state.faults.push((method, path.to_owned(), fault)));
    }

    /// The requests since this was last asked.
    pub fn seen(&self) -> Vec<Seen> {
        self.with(|state| std::mem::take(&mut state.seen))
    }

    /// Options for this hub and a cache in this folder, with a token.
    pub fn options(&self, folder: &Path) -> Options {
        Options {
            endpoint: self.address.clone(),
            cache: folder.join("hub"),
            token: Token::new("hf_secret"),
            offline: false,
            sleep: |_| {},
            now: || Duration::ZERO,
        }
    }
}

/// What the hub names a file by.
pub fn checksum(name: &str, bytes: &[u8]) -> String {
    let hex = |hash: &[u8]| hash.iter().map(|b| format!("{b:02x}")).collect();
    match is_large(name) {
        true => hex(&Sha256::digest(bytes)),
        false => {
            let head = format!("blob {}\0", bytes.len());
            hex(&Sha1::new()
                .chain_update(head)
                .chain_update(bytes)
                .finalize())
        }
    }
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".gguf")
}

/// An answer as it is due.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

fn serve(mut stream: TcpStream, elsewhere: bool, state: &Mutex<State>) {
    let Some(seen) = request(&mut stream, elsewhere) else {
        return;
    };
    let mut state = state.lock().unwrap();
    state.seen.push(seen.clone());
    let fault = state
        .faults
        .iter()
        .position(|(method, part, _)| *method == seen.method && seen.path.contains(part.as_str()))
        .map(|at| state.faults.remove(at).2);
    let mut answer = match elsewhere {
        true => blob(&state, &seen),
        false => hub(&state, &seen),
    };
    drop(state);
    let whole = matches!(fault, Some(Fault::Whole));
    let is_drip = matches!(fault, Some(Fault::Drip(_)));
    let from = seen
        .header("range")
        .filter(|_| !whole && answer.status == 200);
    if let Some(from) = from {
        let from: usize = from
            .strip_prefix("bytes=")
            .unwrap()
            .trim_end_matches('-')
            .parse()
            .unwrap();
        let all = answer.body.len();
        answer.status = 206;
        answer
            .headers
            .push(("Content-Range", format!("bytes {from}-{}/{all}", all - 1)));
        answer.body.drain(..from);
    }
    let mut length = answer.body.len();
    let mut sent = length;
    match fault {
        Some(Fault::Status(status, headers)) => {
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n{headers}\r\n"
            );
            let _ = stream.write_all(head.as_bytes());
            return;
        }
        Some(Fault::Body(body)) => {
            (length, sent) = (body.len(), body.len());
            answer.body = body;
        }
        Some(Fault::Cut(after) | Fault::Drip(after)) => sent = after.min(length),
        Some(Fault::Header(name, value)) => {
            answer
                .headers
                .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
            answer.headers.push((name, value));
        }
        Some(Fault::Whole) | None => {}
    }
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", answer.status);
    if !answer
        .headers
        .iter()
        .any(|(name, _)| *name == "Content-Length")
    {
        head += &format!("Content-Length: {length}\r\n");
    }
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let _ = stream.write_all(format!("{head}\r\n").as_bytes());
    if seen.method != "HEAD" {
        let step = if is_drip { 1 } else { sent.max(1) };
        for part in answer.body[..sent].chunks(step) {
            if stream.write_all(part).is_err() {
                return;
            }
            if is_drip {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

fn request(stream: &mut TcpStream, elsewhere: bool) -> Option<Seen> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !bytes.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ').map(str::to_owned);
    let headers = lines.filter_map(|line| line.split_once(':'));
    Some(Seen {
        elsewhere,
        method: first.next()?,
        path: first.next()?,
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect(),
    })
}

/// The other host: files by their checksums, for whoever has the address.
fn blob(state: &State, seen: &Seen) -> Answer {
    let wanted = seen.path.strip_prefix("/blobs/").unwrap();
    let wanted = wanted.strip_suffix("?signed=yes").unwrap();
    let mut all = state.commits.values().flatten();
    match all.find(|(name, bytes)| checksum(name, bytes) == wanted) {
        // Its own ETag looks like a checksum and is none of the file's.
        Some((_, bytes)) => answer(200, &[("ETag", &format!("\"{}\"", "0".repeat(64)))], bytes),
        None => answer(403, &[], b"expired"),
    }
}

fn hub(state: &State, seen: &Seen) -> Answer {
    let api = format!("/api/models/{REPO}/revision/");
    if let Some(revision) = seen.path.strip_prefix(&api) {
        return revision_of(state, &revision.replace("%2F", "/"));
    }
    // Models move; the old name leads to the new one.
    if let Some(rest) = seen.path.strip_prefix("/api/models/old/name/") {
        return answer(
            307,
            &[("Location", &format!("/api/models/{REPO}/{rest}"))],
            b"",
        );
    }
    if let Some(rest) = seen.path.strip_prefix("/old/name/") {
        return answer(307, &[("Location", &format!("/{REPO}/{rest}"))], b"");
    }
    let inner = seen
        .path
        .strip_prefix(&format!("/api/resolve-cache/models/{REPO}/"));
    let outer = seen.path.strip_prefix(&format!("/{REPO}/resolve/"));
    let Some((commit, name)) = inner.or(outer).and_then(|rest| rest.split_once('/')) else {
        return answer(404, &[("X-Error-Code", "RepoNotFound")], b"{}");
    };
    let name = name.replace("%20", " ");
    let Some(bytes) = state.commits.get(commit).and_then(|files| files.get(&name)) else {
        return answer(404, &[("X-Error-Code", "EntryNotFound")], b"");
    };
    let (sum, size) = (
        format!("\"{}\"", checksum(&name, bytes)),
        bytes.len().to_string(),
    );
    if is_large(&name) {
        let location = format!(
            "{}/blobs/{}?signed=yes",
            state.elsewhere,
            sum.trim_matches('"')
        );
        let headers = [
            ("Location", location.as_str()),
            ("X-Repo-Commit", commit),
            ("X-Linked-ETag", &sum),
            ("X-Linked-Size", &size),
        ];
        return answer(302, &headers, b"Found. Redirecting");
    }
    if name == "config.json" && inner.is_none() {
        let location = format!("/api/resolve-cache/models/{REPO}/{commit}/{name}");
        return answer(307, &[("Location", &location)], b"Temporary Redirect");
    }
    answer(200, &[("X-Repo-Commit", commit), ("ETag", &sum)], bytes)
}

fn revision_of(state: &State, revision: &str) -> Answer {
    let Some(commit) = state.revisions.get(revision) else {
        return answer(404, &[("X-Error-Code", "RevisionNotFound")], b"{}");
    };
    let files: Vec<String> = state.commits[commit]
        .keys()
        .map(|name| format!("{{\"rfilename\":{name:?}}}"))
        .collect();
    let body = format!(
        "{{\"id\":{REPO:?},\"sha\":{commit:?},\"private\":false,\"siblings\":[{}]}}",
        files.join(",")
    );
    answer(200, &[], body.as_bytes())
}

fn answer(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Answer {
    Answer {
        status,
        headers: headers.iter().map(|(n, v)| (*n, (*v).to_owned())).collect(),
        body: body.to_vec(),
    }
}
