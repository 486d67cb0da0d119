//! Special tokens at the beginning of texts and chats, added tokens, and damaged tokenizers, compared with the
//! transformers library (fixtures/begin_of_text.py).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engram_core::{Bos, Message};
use engram_model::{ModelError, Tokenizer};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    texts: Vec<Text>,
    chats: Vec<Chat>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
    bare: Vec<u32>,
}

#[derive(Deserialize)]
struct Chat {
    messages: Vec<Message>,
    text: Option<String>,
    ids: Option<Vec<u32>>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::read(&fixtures().join("begin_of_text").join(name)).unwrap()
}

fn expected() -> BTreeMap<String, Expected> {
    let text = std::fs::read(fixtures().join("begin_of_text.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn ids(tokens: Vec<(u32, std::ops::Range<usize>)>) -> Vec<u32> {
    tokens.into_iter().map(|(id, _)| id).collect()
}

#[test]
fn texts_begin_as_in_the_transformers_library_but_never_twice() {
    // The begin-of-text token of each, and the token that ends texts.
    let adds = BTreeMap::from([
        ("llama2", 1),
        ("llama3", 0),
        ("gemma", 2),
        ("mistral", 1),
        ("gpt2_bos", 0),
    ]);
    for (name, expected) in expected() {
        let tokenizer = tokenizer(&name);
        let lead: Vec<u32> = adds.get(name.as_str()).copied().into_iter().collect();
        let tail: &[u32] = if name == "mistral" { &[2] } else { &[] };
        assert_eq!(tokenizer.lead(), lead, "{name}");
        assert_eq!(tokenizer.notice().is_some(), !tail.is_empty(), "{name}");
        for Text {
            text,
            ids: theirs,
            bare,
        } in expected.texts
        {
            let whole = theirs.strip_suffix(tail).unwrap();
            let twice = !lead.is_empty() && bare.starts_with(&lead);
            let ours = if twice { &whole[1..] } else { whole };
            assert_eq!(tokenizer.encode(&text).unwrap(), ours, "{name}: {text:?}");
            assert_eq!(
                tokenizer.encode_bare(&text).unwrap(),
                bare,
                "{name}: {text:?}"
            );
            let trained = ids(tokenizer.encode_training(&text).unwrap());
            assert_eq!(trained, [ours, tail].concat(), "{name}: {text:?}");
            let placed = tokenizer.encode_with_offsets(&text).unwrap();
            if !lead.is_empty() && !twice {
                assert_eq!(placed[0], (lead[0], 0..0), "{name}: {text:?}");
            }
            assert_eq!(ids(placed), ours);
        }
    }
}

#[test]
fn the_choice_of_begin_of_text_is_kept() {
    for (name, added) in [
        ("llama3", 0),
        ("gpt2_added", 0),
        ("qwen", 0),
        ("smollm2", 1),
    ] {
        let encoded = |bos| {
            tokenizer(name)
                .with_bos(bos)
                .unwrap()
                .encode("The capital")
                .unwrap()
        };
        let bare = tokenizer(name).encode_bare("The capital").unwrap();
        assert_eq!(encoded(Bos::Never), bare, "{name}");
        assert_eq!(
            encoded(Bos::Always),
            [&[added], &bare[..]].concat(),
            "{name}"
        );
    }
    let numbers = Tokenizer::numbers(5).unwrap();
    let error = numbers.with_bos(Bos::Always).unwrap_err();
    assert!(matches!(error, ModelError::NoBos { .. }), "{error}");
}

#[test]
fn chats_equal_apply_chat_template() {
    let mut compared = 0;
    for (name, expected) in expected() {
        let tokenizer = tokenizer(&name);
        for Chat {
            messages,
            text,
            ids,
        } in expected.chats
        {
            match (tokenizer.chat(&messages), text) {
                (Ok(found), Some(text)) => {
                    assert_eq!(found, text, "{name}");
                    let encoded = tokenizer.for_chat().encode(&found).unwrap();
                    assert_eq!(Some(encoded), ids, "{name}: {text:?}");
                    compared += 1;
                }
                (Err(ModelError::Chat { why, .. }), None) => {
                    assert!(
                        why.contains("roles must alternate") || why.contains("not supported"),
                        "{why}"
                    );
                }
                (found, text) => panic!("{name}: {found:?}, expected {text:?}"),
            }
        }
    }
    assert!(compared > 15, "{compared}");
    let error = tokenizer("gpt2_bos")
        .chat(&[Message::user("Hi")])
        .unwrap_err();
    assert!(
        matches!(error, ModelError::NoChatTemplate { .. }),
        "{error}"
    );
}

#[test]
fn a_tokenizer_that_is_written_does_the_same() {
    for (name, expected) in expected() {
        let folder = tempfile::tempdir().unwrap();
        let first = tokenizer(&name);
        first.write(folder.path()).unwrap();
        let again = Tokenizer::read(folder.path()).unwrap();
        for Text { text, .. } in &expected.texts {
            assert_eq!(
                again.encode(text).unwrap(),
                first.encode(text).unwrap(),
                "{name}: {text:?}"
            );
        }
        for Chat { messages, .. } in &expected.chats {
            assert_eq!(
                again.chat(messages).ok(),
                first.chat(messages).ok(),
                "{name}"
            );
        }
    }
}

/// A folder with files of another, and some of its own.
fn with(name: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixtures().join("begin_of_text").join(name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    for (file, text) in files {
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    folder
}

#[test]
fn contradictions_and_unknown_rules_are_refused_by_name() {
    let error = |name: &str, files: &[(&str, &str)]| {
        Tokenizer::read(with(name, files).path())
            .unwrap_err()
            .to_string()
    };
    let found = error("gpt2_added", &[("added_tokens.json", "{\"[DRUG]\": 4000}")]);
    assert!(
        found.contains("added_tokens.json: token \"[DRUG]\" has the id 4000"),
        "{found}"
    );
    let found = error("llama3", &[("added_tokens.json", "{\"<|eot_id|>\": 3}")]);
    assert!(
        found.contains("token \"<|eot_id|>\" has the id 3, the tokenizer gives it 4"),
        "{found}"
    );
    let config = "{\"tokenizer_class\": \"BartTokenizer\"}";
    let found = error("gpt2_bos", &[("tokenizer_config.json", config)]);
    assert!(
        found.contains("vocab.json and merges.txt of BartTokenizer"),
        "{found}"
    );
}

#[test]
fn damaged_parts_are_refused_by_name() {
    let whole =
        std::fs::read_to_string(fixtures().join("begin_of_text/llama3/tokenizer.json")).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&whole).unwrap();
    let long = "b".repeat(100_000);
    let normalizers = [
        (
            r#"{"type":"Precompiled","precompiled_charsmap":"AAAA"}"#.to_owned(),
            "precompiled_charsmap is damaged",
        ),
        (
            r#"{"type":"Precompiled","precompiled_charsmap":"/////w=="}"#.to_owned(),
            "precompiled_charsmap is damaged",
        ),
        (
            r#"{"type":"Replace","pattern":{"String":""},"content":"x"}"#.to_owned(),
            "Replace has an empty pattern",
        ),
        (
            format!(r#"{{"type":"Replace","pattern":{{"String":"a"}},"content":"{long}"}}"#),
            "200000 times as long",
        ),
    ];
    for (normalizer, expected) in normalizers {
        json["normalizer"] = serde_json::from_str(&normalizer).unwrap();
        let folder = with("llama3", &[("tokenizer.json", &json.to_string())]);
        let error = Tokenizer::read(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("tokenizer.json") && error.contains(expected),
            "{error}"
        );
    }
    // A special token that the template does not list.
    json["normalizer"] = serde_json::Value::Null;
    json["post_processor"]["processors"][1]["special_tokens"] = serde_json::json!({});
    let folder = with("llama3", &[("tokenizer.json", &json.to_string())]);
    let error = Tokenizer::read(folder.path()).unwrap_err().to_string();
    assert!(error.contains("has no ids"), "{error}");
}

#[test]
fn a_character_map_of_sentencepiece_is_read() {
    // Darts: the root's children stand at 256 + byte; "a" is a leaf whose value stands at 512 and points to "bc".
    let mut units = vec![0u32; 768];
    units[0] = 256 << 10;
    let a = usize::from(b'a');
    units[256 ^ a] = (((256 ^ a) ^ 512) as u32) << 10 | 1 << 8 | u32::from(b'a');
    let mut map = (units.len() as u32 * 4).to_le_bytes().to_vec();
    map.extend(units.iter().flat_map(|u| u.to_le_bytes()));
    map.extend(b"bc\0");
    use base64::Engine;
    let map = base64::engine::general_purpose::STANDARD.encode(map);
    let path = fixtures().join("begin_of_text/qwen/tokenizer.json");
    let mut json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    json["normalizer"] = serde_json::json!({"type": "Precompiled", "precompiled_charsmap": map});
    let folder = with("qwen", &[("tokenizer.json", &json.to_string())]);
    let tokenizer = Tokenizer::read(folder.path()).unwrap();
    assert_eq!(
        tokenizer.decode(&tokenizer.encode("xax").unwrap()).unwrap(),
        "xbcx"
    );
}
