//! A fact table as written: every value with its line, before any rule is checked.

use std::ops::Range;

use engram_core::faults::unknown_field;
use engram_core::{Faults, Field};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The fields of a `[[relation]]`.
pub(super) const RELATION: [Field; 7] = [
    Field::new(
        "name",
        "the relation's unique name in snake_case",
        "name = \"capital\"",
    ),
    Field::new(
        "kind",
        "the kind of fact, any word; findings compare kinds",
        "kind = \"associative\"",
    ),
    Field::new(
        "question",
        "the question that the answer answers, with {subject} and without {answer}",
        "question = \"What is the capital of {subject}?\"",
    ),
    Field::new(
        "frames",
        "at least 6 sentences that state the fact, each with {subject} or {Subject}, and {answer} once, for training",
        "frames = [\"The capital of {subject} is {answer}.\", …]",
    ),
    Field::new(
        "held_back",
        "at least 2 more such sentences that no training text has, in which the answer comes last",
        "held_back = [\"Maps show that the capital of {subject} is {answer}.\", …]",
    ),
    Field::new(
        "cloze",
        "the prompts: beginnings of sentences up to the answer, of at least 3 frames and of every sentence held back",
        "cloze = [\"The capital of {subject} is\", …]",
    ),
    Field::new(
        "facts",
        "the facts of the relation",
        "facts = [{ subject = \"France\", answer = \"Paris\", source = \"an atlas\" }, …]",
    ),
];

/// The fields of a fact.
pub(super) const FACT: [Field; 5] = [
    Field::new(
        "subject",
        "what the fact is about, with its article where English needs one",
        "subject = \"France\"",
    ),
    Field::new(
        "answer",
        "what is said of the subject",
        "answer = \"Paris\"",
    ),
    Field::new(
        "plural",
        "whether the subject takes a plural verb",
        "plural = true",
    ),
    Field::new(
        "also",
        "other true answers, which are never this fact's foil",
        "also = [\"the City of Light\"]",
    ),
    Field::new("source", "where the fact is from", "source = \"an atlas\""),
];

/// The field with this name.
pub(super) fn field(name: &str) -> Field {
    let all = RELATION.iter().chain(&FACT);
    let found = all.into_iter().find(|f| f.name == name);
    // Names are constants of this module; a test looks each one up.
    found.copied().unwrap_or(Field::new("", "", ""))
}

/// A text and the line on which it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub text: String,
    pub line: usize,
}

/// A relation as written; `None` for a field that is absent or has a wrong type, which has been reported.
#[derive(Debug, Default)]
pub(super) struct RawRelation {
    pub line: usize,
    pub name: Option<Text>,
    pub kind: Option<Text>,
    pub question: Option<Text>,
    pub frames: Option<Vec<Text>>,
    pub held_back: Option<Vec<Text>>,
    pub cloze: Option<Vec<Text>>,
    pub facts: Option<Vec<RawFact>>,
}

/// A fact as written.
#[derive(Debug, Default)]
pub(super) struct RawFact {
    pub subject: Option<Text>,
    pub answer: Option<Text>,
    pub plural: bool,
    pub also: Vec<Text>,
    pub source: Option<Text>,
}

/// The relation, and a fact of it, in messages.
pub(super) fn place(relation: Option<&Text>, subject: Option<&Text>) -> String {
    let relation = relation.map(|r| format!("relation {:?}", r.text));
    let subject = subject.map(|s| format!("subject {:?}", s.text));
    let words: Vec<String> = relation.into_iter().chain(subject).collect();
    words.join(", ")
}

/// Reads the relations of a TOML table; faults of form are added to `faults`.
pub(super) fn read(text: &str, faults: &mut Faults) -> Vec<RawRelation> {
    let lines = Lines::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let line = error.span().map_or(1, |span| lines.of(&span));
        faults.add(Some(line), "", error.message().replace('\n', ", "));
    }
    if !errors.is_empty() {
        // After a syntax error the parser can only guess the rest.
        return Vec::new();
    }
    let mut reader = Reader { lines, faults };
    reader.table(table.get_ref())
}

/// Byte offsets at which lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Lines {
        let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        Lines(ends.map(|(at, _)| at + 1).collect())
    }

    /// The line on which a span begins, from 1.
    fn of(&self, span: &Range<usize>) -> usize {
        1 + self.0.partition_point(|start| *start <= span.start)
    }
}

struct Reader<'a> {
    lines: Lines,
    faults: &'a mut Faults,
}

type Value<'i> = Spanned<DeValue<'i>>;

impl Reader<'_> {
    fn table(&mut self, table: &DeTable<'_>) -> Vec<RawRelation> {
        let mut relations = Vec::new();
        for (key, value) in table {
            let line = self.lines.of(&key.span());
            if key.get_ref() != "relation" {
                let why = unknown_field(key.get_ref(), &["relation"]);
                self.faults.add(Some(line), "", why);
                continue;
            }
            let Some(items) = value.get_ref().as_array() else {
                let why = "expected a list of relations, each under a line [[relation]]";
                self.faults.add(Some(line), "", why);
                continue;
            };
            for item in items {
                match item.get_ref().as_table() {
                    Some(table) => {
                        let line = self.lines.of(&item.span());
                        relations.push(self.relation(table, line));
                    }
                    None => self.wrong("relation", "a relation", item, ""),
                }
            }
        }
        relations
    }

    fn relation(&mut self, table: &DeTable<'_>, line: usize) -> RawRelation {
        let name = get(table, "name").and_then(|v| self.silent(v));
        let place = place(name.as_ref(), None);
        self.fields(table, line, &RELATION, &[], &place);
        RawRelation {
            line,
            name: self.text(table, "name", &place),
            kind: self.text(table, "kind", &place),
            question: self.text(table, "question", &place),
            frames: self.texts(table, "frames", &place),
            held_back: self.texts(table, "held_back", &place),
            cloze: self.texts(table, "cloze", &place),
            facts: self.facts(table, name.as_ref()),
        }
    }

    fn facts(&mut self, table: &DeTable<'_>, relation: Option<&Text>) -> Option<Vec<RawFact>> {
        let value = get(table, "facts")?;
        let Some(items) = value.get_ref().as_array() else {
            self.wrong("facts", "a list of facts", value, &place(relation, None));
            return None;
        };
        let mut facts = Vec::new();
        for item in items {
            match item.get_ref().as_table() {
                Some(table) => {
                    let line = self.lines.of(&item.span());
                    facts.push(self.fact(table, line, relation));
                }
                None => self.wrong("facts", "a fact", item, &place(relation, None)),
            }
        }
        Some(facts)
    }

    fn fact(&mut self, table: &DeTable<'_>, line: usize, relation: Option<&Text>) -> RawFact {
        let subject = get(table, "subject").and_then(|v| self.silent(v));
        let place = place(relation, subject.as_ref());
        self.fields(table, line, &FACT, &["plural", "also"], &place);
        let plural = get(table, "plural");
        let is_plural = plural.and_then(|v| v.get_ref().as_bool());
        if let (Some(value), None) = (plural, is_plural) {
            self.wrong("plural", "true or false", value, &place);
        }
        RawFact {
            subject: self.text(table, "subject", &place),
            answer: self.text(table, "answer", &place),
            plural: is_plural.unwrap_or(false),
            also: self.texts(table, "also", &place).unwrap_or_default(),
            source: self.text(table, "source", &place),
        }
    }

    /// Adds a fault for each unknown and each missing field of a table.
    fn fields(
        &mut self,
        table: &DeTable<'_>,
        line: usize,
        known: &[Field],
        optional: &[&str],
        place: &str,
    ) {
        let names: Vec<&str> = known.iter().map(|f| f.name).collect();
        for key in table.keys().filter(|k| !names.contains(&&**k.get_ref())) {
            let line = self.lines.of(&key.span());
            let why = unknown_field(key.get_ref(), &names);
            self.faults.add(Some(line), place, why);
        }
        for field in known.iter().filter(|f| !optional.contains(&f.name)) {
            if get(table, field.name).is_none() {
                self.faults.add(Some(line), place, field.missing());
            }
        }
    }

    /// A text; other types give `None` without a fault.
    fn silent(&self, value: &Value<'_>) -> Option<Text> {
        Some(Text {
            text: value.get_ref().as_str()?.to_owned(),
            line: self.lines.of(&value.span()),
        })
    }

    fn text(&mut self, table: &DeTable<'_>, name: &str, place: &str) -> Option<Text> {
        let value = get(table, name)?;
        let text = self.silent(value);
        if text.is_none() {
            self.wrong(name, "a text", value, place);
        }
        text
    }

    fn texts(&mut self, table: &DeTable<'_>, name: &str, place: &str) -> Option<Vec<Text>> {
        let value = get(table, name)?;
        let Some(items) = value.get_ref().as_array() else {
            self.wrong(name, "a list of texts", value, place);
            return None;
        };
        let mut texts = Vec::new();
        let mut are_texts = true;
        for item in items {
            match self.silent(item) {
                Some(text) => texts.push(text),
                None => {
                    are_texts = false;
                    self.wrong(name, "a text", item, place);
                }
            }
        }
        are_texts.then_some(texts)
    }

    fn wrong(&mut self, name: &str, expected: &str, value: &Value<'_>, place: &str) {
        let found = value.get_ref().type_str();
        let field = field(name);
        let hint = match field.name {
            "" => String::new(),
            _ => format!("; {}", field.hint()),
        };
        let why = format!("`{name}`: expected {expected}, found {found}{hint}");
        let line = self.lines.of(&value.span());
        self.faults.add(Some(line), place, why);
    }
}

fn get<'t, 'i>(table: &'t DeTable<'i>, name: &str) -> Option<&'t Value<'i>> {
    let found = table.iter().find(|(key, _)| key.get_ref() == name);
    found.map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_where_a_span_begins() {
        let lines = Lines::new("ab\nc\n\nd");
        let line = |start| lines.of(&(start..start));
        assert_eq!([0, 2, 3, 5, 6].map(line), [1, 1, 2, 3, 4]);
    }

    /// Examples are TOML of their field.
    #[test]
    fn examples_are_read() {
        for known in RELATION.iter().chain(&FACT) {
            assert_eq!(field(known.name), *known);
            let example = known.example.replace(", …]", "]");
            let table: toml::Table = toml::from_str(&example).unwrap();
            assert!(table.contains_key(known.name), "{example}");
        }
    }
}
