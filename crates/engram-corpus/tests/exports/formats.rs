//! Detection of formats, and records compared with other parsers.

use std::collections::BTreeMap;

use engram_corpus::read::read;
use serde::Deserialize;

use crate::{bodies, case, fixtures, gzip, of, refused, titles};

#[derive(Deserialize)]
struct Oracle {
    oracle: String,
    records: Vec<BTreeMap<String, String>>,
}

#[test]
fn every_export_is_read_as_another_parser_reads_it() {
    let text = std::fs::read(fixtures().join("corpora.json")).unwrap();
    let oracles: BTreeMap<String, Oracle> = serde_json::from_slice(&text).unwrap();
    assert_eq!(oracles.len(), 20);
    for (name, oracle) in &oracles {
        let corpus = read(&fixtures().join("corpora").join(name)).unwrap();
        assert_eq!(corpus.abstracts.len(), oracle.records.len(), "{name}");
        for (found, expected) in corpus.abstracts.iter().zip(&oracle.records) {
            let word = |w: &Option<String>| w.clone().unwrap_or_default();
            let fields = [
                ("pmid", word(&found.pmid)),
                ("title", found.title.clone()),
                ("abstract", found.body.clone()),
                ("journal", word(&found.journal)),
                ("year", word(&found.year)),
                ("keywords", word(&found.keywords)),
            ];
            for (field, value) in fields {
                assert_eq!(
                    value, expected[field],
                    "{name}: {field} by {}",
                    oracle.oracle
                );
            }
        }
    }
}

#[test]
fn the_content_says_what_a_file_is_whatever_its_name() {
    let text = std::fs::read(fixtures().join("corpora.json")).unwrap();
    let oracles: BTreeMap<String, Oracle> = serde_json::from_slice(&text).unwrap();
    for name in oracles.keys() {
        let content = std::fs::read(fixtures().join("corpora").join(name)).unwrap();
        for other in ["a", "a.txt", "a.jsonl", "a.csv", "a.xml"] {
            let corpus = of(other, &content).unwrap();
            assert_eq!(corpus.abstracts.len(), 6, "{name} as {other}");
            if !name.ends_with(".parquet") {
                let corpus = of(&format!("{other}.gz"), &gzip(&content)).unwrap();
                assert_eq!(corpus.abstracts.len(), 6, "{name} as {other}.gz");
            }
        }
    }
}

#[test]
fn records_are_found_by_the_rule_of_their_format() {
    // MEDLINE: `PMID-` begins a record.
    let corpus = case("tight.nbib");
    assert_eq!(bodies(&corpus), ["Body one.", "Body two."]);
    // RIS: `TY  -` begins one, `ER  -` ends it.
    let corpus = case("ris.ris");
    assert_eq!(titles(&corpus), ["A RIS title", "Second RIS title"]);
    assert_eq!(
        bodies(&corpus),
        ["A RIS abstract on epilepsy.", "Second abstract."]
    );
    let [first, second] = corpus.abstracts.as_slice() else {
        panic!("{corpus:?}")
    };
    assert_eq!(first.pmid.as_deref(), Some("12345678"));
    assert_eq!(first.journal.as_deref(), Some("J Tests"));
    assert_eq!(second.year.as_deref(), Some("2019"));
    // A line without a tag goes on with its field; some programs write one space before the dash.
    let text = "TY  - JOUR\nTI  - A\nAB  - Seen on\nT1 - weighted images.\nER  - \n";
    assert_eq!(
        bodies(&of("a.ris", text.as_bytes()).unwrap()),
        ["Seen on T1 - weighted images."]
    );
    let narrow = "TY - JOUR\nTI - A\nAB - B\nER -\n";
    assert_eq!(bodies(&of("a.ris", narrow.as_bytes()).unwrap()), ["B"]);
    // A blank line means nothing, a line that begins with blanks goes on with its field.
    let corpus = case("medline-blank-line.nbib");
    let pmids: Vec<_> = corpus
        .abstracts
        .iter()
        .flat_map(|a| a.pmid.as_deref())
        .collect();
    assert_eq!(pmids, ["111", "222", "333", "444"]);
    let second = &corpus.abstracts[1].body;
    assert!(second.ends_with("coined the term. A second paragraph after a blank line follows."));
    assert!(bodies(&corpus)[0].ends_with("TI - is not a tag here."));
    // The publisher's abstract is none; Spanish is marked, with the title in its own language.
    assert!(corpus.abstracts[0].other_abstracts.is_empty());
    assert_eq!(titles(&corpus)[2], "Epilepsia en la infancia.");
    let third = &corpus.abstracts[2];
    assert_eq!(
        (third.body.as_str(), third.language.as_deref()),
        ("Resumen en español.", Some("spa"))
    );
    assert_eq!(titles(&corpus)[3], "Only a book title");
}

#[test]
fn several_gzip_members_are_one_file() {
    let members = [
        "",
        "{\"title\":\"a\"}\n{\"ti",
        "tle\":\"b\"}\n",
        "",
        "{\"title\":\"c\"}\n",
    ];
    let content: Vec<u8> = members.iter().flat_map(|m| gzip(m.as_bytes())).collect();
    assert_eq!(titles(&of("a.gz", &content).unwrap()), ["a", "b", "c"]);
}

#[test]
fn json_documents_are_read() {
    let record = "{\n \"title\": \"A [1] {x} \\\"q\\\"\",\n \"abstract\": \"B\"\n}";
    for content in [
        record.to_owned(),
        format!("{record}\n{record}"),
        format!("[{record},\n{record}]"),
        format!("[\n{record}\n,{record}\n]\n"),
        format!(
            "{{\"total\": 2, \"x\": [{{\"title\": \"no\"}}], \"results\": [{record}, {record}]}}"
        ),
        format!("[{record}]\n[{record}]"),
    ] {
        let corpus = of("a.json", content.as_bytes()).unwrap();
        assert!(corpus.abstracts.len() <= 2 && !corpus.abstracts.is_empty());
        assert!(
            corpus
                .abstracts
                .iter()
                .all(|a| a.title == "A [1] {x} \"q\"" && a.body == "B")
        );
    }
    let csl = br#"[{"id": "x", "type": "article-journal", "title": "A", "abstract": "B", "container-title": "J", "issued": {"date-parts": [["2020", 3]]}, "note": "PMID: 5", "PMID": "12"}]"#;
    let corpus = of("a.json", csl).unwrap();
    let found = &corpus.abstracts[0];
    assert_eq!(
        (found.pmid.as_deref(), found.year.as_deref()),
        (Some("12"), Some("2020"))
    );
    assert_eq!(found.journal.as_deref(), Some("J"));
    for (cut, why) in [
        (
            "[{\"title\": \"a\"},\n{\"title\": ",
            "line 2: what begins here does not end",
        ),
        ("[{\"title\": \"a\"},\n", "cut short"),
        ("[{\"title\": \"a\"}, 5]", "not a JSON object"),
        (
            "[{\"title\": \"a\"}]\ntitle,abstract\n",
            "line 2: it is not a JSON object",
        ),
    ] {
        let error = refused("a.json", cut.as_bytes());
        assert!(error.contains(why), "{error}");
    }
}
