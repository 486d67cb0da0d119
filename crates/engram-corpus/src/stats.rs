//! Counts of a corpus: abstracts, words, tokens and mentions of terms.

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::Tokenize;
use crate::abstracts::Abstract;
use crate::error::{CorpusError, Result};

/// Counts over a corpus. Each abstract counts with its title.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorpusStats {
    /// Abstracts.
    pub abstracts: usize,
    /// Number of words, separated by white space.
    pub words: usize,
    /// Number of tokens, if a tokenizer was given.
    pub tokens: Option<usize>,
    /// One entry for each term, in order.
    pub mentions: Vec<Mentions>,
}

/// Number of mentions of a term, ignoring case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mentions {
    /// The term.
    pub term: String,
    /// Mentions as a whole word: not next to a letter, digit or underscore.
    pub whole_words: usize,
    /// Mentions anywhere, also inside longer words ("seizures", "antiepilepsy").
    pub substrings: usize,
    /// Abstracts that mention it as a whole word.
    pub abstracts_whole_words: usize,
    /// Abstracts that mention it anywhere.
    pub abstracts_substrings: usize,
}

/// Counts abstracts, words, tokens and the mentions of `terms`.
///
/// # Errors
/// [`CorpusError::Term`] for a blank or overlong term.
pub fn stats(
    abstracts: &[Abstract],
    terms: &[&str],
    tokenize: Option<Tokenize<'_>>,
) -> Result<CorpusStats> {
    let patterns = terms
        .iter()
        .map(|term| {
            Ok((
                pattern(term, "", "")?,
                pattern(term, r"\b{start-half}", r"\b{end-half}")?,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut stats = CorpusStats {
        abstracts: abstracts.len(),
        words: 0,
        tokens: tokenize.map(|_| 0),
        mentions: terms
            .iter()
            .map(|term| Mentions {
                term: (*term).to_owned(),
                ..Mentions::default()
            })
            .collect(),
    };
    for text in abstracts.iter().map(Abstract::text) {
        stats.words += text.split_whitespace().count();
        if let (Some(tokens), Some(tokenize)) = (&mut stats.tokens, tokenize) {
            *tokens += tokenize(&text).len();
        }
        for (mentions, (anywhere, whole)) in stats.mentions.iter_mut().zip(&patterns) {
            let (anywhere, whole) = (
                anywhere.find_iter(&text).count(),
                whole.find_iter(&text).count(),
            );
            mentions.substrings += anywhere;
            mentions.whole_words += whole;
            mentions.abstracts_substrings += usize::from(anywhere > 0);
            mentions.abstracts_whole_words += usize::from(whole > 0);
        }
    }
    Ok(stats)
}

fn pattern(term: &str, before: &str, after: &str) -> Result<Regex> {
    let broken = |why: String| CorpusError::Term {
        term: term.to_owned(),
        why,
    };
    if term.trim().is_empty() {
        return Err(broken("it is blank".into()));
    }
    Regex::new(&format!("(?i){before}{}{after}", regex::escape(term)))
        .map_err(|e| broken(e.to_string().replace('\n', " ")))
}
