//! Answers in tokenizers that put a blank before a text, against the ids of the transformers library
//! (fixtures/sentencepiece_like.py).

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engram_core::{Blanks, Pair, Suite};
use engram_corpus::{CounterFact, FactTable};
use engram_model::{Shape, Tokenizer};
use engram_patch::{
    BuildSettings, PatchError, Profile, Reading, build, build_counterfact, build_published, check,
    prepare, refuse_unfit,
};
use serde::Deserialize;

const NAMES: [&str; 2] = ["prepend", "metaspace"];

/// A prompt and an answer, with transformers' ids.
#[derive(Deserialize)]
struct Row {
    prompt: String,
    answer: String,
    prompt_ids: Vec<u32>,
    answer_ids: Option<Vec<u32>>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::read(&root().join("fixtures/sentencepiece_like").join(name)).unwrap()
}

fn expected(name: &str) -> Vec<Row> {
    let path = root().join("fixtures/sentencepiece_like/expected.json");
    let mut all: BTreeMap<String, Vec<Row>> =
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    all.remove(name).unwrap()
}

fn table() -> FactTable {
    FactTable::read(&root().join("assets/facts/epilepsy.toml")).unwrap()
}

fn shape() -> Shape {
    Shape {
        vocab: 1000,
        context: 128,
        ..common::shape()
    }
}

fn pair(clean: &str, corrupt: &str, answer: &str, foil: &str) -> Pair {
    Pair {
        id: "p".into(),
        kind: "associative".into(),
        clean: clean.into(),
        corrupt: corrupt.into(),
        answer: answer.into(),
        foil: foil.into(),
        ..Pair::default()
    }
}

#[test]
fn an_answer_is_what_follows_the_prompt_in_the_joined_text() {
    for name in NAMES {
        let tokenizer = tokenizer(name);
        for row in expected(name) {
            let asked = pair(&row.prompt, &row.prompt, &row.answer, &row.answer);
            let found = prepare(&asked, &tokenizer, &Reading::default()).unwrap();
            assert_eq!(found.pair.clean, row.prompt_ids, "{name}: {}", row.prompt);
            let problems: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
            // Refused whatever the tokens are.
            if let Some(wrong) = Blanks::between(&row.prompt, &row.answer)
                && wrong != Blanks::None
            {
                assert_eq!(problems.len(), 4, "{problems:?}");
                assert!(
                    problems.iter().all(|p| p.starts_with(wrong.words())),
                    "{problems:?}"
                );
                continue;
            }
            match row.answer_ids {
                Some(ids) => {
                    assert_eq!(
                        found.pair.answer, ids,
                        "{name}: {}{}",
                        row.prompt, row.answer
                    );
                    assert_eq!(problems, [""; 0]);
                }
                None => {
                    assert_eq!(problems.len(), 4, "{problems:?}");
                    let start = "joining the answer to the clean prompt changes the prompt's own";
                    assert!(problems[0].starts_with(start), "{problems:?}");
                }
            }
        }
    }
}

#[test]
fn facts_of_a_table_are_paired() {
    for name in NAMES {
        let tokenizer = tokenizer(name);
        let table = table();
        let built = build(&table, &tokenizer, &BuildSettings::default()).unwrap();
        let pairs = check(&built.suite, &tokenizer, &shape(), &Reading::default()).unwrap();
        let pairs = refuse_unfit(pairs).unwrap();
        assert!(pairs.len() >= 100, "{name}: {} pairs", pairs.len());
        let rows = expected(name);
        let mut known = 0;
        for (given, pair) in built.suite.pairs.iter().zip(&pairs) {
            let both = [(&given.answer, &pair.answer), (&given.foil, &pair.foil)];
            for (text, ids) in both {
                let row = rows
                    .iter()
                    .find(|r| r.prompt == given.clean && r.answer == *text);
                if let Some(row) = row {
                    assert_eq!(Some(ids), row.answer_ids.as_ref(), "{name}: {}", given.id);
                    known += 1;
                }
            }
        }
        assert!(known >= 4, "{name}: {known} answers were looked at");
        // What is said of a fact without a pair is counted over all others of its relation.
        for unpaired in &built.unpaired {
            let Some((of, reasons)) = unpaired
                .reason
                .split_once("; of ")
                .and_then(|(_, rest)| rest.split_once(": "))
            else {
                continue;
            };
            let counts = reasons
                .split(", ")
                .filter_map(|r| r.split(' ').next()?.parse::<usize>().ok());
            let relation = table
                .relation(unpaired.fact.split('/').next().unwrap())
                .unwrap();
            assert_eq!(of.parse::<usize>().unwrap(), relation.facts.len() - 1);
            assert_eq!(
                counts.sum::<usize>(),
                relation.facts.len() - 1,
                "{}",
                unpaired.reason
            );
        }
    }
}

#[test]
fn the_published_scripts_phrases_are_tokenised_alone() {
    for name in NAMES {
        let tokenizer = tokenizer(name);
        let settings = BuildSettings::default();
        let built = build_published(&table(), &tokenizer, &settings).unwrap();
        let reading = Reading {
            profile: Profile::Published,
            ..Reading::default()
        };
        let pairs = check(&built.suite, &tokenizer, &shape(), &reading).unwrap();
        for (given, pair) in built.suite.pairs.iter().zip(refuse_unfit(pairs).unwrap()) {
            let alone = tokenizer.encode_bare(&given.answer).unwrap();
            assert_eq!(pair.answer, alone);
            assert!(!pair.answer.contains(&1), "no begin-of-text in a phrase");
        }
    }
}

fn fact(case: u64, subject: &str, answer: &str) -> CounterFact {
    CounterFact {
        case,
        prompt: format!("In pharmacology, {subject} belongs to the"),
        subject: subject.into(),
        subject_at: None,
        answer: answer.into(),
        new_answer: "drugs".into(),
        rephrased: Vec::new(),
        neighbours: Vec::new(),
    }
}

#[test]
fn facts_of_counterfact_are_paired_or_said_not_to_fit() {
    for name in NAMES {
        let tokenizer = tokenizer(name);
        let facts = [
            fact(1, "gentamicin", "aminoglycosides"),
            fact(2, "lorazepam", "opioids"),
        ];
        let length = |f: &CounterFact| tokenizer.encode(&f.prompt).unwrap().len();
        assert_eq!(
            length(&facts[0]),
            length(&facts[1]),
            "{name}: choose other subjects"
        );
        let suite = build_counterfact(&facts, &tokenizer, 1, None).unwrap();
        let pairs = check(&suite, &tokenizer, &shape(), &Reading::default()).unwrap();
        assert_eq!(refuse_unfit(pairs).unwrap().len(), 2);
        let same = [
            fact(1, "gentamicin", "opioids"),
            fact(2, "lorazepam", "opioids"),
        ];
        let error = build_counterfact(&same, &tokenizer, 1, None).unwrap_err();
        assert!(matches!(error, PatchError::NoPair { facts: 2, .. }));
        assert_eq!(
            error.to_string(),
            "no pair can be built from 2 facts: of 1 possible pairs 1 with the same answer, or one that is true of both"
        );
    }
}

/// A prompt that is given by ids has its text from them.
#[test]
fn an_answer_follows_a_prompt_of_ids() {
    for name in NAMES {
        let tokenizer = tokenizer(name);
        for row in expected(name)
            .into_iter()
            .filter(|row| row.answer_ids.is_some())
        {
            let asked = Pair {
                clean_ids: Some(row.prompt_ids.clone()),
                corrupt_ids: Some(row.prompt_ids),
                ..pair("", "", &row.answer, &row.answer)
            };
            let found = prepare(&asked, &tokenizer, &Reading::default()).unwrap();
            assert_eq!(
                Some(found.pair.answer),
                row.answer_ids,
                "{name}: {}{}",
                row.prompt,
                row.answer
            );
        }
    }
}

/// "'s" is one token after a word and two after a bracket, though the prompt's own tokens stay the same.
#[test]
fn an_answer_that_differs_between_the_prompts_is_refused() {
    let model = root().join("assets/models/pubmed-mini");
    let tokenizer = Tokenizer::read(&model).unwrap();
    let asked = pair("The patient", "The (", "'s", " is");
    let suite = Suite { pairs: vec![asked] };
    let reading = Reading {
        unequal: true,
        ..Reading::default()
    };
    let shape = Shape {
        vocab: 8192,
        ..shape()
    };
    let error = refuse_unfit(check(&suite, &tokenizer, &shape, &reading).unwrap());
    assert_eq!(
        error.unwrap_err().to_string(),
        "1 of 1 pairs cannot be patched: p (the answer has other tokens after the corrupted prompt than after the clean one)"
    );
}
