//! Cleaning of texts: LaTeX, rich text, formulas, languages, retractions.

use engram_corpus::read::{Corpus, read};
use engram_corpus::{Abstract, leaked, split_texts};

/// Writes a file and reads it.
fn of(name: &str, content: impl AsRef<[u8]>) -> Corpus {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    read(&path).unwrap()
}

/// The one record of a file.
fn one(name: &str, content: impl AsRef<[u8]>) -> Abstract {
    let mut corpus = of(name, content);
    assert_eq!(corpus.abstracts.len(), 1, "{corpus:?}");
    corpus.abstracts.remove(0)
}

fn bibtex(text: &str) -> String {
    one(
        "a.bib",
        format!("@article{{a, title={{T}}, abstract={{{text}}}}}\n"),
    )
    .body
}

#[test]
fn latex_is_read_as_it_is_set() {
    for (text, right) in [
        (
            r"5 {\textmu}g, 5 \textmu{}g, 5 \textmu g, 5$\mu$g",
            "5 µg, 5 µg, 5 µg, 5μg",
        ),
        (r"37 {\textdegree}C, 37$^\circ$C", "37 °C, 37°C"),
        (r"\textpm 2, $\pm$2, \texttimes 4", "±2, ±2, ×4"),
        (
            r"p {\textless} 0.05, p $<$ 0.05, \ensuremath{<}5",
            "p < 0.05, p < 0.05, <5",
        ),
        (
            r"10\textsuperscript{6}, 10$^{6}$, $10^{-6}$, 10 $^6$",
            "10^6, 10^6, 10^-6, 10^6",
        ),
        (r"H\textsubscript{2}O, CO$_2$, Ca$^{2+}$", "H2O, CO2, Ca2+"),
        (
            r"$\geqslant$3, $\leqslant$4, $\neq$, $\not=$, $\ll$, $\infty$",
            "≥3, ≤4, ≠, ≠, ≪, ∞",
        ),
        (
            r"$\frac{1}{2}$, $\frac{a+b}{2}$, $\sqrt{2}$, $\sqrt{a+b}$, $\sqrt[3]{x}$",
            "1/2, (a+b)/2, √2, √(a+b), x^(1/3)",
        ),
        (
            r"$\Lambda$, $\Psi$, $\varepsilon$, {\textalpha}",
            "Λ, Ψ, ε, α",
        ),
        (
            r"$\chi^2$ and $x^{a+b}$, $\log_{10}$",
            "χ^2 and x^(a+b), log10",
        ),
        (
            r"20{\%} of {\$}5 {\&} \textbf{more}, \emph{very}",
            "20% of $5 & more, very",
        ),
        (
            r"\alpha-synuclein, \ensuremath{\alpha}, p \textless0.01, (5\,mg)",
            "α-synuclein, α, p <0.01, (5 mg)",
        ),
        // What is not known keeps its name.
        (r"5 \micro\gram{} and \foo{bar}", "5 microgram and foo bar"),
    ] {
        assert_eq!(bibtex(text), right, "{text}");
    }
}

#[test]
fn entries_of_bibtex_begin_where_bibtex_has_them() {
    let text = "Exported for jane.doe@uni.org on 2020-01-01\n\
        @article(Doe2019,\n  title = \"Metformin (a trial)\",\n  abstract = {It lowered HbA1c (by 1).},\n  year = 2019\n)\n\
        Questions: jane@uni.org\n\
        @article{Roe2020, title = \"Statins\", journal = jama, abstract = \"No change.\", year = 2020}\n";
    let corpus = of("a.bib", text);
    let [first, second] = corpus.abstracts.as_slice() else {
        panic!("{corpus:?}")
    };
    assert_eq!(first.text(), "Metformin (a trial) It lowered HbA1c (by 1).");
    assert_eq!(first.year.as_deref(), Some("2019"));
    // A style defines the names of journals; without it, a name is itself.
    assert_eq!(second.journal.as_deref(), Some("jama"));
    assert_eq!((second.year.as_deref(), corpus.outside), (Some("2020"), 2));
}

#[test]
fn signs_of_comparison_are_no_tags() {
    let text = "(0.01 <p <0.05) in patients >65 years; a<b, x <i> y";
    let escaped = text.replace('<', "&lt;").replace('>', "&gt;");
    let right = text.replace("<i> ", "");
    let right = right.as_str();
    for (name, content) in [
        (
            "a.json",
            format!("{{\"resultList\":{{\"result\":[{{\"abstractText\":\"{text}\"}}]}}}}"),
        ),
        (
            "a.xml",
            format!(
                "<responseWrapper><resultList><result><abstractText>{escaped}</abstractText></result></resultList></responseWrapper>"
            ),
        ),
        ("a.csv", format!("title,abstract\n,\"{text}\"\n")),
        ("a.ris", format!("TY  - JOUR\nAB  - {text}\nER  - \n")),
    ] {
        assert_eq!(one(name, content).body.replace("  ", " "), right, "{name}");
    }
}

#[test]
fn rich_text_of_reference_managers_is_read() {
    let rich = "Effect of <i>E. coli</i> at 10<sup>6</sup> and 10 <sup>5</sup> CFU &amp; p &lt; 0.05, <span class=\"nocase\">BMJ</span>";
    let right = "Effect of E. coli at 10^6 and 10^5 CFU & p < 0.05, BMJ";
    for (name, content) in [
        (
            "a.csv",
            format!("Title,Abstract Note\n\"{}\",x\n", rich.replace('"', "\"\"")),
        ),
        (
            "a.ris",
            format!("TY  - JOUR\nTI  - {rich}\nAB  - x\nER  - \n"),
        ),
        ("a.nbib", format!("PMID- 1\nTI  - {rich}\nAB  - x\n")),
        (
            "a.json",
            format!("[{{\"title\":{rich:?},\"abstract\":\"x\"}}]"),
        ),
    ] {
        assert_eq!(one(name, content).title, right, "{name}");
    }
    // Line breaks stay.
    let list = "[{\"title\":\"A\",\"abstract\":\"One.\\n\\nTwo.\"}]";
    assert_eq!(one("a.json", list).body, "One.\n\nTwo.");
    // A line of JSON is text as it is: engram's own are read as they were written.
    let line = format!("{{\"title\":{rich:?},\"abstract\":\"x\"}}\n");
    assert_eq!(one("a.jsonl", line).title, rich);
    // Headings may have marks in them, and colons of their own.
    let answer = "<h4>Log<sub>10</sub> counts</h4>They rose.<h4>Conclusion:</h4>: Done.";
    let found = one(
        "a.json",
        format!("{{\"resultList\":{{\"result\":[{{\"abstractText\":\"{answer}\"}}]}}}}"),
    );
    assert_eq!(
        found.body,
        "Log10 counts: They rose.Conclusion: Done.".replace(".C", ". C")
    );
}

#[test]
fn endnote_has_faces_and_one_journal() {
    let style =
        |face: &str, text: &str| format!("<style face=\"{face}\" size=\"100%\">{text}</style>");
    let title = [
        style("normal", "At 10"),
        style("superscript", "6"),
        style("normal", " CFU"),
    ]
    .concat();
    let body = [
        style("normal", "CO"),
        style("italic subscript", "2"),
        style("normal", " fell."),
    ]
    .concat();
    let xml = format!(
        "<xml><records><record><titles><title>{title}</title></titles><periodical><full-title>BMJ</full-title></periodical>\
        <alt-periodical><full-title>Other</full-title></alt-periodical><abstract>{body}</abstract>\
        <work-type>Retracted Publication</work-type></record></records></xml>"
    );
    let found = one("a.xml", xml);
    assert_eq!(found.text(), "At 10^6 CFU CO2 fell.");
    assert_eq!(
        (found.journal.as_deref(), found.retracted),
        (Some("BMJ"), true)
    );
}

fn jats(language: &str, inside: &str) -> Abstract {
    one(
        "a.xml",
        format!(
            "<article xml:lang=\"{language}\"><front><article-meta>{inside}</article-meta></front></article>"
        ),
    )
}

#[test]
fn abstracts_of_jats_have_the_articles_language_and_their_parts() {
    let english = "<trans-abstract xml:lang=\"en\"><p>Aspirin helped.</p></trans-abstract>";
    let own = "<abstract><p>A aspirina ajudou.</p></abstract>";
    let found = jats("pt", &format!("{own}{english}"));
    assert_eq!(
        (found.body.as_str(), &found.language),
        ("Aspirin helped.", &None)
    );
    assert_eq!(found.other_abstracts[0].language.as_deref(), Some("pt"));
    let found = jats("pt", own);
    assert_eq!(found.language.as_deref(), Some("pt"));
    let found = jats(
        "en",
        &own.replace("<abstract>", "<abstract xml:lang=\"pt\">"),
    );
    assert_eq!(found.language.as_deref(), Some("pt"));
    // A type is no language.
    let text = "<abstract abstract-type=\"structured\"><sec><title>Methods</title><sec><title>Design</title>\
        <p>Trial.</p></sec></sec><sec><title>Results</title><p>We found:<list><list-item><p>Fewer strokes</p></list-item>\
        <list-item><p>More bleeding</p></list-item></list></p><p>Line one<break/>line two, \
        <m:math xmlns:m=\"m\"><m:msqrt><m:mn>2</m:mn></m:msqrt></m:math>, <m:math xmlns:m=\"m\"><m:mroot><m:mi>x</m:mi>\
        <m:mn>3</m:mn></m:mroot></m:math>.</p></sec></abstract><abstract abstract-type=\"graphical\"><p>A picture.</p></abstract>";
    let found = jats("en", text);
    assert_eq!(
        found.body,
        "Methods: Design: Trial. Results: We found: Fewer strokes More bleeding Line one line two, √2, x^(1/3)."
    );
    assert_eq!(found.language, None);
    let other = &found.other_abstracts[0];
    assert_eq!(
        (other.body.as_str(), &other.language),
        ("A picture.", &None)
    );
}

#[test]
fn the_language_of_an_article_is_not_that_of_its_abstract() {
    for (name, content) in [
        ("a.csv", "Title,Abstract Note,Language\nA,It helped.,ger\n"),
        (
            "a.jsonl",
            "{\"title\":\"A\",\"abstractText\":\"It helped.\",\"language\":\"ger\"}\n",
        ),
        (
            "a.json",
            "[{\"title\":\"A\",\"abstract\":\"It helped.\",\"language\":\"ger\"}]",
        ),
    ] {
        let corpus = of(name, content);
        assert_eq!(corpus.abstracts[0].language, None, "{name}");
        let has = |key: &str| corpus.unused.contains(key);
        assert!(has("language") || has("Language"), "{name}");
    }
    let own = "{\"pmid\":null,\"title\":\"A\",\"abstract\":\"Es half.\",\"language\":\"ger\"}\n";
    assert_eq!(one("a.jsonl", own).language.as_deref(), Some("ger"));
}

#[test]
fn retractions_are_known_by_type_and_notice() {
    let table = "Title,Abstract,Document Type\nA,a,Retracted\n\
        Retracted articles in the biomedical literature: a survey,b,Article\nC,c,Article; Retracted Publication\n";
    let marks =
        |corpus: &Corpus| -> Vec<bool> { corpus.abstracts.iter().map(|a| a.retracted).collect() };
    assert_eq!(marks(&of("a.csv", table)), [true, false, true]);
    let nbib = "PMID- 1\nTI  - Retracted articles in PubMed: a survey.\n\n\
        PMID- 2\nTI  - A\nRRI - BMJ. 2020;1:2. PMID: 5\n\nPMID- 3\nTI  - B\nRIN - BMJ. 2020;1:2.\n";
    assert_eq!(marks(&of("a.nbib", nbib)), [false, true, true]);
    let answer = r#"[{"title":"A","publicationTypes":["Article","Retracted Publication"]},{"title":"B","publicationTypes":[{"x":1}]}]"#;
    assert_eq!(marks(&of("a.json", answer)), [true, false]);
}

#[test]
fn standing_phrases_are_no_abstracts_and_lines_are_keywords() {
    for phrase in [
        "[No abstract available]",
        "No abstract available.",
        "Abstract not available",
    ] {
        let table = format!("Title,Abstract\nA,{phrase}\n");
        assert_eq!(of("a.csv", table).no_abstract, 1, "{phrase}");
        let nbib = format!("PMID- 1\nTI  - A\nAB  - {phrase}\n");
        assert_eq!(of("a.nbib", nbib).no_abstract, 1, "{phrase}");
    }
    let ris =
        "TY  - JOUR\nTI  - A\nKW  - Adult\nAspirin/*therapeutic use\nHumans\nKW  - x\nER  - \n";
    let tight = "TY  - JOUR\nTI  -A\nAB  -BACKGROUND: b.\nER  -\n";
    assert_eq!(one("a.ris", tight).text(), "A BACKGROUND: b.");
    let found = one("a.ris", ris);
    assert_eq!(
        found.keywords.as_deref(),
        Some("Adult; Aspirin/*therapeutic use; Humans; x")
    );
}

#[test]
fn equal_texts_without_blanks_are_on_one_side_of_the_split() {
    // 20 texts of which each occurs twice, under another title; every character is drawn from its own part of Han.
    let body = |n: u32| -> String {
        let chars = (0..60).map(|i| char::from_u32(0x4e00 + n * 100 + i * 7 % 61).unwrap());
        chars.chain(['。']).collect()
    };
    let one = |n: u32| Abstract {
        title: format!("标题{n}"),
        body: body(n / 2),
        ..Abstract::default()
    };
    let (train, validation) = split_texts((0..40).map(one).collect(), 0.2, 42).unwrap();
    assert_eq!((train.len(), validation.len()), (32, 8));
    assert!(
        validation
            .iter()
            .all(|v| train.iter().all(|t| t.body != v.body))
    );
    assert!(leaked(&train, &validation).is_empty());
    // One character of sixty differs: the Jaccard similarity of threes is 56/62.
    let mut near = one(0);
    near.body = near
        .body
        .replacen(char::from_u32(0x4e00 + 7).unwrap(), "好", 1);
    assert_eq!(leaked(&[one(0)], &[near]).len(), 1);
    assert!(leaked(&[one(0)], &[one(2)]).is_empty());
}
