//! From a suite to pairs that a sweep can take: what cannot be patched is refused by name, or left out by name.

use std::fmt;

use engram_core::Suite;
use engram_core::text::plain;
use engram_patch::{
    Fitness, PreparedPair, Problem, Reading, Unfit, check, refuse_unfit, skip_unfit,
};
use engram_report::Excluded;

use crate::error::{Error, Result};
use crate::observe::Observer;

/// The pairs that can be patched, and those left out where `skip` allows it. What a person should know of the others is a
/// notice.
///
/// # Errors
/// Where none is to be left out, [`Error::Unequal`] or [`Error::Patch`] with all unfit pairs by name; where none is left,
/// [`Error::NoneFits`].
pub fn prepare(
    suite: &Suite,
    model: &engram_model::LanguageModel,
    reading: &Reading,
    skip: bool,
    observer: &mut dyn Observer,
) -> Result<(Vec<PreparedPair>, Vec<Excluded>)> {
    let checked = check(suite, model.tokenizer(), &model.shape(), reading)?;
    for found in &checked {
        for notice in &found.notices {
            observer.note(format!("notice: {}: {notice}", found.pair.id));
        }
    }
    if !skip {
        if let Some(unequal) = UnequalLengths::of(&checked) {
            return Err(unequal.into());
        }
        return Ok((refuse_unfit(checked)?, Vec::new()));
    }
    let (fit, unfit) = skip_unfit(checked);
    let excluded = left_out(unfit, observer);
    if fit.is_empty() {
        let first = excluded.first();
        return Err(Error::NoneFits {
            count: excluded.len(),
            first: first.map_or("none", |e| &e.pair).to_owned(),
            why: first
                .map_or("the suite has no pair", |e| &e.reason)
                .to_owned(),
        });
    }
    Ok((fit, excluded))
}

/// Names the pairs that are left out.
pub(crate) fn left_out(unfit: Vec<Unfit>, observer: &mut dyn Observer) -> Vec<Excluded> {
    let excluded = unfit.into_iter().map(|unfit| {
        let reason = unfit.problems.join("; ");
        observer.note(format!("left out: {} ({reason})", unfit.pair));
        Excluded {
            pair: unfit.pair,
            kind: Some(unfit.kind),
            reason,
        }
    });
    excluded.collect()
}

/// What to do about prompts of unequal lengths.
pub const UNEQUAL: &str = "prompts of unequal lengths: --align last or --align subject patches them, --skip-unfit leaves them out, engram suite build makes pairs of equal lengths";

/// The most pairs that are named.
const NAMED: usize = 10;

/// A pair whose two prompts differ in length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnequalPair {
    /// The pair's id.
    pub id: String,
    /// Tokens of the clean prompt.
    pub clean: usize,
    /// Tokens of the corrupted prompt.
    pub corrupt: usize,
}

/// The error of a suite in which prompts of a pair differ in length, under strict alignment.
#[derive(Debug, Clone)]
pub struct UnequalLengths {
    /// The pairs.
    pub pairs: Vec<UnequalPair>,
    text: String,
}

impl UnequalLengths {
    /// The error; `None` where no pair is unfit for its lengths.
    pub fn of(checked: &[Fitness]) -> Option<UnequalLengths> {
        let lengths = |f: &Fitness| {
            f.problems.iter().find_map(|p| match p {
                Problem::Length { clean, corrupt } => Some(UnequalPair {
                    id: f.pair.id.clone(),
                    clean: *clean,
                    corrupt: *corrupt,
                }),
                _ => None,
            })
        };
        let pairs: Vec<UnequalPair> = checked.iter().filter_map(lengths).collect();
        if pairs.is_empty() {
            return None;
        }
        let unfit: Vec<&Fitness> = checked.iter().filter(|f| !f.is_fit()).collect();
        let names = unfit.iter().take(NAMED).map(|f| {
            let problems: Vec<String> = f.problems.iter().map(Problem::to_string).collect();
            format!("{} ({})", f.pair.id, problems.join("; "))
        });
        let mut names: Vec<String> = names.collect();
        if let Some(more) = unfit.len().checked_sub(NAMED).filter(|n| *n > 0) {
            names.push(format!("{more} more"));
        }
        let text = format!(
            "{} of {} pairs cannot be patched: {}; {} with {UNEQUAL}",
            unfit.len(),
            checked.len(),
            names.join(", "),
            pairs.len()
        );
        Some(UnequalLengths {
            pairs,
            text: plain(&text).into_owned(),
        })
    }
}

impl std::error::Error for UnequalLengths {}

impl fmt::Display for UnequalLengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
