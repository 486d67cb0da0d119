//! Names of models: `org/name`, optionally with a revision and a GGUF file.

use std::fmt;

use crate::error::{HubError, Result};

/// The default branch.
const MAIN: &str = "main";
/// Maximum length of a repository's name on the hub.
const NAME_LIMIT: usize = 96;
/// Maximum length of a revision: git's limit for file names.
const REVISION_LIMIT: usize = 255;

/// A model of the hub: `org/name[@revision]`, or one file of it, `org/name/file.gguf[@revision]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    repo: String,
    file: Option<String>,
    revision: String,
}

impl Reference {
    /// Parses a reference. The revision is a branch, a tag or a commit; the default is `main`.
    ///
    /// # Errors
    /// [`HubError::Reference`] if the text is not such a name. A parsed name never leads out of its folder.
    pub fn parse(text: &str) -> Result<Reference> {
        let wrong = |why: &str| HubError::Reference {
            text: text.to_owned(),
            why: why.to_owned(),
        };
        let (path, revision) = text.split_once('@').unwrap_or((text, MAIN));
        let mut parts = path.splitn(3, '/');
        let (Some(org), Some(name), file) = (parts.next(), parts.next(), parts.next()) else {
            return Err(match full_name(path) {
                Some(full) => wrong(&format!("its full name is {full}")),
                None => wrong("a model's name has two parts, org/name"),
            });
        };
        if !is_name(org) || !is_name(name) || org.len() + 1 + name.len() > NAME_LIMIT {
            return Err(wrong(
                "a name has letters, digits, '.', '_' and '-', begins and ends with a letter, digit or '_', and has neither \"--\" nor \"..\"",
            ));
        }
        if let Some(file) = file {
            if !is_gguf(file) {
                return Err(wrong("of single files only those of GGUF can be named"));
            }
            if !is_safe(file) {
                return Err(wrong("the file's path leads out of the repository"));
            }
        }
        if !is_revision(revision) {
            return Err(wrong("the revision is no branch, tag or commit of git"));
        }
        Ok(Reference {
            repo: format!("{org}/{name}"),
            file: file.map(str::to_owned),
            revision: revision.to_owned(),
        })
    }

    /// The repository, `org/name`.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// The GGUF file, if one is named.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The branch, tag or commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repo)?;
        if let Some(file) = &self.file {
            write!(f, "/{file}")?;
        }
        match self.revision.as_str() {
            MAIN => Ok(()),
            revision => write!(f, "@{revision}"),
        }
    }
}

/// Whether a text has the form of a model's name. Relative paths may have it too: check for a file first.
pub fn looks_like_reference(text: &str) -> bool {
    Reference::parse(text).is_ok()
}

/// The full name of a model that the Python tools also know by a one-part name; the hub redirects these.
pub fn full_name(text: &str) -> Option<String> {
    let org = match text {
        "gpt2" | "gpt2-medium" | "gpt2-large" | "gpt2-xl" | "openai-gpt" => "openai-community",
        "distilgpt2" | "distilbert-base-uncased" | "distilbert-base-cased" => "distilbert",
        "bert-base-uncased" | "bert-base-cased" | "bert-large-uncased" | "bert-large-cased" => {
            "google-bert"
        }
        "roberta-base" | "roberta-large" | "xlm-roberta-base" | "xlm-roberta-large" => "FacebookAI",
        "t5-small" | "t5-base" | "t5-large" | "t5-3b" | "t5-11b" => "google-t5",
        "albert-base-v2" => "albert",
        "xlnet-base-cased" | "xlnet-large-cased" => "xlnet",
        "ctrl" => "Salesforce",
        _ => return None,
    };
    Some(format!("{org}/{text}"))
}

/// Whether a revision is a full commit hash, which never changes.
pub(crate) fn is_commit(revision: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    revision.len() == 40 && revision.bytes().all(hex)
}

/// Whether a file name ends in `.gguf`.
pub(crate) fn is_gguf(name: &str) -> bool {
    name.len() > 5 && name.to_ascii_lowercase().ends_with(".gguf")
}

/// Whether a file's path, as given by the hub, stays within the repository on every operating system.
pub(crate) fn is_safe(path: &str) -> bool {
    let plain = |c: char| !c.is_control() && c != '\\';
    let drive = |part: &str| part.as_bytes().get(1) == Some(&b':');
    let part = |part: &str| !matches!(part, "" | "." | "..") && !drive(part);
    path.chars().all(plain) && path.split('/').all(part)
}

fn is_name(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let ends = |b: Option<u8>| b.is_some_and(word);
    name.bytes().all(|b| word(b) || b == b'.' || b == b'-')
        && ends(name.bytes().next())
        && ends(name.bytes().last())
        && !name.contains("--")
        && !name.contains("..")
        && !name.ends_with(".git")
}

/// Git's rule for names, slightly stricter: the revision is also used as a path within `refs/`.
fn is_revision(revision: &str) -> bool {
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !"~^:?*[\\\"<>|".contains(c);
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    revision.len() <= REVISION_LIMIT
        && revision.chars().all(plain)
        && revision.split('/').all(part)
        && !revision.contains("..")
        && !revision.contains("@{")
        && !revision.ends_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written() {
        let read = |text: &str| Reference::parse(text).unwrap();
        let plain = read("openai-community/gpt2");
        assert_eq!(plain.repo(), "openai-community/gpt2");
        assert_eq!((plain.file(), plain.revision()), (None, "main"));
        let tagged = read("a_b/c.d-1@v1.0");
        assert_eq!((tagged.repo(), tagged.revision()), ("a_b/c.d-1", "v1.0"));
        assert_eq!(read("a/b@refs/pr/7").revision(), "refs/pr/7");
        let file = read("org/name-GGUF/Q4/name.Q4_K_M.gguf@main");
        assert_eq!(file.repo(), "org/name-GGUF");
        assert_eq!(file.file(), Some("Q4/name.Q4_K_M.gguf"));
        for text in ["a/b", "a/b@v1", "a/b/c.gguf", "a/b/c/d.GGUF@refs/pr/1"] {
            assert_eq!(read(text).to_string(), text);
        }
        assert_eq!(read("a/b@main").to_string(), "a/b");
    }

    #[test]
    fn names_of_one_part_are_told_in_full() {
        let why = |text: &str| Reference::parse(text).unwrap_err().to_string();
        assert!(why("gpt2").ends_with("its full name is openai-community/gpt2"));
        assert!(why("distilgpt2@main").ends_with("its full name is distilbert/distilgpt2"));
        assert!(why("smollm").ends_with("a model's name has two parts, org/name"));
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "",
            "/",
            "gpt2",
            "a/",
            "/a/b",
            "./a",
            "../a",
            "a/..",
            "~/a",
            "a/b/",
            "a//b",
            "a\\b/c",
            "a/b/c",
            "a/b/../c.gguf",
            "a/b/.gguf",
            "a/b//c.gguf",
            "a/b/c\\d.gguf",
            "a/b@",
            "a/b@../x",
            "a/b@x/../y",
            "a/b@/x",
            "a/b@x/",
            "a/b@.x",
            "a/b@x.lock",
            "a/b@x y",
            "a/b@x\ny",
            "a/b@x\\y",
            "a--b/c",
            "-a/b",
            "a/b-",
            "a/b.git",
            "ä/b",
            "a b/c",
            "https://huggingface.co/a/b",
            "C:/models/x",
        ] {
            assert!(!looks_like_reference(text), "{text:?}");
        }
        let long = format!("a/{}", "b".repeat(95));
        assert!(!looks_like_reference(&long) && looks_like_reference(&long[..96]));
    }

    #[test]
    fn only_whole_commits_are_commits() {
        assert!(is_commit("607a30d783dfa663caf39e06633721c8d4cfcd7e"));
        for other in [
            "main",
            "607a30d",
            "607A30D783DFA663CAF39E06633721C8D4CFCD7E",
        ] {
            assert!(!is_commit(other));
        }
    }
}
