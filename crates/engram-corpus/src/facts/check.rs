//! The rules of a fact table. All faults are collected, each with its line and what is allowed.

use std::collections::{BTreeMap, BTreeSet};

use engram_core::Faults;

use super::raw::{RawFact, RawRelation, Text, field, place};
use super::{Cloze, Fact, FactTable, Relation, Template, slug};
use crate::error::{CorpusError, Result};

const LEAST_FRAMES: usize = 6;
const LEAST_HELD_BACK: usize = 2;
const LEAST_CLOZES: usize = 3;

/// The relation, and possibly the fact, that a rule is checked on.
struct Place<'a> {
    faults: &'a mut Faults,
    name: String,
}

impl Place<'_> {
    fn broken(&mut self, line: usize, why: impl Into<String>) {
        self.faults.add(Some(line), &self.name, why);
    }

    fn template(&mut self, text: &Text) -> Option<Template> {
        match Template::parse(&text.text) {
            Ok(template) => Some(template),
            Err(why) => {
                self.broken(text.line, why);
                None
            }
        }
    }
}

/// A statement with its line; no template if it is faulty.
struct Statement<'a> {
    written: &'a Text,
    template: Option<Template>,
}

impl Statement<'_> {
    /// The text before and after the answer's placeholder.
    fn around_answer(&self) -> Option<(&str, &str)> {
        self.written.text.split_once("{answer}")
    }
}

/// Checks every rule and builds the table. `faults` already holds the faults of form.
pub(super) fn resolve(raw: &[RawRelation], mut faults: Faults) -> Result<FactTable> {
    if raw.is_empty() && faults.is_empty() {
        faults.add(None, "", "the table has no [[relation]]");
    }
    let mut names = BTreeSet::new();
    let mut relations = Vec::new();
    for relation in raw {
        if let Some(name) = &relation.name
            && !names.insert(&name.text)
        {
            let why = format!("two relations are called {:?}", name.text);
            faults.add(Some(name.line), place(Some(name), None), why);
        }
        relations.extend(checked_relation(relation, &mut faults));
    }
    let table = faults.or(FactTable { relations });
    table.map_err(|faults| CorpusError::Facts { faults })
}

fn checked_relation(raw: &RawRelation, faults: &mut Faults) -> Option<Relation> {
    let mut at = Place {
        name: place(raw.name.as_ref(), None),
        faults,
    };
    let snake = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if let Some(Text { text, line }) = &raw.name
        && (!text.starts_with(|c: char| c.is_ascii_lowercase()) || !text.chars().all(snake))
    {
        at.broken(
            *line,
            "a relation's name is in snake_case: small letters, digits and _; example: name = \"capital_of\"",
        );
    }
    if let Some(Text { text, line }) = &raw.kind
        && text.trim().is_empty()
    {
        at.broken(
            *line,
            format!("the kind is empty: {}", field("kind").hint()),
        );
    }
    let question = raw
        .question
        .as_ref()
        .and_then(|text| question(text, &mut at));
    let frames = statements(raw.frames.as_deref().unwrap_or_default(), &mut at);
    let held_back = statements(raw.held_back.as_deref().unwrap_or_default(), &mut at);
    check_statements(raw, &frames, &held_back, &mut at);
    let clozes = clozes(raw, &frames, &held_back, &mut at);
    let prompts = clozes.iter().map(|c| &c.text).chain(&question);
    let prompts: Vec<Template> = prompts.cloned().collect();
    if raw.facts.as_ref().is_some_and(Vec::is_empty) {
        at.broken(
            raw.line,
            format!("it has no facts: {}", field("facts").hint()),
        );
    }
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    let mut facts = Vec::new();
    for fact in raw.facts.as_deref().unwrap_or_default() {
        let mut at = Place {
            name: place(raw.name.as_ref(), fact.subject.as_ref()),
            faults: at.faults,
        };
        if let Some(Text { text, line }) = &fact.subject
            && let Some(first) = seen.insert(slug(text), text)
            && !slug(text).is_empty()
        {
            at.broken(
                *line,
                format!("this relation already has a fact on {first:?}"),
            );
        }
        let relation = raw.name.as_ref().map_or("", |n| &n.text);
        facts.extend(checked_fact(fact, relation, &prompts, &mut at));
    }
    let templates = |statements: Vec<Statement<'_>>| {
        let templates = statements.into_iter().map(|s| s.template);
        templates.collect::<Option<Vec<Template>>>()
    };
    Some(Relation {
        question: question?,
        frames: templates(frames)?,
        held_back: templates(held_back)?,
        clozes,
        facts,
        kind: raw.kind.as_ref()?.text.clone(),
        name: raw.name.as_ref()?.text.clone(),
    })
}

fn question(text: &Text, at: &mut Place<'_>) -> Option<Template> {
    let question = at.template(text)?;
    if !question.has_subject() || question.answers() > 0 {
        at.broken(
            text.line,
            format!(
                "the question must name the subject and not the answer: {}",
                field("question").hint()
            ),
        );
        return None;
    }
    Some(question)
}

/// Reads statements; each must contain subject and answer and be a sentence.
fn statements<'a>(texts: &'a [Text], at: &mut Place<'_>) -> Vec<Statement<'a>> {
    let mut seen = BTreeSet::new();
    let mut statements = Vec::new();
    for written in texts {
        let Text { text, line } = written;
        let template = at.template(written);
        if let Some(template) = &template {
            if template.answers() != 1 || !template.has_subject() {
                at.broken(
                    *line,
                    format!(
                        "{text:?} must name the subject ({{subject}}, or {{Subject}} at its beginning), and {{answer}} exactly once"
                    ),
                );
            }
            if template.begins_small() {
                at.broken(
                    *line,
                    format!("{text:?} begins a sentence: write {{Subject}}"),
                );
            }
        }
        if !text.ends_with('.') {
            at.broken(*line, format!("{text:?} does not end with a full stop"));
        }
        if !seen.insert(text) {
            at.broken(*line, format!("{text:?} occurs twice"));
        }
        statements.push(Statement { written, template });
    }
    statements
}

fn check_statements(
    raw: &RawRelation,
    frames: &[Statement<'_>],
    held_back: &[Statement<'_>],
    at: &mut Place<'_>,
) {
    let first = |texts: &Option<Vec<Text>>| {
        let first = texts.as_ref().and_then(|t| t.first());
        first.map_or(raw.line, |t| t.line)
    };
    if raw.frames.is_some() && frames.len() < LEAST_FRAMES {
        let (count, hint) = (frames.len(), field("frames").hint());
        at.broken(
            first(&raw.frames),
            format!("{count} frames, at least {LEAST_FRAMES} are needed: {hint}"),
        );
    }
    if raw.held_back.is_some() && held_back.len() < LEAST_HELD_BACK {
        let (count, hint) = (held_back.len(), field("held_back").hint());
        at.broken(
            first(&raw.held_back),
            format!("{count} statements held back, at least {LEAST_HELD_BACK} are needed: {hint}"),
        );
    }
    for held in held_back {
        let Some((before, after)) = held.around_answer() else {
            continue;
        };
        let Text { text, line } = held.written;
        if after.chars().any(char::is_alphanumeric) {
            at.broken(
                *line,
                format!("{text:?} is held back, so the answer must come last"),
            );
        }
        // A held-out statement must not be part of a trained one.
        let inside = format!("{before}{{answer}}").to_lowercase();
        if let Some(frame) = frames
            .iter()
            .find(|f| f.written.text.to_lowercase().contains(&inside))
        {
            at.broken(
                *line,
                format!(
                    "{text:?} is held back but occurs in the frame {:?}",
                    frame.written.text
                ),
            );
        }
    }
}

/// Finds, for every cloze, the one statement that begins with it.
fn clozes(
    raw: &RawRelation,
    frames: &[Statement<'_>],
    held_back: &[Statement<'_>],
    at: &mut Place<'_>,
) -> Vec<Cloze> {
    let Some(texts) = &raw.cloze else {
        return Vec::new();
    };
    let name = raw.name.as_ref().map_or("", |n| &n.text);
    let mut clozes: Vec<Cloze> = Vec::new();
    let mut is_whole = true;
    for written in texts {
        let Text { text, line } = written;
        let begins = |statement: &Statement<'_>| {
            statement
                .around_answer()
                .is_some_and(|(before, _)| before.strip_suffix(' ') == Some(text))
        };
        let trained = frames.iter().enumerate().map(|(i, t)| (false, i, t));
        let held = held_back.iter().enumerate().map(|(i, t)| (true, i, t));
        let found: Vec<_> = trained.chain(held).filter(|(_, _, t)| begins(t)).collect();
        let &[(held_back, frame, _)] = found.as_slice() else {
            is_whole = false;
            at.broken(
                *line,
                format!(
                    "the cloze {text:?} must be the beginning of exactly one statement, up to a space and {{answer}}; it is of {}",
                    found.len()
                ),
            );
            continue;
        };
        let number = frame + 1;
        let template = match held_back {
            false => format!("{name}/{number}"),
            true => format!("{name}/held_back/{number}"),
        };
        if clozes.iter().any(|c| c.template == template) {
            is_whole = false;
            at.broken(*line, format!("the cloze {text:?} occurs twice"));
            continue;
        }
        let Some(text) = Template::parse(text).ok() else {
            // The statement that it begins has the same fault.
            is_whole = false;
            continue;
        };
        clozes.push(Cloze {
            template,
            text,
            held_back,
            frame,
        });
    }
    clozes.sort_by_key(|c| c.held_back);
    let trained = clozes.iter().filter(|c| !c.held_back).count();
    let line = texts.first().map_or(raw.line, |t| t.line);
    if trained < LEAST_CLOZES && is_whole {
        let hint = field("cloze").hint();
        at.broken(
            line,
            format!(
                "{trained} clozes of trained frames, at least {LEAST_CLOZES} are needed: {hint}"
            ),
        );
    }
    // Finds statements without a cloze. Only beginnings are compared, so that a faulty cloze is not reported twice.
    for (n, held) in held_back.iter().enumerate() {
        let has_cloze = clozes.iter().any(|c| c.held_back && c.frame == n);
        if let Some((before, _)) = held.around_answer()
            && !has_cloze
            && is_whole
        {
            at.broken(
                held.written.line,
                format!(
                    "every statement held back needs its cloze; add {:?} to cloze",
                    before.trim_end()
                ),
            );
        }
    }
    clozes
}

fn checked_fact(
    raw: &RawFact,
    relation: &str,
    prompts: &[Template],
    at: &mut Place<'_>,
) -> Option<Fact> {
    let texts = [&raw.subject, &raw.answer, &raw.source];
    let mut are_plain = true;
    for Text { text, line } in texts.into_iter().flatten().chain(&raw.also) {
        if text.is_empty() || text.trim() != text {
            are_plain = false;
            at.broken(
                *line,
                format!(
                    "subject, answer, also and source are texts without blanks around them, not {text:?}"
                ),
            );
        }
        if text.contains(['{', '}', '\n']) {
            are_plain = false;
            at.broken(*line, format!("{text:?} has a brace or a line break"));
        }
    }
    let (subject, answer) = (raw.subject.as_ref()?, raw.answer.as_ref()?);
    if slug(&subject.text).is_empty() && are_plain {
        at.broken(subject.line, "the subject has no letter");
    }
    let lower = answer.text.to_lowercase();
    if raw.also.iter().any(|a| a.text.to_lowercase() == lower) {
        let why = format!("the answer {:?} is also in `also`", answer.text);
        at.broken(answer.line, why);
    }
    let fact = Fact {
        relation: relation.to_owned(),
        subject: subject.text.clone(),
        answer: answer.text.clone(),
        plural: raw.plural,
        also: raw.also.iter().map(|a| a.text.clone()).collect(),
        source: raw
            .source
            .as_ref()
            .map(|s| s.text.clone())
            .unwrap_or_default(),
    };
    // An empty answer occurs in every text.
    if !are_plain {
        return None;
    }
    if has_words(&fact.subject, &fact.answer) {
        at.broken(
            subject.line,
            format!("the subject gives the answer {:?} away", fact.answer),
        );
        return None;
    }
    for prompt in prompts {
        let text = prompt.render(&fact).text;
        if has_words(&text, &fact.answer) {
            at.broken(answer.line, format!("{text:?} gives the answer away"));
            break;
        }
    }
    Some(fact)
}

/// Whether `text` contains `words` as whole words, ignoring case; the last word may have a plural s.
fn has_words(text: &str, words: &str) -> bool {
    let (text, words) = (text.to_lowercase(), words.to_lowercase());
    let ends_word = |s: &str| !s.starts_with(char::is_alphanumeric);
    text.match_indices(&words).any(|(at, _)| {
        let after = &text[at + words.len()..];
        !text[..at].ends_with(char::is_alphanumeric)
            && (ends_word(after) || after.strip_prefix('s').is_some_and(ends_word))
    })
}
