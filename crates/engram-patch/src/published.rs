//! The published script: its pairs and its sweep (`--profile paper`).

use engram_core::{Metric, Pair, SiteTable, Suite};
use engram_corpus::{Fact, FactTable, Question, Relation};
use engram_model::Tokenizer;

use crate::build::{BuildSettings, Built, assemble, pair_of, subject};
use crate::error::{PatchError, Result};
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

/// Pairs of questions with a correct and a corrupted answer: the clean input is the question, a space and the correct answer,
/// the corrupted one has the other answer. The mean logits of the two phrases are compared.
///
/// # Errors
/// [`PatchError::UnequalAnswers`] with every question whose inputs or whose answers differ in tokens: whole outputs cannot be
/// overwritten between them; the tokenizer's.
pub fn published_pairs(questions: &[Question], tokenizer: &Tokenizer) -> Result<Suite> {
    let mut unequal = Vec::new();
    let mut pairs = Vec::new();
    for asked in questions {
        let input = |answer: &str| format!("{} {answer}", asked.question);
        let pair = Pair {
            id: asked.id.clone(),
            kind: asked.kind.clone(),
            relation: Some(asked.relation.clone()),
            template: Some(format!("{}/question", asked.relation)),
            clean: input(&asked.answer),
            corrupt: input(&asked.corrupted),
            answer: asked.answer.clone(),
            foil: asked.corrupted.clone(),
            ..Pair::default()
        };
        let inputs = [&pair.clean, &pair.corrupt].map(|text| tokenizer.encode(text));
        let phrases = [&pair.answer, &pair.foil].map(|text| tokenizer.encode_bare(text));
        let [clean, corrupt] = inputs;
        let [answer, foil] = phrases;
        let (inputs, phrases) = ([clean?.len(), corrupt?.len()], [answer?.len(), foil?.len()]);
        if inputs[0] != inputs[1] || phrases[0] != phrases[1] {
            unequal.push(format!(
                "{} (inputs of {} and {} tokens, answers of {} and {})",
                asked.id, inputs[0], inputs[1], phrases[0], phrases[1]
            ));
        }
        pairs.push(pair);
    }
    match unequal.is_empty() {
        true => Ok(Suite { pairs }),
        false => Err(PatchError::UnequalAnswers {
            count: unequal.len(),
            total: questions.len(),
            list: unequal.join("; "),
        }),
    }
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
