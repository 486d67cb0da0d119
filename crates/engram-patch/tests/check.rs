//! What is refused, and in which words.

mod common;

use std::path::Path;

use common::model;
use engram_core::{Bos, Pair, Span, SubjectAt, Suite};
use engram_model::{Shape, Tokenizer};
use engram_patch::{PatchError, Reading, check, refuse_unfit, skip_unfit};

fn tokenizer() -> Tokenizer {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets");
    Tokenizer::read(&assets.join("models/pubmed-mini")).unwrap()
}

fn shape(context: usize) -> Shape {
    Shape {
        vocab: 8192,
        context,
        ..model(1, 0).shape()
    }
}

fn text(id: &str, clean: &str, corrupt: &str, answer: &str, foil: &str) -> Pair {
    Pair {
        id: id.into(),
        kind: "definitional".into(),
        clean: clean.into(),
        corrupt: corrupt.into(),
        answer: answer.into(),
        foil: foil.into(),
        ..Pair::default()
    }
}

fn problems(pair: Pair) -> Vec<String> {
    let suite = Suite { pairs: vec![pair] };
    let checked = check(&suite, &tokenizer(), &shape(512), &Reading::default()).unwrap();
    checked[0].problems.iter().map(|p| p.to_string()).collect()
}

#[test]
fn every_problem_is_a_sentence() {
    let good = || {
        text(
            "p",
            "The brain is in the",
            "The heart is in the",
            " head",
            " chest",
        )
    };
    assert_eq!(problems(good()), [""; 0]);
    let one = |pair: Pair, expected: &str| assert_eq!(problems(pair), [expected]);

    let longer = "The electroencephalogram is in the";
    let length = tokenizer().encode(longer).unwrap().len();
    let short = tokenizer().encode("The brain is in the").unwrap().len();
    assert!(length > short);
    one(
        Pair {
            corrupt: longer.into(),
            ..good()
        },
        &format!("the clean prompt has {short} tokens, the corrupted one {length}"),
    );
    one(
        Pair {
            corrupt: good().clean,
            ..good()
        },
        "clean and corrupted prompt are the same",
    );
    one(
        Pair {
            foil: " head of".into(),
            ..good()
        },
        "answer and foil begin with the same token \" head\"",
    );
    one(
        Pair {
            answer: String::new(),
            ..good()
        },
        "the answer is empty",
    );
    one(
        Pair {
            subject: Some(Span::Text("liver".into())),
            ..good()
        },
        "the subject \"liver\" is not found in the clean prompt",
    );
    one(
        Pair {
            corrupt_subject: Some(Span::Tokens(2, 90)),
            ..good()
        },
        "the subject [2, 90] is not found in the corrupted prompt",
    );
    one(
        Pair {
            clean_ids: Some(vec![1; short - 1].into_iter().chain([9000]).collect()),
            ..good()
        },
        "token id 9000 is outside the vocabulary of 8192",
    );
    let joined = problems(Pair {
        answer: "s".into(),
        foil: "t".into(),
        clean: "A gene".into(),
        corrupt: "A cell".into(),
        ..good()
    });
    assert!(
        joined[0]
            .starts_with("joining the answer to the clean prompt changes the prompt's own tokens"),
        "{joined:?}"
    );
}

/// Each prompt's subject as tokens, and the notices.
fn subjects(pair: Pair) -> (Vec<String>, Vec<String>) {
    let suite = Suite { pairs: vec![pair] };
    let checked = check(&suite, &tokenizer(), &shape(512), &Reading::default()).unwrap();
    let found = &checked[0];
    assert!(found.is_fit(), "{:?}", found.problems);
    let both = [
        (&found.pair.clean_tokens, &found.pair.subject),
        (&found.pair.corrupt_tokens, &found.pair.corrupt_subject),
    ];
    let text = |(tokens, span): (&Vec<String>, &Option<std::ops::Range<usize>>)| {
        let span = span.clone()?;
        Some(format!("{}:{}", span.start, tokens[span.clone()].concat()))
    };
    let notices = found.notices.iter().map(ToString::to_string).collect();
    (both.into_iter().filter_map(text).collect(), notices)
}

#[test]
fn a_subject_is_a_word_before_it_is_a_part_of_one_and_what_is_in_doubt_is_said() {
    let named = |clean: &str, corrupt: &str| Pair {
        subject: Some(Span::Text("rat".into())),
        corrupt_subject: Some(Span::Text("dog".into())),
        ..text("p", clean, corrupt, " liquid", " gas")
    };
    let inside = named(
        "In the rat the drug was separated by",
        "In the dog the drug was separated by",
    );
    let found = ["2: rat", "2: dog"].map(str::to_owned).to_vec();
    assert_eq!(subjects(inside), (found.clone(), vec![]));

    let twice = named(
        "In the rat and the rat we saw",
        "In the dog and the rat we saw",
    );
    let (tokens, notices) = subjects(twice.clone());
    assert_eq!(tokens, ["5: rat", "2: dog"]);
    assert_eq!(
        notices,
        [
            "the subject \"rat\" is ambiguous: the clean prompt has it 2 times, and the last is taken (choose one: {\"text\": TEXT, \"at\": BYTE})"
        ]
    );
    let by_template = Pair {
        template: Some("In the {} and the rat we saw".into()),
        ..twice.clone()
    };
    assert_eq!(subjects(by_template), (found.clone(), vec![]));
    let by_byte = Pair {
        subject: Some(Span::At(SubjectAt {
            text: "rat".into(),
            at: 7,
        })),
        ..twice.clone()
    };
    assert_eq!(subjects(by_byte), (found, vec![]));
    let beside = Pair {
        subject: Some(Span::At(SubjectAt {
            text: "rat".into(),
            at: 8,
        })),
        ..twice
    };
    assert_eq!(
        problems(beside),
        ["the subject \"rat\" at byte 8 is not found in the clean prompt"]
    );
    let part = Pair {
        corrupt_subject: None,
        ..named("It was separated in the", "It was separated in a")
    };
    assert_eq!(
        subjects(part).1,
        ["the subject \"rat\" is found inside another word only in the clean prompt"]
    );
}

/// A blank that answer or foil alone lacks, a second one and one in the prompt are mistakes, and the right text is told; a
/// blank that both lack may be meant.
#[test]
fn blanks_between_prompt_and_answer() {
    let pair = |end: &str, answer: &str, foil: &str| {
        let prompt = |of: &str| format!("The patient with {of} was treated with{end}");
        text("p", &prompt("fever"), &prompt("cough"), answer, foil)
    };
    let told = |what: &str, how: &str, next: &str| {
        ["clean", "corrupted"].map(|which| {
            let of = if which == "clean" { "fever" } else { "cough" };
            format!(
                "{how} between the {which} prompt and the {what}: write \"The patient with {of} was treated with\" and \"{next}\""
            )
        })
    };
    let none = told("answer", "no blank", " antibiotics");
    assert_eq!(problems(pair("", "antibiotics", " steroids")), none);
    let two = told("foil", "more than one blank", " steroids");
    assert_eq!(problems(pair("", " antibiotics", "  steroids")), two);
    let ends = "a blank at the prompt's end, not before what follows";
    let ends = [
        told("answer", ends, " antibiotics"),
        told("foil", ends, " steroids"),
    ];
    assert_eq!(
        problems(pair(" ", "antibiotics", "steroids")),
        ends.concat()
    );

    let (problems, notices) = subjects(pair("", "antibiotics", "steroids"));
    assert!(
        !problems.iter().any(|p| p.contains("blank between")),
        "{problems:?}"
    );
    let meant = |what: &str, which: &str, next: &str| {
        format!(
            "the {what} has no blank before it and makes one word with the {which} prompt's end; if it is a word of its own, write \"{next}\""
        )
    };
    let expected = [("answer", " antibiotics"), ("foil", " steroids")];
    let expected =
        expected.map(|(what, next)| ["clean", "corrupted"].map(|which| meant(what, which, next)));
    assert_eq!(notices, expected.concat());
}

/// Answer and foil both begin with the blank or neither; blanks are all white space but line ends.
#[test]
fn answer_and_foil_begin_alike() {
    let start = |of: &str| format!("The patient with {of} was treated with");
    let unlike = "a blank that only one of answer and foil has";
    let tab = "a tab or another blank that is no space";
    for (end, answer, foil, how, next) in [
        (":", "steroids", " antibiotics", "no blank", " steroids"),
        (".", "steroids", " antibiotics", "no blank", " steroids"),
        (" (", " steroids", "antibiotics", unlike, "steroids"),
        (":\n", " steroids", "antibiotics", unlike, "steroids"),
        ("", "\tsteroids", " antibiotics", tab, " steroids"),
        ("", "\u{a0}steroids", " antibiotics", tab, " steroids"),
    ] {
        let [clean, corrupt] = ["fever", "cough"].map(|of| format!("{}{end}", start(of)));
        let expected = [("clean", &clean), ("corrupted", &corrupt)].map(|(which, prompt)| {
            format!(
                "{how} between the {which} prompt and the answer: write \"{prompt}\" and \"{next}\""
            )
        });
        let mut found = problems(text("p", &clean, &corrupt, answer, foil));
        found.retain(|problem| problem.contains("write"));
        assert_eq!(found, expected, "{answer:?} beside {foil:?}");
    }
    let [clean, corrupt] = ["fever", "cough"].map(start);
    let trailing = problems(text("p", &clean, &corrupt, " steroids ", " antibiotics"));
    let told = "a blank at the end of the answer: write \"The patient with fever was treated with\" and \" steroids\"";
    assert!(
        trailing.iter().any(|problem| problem == told),
        "{trailing:?}"
    );
    let space = "\u{a0}";
    let [ends, other] = [&clean, &corrupt].map(|prompt| format!("{prompt}{space}"));
    let found = problems(text("p", &ends, &other, "steroids", "antibiotics"));
    let told = "a blank at the prompt's end, not before what follows between the clean prompt and the answer: write \"The patient with fever was treated with\" and \" steroids\"";
    assert!(found.iter().any(|problem| problem == told), "{found:?}");
}

/// One prompt with two answers.
#[test]
fn pairs_that_contradict_each_other_are_told() {
    let pair = |id: &str, answer: &str| {
        text(
            id,
            "The brain is in the",
            "The heart is in the",
            answer,
            " chest",
        )
    };
    let suite = Suite {
        pairs: vec![pair("a", " head"), pair("b", " skull"), pair("c", " head")],
    };
    let checked = check(&suite, &tokenizer(), &shape(512), &Reading::default()).unwrap();
    let notices: Vec<Vec<String>> = (checked.iter())
        .map(|c| c.notices.iter().map(|n| n.to_string()).collect())
        .collect();
    let told = "its clean prompt has another answer in pair a: \" head\"".to_owned();
    assert_eq!(notices, [vec![], vec![told], vec![]]);
}

#[test]
fn a_suite_is_refused_with_every_name_or_parted() {
    let pairs = vec![
        text(
            "a",
            "The brain is in the",
            "The heart is in the",
            " head",
            " chest",
        ),
        text(
            "b",
            "The brain is in the",
            "The brain is in the",
            " head",
            " chest",
        ),
        text(
            "c",
            "The brain is in the",
            "The heart is in the",
            " head",
            " head",
        ),
        text(
            "c",
            "The brain is in the",
            "The heart is in the",
            " head",
            " chest",
        ),
    ];
    let suite = Suite { pairs };
    let all = check(&suite, &tokenizer(), &shape(512), &Reading::default()).unwrap();
    let error = refuse_unfit(all.clone()).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "3 of 4 pairs cannot be patched: b (clean and corrupted prompt are the same), c ("
        ),
        "{error}"
    );
    assert!(error.contains("the id is given to 2 pairs") && !error.contains('\n'));
    let (fit, unfit) = skip_unfit(all);
    assert_eq!(fit.len(), 1);
    assert_eq!(
        unfit.iter().map(|u| u.pair.as_str()).collect::<Vec<_>>(),
        ["b", "c", "c"]
    );
    let tight = check(&suite, &tokenizer(), &shape(4), &Reading::default()).unwrap();
    assert!(
        tight[0].problems[0]
            .to_string()
            .ends_with("do not fit the model's context of 4")
    );
    assert!(matches!(
        refuse_unfit(Vec::new()),
        Err(PatchError::Empty { .. })
    ));
}

#[test]
fn subjects_are_the_tokens_that_their_last_occurrence_touches() {
    let pair = Pair {
        subject: Some(Span::Text("Dravet syndrome".into())),
        ..text(
            "p",
            "Dravet syndrome or Dravet syndrome is due to",
            "x",
            " SCN1A",
            " x",
        )
    };
    let suite = Suite { pairs: vec![pair] };
    for bos in [Bos::Auto, Bos::Always, Bos::Never] {
        let tokenizer = tokenizer().with_bos(bos).unwrap();
        let reading = Reading::default();
        let found = &check(&suite, &tokenizer, &shape(512), &reading).unwrap()[0].pair;
        let span = found.subject.clone().unwrap();
        assert_eq!(
            found.clean_tokens[span.clone()].concat(),
            " Dravet syndrome"
        );
        assert_eq!(found.clean_tokens[span.end..].concat(), " is due to");
        // The tokenizer adds no token by itself.
        let bare = tokenizer.encode_bare(&suite.pairs[0].clean).unwrap();
        let added: &[u32] = if bos == Bos::Always { &[0] } else { &[] };
        assert_eq!(found.clean, [added, &bare].concat());
    }
}
