//! docs/suites.md: its example is read, and it names every field of a pair and no other.

use std::collections::BTreeSet;
use std::path::Path;

use engram_core::{Pair, Span, Suite};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/suites.md");
    std::fs::read_to_string(path).unwrap()
}

fn example() -> Vec<Pair> {
    let page = page();
    let (_, example) = page.split_once("```jsonl\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), example).unwrap();
    Suite::read(file.path()).unwrap().pairs
}

/// Fields in the first column of the page's table.
fn documented() -> BTreeSet<String> {
    let page = page();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let fields = rows.flat_map(|row| row.split('|').nth(1).unwrap().split(','));
    fields
        .map(|f| f.trim().trim_matches('`').to_owned())
        .collect()
}

fn fields(pair: &Pair) -> BTreeSet<String> {
    let value = serde_json::to_value(pair).unwrap();
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_example_is_read_and_has_every_field() {
    let pairs = example();
    let [least, texts, ids, chats] = &pairs[..] else {
        panic!("{} pairs", pairs.len());
    };
    assert_eq!(texts.subject, Some(Span::Text("France".to_owned())));
    assert_eq!(ids.corrupt_subject, Some(Span::Tokens(3, 4)));
    assert_eq!((&least.clean, &least.answer), (&texts.clean, &texts.answer));
    for found in [texts.locate_subject(), texts.locate_corrupt_subject()] {
        let found = found.unwrap();
        assert_eq!((found.bytes.start, found.choices), (15, 1));
    }
    let asked = chats.messages.as_ref().unwrap();
    assert_eq!((asked.clean.len(), asked.corrupt.len()), (1, 1));
    let shown = [texts, ids, chats].map(fields).into_iter().flatten();
    assert_eq!(documented(), shown.collect::<BTreeSet<String>>());
}

/// serde says which fields there are when it meets another.
#[test]
fn the_table_names_every_field_and_no_other() {
    let error = serde_json::from_str::<Pair>(r#"{"nothing": 1}"#)
        .unwrap_err()
        .to_string();
    let (_, known) = error.split_once("expected one of ").unwrap();
    let (known, _) = known.split_once(" at line").unwrap();
    let known: BTreeSet<String> = known
        .split(", ")
        .map(|f| f.trim_matches('`').to_owned())
        .collect();
    assert_eq!(documented(), known);
}

#[test]
fn what_is_required_is_required() {
    for field in ["id", "kind"] {
        let mut value = serde_json::to_value(&example()[0]).unwrap();
        value.as_object_mut().unwrap().remove(field);
        assert!(serde_json::from_value::<Pair>(value).is_err(), "{field}");
    }
}
