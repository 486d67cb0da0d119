//! docs/formats.md: the examples of files that people write are read as what they are.

use std::path::{Path, PathBuf};

use engram::scratch::Scratch;
use engram::study::Study;
use engram_core::Suite;
use engram_corpus::questions::QUESTION_FIELDS;
use engram_corpus::{FactTable, read, read_edits, read_questions, read_suite};
use tempfile::TempDir;

/// The examples of the page, each as a file of its own.
struct Examples {
    folder: TempDir,
    page: String,
}

impl Examples {
    fn of_the_page() -> Examples {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats.md");
        Examples {
            folder: tempfile::tempdir().unwrap(),
            page: std::fs::read_to_string(path).unwrap(),
        }
    }

    /// Writes the blocks that begin with "```ENDING KIND".
    fn files(&self, ending: &str, kind: &str) -> Vec<PathBuf> {
        let opening = format!("```{ending} {kind}\n");
        let blocks = self.page.split(&opening).skip(1);
        let files: Vec<PathBuf> = blocks
            .enumerate()
            .map(|(index, rest)| {
                let (block, _) = rest.split_once("\n```").unwrap();
                let path = self.folder.path().join(format!("{kind}-{index}.{ending}"));
                std::fs::write(&path, format!("{block}\n")).unwrap();
                path
            })
            .collect();
        assert!(!files.is_empty(), "the page has no {ending} {kind}");
        files
    }

    fn file(&self, ending: &str, kind: &str) -> PathBuf {
        let mut files = self.files(ending, kind);
        assert_eq!(files.len(), 1, "{ending} {kind}");
        files.remove(0)
    }
}

#[test]
fn both_suites_are_the_same_pairs() {
    let page = Examples::of_the_page();
    let suite = Suite::read(&page.file("jsonl", "suite")).unwrap();
    let table = read_suite(&page.file("csv", "suite")).unwrap();
    assert_eq!(suite.pairs.len(), 2);
    assert_eq!(suite, table);
}

#[test]
fn both_lists_of_edits_are_read() {
    let page = Examples::of_the_page();
    let list = read_edits(&page.file("jsonl", "edits")).unwrap();
    let table = read_edits(&page.file("csv", "edits")).unwrap();
    assert_eq!((list.len(), table.len()), (2, 2));
    assert_eq!(list[0].paraphrases, table[0].paraphrases);
    assert_eq!(list[1], table[1]);
}

#[test]
fn the_questions_are_read() {
    let page = Examples::of_the_page();
    let questions = read_questions(&page.file("toml", "questions")).unwrap();
    assert_eq!(questions.len(), 1);
    assert_eq!(questions[0].relation, "procedure");
    let (_, section) = page.page.split_once("## Questions").unwrap();
    for field in QUESTION_FIELDS {
        assert!(
            section.contains(&format!("| `{}` |", field.name)),
            "{}",
            field.name
        );
    }
}

#[test]
fn the_corpus_is_read() {
    let page = Examples::of_the_page();
    let corpus = read::read(&page.file("jsonl", "corpus")).unwrap();
    assert_eq!(corpus.abstracts.len(), 2);
    assert_eq!(corpus.abstracts[0].pmid.as_deref(), Some("1"));
    assert!(corpus.unused.is_empty(), "{:?}", corpus.unused);
}

#[test]
fn the_fact_table_is_read() {
    let page = Examples::of_the_page();
    let table = FactTable::read(&page.file("toml", "facts")).unwrap();
    assert_eq!(table.relations.len(), 1);
    assert_eq!(table.relations[0].facts.len(), 3);
}

#[test]
fn the_studies_are_read() {
    let page = Examples::of_the_page();
    let studies = page.files("toml", "study");
    let studies: Vec<Study> = (studies.iter())
        .map(|path| Study::read(path, &[]).unwrap())
        .collect();
    assert_eq!(studies[0].models(), ["base"]);
    assert_eq!(
        studies[1].models(),
        ["base", "taught", "taught-seed-7", "random"]
    );
}

#[test]
fn the_recipe_is_read() {
    let page = Examples::of_the_page();
    let recipe = Scratch::read(&page.file("toml", "recipe")).unwrap();
    assert_eq!((recipe.model.layers, recipe.train.epochs), (2, 1));
}

/// The page names every column of a sweep's rows.
#[test]
fn the_columns_are_those_of_a_row() {
    let page = Examples::of_the_page().page;
    let (_, section) = page.split_once("### patch.parquet").unwrap();
    let (section, _) = section.split_once("\n### ").unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let mut named: Vec<&str> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap().split(','))
        .map(|name| name.trim().trim_matches('`'))
        .collect();
    let row = serde_json::to_value(engram_core::Row::default()).unwrap();
    let mut columns: Vec<&str> = row
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    named.sort_unstable();
    columns.sort_unstable();
    assert_eq!(named, columns);
}
