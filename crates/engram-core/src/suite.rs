//! Suites: lists of pairs, and all faults of a suite file in one report.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{CoreError, Result};
use crate::faults::{Faults, Field, unknown_field};
use crate::files;
use crate::pair::Pair;

/// The fields of a pair. A test compares them with `docs/suites.md`.
pub const PAIR_FIELDS: [Field; 21] = [
    Field::new(
        "id",
        "the pair's name, unique in the suite",
        "\"id\": \"capital/france\"",
    ),
    Field::new(
        "kind",
        "the kind of fact, any word; findings compare kinds",
        "\"kind\": \"associative\"",
    ),
    Field::new(
        "clean",
        "the prompt that calls for the answer and stops just before it",
        "\"clean\": \"The capital of France is\"",
    ),
    Field::new(
        "corrupt",
        "the prompt that calls for the foil and stops just before it",
        "\"corrupt\": \"The capital of Italy is\"",
    ),
    Field::new(
        "answer",
        "what follows the clean prompt, with its leading blank",
        "\"answer\": \" Paris\"",
    ),
    Field::new(
        "foil",
        "what follows the corrupted prompt, with its leading blank",
        "\"foil\": \" Rome\"",
    ),
    Field::new(
        "clean_ids",
        "token ids in place of `clean`",
        "\"clean_ids\": [464, 3139]",
    ),
    Field::new(
        "corrupt_ids",
        "token ids in place of `corrupt`",
        "\"corrupt_ids\": [464, 3139]",
    ),
    Field::new(
        "answer_ids",
        "token ids in place of `answer`",
        "\"answer_ids\": [6342]",
    ),
    Field::new(
        "foil_ids",
        "token ids in place of `foil`",
        "\"foil_ids\": [10598]",
    ),
    Field::new(
        "messages",
        "chats in place of `clean` and `corrupt`",
        "\"messages\": {\"clean\": [{\"role\": \"user\", \"content\": \"Q\"}], \"corrupt\": [{\"role\": \"user\", \"content\": \"R\"}]}",
    ),
    Field::new(
        "subject",
        "the subject in the clean prompt",
        "\"subject\": \"France\"",
    ),
    Field::new(
        "corrupt_subject",
        "the subject in the corrupted prompt",
        "\"corrupt_subject\": \"Italy\"",
    ),
    Field::new(
        "relation",
        "the relation that both facts are of",
        "\"relation\": \"capital\"",
    ),
    Field::new(
        "template",
        "the wording: its name, or the prompt with {} in the subject's place",
        "\"template\": \"The capital of {} is\"",
    ),
    Field::new("fact", "the clean fact's name", "\"fact\": \"france\""),
    Field::new(
        "foil_fact",
        "the corrupted fact's name",
        "\"foil_fact\": \"italy\"",
    ),
    Field::new(
        "cluster",
        "a name that pairs which share facts have in common",
        "\"cluster\": \"france-italy\"",
    ),
    Field::new(
        "paraphrases",
        "the pair in other words",
        "\"paraphrases\": [{\"clean\": \"France has its capital in\", \"corrupt\": \"Italy has its capital in\"}]",
    ),
    Field::new(
        "neighbours",
        "prompts whose answers an edit of the fact must not change",
        "\"neighbours\": [{\"prompt\": \"The capital of Spain is\", \"answer\": \" Madrid\"}]",
    ),
    Field::new(
        "source",
        "where the fact is from",
        "\"source\": \"an atlas\"",
    ),
];

/// Fields that every pair needs.
const REQUIRED: [&str; 2] = ["id", "kind"];
/// Fields of which a pair needs one of each group.
const TEXTS: [&[&str]; 4] = [
    &["clean", "clean_ids", "messages"],
    &["corrupt", "corrupt_ids", "messages"],
    &["answer", "answer_ids"],
    &["foil", "foil_ids"],
];

/// A list of pairs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Suite {
    /// The pairs, in the order of the file.
    pub pairs: Vec<Pair>,
}

impl Suite {
    /// Reads a suite: JSONL, one pair a line; blank lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// [`CoreError::Io`] if the file cannot be read; [`CoreError::Faults`] with every line that is not a pair, every
    /// unknown and missing field, and every id used twice; [`CoreError::NoPair`] if there is no pair.
    pub fn read(path: &Path) -> Result<Suite> {
        let bytes = files::read(path)?;
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let mut reading = Reading::new(&path.display().to_string());
        for (index, line) in bytes.split(|b| *b == b'\n').enumerate() {
            let text = line.trim_ascii();
            if !text.is_empty() && !text.starts_with(b"#") {
                reading.line(index + 1, line);
            }
        }
        reading.end(path)
    }

    /// Makes a suite from records of a format other than JSONL, each with its line.
    ///
    /// # Errors
    /// As [`Suite::read`].
    pub fn from_records(path: &Path, records: Vec<(usize, Map<String, Value>)>) -> Result<Suite> {
        let mut reading = Reading::new(&path.display().to_string());
        for (line, record) in records {
            let value = Value::Object(record);
            reading.count += 1;
            match Pair::deserialize(&value) {
                Ok(pair) => reading.take(line, pair),
                Err(error) => reading.explain(line, &value, &error.to_string()),
            }
        }
        reading.end(path)
    }

    /// Writes a suite.
    ///
    /// # Errors
    /// [`CoreError::Write`].
    pub fn write(&self, path: &Path) -> Result<()> {
        files::write_jsonl(path, &self.pairs)
    }
}

/// A suite while it is read: its pairs and the faults so far.
struct Reading {
    faults: Faults,
    pairs: Vec<(usize, Pair)>,
    /// Number of records so far, pairs or not.
    count: usize,
    /// The line on which each id first occurred.
    ids: BTreeMap<String, usize>,
}

impl Reading {
    fn new(name: &str) -> Reading {
        Reading {
            faults: Faults::new(name),
            pairs: Vec::new(),
            count: 0,
            ids: BTreeMap::new(),
        }
    }

    fn line(&mut self, line: usize, text: &[u8]) {
        self.count += 1;
        match serde_json::from_slice::<Pair>(text) {
            Ok(pair) => self.take(line, pair),
            Err(error) => {
                let why = files::without_position(&error);
                match serde_json::from_slice::<Value>(text) {
                    Ok(value) => self.explain(line, &value, &why),
                    Err(error) => {
                        let why = files::without_position(&error);
                        self.faults.add(Some(line), "", format!("not JSON: {why}"));
                    }
                }
            }
        }
    }

    fn take(&mut self, line: usize, pair: Pair) {
        self.id(line, &pair.id);
        self.pairs.push((line, pair));
    }

    fn id(&mut self, line: usize, id: &str) {
        if let Some(first) = self.ids.get(id) {
            let why = format!(
                "pair {} is called \"{id}\" as one before it (lines {first} and {line}); give each pair an id of its own",
                self.count
            );
            self.faults.add(None, "", why);
        } else {
            self.ids.insert(id.to_owned(), line);
        }
    }

    /// Adds all faults of a record that is not a pair; `error` is the parser's own reason.
    fn explain(&mut self, line: usize, value: &Value, error: &str) {
        let Some(record) = value.as_object() else {
            let why = "expected an object: one pair, as {\"id\": …, \"kind\": …, …}";
            self.faults.add(Some(line), "", why);
            return;
        };
        if let Some(Value::String(id)) = record.get("id") {
            self.id(line, id);
        }
        let mut found = Vec::new();
        let names = PAIR_FIELDS.map(|f| f.name);
        for (name, value) in record {
            match PAIR_FIELDS.iter().find(|f| f.name == name) {
                None => found.push(unknown_field(name, &names)),
                Some(field) => found.extend(wrong_type(field, value)),
            }
        }
        for name in REQUIRED.iter().filter(|name| !record.contains_key(**name)) {
            found.extend(field(name).map(Field::missing));
        }
        found.extend(missing_texts(|name| record.contains_key(name)));
        if found.is_empty() {
            found.push(error.to_owned());
        }
        for why in found {
            self.faults.add(Some(line), "", why);
        }
    }

    fn end(mut self, path: &Path) -> Result<Suite> {
        if self.faults.is_empty() {
            if self.pairs.is_empty() {
                let path = path.to_owned();
                return Err(CoreError::NoPair { path });
            }
            let pairs = self.pairs.into_iter().map(|(_, pair)| pair).collect();
            return Ok(Suite { pairs });
        }
        // A pair without a text is kept, so that a check can name it and a sweep can skip it. If the file has other
        // faults, this one is reported with them.
        for (line, pair) in &self.pairs {
            for why in missing_texts(|name| has(pair, name)) {
                self.faults.add(Some(*line), "", why);
            }
        }
        Err(self.faults.into())
    }
}

fn field(name: &str) -> Option<&'static Field> {
    PAIR_FIELDS.iter().find(|f| f.name == name)
}

/// The message for a value of the wrong type.
fn wrong_type(field: &Field, value: &Value) -> Option<String> {
    let mut alone = Map::from_iter(REQUIRED.map(|name| (name.to_owned(), Value::from("x"))));
    alone.insert(field.name.to_owned(), value.clone());
    let error = Pair::deserialize(&Value::Object(alone)).err()?;
    Some(format!("`{}`: {error}; {}", field.name, field.hint()))
}

fn missing_texts(has: impl Fn(&str) -> bool) -> Vec<String> {
    let missing = TEXTS.iter().filter(|names| !names.iter().any(|n| has(n)));
    missing
        .filter_map(|names| field(names.first()?).map(Field::missing))
        .collect()
}

fn has(pair: &Pair, name: &str) -> bool {
    match name {
        "clean" => !pair.clean.is_empty(),
        "corrupt" => !pair.corrupt.is_empty(),
        "answer" => !pair.answer.is_empty(),
        "foil" => !pair.foil.is_empty(),
        "clean_ids" => pair.clean_ids.is_some(),
        "corrupt_ids" => pair.corrupt_ids.is_some(),
        "answer_ids" => pair.answer_ids.is_some(),
        "foil_ids" => pair.foil_ids.is_some(),
        _ => pair.messages.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let error = Suite::read(file.path()).unwrap_err().to_string();
        error.replace(&file.path().display().to_string(), "s.jsonl")
    }

    const GOOD: &str =
        r#"{"id":"a","kind":"k","clean":"x","corrupt":"y","answer":" u","foil":" v"}"#;

    #[test]
    fn every_faulty_line_is_told() {
        let text = [
            GOOD,
            r#"{"id":"b","knd":"k","clean":"x","corrupt":"y","answer":" u","foil":" v"}"#,
            "",
            r#"{"id":"c","kind":"k","clean":7,"corrupt":"y","answer":" u","foil_ids":"v"}"#,
            "{\"id\":",
            r#"{"id":"a","kind":"k","clean":"x","corrupt":"y","answer":" u"}"#,
            "[1]",
        ];
        let found = faults(&text.join("\n"));
        let lines: Vec<&str> = found.lines().collect();
        let expected = [
            ("s.jsonl: 8 faults", ""),
            (
                "  pair 5 is called \"a\" as one before it (lines 1 and 6)",
                "",
            ),
            ("  line 2: unknown field `knd` (did you mean `kind`?)", ""),
            (
                "  line 2: missing field `kind`: the kind of fact",
                "\"kind\": \"associative\"",
            ),
            (
                "  line 4: `clean`: invalid type",
                "\"clean\": \"The capital of France is\"",
            ),
            ("  line 4: `foil_ids`: invalid type", "[10598]"),
            ("  line 5: not JSON: EOF while parsing", ""),
            ("  line 6: missing field `foil`", "\" Rome\""),
            ("  line 7: expected an object", ""),
        ];
        assert_eq!(lines.len(), expected.len(), "{found}");
        for (line, (start, part)) in lines.iter().zip(expected) {
            assert!(line.starts_with(start) && line.contains(part), "{line}");
        }
    }

    #[test]
    fn one_fault_is_one_line() {
        let found = faults(&format!(
            "{GOOD}\n{{\"kind\":\"k\",\"clean\":\"x\",\"corrupt\":\"y\",\"answer\":\"u\",\"foil\":\"v\"}}\n"
        ));
        assert!(
            found.starts_with("s.jsonl, line 2: missing field `id`"),
            "{found}"
        );
        assert_eq!(found.lines().count(), 1);
        // A fault that only the parser detects keeps the parser's reason.
        let twice = GOOD.replacen("\"id\"", "\"id\":\"z\",\"id\"", 1);
        assert!(faults(&twice).contains("line 1: duplicate field `id`"));
    }

    #[test]
    fn comments_are_skipped_and_lines_counted() {
        let found = faults(&format!("# A suite.\n{GOOD}\n  # more\n7\n"));
        assert!(
            found.starts_with("s.jsonl, line 4: expected an object"),
            "{found}"
        );
    }

    #[test]
    fn a_byte_order_mark_is_no_fault() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("\u{feff}{GOOD}\r\n")).unwrap();
        assert_eq!(Suite::read(file.path()).unwrap().pairs.len(), 1);
    }

    #[test]
    fn the_fields_are_those_of_a_pair() {
        let error = serde_json::from_str::<Pair>("{\"nothing\": 1}").unwrap_err();
        let text = error.to_string();
        for field in PAIR_FIELDS {
            assert!(
                text.contains(&format!("`{}`", field.name)),
                "{}",
                field.name
            );
            // The example is a pair's.
            let example = format!("{{\"id\":\"x\",\"kind\":\"x\",{}}}", field.example);
            let value: Value = serde_json::from_str(&example).unwrap();
            assert!(Pair::deserialize(&value).is_ok(), "{example}");
        }
        assert_eq!(text.matches("`, `").count() + 1, PAIR_FIELDS.len());
    }
}
