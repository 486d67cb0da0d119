//! Questions with a correct and a corrupted answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engram_core::files;
use engram_corpus::{Question, read_questions};
use engram_model::Tokenizer;
use engram_patch::published_pairs;
use serde::Deserialize;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn bundled() -> (Vec<Question>, Tokenizer) {
    let questions = read_questions(&root().join("assets/facts/epilepsy-questions.toml")).unwrap();
    let tokenizer = Tokenizer::read(&root().join("assets/models/pubmed-mini")).unwrap();
    (questions, tokenizer)
}

#[test]
fn the_bundled_questions_are_pairs_under_the_bundled_tokenizer() {
    let (questions, tokenizer) = bundled();
    let suite = published_pairs(&questions, &tokenizer).unwrap();
    assert_eq!(suite.pairs.len(), questions.len());
    let (asked, pair) = (&questions[0], &suite.pairs[0]);
    assert_eq!(pair.clean, format!("{} {}", asked.question, asked.answer));
    assert_eq!(
        pair.corrupt,
        format!("{} {}", asked.question, asked.corrupted)
    );
    assert_eq!(
        (&pair.answer, &pair.foil),
        (&asked.answer, &asked.corrupted)
    );
    // Enough of each kind, over enough relations to compare kinds by.
    let mut kinds: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for asked in &questions {
        *kinds
            .entry(&asked.kind)
            .or_default()
            .entry(&asked.relation)
            .or_default() += 1;
    }
    assert_eq!(
        kinds.keys().copied().collect::<Vec<&str>>(),
        ["associative", "definitional"]
    );
    for (kind, relations) in kinds {
        assert!(relations.values().sum::<usize>() >= 64, "{kind}");
        assert!(
            relations.len() >= 8 && relations.values().all(|n| *n >= 6),
            "{kind}: {relations:?}"
        );
    }
}

#[derive(Deserialize)]
struct Counts {
    sha256: String,
    inputs: [usize; 2],
    answers: [usize; 2],
}

/// `fixtures/question_tokens.py` counts with GPT-2's own vocabulary.
#[test]
fn the_bundled_questions_have_answers_of_equal_length_under_gpt2s_tokenizer() {
    let (questions, _) = bundled();
    let path = root().join("fixtures/question_tokens.json");
    let counts: BTreeMap<String, Counts> = files::read_json(&path).unwrap();
    assert_eq!(counts.len(), questions.len());
    for asked in &questions {
        let counts = &counts[&asked.id];
        let texts = [&asked.question, &asked.answer, &asked.corrupted].map(String::as_str);
        assert_eq!(
            files::sha256(texts.join("\n").as_bytes()),
            counts.sha256,
            "{}",
            asked.id
        );
        assert_eq!(counts.inputs[0], counts.inputs[1], "{}", asked.id);
        assert_eq!(counts.answers[0], counts.answers[1], "{}", asked.id);
    }
    // Length is a confound of a comparison of kinds: means differ by less than a token.
    for part in [|c: &Counts| c.inputs[0], |c: &Counts| c.answers[0]] {
        let [definitional, associative] = ["definitional", "associative"].map(|kind| {
            let of_kind: Vec<usize> = questions
                .iter()
                .filter(|asked| asked.kind == kind)
                .map(|asked| part(&counts[&asked.id]))
                .collect();
            of_kind.iter().sum::<usize>() as f64 / of_kind.len() as f64
        });
        let difference = definitional - associative;
        assert!(difference.abs() < 1.0, "{definitional}, {associative}");
    }
}

#[test]
fn answers_of_unequal_length_are_refused_by_name_all_at_once() {
    let (mut questions, tokenizer) = bundled();
    questions[3].corrupted += " And more.";
    questions[7].answer = "No.".to_owned();
    let error = published_pairs(&questions, &tokenizer)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("2 of "), "{error}");
    for asked in [&questions[3], &questions[7]] {
        assert!(error.contains(&asked.id), "{error}");
    }
}
