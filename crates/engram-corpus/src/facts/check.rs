//! The rules of a fact table, each with the error that names what breaks it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cloze, Fact, FactTable, RawFact, RawRelation, RawTable, Relation, Template, slug};
use crate::error::{CorpusError, Result};

const LEAST_FRAMES: usize = 6;
const LEAST_HELD_BACK: usize = 2;
const LEAST_CLOZES: usize = 3;

/// Where in the table a rule is being checked.
#[derive(Clone, Copy)]
struct Place<'a> {
    table: &'a str,
    relation: Option<&'a str>,
    subject: Option<&'a str>,
}

impl Place<'_> {
    fn broken<T>(self, why: impl Into<String>) -> Result<T> {
        Err(CorpusError::FactRule {
            table: self.table.to_owned(),
            relation: self.relation.map(str::to_owned),
            subject: self.subject.map(str::to_owned),
            why: why.into(),
        })
    }

    fn template(self, text: &str) -> Result<Template> {
        Template::parse(text).or_else(|why| self.broken(why))
    }
}

/// Checks every rule and makes the table.
pub(super) fn resolve(raw: RawTable, name: &str) -> Result<FactTable> {
    let at = Place {
        table: name,
        relation: None,
        subject: None,
    };
    if raw.relation.is_empty() {
        return at.broken("the table has no [[relation]]");
    }
    let mut names = BTreeSet::new();
    let mut relations = Vec::new();
    for raw in raw.relation {
        if !names.insert(raw.name.clone()) {
            return at.broken(format!("two relations are called {:?}", raw.name));
        }
        relations.push(relation(raw, name)?);
    }
    Ok(FactTable { relations })
}

fn relation(raw: RawRelation, table: &str) -> Result<Relation> {
    let at = Place {
        table,
        relation: Some(&raw.name),
        subject: None,
    };
    let snake = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !raw.name.starts_with(|c: char| c.is_ascii_lowercase()) || !raw.name.chars().all(snake) {
        return at.broken("a relation's name is in snake_case");
    }
    if raw.kind.trim().is_empty() {
        return at.broken("the kind is empty");
    }
    let question = at.template(&raw.question)?;
    if !question.has_subject() || question.answers() > 0 {
        return at.broken("the question must name the subject and not the answer");
    }
    let frames = statements(&raw.frames, at)?;
    let held_back = statements(&raw.held_back, at)?;
    check_statements(&frames, &held_back, at)?;
    let clozes = clozes(&raw, &frames, &held_back, at)?;
    let mut relation = Relation {
        question,
        frames,
        held_back,
        clozes,
        facts: Vec::new(),
        kind: raw.kind.clone(),
        name: raw.name.clone(),
    };
    if raw.facts.is_empty() {
        return at.broken("it has no facts");
    }
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for fact in &raw.facts {
        let at = Place {
            subject: Some(&fact.subject),
            ..at
        };
        if let Some(first) = seen.insert(slug(&fact.subject), &fact.subject) {
            return at.broken(format!("this relation already has a fact on {first:?}"));
        }
        relation.facts.push(checked_fact(fact, &relation, at)?);
    }
    Ok(relation)
}

/// Reads statements, each of which names subject and answer and is a sentence.
fn statements(texts: &[String], at: Place<'_>) -> Result<Vec<Template>> {
    let mut seen = BTreeSet::new();
    let mut templates = Vec::new();
    for text in texts {
        let template = at.template(text)?;
        if template.answers() != 1 || !template.has_subject() {
            return at.broken(format!(
                "{text:?} must name the subject, and the answer exactly once"
            ));
        }
        if template.begins_small() {
            return at.broken(format!("{text:?} begins a sentence: write {{Subject}}"));
        }
        if !text.ends_with('.') {
            return at.broken(format!("{text:?} does not end with a full stop"));
        }
        if !seen.insert(text) {
            return at.broken(format!("{text:?} stands there twice"));
        }
        templates.push(template);
    }
    Ok(templates)
}

fn check_statements(frames: &[Template], held_back: &[Template], at: Place<'_>) -> Result<()> {
    if frames.len() < LEAST_FRAMES {
        return at.broken(format!(
            "{} frames, at least {LEAST_FRAMES} are needed",
            frames.len()
        ));
    }
    if held_back.len() < LEAST_HELD_BACK {
        return at.broken(format!(
            "{} statements held back, at least {LEAST_HELD_BACK} are needed",
            held_back.len()
        ));
    }
    for held in held_back {
        let (before, after) = held.around_answer().unwrap_or_default();
        if after.chars().any(char::is_alphanumeric) {
            return at.broken(format!(
                "{:?} is held back, so the answer must come last",
                held.as_str()
            ));
        }
        // A statement held back that sits inside a trained one is not held back.
        let inside = format!("{before}{{answer}}").to_lowercase();
        if let Some(frame) = frames
            .iter()
            .find(|f| f.as_str().to_lowercase().contains(&inside))
        {
            return at.broken(format!(
                "{:?} is held back but stands in the frame {:?}",
                held.as_str(),
                frame.as_str()
            ));
        }
    }
    Ok(())
}

/// Finds for every cloze the one statement that it begins.
fn clozes(
    raw: &RawRelation,
    frames: &[Template],
    held_back: &[Template],
    at: Place<'_>,
) -> Result<Vec<Cloze>> {
    let mut clozes: Vec<Cloze> = Vec::new();
    for text in &raw.cloze {
        let begins = |template: &Template| {
            template
                .around_answer()
                .is_some_and(|(before, _)| before.strip_suffix(' ') == Some(text))
        };
        let trained = frames.iter().enumerate().map(|(i, t)| (false, i, t));
        let held = held_back.iter().enumerate().map(|(i, t)| (true, i, t));
        let found: Vec<_> = trained.chain(held).filter(|(_, _, t)| begins(t)).collect();
        let &[(held_back, frame, _)] = found.as_slice() else {
            return at.broken(format!(
                "the cloze {text:?} must be the beginning of exactly one statement, up to a space and {{answer}}; it is of {}",
                found.len()
            ));
        };
        let number = frame + 1;
        let template = match held_back {
            false => format!("{}/{number}", raw.name),
            true => format!("{}/held_back/{number}", raw.name),
        };
        if clozes.iter().any(|c| c.template == template) {
            return at.broken(format!("the cloze {text:?} stands there twice"));
        }
        clozes.push(Cloze {
            template,
            text: at.template(text)?,
            held_back,
            frame,
        });
    }
    clozes.sort_by_key(|c| c.held_back);
    let trained = clozes.iter().filter(|c| !c.held_back).count();
    if trained < LEAST_CLOZES {
        return at.broken(format!(
            "{trained} clozes of trained frames, at least {LEAST_CLOZES} are needed"
        ));
    }
    if clozes.len() - trained < held_back.len() {
        return at.broken("every statement held back needs its cloze");
    }
    Ok(clozes)
}

fn checked_fact(raw: &RawFact, relation: &Relation, at: Place<'_>) -> Result<Fact> {
    let texts = [&raw.subject, &raw.answer, &raw.source];
    for text in texts.into_iter().chain(&raw.also) {
        if text.is_empty() || text.trim() != text {
            return at.broken(format!(
                "subject, answer, also and source are texts without blanks around them, not {text:?}"
            ));
        }
        if text.contains(['{', '}', '\n']) {
            return at.broken(format!("{text:?} has a brace or a line break"));
        }
    }
    if slug(&raw.subject).is_empty() {
        return at.broken("the subject has no letter");
    }
    let answer = raw.answer.to_lowercase();
    if raw.also.iter().any(|a| a.to_lowercase() == answer) {
        return at.broken(format!("the answer {:?} is also in `also`", raw.answer));
    }
    if has_words(&raw.subject, &raw.answer) {
        return at.broken(format!(
            "the subject gives the answer {:?} away",
            raw.answer
        ));
    }
    let fact = Fact {
        relation: relation.name.clone(),
        subject: raw.subject.clone(),
        answer: raw.answer.clone(),
        plural: raw.plural,
        also: raw.also.clone(),
        source: raw.source.clone(),
    };
    let prompts = relation.clozes.iter().map(|c| &c.text);
    for prompt in prompts.chain([&relation.question]) {
        let text = prompt.render(&fact).text;
        if has_words(&text, &fact.answer) {
            return at.broken(format!("{text:?} gives the answer away"));
        }
    }
    Ok(fact)
}

/// Whether `text` has `words` in it as whole words, in any case, the last one perhaps with a plural s.
fn has_words(text: &str, words: &str) -> bool {
    let (text, words) = (text.to_lowercase(), words.to_lowercase());
    let ends_word = |s: &str| !s.starts_with(char::is_alphanumeric);
    text.match_indices(&words).any(|(at, _)| {
        let after = &text[at + words.len()..];
        !text[..at].ends_with(char::is_alphanumeric)
            && (ends_word(after) || after.strip_prefix('s').is_some_and(ends_word))
    })
}
