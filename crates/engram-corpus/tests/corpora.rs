//! Corpora: valid and invalid files of every format, and their counts.

use std::io::Write;
use std::path::{Path, PathBuf};

use engram_corpus::read::{RECORD_LIMIT, read, write};
use engram_corpus::stats::stats;
use engram_corpus::{Abstract, CorpusError, split};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tempfile::TempDir;

const TERMS: [&str; 3] = ["epilepsy", "EEG", "seizure"];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn fault(name: &str, bytes: &[u8]) -> String {
    let (_folder, path) = file(name, bytes);
    let error = read(&path).unwrap_err().to_string();
    assert!(error.contains(name) && !error.contains('\n'), "{error}");
    error
}

const LINES: &str = r#"{"pmid": "7", "title": "One.", "abstract": "First text.", "source": "X", "extra": {"a": 1}}

{"pmid": 8, "title": "Two.", "abstract": null, "year": 2019, "keywords": ["a", "b"]}
{"pmid": "", "abstract": "Third.", "journal": ""}
{"pmid": "7", "title": "One again.", "abstract": "Other text."}
{"pmid": "", "abstract": "Third."}
"#;

const TABLE: &str = "\u{feff}PMID,title,ABSTRACT,Journal,Keywords,URL,Year,Remark\r\n\
7,One.,\"First, \"\"quoted\"\"\r\ntext.\",J,k,http://x,2019,r\r\n\
,Two.,Second text.,,,,,\r\n\
7,One again.,Other text.,,,,,\r\n";

#[test]
fn jsonl_is_read_with_what_is_missing_and_what_is_too_much() {
    let (_folder, path) = file("a.jsonl", LINES.as_bytes());
    let corpus = read(&path).unwrap();
    assert_eq!(corpus.duplicates, 1, "no PMID is no duplicate");
    let [one, two, three, four] = corpus.abstracts.as_slice() else {
        panic!("{corpus:?}");
    };
    assert_eq!(one.text(), "One. First text.");
    assert_eq!(one.source.as_deref(), Some("X"));
    assert_eq!(two.pmid.as_deref(), Some("8"));
    assert_eq!(two.text(), "Two.");
    assert_eq!(two.year.as_deref(), Some("2019"));
    assert_eq!(two.keywords.as_deref(), Some("a; b"));
    assert_eq!(
        (three.text().as_str(), &three.pmid, &three.journal),
        ("Third.", &None, &None)
    );
    assert_eq!(three.text(), four.text());
}

#[test]
fn csv_is_read_with_quotes_line_breaks_and_names_in_any_case() {
    let (_folder, path) = file("a.csv", TABLE.as_bytes());
    let corpus = read(&path).unwrap();
    assert_eq!(corpus.duplicates, 1);
    let [one, two] = corpus.abstracts.as_slice() else {
        panic!("{corpus:?}");
    };
    assert_eq!(one.body, "First, \"quoted\"\r\ntext.");
    assert_eq!(one.url.as_deref(), Some("http://x"));
    assert_eq!(one.year.as_deref(), Some("2019"));
    assert_eq!(two.text(), "Two. Second text.");
    assert_eq!(two.pmid, None);
}

#[test]
fn gzip_is_known_by_its_bytes_and_the_format_by_name_or_content() {
    for (name, bytes, length) in [
        ("a.jsonl.gz", gzip(LINES.as_bytes()), 4),
        ("a.csv.gz", gzip(TABLE.as_bytes()), 2),
        ("a.jsonl", gzip(LINES.as_bytes()), 4),
        ("a.CSV", TABLE.into(), 2),
        ("a.jsonl.gz", LINES.into(), 4),
        ("a.txt", LINES.into(), 4),
        ("a", gzip(TABLE.as_bytes()), 2),
        // Two gzip streams in one file, as some tools append them.
        (
            "b.jsonl.gz",
            [gzip(b"{\"title\":\"a\"}\n"), gzip(b"{\"title\":\"b\"}\n")].concat(),
            2,
        ),
    ] {
        let (_folder, path) = file(name, &bytes);
        assert_eq!(read(&path).unwrap().abstracts.len(), length, "{name}");
    }
}

#[test]
fn bad_jsonl_is_named_by_its_line() {
    let good = "{\"title\":\"a\"}\n\n";
    let cases: [(&[u8], &str); 9] = [
        (b"{\"title\":", "EOF"),
        (b"not JSON", "not a JSON object"),
        (b"[null, \"a\"]", "not a JSON object"),
        (b"{\"title\": 5}", "expected a string"),
        (
            b"{\"pmid\": 1.5, \"title\": \"a\"}",
            "expected a text, a number",
        ),
        (b"{\"title\": \"a\", \"title\": \"b\"}", "there twice"),
        (b"{\"title\": \"\xff\"}", "unicode"),
        (
            b"{\"title\": \"abc\", \"answers\": [[2, 9]]}",
            "[2, 9] is no part of the text of 3 bytes",
        ),
        (
            "{\"title\": \"\u{e9}\", \"answers\": [[1, 2]]}".as_bytes(),
            "no part",
        ),
    ];
    for (line, why) in cases {
        let error = fault("a.jsonl", &[good.as_bytes(), line].concat());
        assert!(error.contains("line 3: ") && error.contains(why), "{error}");
    }
}

#[test]
fn bad_csv_is_named_by_its_line() {
    let cases: [(&[u8], &str); 7] = [
        (
            b"Title,Abstract\na,b\n\"c\"d,e\n",
            "line 3: text follows the quote",
        ),
        (
            b"Title,Abstract\n\"a\n\",b\nc\n",
            "line 4: 1 fields, expected 2",
        ),
        (
            b"Title,Abstract\na,b\nc,\"d\ne,f\ng,h\n",
            "line 3: a quoted field is opened here and never closed",
        ),
        (b"Title,Abstract\na,b\nc,\"d", "line 3: a quoted field"),
        (
            b"Title,Abstract\na,b\n\xc3\xa9t\xe9,d\n",
            "line 3: the text is not UTF-8",
        ),
        (
            b"Name,Colour\na,b\n",
            "no column is called Title or Abstract; found: Name, Colour",
        ),
        (
            b"Title,Abstract\na,b\n\x81,d\n",
            "line 3: the text is not UTF-8",
        ),
    ];
    for (text, why) in cases {
        let error = fault("a.csv", text);
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_corpus_without_abstracts_is_refused() {
    let empty_gzip = gzip(b"");
    let cases: [(&str, &[u8]); 6] = [
        ("a.jsonl", b""),
        ("a.jsonl", b"\n \n"),
        ("a.csv", b""),
        ("a.csv", b"Title,Abstract\n"),
        ("a.jsonl.gz", &empty_gzip),
        ("a", b""),
    ];
    for (name, bytes) in cases {
        let error = fault(name, bytes);
        assert!(error.contains("the corpus is empty"), "{error}");
    }
    let error = read(Path::new("no/such.jsonl")).unwrap_err();
    assert!(matches!(error, CorpusError::Core(_)), "{error}");
}

#[test]
fn damaged_gzip_is_refused_wherever_it_is_cut() {
    let many: String = (0..500)
        .map(|i| format!("{{\"title\":\"Text {i}\"}}\n"))
        .collect();
    let whole = gzip(many.as_bytes());
    for cut in [
        2,
        5,
        10,
        11,
        whole.len() / 2,
        whole.len() - 9,
        whole.len() - 1,
    ] {
        let error = fault("a.jsonl.gz", &whole[..cut]);
        assert!(
            error.contains("damaged or truncated gzip"),
            "{cut}: {error}"
        );
    }
    let table = format!("Title\n{}", "some text\n".repeat(500));
    let error = fault("a.csv.gz", &gzip(table.as_bytes())[..40]);
    assert!(error.contains("damaged or truncated gzip"), "{error}");
    let mut flipped = whole.clone();
    let middle = whole.len() / 2;
    flipped[middle] ^= 0x55;
    let error = fault("a.jsonl.gz", &flipped);
    assert!(error.contains("gzip") || error.contains("line"), "{error}");
    let error = fault(
        "a.jsonl.gz",
        &[whole.as_slice(), b"rubbish rubbish rubbish"].concat(),
    );
    assert!(
        error.contains("damaged or truncated gzip, after line 500"),
        "{error}"
    );
}

#[test]
fn a_record_that_does_not_end_is_refused() {
    let mut bomb = b"{\"title\":\"a\"}\n{\"title\":\"".to_vec();
    bomb.resize(RECORD_LIMIT + 100_000, b' ');
    let packed = gzip(&bomb);
    assert!(packed.len() < bomb.len() / 100);
    let error = fault("a.jsonl.gz", &packed);
    assert!(
        error.contains("line 2: the record is longer than 16777216 bytes"),
        "{error}"
    );
    let mut bomb = b"Title,Abstract\na,b\nc,\"".to_vec();
    bomb.resize(RECORD_LIMIT + 100_000, b' ');
    let error = fault("a.csv.gz", &gzip(&bomb));
    assert!(error.contains("line 3: the record is longer"), "{error}");
}

#[test]
fn mentions_are_counted_in_any_case_as_words_and_anywhere() {
    let texts = [
        (
            "Epilepsy and EEG.",
            "Seizures, seizure-free; EPILEPSY. An eeg-guided antiepilepsy plan.",
        ),
        ("Nothing.", "EEGs of post_seizure states: Seizure"),
    ];
    let abstracts = texts.map(|(title, body)| Abstract {
        title: title.into(),
        body: body.into(),
        ..Abstract::default()
    });
    let words = |text: &str| vec![0; text.split_whitespace().count() * 2];
    let found = stats(&abstracts, &TERMS, Some(&words)).unwrap();
    assert_eq!(
        (found.abstracts, found.words, found.tokens),
        (2, 16, Some(32))
    );
    let counts: Vec<_> = found
        .mentions
        .iter()
        .map(|m| {
            (
                m.term.as_str(),
                m.whole_words,
                m.substrings,
                m.abstracts_whole_words,
                m.abstracts_substrings,
            )
        })
        .collect();
    assert_eq!(
        counts,
        [
            ("epilepsy", 2, 3, 1, 1),
            ("EEG", 2, 3, 1, 2),
            ("seizure", 2, 4, 2, 2)
        ]
    );
    let odd = stats(&abstracts, &["seizure-free;", "(.*"], None).unwrap();
    assert_eq!(odd.mentions[0].whole_words, 1);
    assert_eq!(odd.mentions[1].substrings, 0);
    assert_eq!(odd.tokens, None);
    assert!(matches!(
        stats(&abstracts, &[" "], None),
        Err(CorpusError::Term { .. })
    ));
}

#[test]
fn a_split_is_the_seeds_and_loses_nothing() {
    let items: Vec<usize> = (0..100).collect();
    let (train, validation) = split(items.clone(), 0.2, 42).unwrap();
    assert_eq!((train.len(), validation.len()), (80, 20));
    assert_eq!(
        split(items.clone(), 0.2, 42).unwrap(),
        (train.clone(), validation.clone())
    );
    assert_ne!(split(items.clone(), 0.2, 43).unwrap().1, validation);
    let mut all = [train, validation].concat();
    assert_ne!(all, items);
    all.sort_unstable();
    assert_eq!(all, items);
    for (count, fraction) in [
        (0, 0.5),
        (1, 0.5),
        (4, 0.1),
        (4, 0.9),
        (4, 0.0),
        (4, 1.0),
        (4, -1.0),
        (4, f64::NAN),
        (4, f64::INFINITY),
    ] {
        assert!(
            matches!(
                split(vec![0; count], fraction, 1),
                Err(CorpusError::Split { .. })
            ),
            "{count} {fraction}"
        );
    }
    assert!(split(vec![0; 2], 0.5, 1).is_ok());
}

/// Real abstracts: `ENGRAM_DATA=… cargo test -p engram-lm-corpus -- --ignored`.
#[test]
#[ignore = "needs ENGRAM_DATA, a folder of real data"]
fn needs_data_real_abstracts() {
    let data = PathBuf::from(std::env::var_os("ENGRAM_DATA").expect("ENGRAM_DATA is set"));
    let corpus = read(&data.join("pubmed/epilepsy.jsonl")).unwrap();
    assert_eq!((corpus.abstracts.len(), corpus.duplicates), (588, 0));
    let found = stats(&corpus.abstracts, &TERMS, None).unwrap();
    // Counted with Python: split() and re.findall with and without \b.
    assert_eq!(found.words, 119_457);
    let counts = found.mentions.iter().map(|m| (m.whole_words, m.substrings));
    assert_eq!(
        counts.collect::<Vec<_>>(),
        [(487, 490), (245, 271), (452, 1226)]
    );
    let general = read(&data.join("pubmed/abstracts.jsonl.gz")).unwrap();
    assert_eq!((general.abstracts.len(), general.duplicates), (45_157, 0));
    let found = stats(&general.abstracts, &TERMS, None).unwrap();
    assert_eq!(found.words, 9_877_198);
    assert!(
        found.mentions.iter().all(|m| m.whole_words == 0),
        "{found:?}"
    );
}

fn abstracts() -> impl Strategy<Value = Vec<Abstract>> {
    // Optional fields are absent or not blank: blank ones are read as absent.
    let field = || proptest::option::of("\\PC{0,8}[a-z]");
    // A PMID is a number.
    let pmid = proptest::option::of("[1-9][0-9]{0,7}");
    let one = (
        pmid,
        "[^ ]\\PC{0,20}",
        any::<String>(),
        field(),
        field(),
        field(),
    )
        .prop_map(|(pmid, title, body, journal, keywords, year)| {
            let answers = title.chars().next().map(|c| [0, c.len_utf8()]);
            Abstract {
                pmid,
                title: format!("{title}."),
                body,
                journal,
                keywords,
                year,
                answers: answers.into_iter().collect(),
                ..Abstract::default()
            }
        });
    proptest::collection::vec(one, 1..8).prop_map(|mut all| {
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|a| a.pmid.as_ref().is_none_or(|p| seen.insert(p.clone())));
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(abstracts in abstracts()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        write(&path, &abstracts).unwrap();
        let corpus = read(&path).unwrap();
        prop_assert_eq!(&corpus.abstracts, &abstracts);
        prop_assert_eq!(corpus.duplicates, 0);
    }

    #[test]
    fn csv_of_another_writer_is_read(abstracts in abstracts()) {
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(["Pmid", "Title", "Abstract", "JOURNAL", "Keywords", "Year"]).unwrap();
        for a in &abstracts {
            let word = |w: &Option<String>| w.clone().unwrap_or_default();
            csv.write_record([word(&a.pmid), a.title.clone(), a.body.clone(), word(&a.journal), word(&a.keywords), word(&a.year)]).unwrap();
        }
        let (_folder, path) = file("a.csv.gz", &gzip(&csv.into_inner().unwrap()));
        let mut expected = abstracts;
        expected.iter_mut().for_each(|a| a.answers.clear());
        prop_assert_eq!(read(&path).unwrap().abstracts, expected);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[{}\"a:,\\n\\[\\]]{0,60}") {
        for name in ["a.jsonl", "a.csv", "a"] {
            for content in [bytes.clone(), text.clone().into_bytes(), [b"\x1f\x8b\x08".as_slice(), &bytes].concat()] {
                let (_folder, path) = file(name, &content);
                let _ = read(&path);
            }
        }
        let _ = engram_corpus::FactTable::parse(&text, "t");
        let _ = engram_corpus::Template::parse(&text);
    }

    #[test]
    fn counts_add_up_over_parts(texts in proptest::collection::vec("(EEG|eeg |seizure|s |-|x){0,12}", 1..6)) {
        let all: Vec<Abstract> = texts.iter().map(|t| Abstract { body: t.clone(), ..Abstract::default() }).collect();
        let whole = stats(&all, &TERMS, None).unwrap();
        for (index, term) in TERMS.iter().enumerate() {
            let lower = term.to_lowercase();
            let by_hand: usize = texts.iter().map(|t| t.to_lowercase().matches(&lower).count()).sum();
            prop_assert_eq!(whole.mentions[index].substrings, by_hand);
            let words: usize = texts.iter().map(|t| t.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|w| *w == lower).count()).sum();
            prop_assert_eq!(whole.mentions[index].whole_words, words);
        }
    }
}
