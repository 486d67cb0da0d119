//! A local server that behaves like PubMed: a search with history, then citations by their positions.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use engram_corpus::FactTable;

/// PubMed with some citations.
pub struct PubMed {
    /// The address of its E-utilities.
    pub address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    abstracts: Vec<String>,
    /// The first citation of the requests that are refused.
    refused: Option<usize>,
    /// Program and form of each request.
    seen: Vec<(String, BTreeMap<String, String>)>,
}

impl PubMed {
    /// A server with so many abstracts, each of which states six facts of a table.
    pub fn new(count: usize, table: &Path) -> PubMed {
        let table = FactTable::read(table).unwrap();
        let sentences: Vec<String> = (table.facts())
            .flat_map(|(relation, fact)| relation.frames.iter().map(move |f| f.render(fact).text))
            .collect();
        let text = |n: usize| {
            let picked = (0..6).map(|i| sentences[(n * 31 + i * 257) % sentences.len()].as_str());
            picked.collect::<Vec<&str>>().join(" ")
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/entrez/eutils", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            abstracts: (0..count).map(text).collect(),
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if let Some((program, form)) = request(&mut stream) {
                    let mut state = shared.lock().unwrap();
                    let (status, body) = state.answer(&program, &form);
                    state.seen.push((program, form));
                    drop(state);
                    let head = format!(
                        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all(format!("{head}{body}").as_bytes());
                }
            }
        });
        PubMed { address, state }
    }

    /// Requests for the batch that begins with this citation are refused from now on, or none.
    pub fn refuse(&self, first: Option<usize>) {
        self.state.lock().unwrap().refused = first;
    }

    /// The programs that were asked, with the first citation asked for, since this was last called.
    pub fn seen(&self) -> Vec<(String, usize)> {
        let seen = std::mem::take(&mut self.state.lock().unwrap().seen);
        let first = |form: &BTreeMap<String, String>| {
            form.get("retstart")
                .map_or(0, |start| start.parse().unwrap())
        };
        seen.iter()
            .map(|(program, form)| (program.clone(), first(form)))
            .collect()
    }
}

impl State {
    fn answer(&self, program: &str, form: &BTreeMap<String, String>) -> (u16, String) {
        let number = |name: &str| form.get(name).map_or(0, |value| value.parse().unwrap());
        let count = self.abstracts.len();
        if program == "esearch.fcgi" {
            assert!(form["email"].contains("%40"), "an address, escaped");
            let ids: Vec<String> = (0..count.min(number("retmax")))
                .map(|n| format!("\"{}\"", n + 1))
                .collect();
            let body = format!(
                "{{\"esearchresult\":{{\"count\":\"{count}\",\"querykey\":\"1\",\"webenv\":\"W\",\"idlist\":[{}]}}}}",
                ids.join(",")
            );
            return (200, body);
        }
        let first = number("retstart");
        if self.refused == Some(first) {
            return (400, "refused".to_owned());
        }
        let citation = |n: usize| {
            format!(
                "<PubmedArticle><MedlineCitation><PMID>{}</PMID><Article><ArticleTitle>On epilepsy, {n}.</ArticleTitle>\
                 <Abstract><AbstractText>{}</AbstractText></Abstract></Article></MedlineCitation></PubmedArticle>",
                n + 1,
                self.abstracts[n].replace('&', "&amp;").replace('<', "&lt;")
            )
        };
        let last = count.min(first + number("retmax"));
        let found: String = (first..last).map(citation).collect();
        (
            200,
            format!("<?xml version=\"1.0\"?><PubmedArticleSet>{found}</PubmedArticleSet>"),
        )
    }
}

/// The program and its form, values as they are escaped.
fn request(stream: &mut TcpStream) -> Option<(String, BTreeMap<String, String>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let (end, length) = loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text.lines().find_map(|l| l.strip_prefix("content-length:"));
            break (end + 4, length.map_or(0, |l| l.trim().parse().unwrap()));
        }
    };
    while bytes.len() < end + length {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let program = text.split(' ').nth(1)?.rsplit('/').next()?.to_owned();
    let pairs = text[end..]
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    Some((
        program,
        pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
    ))
}
