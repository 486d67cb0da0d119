//! Suites as tables: the same pairs as in JSONL, and all faults with their rows.

mod common;

use std::path::Path;

use engram_core::Suite;
use engram_corpus::read_suite;

/// The example of docs/suites.md: every field.
fn example() -> Suite {
    let page = include_str!("../../../docs/suites.md");
    let (_, example) = page.split_once("```jsonl\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    read("example.jsonl", example.as_bytes()).unwrap()
}

fn read(name: &str, bytes: &[u8]) -> Result<Suite, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let name = path.display().to_string();
    read_suite(&path).map_err(|e| e.to_string().replace(&name, "suite"))
}

/// The pairs as rows under the names of their fields: texts as they are, token ids with blanks between them, the rest as
/// JSON.
fn rows(suite: &Suite) -> Vec<Vec<String>> {
    let names = engram_core::suite::PAIR_FIELDS.map(|f| f.name);
    let mut rows = vec![names.map(str::to_owned).to_vec()];
    for pair in &suite.pairs {
        let value = serde_json::to_value(pair).unwrap();
        let cell = |name: &str| match &value[name] {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => text.clone(),
            other if name.ends_with("_ids") => {
                other.to_string().replace(',', " ").replace(['[', ']'], "")
            }
            other => other.to_string(),
        };
        rows.push(names.map(cell).to_vec());
    }
    rows
}

fn csv(rows: &[Vec<String>]) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new()
        .flexible(true)
        .from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).unwrap();
    }
    writer.into_inner().unwrap()
}

#[test]
fn a_table_is_the_same_suite() {
    let suite = example();
    let rows = rows(&suite);
    assert_eq!(suite.pairs[0].answer, " Paris");
    assert_eq!(read("s.csv", &csv(&rows)).unwrap(), suite);
    assert_eq!(read("s.xlsx", &common::workbook(&rows)).unwrap(), suite);
    // A spreadsheet is known by its content.
    assert_eq!(read("s.jsonl", &common::workbook(&rows)).unwrap(), suite);
}

#[test]
fn every_fault_of_a_table_is_told_with_its_row() {
    let table = "id,kind,clean,corrupt,answer,foil,foil_ids,paraphrases,knd\n\
        a,k,x,y, u, v,,,\n\
        b,,x,y, u,,7 eight,,\n\
        a,k,x,y,,,7,[1,\n";
    let error = read("s.csv", table.as_bytes()).unwrap_err();
    let expected = [
        "suite: 7 faults",
        "  line 1: unknown column `knd` (did you mean `kind`?)",
        "  line 3: `foil_ids`: \"eight\" is no token id; token ids in place of `foil`; example: [10598]",
        "  line 3: missing field `kind`",
        "  line 3: missing field `foil`",
        "  line 4: `paraphrases`: not JSON",
        "  pair 3 is called \"a\" as one before it (lines 2 and 4)",
        "  line 4: missing field `answer`",
    ];
    for start in expected {
        assert!(
            error.lines().any(|l| l.starts_with(start)),
            "{start}\n{error}"
        );
    }
    assert!(
        read("none.csv", b"id,kind\n")
            .unwrap_err()
            .contains("no pair")
    );
    assert!(
        read_suite(Path::new("nowhere.csv"))
            .unwrap_err()
            .to_string()
            .contains("nowhere.csv")
    );
}

/// The table of docs/suites.md is the pairs that it says.
#[test]
fn the_documented_table_is_read() {
    let page = include_str!("../../../docs/suites.md");
    let (_, table) = page.split_once("```csv\n").unwrap();
    let (table, _) = table.split_once("```").unwrap();
    let read = read("s.csv", table.as_bytes()).unwrap();
    let example = example();
    assert_eq!(
        read.pairs,
        [example.pairs[0].clone(), example.pairs[2].clone()]
    );
}
