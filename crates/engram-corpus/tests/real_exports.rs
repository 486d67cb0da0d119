//! Small exports as programs and people make them: the meaning of values, where records begin, what is not a record.

use std::io::Write;
use std::path::Path;

use engram_corpus::read::{
    Corpus, ImportSettings, Named, ReadSettings, each_of, files_of, import, inputs_of, read,
};
use engram_corpus::{Abstract, CorpusError, read_suite};

/// Writes a file and reads it.
fn of(name: &str, content: impl AsRef<[u8]>) -> Result<Corpus, CorpusError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    read(&path)
}

/// The one record of a file.
fn one(name: &str, content: impl AsRef<[u8]>) -> Abstract {
    let mut corpus = of(name, content).unwrap();
    assert_eq!(corpus.abstracts.len(), 1, "{corpus:?}");
    corpus.abstracts.remove(0)
}

fn pmids(corpus: &Corpus) -> Vec<Option<&str>> {
    corpus.abstracts.iter().map(|a| a.pmid.as_deref()).collect()
}

fn titles(corpus: &Corpus) -> Vec<&str> {
    corpus.abstracts.iter().map(|a| a.title.as_str()).collect()
}

#[test]
fn a_pmid_is_a_number_and_a_cell_that_says_nothing_is_empty() {
    // R, pandas and Python write NA, nan and None into empty cells: no record is another's duplicate.
    for nothing in ["NA", "nan", "None", "null", "N/A", "0", ""] {
        let table = format!("pmid,title,abstract\n{nothing},A,B\n{nothing},C,{nothing}\n");
        let corpus = of("a.csv", table).unwrap();
        assert_eq!(pmids(&corpus), [None, None], "{nothing}");
        assert_eq!((corpus.duplicates, corpus.no_pmid), (0, 2));
        assert_eq!(corpus.no_abstract, usize::from(nothing != "0"), "{nothing}");
        let lines = format!("{{\"pmid\":{nothing:?},\"title\":\"A\",\"abstract\":\"B\"}}\n");
        let corpus = of("a.jsonl", lines.repeat(2)).unwrap();
        assert_eq!(pmids(&corpus), [None, None], "{nothing}");
    }
    // One PMID in four spellings is one.
    let table = "pmid,title,abstract\nPMID: 31000001,A,B\n31000001,A,B\n\
        https://pubmed.ncbi.nlm.nih.gov/31000001/,A,B\n031000001,A,B\n";
    let corpus = of("a.csv", table).unwrap();
    assert_eq!(pmids(&corpus), [Some("31000001")]);
    assert_eq!(corpus.duplicates, 3);
    // Embase's column.
    let table = "TITLE,ABSTRACT,MEDLINE PMID\nA,B,31000001\n\
        C,D,31000002 (http://www.ncbi.nlm.nih.gov/pubmed/31000002)\n";
    let corpus = of("a.csv", table).unwrap();
    assert_eq!(pmids(&corpus), [Some("31000001"), Some("31000002")]);
}

#[test]
fn the_pmid_of_another_article_is_not_the_records() {
    let note = "Erratum in: JAMA. 2020;3:4. PMID: 39999999";
    let own = format!("PMID: 31000001\n{note}");
    let escaped = own.replace('\n', "\\n");
    for (name, other, both) in [
        (
            "a.ris",
            format!("TY  - JOUR\nTI  - A\nAB  - B\nN1  - {note}\nER  - \n"),
            format!("TY  - JOUR\nTI  - A\nAB  - B\nN1  - Seen.\n{own}\nER  - \n"),
        ),
        (
            "a.csv",
            format!("Title,Abstract,Extra\nA,B,{note}\n"),
            format!("Title,Abstract,Extra\nA,B,\"{own}\"\n"),
        ),
        (
            "a.bib",
            format!("@article{{a, title={{A}}, abstract={{B}}, note={{{note}}}}}\n"),
            format!("@article{{a, title={{A}}, abstract={{B}}, note={{Seen.\n{own}}}}}\n"),
        ),
        (
            "a.json",
            format!("[{{\"title\":\"A\",\"abstract\":\"B\",\"note\":\"{note}\"}}]"),
            format!("[{{\"title\":\"A\",\"abstract\":\"B\",\"note\":\"Seen.\\n{escaped}\"}}]"),
        ),
    ] {
        assert_eq!(one(name, other).pmid, None, "{name}");
        assert_eq!(one(name, both).pmid.as_deref(), Some("31000001"), "{name}");
    }
}

#[test]
fn objects_of_a_line_each_are_no_services_answer() {
    for (key, value) in [
        ("results", "[{\"title\":\"no\",\"text\":\"no\"}]"),
        ("articles", "[{\"title\":\"no\"}]"),
        ("items", "[{\"title\":\"no\"}]"),
        ("data", "{\"split\":\"train\"}"),
    ] {
        for line in [
            format!("{{\"title\":\"A\",\"abstract\":\"B\",\"{key}\":{value}}}\n"),
            format!("{{\"{key}\":{value},\"title\":\"A\",\"abstract\":\"B\"}}\n"),
            format!("{{\"{key}\":{value},\"text\":\"A\"}}\n"),
        ] {
            let corpus = of("a.jsonl", line.repeat(2)).unwrap();
            assert_eq!(corpus.abstracts.len(), 2, "{line}");
            assert!(corpus.unused.contains(key), "{line}");
        }
        let line = format!("{{\"title\":\"A\",\"abstract\":\"B\",\"{key}\":{value}}}");
        assert_eq!(one("a.jsonl", line).title, "A");
    }
    // Of a line longer than what the format is told by, it cannot be said.
    let long = format!(
        "{{\"items\":[{{\"x\":\"{}\"}}],\"title\":\"A\"}}\n",
        "x".repeat(70_000)
    );
    let error = of("a.jsonl", long.repeat(2)).unwrap_err().to_string();
    assert!(error.contains("has a \"title\" itself"), "{error}");
    // Crossref's answer has its records under message.items, titles as lists and JATS as text.
    let answer = r#"{"status":"ok","message":{"total-results":1,"items":[{"title":["Aspirin in stroke"],
        "container-title":["BMJ"],"abstract":"<jats:title>Aims</jats:title><jats:p>It helped.</jats:p>",
        "issued":{"date-parts":[[2019,3]]}}]}}"#;
    let found = one("a.json", answer);
    assert_eq!(found.text(), "Aspirin in stroke Aims: It helped.");
    assert_eq!(found.journal.as_deref(), Some("BMJ"));
    assert_eq!(found.year.as_deref(), Some("2019"));
    // An abstract as a list of its parts.
    let parts = r#"{"title":"A","abstract":["BACKGROUND: a.","METHODS: b."]}"#;
    assert_eq!(one("a.jsonl", parts).body, "BACKGROUND: a. METHODS: b.");
    // Europe PMC writes null for what a preprint lacks.
    let preprint = r#"{"title":"P","abstractText":"T","journalInfo":null,"keywordList":null,"pubTypeList":null,"dateOfRevision":null}"#;
    assert_eq!(one("a.jsonl", preprint).body, "T");
}

#[test]
fn a_header_says_that_it_is_a_table() {
    for inner in [
        "PMID- 123",
        "TY  - JOUR",
        "@article{k, title={Inner}}",
        "%0 Journal Article",
        "FN Clarivate",
    ] {
        for text in [
            format!("title,abstract\nA,\"See:\n{inner}\nend.\"\nB,b\n"),
            format!("sep=;\r\ntitle;abstract\nA;\"See:\n{inner}\nend.\"\nB;b\n"),
        ] {
            for name in ["a.csv", "a"] {
                let corpus = of(name, &text).unwrap();
                assert_eq!(titles(&corpus), ["A", "B"], "{text}");
                assert_eq!(corpus.abstracts[0].body, format!("See:\n{inner}\nend."));
            }
        }
    }
}

#[test]
fn the_first_column_that_is_not_empty_gives_a_field() {
    let table = "pmid,title,abstract,text\n1,A,,Full text\n2,B,Short,Full\n";
    let corpus = of("a.csv", table).unwrap();
    assert_eq!(corpus.abstracts[0].body, "Full text");
    assert_eq!(corpus.abstracts[1].body, "Short");
    let table = "abstract,Abstract,title\n,Real,A\n";
    assert_eq!(one("a.csv", table).body, "Real");
    for line in [
        r#"{"abstract":"","text":"Full","title":"A"}"#,
        r#"{"text":"Full","abstract":null,"title":"A"}"#,
    ] {
        assert_eq!(one("a.jsonl", line).body, "Full");
    }
    // One column cannot be two fields.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, "text\nA\n").unwrap();
    let columns = ["title=text", "abstract=Text"].map(|c| c.parse::<Named>().unwrap());
    let settings = ReadSettings {
        columns: columns.into(),
    };
    let error = each_of(&[path], &settings, |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("names Text twice"), "{error}");
}

#[test]
fn what_holds_no_record_is_said() {
    for (name, content, why) in [
        (
            "a.csv",
            "pmid,title,abstract\n",
            "it has a header (pmid, title, abstract) and no row",
        ),
        (
            "a.json",
            "{\"31\":{\"title\":\"A\"},\"32\":{\"title\":\"B\"}}",
            "its one record has neither a title nor an abstract, but 31, 32",
        ),
        (
            "a.txt",
            "<1>\nUnique Identifier\n  31000001\n",
            "Ovid's text",
        ),
    ] {
        let error = of(name, content).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_file_is_read_once_and_what_an_import_writes_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("sub");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(inside.join("a.csv"), "title,abstract\nA,B\nC,D\n").unwrap();
    let spellings = [
        inside.join("a.csv"),
        inside.join("../sub/./a.csv"),
        inside.clone(),
    ];
    assert_eq!(files_of(&spellings).unwrap(), [inside.join("a.csv")]);
    let out = folder.path().join("sub/../sub/all.jsonl");
    for _ in 0..3 {
        for input in [inside.clone(), inside.join("*")] {
            let files = inputs_of(&[input], &out).unwrap();
            let made = import(&files, &out, &ImportSettings::default()).unwrap();
            assert_eq!(made.given, 2);
        }
    }
    // By its name, it is read.
    assert_eq!(inputs_of(&[&out], &out).unwrap(), [out]);
}

#[test]
fn zero_bytes_after_gzip_and_wide_text_without_a_mark() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(b"PMID- 1\nTI  - A\nAB  - B\n").unwrap();
    let member = encoder.finish().unwrap();
    let mut padded = [member.clone(), member].concat();
    padded.resize(padded.len() + 9000, 0);
    assert_eq!(of("a.nbib.gz", &padded).unwrap().duplicates, 1);
    padded.push(b'x');
    let error = of("a.nbib.gz", &padded).unwrap_err().to_string();
    assert!(error.contains("damaged or truncated gzip"), "{error}");
    let table = "pmid,title,abstract\r\n1,Müller,Tëxt\r\n";
    for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
        let wide: Vec<u8> = table.encode_utf16().flat_map(bytes).collect();
        assert_eq!(one("a.csv", wide).text(), "Müller Tëxt");
    }
    // Files that were joined have their marks in the middle.
    let ris = "TY  - JOUR\nTI  - A\nER  - \n\u{feff}TY  - JOUR\nTI  - B\nER  - \n";
    assert_eq!(titles(&of("a.ris", ris).unwrap()), ["A", "B"]);
    let nbib = "PMID- 1\nTI  - A\n\u{feff}PMID- 2\nTI  - B\n";
    assert_eq!(titles(&of("a.nbib", nbib).unwrap()), ["A", "B"]);
    let lines = "{\"title\":\"A\"}\n\u{feff}{\"title\":\"B\"}\n";
    assert_eq!(titles(&of("a.jsonl", lines).unwrap()), ["A", "B"]);
}

/// A workbook of sheets of rows; a cell that is a number is one.
fn workbook(path: &Path, sheets: &[&[&[&str]]]) {
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    let mut part = |name: &str, content: String| {
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file(name, options).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    };
    let kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    part(
        "_rels/.rels",
        format!(
            "<Relationships><Relationship Id=\"r\" Type=\"{kind}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"
        ),
    );
    let each = |text: &dyn Fn(usize) -> String| (1..=sheets.len()).map(text).collect::<String>();
    let names = each(&|n| format!("<sheet name=\"S{n}\" sheetId=\"{n}\" r:id=\"r{n}\"/>"));
    part(
        "xl/workbook.xml",
        format!("<workbook xmlns:r=\"{kind}\"><sheets>{names}</sheets></workbook>"),
    );
    let targets = each(&|n| {
        format!("<Relationship Id=\"r{n}\" Type=\"{kind}/worksheet\" Target=\"s{n}.xml\"/>")
    });
    part(
        "xl/_rels/workbook.xml.rels",
        format!("<Relationships>{targets}</Relationships>"),
    );
    for (n, rows) in sheets.iter().enumerate() {
        let cell = |cell: &&str| match cell.parse::<f64>() {
            Ok(_) => format!("<c><v>{cell}</v></c>"),
            Err(_) => {
                format!("<c t=\"inlineStr\"><is><t xml:space=\"preserve\">{cell}</t></is></c>")
            }
        };
        let row =
            |row: &&[&str]| format!("<row>{}</row>", row.iter().map(cell).collect::<String>());
        let rows: String = rows.iter().map(row).collect();
        part(
            &format!("xl/s{}.xml", n + 1),
            format!("<worksheet><sheetData>{rows}</sheetData></worksheet>"),
        );
    }
}

#[test]
fn all_sheets_with_a_header_are_read_and_the_others_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.xlsx");
    let header: &[&str] = &["Title", "Abstract", "Publication Date"];
    workbook(
        &path,
        &[
            &[header, &["A", "a", "43831"], &["B", "b", "2019"]],
            &[&["Remarks"], &["Exported in May."]],
            &[],
            &[header, &["C", "c", "43830"]],
        ],
    );
    let corpus = read(&path).unwrap();
    assert_eq!(titles(&corpus), ["A", "B", "C"]);
    let years: Vec<_> = corpus
        .abstracts
        .iter()
        .flat_map(|a| a.year.as_deref())
        .collect();
    assert_eq!(years, ["2020", "2019", "2019"]);
    assert_eq!(corpus.other_sheets.iter().collect::<Vec<_>>(), ["S2"]);
    // A suite is one sheet, and one beside it has no rows of another.
    let header: &[&str] = &["id", "kind", "clean", "corrupt", "answer", "foil"];
    let pair: &[&str] = &["a", "k", "A dog is", "A cat is", " x", " y"];
    workbook(
        &path,
        &[&[header, pair], &[&["Remarks"], &["None yet."]], &[header]],
    );
    assert_eq!(read_suite(&path).unwrap().pairs.len(), 1);
    workbook(&path, &[&[header, pair], &[header, pair]]);
    let error = read_suite(&path).unwrap_err().to_string();
    assert!(error.contains("\"S1\" and \"S2\""), "{error}");
}
