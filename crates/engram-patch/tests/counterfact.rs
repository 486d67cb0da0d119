//! Suites from CounterFact, in both forms of its files.

mod common;

use std::path::Path;

use engram_core::Span;
use engram_corpus::read_counterfact;
use engram_model::Tokenizer;
use engram_patch::{Reading, build_counterfact, check};

fn tokenizer() -> Tokenizer {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets");
    Tokenizer::read(&assets.join("models/pubmed-mini")).unwrap()
}

fn flat(case: u64, subject: &str, prompt: &str, answer: &str) -> serde_json::Value {
    serde_json::json!({
        "case_id": case, "subject": subject, "prompt": prompt.replace("{}", subject), "ground_truth": answer,
        "target_new": "nothing", "rephrase_prompt": format!("As for {subject}, it is the"),
        "locality_prompt": "A neighbour is the", "locality_ground_truth": "same",
    })
}

fn write(records: &[serde_json::Value]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), serde_json::to_vec(records).unwrap()).unwrap();
    file
}

#[test]
fn pairs_are_reciprocal_equally_long_and_told_apart_by_their_first_token() {
    let organ = "The {} is part of the";
    let file = write(&[
        flat(1, "heart", organ, "blood"),
        flat(2, "brain", organ, "nerves"),
        // Says the same as the first: no foil for it.
        flat(3, "lung", organ, "blood"),
        flat(4, "spinal cord", organ, "back"),
        flat(5, "gene", "A {} is made of", "DNA"),
    ]);
    let facts = read_counterfact(file.path()).unwrap().facts;
    assert_eq!(facts[0].template(), organ);
    let tokenizer = tokenizer();
    let suite = build_counterfact(&facts, &tokenizer, 1, None).unwrap();
    assert_eq!(suite.pairs.len(), 2);
    let [a, b] = [&suite.pairs[0], &suite.pairs[1]];
    assert_eq!((&a.clean, &a.answer), (&b.corrupt, &b.foil));
    assert_eq!((&b.clean, &b.answer), (&a.corrupt, &a.foil));
    assert_eq!(a.cluster, b.cluster);
    assert_ne!(a.answer, a.foil);
    for pair in &suite.pairs {
        let tokens = |text: &str| tokenizer.encode(text).unwrap();
        assert_eq!(tokens(&pair.clean).len(), tokens(&pair.corrupt).len());
        assert!(pair.answer.starts_with(' '));
        let Some(Span::Text(subject)) = &pair.subject else {
            panic!("{pair:?}");
        };
        assert!(pair.clean.contains(subject));
        assert_eq!(pair.relation.as_deref(), Some(organ));
        assert!(pair.paraphrases[0].clean.contains(subject));
        assert!(!pair.paraphrases[0].corrupt.contains(subject));
        assert_eq!(pair.neighbours[0].answer, " same");
    }
    let one = build_counterfact(&facts, &tokenizer, 1, Some(1)).unwrap_err();
    assert_eq!(
        one.to_string(),
        "no pair can be built from 5 facts: at most 1 pair is asked for, and each comes with its reciprocal"
    );
    let alone = build_counterfact(&facts[..4], &tokenizer, 1, None).unwrap();
    assert_eq!(alone.pairs.len(), 2);
    let none = build_counterfact(&facts[3..], &tokenizer, 1, None).unwrap_err();
    assert_eq!(
        none.to_string(),
        "no pair can be built from 2 facts: no two of them are of one relation"
    );
    let again = build_counterfact(&facts, &tokenizer, 1, None).unwrap();
    assert_eq!(again, suite);
}

/// "{}" stands at the first "rat"; the last one is a word too, and "separated" has a third.
#[test]
fn the_place_of_the_braces_is_kept() {
    let published = |case: u64, subject: &str, answer: &str| {
        serde_json::json!({
            "case_id": case,
            "requested_rewrite": {
                "prompt": "The {} beside a rat was separated by", "subject": subject,
                "target_true": {"str": answer}, "target_new": {"str": "nothing"},
            },
            "paraphrase_prompts": [format!("It was separated from the {subject} by")],
            "neighborhood_prompts": [],
        })
    };
    let file = write(&[published(1, "rat", "gas"), published(2, "dog", "water")]);
    let facts = read_counterfact(file.path()).unwrap().facts;
    let template = "The {} beside a rat was separated by";
    assert!(facts.iter().all(|f| f.template() == template));
    let tokenizer = tokenizer();
    let suite = build_counterfact(&facts, &tokenizer, 1, None).unwrap();
    let checked = check(&suite, &tokenizer, &common::shape(), &Reading::default()).unwrap();
    assert_eq!(checked.len(), 2);
    for (found, pair) in checked.iter().zip(&suite.pairs) {
        assert!(found.is_fit() && found.notices.is_empty(), "{found:?}");
        let subjects = (
            found.pair.subject.clone(),
            found.pair.corrupt_subject.clone(),
        );
        assert_eq!(subjects, (Some(1..2), Some(1..2)));
        let (own, other) = match pair.id.ends_with('1') {
            true => ("rat", "dog"),
            false => ("dog", "rat"),
        };
        let paraphrase = &pair.paraphrases[0];
        assert_eq!(
            paraphrase.clean,
            format!("It was separated from the {own} by")
        );
        assert_eq!(
            paraphrase.corrupt,
            format!("It was separated from the {other} by")
        );
    }
}

#[test]
fn the_published_form_is_read_and_what_cannot_be_asked_is_refused() {
    let published = serde_json::json!({
        "case_id": 7,
        "requested_rewrite": {
            "prompt": "{} works in", "subject": "Ada", "relation_id": "P1",
            "target_true": {"str": "London", "id": "Q1"}, "target_new": {"str": "Rome", "id": "Q2"},
        },
        "paraphrase_prompts": ["Ada, in", "One finds Ada in"],
        "neighborhood_prompts": ["Bob works in"],
    });
    let file = write(&[published, flat(8, "Eve", "{} works in", "Rome")]);
    let facts = read_counterfact(file.path()).unwrap().facts;
    assert_eq!(facts[0].prompt, "Ada works in");
    assert_eq!(
        (facts[0].answer.as_str(), facts[0].new_answer.as_str()),
        ("London", "Rome")
    );
    assert_eq!(facts[0].rephrased.len(), 2);
    assert_eq!(
        facts[0].neighbours,
        [("Bob works in".to_owned(), "London".to_owned())]
    );
    assert_eq!(facts[0].template(), facts[1].template());

    let mut elsewhere = flat(9, "Eve", "{} works in", "Rome");
    elsewhere["subject"] = "Adam".into();
    let error = read_counterfact(write(&[elsewhere]).path())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("case 9") && error.contains("subject"),
        "{error}"
    );
    let error = read_counterfact(write(&[flat(10, "Eve", "{} works in", " ")]).path());
    assert!(error.unwrap_err().to_string().contains("no answer"));
    let text = write(&[serde_json::json!({"case_id": 1})]);
    assert!(read_counterfact(text.path()).is_err());
}

/// The first of what is repeated stays; where a prompt has two true answers, no record of it is asked.
#[test]
fn repeated_and_contradictory_records_are_left_out_by_name() {
    let organ = "The {} is part of the";
    let facts = [
        flat(1, "heart", organ, "blood"),
        flat(2, "twin", "{} is a twin city of", "Rome"),
        flat(3, "heart", organ, "blood"),
        flat(4, "twin", "{} is a twin city of", "Paris"),
        flat(5, "brain", organ, "nerves"),
    ];
    let found = read_counterfact(write(&facts).path()).unwrap();
    let cases: Vec<u64> = found.facts.iter().map(|f| f.case).collect();
    assert_eq!(cases, [1, 5]);
    let left_out: Vec<u64> = found.left_out.iter().map(|(case, _)| *case).collect();
    assert_eq!(left_out, [2, 3, 4]);
    let why = |i: usize| found.left_out[i].1.as_str();
    assert!(
        why(0).contains("two true answers, \"Rome\" and, in record 4, \"Paris\""),
        "{}",
        why(0)
    );
    assert!(why(1).contains("repeats record 1"), "{}", why(1));
}
