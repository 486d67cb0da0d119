//! Fact tables: reading, rules, rendering.

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
            &["5 frames", "6 are needed"],
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
            &["held back but stands in"],
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
        assert!(!error.contains('\n'), "{error}");
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
