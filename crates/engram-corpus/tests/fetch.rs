//! Downloads from a local server that behaves like the E-utilities, faults included.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engram_corpus::fetch::{Clock, Days, EUTILS, Fetch, FetchProgress, fetch, partial};

/// What a request gets.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Good,
    Status(u16, Option<u64>),
    /// The connection ends in the middle of the body.
    Cut,
    /// A good status with an error in it.
    Error,
    /// The history is forgotten.
    Forgotten,
}

type Form = BTreeMap<String, String>;

struct Server {
    base: String,
    /// The requests, by path and form.
    seen: Arc<Mutex<Vec<(String, Form)>>>,
}

/// PubMed with `count` citations; request n gets `answers[n]`, or a good answer beyond.
fn server(count: usize, answers: &[Answer]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/entrez/eutils", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, answers) = (Arc::clone(&seen), answers.to_vec());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Some((path, form)) = request(&mut stream.as_ref().unwrap().try_clone().unwrap())
            else {
                continue;
            };
            let mut log = log.lock().unwrap();
            let answer = answers.get(log.len()).copied().unwrap_or(Answer::Good);
            log.push((path.clone(), form.clone()));
            drop(log);
            respond(&mut stream.unwrap(), count, &path, &form, answer);
        }
    });
    Server { base, seen }
}

fn request(stream: &mut TcpStream) -> Option<(String, Form)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let end = loop {
        let read = stream.read(&mut buffer).ok()?;
        bytes.extend_from_slice(&buffer[..read]);
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        if read == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head.lines().find_map(|l| {
        let (name, value) = l.split_once(':')?;
        let is = name.eq_ignore_ascii_case("content-length");
        is.then(|| value.trim().parse::<usize>().unwrap())
    });
    while bytes.len() < end + length.unwrap_or(0) {
        let read = stream.read(&mut buffer).ok()?;
        bytes.extend_from_slice(&buffer[..read]);
    }
    let path = head.split(' ').nth(1)?.to_owned();
    let body = String::from_utf8_lossy(&bytes[end..]).into_owned();
    let form = body.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((plain(name), plain(value)))
    });
    Some((path, form.collect()))
}

/// A form's value without its escapes.
fn plain(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'%' => {
                let hex = std::str::from_utf8(&rest[..2]).unwrap();
                bytes.push(u8::from_str_radix(hex, 16).unwrap());
                rest = &rest[2..];
            }
            b'+' => bytes.push(b' '),
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// PMIDs count down from here, as PubMed gives the newest first.
const NEWEST: usize = 90_000;

fn citation(pmid: usize) -> String {
    // Every fiftieth has neither title nor abstract, every seventieth is not given at all.
    let title = if pmid.is_multiple_of(50) {
        String::new()
    } else {
        format!("Title {pmid} &amp; more.")
    };
    format!(
        "<PubmedArticle><MedlineCitation><PMID Version=\"1\">{pmid}</PMID><Article><ArticleTitle>{title}</ArticleTitle></Article></MedlineCitation></PubmedArticle>"
    )
}

fn respond(stream: &mut TcpStream, count: usize, path: &str, form: &Form, answer: Answer) {
    let number = |name: &str| form.get(name).and_then(|v| v.parse::<usize>().ok());
    let all = || (0..count).map(|i| NEWEST - i);
    let good = if path.ends_with("/esearch.fcgi") {
        let ids: Vec<String> = all()
            .take(number("retmax").unwrap_or(20))
            .map(|id| format!("\"{id}\""))
            .collect();
        let history = match form.get("usehistory").map(String::as_str) {
            Some("y") => "\"querykey\":\"1\",\"webenv\":\"MCID_1\",",
            _ => "",
        };
        match form.get("term").map(String::as_str) {
            Some("nothing") => "{\"esearchresult\":{\"count\":\"0\",\"idlist\":[],\"errorlist\":{\"phrasesnotfound\":[\"nothing\"],\"fieldsnotfound\":[]}}}".to_owned(),
            _ => format!("{{\"header\":{{\"type\":\"esearch\"}},\"esearchresult\":{{\"count\":\"{count}\",\"retmax\":\"{}\",{history}\"idlist\":[{}]}}}}", ids.len(), ids.join(",")),
        }
    } else {
        let ids: Vec<usize> = match form.get("id") {
            Some(ids) => ids.split(',').map(|id| id.parse().unwrap()).collect(),
            None => {
                assert_eq!(form["WebEnv"], "MCID_1");
                let start = number("retstart").unwrap();
                all().skip(start).take(number("retmax").unwrap()).collect()
            }
        };
        let found: String = ids
            .into_iter()
            .filter(|id| id % 70 != 0)
            .map(citation)
            .collect();
        format!(
            "<?xml version=\"1.0\" ?>\n<!DOCTYPE PubmedArticleSet PUBLIC \"-//NLM//DTD\" \"x.dtd\">\n<PubmedArticleSet>{found}</PubmedArticleSet>"
        )
    };
    let (status, after, body) = match answer {
        Answer::Good | Answer::Cut => (200, None, good),
        Answer::Status(status, after) => (status, after, "{\"error\":\"API rate limit exceeded\"}".to_owned()),
        Answer::Error => (200, None, "{\"esearchresult\":{\"ERROR\":\"Search Backend failed\"}}".to_owned()),
        Answer::Forgotten => (200, None, "<?xml version=\"1.0\"?><eFetchResult><ERROR>Unable to obtain query #1</ERROR></eFetchResult>".to_owned()),
    };
    let sent = if answer == Answer::Cut {
        body.len() / 2
    } else {
        body.len()
    };
    let after = after.map_or(String::new(), |s| format!("Retry-After: {s}\r\n"));
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{after}Connection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&body.as_bytes()[..sent]);
}

/// A clock that passes only where somebody waits.
#[derive(Default)]
struct Fast {
    now: Cell<Duration>,
    slept: RefCell<Vec<Duration>>,
}

impl Clock for Fast {
    fn now(&self) -> Duration {
        self.now.get()
    }

    fn sleep(&self, time: Duration) {
        self.now.set(self.now.get() + time);
        self.slept.borrow_mut().push(time);
    }
}

fn wanted(server: &Server, max: usize) -> Fetch {
    Fetch {
        base: server.base.clone(),
        query: "(epilepsy OR seizure) AND EEG".to_owned(),
        published: None,
        max,
        least: 1,
        email: "someone@example.org".to_owned(),
        api_key: None,
        resume: false,
    }
}

/// What a fetch gives and writes, with the time waited.
fn run(
    wanted: &Fetch,
    folder: &std::path::Path,
) -> (
    Result<engram_corpus::fetch::Fetched, String>,
    Vec<u8>,
    Vec<Duration>,
) {
    let clock = Fast::default();
    let out = folder.join("corpus.jsonl");
    let found = fetch(wanted, &out, &clock, &mut |_| {});
    let written = std::fs::read(&out).unwrap_or_default();
    (
        found.map_err(|e| e.to_string()),
        written,
        clock.slept.into_inner(),
    )
}

#[test]
fn a_search_becomes_a_corpus_in_its_order() {
    let server = server(450, &[]);
    let folder = tempfile::tempdir().unwrap();
    let (found, written, slept) = run(&wanted(&server, 430), folder.path());
    let found = found.unwrap();
    let ids = || (0..430).map(|i| NEWEST - i);
    let missing: Vec<String> = ids()
        .filter(|id| id % 70 == 0)
        .map(|id| id.to_string())
        .collect();
    let empty = ids().filter(|id| id % 70 != 0 && id % 50 == 0).count();
    assert_eq!((found.found, found.asked), (450, 430));
    assert_eq!((found.empty, &found.missing), (empty, &missing));
    let corpus = engram_corpus::read::read(&folder.path().join("corpus.jsonl")).unwrap();
    let pmids: Vec<String> = corpus
        .abstracts
        .iter()
        .filter_map(|a| a.pmid.clone())
        .collect();
    let expected: Vec<String> = ids()
        .filter(|id| id % 70 != 0 && id % 50 != 0)
        .map(|id| id.to_string())
        .collect();
    assert_eq!(pmids, expected);
    assert_eq!(found.written, pmids.len());
    assert_eq!(
        corpus.abstracts[0].title,
        format!("Title {} & more.", pmids[0])
    );
    assert!(!written.is_empty() && !partial(&folder.path().join("corpus.jsonl")).exists());
    // History first, then what it did not give by PMID; every request says who asks.
    let seen = server.seen.lock().unwrap();
    assert!(
        seen.iter()
            .all(|(_, form)| form["email"] == "someone@example.org" && form["tool"] == "engram")
    );
    assert!(seen.iter().any(|(_, form)| form.contains_key("WebEnv")));
    // Three a second: each but the first waits.
    assert_eq!(slept.len(), seen.len() - 1);
    assert!(slept.iter().all(|s| *s >= Duration::from_millis(333)));
}

#[test]
fn a_key_is_sent_and_allows_ten_a_second() {
    let server = server(450, &[Answer::Good, Answer::Status(400, None)]);
    let folder = tempfile::tempdir().unwrap();
    let mut asked = wanted(&server, 450);
    asked.api_key = Some("secret".to_owned());
    let (found, _, slept) = run(&asked, folder.path());
    let error = found.unwrap_err();
    assert!(
        error.contains("400") && !error.contains("secret"),
        "{error}"
    );
    assert_eq!(slept, [Duration::from_millis(100)]);
    assert_eq!(server.seen.lock().unwrap()[0].1["api_key"], "secret");
    for entry in std::fs::read_dir(partial(&folder.path().join("corpus.jsonl"))).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("secret"));
    }
}

#[test]
fn passing_faults_are_waited_out() {
    let whole = tempfile::tempdir().unwrap();
    let (_, expected, _) = run(&wanted(&server(450, &[]), 450), whole.path());
    use Answer::{Cut, Error, Forgotten, Good, Status};
    let faults = [
        Status(429, Some(7)),
        Error,
        Status(500, None),
        Cut,
        Good,
        Cut,
        Status(503, None),
        Good,
        Good,
        Forgotten,
        Cut,
    ];
    let server = server(450, &faults);
    let folder = tempfile::tempdir().unwrap();
    let (found, written, slept) = run(&wanted(&server, 450), folder.path());
    found.unwrap();
    assert_eq!(written, expected);
    let seconds: Vec<u64> = slept
        .iter()
        .map(Duration::as_secs)
        .filter(|s| *s > 0)
        .collect();
    // As long as the service says, else twice as long each time of one request.
    assert_eq!(seconds, [7, 4, 8, 16, 2, 4, 2]);
}

#[test]
fn a_run_that_was_broken_off_goes_on_and_ends_with_the_same_bytes() {
    let whole = tempfile::tempdir().unwrap();
    let (_, expected, _) = run(&wanted(&server(900, &[]), 900), whole.path());
    // The third batch never comes: the service is down.
    let mut faults = vec![Answer::Good; 5];
    faults.extend([Answer::Status(502, None); 6]);
    let server = server(900, &faults);
    let folder = tempfile::tempdir().unwrap();
    let mut asked = wanted(&server, 900);
    let (found, written, _) = run(&asked, folder.path());
    let error = found.unwrap_err();
    assert!(
        error.contains("502") && error.contains("--resume"),
        "{error}"
    );
    assert!(written.is_empty());
    let (found, ..) = run(&asked, folder.path());
    assert!(found.unwrap_err().contains("resume it with --resume"));
    asked.resume = true;
    let mut other = asked.clone();
    other.query = "migraine".to_owned();
    let (found, ..) = run(&other, folder.path());
    assert!(found.unwrap_err().contains("ask for the same"));
    let before = server.seen.lock().unwrap().len();
    let (found, written, _) = run(&asked, folder.path());
    found.unwrap();
    assert_eq!(written, expected);
    let seen = server.seen.lock().unwrap();
    let again = &seen[before..];
    assert!(again.iter().all(|(path, _)| path.ends_with("efetch.fcgi")));
    assert_eq!(again.len(), 3, "two of five batches were there");
}

#[test]
fn what_is_damaged_under_way_is_fetched_again_or_refused() {
    let whole = tempfile::tempdir().unwrap();
    let (_, expected, _) = run(&wanted(&server(900, &[]), 900), whole.path());
    let mut faults = vec![Answer::Good; 5];
    faults.extend([Answer::Status(502, None); 6]);
    let server = server(900, &faults);
    let folder = tempfile::tempdir().unwrap();
    let mut asked = wanted(&server, 900);
    assert!(run(&asked, folder.path()).0.is_err());
    asked.resume = true;
    let partial = partial(&folder.path().join("corpus.jsonl"));
    let batch = partial.join("00001.json");
    let text = std::fs::read_to_string(&batch).unwrap();
    std::fs::write(&batch, text.replacen("Title", "Titel", 1)).unwrap();
    let search = partial.join("search.json");
    let text = std::fs::read(&search).unwrap();
    for at in (0..text.len()).step_by(11) {
        let mut changed = text.clone();
        changed[at] ^= 1;
        std::fs::write(&search, &changed).unwrap();
        let error = run(&asked, folder.path()).0.unwrap_err();
        assert!(
            error.contains("search.json") && error.contains("it is damaged"),
            "{error}"
        );
    }
    std::fs::write(&search, &text).unwrap();
    let mut damaged = Vec::new();
    let out = folder.path().join("corpus.jsonl");
    fetch(&asked, &out, &Fast::default(), &mut |p| {
        if let FetchProgress::Damaged(path) = p {
            damaged.push(path.to_owned());
        }
    })
    .unwrap();
    assert_eq!(damaged, [batch]);
    assert_eq!(std::fs::read(&out).unwrap(), expected);
}

#[test]
fn what_cannot_be_fetched_is_said() {
    let server = server(10, &[]);
    let folder = tempfile::tempdir().unwrap();
    let refused = |change: &dyn Fn(&mut Fetch)| {
        let mut asked = wanted(&server, 10);
        change(&mut asked);
        run(&asked, folder.path()).0.unwrap_err()
    };
    assert!(refused(&|f| f.max = 10_000).contains("1 to 9999 of one search; split the query"));
    assert!(refused(&|f| f.email = "nobody".into()).contains("no e-mail address"));
    assert!(refused(&|f| f.query = " ".into()).contains("query is empty"));
    assert!(refused(&|f| f.query = "nothing".into()).contains("not found: nothing"));
    let gone = refused(&|f| f.base = "http://127.0.0.1:9/eutils".into());
    assert!(
        gone.contains("cannot be reached") && gone.contains("check the network"),
        "{gone}"
    );
    assert!(EUTILS.starts_with("https://"));
}

#[test]
fn days_of_publication_are_asked_for_and_are_part_of_the_search() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("a.jsonl");
    let server = server(30, &[Answer::Good, Answer::Status(400, None)]);
    let day = |text: &str| text.parse().ok();
    let days = Days::between(day("2000"), day("2025-03-31")).unwrap();
    let asked = Fetch {
        published: days,
        resume: true,
        ..wanted(&server, 30)
    };
    let clock = Fast::default();
    fetch(&asked, &out, &clock, &mut |_| {}).unwrap_err();
    let form = server.seen.lock().unwrap()[0].1.clone();
    let expected = [
        ("datetype", "pdat"),
        ("mindate", "2000"),
        ("maxdate", "2025/03/31"),
    ];
    for (name, value) in expected {
        assert_eq!(form.get(name).map(String::as_str), Some(value), "{form:?}");
    }
    let other = Fetch {
        published: None,
        ..asked.clone()
    };
    let error = fetch(&other, &out, &clock, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("ask for the same"), "{error}");
    fetch(&asked, &out, &clock, &mut |_| {}).unwrap();
    assert!(out.exists());
}

#[test]
fn too_few_citations_are_refused_after_the_search_alone() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(30, &[]);
    let asked = Fetch {
        least: 31,
        ..wanted(&server, 40)
    };
    let out = folder.path().join("a.jsonl");
    let error = fetch(&asked, &out, &Fast::default(), &mut |_| {}).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("has 30 citations") && text.contains("at least 31"),
        "{text}"
    );
    assert_eq!(server.seen.lock().unwrap().len(), 1);
    assert!(!out.exists() && !partial(&out).exists());
}

#[test]
fn progress_is_told() {
    let server = server(450, &[Answer::Status(429, Some(3))]);
    let folder = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    let out = folder.path().join("a.jsonl");
    fetch(&wanted(&server, 450), &out, &Fast::default(), &mut |p| {
        told.push(match p {
            FetchProgress::Asking(service) => format!("asking {}", service == server.base),
            FetchProgress::Searched(found, asked) => format!("{found} {asked}"),
            FetchProgress::At(done) => done.to_string(),
            FetchProgress::Damaged(path) => format!("damaged {}", path.display()),
            FetchProgress::Again(pause, why) => format!("again {}, {why}", pause.as_secs()),
        });
    })
    .unwrap();
    assert_eq!(
        told,
        [
            "asking true",
            "again 3, the service answers 429 (try 1 of 6)",
            "450 450",
            "200",
            "400",
            "450"
        ]
    );
}
