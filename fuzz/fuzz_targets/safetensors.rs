//! Any bytes as a file of safetensors: header, elements.
#![no_main]

use engram_model::shard::Shard;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(shard) = Shard::parse(data.to_vec()) else {
        return;
    };
    for name in shard.names() {
        let values = shard.tensor(&name);
        let elements = shard.shape(&name).unwrap().iter().product::<usize>();
        assert!(values.is_err() || values.is_ok_and(|v| v.len() == elements));
    }
});
