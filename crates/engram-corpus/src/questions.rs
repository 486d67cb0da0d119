//! Questions with a correct and a corrupted answer, as the published study asks them.

use std::collections::BTreeMap;
use std::path::Path;

use engram_core::faults::unknown_field;
use engram_core::{CoreError, Faults, Field, files};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::Result;

/// The fields of a question, in the order in which they are described.
pub const QUESTION_FIELDS: [Field; 7] = [
    Field::new("id", "a name of its own", "id = \"dravet-gene\""),
    Field::new("kind", "the kind of knowledge", "kind = \"associative\""),
    Field::new(
        "relation",
        "what kind of link is asked for",
        "relation = \"causal_gene\"",
    ),
    Field::new(
        "question",
        "the question",
        "question = \"Which gene is most often mutated in Dravet syndrome?\"",
    ),
    Field::new(
        "answer",
        "the correct answer",
        "answer = \"The sodium channel gene SCN1A.\"",
    ),
    Field::new(
        "corrupted",
        "a wrong answer of the same form",
        "corrupted = \"The sodium channel gene SCN8A.\"",
    ),
    Field::new(
        "source",
        "what supports the correct answer",
        "source = \"OMIM 607208\"",
    ),
];

/// A question with a correct and a corrupted answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// Its name.
    pub id: String,
    /// The kind of knowledge.
    pub kind: String,
    /// What kind of link is asked for: kinds are compared over relations.
    pub relation: String,
    /// The question.
    pub question: String,
    /// The correct answer.
    pub answer: String,
    /// The corrupted answer.
    pub corrupted: String,
    /// What supports the correct answer.
    pub source: String,
}

/// Reads questions from TOML: a list of `[[question]]`, each with all of [`QUESTION_FIELDS`].
///
/// # Errors
/// [`CoreError::Io`] if the file cannot be read; [`CoreError::Faults`] with every fault of every question: what is no
/// question, unknown and missing fields, empty texts, texts with blanks around them, a name or a question used twice, an answer
/// that is its corrupted one; [`CoreError::Empty`] if there is none.
pub fn read_questions(path: &Path) -> Result<Vec<Question>> {
    let text = files::read_text(path)?;
    let mut faults = Faults::new(path.display().to_string());
    let found = questions(&text, &mut faults);
    twice(&found, &mut faults);
    if found.is_empty() && faults.is_empty() {
        let path = path.to_owned();
        return Err(CoreError::Empty { path }.into());
    }
    let questions = found.into_iter().map(|(_, question)| question).collect();
    Ok(faults.or(questions).map_err(CoreError::from)?)
}

/// The line, from 1, of a byte.
fn line_of(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|b| *b == b'\n').count()
}

/// The questions with their lines.
fn questions(text: &str, faults: &mut Faults) -> Vec<(usize, Question)> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        faults.add(Some(line), "", error.message().replace('\n', ", "));
    }
    let mut found = Vec::new();
    if !errors.is_empty() {
        // After a syntax error the parser can only guess the rest.
        return found;
    }
    for (key, value) in table.get_ref() {
        let line = line_of(text, key.span().start);
        if key.get_ref() != "question" {
            faults.add(Some(line), "", unknown_field(key.get_ref(), &["question"]));
            continue;
        }
        let items = value.get_ref().as_array();
        let Some(items) = items else {
            let why = "expected a list of questions, each under a line [[question]]";
            faults.add(Some(line), "", why);
            continue;
        };
        for item in items {
            let line = line_of(text, item.span().start);
            match item.get_ref().as_table() {
                Some(table) => found.push((line, question(text, line, table, faults))),
                None => faults.add(
                    Some(line),
                    "",
                    "expected a question, under a line [[question]]",
                ),
            }
        }
    }
    found
}

fn question(text: &str, line: usize, table: &DeTable<'_>, faults: &mut Faults) -> Question {
    let id = string(table, "id").map(|(_, id)| id).unwrap_or_default();
    let place = match id.is_empty() {
        true => String::new(),
        false => format!("question {id:?}"),
    };
    let names = QUESTION_FIELDS.map(|f| f.name);
    for (key, _) in table {
        if !names.contains(&key.get_ref().as_ref()) {
            let line = line_of(text, key.span().start);
            faults.add(Some(line), &place, unknown_field(key.get_ref(), &names));
        }
    }
    let [id, kind, relation, question, answer, corrupted, source] = QUESTION_FIELDS.map(|field| {
        let Some((at, value)) = string(table, field.name) else {
            let (at, why) = match value(table, field.name) {
                Some(odd) => {
                    let why = format!("`{}`: expected a text; {}", field.name, field.hint());
                    (line_of(text, odd.span().start), why)
                }
                None => (line, field.missing()),
            };
            faults.add(Some(at), &place, why);
            return String::new();
        };
        let at = line_of(text, at);
        if value.trim().is_empty() {
            let why = format!("`{}` is empty; {}", field.name, field.hint());
            faults.add(Some(at), &place, why);
        } else if value.trim() != value {
            let why = format!("`{}` begins or ends with a blank", field.name);
            faults.add(Some(at), &place, why);
        }
        value
    });
    if !answer.is_empty() && answer == corrupted {
        faults.add(
            Some(line),
            &place,
            "the corrupted answer is the correct one",
        );
    }
    Question {
        id,
        kind,
        relation,
        question,
        answer,
        corrupted,
        source,
    }
}

fn value<'a, 'i>(table: &'a DeTable<'i>, name: &str) -> Option<&'a Spanned<DeValue<'i>>> {
    let found = table.iter().find(|(key, _)| key.get_ref() == name);
    found.map(|(_, value)| value)
}

/// A text and the byte at which it stands.
fn string(table: &DeTable<'_>, name: &str) -> Option<(usize, String)> {
    let value = value(table, name)?;
    let text = value.get_ref().as_str()?;
    Some((value.span().start, text.to_owned()))
}

/// Names and questions that are used twice.
fn twice(found: &[(usize, Question)], faults: &mut Faults) {
    let (mut ids, mut asked) = (BTreeMap::new(), BTreeMap::new());
    for (line, question) in found {
        let place = format!("question {:?}", question.id);
        for (seen, value, what) in [
            (&mut ids, &question.id, "this name"),
            (&mut asked, &question.question, "this question"),
        ] {
            if value.is_empty() {
                continue;
            }
            if let Some(first) = seen.get(value) {
                faults.add(
                    Some(*line),
                    &place,
                    format!("{what} is on line {first} already"),
                );
            } else {
                seen.insert(value, *line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Question>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.toml");
        std::fs::write(&path, text).unwrap();
        read_questions(&path)
    }

    /// The examples of the fields are a question.
    fn example() -> String {
        let fields = QUESTION_FIELDS.map(|f| f.example);
        format!("[[question]]\n{}\n", fields.join("\n"))
    }

    #[test]
    fn a_question_is_read() {
        let found = read(&example()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id, "dravet-gene");
        assert_eq!(found[0].corrupted, "The sodium channel gene SCN8A.");
        assert_eq!(found[0].source, "OMIM 607208");
    }

    #[test]
    fn all_faults_are_told_with_their_lines() {
        let odd = example()
            .replace("\"dravet-gene\"", "\"other\"")
            .replace("answer = \"The sodium", "answr = \"The sodium")
            .replace("SCN8A.\"", "SCN8A. \"");
        let text = format!(
            "{}[[question]]\nid = \"dravet-gene\"\nkind = 3\n{odd}",
            example()
        );
        let error = read(&text).unwrap_err().to_string();
        for part in [
            "line 9, question \"dravet-gene\": missing field `relation`",
            "line 11, question \"dravet-gene\": `kind`: expected a text",
            "line 9, question \"dravet-gene\": this name is on line 1 already",
            "line 17, question \"other\": unknown field `answr` (did you mean `answer`?)",
            "missing field `answer`",
            "line 18, question \"other\": `corrupted` begins or ends with a blank",
            "this question is on line 1 already",
        ] {
            assert!(error.contains(part), "{part}\n{error}");
        }
        let same = example().replace("SCN8A", "SCN1A");
        assert!(
            read(&same)
                .unwrap_err()
                .to_string()
                .contains("is the correct one")
        );
        assert!(read("").is_err());
        assert!(
            read("question = 3")
                .unwrap_err()
                .to_string()
                .contains("[[question]]")
        );
        assert!(
            read("[[question]")
                .unwrap_err()
                .to_string()
                .contains("line 1")
        );
    }
}
