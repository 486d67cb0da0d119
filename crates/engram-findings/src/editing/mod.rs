//! Edits: how well they hold where, whether kinds differ, whether recovery says where to edit, what else moves.
//!
//! The unit is the fact; facts of one cluster are averaged before any test, and resampled together; kinds are compared
//! over relations. S of one fact, [`harmonic`](engram_core::Score::harmonic) of its own shares, is what layers are
//! compared by: it is high only where the edit holds, in other words too, and leaves neighbours alone.

pub mod best;
mod breakdown;
pub mod join;
pub mod kinds;
pub mod recovery;
pub mod scores;
mod sheet;
pub mod side_effects;
pub mod simulate;
mod warnings;

use engram_core::{Continuation, EditRow, FactChange, LanguageEffect, Method};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{FindingsError, Result};
use crate::study::{Condition, StudyResults};
use crate::words::{number, percent, plural};
use sheet::Sheet;

pub use best::{BestLayer, LayerComparison};
pub use breakdown::{Breakdown, breakdown};
pub use kinds::{EditKindLayer, EditKindTests};
pub use recovery::{Correlation, Helps, Joined, Recovery, best_layer};
pub use scores::{BeforeAfter, EditScores, FactShare, MeanScore};
pub use side_effects::{SideEffects, Spread};

/// One model's edits by one method, as files hold them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EditResults {
    /// Their name in the study (`edit.NAME`).
    pub name: String,
    /// The model's name in the study.
    pub model: String,
    /// The method.
    pub method: Method,
    /// Facts that could be edited.
    pub facts: usize,
    /// Facts whose answer the unedited model says: every token of it its most probable one. These are edited.
    pub says: usize,
    /// Facts of whose answer and foil it prefers the right one; `None` where facts have no corrupted prompt.
    pub prefers: Option<usize>,
    /// The facts edited, each at every set of layers.
    pub rows: Vec<EditRow>,
    /// How other facts moved; may be empty.
    pub moved: Vec<FactChange>,
    /// What the model says before and after; may be empty.
    pub said: Vec<Continuation>,
    /// Perplexity and fluency of each edit; may be empty.
    pub asides: Vec<LanguageEffect>,
}

/// What one model's edits by one method show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EditFindings {
    /// Their name in the study (`edit.NAME`).
    pub name: String,
    /// The model's name in the study.
    pub model: String,
    /// The method.
    pub method: Method,
    /// Facts that could be edited.
    pub facts: usize,
    /// Facts whose answer the unedited model says. These are edited.
    pub says: usize,
    /// Facts of whose answer and foil it prefers the right one; `None` where facts have no corrupted prompt.
    #[serde(default)]
    pub prefers: Option<usize>,
    /// Facts edited.
    pub edited: usize,
    /// The kinds, in the order in which they are shown.
    pub kinds: Vec<String>,
    /// The sets of layers, in ascending order.
    pub layers: Vec<Vec<usize>>,
    /// Means: for each set of layers all facts first, then each kind where there are several.
    pub scores: Vec<EditScores>,
    /// The set of layers with the greatest S: of all facts first, then of each kind where there are several. Empty
    /// where nothing was scored.
    pub best: Vec<BestLayer>,
    /// Do kinds differ? One entry for each two kinds and score.
    pub kind_tests: Vec<EditKindTests>,
    /// Does recovery say where to edit? `None` where no sweep of `mlp_out` has these facts.
    pub recovery: Option<Recovery>,
    /// What moved with the edits of the best set of layers; `None` where it was not measured.
    pub side_effects: Option<SideEffects>,
    /// What follows, in plain sentences, in the order in which they are read: where to edit facts of each kind, whether
    /// kinds differ, whether recovery helps, what else moves.
    pub conclusions: Vec<String>,
    /// What the model says before and after, at the best set of layers.
    pub said: Vec<Continuation>,
}

impl EditFindings {
    /// The means of some layers, of a kind or (`None`) of all facts.
    pub fn scores_of(&self, layers: &[usize], kind: Option<&str>) -> Option<&EditScores> {
        (self.scores.iter()).find(|s| s.layers == layers && s.kind.as_deref() == kind)
    }

    /// The best set of layers of a kind, or (`None`) of all facts.
    pub fn best_of(&self, kind: Option<&str>) -> Option<&BestLayer> {
        self.best.iter().find(|b| b.kind.as_deref() == kind)
    }
}

/// What a study's edits show, in its order. The sweep that they are joined to is the condition's of the same model.
///
/// # Errors
/// A value that is not finite; two rows for one fact and set of layers; two results of one name and model; settings
/// outside their range.
pub fn editing(study: &StudyResults<'_>) -> Result<Vec<EditFindings>> {
    let context = Context::new(study.suite, study.settings)?;
    let mut all: Vec<EditFindings> = Vec::new();
    for results in study.edits {
        if all
            .iter()
            .any(|f| f.name == results.name && f.model == results.model)
        {
            return Err(FindingsError::DuplicateCondition {
                condition: format!("edit {} of {}", results.name, results.model),
            });
        }
        let condition = study.conditions.iter().find(|c| c.name == results.model);
        all.push(of_model(&context, condition, results)?);
    }
    Ok(all)
}

fn of_model(
    context: &Context<'_>,
    condition: Option<&Condition>,
    results: &EditResults,
) -> Result<EditFindings> {
    let sheet = Sheet::new(context, results)?;
    let mut all = Vec::new();
    for layers in sheet.rows.keys() {
        for kind in sheet.groups() {
            all.push(scores::scores(&sheet, results, layers, kind)?);
        }
    }
    let mut best = Vec::new();
    for kind in sheet.groups() {
        best.extend(best::best(&sheet, &all, kind)?);
    }
    let at = best.first().map(|b: &BestLayer| b.layers.clone());
    let at = at.unwrap_or_default();
    let edited = sheet.rows.values().map(Vec::len).max().unwrap_or(0);
    let mut found = EditFindings {
        name: results.name.clone(),
        model: results.model.clone(),
        method: results.method,
        facts: results.facts,
        says: results.says,
        prefers: results.prefers,
        edited,
        kinds: sheet.kinds.clone(),
        layers: sheet.rows.keys().map(|l| l.to_vec()).collect(),
        scores: all,
        best,
        kind_tests: kinds::kind_tests(&sheet)?,
        recovery: match condition {
            Some(condition) => recovery::recovery(&sheet, &results.rows, &condition.rows)?,
            None => None,
        },
        side_effects: side_effects::side_effects(context, results, &at),
        conclusions: Vec::new(),
        said: (results.said.iter())
            .filter(|s| s.layers == at)
            .cloned()
            .collect(),
    };
    found.conclusions = conclusions(&found, &results.rows);
    Ok(found)
}

/// What follows, in the order in which it is read.
fn conclusions(found: &EditFindings, rows: &[EditRow]) -> Vec<String> {
    let prefers = found.prefers.map_or(String::new(), |n| {
        format!(" It prefers the right one of answer and foil of {n}.")
    });
    let counts = format!(
        "The unedited model says the answer of {} of {} that could be edited.{prefers}",
        found.says,
        plural(found.facts, "fact")
    );
    if found.edited == 0 {
        return vec![format!("Nothing was edited. {counts}")];
    }
    let several = found.kinds.len() > 1;
    let mut all = Vec::new();
    let best = (found.best.iter()).filter(|b| b.kind.is_some() == several);
    all.extend(best.map(|b| b.sentence.clone()));
    all.extend(warnings::warnings(found, rows));
    all.extend(found.kind_tests.iter().map(|t| t.verdict.clone()));
    // Too few relations is said once.
    all.dedup();
    all.extend(found.recovery.as_ref().map(|r| r.sentence.clone()));
    all.extend(
        found
            .side_effects
            .as_ref()
            .map(side_effects::SideEffects::sentence),
    );
    all.extend(unmoved(found));
    all.push(format!("{counts}{}", rests_on(rows)));
    all
}

/// Which facts the scores are over, in words; nothing where the rows do not say.
fn rests_on(rows: &[EditRow]) -> &'static str {
    let says: Option<Vec<bool>> = rows.iter().map(|r| r.says).collect();
    match says {
        Some(says) if says.iter().all(|s| *s) => " All scores are over facts whose answer it says.",
        Some(_) => " Scores are over facts whether it says their answer or not.",
        None => "",
    }
}

/// What the edits of the best layers did to perplexity, in words.
fn unmoved(found: &EditFindings) -> Option<String> {
    let best = found.best_of(None)?;
    let scores = found.scores_of(&best.layers, None)?;
    let perplexity = scores.perplexity?;
    Some(format!(
        "Perplexity of texts held out is {} before and {} after an edit at the best layer ({} in the mean over {}).",
        number(perplexity.before),
        number(perplexity.after),
        percent(perplexity.after / perplexity.before - 1.0),
        plural(perplexity.facts, "edit")
    ))
}
