//! How edits locate subjects and answers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engram_core::{Pair, Span, SubjectAt, Suite};
use engram_corpus::read_counterfact;
use engram_edit::request::{of_counterfact, of_suite};
use engram_edit::tokens::{continued, subject_last};
use engram_edit::{EditError, EditRequest};
use engram_model::Tokenizer;
use serde::Deserialize;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn tokenizer() -> Tokenizer {
    Tokenizer::read(&root().join("assets/models/pubmed-mini")).unwrap()
}

/// The text of the token that a request's subject ends in.
fn last(request: &EditRequest, prefix: &str) -> String {
    let tokenizer = tokenizer();
    let place = subject_last(&tokenizer, request, prefix).unwrap();
    let ids = tokenizer
        .encode(&format!("{prefix}{}", request.prompt))
        .unwrap();
    format!("{place}:{}", tokenizer.token(ids[place]))
}

#[test]
fn a_subject_is_a_word_before_it_is_a_part_of_one() {
    let request = EditRequest {
        prompt: "In the rat the drug was separated by".into(),
        subject: "rat".into(),
        target_new: "gas".into(),
        ..EditRequest::default()
    };
    request.check().unwrap();
    assert_eq!(last(&request, ""), "2: rat");
    // The prefix has the word too; the place is the prompt's.
    assert_eq!(last(&request, "A rat. "), "5: rat");
    let first = EditRequest {
        prompt: "The rat and the rat".into(),
        ..request.clone()
    };
    assert_eq!(last(&first, ""), "4: rat");
    let first = EditRequest {
        subject_at: Some(4),
        ..first
    };
    assert_eq!(last(&first, ""), "1: rat");
    let elsewhere = EditRequest {
        subject_at: Some(5),
        ..first
    };
    assert!(matches!(elsewhere.check(), Err(EditError::Subject { .. })));
}

#[test]
fn a_place_that_is_known_stays_with_the_request() {
    let text = Some(Span::Text("rat".into()));
    let at = |at| {
        Some(Span::At(SubjectAt {
            text: "rat".into(),
            at,
        }))
    };
    let pair = |id: &str, answer: &str, subject, template: Option<&str>| Pair {
        id: id.into(),
        kind: "associative".into(),
        clean: "The rat is a rat in a".into(),
        answer: answer.into(),
        subject,
        template: template.map(str::to_owned),
        ..Pair::default()
    };
    let suite = Suite {
        pairs: vec![
            pair("in doubt", " cage", text.clone(), None),
            pair(
                "by its template",
                " box",
                text,
                Some("The {} is a rat in a"),
            ),
            pair("by its byte", " cage", at(4), None),
            pair("elsewhere", " box", at(5), None),
        ],
    };
    let cases = of_suite(&suite, &|_| true);
    let places: Vec<Option<usize>> = cases.iter().map(|c| c.request.subject_at).collect();
    assert_eq!(places, [None, Some(4), Some(4), Some(5)]);
    let found: Vec<bool> = cases.iter().map(|c| c.request.check().is_ok()).collect();
    assert_eq!(found, [true, true, true, false]);

    let file = tempfile::NamedTempFile::new().unwrap();
    let record = serde_json::json!([{
        "case_id": 7,
        "requested_rewrite": {
            "prompt": "The {} is a rat in a", "subject": "rat",
            "target_true": {"str": "cage"}, "target_new": {"str": "box"},
        },
    }]);
    std::fs::write(file.path(), record.to_string()).unwrap();
    let facts = read_counterfact(file.path()).unwrap().facts;
    assert_eq!(facts[0].template(), "The {} is a rat in a");
    assert_eq!(last(&of_counterfact(&facts)[0].request, ""), "1: rat");
}

#[derive(Deserialize)]
struct Row {
    prompt: String,
    answer: String,
    prompt_ids: Vec<u32>,
    joined_ids: Vec<u32>,
    answer_ids: Option<Vec<u32>>,
}

/// The ids of the transformers library (fixtures/sentencepiece_like.py).
#[test]
fn an_answer_is_what_follows_the_prompt_in_the_joined_text() {
    let folder = root().join("fixtures/sentencepiece_like");
    let text = std::fs::read(folder.join("expected.json")).unwrap();
    let all: BTreeMap<String, Vec<Row>> = serde_json::from_slice(&text).unwrap();
    for (name, rows) in all {
        let tokenizer = Tokenizer::read(&folder.join(&name)).unwrap();
        // An edit puts the blank before the answer itself.
        for row in rows.iter().filter(|row| row.answer.starts_with(' ')) {
            let found = continued(&tokenizer, &row.prompt, &row.answer).unwrap();
            assert_eq!(
                found.ids, row.joined_ids,
                "{name}: {}{}",
                row.prompt, row.answer
            );
            assert_eq!(found.from, row.prompt_ids.len());
            assert_eq!(Some(found.answer()), row.answer_ids.as_deref());
        }
    }
    let nothing = continued(&tokenizer(), "", "brain");
    assert!(matches!(nothing, Err(EditError::Continuation { .. })));
}
