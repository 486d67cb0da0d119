//! Imports of several files: versions, deletions, retractions, duplicates.

use engram_corpus::CorpusError;
use engram_corpus::read::ImportSettings;

use crate::{bodies, case, fixtures, gzip, imported, of, titles};

#[test]
fn an_import_counts_what_records_lack() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    let table = "pmid,title,abstract\n1,A,B\n2,A,\n,A,B\n4,,B\n5,,\n";
    std::fs::write(&path, table).unwrap();
    let (counts, _) = imported(&[&path], &ImportSettings::default()).unwrap();
    assert_eq!((counts.given, counts.empty), (4, 1));
    assert_eq!(
        (counts.no_abstract, counts.no_title, counts.no_pmid),
        (1, 1, 1)
    );
    std::fs::write(&path, "pmid,title,remark\n1,A,B\n2,A,\n").unwrap();
    let error = imported(&[&path], &ImportSettings::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("none of 2 records has an abstract"),
        "{error}"
    );
    assert!(error.contains("not used: remark"), "{error}");
    let settings = ImportSettings {
        titles_only: true,
        ..ImportSettings::default()
    };
    assert_eq!(imported(&[&path], &settings).unwrap().1.len(), 2);
    // PubMed's own CSV has no abstracts.
    let error = imported(
        &[&fixtures().join("corpora/pubmed.csv")],
        &ImportSettings::default(),
    );
    assert!(matches!(
        error,
        Err(CorpusError::NoAbstract { records: 6, .. })
    ));
}

#[test]
fn the_highest_version_and_the_latest_revision_count() {
    let corpus = case("versions.xml");
    assert_eq!(titles(&corpus), ["Fourth", "Second of five"]);
    assert_eq!((corpus.superseded, corpus.deleted), (1, 0));
    let corpus = case("revised.xml");
    assert_eq!(bodies(&corpus), ["The dose was 300 mg a day."]);
    assert_eq!(corpus.superseded, 1);
    // The order in the file is no matter.
    let text = std::fs::read_to_string(fixtures().join("corpora_cases/revised.xml")).unwrap();
    let swapped = text
        .replace("2020", "YEAR")
        .replace("2024", "2020")
        .replace("YEAR", "2024");
    assert_eq!(
        bodies(&of("a.xml", swapped.as_bytes()).unwrap()),
        ["The dose was 300 g a day."]
    );
}

#[test]
fn versions_and_deletions_count_across_files_in_order() {
    let citation = |pmid: u32, version: u32, revised: &str, body: &str| {
        format!(
            "<PubmedArticle><MedlineCitation><PMID Version=\"{version}\">{pmid}</PMID><DateRevised><Year>{revised}</Year><Month>01</Month><Day>02</Day></DateRevised><Article><ArticleTitle>T</ArticleTitle><Abstract><AbstractText>{body}</AbstractText></Abstract></Article></MedlineCitation></PubmedArticle>"
        )
    };
    let delete = |pmid: u32, version: u32| {
        format!("<DeleteCitation><PMID Version=\"{version}\">{pmid}</PMID></DeleteCitation>")
    };
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, parts: &[String]| {
        let path = folder.path().join(name);
        let text = format!("<PubmedArticleSet>{}</PubmedArticleSet>", parts.concat());
        std::fs::write(path, gzip(text.as_bytes())).unwrap();
    };
    write(
        "n0001.xml.gz",
        &[
            citation(1, 1, "2019", "one, old"),
            citation(2, 1, "2019", "two, deleted"),
            citation(3, 1, "2019", "three, deleted and back"),
            citation(4, 2, "2019", "four, version 2"),
            citation(5, 1, "2019", "five, same day, first"),
            citation(6, 1, "2019", "six"),
        ],
    );
    write(
        "n0002.xml.gz",
        &[
            citation(1, 1, "2021", "one, new"),
            citation(4, 1, "2022", "four, version 1"),
            citation(5, 1, "2019", "five, same day, later"),
            delete(2, 1),
            delete(3, 1),
            delete(6, 2),
        ],
    );
    write("n0003.xml.gz", &[citation(3, 1, "2023", "three, back")]);
    write("n0004.xml.gz", &[delete(99, 1)]);
    std::fs::write(folder.path().join("n0001.xml.gz.md5"), "MD5(x)= 0").unwrap();
    let (counts, all) = imported(&[folder.path()], &ImportSettings::default()).unwrap();
    let found: Vec<_> = all.iter().map(|a| a.body.as_str()).collect();
    assert_eq!(
        found,
        [
            "four, version 2",
            "six",
            "one, new",
            "five, same day, later",
            "three, back"
        ]
    );
    assert_eq!(
        (counts.deleted, counts.superseded, counts.duplicates),
        (1, 3, 1)
    );
    assert!(counts.unread.is_empty());
    // A folder, a pattern and names in order are one.
    let pattern = folder.path().join("n000?.xml.gz");
    let by_pattern = imported(&[&pattern], &ImportSettings::default()).unwrap();
    assert_eq!(by_pattern, (counts, all));
}

#[test]
fn retracted_articles_and_other_languages_are_marked() {
    let corpus = case("book-and-vernacular.xml");
    let retracted: Vec<_> = corpus.abstracts.iter().filter(|a| a.retracted).collect();
    assert_eq!(retracted.len(), 1);
    assert_eq!(retracted[0].pmid.as_deref(), Some("505"));
    assert_eq!((corpus.retracted, corpus.other_language), (1, 1));
    let by = |pmid: &str| {
        corpus
            .abstracts
            .iter()
            .find(|a| a.pmid.as_deref() == Some(pmid))
            .unwrap()
    };
    assert_eq!(by("303").title, "Epilepsia en la infancia.");
    assert_eq!(by("303").language.as_deref(), Some("spa"));
    assert_eq!(
        by("404").body,
        "OBJECTIVE: Aim here. No label here. Unlabelled part."
    );
    assert_eq!(
        by("404").other_abstracts[0].language.as_deref(),
        Some("fre")
    );
    assert_eq!(by("606").title, "[A translated German title].");
    let ris = b"TY  - JOUR\nTI  - RETRACTED: It was wrong.\nAB  - x\nER  - \n";
    assert!(of("a.ris", ris).unwrap().abstracts[0].retracted);
    let nbib = b"PMID- 1\nTI  - It was wrong.\nAB  - x\nPT  - Retracted Publication\n";
    assert!(of("a.nbib", nbib).unwrap().abstracts[0].retracted);
    // The mark is kept in what is written.
    let path = fixtures().join("corpora_cases/book-and-vernacular.xml");
    let (_, written) = imported(&[&path], &ImportSettings::default()).unwrap();
    assert_eq!(written, corpus.abstracts);
}

#[test]
fn deduplication_is_an_option_of_import() {
    let path = fixtures().join("corpora_cases/duplicates.jsonl");
    let settings = ImportSettings {
        deduplicate: true,
        ..ImportSettings::default()
    };
    let (counts, all) = imported(&[&path], &settings).unwrap();
    assert_eq!((counts.given, counts.same_text, all.len()), (50, 50, 50));
    let (counts, all) = imported(&[&path], &ImportSettings::default()).unwrap();
    assert_eq!((counts.given, counts.same_text, all.len()), (100, 0, 100));
}
