//! GGUF files, compared with the gguf package's dequantisation, the tokenizers and sentencepiece libraries, and the
//! published SmolLM2.

use std::path::{Path, PathBuf};

use engram_model::gguf::{Gguf, Kind, MetadataValue, unpermute};
use engram_model::{ModelError, Tokenizer};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn open(name: &str) -> Gguf {
    Gguf::open(&fixtures().join("gguf").join(name)).unwrap()
}

/// The files of a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_type_is_dequantised_to_the_last_bit() {
    let mut names = Vec::new();
    for path in files(&fixtures().join("gguf/types")) {
        let file = Gguf::open(&path).unwrap();
        let stored = &file.tensors()["stored"];
        if path.ends_with("unread.gguf") {
            continue;
        }
        let expected = &file.tensors()["expected"];
        assert_eq!(stored.shape, expected.shape);
        assert_eq!(Some(stored.kind.name), path.file_stem().unwrap().to_str());
        let bits = |name| -> Vec<u32> {
            let values = file.tensor(name).unwrap();
            values.into_iter().map(f32::to_bits).collect()
        };
        let (found, expected) = (bits("stored"), bits("expected"));
        assert_eq!(found.len(), stored.shape.iter().product::<usize>());
        let wrong = (0..found.len()).find(|&i| found[i] != expected[i]);
        assert_eq!(wrong, None, "{}", path.display());
        names.push(stored.kind.name);
    }
    let all = "BF16 F16 F32 Q2_K Q3_K Q4_0 Q4_1 Q4_K Q5_0 Q5_1 Q5_K Q6_K Q8_0 Q8_K";
    assert_eq!(names.join(" "), all);
}

#[test]
fn a_type_that_is_not_read_is_named_and_leaves_the_others_readable() {
    let file = open("types/unread.gguf");
    let error = file.tensor("stored").unwrap_err().to_string();
    assert!(
        error.contains("tensor stored is IQ4_NL; engram reads F32, F16, BF16, Q4_0"),
        "{error}"
    );
    assert_eq!(file.tensor("expected").unwrap(), [0.0, 1.0, 2.0, 3.0]);
    let error = file.tensor("other").unwrap_err();
    assert!(matches!(error, ModelError::MissingTensor { .. }), "{error}");
}

#[test]
fn blocks_beyond_one_task_are_in_their_places() {
    // 100 times the fixture's rows: several tasks of several blocks.
    let one = open("types/Q6_K.gguf");
    let bytes = std::fs::read(one.path()).unwrap();
    let stored = bytes[one.tensors()["stored"].bytes.clone()].to_vec();
    let many = with_tensor(&[512, 200], 14, &stored.repeat(100));
    let found = Gguf::parse(many).unwrap().tensor("t").unwrap();
    assert_eq!(found, one.tensor("stored").unwrap().repeat(100));
}

/// A file with no metadata and one tensor `t`.
fn with_tensor(dimensions: &[u64], kind: u32, data: &[u8]) -> Vec<u8> {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    for count in [1u64, 0, 1] {
        file.extend(count.to_le_bytes());
    }
    file.push(b't');
    file.extend((dimensions.len() as u32).to_le_bytes());
    file.extend(dimensions.iter().flat_map(|d| d.to_le_bytes()));
    file.extend(kind.to_le_bytes());
    file.extend([0; 8]);
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(data);
    file
}

#[test]
fn a_tensor_without_dimensions_is_one_number() {
    let file = Gguf::parse(with_tensor(&[], 0, &2.5f32.to_le_bytes())).unwrap();
    assert_eq!(file.tensors()["t"].shape, [0usize; 0]);
    assert_eq!(file.tensor("t").unwrap(), [2.5]);
}

#[test]
fn nan_is_found_wherever_it_stands() {
    let mut data: Vec<u8> = (0..70_000u32)
        .flat_map(|i| (i as f32).to_le_bytes())
        .collect();
    data[4 * 69_998..][..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    data[4 * 41_234..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let file = Gguf::parse(with_tensor(&[70_000], 0, &data)).unwrap();
    let error = file.tensor("t").unwrap_err().to_string();
    let expected = "(bytes): tensor t holds NaN at element 41234";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn metadata_of_every_kind_is_read_in_both_versions() {
    for (name, version) in [("metadata.gguf", 3), ("version2.gguf", 2)] {
        let file = open(name);
        assert_eq!(file.version(), version);
        let unsigned = |kind: &str| match file.metadata()[&format!("scalar.{kind}")] {
            MetadataValue::Unsigned(v) => v,
            ref other => panic!("{kind}: {other}"),
        };
        let signed = |kind: &str| match file.metadata()[&format!("scalar.{kind}")] {
            MetadataValue::Signed(v) => v,
            ref other => panic!("{kind}: {other}"),
        };
        assert_eq!(unsigned("uint8"), 200);
        assert_eq!(unsigned("uint16"), 60_000);
        assert_eq!(unsigned("uint32"), 4_000_000_000);
        assert_eq!(unsigned("uint64"), u64::MAX);
        assert_eq!(signed("int8"), -100);
        assert_eq!(signed("int16"), -30_000);
        assert_eq!(signed("int32"), -2_000_000_000);
        assert_eq!(signed("int64"), i64::MIN);
        assert_eq!(file.require::<u32>("scalar.uint32").unwrap(), 4_000_000_000);
        assert_eq!(file.require::<i32>("scalar.int32").unwrap(), -2_000_000_000);
        assert_eq!(file.require::<f32>("scalar.float32").unwrap(), 0.1);
        assert_eq!(file.require::<f32>("scalar.float64").unwrap(), 0.1);
        assert!(file.require::<bool>("scalar.bool").unwrap());
        let text = "µ, 次 and 🙂";
        assert_eq!(file.require::<&str>("scalar.string").unwrap(), text);

        let numbers = |kind: &str| file.require::<Vec<u32>>(&format!("array.{kind}")).unwrap();
        assert_eq!(numbers("uint8"), [200, 1, 200]);
        assert_eq!(numbers("uint16"), [60_000, 1, 60_000]);
        assert_eq!(numbers("uint32"), [4_000_000_000, 1, 4_000_000_000]);
        let signed = |kind: &str| file.require::<Vec<i32>>(&format!("array.{kind}")).unwrap();
        assert_eq!(signed("int8"), [-100, 1, -100]);
        assert_eq!(signed("int32"), [-2_000_000_000, 1, -2_000_000_000]);
        let floats = |kind: &str| file.require::<Vec<f32>>(&format!("array.{kind}")).unwrap();
        assert_eq!(floats("float32"), [0.1, 1.0, 0.1]);
        assert_eq!(floats("float64"), [0.1, 1.0, 0.1]);
        let bools = file.require::<Vec<bool>>("array.bool").unwrap();
        assert_eq!(bools, [true, false, true]);
        let texts = file.require::<Vec<&str>>("array.string").unwrap();
        assert_eq!(texts, [text, "", text]);
        assert_eq!(file.length("array.int64"), Some(3));
        assert_eq!(file.length("scalar.int64"), None);
        let MetadataValue::Array(array) = &file.metadata()["array.int64"] else {
            panic!("no array");
        };
        assert_eq!(array.of, Kind::Int64);

        assert_eq!(file.get::<u32>("no.such").unwrap(), None);
        let error = file.require::<u32>("no.such").unwrap_err().to_string();
        assert!(error.contains("metadata no.such is missing"), "{error}");
        let error = file.get::<u32>("scalar.uint64").unwrap_err().to_string();
        assert!(
            error.ends_with("metadata scalar.uint64: expected an integer from 0 to 4294967295, found 18446744073709551615"),
            "{error}"
        );
        let error = file.get::<&str>("array.string").unwrap_err().to_string();
        assert!(
            error.ends_with("expected a text, found an array of 3 string"),
            "{error}"
        );

        // Data stand at multiples of 64; dimensions are reversed.
        let shapes: Vec<_> = file.tensors().values().map(|t| t.shape.clone()).collect();
        assert_eq!(shapes, [vec![2, 3], vec![2, 3, 4], vec![2]]);
        assert!(file.tensors().values().all(|t| t.bytes.start % 64 == 0));
        let cube: Vec<f32> = (0..24).map(|i| i as f32 / 8.0).collect();
        assert_eq!(file.tensor("cube").unwrap(), cube);
        assert_eq!(file.tensor("vector").unwrap(), [1.5, -2.5]);
    }
}

#[test]
fn rotary_rows_come_back_to_their_halves() {
    let file = open("rotary.gguf");
    for (name, heads) in [("1", 1), ("3", 3), ("2", 2), ("bias", 3)] {
        let stored = format!("{name}.permuted");
        let values = file.tensor(&stored).unwrap();
        let found = unpermute(&values, &file.tensors()[&stored].shape, heads).unwrap();
        assert_eq!(found, file.tensor(&format!("{name}.rows")).unwrap());
    }
    let error = |shape: &[usize], heads| unpermute(&[0.0; 24], shape, heads).unwrap_err();
    for (shape, heads) in [
        (&[12, 2][..], 4),
        (&[12, 2], 5),
        (&[12, 2], 0),
        (&[12, 2], usize::MAX),
        (&[12, 3], 3),
        (&[usize::MAX, 2], 3),
        (&[], 1),
    ] {
        let error = error(shape, heads).to_string();
        assert!(error.contains(&format!("of {heads} heads")), "{error}");
    }
}

#[test]
fn token_ids_equal_the_reference_libraries() {
    let path = fixtures().join("gguf/tokens.json");
    let rows: Vec<serde_json::Value> =
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let files = files(&fixtures().join("gguf/tokenizers"));
    assert_eq!(files.len(), 7);
    for path in files {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let tokenizer = Gguf::open(&path).unwrap().tokenizer().unwrap();
        // It keeps what it does when it is written as tokenizer.json.
        let folder = tempfile::tempdir().unwrap();
        tokenizer.write(folder.path()).unwrap();
        let again = Tokenizer::read(folder.path()).unwrap();
        for row in &rows {
            let text = row["text"].as_str().unwrap();
            let ids = tokenizer.encode_bare(text).unwrap();
            assert_eq!(serde_json::json!(ids), row[&name], "{name}: {text:?}");
            assert_eq!(again.encode_bare(text).unwrap(), ids, "{name}: {text:?}");
        }
    }
}

#[test]
fn text_comes_back_from_its_ids() {
    for name in ["gpt-2", "llama-bpe", "smollm", "llama", "gemma"] {
        let file = open(&format!("tokenizers/{name}.gguf"));
        let tokenizer = file.tokenizer().unwrap();
        for text in ["The patient's  dose:\n\t12 µg 次🙂", " seizures "] {
            let ids = tokenizer.encode_bare(text).unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        }
        let highest = file.length("tokenizer.ggml.tokens").unwrap() - 1;
        assert_eq!(tokenizer.highest_id() as usize, highest);
    }
    let llama = open("tokenizers/llama.gguf").tokenizer().unwrap();
    assert_eq!(
        llama.encode_bare("<s>").unwrap(),
        [llama.id("<s>").unwrap()]
    );
}

/// SmolLM2-135M-Instruct: `ENGRAM_SMOLLM2=$(python3 fixtures/smollm2.py) cargo test … -- --ignored`.
fn smollm2() -> Gguf {
    let path = std::env::var_os("ENGRAM_SMOLLM2").expect("ENGRAM_SMOLLM2 is set");
    Gguf::open(Path::new(&path)).unwrap()
}

#[test]
#[ignore = "needs ENGRAM_SMOLLM2, the file that fixtures/smollm2.py fetches"]
fn smollm2_is_whole() {
    let file = smollm2();
    assert_eq!(
        file.require::<&str>("general.architecture").unwrap(),
        "llama"
    );
    let number = |key: &str| file.require::<u32>(&format!("llama.{key}")).unwrap() as usize;
    let (layers, d, mlp) = (
        number("block_count"),
        number("embedding_length"),
        number("feed_forward_length"),
    );
    let (heads, kv) = (
        number("attention.head_count"),
        number("attention.head_count_kv"),
    );
    let vocabulary = file.length("tokenizer.ggml.tokens").unwrap();
    assert_eq!((layers, d, mlp), (30, 576, 1536));
    assert_eq!((heads, kv, vocabulary), (9, 3, 49_152));

    let mut expected = vec![
        ("token_embd.weight".to_owned(), vec![vocabulary, d]),
        ("output_norm.weight".to_owned(), vec![d]),
    ];
    for layer in 0..layers {
        for (name, shape) in [
            ("attn_norm", vec![d]),
            ("attn_q", vec![d, d]),
            ("attn_k", vec![d / heads * kv, d]),
            ("attn_v", vec![d / heads * kv, d]),
            ("attn_output", vec![d, d]),
            ("ffn_norm", vec![d]),
            ("ffn_gate", vec![mlp, d]),
            ("ffn_up", vec![mlp, d]),
            ("ffn_down", vec![d, mlp]),
        ] {
            expected.push((format!("blk.{layer}.{name}.weight"), shape));
        }
    }
    assert_eq!(file.tensors().len(), expected.len());
    for (name, shape) in expected {
        assert_eq!(file.tensors()[&name].shape, shape, "{name}");
        // Finite, or else an error.
        let values = file.tensor(&name).unwrap();
        assert_eq!(values.len(), shape.iter().product::<usize>());
        let mean = values.iter().map(|v| f64::from(v.abs())).sum::<f64>() / values.len() as f64;
        assert!((1e-3..20.0).contains(&mean), "{name}: {mean}");
    }
}

#[test]
#[ignore = "needs ENGRAM_SMOLLM2, the file that fixtures/smollm2.py fetches"]
fn smollm2_splits_texts_as_the_tokenizers_library() {
    let file = smollm2();
    let tokenizer = file.tokenizer().unwrap();
    assert_eq!(tokenizer.highest_id(), 49_151);
    let path = fixtures().join("smollm2_tokens.json");
    let rows: Vec<serde_json::Value> =
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(rows.len() > 50);
    for row in rows {
        let text = row["text"].as_str().unwrap();
        let ids = tokenizer.encode_bare(text).unwrap();
        assert_eq!(serde_json::json!(ids), row["ids"], "{text:?}");
        assert_eq!(tokenizer.decode(&ids).unwrap(), row["decoded"], "{text:?}");
    }
}
