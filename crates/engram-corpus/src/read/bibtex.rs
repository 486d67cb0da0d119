//! BibTeX: entries by their braces, the fields of one by the crate `biblatex`, which resolves LaTeX's commands.

use biblatex::{Bibliography, Chunk, ChunksRef, Entry};

use super::columns::pmid_within;
use super::gather::Record;
use super::limits::RECORD_LIMIT;
use super::markup::{spaced, year_of};
use crate::abstracts::{Abstract, some_text};

/// The most bytes of a file's `@string` definitions, which every entry is read with.
const STRINGS_LIMIT: usize = 64 << 10;
/// Braces within braces.
const DEPTH: usize = 1000;

/// A file's entries under way.
#[derive(Default)]
pub(crate) struct Entries {
    /// The entry that is open, from its `@`.
    entry: String,
    depth: usize,
    begin: usize,
    strings: String,
    /// Bytes of the longest of them.
    longest: usize,
    /// Lines outside of entries that are neither blank nor comments.
    pub outside: usize,
}

/// What is wrong, and the line.
type Fault = (usize, String);

impl Entries {
    /// Whether an entry is open.
    pub fn is_open(&self) -> bool {
        !self.entry.is_empty()
    }

    /// Takes a line with its end; gives the records that end in it.
    pub fn line(&mut self, number: usize, line: &str) -> Result<Vec<Record>, Fault> {
        let mut ended = Vec::new();
        let mut rest = line;
        if self.depth > 0 && begins(line) {
            return Err((
                self.begin,
                format!(
                    "the entry that begins here is not closed before the next, at line {number}"
                ),
            ));
        }
        loop {
            if !self.is_open() {
                let Some(at) = rest
                    .find('@')
                    .filter(|_| !rest.trim_start().starts_with('%'))
                else {
                    self.pass_over(rest)?;
                    return Ok(ended);
                };
                self.pass_over(rest.get(..at).unwrap_or_default())?;
                rest = rest.get(at..).unwrap_or_default();
                self.begin = number;
            }
            let mut end = None;
            for (at, byte) in rest.bytes().enumerate() {
                match byte {
                    b'{' if self.depth == DEPTH => {
                        let why = format!("its braces are nested deeper than {DEPTH}");
                        return Err((number, why));
                    }
                    b'{' => self.depth += 1,
                    b'}' => {
                        self.depth = self.depth.saturating_sub(1);
                        if self.depth == 0 {
                            end = Some(at + 1);
                            break;
                        }
                    }
                    _ => {}
                }
            }
            let Some(end) = end else {
                self.entry.push_str(rest);
                return Ok(ended);
            };
            self.entry.push_str(rest.get(..end).unwrap_or_default());
            rest = rest.get(end..).unwrap_or_default();
            let entry = std::mem::take(&mut self.entry);
            ended.extend(self.record(&entry).map_err(|why| (self.begin, why))?);
        }
    }

    /// Whether the file ends where it may.
    pub fn end(&self) -> Result<(), Fault> {
        match self.is_open() {
            true => Err((
                self.begin,
                "the entry that begins here is never closed: the file is cut short".to_owned(),
            )),
            false => Ok(()),
        }
    }

    /// Counts text outside of entries, which BibTeX takes for comments.
    fn pass_over(&mut self, text: &str) -> Result<(), Fault> {
        let text = text.trim();
        if text.starts_with("TY  -") || text.starts_with("PMID-") {
            let why = "a record of another format within BibTeX: two formats in one file";
            return Err((self.begin + 1, why.to_owned()));
        }
        if !text.is_empty() && !text.starts_with('%') && text != "," {
            self.outside += 1;
        }
        Ok(())
    }

    fn record(&mut self, entry: &str) -> Result<Option<Record>, String> {
        let (kind, inside) = entry.split_once('{').unwrap_or((entry, ""));
        match kind.trim_start_matches('@').trim().to_lowercase().as_str() {
            "comment" | "preamble" => return Ok(None),
            "string" => return self.string(entry, inside).map(|()| None),
            _ => {}
        }
        // Some programs write entries without a key.
        let has_key = inside
            .split(',')
            .next()
            .is_some_and(|k| !k.trim().is_empty());
        let text = match has_key {
            true => format!("{}{entry}", self.strings),
            false => format!("{}{kind}{{key{inside}", self.strings),
        };
        // Every "=" or "#" may name a string.
        let named = entry.bytes().filter(|b| *b == b'#' || *b == b'=').count();
        if named.saturating_mul(self.longest) > RECORD_LIMIT {
            return Err("its strings may expand to more than a record holds".to_owned());
        }
        let parsed = Bibliography::parse(&text).map_err(|e| e.to_string())?;
        Ok(parsed.iter().next().map(record))
    }
}

impl Entries {
    /// Keeps a definition. One of other strings could expand without end.
    fn string(&mut self, entry: &str, inside: &str) -> Result<(), String> {
        let value = inside.split_once('=').map_or("", |(_, value)| value.trim());
        if !value.starts_with(['{', '"']) || value.contains('#') {
            return Err("a @string that is put together from others is not read".to_owned());
        }
        if self.strings.len() + entry.len() > STRINGS_LIMIT {
            return Err(format!(
                "its @string definitions have more than {STRINGS_LIMIT} bytes"
            ));
        }
        self.longest = self.longest.max(value.len());
        self.strings.push_str(entry);
        self.strings.push('\n');
        Ok(())
    }
}

/// Whether a line begins an entry: `@article{` at its start.
fn begins(line: &str) -> bool {
    let Some((kind, _)) = line.strip_prefix('@').and_then(|l| l.split_once('{')) else {
        return false;
    };
    !kind.trim().is_empty() && kind.trim().bytes().all(|b| b.is_ascii_alphabetic())
}

fn record(entry: &Entry) -> Record {
    let field = |names: &[&str]| {
        let found = names.iter().find_map(|name| entry.get(name));
        found.map(text).and_then(some_text)
    };
    let eprint = field(&["eprinttype", "archiveprefix"])
        .filter(|kind| kind.to_lowercase().contains("pubmed"))
        .and_then(|_| field(&["eprint"]));
    let noted = || {
        let notes = ["note", "annote", "annotation"].into_iter();
        notes
            .filter_map(|name| field(&[name]))
            .find_map(|note| pmid_within(&note))
    };
    Abstract {
        pmid: field(&["pmid", "PMID"]).or(eprint).or_else(noted),
        title: field(&["title"]).unwrap_or_default(),
        body: field(&["abstract"]).unwrap_or_default(),
        journal: field(&["journal", "journaltitle", "booktitle"]),
        keywords: field(&["keywords"]),
        url: field(&["url"]),
        year: field(&["year", "date"]).and_then(|date| year_of(&date)),
        ..Abstract::default()
    }
    .into()
}

/// A field's text, without LaTeX's marks.
fn text(chunks: ChunksRef<'_>) -> String {
    let mut text = String::new();
    for chunk in chunks {
        match &chunk.v {
            // A command that biblatex does not know is left as it was.
            Chunk::Normal(part) | Chunk::Verbatim(part) if part.contains('\\') => {
                text.push_str(&formula(part));
            }
            Chunk::Normal(part) | Chunk::Verbatim(part) => text.push_str(part),
            Chunk::Math(part) => text.push_str(&formula(part)),
        }
    }
    spaced(&text)
}

/// LaTeX without its commands and braces: `10^{6}` is 10^6, `\textit{a}` is a, `\alpha` is α.
fn formula(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let name = rest.get(..letters).unwrap_or_default();
        match SYMBOLS.iter().find(|(symbol, _)| *symbol == name) {
            Some((_, sign)) => {
                out.push_str(sign);
                rest = rest.get(letters..).unwrap_or_default();
                rest = rest.strip_prefix(' ').unwrap_or(rest);
            }
            // A font or a space: what it is applied to stays.
            None if letters > 0 => rest = rest.get(letters..).unwrap_or_default(),
            None => {
                let mut after = rest.chars();
                let sign = after.next().filter(|c| !",;:! ".contains(*c));
                out.extend(sign);
                rest = after.as_str();
            }
        }
    }
    out.push_str(rest);
    out.retain(|c| c != '{' && c != '}');
    out
}

/// Signs that abstracts have.
const SYMBOLS: [(&str, &str); 36] = [
    ("alpha", "α"),
    ("beta", "β"),
    ("gamma", "γ"),
    ("delta", "δ"),
    ("epsilon", "ε"),
    ("zeta", "ζ"),
    ("eta", "η"),
    ("theta", "θ"),
    ("kappa", "κ"),
    ("lambda", "λ"),
    ("mu", "μ"),
    ("nu", "ν"),
    ("xi", "ξ"),
    ("pi", "π"),
    ("rho", "ρ"),
    ("sigma", "σ"),
    ("tau", "τ"),
    ("phi", "φ"),
    ("chi", "χ"),
    ("psi", "ψ"),
    ("omega", "ω"),
    ("Delta", "Δ"),
    ("Gamma", "Γ"),
    ("Omega", "Ω"),
    ("Sigma", "Σ"),
    ("pm", "±"),
    ("times", "×"),
    ("cdot", "·"),
    ("le", "≤"),
    ("leq", "≤"),
    ("ge", "≥"),
    ("geq", "≥"),
    ("approx", "≈"),
    ("sim", "~"),
    ("circ", "°"),
    ("rightarrow", "→"),
];
