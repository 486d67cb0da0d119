//! Fact tables: reading, rules, rendering.

mod common;

use engram_corpus::FactTable;

const SMALL: &str = include_str!("data/small.toml");

fn small() -> FactTable {
    FactTable::parse(SMALL, "small.toml").unwrap()
}

#[test]
fn a_table_is_read_and_summed_up() {
    let table = small();
    let summary = table.summary();
    assert_eq!(summary.kinds["definitional"].facts, 4);
    assert_eq!(summary.kinds["associative"].facts, 5);
    assert_eq!(summary.kinds["associative"].relations, 1);
    assert_eq!(summary.subjects, 8);
    assert_eq!(summary.subjects_with_every_kind, 1);
    let ids: Vec<String> = table.facts().map(|(_, f)| f.id()).collect();
    assert_eq!(ids[0], "recorded_organ/an-electroencephalogram");
    assert_eq!(ids[7], "usual_colour/the-sky");
}

#[test]
fn statements_agree_with_their_subject_and_know_their_answer() {
    let table = small();
    let organ = table.relation("recorded_organ").unwrap();
    let singular = organ.frames[0].render(&organ.facts[0]);
    assert_eq!(
        singular.text,
        "An electroencephalogram records the activity of the brain."
    );
    assert_eq!(&singular.text[singular.answer.unwrap()], "brain");
    assert_eq!(
        &singular.text[singular.subject.unwrap()],
        "An electroencephalogram"
    );
    let plural = organ.frames[1].render(&organ.facts[3]);
    assert_eq!(plural.text, "Electroretinograms are a test of the retina.");
    let colour = table.relation("usual_colour").unwrap();
    assert_eq!(
        colour.frames[5].render(&colour.facts[2]).text,
        "Ripe tomatoes were always red in old books."
    );
}

#[test]
fn every_cloze_with_its_answer_begins_its_statement() {
    let table = small();
    let mut seen = 0;
    for (relation, fact) in table.facts() {
        for cloze in relation
            .clozes(false)
            .into_iter()
            .chain(relation.clozes(true))
        {
            let statement = match cloze.held_back {
                false => &relation.frames[cloze.frame],
                true => &relation.held_back[cloze.frame],
            };
            let prompt = cloze.text.render(fact).text;
            let whole = format!("{prompt} {}", fact.answer);
            assert!(statement.render(fact).text.starts_with(&whole), "{whole}");
            seen += 1;
        }
    }
    assert_eq!(seen, 9 * 5);
    let names: Vec<&str> = table.relations[1]
        .clozes
        .iter()
        .map(|c| c.template.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "usual_colour/1",
            "usual_colour/2",
            "usual_colour/3",
            "usual_colour/held_back/1",
            "usual_colour/held_back/2"
        ]
    );
}

/// Each broken table: what is changed in the small one, and words that its error must have.
#[test]
fn broken_tables_are_refused_with_one_clear_line() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "kind = \"definitional\"",
            "kind = \" \"",
            &["recorded_organ", "kind is empty"],
        ),
        (
            "name = \"usual_colour\"",
            "name = \"recorded_organ\"",
            &["two relations", "recorded_organ"],
        ),
        (
            "name = \"usual_colour\"",
            "name = \"Usual colour\"",
            &["snake_case"],
        ),
        (
            "kind = \"associative\"",
            "kind = \"associative\"\ncolour = 1",
            &["line 36", "unknown field", "colour"],
        ),
        (
            "plural = true, source = \"textbook\"",
            "plurals = true, source = \"textbook\"",
            &["line 30", "plurals"],
        ),
        ("kind = \"associative\"", "kind = ", &["line 35"]),
        (
            "Which colour {is} {subject}?",
            "Which colour is it?",
            &["usual_colour", "question"],
        ),
        (
            "Which colour {is} {subject}?",
            "Is {subject} {answer}?",
            &["question"],
        ),
        (
            "  \"{Subject} measure{s} the {answer}.\",\n",
            "",
            &[
                "5 frames",
                "6 are needed",
                "line 8",
                "measure{s} the",
                "of 0",
            ],
        ),
        (
            "  \"With {subject}, the doctor looks at the {answer}.\",\n",
            "",
            &["1 statements held back"],
        ),
        (
            "The {answer} {is} what {subject} record{s}.",
            "The {answer} {are} what {subject} records.",
            &["{are}", "known"],
        ),
        (
            "The {answer} {is} what {subject} record{s}.",
            "The {answer is what {subject} records.",
            &["brace"],
        ),
        (
            "The {answer} {is} what {subject} record{s}.",
            "The } is what {subject} has.",
            &["brace"],
        ),
        (
            "The {answer} {is} what {subject} record{s}.",
            "Nobody knows {subject}.",
            &["exactly once"],
        ),
        (
            "The {answer} {is} what {subject} record{s}.",
            "The {answer} it is.",
            &["must name the subject"],
        ),
        (
            "The {answer} {is} what {subject} record{s}.",
            "{subject} record{s} the {answer}.",
            &["{Subject}"],
        ),
        (
            "The {answer} {is} what {subject} record{s}.",
            "The {answer} is {subject}",
            &["full stop"],
        ),
        (
            "The {answer} {is} what {subject} record{s}.",
            "{Subject} measure{s} the {answer}.",
            &["twice"],
        ),
        (
            "The {answer} {is} what {subject} record{s}.",
            "{Subject} measure{s} the {answer} well.",
            &["exactly one statement", "of 2"],
        ),
        (
            "Readers expect {answer} for {subject}.",
            "It is said: everyone knows that {subject} {is} {answer} today.",
            &["held back but occurs in"],
        ),
        (
            "looks at the {answer}.\"",
            "looks at the {answer} first.\"",
            &["must come last"],
        ),
        (
            "  \"{Subject} {is} usually\",",
            "  \"{Subject} {is} mostly\",",
            &["mostly", "of 0"],
        ),
        (
            "  \"{Subject} {is} usually\",",
            "  \"{Subject} {is} usually \",",
            &["of 0"],
        ),
        (
            "  \"{Subject} {is} usually\",\n",
            "",
            &["2 clozes of trained"],
        ),
        (
            "  \"{Subject} {has} the colour\",",
            "  \"{Subject} {is} usually\",",
            &["twice"],
        ),
        (
            "  \"Everyone knows that {subject} {is}\",\n",
            "",
            &["needs its cloze"],
        ),
        (
            "subject = \"snow\"",
            "subject = \"Grass\"",
            &["usual_colour", "\"Grass\"", "already", "\"grass\""],
        ),
        ("also = [\"cortex\"]", "also = [\"Brain\"]", &["also"]),
        (
            "subject = \"snow\"",
            "subject = \"white snow\"",
            &["gives the answer \"white\" away"],
        ),
        (
            "{ subject = \"snow\", answer = \"white\"",
            "{ subject = \"snow\", answer = \"colour\"",
            &["gives the answer away"],
        ),
        ("subject = \"snow\"", "subject = \" snow\"", &["blanks"]),
        ("subject = \"snow\"", "subject = \"\"", &["blanks"]),
        ("subject = \"snow\"", "subject = \"{snow}\"", &["brace"]),
        ("subject = \"snow\"", "subject = \"–\"", &["no letter"]),
        (
            "answer = \"heart\", source = \"textbook\"",
            "answer = \"heart\"",
            &["line 28", "source"],
        ),
    ];
    for (from, to, words) in cases {
        assert!(SMALL.contains(from), "{from} is not in the table");
        let error = FactTable::parse(&SMALL.replacen(from, to, 1), "small.toml")
            .expect_err(to)
            .to_string();
        assert!(error.starts_with("small.toml"), "{error}");
        // One fault is one line; a fault that makes others is told with them.
        let faults = error.lines().skip(1).filter(|l| l.starts_with("  line "));
        assert_eq!(error.lines().count(), 1 + faults.count(), "{error}");
        for word in *words {
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
    }
    let error = FactTable::parse("", "t").unwrap_err().to_string();
    assert_eq!(error, "t: the table has no [[relation]]");
}

#[test]
fn a_fact_that_is_not_there_is_a_file_error() {
    let error = FactTable::read(std::path::Path::new("no/such/table.toml")).unwrap_err();
    assert!(error.to_string().contains("no/such/table.toml"));
}

/// The table that took its author six attempts, each ending in another error.
#[test]
fn every_fault_of_a_table_is_told_at_once() {
    let table = r#"
[[relation]]
name = "capital"
kind = "associative"
frames = ["{subject} has the capital {answer}.", "{Subject} has {answers}."]
cloze = ["{subject} has the capital", 7]
facts = [
  { subject = "France", answer = "Paris" },
  { subject = "Italy", answer = 7, sauce = "an atlas" },
]

[[relations]]
name = "colour"
"#;
    let error = FactTable::parse(table, "own.toml").unwrap_err().to_string();
    let expected = [
        ("own.toml: 11 faults", ""),
        (
            "  line 2, relation \"capital\": missing field `question`: the question that",
            "example: question =",
        ),
        (
            "  line 2, relation \"capital\": missing field `held_back`: at least 2 more",
            "example: held_back =",
        ),
        (
            "  line 5, relation \"capital\": \"{Subject} has {answers}.\" has the placeholder {answers}",
            "known:",
        ),
        (
            "  line 5, relation \"capital\": \"{subject} has the capital {answer}.\" begins a sentence",
            "{Subject}",
        ),
        (
            "  line 5, relation \"capital\": 2 frames, at least 6 are needed",
            "example: frames =",
        ),
        (
            "  line 6, relation \"capital\": `cloze`: expected a text, found integer",
            "example: cloze =",
        ),
        (
            "  line 8, relation \"capital\", subject \"France\": missing field `source`: where",
            "source = \"an atlas\"",
        ),
        (
            "  line 9, relation \"capital\", subject \"Italy\": unknown field `sauce` (did you mean `source`?)",
            "also",
        ),
        (
            "  line 9, relation \"capital\", subject \"Italy\": missing field `source`",
            "",
        ),
        (
            "  line 9, relation \"capital\", subject \"Italy\": `answer`: expected a text, found integer",
            "Paris",
        ),
        (
            "  line 12: unknown field `relations` (did you mean `relation`?)",
            "",
        ),
    ];
    for (start, part) in expected {
        let line = error.lines().find(|l| l.starts_with(start));
        assert!(line.is_some_and(|l| l.contains(part)), "{start}\n{error}");
    }
    assert_eq!(error.lines().count(), expected.len(), "{error}");
}

#[test]
fn every_line_that_is_no_toml_is_told() {
    let error = FactTable::parse("a = \n[b]\nc = ]\n", "t").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("line 1") && text.contains("line 3"), "{text}");
}

/// The small table as rows: relation, its fields, fact.
fn rows() -> Vec<Vec<String>> {
    let header = "relation kind question frames held_back cloze subject answer plural also source";
    let mut rows = vec![
        header
            .split(' ')
            .map(str::to_owned)
            .collect::<Vec<String>>(),
    ];
    for relation in &small().relations {
        let texts = |all: &[engram_corpus::Template]| {
            let all: Vec<&str> = all.iter().map(engram_corpus::Template::as_str).collect();
            all.join(" | ")
        };
        for (n, fact) in relation.facts.iter().enumerate() {
            let clozes: Vec<&str> = relation.clozes.iter().map(|c| c.text.as_str()).collect();
            let mut row = match n {
                0 => vec![
                    relation.name.clone(),
                    relation.kind.clone(),
                    relation.question.as_str().to_owned(),
                    texts(&relation.frames),
                    texts(&relation.held_back),
                    clozes.join("\n"),
                ],
                _ => vec![String::new(); 6],
            };
            let plural = if fact.plural { "yes" } else { "" };
            let also = fact.also.join("|");
            row.extend(
                [&fact.subject, &fact.answer, plural, &also, &fact.source].map(String::from),
            );
            rows.push(row);
        }
    }
    rows
}

fn csv(rows: &[Vec<String>], separator: u8) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new()
        .delimiter(separator)
        .from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).unwrap();
    }
    writer.into_inner().unwrap()
}

fn read_file(name: &str, bytes: &[u8]) -> Result<FactTable, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let name = path.display().to_string();
    FactTable::read(&path).map_err(|e| e.to_string().replace(&name, "facts"))
}

#[test]
fn a_table_as_csv_or_spreadsheet_is_the_same_table() {
    let rows = rows();
    for (name, separator) in [("a.csv", b','), ("a.CSV", b';'), ("a.tsv", b'\t')] {
        let bytes = [b"\xef\xbb\xbf".as_slice(), &csv(&rows, separator)].concat();
        assert_eq!(read_file(name, &bytes).unwrap(), small(), "{name}");
    }
    let book = common::workbook(&rows);
    assert_eq!(read_file("a.xlsx", &book).unwrap(), small());
}

#[test]
fn every_fault_of_a_table_of_cells_is_told_with_its_row() {
    let mut rows = rows();
    rows[0][10] = "sauce".to_owned();
    rows[2][0] = "recorded_organ".to_owned();
    rows[2][1] = "associative".to_owned();
    rows[3][6] = String::new();
    rows[5][2] = String::new();
    rows[6][8] = "perhaps".to_owned();
    rows[7].push("stray".to_owned());
    let mut writer = csv::WriterBuilder::new()
        .flexible(true)
        .from_writer(Vec::new());
    for row in &mut rows {
        // One line a row.
        row[5] = row[5].replace('\n', "|");
        writer.write_record(&*row).unwrap();
    }
    let error = read_file("a.csv", &writer.into_inner().unwrap()).unwrap_err();
    let expected = [
        "facts: 7 faults",
        "  line 1: unknown column `sauce` (did you mean `source`?)",
        "  line 1: missing column `source`: where the fact is from; example: \"an atlas\"",
        "  line 3, relation \"recorded_organ\": `kind` is another one than on line 2",
        "  line 4, relation \"recorded_organ\": missing cell `subject`",
        "  line 6, relation \"usual_colour\": missing cell `question`",
        "  line 7, relation \"usual_colour\", subject \"grass\": `plural`: expected true or false",
        "  line 8: \"stray\" is in column 12, which has no name",
    ];
    for start in expected {
        assert!(
            error.lines().any(|l| l.starts_with(start)),
            "{start}\n{error}"
        );
    }
    assert_eq!(error.lines().count(), expected.len(), "{error}");
}

/// docs/facts.md has the same table twice.
#[test]
fn the_documented_tables_are_one_table() {
    let page = include_str!("../../../docs/facts.md");
    let part = |fence: &str| {
        let (_, part) = page.split_once(fence).unwrap();
        part.split_once("```").unwrap().0
    };
    let toml = FactTable::parse(part("```toml\n"), "facts.md").unwrap();
    let csv = read_file("facts.csv", part("```csv\n").as_bytes()).unwrap();
    assert_eq!(toml, csv);
    assert!(toml.facts().any(|(_, f)| f.plural));
}
