//! The published script: its pairs and its sweep (`--profile paper`).

use engram_core::{Metric, Pair, SiteTable};
use engram_corpus::{Fact, FactTable, Relation};
use engram_model::Tokenizer;

use crate::build::{BuildSettings, Built, assemble, pair_of, subject};
use crate::error::Result;
use crate::pairing::Cycle;
use crate::spec::SweepSpec;
use crate::wording::{Prompts, question_prompts};

/// The published script's sweep: every module by name, its whole output overwritten in the corrupted
/// run, the mean logit difference read at the last position.
pub fn published_spec(table: &SiteTable) -> SweepSpec {
    SweepSpec {
        metrics: vec![Metric::LogitDiffMean],
        overwrite: true,
        ..SweepSpec::new(table.modules().to_vec())
    }
}

/// Pairs for the published script: one question, followed by a space and the correct answer in the
/// clean input, by another fact's answer in the corrupted one. Inputs are equally long in tokens, and so
/// are the answers. Kinds are not balanced: nothing is read at an answer's first token here.
///
/// # Errors
/// [`crate::PatchError::NoPair`]; the tokenizer's.
pub fn build_published(
    table: &FactTable,
    tokenizer: &Tokenizer,
    settings: &BuildSettings,
) -> Result<Built> {
    let prompts = |relation: &Relation| question_prompts(relation, tokenizer);
    assemble(table, settings, f64::INFINITY, prompts, question_pair)
}

fn question_pair(
    relation: &Relation,
    _: &Prompts,
    (clean, corrupt): (usize, usize),
    _: &Cycle,
    cluster: &str,
) -> Pair {
    let (a, b) = (&relation.facts[clean], &relation.facts[corrupt]);
    let question = relation.question.render(a);
    let input = |fact: &Fact| format!("{} {}", question.text, fact.answer);
    let (clean, corrupt) = (input(a), input(b));
    Pair {
        subject: subject(&question, &clean),
        corrupt_subject: subject(&question, &corrupt),
        clean,
        corrupt,
        answer: a.answer.clone(),
        foil: b.answer.clone(),
        template: Some(format!("{}/question", relation.name)),
        ..pair_of(relation, a, b, cluster)
    }
}
