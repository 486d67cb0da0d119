//! Error messages for damaged and hostile safetensors, configurations and indexes; no bytes make their readers panic.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use engram_model::checkpoint::{CONFIG, INDEX, Parameters, WEIGHTS};
use engram_model::shard::Shard;
use engram_model::{LanguageModel, NoTap, Tokenizer, families};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/malformed/safetensors")
}

// An attack's name and what its error holds.

#[rustfmt::skip]
const WEIGHTS_TOLD: [(&str, &str); 73] = [
    ("empty", "it has 0 bytes; the length of its header takes 8"),
    ("three_bytes", "it has 3 bytes; the length of its header takes 8"),
    ("only_length", "its header claims 1030 bytes, and 0 are left of the file"),
    ("length_0", "its header: EOF while parsing a value at line 1 column 0"),
    ("length_huge", "its header claims 18446744073709551615 bytes, and 1159 are left of the file"),
    ("length_beyond", "its header claims 100000000 bytes, and 1159 are left of the file"),
    ("length_short", "its header: EOF while parsing a string at line 1 column 700"),
    ("length_into_data", "its header: trailing characters at line 1 column 1000"),
    ("lfs_pointer", "its header claims 2336927755350992246 bytes, and 62 are left of the file"),
    ("zip", "its header claims 67324752 bytes, and 56 are left of the file"),
    ("not_json", "its header: expected ident at line 1 column 2"),
    ("not_utf8", "its header: invalid unicode code point at line 1 column 3"),
    ("array", "its header: invalid type: sequence, expected struct HashMetadata at line 1 column 0"),
    ("null", "its header: invalid type: null, expected struct HashMetadata at line 1 column 4"),
    ("number", "its header: invalid type: integer `7`, expected struct HashMetadata at line 1 column 1"),
    ("nested", "its header: invalid type: sequence, expected struct HashMetadata at line 1 column 0"),
    ("nested_objects", "its header: recursion limit exceeded at line 1 column 636"),
    ("nested_shape", "its header: recursion limit exceeded at line 1 column 159"),
    ("metadata_numbers", "its header: invalid type: integer `3`, expected a string at line 1 column 27"),
    ("metadata_nested", "its header: invalid type: sequence, expected a map at line 1 column 16"),
    ("no_dtype", "its header: missing field `dtype` at line 1 column 985"),
    ("dtype_unknown", "its header: unknown variant `F31`, expected one of"),
    ("dtype_number", "its header: invalid type: integer `4`, expected string or map at line 1 column 995"),
    ("dtype_newline", "its header: unknown variant `F32\\n\\u{1b}[31m`, expected one of"),
    ("dtype_long", "its header: unknown variant `FFFFFFFFFF"),
    ("no_shape", "its header: missing field `shape` at line 1 column 987"),
    ("shape_negative", "its header: invalid value: integer `-2`, expected usize at line 1 column 1000"),
    ("shape_float", "its header: invalid type: floating point `2.5`, expected usize at line 1 column 1001"),
    ("shape_text", "its header: invalid type: string \"2\", expected a sequence at line 1 column 999"),
    ("shape_null", "its header: invalid type: null, expected usize at line 1 column 1002"),
    ("shape_1e308", "its header: invalid type: floating point `1e+308`, expected usize at line 1 column 63"),
    ("no_offsets", "its header: missing field `data_offsets` at line 1 column 974"),
    ("three_offsets", "its header: invalid length 3, expected 2 elements in sequence at line 1 column 1003"),
    ("one_offset", "its header: invalid length 1, expected a tuple of size 2 at line 1 column 995"),
    ("offsets_negative", "its header: invalid value: integer `-8`, expected usize at line 1 column 996"),
    ("entry_number", "its header: invalid type: integer `3`, expected struct TensorInfo at line 1 column 12"),
    ("entry_null", "its header: invalid type: null, expected struct TensorInfo at line 1 column 15"),
    ("offsets_reversed", "its header: invalid offset for tensor `model.norm.weight`"),
    ("offsets_huge", "its header: invalid shape, data type, or offset for tensor"),
    ("offset_beyond_64_bits", "its header: invalid type: floating point `1.8446744073709552e+19`, expected usize at line 1 column 78"),
    ("offset_beyond", "its tensors take 4398046511256 bytes, and the file has 160: it is cut off"),
    ("overlap", "its header: invalid offset for tensor `model.norm.weight`"),
    ("overlap_same", "its header: invalid offset for tensor `model.layers.0.mlp."),
    ("hole", "its header: invalid offset for tensor `model.embed_tokens.weight`"),
    ("hole_within", "its header: invalid offset for tensor `model.norm.weight`"),
    ("name_twice", "its header: invalid offset for tensor `model.norm.weight`"),
    ("sum_overflows", "its tensors take 18446744073709551615 bytes, and the file has 0: it is cut off"),
    ("name_newline", "its header: invalid offset for tensor `a\\nb\\u{1b}[31m`"),
    ("name_long", "its header: invalid offset for tensor `nnnnnnnnnn"),
    ("shape_overflows", "its header: overflow computing buffer size from shape and/or element type"),
    ("shape_wraps", "its header: overflow computing buffer size from shape and/or element type"),
    ("bits_overflow", "its header: overflow computing buffer size from shape and/or element type"),
    ("shape_huge", "its header: overflow computing buffer size from shape and/or element type"),
    ("shape_other", "its header: invalid shape, data type, or offset for tensor"),
    ("shape_empty", "its header: invalid shape, data type, or offset for tensor"),
    ("half_the_bytes", "its header: invalid shape, data type, or offset for tensor"),
    ("twice_the_bytes", "its header: invalid shape, data type, or offset for tensor"),
    ("bits_no_bytes", "its header: The slice is slicing for subbytes dtypes, and the slice does not end up at a byte boundary, this is invalid."),
    ("cut_by_one", "its tensors take 160 bytes, and the file has 159: it is cut off"),
    ("cut_in_half", "its tensors take 160 bytes, and the file has 80: it is cut off"),
    ("no_data", "its tensors take 160 bytes, and the file has 0: it is cut off"),
    ("byte_too_many", "its tensors take 160 bytes, and the file has 161: some are of no tensor"),
    ("no_tensor", "tensor model.embed_tokens.weight is missing"),
    ("only_metadata", "tensor model.embed_tokens.weight is missing"),
    ("tensor_missing", "tensor model.layers.0.self_attn.q_proj.weight is missing"),
    ("transposed", "tensor model.embed_tokens.weight: expected [3, 2], found [2, 3]"),
    ("flat", "tensor model.layers.0.self_attn.q_proj.weight: expected [2, 2], found [4]"),
    ("scalar", "tensor model.embed_tokens.weight: expected [3, 2], found []"),
    ("integers", "tensor model.layers.0.self_attn.q_proj.weight is I32; engram reads F32, F16 and BF16: write the model anew in one of them"),
    ("bits_of_8", "tensor model.norm.weight: expected [2], found [8]"),
    ("doubles", "tensor model.layers.0.self_attn.q_proj.weight: expected [2, 2], found [2, 1]"),
    ("nan", "tensor model.norm.weight holds NaN at element 1: the checkpoint is damaged"),
    ("infinity", "tensor model.norm.weight holds -inf at element 0: the checkpoint is damaged"),
];

#[rustfmt::skip]
const CONFIG_TOLD: [(&str, &str); 89] = [
    ("empty", "EOF while parsing a value at line 1 column 0"),
    ("not_json", "expected value at line 1 column 1"),
    ("cut", "EOF while parsing a string at line 1 column 156"),
    ("not_utf8", "invalid unicode code point at line 1 column 18"),
    ("array", "invalid type: sequence, expected a map at line 1 column 0"),
    ("null", "invalid type: null, expected a map at line 1 column 4"),
    ("nested", "invalid type: sequence, expected a map at line 1 column 0"),
    ("nested_objects", "recursion limit exceeded at line 1 column 2033"),
    ("no_model_type", "model_type is missing"),
    ("model_type_number", "model_type is missing"),
    ("model_type_unknown", "model_type is \"mamba\"; engram reads gpt2, gpt_neo"),
    ("model_type_newline", "model_type is \"a\\nb\\u{1b}[31m\"; engram reads gpt2, gpt_neo"),
    ("model_type_long", "model_type is \"mmmmmmmmmm"),
    ("model_type_nested", "model_type is missing"),
    ("size_0", "hidden_size is 0; expected a whole number"),
    ("size_negative", "hidden_size is -2; expected a whole number"),
    ("size_float", "hidden_size is 2.5; expected a whole number"),
    ("size_text", "hidden_size is \"2\"; expected a whole number"),
    ("size_null", "hidden_size is missing"),
    ("size_true", "hidden_size is true; expected a whole number"),
    ("size_nested", "hidden_size is [[[2]]]; expected a whole number"),
    ("size_long", "hidden_size is [\"2222222222"),
    ("size_1e308", "hidden_size is 1e+308; expected a whole number"),
    ("size_1e999", "number out of range at line 1 column 56"),
    ("size_2_64", "hidden_size is 1.8446744073709552e+19; expected a whole number"),
    ("size_2_63", "vocab_size is 9223372036854775808; expected a whole number"),
    ("size_nan", "expected value at line 1 column 52"),
    ("vocab_2_24", "model.safetensors: tensor model.embed_tokens.weight: expected [16777216, 2], found [3, 2]"),
    ("vocab_beyond", "vocab_size is 16777217; expected a whole number"),
    ("layers_4097", "num_hidden_layers is 4097; expected 1 to 4096"),
    ("layers_huge", "num_hidden_layers is 16777216; expected 1 to 4096"),
    ("layers_of_wide_heads", "rotary embedding of 16777216 dimensions; 65536 is the most"),
    ("many_wide_heads", "rotary embedding of 16777216 dimensions; 65536 is the most"),
    ("heads_do_not_divide", "hidden_size 2 is not a multiple of num_attention_heads 3"),
    ("kv_heads_0", "num_key_value_heads is 0; expected a whole number"),
    ("kv_heads_more", "1 attention heads are not a multiple of 2 key-value heads"),
    ("odd_head", "rotary embedding of 3 dimensions; expected an even number"),
    ("epsilon_0", "rms_norm_eps is 0.0; expected a number from 0 to 1"),
    ("epsilon_1e308", "rms_norm_eps is 1e308; expected a number from 0 to 1"),
    ("epsilon_negative", "rms_norm_eps is -1e-5; expected a number from 0 to 1"),
    ("epsilon_text", "rms_norm_eps is \"1e-5\"; expected a number"),
    ("theta_negative", "rope_theta is -5.0; expected a number above 1"),
    ("theta_nested", "rope_theta is {\"theta\":5}; expected a number"),
    ("rope_unknown", "rotary embedding scaled by \"spiral\\n\" is not supported"),
    ("rope_type_number", "rope_type is 3; expected a text"),
    ("rope_factor_0", "factor is 0.0; expected a number above 0"),
    ("rope_factor_tiny", "rotary embedding with a factor too small to divide by"),
    ("rope_factor_text", "factor is \"4\"; expected a number"),
    ("rope_without_factor", "scaled rotary embedding without factor"),
    ("llama3_without_low", "scaled rotary embedding without low_freq_factor"),
    ("llama3_bounds", "low_freq_factor 1 is not below high_freq_factor 1"),
    ("llama3_tiny", "rotary embedding with a factor too small to divide by"),
    ("activation_unknown", "hidden_act \"tanhshrink\" is not supported"),
    ("activation_number", "hidden_act is 3; expected a text"),
    ("activation_long", "hidden_act \"aaaaaaaaaa"),
    ("flag_text", "tie_word_embeddings is \"yes\"; expected true or false"),
    ("flag_number", "attention_bias is 1; expected true or false"),
    ("window_0", "sliding_window is 0; expected a whole number"),
    ("window_negative", "sliding_window is -1; expected a whole number"),
    ("layer_types_short", "layer_types: expected 1 words, one for each layer"),
    ("layer_types_numbers", "layer_types: expected 1 words, one for each layer"),
    ("layer_types_text", "layer_types: expected 1 words, one for each layer"),
    ("pattern_0", "sliding_window_pattern is 0; expected a whole number"),
    ("scalar_0", "query_pre_attn_scalar is 0.0; expected a number above 0"),
    ("scalar_negative", "query_pre_attn_scalar is -4.0; expected a number above 0"),
    ("scalar_1e308", "the attention window or the factor on scores is 0"),
    ("cap_0", "soft-capping at 0; expected a number above 0"),
    ("cap_1e308", "soft-capping at inf; expected a number above 0"),
    ("cap_text", "final_logit_softcapping is \"30\"; expected a number"),
    ("gpt2_text", "n_embd is \"2\"; expected a whole number"),
    ("gpt2_size_overflows", "n_embd is 4611686018427387904; expected a whole number"),
    ("gpt2_inner_negative", "n_inner is -1; expected a whole number"),
    ("gpt2_inner_huge", "n_inner is 1099511627776; expected a whole number"),
    ("gpt2_layers", "n_layer is 5000; expected 1 to 4096"),
    ("gpt2_heads", "n_embd 2 is not a multiple of n_head 3"),
    ("gpt2_epsilon", "layer_norm_epsilon is 2.0; expected a number from 0 to 1"),
    ("gpt2_dropout", "attn_pdrop is 1e308; expected a number from 0 to 1"),
    ("gpt2_dropout_negative", "resid_pdrop is -0.1; expected a number from 0 to 1"),
    ("gpt2_flag", "scale_attn_weights is 3; expected true or false"),
    ("gpt2_end_negative", "invalid value: integer `-1`, expected u32"),
    ("gpt2_cross_attention", "add_cross_attention is true; engram reads decoder-only models"),
    ("neo_many_layers", "attention_types: expected \"global\" or \"local\" for 2 layers"),
    ("neo_times_huge", "attention_types: expected \"global\" or \"local\" for 2 layers"),
    ("neo_times_negative", "attention_types: expected \"global\" or \"local\" for 2 layers"),
    ("neo_kind_unknown", "attention_types: expected \"global\" or \"local\" for 2 layers"),
    ("neo_too_few", "attention_types: expected \"global\" or \"local\" for 2 layers"),
    ("neox_share_0", "rotary_pct is 0.0; expected a number from 0 to 1"),
    ("neox_share_2", "rotary_pct is 2.0; expected a number from 0 to 1"),
    ("neox_share_tiny", "rotary embedding of 0 dimensions; expected an even number"),
];

#[rustfmt::skip]
const INDEX_TOLD: [(&str, &str); 23] = [
    ("empty", "EOF while parsing a value at line 1 column 0"),
    ("not_json", "expected value at line 1 column 1"),
    ("nested", "invalid type: sequence, expected a map at line 1 column 1"),
    ("array", "invalid length 0, expected struct Index with 1 element at line 1 column 2"),
    ("no_map", "missing field `weight_map` at line 1 column 15"),
    ("map_number", "invalid type: integer `3`, expected a map at line 1 column 15"),
    ("map_of_numbers", "invalid type: integer `3`, expected a string at line 1 column 20"),
    ("map_long", "invalid type: string \"mmmmmmmmmm"),
    ("map_empty", "it lists no file"),
    ("missing_shard", "model.safetensors.index.json: it names two.safetensors, not there"),
    ("parent", "it names the file \"../one.safetensors\", which is not one"),
    ("absolute", "it names the file \"/one.safetensors\", which is not one"),
    ("subfolder", "it names the file \"sub/one.safetensors\", which is not one"),
    ("dot", "it names the file \".\", which is not one"),
    ("dots", "it names the file \"..\", which is not one"),
    ("no_name", "it names the file \"\", which is not one"),
    ("newline", "it names the file \"one\\n\\u{1b}[31m.safetensors\", which is not one"),
    ("nul", "it names the file \"one\\0.safetensors\", which is not one"),
    ("long", "it names the file \"llllllllll"),
    ("a_folder", "folder: not a file"),
    ("config", "config.json: not a readable safetensors file (its header claims 6875982213128462971 bytes, and 168 are left of the file"),
    ("itself", "its header claims 7017841271895827067 bytes, and 670 are left of the file"),
    ("shard_without_tensor", "tensor model.layers.0.self_attn.q_proj.weight is missing"),
];

/// A copy of the sound checkpoint with an attack in the place of one of its files.
fn attacked(name: &str, attack: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &Path, to: &str| {
        std::fs::copy(from, folder.path().join(to)).unwrap();
    };
    for name in [CONFIG, WEIGHTS, "tokenizer.json"] {
        copy(&fixtures().join("whole").join(name), name);
    }
    if name == INDEX {
        let one = folder.path().join("one.safetensors");
        std::fs::rename(folder.path().join(WEIGHTS), one).unwrap();
        copy(&less(), "less.safetensors");
        std::fs::create_dir(folder.path().join("folder")).unwrap();
    }
    copy(attack, name);
    folder
}

/// The shard without one of the tensors.
fn less() -> PathBuf {
    fixtures().join("index/less.safetensors")
}

fn expect(kind: &str, name: &str, attacks: &[(&str, &str)]) {
    let entries = std::fs::read_dir(fixtures().join(kind)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.retain(|path| *path != less());
    assert_eq!(files.len(), attacks.len(), "{kind}");
    for (attack, expected) in attacks {
        let mut is = files
            .iter()
            .filter(|f| f.file_stem().is_some_and(|s| s == *attack));
        let path = is.next().unwrap_or_else(|| panic!("no {kind}/{attack}"));
        let folder = attacked(name, path);
        let error = LanguageModel::read(folder.path(), &Device::Cpu)
            .unwrap_err()
            .to_string();
        let here = format!("{}/", folder.path().display());
        let told = error
            .strip_prefix(&here)
            .unwrap_or_else(|| panic!("{attack}: {error}"));
        assert!(
            told.contains(expected),
            "{attack}: {expected:?} is not in {told:?}"
        );
        assert!(
            !told.contains(char::is_control) && told.len() < 500,
            "{attack}: {told:?}"
        );
    }
}

#[test]
fn every_attack_is_one_clear_error() {
    LanguageModel::read(&fixtures().join("whole"), &Device::Cpu).unwrap();
    expect("weights", WEIGHTS, &WEIGHTS_TOLD);
    expect("config", CONFIG, &CONFIG_TOLD);
    expect("index", INDEX, &INDEX_TOLD);
}

/// Some bytes changed, or the end cut off.
fn mutated(whole: &[u8], region: std::ops::Range<usize>, random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..random.random_range(1..=3) {
        let at = random.random_range(region.clone());
        bytes[at] = match random.random_range(0..4) {
            0 => b'0' + random.random_range(0..10),
            1 => b"\"{}[]:,-.e\xff\0"[random.random_range(0..12)],
            2 => bytes[at] ^ (1 << random.random_range(0..8)),
            _ => random.random(),
        };
    }
    if random.random_range(0..8) == 0 {
        bytes.truncate(random.random_range(0..whole.len()));
    }
    bytes
}

/// Whether a checkpoint in memory is one, and if so what its model computes; errors are as good as values.
fn ask(config: &[u8], weights: Vec<u8>) -> bool {
    let one_line = |error: String| {
        assert!(!error.contains(char::is_control), "{error:?}");
        false
    };
    let family = match families::parse(config) {
        Ok(family) => family,
        Err(error) => return one_line(error),
    };
    let shard = match Shard::parse(weights) {
        Ok(shard) => shard,
        Err(error) => return one_line(error.to_string()),
    };
    let _ = (family.modules(), family.end_of_text());
    let mut parameters = Parameters::new();
    for (name, shape) in family.parameters() {
        let mut names = family.stored_names(&name).into_iter();
        let Some(stored) = names.find(|stored| shard.shape(stored) == Some(shape.as_slice()))
        else {
            return false;
        };
        match shard.tensor(&stored) {
            Ok(values) => {
                let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
                parameters.insert(name, tensor);
            }
            Err(error) => return one_line(error.to_string()),
        }
    }
    let tokenizer = Tokenizer::numbers(family.architecture().vocab).unwrap();
    let model = LanguageModel::of(family, parameters, tokenizer).unwrap();
    let _ = model.forward(&[vec![0, 1, 2]], &mut NoTap);
    true
}

#[test]
fn no_mutation_makes_the_readers_panic() {
    let mut random = ChaCha8Rng::seed_from_u64(21);
    for name in [
        "families/llama_llama3",
        "families/mistral_window",
        "families/qwen2_window",
        "families/gemma3_older",
        "families/gpt_neo",
        "families/gpt_neox",
        "gpt2/tied",
    ] {
        let folder = fixtures().join("../..").join(name);
        let sound = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let (config, weights) = (sound(CONFIG), sound(WEIGHTS));
        assert!(ask(&config, weights.clone()), "{name}");
        // The length and the first entries, all of the table, and the numbers.
        let regions = [0..100, 0..3000, 3000..weights.len()];
        let mut opened = [0, 0];
        for turn in 0..600 {
            let changed = mutated(&config, 0..config.len(), &mut random);
            opened[0] += u32::from(ask(&changed, weights.clone()));
            let changed = mutated(&weights, regions[turn % 3].clone(), &mut random);
            opened[1] += u32::from(ask(&config, changed));
        }
        // The mutations reach beyond the parsers.
        assert!(opened.iter().all(|o| *o > 30), "{name}: {opened:?}");
    }
}

#[test]
fn no_truncation_makes_the_reader_panic() {
    let whole = std::fs::read(fixtures().join("whole").join(WEIGHTS)).unwrap();
    for length in 0..whole.len() {
        assert!(
            Shard::parse(whole[..length].to_vec()).is_err(),
            "cut to {length}"
        );
    }
    let shard = Shard::parse(whole).unwrap();
    assert_eq!(shard.names().len(), 11);
    assert_eq!(shard.shape("model.norm.weight"), Some(&[2][..]));
    let error = shard.tensor("no.such").unwrap_err().to_string();
    assert_eq!(error, "(bytes): tensor no.such is missing");
}
