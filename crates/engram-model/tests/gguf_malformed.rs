//! Error messages for damaged and hostile GGUF files; no bytes make the reader panic.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Device;
use engram_model::families;
use engram_model::gguf::Gguf;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

/// A file's name and what its error holds.
#[rustfmt::skip]
const OPENED: [(&str, &str); 65] = [
    ("empty", "the opening needs 4 bytes, and 0 are left of the file (byte 0)"),
    ("three_bytes", "the opening needs 4 bytes, and 3 are left"),
    ("only_magic", "the opening needs 4 bytes, and 0 are left of the file (byte 4)"),
    ("no_counts", "the opening needs 8 bytes, and 0 are left"),
    ("other_magic", "it begins with \"ggjt\", not with \"GGUF\" (byte 0)"),
    ("lfs_pointer", "it begins with \"vers\""),
    ("version_0", "version 0 of GGUF; engram reads 2 and 3"),
    ("version_1", "version 1 of GGUF; engram reads 2 and 3: convert"),
    ("version_9", "version 9 of GGUF"),
    ("big_endian", "a big-endian GGUF file; engram reads little-endian ones"),
    ("huge_tensor_count", "claims 18446744073709551615 tensors, and the file has room for"),
    ("large_tensor_count", "claims 1000 tensors, and the file has room for 4 at most"),
    ("huge_metadata_count", "claims 18446744073709551615 metadata entries"),
    ("large_metadata_count", "claims 1000 metadata entries, and the file has room for"),
    ("one_tensor_too_many", "the table's tensor 1 has no name"),
    ("one_entry_too_many", "the table's tensor 0 has no name"),
    ("huge_key", "metadata entry 0 needs 18446744073709551615 bytes"),
    ("long_key", "metadata entry 0 needs 10000 bytes"),
    ("key_not_utf8", "metadata entry 0 holds text that is not UTF-8 (byte 33)"),
    ("value_not_utf8", "metadata key holds text that is not UTF-8"),
    ("long_value", "metadata key needs 1099511627776 bytes"),
    ("unknown_value_type", "metadata key is of type 13, which the format does not have"),
    ("bool_7", "metadata key is a bool and holds 7"),
    ("duplicate_key", "metadata general.name occurs twice"),
    ("huge_array", "metadata key claims 18446744073709551615 uint32"),
    ("long_array", "metadata key claims 1000000000 uint32, and the file has room for"),
    ("overflowing_array", "metadata key claims 4611686018427387904 uint32"),
    ("huge_string_array", "metadata key claims 2305843009213693952 string"),
    ("string_array_cut", "metadata key needs 500 bytes"),
    ("array_of_unknown", "metadata key is of type 77"),
    ("nested_5", "metadata key holds arrays within arrays, more than 4 deep"),
    ("nested_300", "metadata key holds arrays within arrays, more than 4 deep"),
    ("wide_nest", "metadata key claims 1099511627776 array"),
    ("alignment_0", "metadata general.alignment is 0, which is no power of two"),
    ("alignment_48", "metadata general.alignment is 48, which is no power of two"),
    ("alignment_text", "metadata general.alignment is \"32\", which is no power of two"),
    ("alignment_2_31", "tensor a ends at byte 2147483664, and the file has"),
    ("newline_in_key", "metadata a\\nb\\u{1b}[31m is of type 99"),
    ("long_name_shown_short", "kkkkkkkkkk… is of type 99"),
    ("long_tensor_name", "the table's tensor 0 needs 1125899906842624 bytes"),
    ("tensor_name_not_utf8", "the table's tensor 0 holds text that is not UTF-8"),
    ("dimensions_5", "tensor a has 5 dimensions; the format allows 4"),
    ("huge_dimensions", "tensor a has 4294967295 dimensions"),
    ("no_element", "tensor a has shape [0, 4], with no element"),
    ("shape_overflows", "tensor a has shape [4294967296, 4294967296], too large for any file"),
    ("shape_wraps_to_4", "tensor a has shape [4, 4611686018427387905], too large for any file"),
    ("bytes_overflow", "tensor a has shape [4611686018427387904], too large for any file"),
    ("huge_dimension", "tensor a has shape [18446744073709551615], too large for any file"),
    ("unknown_tensor_type", "tensor a is of type 99, which engram does not know; it reads F32"),
    ("removed_tensor_type", "tensor a is of type 4, which engram does not know"),
    ("rows_not_whole_blocks", "tensor a has rows of 16 elements, and Q4_0 stores blocks of 32"),
    ("duplicate_tensor", "tensor a is in the table twice"),
    ("offset_unaligned", "tensor a is at 8, which is not a multiple of the alignment 32"),
    ("offset_beyond", "tensor a ends at byte 1099511627888, and the file has 112: it is cut off"),
    ("offset_overflows", "tensor a ends at byte 18446744073709551615"),
    ("offset_and_length_overflow", "tensor a ends at byte 18446744073709551615"),
    ("offset_and_start_overflow", "tensor a ends at byte 18446744073709551615"),
    ("overlap", "tensors a and b overlap"),
    ("overlap_same", "tensors a and b overlap"),
    ("overlap_later_first", "tensors a and b overlap"),
    ("cut_by_one", "tensor a ends at byte 112, and the file has 111: it is cut off"),
    ("no_data", "tensor a ends at byte 112, and the file has 96: it is cut off"),
    ("table_cut", "tensor a needs 8 bytes, and 5 are left of the file"),
    ("a_folder", "not a file"),
    ("no_such_file", "No such file"),
];

/// The same of elements and tokenizers, in files that open.
#[rustfmt::skip]
const READ: [(&str, &str); 21] = [
    ("nan", "tensor a holds NaN at element 2"),
    ("infinity", "tensor a holds -inf at element 1"),
    ("nan_scale", "tensor a holds NaN at element 0"),
    ("tokenizer_none", "metadata tokenizer.ggml.model is missing"),
    ("tokenizer_model", "tokenizer.ggml.model is \"bert\"; engram builds tokenizers from \"gpt2\""),
    ("tokenizer_model_number", "metadata tokenizer.ggml.model: expected a text, found 1"),
    ("tokenizer_pre", "tokenizer.ggml.pre is \"tekken\", a way of splitting text that engram does not have"),
    ("tokenizer_no_tokens", "metadata tokenizer.ggml.tokens is missing"),
    ("tokenizer_tokens_numbers", "metadata tokenizer.ggml.tokens: expected an array of texts in UTF-8, found an array of 1 uint32"),
    ("tokenizer_tokens_not_utf8", "metadata tokenizer.ggml.tokens: expected an array of texts in UTF-8"),
    ("tokenizer_duplicate", "tokenizer.ggml.tokens: 0 and 3 are both \"a\""),
    ("tokenizer_types_short", "3 tokens in tokenizer.ggml.tokens, 2 elements in tokenizer.ggml.token_type"),
    ("tokenizer_no_merges", "metadata tokenizer.ggml.merges is missing"),
    ("tokenizer_merge_alone", "tokenizer.ggml.merges: 0, \"ab\", is not of two tokens that make a third"),
    ("tokenizer_merge_unknown", "tokenizer.ggml.merges: 0, \"a c\", is not of two tokens"),
    ("tokenizer_merge_makes_none", "tokenizer.ggml.merges: 1, \"b a\", is not of two tokens"),
    ("tokenizer_merge_long", "tokenizer.ggml.merges: 0, \"ab ab\", is not of two tokens"),
    ("tokenizer_no_scores", "metadata tokenizer.ggml.scores is missing"),
    ("tokenizer_scores_short", "3 tokens in tokenizer.ggml.tokens, 2 elements in tokenizer.ggml.scores"),
    ("tokenizer_unknown_id", "tokenizer.ggml.unknown_token_id is 3, which is not one of the 3 tokens"),
    ("tokenizer_long_piece", "has 257 bytes; a piece has 256 at most"),
];

fn expect(error: &str, path: &Path, expected: &str) {
    assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    assert!(error.starts_with(&path.display().to_string()), "{error}");
    assert!(!error.contains('\n') && error.len() < 500, "{error:?}");
}

#[test]
fn every_attack_is_one_clear_error() {
    let folder = fixtures().join("malformed/gguf");
    let entries = std::fs::read_dir(&folder).unwrap();
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut files: BTreeMap<String, PathBuf> = entries
        .map(|e| e.unwrap().path())
        .map(|path| (stem(path.clone()), path))
        .collect();
    let whole = Gguf::open(&files.remove("whole").unwrap()).unwrap();
    assert_eq!(whole.tensor("a").unwrap(), [0.0; 4]);
    files.insert("a_folder".to_owned(), folder.clone());
    files.insert("no_such_file".to_owned(), folder.join("no_such_file"));
    for (name, expected) in OPENED {
        let path = files.remove(name).unwrap_or_else(|| panic!("no {name}"));
        let error = Gguf::open(&path).unwrap_err().to_string();
        expect(&error, &path, expected);
    }
    for (name, expected) in READ {
        let path = files.remove(name).unwrap_or_else(|| panic!("no {name}"));
        let file = Gguf::open(&path).unwrap();
        let error = match name.starts_with("tokenizer") {
            true => file.tokenizer().unwrap_err().to_string(),
            false => file.tensor("a").unwrap_err().to_string(),
        };
        expect(&error, &path, expected);
    }
    assert!(files.is_empty(), "not tested: {files:?}");
}

/// All that can be asked of a file; errors are as good as values.
fn ask(bytes: Vec<u8>) -> bool {
    let Ok(file) = Gguf::parse(bytes) else {
        return false;
    };
    for name in file.tensors().keys() {
        let _ = file.tensor(name);
    }
    for key in file.metadata().keys() {
        let _ = (file.get::<u32>(key), file.get::<Vec<f32>>(key));
        let _ = (file.get::<&str>(key), file.get::<Vec<&str>>(key));
    }
    if let Ok(family) = families::gguf_family(&file) {
        let _ = families::gguf_parameters(&file, &*family, &Device::Cpu);
    }
    if let Ok(tokenizer) = file.tokenizer() {
        let _ = tokenizer.encode("The patient's 12 seizures\n<s> 次🙂");
    }
    true
}

#[test]
fn no_mutation_makes_the_reader_panic() {
    let mut random = ChaCha8Rng::seed_from_u64(20);
    for name in [
        "gguf/metadata",
        "gguf/types/Q4_K",
        "gguf/types/Q4_1",
        "gguf/tokenizers/smollm",
        "gguf/tokenizers/llama",
        "families_gguf/gemma3",
        "families_gguf/llama_31",
        "families_gguf/gpt2",
        "families_gguf/gptneox",
    ] {
        let path = fixtures().join(format!("{name}.gguf"));
        let whole = std::fs::read(path).unwrap();
        assert!(ask(whole.clone()));
        // The counts, all of the header that comes first, and the other end: each file is hit in one of them.
        let half = whole.len() / 2;
        let regions = [0..32, 0..512.min(half), half..whole.len()];
        let mut opened = 0;
        for turn in 0..3000 {
            let mut bytes = whole.clone();
            let region = &regions[turn % 3];
            for _ in 0..random.random_range(1..=8) {
                let at = random.random_range(region.clone());
                bytes[at] = match random.random_range(0..4) {
                    0 => 0,
                    1 => 0xff,
                    2 => bytes[at] ^ (1 << random.random_range(0..8)),
                    _ => random.random(),
                };
            }
            if random.random_range(0..8) == 0 {
                bytes.truncate(random.random_range(0..whole.len()));
            }
            opened += u32::from(ask(bytes));
        }
        // The mutations reach beyond the header.
        assert!(opened > 300, "{name}: {opened} of 3000 open");
    }
}

#[test]
fn no_truncation_makes_the_reader_panic() {
    for name in ["whole", "tokenizer_merge_long", "offset_beyond"] {
        let path = fixtures()
            .join("malformed/gguf")
            .join(format!("{name}.gguf"));
        let whole = std::fs::read(path).unwrap();
        for length in 0..whole.len() {
            assert!(!ask(whole[..length].to_vec()), "{name} cut to {length}");
        }
    }
}
