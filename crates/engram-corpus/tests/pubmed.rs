//! PubMed's XML, MEDLINE text, spreadsheets and Parquet files; real ones if a data folder is given.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use engram_core::columns::{Column, write_columns};
use engram_corpus::read::{Corpus, each, read};
use engram_corpus::{Abstract, CorpusError, OtherAbstract};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde::Deserialize;
use sha2::{Digest, Sha256};

fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn of(xml: &str) -> Corpus {
    let (_folder, path) = file("a.xml", xml.as_bytes());
    read(&path).unwrap()
}

fn refused(xml: &[u8]) -> String {
    let (_folder, path) = file("a.xml", xml);
    read(&path).unwrap_err().to_string()
}

/// A document with these elements in its one article.
fn article(inside: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE PubmedArticleSet PUBLIC \"-//NLM//DTD\" \"https://example.org/a.dtd\">\n\
         <PubmedArticleSet><PubmedArticle><MedlineCitation><PMID Version=\"1\">17</PMID>{inside}\
         </MedlineCitation></PubmedArticle></PubmedArticleSet>"
    )
}

#[test]
fn a_citation_becomes_an_abstract() {
    let corpus = of(&article(
        "<Article><Journal><JournalIssue><PubDate><Year>2014</Year><Month>May</Month></PubDate></JournalIssue>\
         <Title>Journal of Examples</Title><ISOAbbreviation>J Ex</ISOAbbreviation></Journal>\
         <ArticleTitle>Spikes &amp; waves in <i>two</i>\n   mice.</ArticleTitle>\
         <Abstract><AbstractText Label=\"AIMS\" NlmCategory=\"OBJECTIVE\">To count K<sup>+</sup> at 5&#xb0;.</AbstractText>\
         <AbstractText Label=\"UNLABELLED\">Then <mml:math xmlns:mml=\"m\"><mml:mi>x</mml:mi><mml:mo>&lt;</mml:mo></mml:math> 1.</AbstractText>\
         <AbstractText><![CDATA[Done <all>.]]></AbstractText>\
         <CopyrightInformation>Nobody's.</CopyrightInformation></Abstract></Article>\
         <CommentsCorrectionsList><CommentsCorrections><PMID>99</PMID></CommentsCorrections></CommentsCorrectionsList>\
         <OtherAbstract><AbstractText>Another one.</AbstractText></OtherAbstract>\
         <KeywordList><Keyword>epilepsy</Keyword><Keyword> EEG </Keyword></KeywordList>",
    ));
    let expected = Abstract {
        pmid: Some("17".into()),
        title: "Spikes & waves in two mice.".into(),
        body: "AIMS: To count K+ at 5°. Then x< 1. Done <all>.".into(),
        journal: Some("Journal of Examples".into()),
        keywords: Some("epilepsy; EEG".into()),
        url: Some("https://pubmed.ncbi.nlm.nih.gov/17/".into()),
        year: Some("2014".into()),
        other_abstracts: vec![OtherAbstract {
            language: None,
            body: "Another one.".into(),
        }],
        ..Abstract::default()
    };
    assert_eq!(corpus.abstracts, [expected]);
}

#[test]
fn what_is_missing_is_absent_and_second_best_stands_in() {
    let corpus = of(&article(
        "<Article><Journal><JournalIssue><PubDate><MedlineDate>1998 Dec-1999 Jan</MedlineDate></PubDate></JournalIssue></Journal>\
         <ArticleTitle/><VernacularTitle>Ein Titel.</VernacularTitle></Article>\
         <MedlineJournalInfo><MedlineTA>Ex</MedlineTA></MedlineJournalInfo>\
         <OtherAbstract><AbstractText Label=\"A\">Another one.</AbstractText></OtherAbstract>",
    ));
    let found = &corpus.abstracts[0];
    assert_eq!(found.title, "Ein Titel.");
    assert_eq!(found.body, "A: Another one.");
    assert_eq!(found.year.as_deref(), Some("1998"));
    assert_eq!(found.journal.as_deref(), Some("Ex"));
    assert_eq!(found.keywords, None);
}

#[test]
fn books_empty_records_duplicates_and_deletions() {
    let citation = |pmid: u32, title: &str| {
        format!(
            "<MedlineCitation><PMID>{pmid}</PMID><Article><ArticleTitle>{title}</ArticleTitle></Article></MedlineCitation>"
        )
    };
    let set = |inside: &str| format!("<PubmedArticleSet>{inside}</PubmedArticleSet>");
    let corpus = of(&set(&[
        citation(1, "one"),
        citation(2, ""),
        citation(3, "gone"),
        citation(1, "one again"),
        "<PubmedBookArticle><BookDocument><PMID>4</PMID><Book><BookTitle>A book</BookTitle><PubDate><Year>2001</Year></PubDate></Book><ArticleTitle>A chapter</ArticleTitle><Abstract><AbstractText>On it.</AbstractText></Abstract></BookDocument></PubmedBookArticle>".to_owned(),
        "<DeleteCitation><PMID>3</PMID><PMID>77</PMID></DeleteCitation>".to_owned(),
    ].concat()));
    let titles: Vec<&str> = corpus.abstracts.iter().map(|a| a.title.as_str()).collect();
    assert_eq!(titles, ["one", "A chapter"]);
    assert_eq!((corpus.empty, corpus.deleted, corpus.duplicates), (1, 1, 1));
    let book = &corpus.abstracts[1];
    assert_eq!(book.journal.as_deref(), Some("A book"));
    assert_eq!(book.year.as_deref(), Some("2001"));
}

#[test]
fn hostile_documents_are_refused_with_the_place() {
    let bomb = "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;\">]><PubmedArticleSet>&b;</PubmedArticleSet>";
    assert!(refused(bomb.as_bytes()).contains("declares entities"));
    let external = "<!DOCTYPE a [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><PubmedArticleSet/>";
    assert!(refused(external.as_bytes()).contains("declares entities"));
    let unknown = article("<Article><ArticleTitle>&passwd;</ArticleTitle></Article>");
    let error = refused(unknown.as_bytes());
    assert!(
        error.contains("&passwd;") && error.contains("at byte"),
        "{error}"
    );
    let deep = format!("<PubmedArticleSet>{}", "<a>".repeat(100_000));
    assert!(refused(deep.as_bytes()).contains("nested deeper than 128"));
    let whole = article("<Article><ArticleTitle>A title.</ArticleTitle></Article>");
    let error = refused(&whole.as_bytes()[..whole.len() - 30]);
    assert!(
        error.contains("truncated") || error.contains("expected"),
        "{error}"
    );
    let crossed = whole.replace("</Article>", "</Articles>");
    assert!(refused(crossed.as_bytes()).contains("Articles"));
    let unknown = whole.replace("UTF-8", "EBCDIC-CP-IT");
    assert!(refused(unknown.as_bytes()).contains("EBCDIC-CP-IT, which is not known; convert it"));
    let mut bytes = whole.clone().into_bytes();
    let at = whole.find("A title").unwrap();
    bytes[at] = 0xff;
    assert!(!refused(&bytes).is_empty());
    assert!(refused(b"<html><body/></html>").contains("document element is <html>"));
    assert!(refused(b"<eFetchResult><ERROR>x</ERROR></eFetchResult>").contains("eFetchResult"));
    assert!(refused(b"<PubmedArticleSet></PubmedArticleSet>").contains("empty"));
    assert!(!refused(b"").is_empty());
}

#[test]
fn endless_records_and_gzip_bombs_end_in_bounded_memory() {
    let mut endless =
        b"<PubmedArticleSet><MedlineCitation><PMID>1</PMID><Article><ArticleTitle>".to_vec();
    endless.resize(endless.len() + (20 << 20), b'a');
    assert!(refused(&endless).contains("longer than"));
    // Many good records, three hundred times as long as their gzip.
    let one =
        "<MedlineCitation><Article><ArticleTitle>a</ArticleTitle></Article></MedlineCitation>";
    let filler = format!("{one}{}", " ".repeat(100_000));
    let bomb = format!(
        "<PubmedArticleSet>{}</PubmedArticleSet>",
        filler.repeat(700)
    );
    let (_folder, path) = file("a.xml.gz", &gzip(bomb.as_bytes()));
    let error = read(&path).unwrap_err();
    assert!(matches!(error, CorpusError::Bomb { .. }), "{error}");
    let good = gzip(article("<Article><ArticleTitle>A</ArticleTitle></Article>").as_bytes());
    let (_folder, path) = file("a.xml.gz", &good[..good.len() - 12]);
    let error = read(&path).unwrap_err();
    assert!(matches!(error, CorpusError::Gzip { .. }), "{error}");
}

const MEDLINE: &str = "PMID- 12\nOWN - NLM\nDP  - 2002 Sep\nTI  - A title that\n      goes on.\n\
    AB  - An abstract\n      of two lines.\nTA  - J Ex\nJT  - Journal of examples\nOT  - one\nOT  - two\n\n\
    PMID- 13\nDP  - 1999\n\nPMID- 14\nTI  - Last.\n";

#[test]
fn medline_text_is_read() {
    let (_folder, path) = file("answer.txt", MEDLINE.as_bytes());
    let corpus = read(&path).unwrap();
    assert_eq!((corpus.abstracts.len(), corpus.empty), (2, 1));
    let first = &corpus.abstracts[0];
    assert_eq!(first.title, "A title that goes on.");
    assert_eq!(first.body, "An abstract of two lines.");
    assert_eq!(first.journal.as_deref(), Some("Journal of examples"));
    assert_eq!(first.keywords.as_deref(), Some("one; two"));
    assert_eq!(first.year.as_deref(), Some("2002"));
    let torn = MEDLINE.replace("      of two", "of two");
    let (_folder, path) = file("a.nbib", torn.as_bytes());
    let error = read(&path).unwrap_err().to_string();
    assert!(error.contains("line 7"), "{error}");
}

/// A workbook of one sheet, of cells as the format writes them.
fn workbook(rows: &str) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    let office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let package = "http://schemas.openxmlformats.org/package/2006/relationships";
    let parts = [
        ("[Content_Types].xml", "<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\"><Default Extension=\"xml\" ContentType=\"application/xml\"/></Types>".to_owned()),
        ("_rels/.rels", format!("<Relationships xmlns=\"{package}\"><Relationship Id=\"r1\" Type=\"{office}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>")),
        ("xl/workbook.xml", format!("<workbook xmlns=\"{main}\" xmlns:r=\"{office}\"><sheets><sheet name=\"S\" sheetId=\"1\" r:id=\"r1\"/></sheets></workbook>")),
        ("xl/_rels/workbook.xml.rels", format!("<Relationships xmlns=\"{package}\"><Relationship Id=\"r1\" Type=\"{office}/worksheet\" Target=\"worksheets/sheet1.xml\"/></Relationships>")),
        ("xl/worksheets/sheet1.xml", format!("<worksheet xmlns=\"{main}\"><sheetData>{rows}</sheetData></worksheet>")),
    ];
    for (name, content) in parts {
        zip.start_file(name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn cells(row: u32, values: &[&str]) -> String {
    let cell = |(column, value): (usize, &&str)| {
        let at = format!("{}{row}", char::from(b'A' + column as u8));
        match value.parse::<f64>() {
            Ok(number) => format!("<c r=\"{at}\"><v>{number}</v></c>"),
            Err(_) => format!("<c r=\"{at}\" t=\"inlineStr\"><is><t>{value}</t></is></c>"),
        }
    };
    let cells: String = values.iter().enumerate().map(cell).collect();
    format!("<row r=\"{row}\">{cells}</row>")
}

#[test]
fn spreadsheets_are_read() {
    let rows = [
        cells(
            1,
            &[
                "PMID", "Title", "Abstract", "Journal", "Keywords", "URL", "Year",
            ],
        ),
        cells(
            2,
            &[
                "31",
                "A title",
                "An abstract",
                "J",
                "a; b",
                "http://x",
                "2020",
            ],
        ),
        cells(4, &["32", "Another", "", "", "", "", ""]),
    ];
    let (_folder, path) = file("corpus.xlsx", &workbook(&rows.concat()));
    let corpus = read(&path).unwrap();
    assert_eq!(corpus.abstracts.len(), 2);
    let first = &corpus.abstracts[0];
    assert_eq!(
        (first.pmid.as_deref(), first.year.as_deref()),
        (Some("31"), Some("2020"))
    );
    assert_eq!(
        (first.title.as_str(), first.body.as_str()),
        ("A title", "An abstract")
    );
    let (_folder, path) = file("b.xlsx", &workbook(&cells(1, &["Name", "Colour"])));
    assert!(
        read(&path)
            .unwrap_err()
            .to_string()
            .contains("Title or Abstract")
    );
    let faulty = [
        cells(1, &["Title", "Year"]),
        cells(2, &["a", "1"]),
        cells(3, &["", "1990"]),
    ];
    let (_folder, path) = file("c.xlsx", &workbook(&faulty.concat()));
    let corpus = read(&path).unwrap();
    assert_eq!((corpus.abstracts.len(), corpus.empty), (1, 1));
    let bomb = workbook(&" ".repeat(80 << 20));
    let (_folder, path) = file("d.xlsx", &bomb);
    let error = read(&path).unwrap_err();
    assert!(
        error.to_string().contains("longer than 16777216 bytes"),
        "{error}"
    );
    let whole = workbook(&rows.concat());
    for cut in [4, 100, whole.len() / 2, whole.len() - 5] {
        let (_folder, path) = file("e.xlsx", &whole[..cut]);
        assert!(read(&path).is_err(), "cut at {cut}");
    }
}

#[test]
fn parquet_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let text = |v: &[&str]| v.iter().map(|s| Some((*s).to_owned())).collect::<Vec<_>>();
    write_columns(
        &path,
        vec![
            ("pmid", Column::Int(vec![Some(7), None])),
            ("title", Column::Text(text(&["A", "B"]))),
            ("abstract", Column::Text(vec![Some("a".into()), None])),
            ("score", Column::Real(vec![Some(0.5), None])),
        ],
    )
    .unwrap();
    let corpus = read(&path).unwrap();
    assert_eq!(corpus.abstracts.len(), 2);
    assert_eq!(corpus.abstracts[0].pmid.as_deref(), Some("7"));
    assert_eq!(corpus.abstracts[0].text(), "A a");
    assert_eq!(corpus.abstracts[1].text(), "B");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    assert!(read(&path).unwrap_err().to_string().contains("Parquet"));
}

#[derive(Deserialize)]
struct Elsewhere {
    abstracts: usize,
    empty: usize,
    deleted: usize,
    records: Vec<String>,
}

fn data() -> PathBuf {
    PathBuf::from(std::env::var_os("ENGRAM_DATA").expect("ENGRAM_DATA is set"))
}

/// Real files, read as Python's xml.etree reads them (pubmed.py, pubmed.json).
#[test]
#[ignore = "needs ENGRAM_DATA, a folder of real data"]
fn needs_data_real_files_are_read_as_another_parser_reads_them() {
    let data = data();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pubmed.json");
    let elsewhere: BTreeMap<String, Elsewhere> =
        serde_json::from_slice(&std::fs::read(here).unwrap()).unwrap();
    for (name, expected) in &elsewhere {
        let corpus = read(&data.join("pubmed/xml").join(name)).unwrap();
        assert_eq!(corpus.abstracts.len(), expected.abstracts, "{name}");
        assert_eq!(
            (corpus.empty, corpus.deleted),
            (expected.empty, expected.deleted),
            "{name}"
        );
        for (found, expected) in corpus.abstracts.iter().zip(&expected.records) {
            let word = |w: &Option<String>| w.clone().unwrap_or_default();
            let fields = [
                word(&found.pmid),
                found.title.clone(),
                found.body.clone(),
                word(&found.journal),
                word(&found.keywords),
                word(&found.year),
            ];
            let hash = Sha256::digest(fields.join("\n").as_bytes());
            let hash: String = hash.iter().take(8).map(|b| format!("{b:02x}")).collect();
            assert_eq!(&hash, expected, "{name}: {found:?}");
        }
    }
    assert!(elsewhere.values().map(|e| e.abstracts).sum::<usize>() > 600);
}

#[test]
#[ignore = "needs ENGRAM_DATA, a folder of real data"]
fn needs_data_real_medline_text_is_read() {
    let data = data();
    for (name, count, title) in [
        (
            "biopython_pubmed_result1.txt",
            1,
            "The Bio* toolkits--a brief overview.",
        ),
        ("biopython_pubmed_result2.txt", 3, ""),
        ("biopython_pubmed_result3.txt", 1, ""),
    ] {
        let path = data.join("pubmed/xml").join(name);
        let corpus = read(&path).unwrap();
        let pmids = std::fs::read_to_string(&path).unwrap();
        let pmids = pmids.lines().filter(|l| l.starts_with("PMID- ")).count();
        assert_eq!(corpus.abstracts.len() + corpus.empty, pmids, "{name}");
        assert!(corpus.abstracts.len() >= count.min(pmids), "{name}");
        assert!(corpus.abstracts[0].title.starts_with(title), "{name}");
    }
}

#[test]
fn a_long_file_is_given_one_at_a_time() {
    let one = |pmid: u32| {
        format!(
            "<MedlineCitation><PMID>{pmid}</PMID><Article><ArticleTitle>Title {pmid}</ArticleTitle></Article></MedlineCitation>"
        )
    };
    let all: String = (0..2000).map(one).collect();
    let (_folder, path) = file(
        "a.xml",
        format!("<PubmedArticleSet>{all}</PubmedArticleSet>").as_bytes(),
    );
    let mut seen = 0;
    let counts = each(&path, |found| {
        assert_eq!(found.title, format!("Title {seen}"));
        seen += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!((seen, counts.abstracts.len()), (2000, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_change_of_a_document_makes_it_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        medline in any::<bool>(),
    ) {
        let whole = match medline {
            true => MEDLINE.to_owned(),
            false => article("<Article><ArticleTitle>A &amp; <i>b</i> &#65;</ArticleTitle><Abstract><AbstractText Label=\"X\">y</AbstractText></Abstract></Article>"),
        };
        let mut bytes = whole.into_bytes();
        for (at, to) in edits {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        for name in ["a.xml", "a.nbib", "a"] {
            let (_folder, path) = file(name, &bytes);
            let _ = read(&path);
        }
    }
}
