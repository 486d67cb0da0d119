//! The formats in which people have corpora, held to what other parsers read (`fixtures/corpora.py`), and the inputs of
//! `fixtures/corpora_cases`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use engram_corpus::read::{
    Corpus, ImportSettings, Named, Settings, each_of, files_of, import, read,
};
use engram_corpus::{Abstract, CorpusError, leaked, split, split_texts};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde::Deserialize;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn case(name: &str) -> Corpus {
    read(&fixtures().join("corpora_cases").join(name)).unwrap()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_change_of_an_export_makes_it_panic(
        which in any::<prop::sample::Index>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let folder = std::fs::read_dir(fixtures().join("corpora")).unwrap();
        let mut all: Vec<PathBuf> = folder.map(|e| e.unwrap().path()).collect();
        all.sort();
        let path = &all[which.index(all.len())];
        let mut bytes = std::fs::read(path).unwrap();
        for (at, to) in edits {
            let at = at.index(bytes.len());
            // Half of the changes are of marks that formats have.
            bytes[at] = match to { 0..128 => b"{}[]()<>\"'\\#@$%&=,;:-/ \n"[to as usize % 24], _ => to };
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        for name in [path.file_name().unwrap().to_str().unwrap(), "a"] {
            let _ = of(name, &bytes);
        }
    }
}

/// Writes a file and reads it.
fn of(name: &str, content: &[u8]) -> Result<Corpus, CorpusError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    read(&path)
}

fn refused(name: &str, content: &[u8]) -> String {
    let error = of(name, content).unwrap_err().to_string();
    assert!(error.contains(name) && !error.contains('\n'), "{error}");
    error
}

fn bodies(corpus: &Corpus) -> Vec<&str> {
    corpus.abstracts.iter().map(|a| a.body.as_str()).collect()
}

fn titles(corpus: &Corpus) -> Vec<&str> {
    corpus.abstracts.iter().map(|a| a.title.as_str()).collect()
}

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
    let settings = Settings {
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

/// Imports files and gives the counts and the lines that were written.
fn imported(
    paths: &[&Path],
    settings: &ImportSettings,
) -> Result<(Corpus, Vec<Abstract>), CorpusError> {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("out.jsonl");
    let made = import(&files_of(paths)?, &to, settings);
    assert_eq!(made.is_ok(), to.exists());
    Ok((made?, read(&to).unwrap().abstracts))
}

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
fn text_is_read_as_it_was_meant() {
    let corpus = case("markup.xml");
    let by = |pmid: &str| {
        let found = corpus
            .abstracts
            .iter()
            .find(|a| a.pmid.as_deref() == Some(pmid));
        found.unwrap_or_else(|| panic!("{pmid}"))
    };
    assert_eq!(by("1").title, "Variants at the TERT gene & vitamin D3.");
    assert_eq!(
        by("1").body,
        "Bald eagle (Haliaeetus leucocephalus) with 10^9/L cells, p < 0.05."
    );
    assert_eq!(
        by("2").body,
        "BACKGROUND: Epilepsy is common. RESULTS: It worked."
    );
    assert_eq!(by("3").title, "Math k here.");
    assert_eq!(by("3").body, "Energy E=mc^2 holds.");
    assert_eq!(
        (by("5").body.as_str(), by("5").language.as_deref()),
        ("Le résumé français.", Some("fre"))
    );
    assert_eq!(
        (by("6").body.as_str(), &by("6").language),
        ("English text.", &None)
    );
    let other = &by("6").other_abstracts[0];
    assert_eq!(
        (other.language.as_deref(), other.body.as_str()),
        (Some("spa"), "Texto español.")
    );
    assert_eq!(by("7").title, "Ein Titel.");
    assert_eq!(by("8").title, "Double x");
    assert!(
        by("8")
            .body
            .contains("α-synuclein β-amyloid. newline and blanks")
    );
    assert_eq!(by("9").body, "New.");
    assert_eq!(by("11").body, "BACKGROUND: In vivo CO2 x end.");
    assert_eq!(by("12").body, "a <b> & b c d");
    assert_eq!(corpus.deleted, 1);
}

/// An abstract in PubMed's XML.
fn pubmed(inside: &str) -> String {
    let text = format!(
        "<PubmedArticleSet><MedlineCitation><PMID>1</PMID><Article><Abstract>{inside}</Abstract></Article></MedlineCitation></PubmedArticleSet>"
    );
    bodies(&of("a.xml", text.as_bytes()).unwrap()).concat()
}

#[test]
fn exponents_formulas_and_labels() {
    for (inside, right) in [
        ("10<sup>6</sup> cells", "10^6 cells"),
        (
            "10<sup>-6</sup> M and 10<sup>−9</sup> M",
            "10^-6 M and 10^−9 M",
        ),
        ("kg/m<sup>2</sup>", "kg/m^2"),
        (
            "Ca<sup>2+</sup>, K<sup>+</sup>, CD4<sup>+</sup>",
            "Ca2+, K+, CD4+",
        ),
        ("the 5<sup>th</sup> day", "the 5th day"),
        (
            "[<sup>18</sup>F]FDG, CO<sub>2</sub>, log<sub>10</sub>",
            "[18F]FDG, CO2, log10",
        ),
        (
            "<m:math xmlns:m=\"m\"><m:mfrac><m:mn>1</m:mn><m:mn>2</m:mn></m:mfrac></m:math>",
            "1/2",
        ),
        (
            "<m:math xmlns:m=\"m\"><m:mfrac><m:mrow><m:mi>a</m:mi><m:mo>+</m:mo><m:mn>1</m:mn></m:mrow><m:mi>b</m:mi></m:mfrac></m:math>",
            "(a+1)/b",
        ),
        (
            "<m:math xmlns:m=\"m\"><m:msup><m:mn>10</m:mn><m:mrow><m:mo>-</m:mo><m:mn>6</m:mn></m:mrow></m:msup></m:math>",
            "10^-6",
        ),
        (
            "<m:math xmlns:m=\"m\">\n <m:msub>\n <m:mi>x</m:mi>\n <m:mn>1</m:mn>\n </m:msub>\n</m:math>",
            "x1",
        ),
        (
            "<alternatives><tex-math>$$E=1$$</tex-math><m:math xmlns:m=\"m\"><m:mi>E</m:mi></m:math></alternatives>",
            "E",
        ),
        (
            "<alternatives><tex-math>$$E=1$$</tex-math><graphic/></alternatives>",
            "E=1",
        ),
    ] {
        assert_eq!(
            pubmed(&format!("<AbstractText>{inside}</AbstractText>")),
            right
        );
    }
    for (inside, right) in [
        (
            "<AbstractText Label=\"AIMS:\">To see.</AbstractText>",
            "AIMS: To see.",
        ),
        (
            "<AbstractText Label=\"AIMS\">Aims: To see.</AbstractText>",
            "Aims: To see.",
        ),
        (
            "<AbstractText Label=\"AIMS\">Aims were few.</AbstractText>",
            "AIMS: Aims were few.",
        ),
    ] {
        assert_eq!(pubmed(inside), right);
    }
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
fn other_encodings_are_read_with_a_word() {
    let corpus = read(&fixtures().join("corpora/windows-1252.csv")).unwrap();
    assert_eq!(corpus.windows_1252, 1);
    // Text with characters of UTF-8 and bytes of another encoding is damaged.
    let error = refused(
        "a.csv",
        "Title\né\n"
            .as_bytes()
            .iter()
            .chain(b"\xc3\xa9 \xe9\n")
            .copied()
            .collect::<Vec<u8>>()
            .as_slice(),
    );
    assert!(error.contains("line 3: the text is not UTF-8"), "{error}");
}

#[test]
fn whole_floats_are_pmids() {
    for name in ["floatpmid.csv", "floatpmid.jsonl"] {
        let corpus = case(name);
        let pmids: Vec<_> = corpus.abstracts.iter().map(|a| a.pmid.as_deref()).collect();
        assert_eq!(pmids, [Some("1"), None, Some("3")], "{name}");
    }
    let error = refused("a.jsonl", b"{\"pmid\": 1.5, \"title\": \"a\"}");
    assert!(error.contains("whole"), "{error}");
}

#[test]
fn a_byte_order_mark_and_a_line_that_names_the_mark_are_no_content() {
    let mark = "\u{feff}";
    for (name, content) in [
        ("a.csv", "title,abstract\nA,B\n"),
        ("a.csv", "sep=;\r\ntitle;abstract\r\nA;B\r\n"),
        ("a.tsv", "title\tabstract\nA\tB\n"),
        ("a.jsonl", "{\"title\":\"A\",\"abstract\":\"B\"}\n"),
        ("a.json", "[{\"title\":\"A\",\"abstract\":\"B\"}]"),
        ("a.nbib", "PMID- 1\nTI  - A\nAB  - B\n"),
        ("a.ris", "TY  - JOUR\nTI  - A\nAB  - B\nER  - \n"),
        ("a.bib", "@article{x, title={A}, abstract={B}}\n"),
    ] {
        for content in [content.to_owned(), format!("{mark}{content}")] {
            let corpus = of(name, content.as_bytes()).unwrap();
            assert_eq!(
                (titles(&corpus), bodies(&corpus)),
                (vec!["A"], vec!["B"]),
                "{name}"
            );
            let wide: Vec<u8> = format!("{mark}{content}")
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect();
            assert_eq!(bodies(&of(name, &wide).unwrap()), ["B"], "{name} in UTF-16");
        }
    }
}

#[test]
fn what_is_not_read_is_refused_by_its_name() {
    let mut tar = vec![b'a'; 257];
    tar.extend(b"ustar\0");
    for (content, name) in [
        (b"%PDF-1.7".to_vec(), "PDF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1".to_vec(), ".xls"),
        (b"<!DOCTYPE html><html>".to_vec(), "HTML"),
        (b"BZh91".to_vec(), "bzip2"),
        (b"\x28\xb5\x2f\xfd\0".to_vec(), "Zstandard"),
        (b"%0 Journal Article\n%T A\n".to_vec(), "Refer"),
        (
            b"FN Clarivate Analytics Web of Science\nVR 1.0\n".to_vec(),
            "Web of Science",
        ),
        (
            b"1. J Ex. 2020;1:2.\n\nA title.\n\nPMID: 1\n".to_vec(),
            "PubMed's text",
        ),
        (tar.clone(), "tar"),
        (gzip(&tar), "tar"),
        (gzip(&gzip(b"{\"title\":\"a\"}")), "gzip within a gzip"),
        (gzip(b"PK\x03\x04aaaa"), "zip archive within a gzip"),
    ] {
        let error = refused("file", &content);
        assert!(
            error.contains(name) && error.contains("Read are: PubMed XML"),
            "{error}"
        );
    }
    let error = refused("file", b"<eSummaryResult></eSummaryResult>");
    assert!(error.contains("summaries"), "{error}");
}

#[test]
fn archives_are_named() {
    for (entry, name) in [
        ("word/document.xml", "Word"),
        ("a.csv", "a zip archive; unpack it first"),
        ("mimetype", "OpenDocument"),
    ] {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file(entry, options).unwrap();
        let content = zip.finish().unwrap().into_inner();
        let error = refused("a.zip", &content);
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn strings_of_bibtex_are_resolved_and_do_not_expand_without_end() {
    let text = "@string{j = {J of X}}\n@string(k = \"K\")\n@article{a, title={T}, journal=j # {, } # j, abstract={10$^{6}$ \\textit{cells} \\& {\\\"o}}}\n";
    let corpus = of("a.bib", text.replace("@string(k = \"K\")\n", "").as_bytes()).unwrap();
    assert_eq!(
        corpus.abstracts[0].journal.as_deref(),
        Some("J of X, J of X")
    );
    assert_eq!(bodies(&corpus), ["10^6 cells & ö"]);
    for (text, why) in [
        (
            "@string{a = a # a}\n@article{x, title=a}\n",
            "put together from others",
        ),
        (
            "@string{a = b}\n@string{b = a}\n@article{x, title=a}\n",
            "put together from others",
        ),
        ("@article{x, title=unknown}\n", "line 1"),
    ] {
        let error = refused("a.bib", text.as_bytes());
        assert!(error.contains(why), "{error}");
    }
    let long = format!(
        "@string{{a = {{{}}}}}\n@article{{x, title={}}}\n",
        "y".repeat(60_000),
        vec!["a"; 1000].join(" # ")
    );
    assert!(refused("a.bib", long.as_bytes()).contains("expand"));
    let deep = format!("@article{{x, title={}", "{".repeat(100_000));
    assert!(refused("a.bib", deep.as_bytes()).contains("nested deeper"));
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

#[test]
fn damage_and_mixtures_are_refused_with_their_place() {
    for (name, content, why) in [
        (
            "a.ris",
            "TY  - JOUR\nTI  - A\nAB  - B",
            "begins at line 1 has no end",
        ),
        (
            "a.ris",
            "TY  - JOUR\nTI  - A\nER  - \nPMID- 1\n",
            "line 4: a record of MEDLINE within RIS",
        ),
        (
            "a.nbib",
            "PMID- 1\nTI  - A\n\nTY  - JOUR\n",
            "line 4: a record of RIS within MEDLINE",
        ),
        (
            "a.bib",
            "@article{a, title={A}}\n@article{b, title={B},\n abstract={C}\n",
            "line 2: the entry that begins here is never closed",
        ),
        (
            "a.bib",
            "@article{a, title={A},\n@article{b, title={B}}\n",
            "line 1: the entry that begins here is not closed before the next, at line 2",
        ),
        (
            "a.bib",
            "@article{a, title={A}}\nTY  - JOUR\n",
            "two formats in one file",
        ),
        (
            "a.csv",
            "title,abstract\na,\"b \"quoted\" c\"\nd,e\n",
            "line 2: text follows the quote that closes a field",
        ),
        (
            "a.csv",
            "title,abstract\na,b\nc,\"d\ne,f\ng,h\n",
            "line 3: a quoted field is opened here and never closed",
        ),
        (
            "a.csv",
            "title,abstract\na,b\n{\"title\":\"c\"}\n",
            "line 3: 1 fields, expected 2",
        ),
        (
            "a.jsonl",
            "{\"title\":\"a\"}\ntitle,abstract\n",
            "line 2: it is not a JSON object",
        ),
        (
            "a.xml",
            "<PubmedArticleSet><MedlineCitation><PMID>1</PMID></MedlineCitation></PubmedArticleSet>\n{\"title\": 1}",
            "outside of the document's element",
        ),
        (
            "a.xml",
            "<PubmedArticleSet></PubmedArticleSet><xml><records/></xml>",
            "two formats in one file",
        ),
    ] {
        let error = refused(name, content.as_bytes());
        assert!(error.contains(why), "{error}");
    }
    // Wherever a file is cut, it is refused or what is whole is read; nothing panics.
    for entry in std::fs::read_dir(fixtures().join("corpora")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let whole = std::fs::read(&path).unwrap();
        for part in 1..40 {
            let cut = &whole[..whole.len() * part / 40];
            if let Ok(corpus) = of(&name, cut) {
                assert!(corpus.abstracts.len() <= 6, "{name}");
            }
        }
    }
}

#[test]
fn of_several_files_the_unreadable_are_named_and_the_others_read() {
    let folder = tempfile::tempdir().unwrap();
    let write =
        |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).unwrap();
    write(
        "a.jsonl",
        b"{\"pmid\":\"1\",\"title\":\"A\",\"abstract\":\"a\"}\n",
    );
    write("b.csv", b"title,abstract\nB,b\nC,\"c\n");
    write("c.pdf", b"%PDF-1.4");
    write("d.ris", b"TY  - JOUR\nTI  - D\nAB  - d\nER  - \n");
    write(
        "e.xml.gz",
        &gzip(b"<PubmedArticleSet><MedlineCitation>")[..20],
    );
    write(".hidden", b"%PDF-1.4");
    let (counts, all) = imported(&[folder.path()], &ImportSettings::default()).unwrap();
    assert_eq!(
        all.iter().map(|a| a.title.as_str()).collect::<Vec<_>>(),
        ["A", "D"]
    );
    let unread: Vec<_> = counts
        .unread
        .iter()
        .map(|u| u.path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(unread, ["b.csv", "c.pdf", "e.xml.gz"]);
    assert!(
        counts.unread[0].why.contains("line 3"),
        "{}",
        counts.unread[0].why
    );
    // What needs all files says which it cannot read.
    let error = read(folder.path()).unwrap_err().to_string();
    assert!(error.contains("b.csv, line 3"), "{error}");
    let none = files_of(&[folder.path().join("*.bib")]).unwrap_err();
    assert!(none.to_string().contains("there is no file"), "{none}");
}

#[test]
fn equal_texts_are_on_one_side_of_the_split() {
    let corpus = case("duplicates.jsonl").abstracts;
    assert_eq!(corpus.len(), 100);
    let (train, validation) = split(corpus.clone(), 0.2, 42).unwrap();
    let before = leaked(&train, &validation).len();
    assert!(before > 10, "{before}");
    let (train, validation) = split_texts(corpus.clone(), 0.2, 42).unwrap();
    assert_eq!((train.len(), validation.len()), (80, 20));
    assert!(leaked(&train, &validation).is_empty());
    let taught: Vec<String> = train.iter().map(Abstract::text).collect();
    assert!(validation.iter().all(|v| !taught.contains(&v.text())));
    // Without such texts, the split is what it was.
    let mut seen = std::collections::BTreeSet::new();
    let mut one_of_each = corpus;
    one_of_each.retain(|a| seen.insert(a.text()));
    assert_eq!(
        split_texts(one_of_each.clone(), 0.2, 42).unwrap(),
        split(one_of_each, 0.2, 42).unwrap()
    );
}

#[test]
fn where_all_texts_are_near_equal_ones_are_held_together() {
    // One template: each is near the next, five times over.
    let words = "a seizure is a sign of excessive activity of many neurons in the brain and may be focal or general";
    let one = |n: usize| Abstract {
        body: format!(
            "{words} as in case {n} of this series of cases that are told in the same words, {words}."
        ),
        ..Abstract::default()
    };
    let all: Vec<Abstract> = (0..50).map(|n| one(n / 5)).collect();
    let (train, validation) = split_texts(all, 0.2, 42).unwrap();
    assert_eq!((train.len(), validation.len()), (40, 10));
    assert!(validation.iter().all(|v| !train.contains(v)));
    assert_eq!(leaked(&train, &validation).len(), 10);
    // Nothing but one text: the split is a plain one.
    let (train, validation) = split_texts(vec![one(0); 10], 0.2, 42).unwrap();
    assert_eq!((train.len(), validation.len()), (8, 2));
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
