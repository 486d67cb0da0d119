//! Columns matched by name, and chosen by hand.

use engram_corpus::CorpusError;
use engram_corpus::read::{Corpus, Named, ReadSettings, each_of};

use crate::{bodies, case, of};

#[test]
fn a_value_is_no_signal() {
    let value = "\u{1}end of the corpus\u{1}";
    for table in [
        format!("Title,Abstract\na,b\n{value},{value}\nc,d\n"),
        format!("Abstract\nb\n{value}\nd\n"),
        format!("Abstract\nb\n\"x\n{value}\n\"\nd\n"),
    ] {
        assert_eq!(of("a.csv", table.as_bytes()).unwrap().abstracts.len(), 3);
    }
}

#[test]
fn columns_are_known_by_what_they_mean() {
    let corpus = case("zotero.csv");
    let [found] = corpus.abstracts.as_slice() else {
        panic!("{corpus:?}")
    };
    assert_eq!(found.body, "A Zotero abstract.");
    assert_eq!(found.journal.as_deref(), Some("J Z"));
    assert_eq!(found.year.as_deref(), Some("2020"));
    let unused: Vec<_> = corpus.unused.iter().map(String::as_str).collect();
    assert_eq!(
        unused,
        ["Author", "DOI", "Date", "ISBN", "ISSN", "Item Type", "Key"]
    );
    for name in [
        "Abstract Note",
        "abstractText",
        "N2",
        "text",
        "body",
        "AB",
        "abstract_text",
    ] {
        let table = format!("title,{name}\nA,B\n");
        assert_eq!(
            bodies(&of("a.csv", table.as_bytes()).unwrap()),
            ["B"],
            "{name}"
        );
        let line = format!("{{\"title\":\"A\",\"{name}\":\"B\"}}");
        assert_eq!(
            bodies(&of("a.jsonl", line.as_bytes()).unwrap()),
            ["B"],
            "{name}"
        );
    }
    // The better name wins, whatever the order.
    let table = b"text,abstract\nfull,short\n";
    assert_eq!(bodies(&of("a.csv", table).unwrap()), ["short"]);
    let line = br#"{"text": "full", "abstract": "short", "body": "x"}"#;
    let corpus = of("a.jsonl", line).unwrap();
    assert_eq!(bodies(&corpus), ["short"]);
    assert!(corpus.unused.contains("text") && corpus.unused.contains("body"));
}

fn by_hand(name: &str, content: &[u8], columns: &[&str]) -> Result<Corpus, CorpusError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    let settings = ReadSettings {
        columns: columns
            .iter()
            .map(|c| c.parse::<Named>().unwrap())
            .collect(),
    };
    let mut abstracts = Vec::new();
    let counts = each_of(&[path], &settings, |found| {
        abstracts.push(found);
        Ok(())
    })?;
    Ok(Corpus {
        abstracts,
        ..counts
    })
}

#[test]
fn a_column_can_be_named_by_hand() {
    let columns = ["abstract=Notes on it", "pmid=Nr"];
    let table = b"Nr,title,Notes on it,abstract\n7,A,B,C\n";
    let corpus = by_hand("a.csv", table, &columns).unwrap();
    assert_eq!(bodies(&corpus), ["B"]);
    assert_eq!(corpus.abstracts[0].pmid.as_deref(), Some("7"));
    assert_eq!(corpus.unused.iter().collect::<Vec<_>>(), ["abstract"]);
    let line = br#"{"Nr": 7, "abstract": "C", "Notes on it": "B"}"#;
    let corpus = by_hand("a.jsonl", line, &columns).unwrap();
    assert_eq!(bodies(&corpus), ["B"]);
    assert_eq!(corpus.abstracts[0].pmid.as_deref(), Some("7"));
    let error = by_hand("a.csv", table, &["abstract=none"]).unwrap_err();
    assert!(
        error.to_string().contains("no column is called none"),
        "{error}"
    );
    let error = "colour=x".parse::<Named>().unwrap_err();
    assert!(error.contains("pmid, title, abstract"), "{error}");
    assert!("abstract".parse::<Named>().is_err());
}
