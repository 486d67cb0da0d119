//! Encodings, markup and escapes.

use engram_corpus::read::read;

use crate::{bodies, case, fixtures, of, refused, titles};

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
