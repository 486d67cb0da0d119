//! Token ids of continuations, compared with the transformers library (fixtures/sentencepiece_like.py).

use std::collections::BTreeMap;
use std::path::Path;

use engram_model::{Tokenizer, covering};
use serde::Deserialize;

#[derive(Deserialize)]
struct Row {
    prompt: String,
    answer: String,
    prompt_ids: Vec<u32>,
    answer_ids: Option<Vec<u32>>,
}

#[test]
fn a_continuation_is_what_follows_the_prompts_own_ids() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/sentencepiece_like");
    let text = std::fs::read(folder.join("expected.json")).unwrap();
    let all: BTreeMap<String, Vec<Row>> = serde_json::from_slice(&text).unwrap();
    for (name, rows) in all {
        let tokenizer = Tokenizer::read(&folder.join(&name)).unwrap();
        for row in rows {
            let (prompt, ids) = (&row.prompt, &row.prompt_ids);
            let found = tokenizer.continuation(prompt, ids, &row.answer).unwrap();
            assert_eq!(found, row.answer_ids, "{name}: {prompt}{}", row.answer);
            let by_offsets = tokenizer.continuation_of_ids(ids, &row.answer).unwrap();
            assert_eq!(by_offsets, row.answer_ids, "{name}: {prompt}{}", row.answer);
        }
    }
}

#[test]
fn a_token_belongs_to_the_bytes_that_it_touches() {
    // A special token that stands for no byte, then "In", " the", " rat".
    let offsets = [0..0, 0..2, 2..6, 6..10];
    assert_eq!(covering(&offsets, &(7..10)), Some(3..4));
    assert_eq!(covering(&offsets, &(0..2)), Some(1..2));
    assert_eq!(covering(&offsets, &(5..7)), Some(2..4));
    assert_eq!(covering(&offsets, &(10..12)), None);
}
