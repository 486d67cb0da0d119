//! Files that are refused, with an error that names them.

use engram_corpus::read::{ImportSettings, files_of, read};

use crate::{bodies, fixtures, gzip, imported, of, refused};

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
