//! The confounds of a study's pairs: what their tokens show, and what the training texts hold.

use std::collections::BTreeMap;
use std::path::Path;

use engram_core::{Confounds, Pair, files};
use engram_corpus::stats;
use engram_corpus::write::Exposure;
use engram_patch::PreparedPair;

use crate::corpus::read_corpus;
use crate::error::Result;
use crate::observe::Observer;
use crate::results::TRAIN;

/// One entry for each pair of a suite, in its order. `corpus` is the folder of the training texts.
///
/// # Errors
/// The files'.
pub fn confounds(
    suite: &[Pair],
    prepared: &[PreparedPair],
    corpus: Option<&Path>,
    observer: &mut dyn Observer,
) -> Result<Vec<Confounds>> {
    let by_id: BTreeMap<&str, &PreparedPair> =
        prepared.iter().map(|p| (p.id.as_str(), p)).collect();
    let of = |pair: &Pair| by_id.get(pair.id.as_str()).map(|p| p.confounds());
    let mut found: Vec<Confounds> = suite.iter().filter_map(of).collect();
    let Some(corpus) = corpus else {
        return Ok(found);
    };
    let mentions = mentions(suite, corpus, observer)?;
    let exposures = exposures(corpus)?;
    for (pair, confounds) in suite.iter().zip(&mut found) {
        confounds.answer_mentions = mentions.get(pair.answer.trim()).copied();
        confounds.exposures = pair.fact.as_ref().and_then(|f| exposures.get(f)).copied();
    }
    Ok(found)
}

/// How often the training texts mention each answer as a whole word.
fn mentions<'a>(
    suite: &'a [Pair],
    corpus: &Path,
    observer: &mut dyn Observer,
) -> Result<BTreeMap<&'a str, usize>> {
    let mut answers: Vec<&str> = suite.iter().map(|p| p.answer.trim()).collect();
    answers.sort_unstable();
    answers.dedup();
    answers.retain(|answer| !answer.is_empty());
    let texts = read_corpus(&corpus.join(TRAIN), observer)?;
    let counted = stats::stats(&texts, &answers, None)?.mentions;
    Ok(answers
        .into_iter()
        .zip(counted.iter().map(|m| m.whole_words))
        .collect())
}

/// How often texts written from a fact table state each fact.
fn exposures(corpus: &Path) -> Result<BTreeMap<String, usize>> {
    let path = corpus.join("exposures.jsonl");
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let taught: Vec<Exposure> = files::read_jsonl(&path)?;
    Ok(taught.into_iter().map(|e| (e.fact, e.exposures)).collect())
}
